"""How long one image takes at batch 1, for several methods of computing its labels, in turns.

The load of the machine changes from minute to minute, and the times of all methods change with it. So the methods run
interleaved: in each round one image each, in an order that rotates. Their ratios then hold even if their times do not.
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
from torch import Tensor, nn

import mmseg_bisenet.checkpoints  # noqa: F401, lets MMEngine read `.safetensors`, in processes of their own too
from mmseg_bisenet.checkpoints.fit import build_model

# Threads of a runtime may spin for a while after an image, and would take the cores from the next method.
PAUSE = 0.05  # seconds


@dataclass(frozen=True)
class Method:
    """A method of computing the labels of an image.

    Args:
        work: what ``setup`` returns -> labels (H, W). Only this is timed.
        stages: runs one more image, and returns the milliseconds of pre-processing, network and post-processing; None
            if they cannot be told apart.
    """

    runtime: str
    precision: str
    work: Callable[[Any], Tensor | np.ndarray]
    setup: Callable[[], Any]
    stages: Callable[[], tuple[float, float, float]] | None = None


def build(cfg: Config, checkpoint: str | None, device: str) -> nn.Module:
    """The segmentor of ``cfg``, ready for prediction on one device."""
    scope = cfg.get('default_scope', 'mmseg')
    init_default_scope(scope)
    model = build_model(cfg.model, scope)
    if checkpoint:
        load_checkpoint(model, checkpoint, map_location='cpu', logger='silent')
    return revert_sync_batchnorm(model).eval().to(device)


def interleave(
    methods: Sequence[Method], images: int, warmup: int, clock: Callable[[], float], pause: float = 0
) -> list[list[float]]:
    """The milliseconds of ``images`` images for each method, after ``warmup`` rounds that are not counted.

    Args:
        clock: in seconds; see :func:`now`.
        pause: seconds between two images.
    """
    times: list[list[float]] = [[] for _ in methods]
    for number in range(warmup + images):
        first = number % len(methods)
        for index in [*range(first, len(methods)), *range(first)]:
            time.sleep(pause)
            elapsed, _ = lap(methods[index], clock)
            if number >= warmup:
                times[index].append(elapsed)
    return times


def lap(method: Method, clock: Callable[[], float]) -> tuple[float, Tensor | np.ndarray]:
    """Milliseconds of one image, and its labels."""
    given = method.setup()
    start = clock()
    labels = method.work(given)
    return 1000 * (clock() - start), labels


def statistics(times: Sequence[float], mean: bool = False) -> dict[str, float]:
    """Percentiles and mean of milliseconds; and images a second, of the median, or of the mean if ``mean``."""
    p50, p90, p99 = (float(value) for value in np.percentile(times, [50, 90, 99]))
    average = float(np.mean(times))
    return dict(p50_ms=p50, p90_ms=p90, p99_ms=p99, mean_ms=average, fps=1000 / (average if mean else p50))


def same_labels(labels: Tensor | np.ndarray, reference: Tensor | np.ndarray) -> float:
    """Percent of the pixels that have the same label in both maps (H, W)."""
    labels, reference = (torch.as_tensor(given).cpu() for given in (labels, reference))
    return 100 * (labels == reference).double().mean().item()


@contextmanager
def cudnn_benchmark(device: str) -> Iterator[None]:
    """On a GPU, let cuDNN measure its convolutions and take the fastest; by default it chooses by heuristics."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or device == 'cuda'
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def now(device: str) -> float:
    """Seconds on a clock that is read when the device has finished its work."""
    if device.startswith('cuda'):
        torch.cuda.synchronize()
    return time.perf_counter()
