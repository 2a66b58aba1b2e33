"""The largest images that are read, drawn and labelled, checked before memory is taken for them."""

from pathlib import Path

from mmseg_bisenet.errors import InputError

MEGAPIXELS = 64  # a larger image takes more than 200 MB decoded, and as much again with its overlay
ASPECT = 16  # at a height of 360, the network's input is then at most 2 megapixels


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
