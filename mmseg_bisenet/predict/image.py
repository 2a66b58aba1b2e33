"""An image file as a viewer shows it: upright (EXIF), 8 bits, three channels.

The size is checked from the header, before memory is taken. Python opens the file, so its name may be any bytes.

- 16-bit grey: the upper 8 bits, as OpenCV converts. 32-bit and floating-point pixels are refused.
- Grey, palette, CMYK: converted to RGB. Alpha is dropped, as OpenCV and MMSegmentation do.
- Animations, files of several pages and damaged files are refused.
"""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_input
from mmseg_bisenet.sizes import MEGAPIXELS, check_size

FORMATS = ('BMP', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'TIFF', 'WEBP')  # no format that runs programs, such as EPS


def read_image(path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8, BGR.

    Raises:
        InputError: the file is missing, damaged, too large, animated, or no image.
    """
    check_input(path)
    if Path(path).is_file() and Path(path).stat().st_size == 0:
        raise _empty(path)
    return _decoded(path, lambda: path)


def decode_image(content: bytes, name: str = 'image') -> np.ndarray:
    """The image in the content of a file, as :func:`read_image` gives it.

    Args:
        name: for messages.
    """
    if not content:
        raise _empty(name)
    return _decoded(name, lambda: io.BytesIO(content))


def _decoded(name: str | Path, source: Callable[[], str | Path | io.BytesIO]) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of large images and odd headers: what is wrong here is an error
            with Image.open(source(), formats=FORMATS) as image:
                check_size(name, *image.size)
                frames = getattr(image, 'n_frames', 1)
                if frames > 1 and image.format != 'MPO':  # an MPO is a JPEG with a preview behind it
                    raise InputError(f'{name} has {frames} frames or pages; save it as a video, or as single images')
                if image.format == 'PNG':  # decoding does not read the checksums of the pixels
                    with Image.open(source(), formats=['PNG']) as whole:
                        whole.verify()
                return to_bgr(image, name)
    except InputError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit comes before the size is known
        raise InputError(f'{name} is too large; the limit is {MEGAPIXELS} megapixels: make it smaller') from error
    except UnidentifiedImageError as error:
        raise InputError(f'{name} is no image of a format that is read; give a PNG or JPEG file') from error
    except FileNotFoundError as error:
        raise InputError(f'{name} does not exist; give an image, a folder, a video, a camera or a stream') from error
    except Exception as error:  # each format of Pillow raises its own
        reason = getattr(error, 'strerror', None) or str(error)
        raise InputError(f'{name} cannot be read ({reason}); replace the file') from error


def _empty(name: str | Path) -> InputError:
    return InputError(f'{name} is empty; give a PNG or JPEG file')


def to_bgr(image: Image.Image, name: str | Path = 'the image') -> np.ndarray:
    """A picture of Pillow, upright, (H, W, 3) uint8, BGR.

    Raises:
        InputError: its pixels have 32 bits.
    """
    sixteen = image.mode.startswith('I;16') or (image.mode == 'I' and image.format in ('PNG', 'PPM'))
    upright = ImageOps.exif_transpose(image)
    if sixteen:
        return cv2.cvtColor((np.asarray(upright) >> 8).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    if image.mode in ('I', 'F'):
        raise InputError(f'{name} has 32-bit pixels; save it with 8 bits')
    if 'transparency' in upright.info:
        upright = upright.convert('RGBA')  # directly to RGB, Pillow warns
    return cv2.cvtColor(np.asarray(upright.convert('RGB')), cv2.COLOR_RGB2BGR)
