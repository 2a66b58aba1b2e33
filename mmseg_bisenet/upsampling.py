"""From low-resolution logits to labels, on arrays: bilinear upsampling and argmax in one pass, without PyTorch.

Upsampled logits are never stored: for 19 classes they take 76 times the memory of the labels. Rows of labels are
written in several threads. Two kernels do the same:

- with Numba (``upsampling_numba.py``), rows of logits are interpolated to full width, in tiles that fit into the
  first-level cache. Each row of labels then compares, class by class, the weighted sums of two such rows, in vector
  registers;
- without Numba, NumPy works on strips of rows, in more time.

Labels are those of PyTorch's ``F.interpolate`` and ``argmax``: the first of equal classes, and NaN is the largest. The
order of rounding differs, so classes whose logits differ only in the last bits may be swapped.
"""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mmseg_bisenet import openmp
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.sizes import height_and_width

STRIP = 2**15  # pixels in a strip, for NumPy
JOB = 2**16  # pixels per thread at least
PROCESS = os.getpid()  # one that is forked from it lacks OpenMP's threads, and would wait for them


def upsample_argmax(
    logits: np.ndarray, size: Sequence[int], align_corners: bool = False, threads: int = 1, in_openmp: bool = False
) -> np.ndarray:
    """The class with the largest logit at each pixel, after bilinear upsampling; the first of equals.

    Args:
        logits: (N, C, h, w), C at most 256, any floating type; interpolated in float32.
        size: height H and width W of the labels, larger or smaller than h and w.
        align_corners: align the centres of the corner pixels.
        threads: that work at the same time.
        in_openmp: in OpenMP's threads, for logits that were computed in them. They keep spinning for some time, and
            other threads would have to share the cores with them.

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
    arrays: tuple[Any, ...] = (
        np.ascontiguousarray(logits, np.float32),
        *taps(logits.shape[2], height, align_corners),
        *taps(logits.shape[3], width, align_corners),
        labels,
    )
    units = min(threads, labels.size // JOB + 1)
    if kernel := _kernel():
        from mmseg_bisenet import loops

        memory = loops.memory([*logits.shape, height, width, units, *(array.ctypes.data for array in arrays)])
        if in_openmp and os.getpid() == PROCESS and openmp.parallel():
            loops.run(kernel, memory, threads)  # all, since a smaller team ends the others
            return labels
        work = functools.partial(loops.call, kernel, memory, arrays)
    else:
        starts = [len(logits) * height * unit // units for unit in range(units + 1)]
        work = functools.partial(_label_rows, arrays, iter([*itertools.pairwise(starts)]))
    _run(work, units, threads)
    return labels


def _run(work: Callable[[], None], count: int, threads: int) -> None:
    """Call it at the same time in ``count`` of our own threads: one of Numba's threading layers can't be called from
    two threads, another not after a fork.
    """
    pool = _pool(threads, os.getpid())
    others = []
    with contextlib.suppress(RuntimeError):  # the interpreter is shutting down, while other threads may still run
        others = [pool.submit(work) for _ in range(count - 1)]
    work()
    for other in others:
        if not other.cancel():  # otherwise it has not started: no core was free, and nothing is left to do
            other.result()


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
def _kernel() -> Any:
    """The kernel that Numba compiles, or None without Numba."""
    try:
        from mmseg_bisenet import loops, upsampling_numba
    except ImportError:
        return None
    return loops.compiled(upsampling_numba.label_rows, fused=True)


def _label_rows(arrays: tuple[Any, ...], units: Iterator[tuple[int, int]]) -> None:
    """The same in NumPy, for rows from the first to the second of each unit, counted across images."""
    for rows in units:
        label_rows_in_strips(*(*arrays, *rows))


def label_rows_in_strips(
    logits: np.ndarray,
    upper: np.ndarray,
    lower: np.ndarray,
    row_weights: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    column_weights: np.ndarray,
    labels: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Write rows ``start`` to ``stop`` of labels (N, H, W), counted across images, from logits (N, C, h, w)."""
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
