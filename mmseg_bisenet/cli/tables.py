"""``mmseg-bisenet tables``: the tables of the documentation from the CSV files of the benchmarks."""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    files = ['README.md', 'docs/performance.md', 'docs/evaluation.md']
    parser.add_argument('files', nargs='*', default=files, metavar='FILE', help=f'default: {" ".join(files)}')


def run(args: argparse.Namespace) -> int:
    from benchmarks import published

    for file in args.files:
        for name in published.renew(Path(file)):
            print(f'{file}: {name} is not there: not measured', file=sys.stderr)
    return 0
