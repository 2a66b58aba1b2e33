"""``mmseg-bisenet benchmark-roofline``: what a network costs at least on this machine."""

import argparse

from mmseg_bisenet.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='path of a config, or the bare name of one of this package')
    parser.add_argument(
        '--shape', type=int, nargs=2, default=(1024, 2048), metavar=('H', 'W'), help='of the image (default: 1024 2048)'
    )
    parser.add_argument('--csv', metavar='FILE', help='write the table there')


def run(args: argparse.Namespace) -> int:
    import torch

    from benchmarks import roofline
    from mmseg_bisenet.benchmark import machine, tables
    from mmseg_bisenet.cli import config
    from mmseg_bisenet.zoo import get_model

    if min(args.shape) < 1:
        raise InputError('--shape must be 1 or more')
    config.require_file('--csv', args.csv)
    segmentor = get_model(str(config.find(args.config)))
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    setting = machine.describe(device)
    setting.pop('tf32', None)  # each row says it by its precision
    rows = roofline.measure(segmentor, *args.shape, device)
    print(machine.line(setting))
    print(f'{args.config}, {args.shape[0]}x{args.shape[1]}: {rows[0]["multiply_adds_g"]:.1f} G multiply-adds')
    cells = [[row['precision'], *(f'{row[key]:{form}}' for key, form in FIGURES.items())] for row in rows]
    print(tables.markdown(HEADER, 'lrrrr', cells))
    if args.csv:
        shape = dict(config=args.config, height=args.shape[0], width=args.shape[1])
        tables.write_csv(args.csv, [shape | setting | row for row in rows])
    return 0


HEADER = ['precision', 'G multiply-adds/s', 'floor of them, ms', 'copy, GB/s', 'floor of the maps, ms']
FIGURES = dict(rate_g='.0f', compute_floor_ms='.1f', copy_gb_s='.1f', memory_floor_ms='.1f')
