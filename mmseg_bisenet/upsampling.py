"""From low-resolution logits to labels, on arrays: bilinear upsampling and argmax in one pass, without PyTorch.

Upsampled logits are never stored: for 19 classes they take 76 times the memory of the labels. Rows of
labels are written in several threads. Two kernels do the same:

- with Numba, rows of logits are interpolated to full width, in tiles that fit into the first-level cache. Each row of
  labels then compares, class by class, the weighted sums of two such rows, in vector registers;
- without Numba, NumPy works on strips of rows, in more time.

Labels are those of PyTorch's ``F.interpolate`` and ``argmax``: the first of equal classes, and NaN is the largest. The
order of rounding differs, so classes whose logits differ only in the last bits may be swapped.
"""

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.sizes import height_and_width

TILE = 128  # columns: two rows of 19 classes are 19 KB
STRIP = 2**15  # pixels in a strip, for NumPy
JOB = 2**16  # pixels per thread at least


def upsample_argmax(
    logits: np.ndarray, size: Sequence[int], align_corners: bool = False, threads: int = 1
) -> np.ndarray:
    """The class with the largest logit at each pixel, after bilinear upsampling; the first of equals.

    Args:
        logits: (N, C, h, w), C at most 256, any floating type; interpolated in float32.
        size: height H and width W of the labels, larger or smaller than h and w.
        align_corners: align the centres of the corner pixels.
        threads: that work at the same time.

    Returns:
        (N, H, W) uint8.

    Raises:
        InputError: logits of another shape, without classes or pixels, or of more than 256 classes; a size that is not
            two numbers of 1 or more; no thread.
    """
    height, width = check(logits.shape, size)
    if type(threads) is not int or threads < 1:
        raise InputError(f'threads={threads!r}: give 1 or more')
    labels = np.empty((len(logits), height, width), np.uint8)
    arguments: tuple[Any, ...] = (
        np.ascontiguousarray(logits, np.float32),
        *taps(logits.shape[2], height, align_corners),
        *taps(logits.shape[3], width, align_corners),
        labels,
    )
    # Our own threads: one of Numba's threading layers can't be called from two threads, another not after a fork.
    jobs = min(threads, labels.size // JOB + 1)
    starts = [len(logits) * height * job // jobs for job in range(jobs + 1)]
    pool = _pool(threads, os.getpid())
    kernel: Callable[..., None] = _kernel() or label_rows_in_strips
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


def check(shape: Sequence[int], size: Sequence[int]) -> tuple[int, int]:
    """Height and width of the labels.

    Raises:
        InputError: as :func:`upsample_argmax`.
    """
    if len(shape) != 4 or 0 in shape[1:]:
        raise InputError(f'logits of shape {tuple(shape)}: give (N, C, h, w) with classes and pixels')
    check_classes(shape[1])
    height, width = height_and_width(size, 'size')
    if min(height, width) < 1:
        raise InputError(f'size={(height, width)}: give a height and a width of 1 or more')
    return height, width


def check_classes(classes: int) -> None:
    """Raises:
    InputError: more classes than a byte counts.
    """
    if classes > 256:
        raise InputError(f'logits of {classes} classes: labels are uint8; use a model of at most 256 classes')


def is_compiled() -> bool:
    """Whether Numba is here: the kernel that it compiles is faster than any runtime's own resizing and argmax."""
    return _kernel() is not None


def taps(small: int, large: int, align_corners: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of ``large`` rows or columns: its two neighbours among ``small``, and the weight of the second."""
    places = np.arange(large, dtype=np.float32)
    if align_corners:
        places *= np.float32((small - 1) / max(large - 1, 1))
    else:
        places = np.maximum((places + np.float32(0.5)) * np.float32(small / large) - np.float32(0.5), 0)
    first = np.minimum(places.astype(np.int64), small - 1)
    return first, np.minimum(first + 1, small - 1), np.minimum(places - first.astype(np.float32), 1)


@functools.cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """One pool per process id, because a forked process has none of its parent's threads."""
    return ThreadPoolExecutor(threads, thread_name_prefix='upsample_argmax')


# -- kernels -----------------------------------------------------------------------------------------------------------


@functools.cache
def _kernel() -> Callable[..., None] | None:
    """:func:`_label_rows` compiled, cached on disk if possible; None without Numba."""
    try:
        import numba
    except ImportError:
        return None
    places, weights = numba.int64[::1], numba.float32[::1]
    signature = numba.void(
        numba.float32[:, :, :, ::1], *[places, places, weights] * 2, numba.uint8[:, :, ::1], *[numba.int64] * 2
    )
    return compiled(numba.njit, signature, _label_rows, nogil=True)


def compiled(decorator: Callable[..., Any], signature: Any, function: Callable[..., None], **options: Any) -> Any:
    """The function compiled by a decorator of Numba, cached on disk if possible."""
    # Of fastmath, only fused multiply-adds keep NaN and ties as they are.
    options |= dict(fastmath={'contract'})
    try:
        return decorator(signature, cache=True, **options)(function)
    except Exception:  # the cache folder cannot be written, or its content is broken
        return decorator(signature, **options)(function)


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


def label_rows_in_strips(logits, upper, lower, row_weights, left, right, column_weights, labels, start, stop):
    """The same in NumPy."""
    height, width = labels.shape[1:]
    step = max(STRIP // width, 1)
    with np.errstate(invalid='ignore'):  # infinity times a weight of zero is NaN, as in PyTorch
        while start < stop:
            image, y = divmod(start, height)
            rows = slice(y, min(y + step, height, y + stop - start))
            above, below = upper[rows], lower[rows]
            first = above[0]
            narrow = logits[image, :, first : below[-1] + 1]
            wide = (1 - column_weights) * narrow[..., left] + column_weights * narrow[..., right]
            weights = row_weights[rows, None]
            values = (1 - weights) * wide[:, above - first] + weights * wide[:, below - first]
            labels[image, rows] = values.argmax(0)
            start += len(above)
