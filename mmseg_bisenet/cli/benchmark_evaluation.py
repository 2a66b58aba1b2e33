"""``mmseg-bisenet benchmark-evaluation``: the test step of an image against MMSegmentation's, time and peak memory."""

import argparse

from mmseg_bisenet.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.cli import config

    config.add_arguments(parser)
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file; without one, random weights')
    parser.add_argument(
        '--shape', type=int, nargs=2, default=(1024, 2048), metavar=('H', 'W'), help='of the image (default: 1024 2048)'
    )
    parser.add_argument('--repeats', type=int, default=5, help='timed runs of each (default: %(default)s)')
    parser.add_argument('--csv', metavar='FILE', help='write the table there')


def run(args: argparse.Namespace) -> int:
    import torch

    from benchmarks import evaluation
    from mmseg_bisenet.benchmark import machine, tables
    from mmseg_bisenet.cli import config

    if min(*args.shape, args.repeats) < 1:
        raise InputError('--shape and --repeats must be 1 or more')
    config.require_file('--csv', args.csv)
    cfg = config.load(args)
    if args.checkpoint:
        config.require_checkpoint(args.checkpoint)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    rows = evaluation.measure(cfg.model.to_dict(), args.checkpoint, *args.shape, args.repeats, device)
    name = machine.name(device)
    print(
        f'{name}, {torch.get_num_threads()} threads, torch {torch.__version__}; '
        f'one image of {args.shape[0]}x{args.shape[1]}, to labels'
    )
    cells = [[row['segmentor'], *(f'{row[key]:.{digits}f}' for key, digits in COLUMNS.items())] for row in rows]
    print(tables.markdown(['segmentor', 'ms', 'to stock', 'peak MB', 'to stock', 'same labels, %'], 'lrrrrr', cells))
    if args.csv:
        setting = dict(config=args.config, device=name, threads=torch.get_num_threads(), torch=torch.__version__)
        tables.write_csv(args.csv, [setting | dict(height=args.shape[0], width=args.shape[1]) | row for row in rows])
    return 0


COLUMNS = dict(ms=0, time_ratio=2, peak_mb=0, memory_ratio=2, same_labels=4)
