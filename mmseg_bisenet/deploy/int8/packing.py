"""Weights of a convolution in the order and type that its kernel reads."""

import numpy as np

LANES, COLUMNS, POINTS = 16, 64, 36
# Lavin's transform of filters.
FILTER = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
INPUT = np.array(
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
     [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
)


def _padded(weight, inputs, outputs):
    k, c = weight.shape[:2]
    return np.pad(weight, ((0, outputs - k), (0, inputs - c), (0, 0), (0, 0)))


def direct(weight, inputs, wide):
    """weight (K, C, k, k) float, C padded to inputs -> bytes, unit (K,), sums (K,)."""
    outputs = -(-len(weight) // LANES) * LANES
    weight = _padded(weight, inputs, outputs)
    most = 32512 if wide else 127
    unit = np.abs(weight).max(axis=(1, 2, 3)) / most
    unit[unit == 0] = 1
    whole = np.rint(weight / unit[:, None, None, None]).astype(np.int32)
    upper = (whole + 128) >> 8
    parts = [upper, whole - 256 * upper] if wide else [whole]
    parts = np.stack(parts)  # (bytes, K, C, k, k)
    blocks = []
    for k in range(0, outputs, COLUMNS):
        part = parts[:, k : k + COLUMNS]
        part = part.reshape(len(parts), part.shape[1], inputs // 4, 4, *part.shape[3:])
        blocks.append(part.transpose(0, 4, 5, 2, 1, 3).astype(np.int8).ravel())
    return np.concatenate(blocks), unit, whole.sum(axis=(1, 2, 3))


def depthwise(weight, inputs):
    """weight (K, 1, 3, 3)."""
    outputs = -(-len(weight) // LANES) * LANES
    multiple = len(weight) // inputs
    weight = _padded(weight, 1, outputs)
    unit = np.abs(weight).max(axis=(1, 2, 3)) / 127
    unit[unit == 0] = 1
    whole = np.rint(weight / unit[:, None, None, None]).astype(np.int8)[:, 0]  # (K, ky, kx)
    rows = np.pad(whole, ((0, 0), (0, 1), (0, 0))).reshape(-1, LANES, 4, 3).transpose(0, 3, 1, 2)
    channel = np.minimum(np.arange(outputs) // multiple, inputs - 1).reshape(-1, LANES)
    first = np.arange(0, outputs, LANES) // multiple
    order = (channel - first[:, None])[..., None] + LANES * np.arange(4)
    return rows.copy(), unit, whole.sum(axis=(1, 2), dtype=np.int64), order.astype(np.uint8), first.astype(np.int64)


def winograd(weight, inputs):
    outputs = len(weight)
    weight = _padded(weight, inputs, outputs)
    points = np.einsum('pi,ocij,qj->opqc', FILTER, weight, FILTER).reshape(-1, COLUMNS, POINTS, inputs)
    points = np.ascontiguousarray(points.transpose(0, 2, 3, 1))  # (panels, 36, C, columns)
    unit = np.abs(points).max(axis=2) / 127
    unit[unit == 0] = 1
    whole = np.rint(points / unit[:, :, None])
    starts = (-128 * whole.sum(axis=2)).astype(np.int32)
    packed = whole.reshape(*whole.shape[:2], inputs // 4, 4, COLUMNS).swapaxes(3, 4).astype(np.int8)
    return packed.copy(), unit.astype(np.float32), starts
