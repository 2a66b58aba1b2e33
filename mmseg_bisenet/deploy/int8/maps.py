"""Feature maps of bytes, as the kernels read and write them.

A pixel's channels lie beside each other, padded to a multiple of 16 (an image's to 4). Around the map lie pixels of
``zero``, as many as the largest kernel reads, so that no kernel looks for the edge. On the right and below there are
some more, so that tiles of 4x4 pixels cover the map.
"""

import numpy as np

LANES = 16
ROWS, PIXELS = 5, 128  # behind the map, which blocks of pixels may read; what they make of them is thrown away


def padded(channels: int) -> int:
    """As many as are stored."""
    return -(-channels // LANES) * LANES


class Map:
    """Bytes b that stand for ``scale * (b - zero)``, with a scale for each channel.

    Args:
        halo: pixels around the map.
        inside: a map of more channels, of which this one has those from ``offset`` on.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        halo: int,
        zero: int,
        scale: np.ndarray,
        inside: 'Map | None' = None,
        offset: int = 0,
    ) -> None:
        self.height, self.width, channels = shape
        self.halo, self.zero, self.scale = halo, zero, scale
        self.stored = channels if channels == 4 else padded(channels)
        if inside is None:
            self.pixel = self.stored
            self.row = (-(-self.width // 4) * 4 + 2 * halo) * self.pixel
            rows = self.height + 2 * halo
            self.buffer = np.full((rows + ROWS) * self.row + PIXELS * self.pixel, zero, np.uint8)
            self.start = self.buffer.ctypes.data
        else:
            self.pixel, self.row, self.buffer = inside.pixel, inside.row, inside.buffer
            self.start = inside.start + offset
        first = self.address() - self.buffer.ctypes.data
        strides = self.row, self.pixel, 1
        self.bytes = np.lib.stride_tricks.as_strided(self.buffer[first:], (self.height, self.width, channels), strides)

    def address(self, padding: int = 0) -> int:
        """Of the pixel that lies ``padding`` above and to the left of the first."""
        return self.start + (self.halo - padding) * (self.row + self.pixel)
