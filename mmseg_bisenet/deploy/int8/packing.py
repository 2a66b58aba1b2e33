"""Weights of convolutions, quantized and in the order in which their kernels read them.

Each function gives the bytes, the value of a 1 in them for each output channel, and their sum for each output channel.
"""

from typing import TYPE_CHECKING

import numpy as np

from mmseg_bisenet.deploy.int8.maps import LANES, padded

if TYPE_CHECKING:
    from mmseg_bisenet.deploy.int8.steps import Convolution

COLUMNS, POINTS = 64, 36
WIDE = 32512  # the largest weight of two bytes
WIDEST = 1024  # input channels of a Winograd convolution, as in kernels/winograd.h
# The transform of filters for the points 0, 1, -1, 2, -2 and infinity.
FILTER = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24


def is_winograd(step: 'Convolution') -> bool:
    """Whether a convolution takes a quarter of the products."""
    outputs, inputs, kernel, _ = step.weight.shape
    plain = kernel == 3 and step.stride == 1 and step.groups == 1
    return plain and inputs % 64 == 0 and inputs <= WIDEST and outputs % COLUMNS == 0


def is_pointwise(step: 'Convolution') -> bool:
    """Whether each output pixel reads one input pixel, of the same place."""
    return step.weight.shape[-1] == 1 and step.stride == 1 and step.groups == 1


def fits_wide(weight: np.ndarray) -> bool:
    """Whether sums with weights of two bytes fit into 32 bits, whatever the input."""
    return weight[0].size * 255 * WIDE < 2**31


def direct(weight: np.ndarray, inputs: int, wide: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """weight: (K, C, k, k); ``inputs``: channels that are stored; ``wide``: two bytes a weight."""
    outputs = padded(len(weight))
    weight = _padded(weight, inputs, outputs)
    unit = _unit(weight, (1, 2, 3), WIDE if wide else 127)
    whole = np.rint(weight / unit[:, None, None, None]).astype(np.int32)
    upper = (whole + 128) >> 8
    parts = np.stack([upper, whole - 256 * upper] if wide else [whole])  # (bytes, K, C, k, k)
    blocks = []
    for k in range(0, outputs, COLUMNS):
        part = parts[:, k : k + COLUMNS]
        part = part.reshape(*part.shape[:2], inputs // 4, 4, *part.shape[3:])
        blocks.append(part.transpose(0, 4, 5, 2, 1, 3).astype(np.int8).ravel())
    return np.concatenate(blocks), unit, whole.sum(axis=(1, 2, 3))


def depthwise(weight: np.ndarray, inputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """weight: (K, 1, 3, 3), of ``inputs`` channels. Also where ``kernels/depthwise.h`` finds its bytes."""
    outputs, multiple = padded(len(weight)), len(weight) // inputs
    weight = _padded(weight, 1, outputs)[:, 0]
    unit = _unit(weight, (1, 2), 127)
    whole = np.rint(weight / unit[:, None, None]).astype(np.int8)  # (K, rows, columns)
    rows = np.pad(whole, ((0, 0), (0, 1), (0, 0))).reshape(-1, LANES, 4, 3).transpose(0, 3, 1, 2)
    channel = np.minimum(np.arange(outputs) // multiple, inputs - 1).reshape(-1, LANES)
    first = np.arange(0, outputs, LANES) // multiple
    order = np.clip(channel - first[:, None], 0, LANES - 1)[..., None] + LANES * np.arange(4)
    sums = whole.sum(axis=(1, 2), dtype=np.int64)
    return np.ascontiguousarray(rows), unit, sums, order.astype(np.uint8), first.astype(np.int64)


def winograd(weight: np.ndarray, inputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """weight: (K, C, 3, 3) -> units (K / 64, 36, 64), and -128 times the sums, of that shape."""
    weight = _padded(weight, inputs, len(weight))
    points = np.einsum('pi,ocij,qj->opqc', FILTER, weight, FILTER).reshape(-1, COLUMNS, POINTS, inputs)
    points = np.ascontiguousarray(points.transpose(0, 2, 3, 1))  # (K / 64, 36, C, 64)
    unit = _unit(points, 2, 127)
    whole = np.rint(points / unit[:, :, None])
    packed = whole.reshape(*whole.shape[:2], inputs // 4, 4, COLUMNS).swapaxes(3, 4).astype(np.int8)
    return np.ascontiguousarray(packed), unit, (-128 * whole.sum(axis=2)).astype(np.int32)


def _unit(weight: np.ndarray, axes: int | tuple[int, ...], most: int) -> np.ndarray:
    """What a 1 is, so that the largest absolute value becomes ``most``."""
    unit = np.abs(weight).max(axis=axes) / most
    return np.where(unit == 0, 1, unit)


def _padded(weight: np.ndarray, inputs: int, outputs: int) -> np.ndarray:
    k, c = weight.shape[:2]
    return np.pad(weight, ((0, outputs - k), (0, inputs - c), (0, 0), (0, 0)))
