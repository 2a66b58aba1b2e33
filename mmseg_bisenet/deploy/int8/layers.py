"""Fields of layers that follow from the maps alone, and how the work is divided."""

import numpy as np

from mmseg_bisenet.deploy.int8.library import Layer
from mmseg_bisenet.deploy.int8.maps import Map
from mmseg_bisenet.upsampling import taps

TILES, GROUP = 48, 6  # of a block at most, and of those that are multiplied together, as in kernels/winograd.h
POINTS, COLUMNS, FACTORS, PIXELS = 36, 64, 48, 16  # as there


def from_map(source: Map, padding: int, **fields: int) -> Layer:
    return Layer(
        source=source.address(padding),
        in_row=source.row,
        in_pixel=source.pixel,
        depth=source.stored // 4,
        zero=source.zero,
        **fields,
    )


def to_map(layer: Layer, out: Map) -> Layer:
    layer.out, layer.out_row, layer.out_pixel = out.address(), out.row, out.pixel
    layer.height, layer.width, layer.outputs = out.height, out.width, out.stored
    return layer


def add(layer: Layer, shortcut: Map) -> None:
    """Let a layer add another map."""
    layer.shortcut, layer.shortcut_row, layer.shortcut_pixel = shortcut.address(), shortcut.row, shortcut.pixel


def rescaling(source: Map, out: Map) -> dict[str, np.ndarray]:
    """What makes of a map's bytes those of another, and of float32 values."""
    return dict(
        scale=channels(source.scale / out.scale, out.stored),
        shortcut_scale=channels(1 / out.scale, out.stored),
        bias=np.full(out.stored, out.zero, np.float32),
    )


def point(layer: Layer, arrays: dict[str, np.ndarray]) -> None:
    """Let the fields of a layer point to arrays, which the caller keeps."""
    for name, value in arrays.items():
        setattr(layer, name, value.ctypes.data)


def channels(values: np.ndarray, stored: int) -> np.ndarray:
    """As kernels read them, with zeros for the channels that only fill up."""
    return np.pad(values, (0, stored - len(values))).astype(np.float32)


def tiles_of_block(tiles: int, threads: int) -> int:
    """As many as leave the least to do for the thread that does the most. Another block costs as much as a group."""

    def longest(block: int) -> int:
        blocks, rest = divmod(tiles, block)
        rounds, more = divmod(blocks, threads)
        last = block if more else -(-rest // GROUP) * GROUP
        return rounds * (block + GROUP) + (last + GROUP if last else 0)

    most = min(TILES, -(-tiles // GROUP) * GROUP)
    return min(range(most, 0, -GROUP), key=longest)


def between(small: int, large: int, resizing: str) -> np.ndarray:
    """:func:`mmseg_bisenet.upsampling.taps` as the kernel reads them; for ``nearest`` all of the first."""
    found = np.empty(large, dict(names=('first', 'second', 'part'), formats=('i4', 'i4', 'f4')))
    if resizing == 'nearest':
        found['first'] = found['second'] = np.arange(large) * small // large
        found['part'] = 0
    else:
        found['first'], found['second'], found['part'] = taps(small, large, resizing == 'corners')
    return found
