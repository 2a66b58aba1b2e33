"""The largest images that are read, drawn and labelled, checked before memory is taken for them."""

import operator
from pathlib import Path
from typing import Any

from mmseg_bisenet.errors import InputError

MEGAPIXELS = 64  # a larger image takes more than 200 MB decoded, and as much again with its overlay
ASPECT = 16  # at a height of 360, the network's input is then at most 2 megapixels


def whole(value: Any) -> int:
    """The value as an int.

    Raises:
        TypeError: it is no whole number; True and False are none.
    """
    if isinstance(value, bool):
        raise TypeError(f'{value} is no number')
    return operator.index(value)


def height_and_width(shape: Any, name: str = 'shape') -> tuple[int, int]:
    """Both numbers of a shape.

    Args:
        name: of the argument, for the message.

    Raises:
        InputError: they are not two whole numbers.
    """
    try:
        height, width = map(whole, () if isinstance(shape, set | frozenset | dict) else shape)
    except (TypeError, ValueError) as error:
        raise InputError(f'{name}={shape!r}: give (height, width) in pixels') from error
    return height, width


def check_pixels(name: str | Path, width: int, height: int) -> None:
    """Raises:
    InputError: there are more than ``MEGAPIXELS``.
    """
    if width * height > MEGAPIXELS * 1e6:
        raise InputError(f'{name} has {width}x{height} pixels; the limit is {MEGAPIXELS} megapixels: make it smaller')


def check_size(name: str | Path, width: int, height: int) -> None:
    """Raises:
    InputError: the image is larger or longer than what is read.
    """
    check_pixels(name, width, height)
    if max(width, height) > ASPECT * min(width, height):
        raise InputError(f'{name} has {width}x{height} pixels; a side may be {ASPECT} times the other: crop it')
