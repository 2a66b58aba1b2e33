"""Pictures of the page as data URIs: image, truth, prediction and errors of a sample; large confusion matrices."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.palette import paint
from mmseg_bisenet.pixels import read_pixels

LONGEST_SIDE = 640  # pixels
IGNORED = 255
WRONG = (225, 40, 40)
HIT, MISS = (59, 111, 182), (200, 68, 47)  # on the diagonal of a confusion matrix, and off it


@dataclass
class Picture:
    """A picture as data URI. If it could not be drawn, the URI is None and the text names the file."""

    label: str
    text: str
    uri: str | None = None


def of_sample(
    sample: dict, folder: Path, classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> tuple[list[Picture], set[int]]:
    """Draw image, truth, prediction and errors of a sample, and find the classes that occur in its labels.

    Args:
        sample: ``img_path``, and ``truth`` and ``prediction`` as paths relative to ``folder``.
        folder: the folder of ``scores.json``.
    """
    name = Path(sample['img_path']).name
    pixels, photo_problem = _open(sample['img_path'], cv2.IMREAD_COLOR)
    truth, truth_problem = _ids(folder / sample['truth'])
    prediction, prediction_problem = _ids(folder / sample['prediction'])

    photo, pictures = None, [Picture('photo', photo_problem)]
    if pixels is not None:
        photo = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
        pictures = [Picture('photo', f'photo {name}', _jpeg(_shrunk(photo, Image.Resampling.BOX)))]
    shown = set()
    for label, ids, problem in (('truth', truth, truth_problem), ('prediction', prediction, prediction_problem)):
        if ids is None:
            pictures.append(Picture(label, problem))
        else:
            shown |= set(np.unique(ids).tolist()) & set(range(len(classes)))
            pictures.append(Picture(label, f'{label} of {name}: {_most(ids, classes)}', _coloured(ids, palette)))
    if truth is None or prediction is None:
        return [*pictures, Picture('errors', truth_problem or prediction_problem)], shown
    if truth.shape != prediction.shape:
        problem = f'{folder / sample["prediction"]} has another size than {folder / sample["truth"]}'
        return [*pictures, Picture('errors', problem)], shown
    counts = truth != IGNORED
    wrong = counts & (truth != prediction)
    share = 100 * wrong.sum() / max(counts.sum(), 1)
    drawn = _jpeg(_shrunk(_errors(photo, wrong, ~counts), Image.Resampling.BOX))
    return [*pictures, Picture('errors', f'wrong pixels of {name}: {share:.1f} % of the labelled pixels', drawn)], shown


def _open(path: str | Path, flag: int) -> tuple[np.ndarray | None, str]:
    """Decode with OpenCV, as the test does. Return (pixels, ''), or (None, problem)."""
    try:
        pixels = read_pixels(path, flag)
    except (OSError, InputError) as error:
        return None, f'{path} {"does not exist" if isinstance(error, FileNotFoundError) else "cannot be read"}'
    return pixels, '' if pixels is not None else f'{path} cannot be read'


def _ids(path: Path) -> tuple[np.ndarray | None, str]:
    """As :func:`_open`, for a picture of class ids."""
    ids, problem = _open(path, cv2.IMREAD_UNCHANGED)
    if ids is not None and (ids.ndim != 2 or ids.dtype != np.uint8):
        return None, f'{path} is no grey picture of 8 bits, which class ids are'
    return ids, problem


def _errors(photo: Image.Image | None, wrong: np.ndarray, ignored: np.ndarray) -> Image.Image:
    """Draw wrong pixels red over the grey image, and ignored pixels black. The image is resized to the labels.

    The image is lightened, so that shadows do not look like ignored pixels.
    """
    height, width = wrong.shape
    grey = Image.new('L', (width, height), 160) if photo is None else photo.convert('L').resize((width, height))
    pixels = np.repeat(80 + np.asarray(grey)[..., None] // 3 * 2, 3, axis=2)
    pixels[wrong] = pixels[wrong] // 4 + np.array(WRONG) * 3 // 4
    pixels[ignored] = 0
    return Image.fromarray(pixels)


def _coloured(ids: np.ndarray, palette: Sequence[Sequence[int]]) -> str:
    return _uri(_shrunk(Image.fromarray(paint(ids, palette)), Image.Resampling.NEAREST), 'png', optimize=True)


def _most(ids: np.ndarray, classes: Sequence[str]) -> str:
    """The five most frequent classes as text."""
    pixels = np.bincount(ids[ids < len(classes)], minlength=len(classes))
    largest = [index for index in pixels.argsort()[::-1][:5] if pixels[index]]
    return ', '.join(f'{classes[index]} {100 * pixels[index] / ids.size:.0f} %' for index in largest) or 'nothing'


def of_confusion(share: np.ndarray) -> str:
    """Draw a confusion matrix with 4 x 4 pixels a cell, transparent, for light and dark pages.

    Args:
        share: (C, C) share of each row, 0 to 1.
    """
    cells = np.empty((*share.shape, 4), np.uint8)
    cells[..., :3] = MISS
    cells[np.eye(len(share), dtype=bool), :3] = HIT
    cells[..., 3] = np.rint(255 * np.sqrt(share))
    return _uri(Image.fromarray(cells.repeat(4, axis=0).repeat(4, axis=1)), 'png', optimize=True)


def _shrunk(image: Image.Image, resample: Image.Resampling) -> Image.Image:
    ratio = min(1, LONGEST_SIDE / max(image.size))
    return image.resize([max(1, round(side * ratio)) for side in image.size], resample)


def _jpeg(image: Image.Image) -> str:
    return _uri(image, 'jpeg', quality=85)


def _uri(image: Image.Image, kind: str, **options: object) -> str:
    data = BytesIO()
    image.save(data, kind, **options)
    return f'data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}'
