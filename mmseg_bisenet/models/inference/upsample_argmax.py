"""Bilinear upsampling and argmax in one pass: labels from low-resolution logits, without a full-size float map.

Bilinear interpolation is separable into columns and rows. There are three implementations:

- CPU with Numba: rows of logits are interpolated to full width, in tiles that fit into the first-level cache. Each row
  of labels then compares, class by class, the weighted sums of two such rows, in vector registers.
- CPU without Numba: PyTorch's operators do the same on strips of rows.
- CUDA: a Triton kernel (``upsample_argmax_triton.py``). Without Triton, PyTorch's operators.

All give the labels of ``F.interpolate`` and ``argmax``: the first of equal classes, and NaN is the largest. They round
in a different order, so classes whose logits differ only in the last bits may be swapped.
"""

import functools
import itertools
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.inference.labels import largest

TILE = 128  # columns: two rows of 19 classes are 19 KB
STRIP = 2**17  # pixels in a strip, for PyTorch's operators
JOB = 2**16  # pixels per thread at least


def upsample_argmax(logits: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """The class with the largest logit at each pixel, after bilinear upsampling; the first of equals.

    Args:
        logits: (N, C, h, w), C at most 256, any floating type, contiguous or not; interpolated in float32.
        size: height H and width W of the labels, larger or smaller than h and w.
        align_corners: align the centres of the corner pixels.

    Returns:
        (N, H, W) uint8.

    Raises:
        InputError: more than 256 classes.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or not logits.numel():
        return reference(logits, size, align_corners)
    if logits.shape[1] == 1:
        return logits.new_zeros(len(logits), *size, dtype=torch.uint8)
    _check(logits)
    implementations = {'cpu': _on_cpu, 'cuda': _on_cuda}
    return implementations.get(logits.device.type, reference)(logits.detach(), size, align_corners)


def reference(logits: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """:func:`upsample_argmax` in three operators of PyTorch, for traced graphs and for tests."""
    _check(logits)
    return _interpolate(logits.float(), size, align_corners).argmax(1).to(torch.uint8)


def _check(logits: Tensor) -> None:
    if logits.shape[1] > 256:
        raise InputError(f'logits of {logits.shape[1]} classes: labels are uint8; use a model of at most 256 classes')


def _interpolate(x: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    return F.interpolate(x, tuple(size), mode='bilinear', align_corners=align_corners)


def _taps(small: int, large: int, align_corners: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of ``large`` rows or columns: its two neighbours among ``small``, and the weight of the second."""
    places = np.arange(large, dtype=np.float32)
    if align_corners:
        places *= np.float32((small - 1) / max(large - 1, 1))
    else:
        places = np.maximum((places + np.float32(0.5)) * np.float32(small / large) - np.float32(0.5), 0)
    first = np.minimum(places.astype(np.int64), small - 1)
    return first, np.minimum(first + 1, small - 1), np.minimum(places - first.astype(np.float32), 1)


# On CUDA

_triton_failed = False


def _on_cuda(logits: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    global _triton_failed
    if not _triton_failed:
        try:
            from mmseg_bisenet.models.inference import upsample_argmax_triton

            return upsample_argmax_triton.upsample_argmax(logits, size, align_corners)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # Triton is not installed, or finds no C compiler; it has its own exceptions
            _triton_failed = True
            reason = str(error).strip().partition('\n')[0]
            warnings.warn(f'Triton fails, so labels take more time and memory: {reason}', stacklevel=3)
    return reference(logits, size, align_corners)


# On a CPU


def _on_cpu(logits: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    return (_with_numba if _kernel() else _in_strips)(logits, size, align_corners)


def _in_strips(logits: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    if not logits.isfinite().all():
        return reference(logits, size, align_corners)
    wide = _interpolate(logits.float().contiguous(), (logits.shape[2], size[1]), align_corners)
    upper, lower, weights = map(torch.from_numpy, _taps(logits.shape[2], size[0], align_corners))
    labels = torch.empty(len(logits), *size, dtype=torch.uint8)
    rows = max(STRIP // (len(logits) * size[1]), 1)
    for first in range(0, size[0], rows):
        strip = slice(first, first + rows)
        planes = (
            torch.lerp(x.index_select(1, upper[strip]), x.index_select(1, lower[strip]), weights[strip, None])
            for x in wide.unbind(1)
        )
        labels[:, strip] = largest(planes, torch.uint8)
    return labels


def _with_numba(logits: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    labels = torch.empty(len(logits), *size, dtype=torch.uint8)
    arguments: tuple[Any, ...] = (
        logits.float().contiguous().numpy(),
        *_taps(logits.shape[2], size[0], align_corners),
        *_taps(logits.shape[3], size[1], align_corners),
        labels.numpy(),
    )
    # Our own threads: one of Numba's threading layers can't be called from two threads, another not after a fork.
    threads = torch.get_num_threads()
    jobs = min(threads, labels.numel() // JOB + 1)
    starts = [len(logits) * size[0] * job // jobs for job in range(jobs + 1)]
    pool, kernel = _pool(threads, os.getpid()), _kernel()
    try:
        others = {pool.submit(kernel, *arguments, *rows): rows for rows in itertools.pairwise(starts[1:])}
    except RuntimeError:  # the interpreter is shutting down, while other threads may still run
        kernel(*arguments, starts[0], starts[-1])
        return labels
    kernel(*arguments, *starts[:2])
    for other, rows in others.items():
        if other.cancel():  # it has not started: no core was free
            kernel(*arguments, *rows)
        else:
            other.result()
    return labels


@functools.cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """One pool per process id, because a forked process has none of its parent's threads."""
    return ThreadPoolExecutor(threads, thread_name_prefix='upsample_argmax')


@functools.cache
def _kernel() -> Any:
    """:func:`_label_rows` compiled, cached on disk if possible; None without Numba."""
    try:
        import numba
    except ImportError:
        return None
    places, weights = numba.int64[::1], numba.float32[::1]
    signature = numba.void(
        numba.float32[:, :, :, ::1], *[places, places, weights] * 2, numba.uint8[:, :, ::1], *[numba.int64] * 2
    )
    # Of fastmath, only fused multiply-adds keep NaN and ties as they are.
    options: dict[str, Any] = {'nogil': True, 'fastmath': {'contract'}}
    try:
        return numba.njit(signature, cache=True, **options)(_label_rows)
    except Exception:  # the cache folder cannot be written, or its content is broken
        return numba.njit(signature, **options)(_label_rows)


def _label_rows(logits, upper, lower, row_weights, left, right, column_weights, labels, start, stop):
    """Write rows ``start`` to ``stop`` of labels (N, H, W), counted across images, from logits (N, C, h, w)."""
    classes = logits.shape[1]
    height, width = labels.shape[1:]
    lines = np.zeros((2, classes, TILE), np.float32)  # rows of logits at full width, even and odd
    best = np.empty(TILE, np.float32)
    label = np.empty(TILE, np.uint8)
    for column in range(0, width, TILE):
        columns = min(TILE, width - column)
        first, second = left[column : column + TILE], right[column : column + TILE]
        weights = column_weights[column : column + TILE]
        for index in range(start, stop):
            image = index // height
            y = index - image * height
            for row in (upper[y], lower[y]):
                if index == start or y == 0 or (row != upper[y - 1] and row != lower[y - 1]):
                    for c in range(classes):
                        source, line = logits[image, c, row], lines[row & 1, c]
                        for x in range(columns):
                            weight = weights[x]
                            line[x] = (np.float32(1) - weight) * source[first[x]] + weight * source[second[x]]
            above, below = lines[upper[y] & 1], lines[lower[y] & 1]
            weight = row_weights[y]
            rest = np.float32(1) - weight
            for x in range(TILE):
                best[x] = rest * above[0, x] + weight * below[0, x]
                label[x] = 0
            for c in range(1, classes):
                upper_line, lower_line = above[c], below[c]
                for x in range(TILE):
                    value = rest * upper_line[x] + weight * lower_line[x]
                    top = best[x]
                    larger = (value > top) | ((value != value) & (top == top))
                    best[x] = value if larger else top
                    label[x] = np.uint8(c) if larger else label[x]
            labels[image, y, column : column + columns] = label[:columns]
