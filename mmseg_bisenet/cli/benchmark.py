"""``mmseg-bisenet benchmark CONFIG [CHECKPOINT]``: frames a second, without a data set."""

import argparse
import csv
import sys
from pathlib import Path

from mmseg_bisenet.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mmseg_bisenet.cli import config

    config.add_arguments(parser)
    parser.add_argument('checkpoint', nargs='?', help='speed does not depend on it; random weights by default')
    parser.add_argument('--shape', type=int, nargs=2, default=(1024, 2048), metavar=('H', 'W'))
    parser.add_argument('--images', type=int, default=50, help='timed runs (default: %(default)s)')
    parser.add_argument('--warmup', type=int, default=5, help='runs before them (default: %(default)s)')
    parser.add_argument('--csv', metavar='FILE', help='append a line to this file')


def run(args: argparse.Namespace) -> int:
    import platform

    import torch

    from mmseg_bisenet.benchmark import latency
    from mmseg_bisenet.cli import config

    if min(*args.shape, args.images) < 1 or args.warmup < 0:
        raise InputError('--shape and --images must be 1 or more, --warmup 0 or more')
    cfg = config.load(args)
    config.drop_boosters(cfg)
    if args.checkpoint:
        config.require_checkpoint(args.checkpoint)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model = latency.build(cfg, args.checkpoint, device)
    result = latency.measure(model, *args.shape, args.images, args.warmup, device)
    setting = dict(
        config=Path(args.config).stem,
        device=torch.cuda.get_device_name() if device == 'cuda' else f'{platform.machine()} CPU',
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    print('{config}: {device}, {threads} threads, torch {torch}, fp32, batch 1'.format(**setting))
    print(f'image {result.height}x{result.width} uint8 to full-size labels, median of {result.images}')
    print(f'pre-processing  {result.preprocess_ms:8.2f} ms')
    print(f'network, labels {result.network_ms:8.2f} ms   {result.network_fps:.2f} fps')
    print(f'  90% of them   {result.network_p90_ms:8.2f} ms or less')
    print(f'together        {result.total_ms:8.2f} ms   {result.total_fps:.2f} fps')
    if args.csv:
        _append(Path(args.csv), setting | result.row())
    return 0


def _append(path: Path, row: dict) -> None:
    try:
        new = not path.exists()
        with path.open('a', newline='') as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)
    except OSError as error:
        raise InputError(f'--csv {path} cannot be written: {error.strerror}; name another file') from error
    print(f'written to {path}', file=sys.stderr)
