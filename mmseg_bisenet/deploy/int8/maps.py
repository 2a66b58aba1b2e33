"""Maps of bytes as the kernels read and write them.

A pixel's channels lie beside each other, padded to a multiple of 16 (an image's to 4). Around the map are pixels of
``zero``, as many as the widest kernel reads, so that no kernel looks for the edge.
"""

import numpy as np

LANES = 16
ROWS = 5  # below the map, which tiles and blocks of pixels may read; what they make of them is thrown away


class Map:
    """Bytes b that stand for ``scale * (b - zero)``, with one scale for each channel."""

    def __init__(self, height, width, channels, halo, zero, scale, image=False, inside=None, offset=0):
        self.height, self.width, self.channels, self.halo, self.zero = height, width, channels, halo, zero
        self.stored = 4 if image else -(-channels // LANES) * LANES
        self.scale = np.broadcast_to(np.float32(scale), channels)
        if inside is None:
            self.pixel = self.stored
            self.row = (width + 2 * halo) * self.pixel
            rows = height + 2 * halo
            self.buffer = np.full((rows + ROWS) * self.row + 64 * self.pixel, zero, np.uint8)
            self._all = self.buffer[: rows * self.row].reshape(rows, -1, self.pixel)
            self.start = self.buffer.ctypes.data
        else:
            self.pixel, self.row, self.buffer = inside.pixel, inside.row, inside.buffer
            self._all = inside._all[..., offset : offset + self.stored]
            self.start = inside.start + offset
        inner = self._all[halo : halo + height, halo : halo + width]
        self.bytes = inner[..., :channels]

    def address(self, padding=0):
        """Of the pixel that lies ``padding`` above and to the left of the first."""
        return self.start + (self.halo - padding) * (self.row + self.pixel)
