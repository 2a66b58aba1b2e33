"""int8: images to calibrate with, and NNCF's post-training quantization of a model.

Deviations from NNCF's defaults, each by measurement (V2 trained on drawn streets, 24 images of 256x512, labels equal to
float32's):

- Symmetric activations (the PERFORMANCE preset), and one scale for each tensor: ONNX Runtime supports no other.
- The convolutions that read the image stay float (``export.write``): V2 trained on CamVid then loses 0.06 mIoU,
  otherwise 0.66.
- The products from logits to labels stay float.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmseg_bisenet.deploy.packages import require_packages
from mmseg_bisenet.errors import InputError, short
from mmseg_bisenet.folders import find_files
from mmseg_bisenet.pixels import SUFFIXES, read_pixels

logger = logging.getLogger(__name__)

FEWEST, ENOUGH, MOST = 10, 100, 300  # images


# -- images ------------------------------------------------------------------------------------------------------------


def find_images(folder: str | Path) -> list[Path]:
    """The images in a folder and those below it, linked folders too. A warning names folders that are left out.

    Raises:
        InputError: no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        state = 'is no folder' if folder.exists() else 'does not exist'
        raise InputError(f'calibration folder {folder} {state}; give a folder of images, or train, val or test')
    found, left_out = find_files(folder)
    for line in left_out.values():
        logger.warning('calibration: %s', line)
    paths = [path for path in found if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise InputError(f'calibration folder {folder} has no image ({", ".join(sorted(SUFFIXES))}); give another')
    return paths


def read_images(paths: Sequence[str | Path], shape: tuple[int, int], most: int = MOST) -> Iterator[np.ndarray]:
    """Images (H, W, 3) uint8 BGR of that shape: all of them, or ``most`` at even distances.

    Raises:
        InputError: one cannot be read.
    """
    for i in np.linspace(0, len(paths) - 1, min(len(paths), most)).round().astype(int):
        try:
            image = read_pixels(paths[i])
        except OSError:
            image = None
        if image is None:
            raise InputError(f'calibration image {paths[i]} cannot be read; repair it or remove it')
        yield cv2.resize(image, shape[::-1])


def require_int8(precisions: str | Sequence[str], calibration: Iterable = (), keep_float: Iterable = ()) -> None:
    """Refuse what only int8 uses.

    Raises:
        InputError: it is given, and the precision, or none of several, is int8; or it is no list.
    """
    for option, given in (('--calibration', calibration), ('--keep-float', keep_float)):
        if not isinstance(given, Iterable) or (option == '--keep-float' and isinstance(given, str)):
            raise InputError(f'{option} is {short(repr(given))}; give a list')
        if 'int8' not in precisions and any(True for _ in given):
            asked = precisions if isinstance(precisions, str) else ' '.join(precisions)
            raise InputError(f'{option} is for int8, and the precision is {asked}; leave it out, or take int8')


def checked(images: Iterable[np.ndarray], shape: tuple[int, int]) -> list[np.ndarray]:
    """The images as a list, if there are enough and all have the shape. Logs a warning if more would be better.

    Raises:
        InputError: too few, of another shape or type, or all without a picture.
    """
    images = list(images)
    if len(images) < FEWEST:
        raise InputError(
            f'int8: {len(images)} images to calibrate with, and the ranges of the activations need at least {FEWEST}, '
            f'better {ENOUGH} to {MOST}; give more with --calibration'
        )
    for image in images:
        if not (hasattr(image, 'shape') and hasattr(image, 'dtype')):
            raise InputError(
                f'int8: a calibration image is of type {type(image).__name__}; give arrays (H, W, 3) of uint8'
            )
        if image.shape != (*shape, 3) or image.dtype != np.uint8:
            fix = 'resize it' if image.dtype == np.uint8 else 'give its pixels, 0 to 255'
            raise InputError(
                f'int8: a calibration image is {image.dtype} {image.shape}, not uint8 {(*shape, 3)}; {fix}'
            )
    if all((image == image[0, 0]).all() for image in images):
        raise InputError('int8: each calibration image has one colour only; give photographs')
    if len(images) < ENOUGH:
        logger.warning('int8: %d images to calibrate with; %d to %d are better', len(images), ENOUGH, MOST)
    return images


# -- quantization ------------------------------------------------------------------------------------------------------


def quantize(model: Any, images: Sequence[np.ndarray], keep_float: Sequence[str] = (), signed: bool = False) -> Any:
    """A model of :func:`~.graph.to_onnx`, or what a runtime converted it to, with its convolutions in int8.

    Args:
        images: (H, W, 3), as :func:`checked` returns them.
        keep_float: modules of the network that stay float, as ``decode_head`` or ``backbone.detail.*``, where ``*``
            is any text.
        signed: int8 only, without zero points.

    Raises:
        InputError: ``keep_float`` names no module, or all convolutions.
    """
    (nncf,) = require_packages('nncf')
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, QuantizationParameters

    is_onnx = hasattr(model, 'graph')
    names = [node.name for node in model.graph.node] if is_onnx else [op.get_friendly_name() for op in model.get_ops()]
    activations = QuantizationParameters(per_channel=False, signedness_to_force=True if signed else None)
    return nncf.quantize(
        model,
        nncf.Dataset(images, lambda image: dict(images=image[None])),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(types=['MatMul'], patterns=patterns(keep_float, names), validate=False),
        advanced_parameters=AdvancedQuantizationParameters(activations_quantization_params=activations),
    )


def patterns(keep_float: Sequence[str], names: list[str]) -> list[str]:
    """Regular expressions that match the nodes of modules.

    Args:
        keep_float: as in :func:`quantize`.
        names: of all nodes, as ``decode_head.conv_seg/Conv``.

    Raises:
        InputError: ``keep_float`` names no module, or all convolutions.
    """
    found = []
    for name in keep_float:
        pattern = re.escape(name).replace(r'\*', '.*') + '[./].*'
        if not any(re.fullmatch(pattern, node) for node in names):
            modules = sorted({node.rpartition('/')[0] for node in names if node.startswith(('backbone', 'decode'))})
            raise InputError(
                f'--keep-float {name} names no module of the network; they go from {modules[0]} to {modules[-1]}, and '
                '* matches any text'
            )
        found.append(pattern)
    convolutions = [node for node in names if '/Conv' in node]
    if convolutions and all(any(re.fullmatch(pattern, node) for pattern in found) for node in convolutions):
        raise InputError('--keep-float leaves no convolution in int8; name fewer modules, or take another precision')
    return found
