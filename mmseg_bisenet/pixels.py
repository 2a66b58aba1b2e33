"""Image files by OpenCV, with names of any bytes: where it opens files, it takes UTF-8 names only, and 5.0 crashes."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from PIL import UnidentifiedImageError

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_input
from mmseg_bisenet.photographs import fault

SUFFIXES = {'.bmp', '.gif', '.jpg', '.jpeg', '.jp2', '.png', '.pgm', '.ppm', '.tif', '.tiff', '.webp'}  # of images


def read_pixels(path: str | Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """As ``cv2.imread``: None for what is no image, or is too large for OpenCV.

    Raises:
        OSError: the file does not exist or cannot be read.
        InputError: it is a pipe or a device, which would be waited for, or decoders read it differently.
    """
    check_input(path)
    content = Path(path).read_bytes()
    with suppress(UnidentifiedImageError):  # OpenCV may know the format
        if wrong := fault(content):
            raise InputError(f'{path} {wrong}')
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:  # of empty files too
        return None


def write_pixels(path: str | Path, pixels: np.ndarray, options: Sequence[int] = ()) -> None:
    """As ``cv2.imwrite``, in the format of the suffix.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    path.write_bytes(cv2.imencode(path.suffix, pixels, options)[1].tobytes())
