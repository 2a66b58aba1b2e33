"""Measure the test step of one image against MMSegmentation's, with the same weights: time and peak memory.

A test step is what ``mim test`` does with an image, from uint8 pixels to full-size labels. Stock is MMSegmentation's
``EncoderDecoder`` with its own backbone and heads. The image is synthetic.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from statistics import median

import torch
from mmengine.config import Config
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from benchmarks import command
from mmseg_bisenet.benchmark import latency, machine
from mmseg_bisenet.benchmark.memory import peak_bytes
from mmseg_bisenet.benchmark.stock import stock
from mmseg_bisenet.benchmark.tables import markdown
from mmseg_bisenet.cli import options, preflight
from mmseg_bisenet.errors import InputError

NO_COUNTERPART = (
    'MMSegmentation has no network of the same weights as {}; take a config without paper, torchseg, coincheung, x39 '
    'or l in its name, such as bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'
)


def measure(model: dict, checkpoint: str | None, height: int, width: int, repeats: int, device: str) -> list[dict]:
    """Run both segmentors in turns.

    Args:
        model: of a config of ours.
        checkpoint: weights; random ones by default.
        height, width: of the image, in pixels.
        repeats: timed runs of each.
        device: ``'cpu'`` or ``'cuda'``.

    Returns:
        A row for stock and one for ours: median milliseconds, peak memory above image and weights, the ratios of both
        to stock, and the share of pixels that have stock's label, in percent.

    Raises:
        InputError: MMSegmentation has no such network.
    """
    models = dict(stock=stock(model), ours=model | dict(auxiliary_head=None))
    networks = {name: latency.build(Config(dict(model=cfg)), checkpoint, device) for name, cfg in models.items()}
    try:
        networks['ours'].load_state_dict(networks['stock'].state_dict())
    except RuntimeError as error:
        raise InputError(NO_COUNTERPART.format(model['backbone'])) from error
    works = {name: step(network, height, width) for name, network in networks.items()}
    times = {name: [] for name in works}
    for _ in range(repeats + 1):
        labels = {}
        for name, work in works.items():
            start = latency.now(device)
            labels[name] = work()
            times[name].append(1000 * (latency.now(device) - start))
    del networks, works
    rows = []
    for name, cfg in models.items():
        peak = peak_bytes(prepare, cfg, height, width, device, device=device)
        agreement = 100 * (labels[name] == labels['stock']).double().mean().item()
        rows.append(dict(segmentor=name, ms=median(times[name][1:]), peak_mb=peak / 1e6, same_labels=agreement))
    for row in rows:
        row.update(time_ratio=row['ms'] / rows[0]['ms'], memory_ratio=row['peak_mb'] / max(rows[0]['peak_mb'], 1e-6))
    return rows


def prepare(model: dict, height: int, width: int, device: str) -> Callable[[], Tensor]:
    """Build a segmentor with random weights, ready for its first image."""
    return step(latency.build(Config(dict(model=model)), None, device), height, width)


def step(network: nn.Module, height: int, width: int) -> Callable[[], Tensor]:
    """The function that is returned predicts the labels (1, H, W) of one synthetic image."""
    pixels = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(0)).byte()

    @torch.no_grad()
    def work() -> Tensor:
        sample = SegDataSample(metainfo=dict(img_shape=(height, width), ori_shape=(height, width)))
        return network.test_step(dict(inputs=[pixels], data_samples=[sample]))[0].pred_sem_seg.data

    return work


# -- command -----------------------------------------------------------------------------------------------------------

COLUMNS = dict(ms=0, time_ratio=2, peak_mb=0, memory_ratio=2, same_labels=4)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser)
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file; random weights by default')
    parser.add_argument(
        '--shape', type=int, nargs=2, default=(1024, 2048), metavar=('H', 'W'), help='of the image (default: 1024 2048)'
    )
    parser.add_argument('--repeats', type=int, default=5, help='timed runs of each (default: %(default)s)')


def run(args: argparse.Namespace) -> list[dict]:
    if min(*args.shape, args.repeats) < 1:
        raise InputError('--shape and --repeats must be 1 or more')
    cfg = options.load(args)
    if args.checkpoint:
        preflight.require_checkpoint(args.checkpoint)
    device = command.device()
    rows = measure(cfg.model.to_dict(), args.checkpoint, *args.shape, args.repeats, device)
    height, width = args.shape
    setting = dict(device=machine.name(device), threads=torch.get_num_threads(), torch=torch.__version__)
    print('{device}, {threads} threads, torch {torch}'.format(**setting), f'one image of {height}x{width}', sep='; ')
    cells = [[row['segmentor'], *(f'{row[key]:.{digits}f}' for key, digits in COLUMNS.items())] for row in rows]
    print(markdown(['segmentor', 'ms', 'to stock', 'peak MB', 'to stock', 'same labels, %'], 'lrrrrr', cells))
    return [dict(config=args.config) | setting | dict(height=height, width=width) | row for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    return command.benchmark('evaluation', __doc__, add_arguments, run, argv)


if __name__ == '__main__':
    sys.exit(main())
