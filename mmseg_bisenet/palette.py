"""Class ids as colours, and whether names and colours of classes can be used."""

import colorsys
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

# A name is shown in one line: no control characters, line separators or halves of a character.
UNSHOWN = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')


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


def colours_for(count: int, palette: Any) -> Any:
    """The palette, or :func:`distinct` colours if there is none: names of classes may come without colours."""
    return distinct(count) if palette is None or len(palette) == 0 else palette


def fault_of_names(meta: Any) -> str | None:
    """What is wrong with names (``classes``) and colours (``palette``) of classes; None if all is right."""
    if not isinstance(meta, Mapping):
        return f'dataset_meta is {type(meta).__name__}, not a dict'
    classes, palette = meta.get('classes'), meta.get('palette')
    if classes is not None and not _are_names(classes):
        return 'has classes that are no list of names'
    for name, times in Counter(classes or ()).items():
        if times > 1:
            return f'names the class {name!r} more than once'
        if not name.strip() or UNSHOWN.search(name):
            return f'names a class {name!r}, which is blank or has control characters'
    if palette is not None and not _are_colours(palette, classes):
        return 'has a palette that is no list of (red, green, blue) from 0 to 255, one a class'
    return None


def _are_names(classes: Any) -> bool:
    return isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)


def _are_colours(palette: Any, classes: Any) -> bool:
    try:
        colours = np.asarray(palette)
    except ValueError:  # rows of different lengths
        return False
    if colours.shape == (0,):
        return True
    if colours.ndim != 2 or colours.dtype.kind not in 'iu':
        return False
    return colours.shape == (len(classes or colours), 3) and bool(((colours >= 0) & (colours <= 255)).all())
