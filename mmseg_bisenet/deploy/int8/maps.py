"""Feature maps of bytes, as the kernels read and write them.

A pixel's channels lie beside each other, padded to a multiple of 16 (not an image's three). Around the map lie pixels
of ``zero``, as many as the largest kernel reads, so that no kernel looks for the edge. On the right and below there
are some more, so that tiles of 4x4 pixels cover the map.
"""

import numpy as np

LANES = 16
ROWS, PIXELS = 5, 128  # behind the map, which blocks of pixels may read; what they make of them is thrown away


def padded(channels: int) -> int:
    """As many as are stored."""
    return -(-channels // LANES) * LANES


def row_bytes(width: int, stored: int, halo: int) -> int:
    return (-(-width // 4) * 4 + 2 * halo) * stored


def size(height: int, width: int, stored: int, halo: int) -> int:
    """Bytes of a map."""
    return (height + 2 * halo + ROWS) * row_bytes(width, stored, halo) + PIXELS * stored


def aligned(shape: tuple[int, ...] | int, dtype: str) -> np.ndarray:
    """Zeros in whole cache lines: a vector that lies in two of them takes twice the time to read."""
    length = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(length + 64, np.uint8)
    return memory[-memory.ctypes.data % 64 :][:length].view(dtype).reshape(shape)


class Map:
    """Bytes b with the values ``scale * (b - zero)``, a scale for each channel.

    Args:
        shape: (height, width, channels).
        halo: pixels around the map.
        stored: channels that a pixel has in memory; by default :func:`padded`.
        inside: a map of more channels, of which this one has those from ``offset`` on.
        memory: to lie in, of :func:`size` bytes; by default its own.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        halo: int,
        zero: int,
        scale: np.ndarray,
        inside: 'Map | None' = None,
        offset: int = 0,
        memory: np.ndarray | None = None,
        stored: int | None = None,
    ) -> None:
        self.height, self.width, channels = shape
        self.halo, self.zero, self.scale = halo, zero, scale
        self.stored = stored or padded(channels)
        self.rows = self.height + 2 * halo + ROWS
        if inside is None:
            self.pixel, self.row = self.stored, row_bytes(self.width, self.stored, halo)
            length = size(self.height, self.width, self.stored, halo)
            self.buffer = np.empty(length, np.uint8) if memory is None else memory
            self.buffer[:] = zero
            self.start = self.buffer.ctypes.data
        else:
            self.pixel, self.row, self.buffer = inside.pixel, inside.row, inside.buffer
            self.start = inside.start + offset
        first = self.address() - self.buffer.ctypes.data
        strides = self.row, self.pixel, 1
        self.bytes = np.lib.stride_tricks.as_strided(self.buffer[first:], (self.height, self.width, channels), strides)

    def address(self, padding: int = 0) -> int:
        """Where the pixel ``padding`` above and to the left of the first is in memory."""
        return self.start + (self.halo - padding) * (self.row + self.pixel)
