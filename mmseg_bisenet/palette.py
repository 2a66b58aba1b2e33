"""Class ids as colours."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np


def paint(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Give each pixel the colour of its class.

    Args:
        labels: (H, W) class ids, 0 to 255. An id without a colour, such as 255 for ignored pixels, becomes black.
        palette: a colour for each class, three numbers from 0 to 255.

    Returns:
        (H, W, 3) uint8, channels in the palette's order: RGB for the palettes of MMSegmentation.
    """
    colours = np.zeros((256, 1, 3), np.uint8)
    colours[: len(palette), 0] = palette
    return cv2.applyColorMap(np.asarray(labels, np.uint8), colours)  # NumPy's indexing takes eleven times as long


def distinct(count: int) -> list[tuple[int, int, int]]:
    """Colours for ``count`` classes (red, green, blue), none of them black, which marks ignored pixels.

    The hue turns by the golden angle from one to the next, so that no two are near each other; every second one is
    darker.
    """
    colours = []
    for i in range(count):
        red, green, blue = colorsys.hsv_to_rgb((0.6 + 0.618034 * i) % 1, 0.7, 0.9 - 0.3 * (i % 2))
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours
