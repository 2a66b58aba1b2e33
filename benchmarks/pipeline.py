"""What a train pipeline costs an image, beside the stock transforms that do the same."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.registry import SCOPE

WARMUP = 3
# Our transforms that stand for stock ones, each with the arguments that stock does not have.
OURS = {
    'LoadImageFromFile': (),
    'LoadAnnotations': ('num_classes', 'ignore_index'),
    'RandomResizedCrop': (),
    'PhotoMetricDistortion': (),
}


@dataclass(frozen=True)
class Cost:
    """Medians in milliseconds of a step of ours, and of the stock steps that it replaces."""

    step: str
    stock: str
    stock_ms: float
    ours_ms: float

    @property
    def ratio(self) -> float:
        return self.stock_ms / self.ours_ms

    def row(self) -> dict[str, str | float]:
        """For a line of CSV."""
        figures = dict(stock_ms=self.stock_ms, ours_ms=self.ours_ms, ratio=self.ratio)
        return dict(step=self.step, stock=self.stock) | {key: round(value, 3) for key, value in figures.items()}


def as_stock(pipeline: Sequence[dict]) -> list[dict]:
    """The pipeline of stock transforms that makes the same images; see :mod:`mmseg_bisenet.data.augmentation`."""
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
    """Run both pipelines on ``images`` images of a data set (a config), in turn, in this process on one thread.

    Of wrapped data sets, the first is taken. Each image is given to both with the same random numbers.

    Returns:
        A cost for each of our steps, and one for the whole.

    Raises:
        InputError: the data set has no images, or one that cannot be read.
    """
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    while 'pipeline' not in dataset:
        dataset = dataset['dataset'] if 'dataset' in dataset else dataset['datasets'][0]
    replaced = [_stock_steps(step) for step in dataset['pipeline']]
    with DefaultScope.overwrite_default_scope('mmseg'):
        # Serialising fails on a data set without images.
        data = DATASETS.build({**dataset, 'pipeline': [], 'serialize_data': False})
        ours, stock = [Compose([step]) for step in dataset['pipeline']], [Compose(steps) for steps in replaced]
    if not len(data):
        raise InputError(f'{dataset["type"]}: no images in {data.data_root}; mend data_prefix, or img_suffix')
    clock = []
    for i in range(WARMUP + images):
        # Ours first: its loaders name a wrong file, and to read the file from disk counts against it.
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
