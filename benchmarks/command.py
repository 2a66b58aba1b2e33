"""The command line that all benchmarks share."""

import argparse
import sys
from collections.abc import Callable, Sequence

import torch

from mmseg_bisenet.benchmark.tables import write_csv
from mmseg_bisenet.cli import preflight
from mmseg_bisenet.errors import InputError, line

AddArguments = Callable[[argparse.ArgumentParser], None]


def main(
    name: str,
    description: str,
    add_arguments: AddArguments,
    run: Callable[[argparse.Namespace], object],
    argv: Sequence[str] | None,
) -> int:
    """Run the script ``benchmarks/NAME.py``.

    Args:
        name: of the script.
        description: its docstring; ``--help`` shows the first paragraph.
        add_arguments: adds its options to the parser.
        run: does the work.
        argv: arguments; by default those of the process.

    Returns:
        The exit status: 0, or 2 after one line on stderr for an error that the user can fix.
    """
    parser = argparse.ArgumentParser(f'python -m benchmarks.{name}', description=description.partition('\n\n')[0])
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        run(args)
    except InputError as error:
        print(f'benchmarks.{name}: error: {line(error)}', file=sys.stderr)
        return 2
    return 0


def benchmark(
    name: str,
    description: str,
    add_arguments: AddArguments,
    measure: Callable[[argparse.Namespace], list[dict] | None],
    argv: Sequence[str] | None,
) -> int:
    """Like :func:`main`, with ``--csv FILE`` for the rows that ``measure`` returns.

    A file that cannot be written is an error before anything is measured. In a distributed run, ``measure`` returns
    None in every process but the first.
    """

    def add_csv(parser: argparse.ArgumentParser) -> None:
        add_arguments(parser)
        parser.add_argument('--csv', metavar='FILE', help='also write the results to this file')

    def run(args: argparse.Namespace) -> None:
        preflight.require_file('--csv', args.csv, overwrite=True)  # a later run refreshes the results
        rows = measure(args)
        if args.csv and rows is not None:
            write_csv(args.csv, rows, overwrite=True)
            print(f'written to {args.csv}', file=sys.stderr)

    return main(name, description, add_csv, run, argv)


def device() -> str:
    """``'cuda'`` if PyTorch finds a GPU, else ``'cpu'``."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'
