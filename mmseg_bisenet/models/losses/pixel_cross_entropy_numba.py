"""Numba kernels of :mod:`mmseg_bisenet.models.losses.pixel_cross_entropy` for CPUs.

Logits are upsampled a row of a tile at a time, in the first-level cache, and never stored. The backward pass upsamples
them again.

The rows of an image are divided into bands, which are the units of parallel work. A band reads ``BAND`` rows of logits
and the first row of the next band, and has gradients for them. The gradients of even and odd bands go to two arrays, so
no two threads write to the same place, and the sum does not depend on their number.
"""

import functools
from typing import Any

import numpy as np
import torch
from numba import carray
from numba.extending import register_jitable
from torch import Tensor

from mmseg_bisenet import loops
from mmseg_bisenet.loops import next_unit, pointer, select
from mmseg_bisenet.upsampling import taps

TILE = 128  # columns: rows of 19 classes, their gradients and exponentials take 48 KB
BAND = 8  # rows of logits
ONE = np.float32(1)


def forward(logits: Tensor, labels: Tensor, align_corners: bool, ignore_index: int) -> tuple[Tensor, Tensor]:
    """logits: (N, C, h, w) float32, labels: (N, H, W) -> what ``pixel_cross_entropy`` returns.

    Raises:
        IndexError: a label is neither a class nor ``ignore_index``.
    """
    losses, sums = (torch.empty(labels.shape) for _ in range(2))
    hits, wrong = torch.empty(labels.shape, dtype=torch.bool), torch.zeros(1, dtype=torch.int64)
    _run(_losses, logits, labels, align_corners, ignore_index, losses, sums, hits, wrong)
    if wrong:
        raise IndexError(f'a label is neither below {logits.shape[1]}, the number of classes, nor {ignore_index}')
    return losses.add_(sums.log_()), hits


def backward(logits: Tensor, labels: Tensor, gradient: Tensor, align_corners: bool, ignore_index: int) -> Tensor:
    """gradient: of the losses, (N, H, W) float32 -> gradient of the logits."""
    totals = torch.zeros(2, *logits.shape)
    _run(_gradients, logits, labels, align_corners, ignore_index, gradient.contiguous(), totals)
    return totals[0].add_(totals[1])


def _run(kernel: Any, logits: Tensor, labels: Tensor, align_corners: bool, ignore_index: int, *others: Tensor) -> None:
    (images, _, small, narrow), (labelled, height, width) = logits.shape, labels.shape
    if images != labelled:
        raise ValueError(f'logits of {images} images, and labels of {labelled}')
    logits, labels = logits.contiguous(), labels.long().contiguous()
    upper, _, weights = taps(small, height, align_corners)
    weights[upper == small - 1] = 0  # no row is below the last
    bands = np.append(np.searchsorted(upper, range(0, small, BAND)), height)
    arrays = [bands, upper, weights, *taps(narrow, width, align_corners)]
    tensors = [logits, labels, *map(torch.from_numpy, arrays), *others]
    sizes = [*logits.shape, height, width, len(bands) - 1, ignore_index]
    memory = loops.memory([*sizes, *(each.data_ptr() for each in tensors)])
    loops.run(_compiled(kernel), memory, torch.get_num_threads())


_compiled = functools.cache(functools.partial(loops.compiled, fused=True))


# -- kernels -----------------------------------------------------------------------------------------------------------


@register_jitable
def _inputs(arguments):
    """What both kernels read: the ignored label, and arrays."""
    images, classes, small, narrow, height, width, bands, ignored = arguments[1:9]
    return (
        ignored,
        carray(pointer(arguments[9]), (images, classes, small, narrow), np.float32),  # logits
        carray(pointer(arguments[10]), (images, height, width), np.int64),  # labels
        carray(pointer(arguments[11]), bands + 1, np.int64),  # first rows of labels of the bands, and their end
        carray(pointer(arguments[12]), height, np.int64),  # for a row of labels, the row of logits above
        carray(pointer(arguments[13]), height, np.float32),  # and the weight of the one below
        carray(pointer(arguments[14]), width, np.int64),  # for a column, the one to the left
        carray(pointer(arguments[15]), width, np.int64),  # and to the right,
        carray(pointer(arguments[16]), width, np.float32),  # and its weight
    )


@register_jitable(fastmath={'contract'})
def _exp(x):
    """e^x from e^-87 to 1, and NaN of NaN; as good as float32 is. A library's would not be vectorised.

    x is n log(2) + r, with the polynomial of Cephes in r; n comes from adding 1.5 * 2^23, which leaves no fraction.
    """
    x = min(max(x, np.float32(-87)), np.float32(0)) if x == x else x
    shifted = np.float32(x * np.float32(1.44269504) + np.float32(12582912))
    n = shifted - np.float32(12582912)
    r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + ONE
    return p * np.float32(np.int32((shifted.view(np.int32) + 127) << 23).view(np.float32))


@register_jitable(fastmath={'contract'})
def _widen(line, source, left, right, weights):
    """A row of logits at full width, (C, w) -> (C, W)."""
    for c in range(len(source)):
        for x in range(len(left)):
            line[c, x] = (ONE - weights[x]) * source[c, left[x]] + weights[x] * source[c, right[x]]


@register_jitable(fastmath={'contract'})
def _exponentials(above, below, weight, true, values, tops, own, total):
    """A row of logits between two: ``values`` become their exponentials, less the largest; ``total`` is the sum of
    these, and ``own`` the logit of the true class.

    Returns:
        The largest, in a row of ``tops``.
    """
    tops[0] = -np.inf
    total[:] = 0
    for c in range(len(values)):
        before, now = c & 1, c + 1 & 1
        for x in range(TILE):
            value = (ONE - weight) * above[c, x] + weight * below[c, x]
            values[c, x] = value
            top = tops[before, x]
            tops[now, x] = select(value > top, value, top)
    for x in range(TILE):
        if 0 <= true[x] < len(values):
            own[x] = values[true[x], x]
    best = tops[len(values) & 1]
    for c in range(len(values)):
        for x in range(TILE):
            values[c, x] = _exp(values[c, x] - best[x])
            total[x] += values[c, x]
    return best


