"""``mmseg-bisenet benchmark-training``: a training step against MMSegmentation's, images a second and peak memory."""

import argparse

from mmseg_bisenet.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.cli import config

    config.add_arguments(parser)
    parser.add_argument('--batch', type=int, nargs='+', default=[4, 16], help='images a step (default: 4 16)')
    parser.add_argument(
        '--shape', type=int, nargs=2, default=(1024, 1024), metavar=('H', 'W'), help='of the crops (default: 1024 1024)'
    )
    parser.add_argument('--steps', type=int, default=10, help='timed steps of each way (default: %(default)s)')
    parser.add_argument('--compile', action='store_true', help='compare compiled backbones too')
    parser.add_argument('--csv', metavar='FILE', help='write the table there')


def run(args: argparse.Namespace) -> int:
    import torch

    from benchmarks import training
    from mmseg_bisenet.benchmark import machine, tables
    from mmseg_bisenet.cli import config

    if min(*args.shape, args.steps) < 1:
        raise InputError('--shape and --steps must be 1 or more')
    if min(args.batch) < 2:
        raise InputError(f'--batch {min(args.batch)}: batch norm over 1x1 maps needs 2 images or more')
    config.require_file('--csv', args.csv)
    cfg = config.load(args)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    compared = training.ways(device, args.compile)
    setting = machine.describe(device)
    setting.pop('tf32', None)  # each row says it by its precision
    print(machine.line(setting))
    rows = []
    for batch in args.batch:
        model, optimizer = cfg.model.to_dict(), cfg.optim_wrapper.to_dict()
        measured = training.measure(model, optimizer, compared, batch, tuple(args.shape), args.steps, device)
        print(f'\nbatch {batch} of {args.shape[0]}x{args.shape[1]}, {cfg.model.num_classes} classes')
        print(tables.markdown(HEADER, 'llllrrrrr', map(_cells, measured)))
        rows += [dict(config=args.config) | setting | row for row in measured]
    if args.csv:
        tables.write_csv(args.csv, rows)
    return 0


HEADER = ['network', 'precision', 'channels_last', 'compiled', 'ms', 'images/s', 'to stock', 'peak MB', 'to stock']
FIGURES = dict(ms='.0f', images_s='.2f', speed_ratio='.2f', peak_mb='.0f', memory_ratio='.2f')


def _cells(row: dict) -> list[str]:
    flags = ['yes' if row[key] else '' for key in ('channels_last', 'compiled')]
    return [row['network'], row['precision'], *flags, *(f'{row[key]:{form}}' for key, form in FIGURES.items())]
