"""``mmseg-bisenet benchmark-pipeline CONFIG``: the train pipeline of a config against the stock transforms."""

import argparse
import sys
from pathlib import Path

from mmseg_bisenet.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.cli import config

    config.add_arguments(parser)
    parser.add_argument('--images', type=int, default=50, help='timed images (default: %(default)s)')
    parser.add_argument('--csv', metavar='FILE', help='write the table to this file')


def run(args: argparse.Namespace) -> int:
    import cv2

    from benchmarks import pipeline
    from mmseg_bisenet.benchmark import machine
    from mmseg_bisenet.benchmark.tables import write_csv
    from mmseg_bisenet.cli import config
    from mmseg_bisenet.data.transforms import decode_image_png_u8

    if args.images < 1:
        raise InputError('--images must be 1 or more')
    cfg = config.load(args)
    config.check_data(cfg, 'train_dataloader')
    costs = pipeline.measure(cfg.train_dataloader.dataset, args.images)
    setting = dict(
        config=Path(args.config).stem,
        images=args.images,
        machine=machine.name('cpu'),
        opencv=cv2.__version__,
        decoder='kornia-rs' if decode_image_png_u8 else 'stock',
    )
    print('{config}: {images} images, {machine}, one thread, OpenCV {opencv}, PNG decoder: {decoder}'.format(**setting))
    if not decode_image_png_u8:
        print("a faster one: pip install 'mmseg_bisenet[fast]'")
    print(f'{"step":24}{"stock ms":>9}{"ours ms":>9}{"ratio":>7}   stock')
    for cost in costs:
        print(f'{cost.step:24}{cost.stock_ms:9.2f}{cost.ours_ms:9.2f}{cost.ratio:7.2f}   {cost.stock}')
    whole = costs[-1]
    print(f'{"images/s":24}{1000 / whole.stock_ms:9.1f}{1000 / whole.ours_ms:9.1f}{whole.ratio:7.2f}')
    if args.csv:
        write_csv(args.csv, [setting | cost.row() for cost in costs])
        print(f'written to {args.csv}', file=sys.stderr)
    return 0
