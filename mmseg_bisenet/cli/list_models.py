"""``mmseg-bisenet list [PATTERN]``: the models of the model index as a table."""

import argparse
from pathlib import Path

from mmseg_bisenet import model_index
from mmseg_bisenet.errors import InputError

HEADER = ('model', 'data', 'mIoU', 'ms+flip', 'parameters', f'multiply-adds, {model_index.SIZE}', 'weights')
NUMBERS = range(2, 6)  # the columns that are aligned to the right


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'pattern',
        nargs='?',
        default='*',
        metavar='PATTERN',
        help='part of the names, or a shell pattern (default: all)',
    )


def run(args: argparse.Namespace) -> int:
    entries = [model_index.find(name) for name in model_index.list_models(f'*{args.pattern}*')]
    if not entries:
        raise InputError(f'no model matches {args.pattern!r}; mmseg-bisenet list shows all of them')
    rows = [HEADER, *map(_row, entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            f'{cell:{">" if i in NUMBERS else "<"}{width}}'
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print('  '.join(cells).rstrip())
    return 0


def _row(entry: model_index.Entry) -> tuple[str, ...]:
    weights = 'in the package' if isinstance(entry.weights, Path) else 'to download' if entry.weights else 'none'
    return (
        entry.name,
        entry.data,
        '' if entry.miou is None else f'{entry.miou:.2f}',
        '' if entry.miou_flip is None else f'{entry.miou_flip:.2f}',
        '' if entry.parameters is None else f'{entry.parameters:.2f} M',
        '' if entry.multiply_adds is None else f'{entry.multiply_adds:.1f} G',
        weights,
    )
