"""``mmseg-bisenet benchmark-loss``: the losses of all heads against MMSegmentation's, time and peak memory."""

import argparse

from mmseg_bisenet.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--batch', type=int, default=4, help='images (default: %(default)s)')
    parser.add_argument('--shape', type=int, nargs=2, default=(1024, 1024), metavar=('H', 'W'), help='of the labels')
    parser.add_argument('--classes', type=int, default=19, help='default: %(default)s')
    parser.add_argument('--heads', type=int, default=5, help='default: %(default)s')
    parser.add_argument('--repeats', type=int, default=5, help='timed runs of each (default: %(default)s)')
    parser.add_argument('--csv', metavar='FILE', help='write the table there')


def run(args: argparse.Namespace) -> int:
    import torch

    from benchmarks import loss
    from mmseg_bisenet.benchmark import machine, tables

    if min(args.batch, *args.shape, args.classes, args.heads, args.repeats) < 1 or min(args.shape) < loss.STRIDE:
        raise InputError(f'--shape must be {loss.STRIDE} or more each way, all other numbers 1 or more')
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    rows = loss.measure(loss.Setting(args.batch, *args.shape, args.classes, args.heads, device), args.repeats)
    name = machine.name(device)
    print(
        f'{name}, {torch.get_num_threads()} threads, torch {torch.__version__}; {args.heads} heads, '
        f'{args.batch}x{args.classes}x{args.shape[0]}x{args.shape[1]}, forward and backward'
    )
    cells = [[row['loss'], *(f'{row[key]:.{digits}f}' for key, digits in COLUMNS.items())] for row in rows]
    print(tables.markdown(['loss', 'ms', 'to stock', 'peak MB', 'to stock'], 'lrrrr', cells))
    if args.csv:
        setting = dict(device=name, threads=torch.get_num_threads(), torch=torch.__version__)
        tables.write_csv(args.csv, [setting | row for row in rows])
    return 0


COLUMNS = dict(ms=0, time_ratio=2, peak_mb=0, memory_ratio=2)