@register_jitable(fastmath={'contract'})
def _narrow(line, target, left, right, weights):
    """Add the gradients of a row at full width to those of the logits, (C, W) -> (C, w), and clear them."""
    for c in range(len(target)):
        first = second = np.float32(0)
        for x in range(len(left)):
            first += (ONE - weights[x]) * line[c, x]
            second += weights[x] * line[c, x]
            if x + 1 == len(left) or left[x + 1] != left[x]:
                target[c, left[x]] += first
                target[c, right[x]] += second
                first = second = np.float32(0)
        line[c] = 0


def _losses(memory):
    """Sums of exponentials, and losses without the logarithm of these sums."""
    arguments = carray(memory, 21)
    ignored, logits, labels, bands, upper, row_weights, left, right, column_weights = _inputs(arguments)
    losses = carray(pointer(arguments[17]), labels.shape, np.float32)
    sums = carray(pointer(arguments[18]), labels.shape, np.float32)
    hits = carray(pointer(arguments[19]), labels.shape, np.bool_)
    wrong = carray(pointer(arguments[20]), 1, np.int64)
    classes, small = logits.shape[1:3]
    lines = np.zeros((2, classes, TILE), np.float32)  # rows of logits at full width, even and odd
    values, true = np.empty((classes, TILE), np.float32), np.zeros(TILE, np.int32)
    tops, own, total = np.zeros((2, TILE), np.float32), np.zeros(TILE, np.float32), np.zeros(TILE, np.float32)
    while True:
        image, band = divmod(next_unit(memory), len(bands) - 1)
        if image >= len(logits):
            break
        for column in range(0, labels.shape[2], TILE):
            tile = slice(column, column + TILE)
            places = left[tile], right[tile], column_weights[tile]
            held = np.full(2, -1)
            for y in range(bands[band], bands[band + 1]):
                for row in (upper[y], upper[y] + 1):
                    if held[row & 1] != row:
                        held[row & 1] = row
                        _widen(lines[row & 1], logits[image, :, min(row, small - 1)], *places)
                outside = 0
                for x, label in enumerate(labels[image, y, tile]):
                    true[x] = np.int32(label)
                    outside |= (label != ignored) & ((label < 0) | (label >= classes))
                if outside:
                    wrong[0] = 1
                above, below = lines[upper[y] & 1], lines[1 - upper[y] & 1]
                best = _exponentials(above, below, row_weights[y], true, values, tops, own, total)
                for x, label in enumerate(labels[image, y, tile]):
                    valid = label != ignored
                    losses[image, y, column + x] = best[x] - own[x] if valid else np.float32(0)
                    sums[image, y, column + x] = total[x] if valid else ONE
                    hits[image, y, column + x] = valid & (own[x] >= best[x]) & (total[x] == total[x])


def _gradients(memory):
    """Gradients of the logits from those of the losses, ``factors``."""
    arguments = carray(memory, 19)
    ignored, logits, labels, bands, upper, row_weights, left, right, column_weights = _inputs(arguments)
    factors = carray(pointer(arguments[17]), labels.shape, np.float32)
    images, classes, small, narrow = logits.shape
    totals = carray(pointer(arguments[18]), (2, images, classes, small, narrow), np.float32)
    lines, slopes = np.zeros((2, classes, TILE), np.float32), np.zeros((2, classes, TILE), np.float32)
    values, true = np.empty((classes, TILE), np.float32), np.zeros(TILE, np.int32)
    tops, own, total = np.zeros((2, TILE), np.float32), np.zeros(TILE, np.float32), np.zeros(TILE, np.float32)
    factor, share = np.zeros(TILE, np.float32), np.zeros(TILE, np.float32)
    while True:
        image, band = divmod(next_unit(memory), len(bands) - 1)
        if image >= images:
            break
        for column in range(0, labels.shape[2], TILE):
            tile = slice(column, column + TILE)
            places = left[tile], right[tile], column_weights[tile]
            target = totals[band & 1, image]
            held = np.full(2, -1)
            for y in range(bands[band], bands[band + 1]):
                for row in (upper[y], upper[y] + 1):
                    if held[row & 1] != row:
                        if held[row & 1] >= 0:
                            _narrow(slopes[row & 1], target[:, held[row & 1]], *places)
                        held[row & 1] = row
                        _widen(lines[row & 1], logits[image, :, min(row, small - 1)], *places)
                for x, label in enumerate(labels[image, y, tile]):
                    true[x] = np.int32(label)
                    factor[x] = factors[image, y, column + x] if label != ignored else np.float32(0)
                above, below = lines[upper[y] & 1], lines[1 - upper[y] & 1]
                slope_above, slope_below = slopes[upper[y] & 1], slopes[1 - upper[y] & 1]
                weight = row_weights[y]
                _exponentials(above, below, weight, true, values, tops, own, total)
                for x in range(TILE):
                    share[x] = factor[x] / total[x]
                for c in range(classes):
                    for x in range(TILE):
                        slope = share[x] * values[c, x] - (factor[x] if true[x] == c else np.float32(0))
                        slope_above[c, x] += (ONE - weight) * slope
                        slope_below[c, x] += weight * slope
            for row in held:
                if row >= 0:
                    _narrow(slopes[row & 1], target[:, min(row, small - 1)], *places)
