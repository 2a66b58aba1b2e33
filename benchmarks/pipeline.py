"""Measure the train pipeline of a config against the stock transforms that make the same images.

Both pipelines run in this process, on one thread.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

from benchmarks import command
from mmseg_bisenet.benchmark import machine
from mmseg_bisenet.cli import options, preflight
from mmseg_bisenet.data.transforms import decode_image_png_u8
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.registry import SCOPE

WARMUP = 3
# Our transforms that replace stock ones, each with the arguments that stock lacks.
OURS = {
    'LoadImageFromFile': (),
    'LoadAnnotations': ('num_classes', 'ignore_index'),
    'RandomResizedCrop': (),
    'PhotoMetricDistortion': (),
}


@dataclass(frozen=True)
class Cost:
    """Median milliseconds of one of our steps, and of the stock steps that it replaces."""

    step: str
    stock: str
    stock_ms: float
    ours_ms: float

    @property
    def ratio(self) -> float:
        return self.stock_ms / self.ours_ms

    def row(self) -> dict[str, str | float]:
        """A row of the CSV file."""
        figures = dict(stock_ms=self.stock_ms, ours_ms=self.ours_ms, ratio=self.ratio)
        return dict(step=self.step, stock=self.stock) | {key: round(value, 3) for key, value in figures.items()}


def as_stock(pipeline: Sequence[dict]) -> list[dict]:
    """The stock transforms that make the same images; see :mod:`mmseg_bisenet.data.augmentation`."""
    return [stock for step in pipeline for stock in _stock_steps(step)]


def _stock_steps(step: dict) -> list[dict]:
    scope, _, name = str(step['type']).rpartition('.')
    if (scope or step.get('_scope_')) != SCOPE or name not in OURS:
        return [step]
    arguments = {key: value for key, value in step.items() if key not in ('type', '_scope_', *OURS[name])}
    if name != 'RandomResizedCrop':
        return [dict(type=name, **arguments)]
    resize = {key: arguments.pop(key) for key in ('scale', 'ratio_range', 'scales') if key in arguments}
    kind = 'RandomChoiceResize' if 'scales' in resize else 'RandomResize'
    return [dict(type=kind, **resize, keep_ratio=True), dict(type='RandomCrop', **arguments)]


def measure(dataset: dict, images: int) -> list[Cost]:
    """Run both pipelines in turns, with the same random numbers for each image.

    Args:
        dataset: config of a data set; of several in a wrapper, the first is used.
        images: timed images.

    Returns:
        A cost for each of our steps, and one for the whole pipeline.

    Raises:
        InputError: the data set has no images, or an image cannot be read.
    """
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    while 'pipeline' not in dataset:
        dataset = dataset['dataset'] if 'dataset' in dataset else dataset['datasets'][0]
    replaced = [_stock_steps(step) for step in dataset['pipeline']]
    with DefaultScope.overwrite_default_scope('mmseg'):
        # Serialization fails for a data set without images.
        data = DATASETS.build({**dataset, 'pipeline': [], 'serialize_data': False})
        ours, stock = [Compose([step]) for step in dataset['pipeline']], [Compose(steps) for steps in replaced]
    if not len(data):
        raise InputError(f'{dataset["type"]}: no images in {data.data_root}; fix data_prefix or img_suffix')
    clock = []
    for i in range(WARMUP + images):
        # Ours runs first: its loader names a file that is wrong. The first read from the disk counts against ours.
        clock.append([_run(steps, data[i % len(data)], seed=i) for steps in (ours, stock)])
    ours_ms, stock_ms = np.array(clock[WARMUP:]).transpose(1, 2, 0) * 1000
    costs = [
        Cost(_names([step]), _names(steps), float(np.median(theirs)), float(np.median(mine)))
        for step, steps, mine, theirs in zip(dataset['pipeline'], replaced, ours_ms, stock_ms, strict=True)
    ]
    return [*costs, Cost('whole', 'whole', float(np.median(stock_ms.sum(0))), float(np.median(ours_ms.sum(0))))]


def _run(steps: Sequence[Callable[[dict], dict]], results: dict, seed: int) -> list[float]:
    """Seconds of each step."""
    np.random.seed(seed)
    clock = [time.perf_counter()]
    for step in steps:
        results = step(results)
        clock.append(time.perf_counter())
    return np.diff(clock).tolist()


def _names(steps: Sequence[dict]) -> str:
    return ', '.join(str(step['type']).rpartition('.')[2] for step in steps)


# -- command -----------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser)
    parser.add_argument('--images', type=int, default=50, help='timed images (default: %(default)s)')


def run(args: argparse.Namespace) -> list[dict]:
    if args.images < 1:
        raise InputError('--images must be 1 or more')
    cfg = options.load(args)
    preflight.check_data(cfg, 'train_dataloader')
    costs = measure(cfg.train_dataloader.dataset, args.images)
    setting = dict(
        config=Path(args.config).stem,
        images=args.images,
        machine=machine.name('cpu'),
        opencv=cv2.__version__,
        decoder='kornia-rs' if decode_image_png_u8 else 'stock',
    )
    print('{config}: {images} images, {machine}, one thread, OpenCV {opencv}, PNG decoder: {decoder}'.format(**setting))
    if not decode_image_png_u8:
        print('kornia-rs decodes PNG files faster; the extra `fast` of this package installs it')
    print(f'{"step":24}{"stock ms":>9}{"ours ms":>9}{"ratio":>7}   stock')
    for cost in costs:
        print(f'{cost.step:24}{cost.stock_ms:9.2f}{cost.ours_ms:9.2f}{cost.ratio:7.2f}   {cost.stock}')
    whole = costs[-1]
    print(f'{"images/s":24}{1000 / whole.stock_ms:9.1f}{1000 / whole.ours_ms:9.1f}{whole.ratio:7.2f}')
    return [setting | cost.row() for cost in costs]


def main(argv: Sequence[str] | None = None) -> int:
    return command.benchmark('pipeline', __doc__, add_arguments, run, argv)


if __name__ == '__main__':
    sys.exit(main())
