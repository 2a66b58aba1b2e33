"""Weights of convolutions, quantized and in the order in which their kernels read them.

Each function gives the bytes, the value of a 1 in them for each output channel, and their sum for each output channel.
"""

from typing import TYPE_CHECKING

import numpy as np

from mmseg_bisenet.deploy.int8.maps import LANES, padded

if TYPE_CHECKING:
    from mmseg_bisenet.deploy.int8.steps import Convolution

COLUMNS, POINTS = 64, 36
GREY = 128  # the value of a pixel at which rounded weights are as good as the exact ones
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


def direct(weight: np.ndarray, inputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """weight: (K, C, k, k); ``inputs``: channels that are stored."""
    weight = _padded(weight, inputs, padded(len(weight)))
    unit = _unit(weight, (1, 2, 3), 127)
    whole = np.rint(weight / unit[:, None, None, None]).astype(np.int8)
    return _in_blocks(whole), unit, whole.sum(axis=(1, 2, 3), dtype=np.int64)


def _in_blocks(whole: np.ndarray) -> np.ndarray:
    """(K, C, rows, columns) in the order of ``kernels/direct.h``."""
    blocks = []
    for k in range(0, len(whole), COLUMNS):
        part = whole[k : k + COLUMNS]
        part = part.reshape(len(part), part.shape[1] // 4, 4, *part.shape[2:])
        blocks.append(part.transpose(3, 4, 1, 0, 2).ravel())
    return np.concatenate(blocks)


def of_image(
    weight: np.ndarray, stride: int, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weights (K, 4, k, k) of images (H, W) of three colours and a constant 1, which is 0 around the image.

    The sums start with what the constant adds, so that the range of the weights is that of the colours alone. They are
    rounded so that errors cancel where neighbours and colours are alike, as they are in photographs.

    Returns:
        The bytes and the value of a 1; the starts (kinds of rows, kinds of columns, K); and for each row and column of
        the output, where its kind begins there.
    """
    weight = _padded(weight, 4, padded(len(weight)))
    colours, constant = weight[:, :3], weight[:, 3]
    size = weight.shape[-1]
    most = np.abs(constant).sum(axis=(1, 2)) / 2**30  # starts have 32 bits
    unit = np.maximum(_unit(colours, (1, 2, 3), 127), most)
    whole = _rounded(colours / unit[:, None, None, None])
    lost = colours - whole * unit[:, None, None, None]
    (rows, row_of), (columns, column_of) = (_kinds(length, size, stride) for length in shape)
    starts = np.einsum('yi,oij,xj->yxo', rows, constant + GREY * lost.sum(axis=1), columns) / unit
    # The taps of a row side by side, as the bytes of the image are.
    flat = whole.transpose(0, 3, 1, 2).reshape(len(whole), 3 * size, size, 1)
    flat = np.pad(flat, ((0, 0), (0, -3 * size % 4), (0, 0), (0, 0)))
    outputs = len(weight)
    # Blocks of pixels may reach beyond the last.
    column_of = np.pad(column_of, (0, LANES), mode='edge')
    starts = np.rint(starts).astype(np.int32)
    return _in_blocks(flat.astype(np.int8)), unit, starts, row_of * len(columns) * outputs, column_of * outputs


def _kinds(length: int, size: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Which taps of a kernel lie on the image, for each kind of output row or column, and the kind of each."""
    taps = np.arange(0, length, stride)[:, None] + np.arange(size) - size // 2
    found, kind = np.unique((taps >= 0) & (taps < length), axis=0, return_inverse=True)
    return found.astype(np.float64), kind.ravel()


def _rounded(weight: np.ndarray) -> np.ndarray:
    """Weights (K, 3, k, k), in units, as whole numbers: one after the other, each with the others adapted to its error,
    as in GPTQ (Frantar et al., ICLR 2023), for images whose neighbours and colours are alike.
    """
    outputs, colours, size, _ = weight.shape
    y, x = np.divmod(np.arange(size**2), size)
    distance = np.hypot(y[:, None] - y, x[:, None] - x)
    among_colours = np.full((colours, colours), 0.9) + 0.1 * np.eye(colours)
    alike = np.kron(among_colours, 0.97**distance) + 1e-3 * np.eye(colours * size**2)
    factor = np.linalg.cholesky(np.linalg.inv(alike)).T
    left = weight.reshape(outputs, -1).copy()
    for i in range(left.shape[1]):
        whole = np.clip(np.rint(left[:, i]), -127, 127)
        left[:, i + 1 :] -= np.outer((left[:, i] - whole) / factor[i, i], factor[i, i + 1 :])
        left[:, i] = whole
    return left.reshape(weight.shape)


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
    points = np.kron(FILTER, FILTER) @ weight.reshape(-1, COLUMNS, inputs, 9).transpose(0, 3, 2, 1).reshape(
        -1, 9, inputs * COLUMNS
    )
    points = points.reshape(-1, POINTS, inputs, COLUMNS)
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
