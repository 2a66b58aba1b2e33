"""How long one image takes at batch 1, for several ways of computing its labels, in turns.

What else the machine does changes from minute to minute, and the times of all ways with it. So the ways run
interleaved: one image each a round, in an order that rotates. Their ratios then hold where their times do not.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS
from torch import Tensor, nn

# Threads of one runtime spin for a while after an image, and would take the cores of the next one.
PAUSE = 0.05  # seconds


@dataclass(frozen=True)
class Way:
    """A way from an image to its labels.

    ``work`` takes what ``setup`` gives, to labels (H, W); only ``work`` is timed. ``stages`` runs one image more, and
    gives the milliseconds of pre-processing, network and post-processing; None where they cannot be told apart.
    """

    runtime: str
    precision: str
    work: Callable[[Any], Tensor | np.ndarray]
    setup: Callable[[], Any]
    stages: Callable[[], tuple[float, float, float]] | None = None


def build(cfg: Config, checkpoint: str | None, device: str) -> nn.Module:
    """The segmentor of ``cfg``, ready for prediction on one device."""
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    model = MODELS.build(cfg.model)
    if checkpoint:
        load_checkpoint(model, checkpoint, map_location='cpu', logger='silent')
    return revert_sync_batchnorm(model).eval().to(device)


def interleave(
    ways: Sequence[Way], images: int, warmup: int, clock: Callable[[], float], pause: float = 0
) -> list[list[float]]:
    """The milliseconds of each way's ``images``, after ``warmup`` rounds that are not counted.

    Args:
        clock: in seconds; see :func:`now`.
        pause: seconds between two images.
    """
    times = [[] for _ in ways]
    for number in range(warmup + images):
        first = number % len(ways)
        for index in [*range(first, len(ways)), *range(first)]:
            time.sleep(pause)
            elapsed, _ = lap(ways[index], clock)
            if number >= warmup:
                times[index].append(elapsed)
    return times


def lap(way: Way, clock: Callable[[], float]) -> tuple[float, Tensor | np.ndarray]:
    """Milliseconds of one image, and its labels."""
    given = way.setup()
    start = clock()
    labels = way.work(given)
    return 1000 * (clock() - start), labels


def statistics(times: Sequence[float], mean: bool = False) -> dict[str, float]:
    """Percentiles and mean of milliseconds; and images a second, of the median or of the mean."""
    p50, p90, p99 = (float(value) for value in np.percentile(times, [50, 90, 99]))
    average = float(np.mean(times))
    return dict(p50_ms=p50, p90_ms=p90, p99_ms=p99, mean_ms=average, fps=1000 / (average if mean else p50))


def same_labels(labels: Tensor | np.ndarray, reference: Tensor | np.ndarray) -> float:
    """Percent of the pixels that have the same label in both maps (H, W)."""
    labels, reference = (torch.as_tensor(given).cpu() for given in (labels, reference))
    return 100 * (labels == reference).double().mean().item()


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """PyTorch rounds convolutions to TF32 by default and products not; here both or none."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def cudnn_benchmark(device: str) -> Iterator[None]:
    """On a GPU cuDNN tries its convolutions, and takes the fastest; by default it guesses."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or device == 'cuda'
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def now(device: str) -> float:
    """Seconds on a clock that only goes on when the device is done."""
    if device.startswith('cuda'):
        torch.cuda.synchronize()
    return time.perf_counter()
