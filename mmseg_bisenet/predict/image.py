"""An image file as a viewer shows it: upright (EXIF), 8 bits, three channels.

The size is checked from the header, before memory is taken. Python opens the file, so its name may be any bytes.

- 16-bit grey: the upper 8 bits, as OpenCV converts. 32-bit and floating-point pixels are refused.
- Grey, palette, CMYK: converted to RGB. Alpha is dropped, as OpenCV and MMSegmentation do.
- Animations, files of several pages and damaged files are refused, and those that OpenCV would read differently
  (:mod:`mmseg_bisenet.photographs`).
"""

import io
import threading
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_input
from mmseg_bisenet.photographs import FORMATS, fault, is_whole_png
from mmseg_bisenet.pixels import SUFFIXES
from mmseg_bisenet.predict import video
from mmseg_bisenet.predict.containers import START, kind_of_video
from mmseg_bisenet.sizes import MEGAPIXELS, check_size

SEVERAL = 'label it with Predictor.stream, or with mmseg-bisenet predict'
SIXTEEN = ('I;16', 'I;16L', 'I;16B', 'I;16N')  # modes of Pillow with 16 bits


class _Whole:
    """Pillow refuses images that are cut short, though a caller may have told it, for the process, to fill them in.

    The caller's switch is set back when the last thread that decodes is done.
    """

    def __init__(self) -> None:
        self.lock, self.threads, self.fills_in = threading.Lock(), 0, False

    def __enter__(self) -> None:
        with self.lock:
            self.fills_in = ImageFile.LOAD_TRUNCATED_IMAGES or (self.threads > 0 and self.fills_in)
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            self.threads += 1

    def __exit__(self, *error: Any) -> None:
        with self.lock:
            self.threads -= 1
            if not self.threads:
                ImageFile.LOAD_TRUNCATED_IMAGES = self.fills_in


_WHOLE = _Whole()


def read_image(path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8, BGR.

    Raises:
        InputError: the file is missing, damaged, too large, animated, or no image.
    """
    check_input(path)
    if Path(path).is_dir():
        raise InputError(f'{path} is a folder; {SEVERAL}')
    try:
        with open(path, 'rb') as file:
            return _decoded(file, path)
    except FileNotFoundError as error:
        raise InputError(f'{path} does not exist; give an image, a folder, a video, a camera or a stream') from error
    except OSError as error:
        raise InputError(f'{path} cannot be read ({error.strerror}); replace the file') from error


def decode_image(content: bytes, name: str = 'image') -> np.ndarray:
    """The image in the content of a file, as :func:`read_image` gives it.

    Args:
        name: for messages.
    """
    return _decoded(io.BytesIO(content), name)


def _decoded(file: BinaryIO, name: str | Path) -> np.ndarray:
    try:
        with _WHOLE, warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of large images and odd headers: what is wrong here is an error
            image = Image.open(file, formats=FORMATS)
            check_size(name, *image.size)
            file.seek(0)
            content = file.read()
            if wrong := fault(content):
                raise InputError(f'{name} {wrong}')
            if image.format == 'PNG':
                Image.open(io.BytesIO(content)).verify()  # decoding does not read the checksums of the pixels
                if not is_whole_png(content):
                    raise InputError(f'{name} lacks some of its pixels; replace the file')
            return to_bgr(image, name)
    except InputError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit comes before the size is known
        if 2 * (Image.MAX_IMAGE_PIXELS or 0) < MEGAPIXELS * 1e6:  # Pillow raises at twice the caller's
            fix = f'raise PIL.Image.MAX_IMAGE_PIXELS, which is {Image.MAX_IMAGE_PIXELS}, or make it smaller'
            raise InputError(f'{name} is too large for Pillow; {fix}') from error
        raise InputError(f'{name} is too large; the limit is {MEGAPIXELS} megapixels: make it smaller') from error
    except UnidentifiedImageError as error:
        file.seek(0)
        start = file.read(START)
        if not start:
            raise InputError(f'{name} is empty; give a PNG or JPEG file') from error
        if kind := kind_of_video(start):
            raise InputError(f'{name} is a video ({kind}){_fix(Path(name).suffix.lower())}') from error
        raise InputError(f'{name} is no image of a format that is read; give a PNG or JPEG file') from error
    except Exception as error:  # each format of Pillow raises its own
        reason = getattr(error, 'strerror', None) or str(error)
        raise InputError(f'{name} cannot be read ({reason}); replace the file') from error


def _fix(suffix: str) -> str:
    """What to do with a video whose name ends so."""
    if suffix in video.SUFFIXES:
        return f'; {SEVERAL}'
    if suffix in SUFFIXES:
        return ' with the name of an image; rename it'
    return f', whose name ends in none of {" ".join(sorted(video.SUFFIXES))}; rename it, or save it as one of these'


def to_bgr(image: Image.Image, name: str | Path = 'the image') -> np.ndarray:
    """A picture of Pillow, upright, (H, W, 3) uint8, BGR.

    Raises:
        InputError: its pixels have 32 bits or cannot be converted, or it is closed or cut short.
    """
    sixteen = image.mode in SIXTEEN or (image.mode == 'I' and image.format in ('PNG', 'PPM'))
    if image.mode in ('I', 'F') and not sixteen:
        raise InputError(f'{name} has 32-bit pixels; save it with 8 bits')
    try:
        with _WHOLE:
            image.load()
        upright = ImageOps.exif_transpose(image)
        if sixteen:
            pixels = np.asarray(upright if upright.mode == 'I' else upright.convert('I'))
            return cv2.cvtColor((pixels >> 8).astype(np.uint8), cv2.COLOR_GRAY2BGR)
        if upright.mode == 'La':  # grey times alpha
            upright = upright.convert('LA')
        if 'transparency' in upright.info:
            upright = upright.convert('RGBA')  # directly to RGB, Pillow warns
        return cv2.cvtColor(np.asarray(upright.convert('RGB')), cv2.COLOR_RGB2BGR)
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f'{name} cannot be read ({error}); replace the file, or give a picture in RGB') from error
