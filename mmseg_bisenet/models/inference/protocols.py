"""Evaluation protocols: whole images, sliding windows, and the protocols of CoinCheung's tables.

``whole`` and ``slide`` are MMSegmentation's, with its windows; ``slide`` averages logits. The others are those of
CoinCheung/BiSeNet, tools/evaluate.py: ``ss`` (whole images), ``ssc`` (windows), ``msf`` (scales and flip) and ``mscf``
(windows, scales and flip). These protocols sum probabilities:

- ``ss`` and ``msf`` round height and width of each scaled image up to a multiple of 32. So ``ss`` differs from
  ``whole`` only for images of other sizes.
- Windows have the size ``crop_size`` and the step ``stride``; the last one ends at the border. The defaults are
  CoinCheung's, 1024x1024 and two thirds of it, rounded up. With a step of five sixths, ``ssc`` is the evaluation of
  V1's authors (ycszen/TorchSeg).
- An image smaller than a window is padded with zeros on all sides.
- Image and result are resized with aligned corners, independent of the network's ``align_corners``.
- ``msf`` sums the softmax of each scale and its flip. ``mscf`` sums exp(softmax + softmax of the flip) over windows and
  scales.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from torch import Tensor

from mmseg_bisenet.errors import InputError

PROTOCOLS = ('ss', 'ssc', 'msf', 'mscf')
CROP = (1024, 1024)
DIVISOR = 32
OPTIONS = 'mode', 'crop_size', 'stride', 'scales', 'keep_logits', 'nearest_labels'  # of test_cfg
SCALES = (0.5, 0.75, 1, 1.25, 1.5, 1.75)


def check(test_cfg: dict | None) -> ConfigDict:
    """Check a segmentor's ``test_cfg`` and return it with a ``mode``; the default is ``whole``.

    Raises:
        InputError: the mode is not known, ``slide`` lacks a size, or there are gaps between windows.
    """
    cfg = ConfigDict(dict(mode='whole') | (test_cfg or {}))
    if cfg.mode not in ('whole', 'slide', *PROTOCOLS):
        raise InputError(
            f'BiSeNetSegmentor: model.test_cfg.mode={cfg.mode!r} is not known; choose whole, slide, '
            f'{", ".join(PROTOCOLS)}'
        )
    for name in ('crop_size', 'stride') if cfg.mode == 'slide' else ():
        if name not in cfg:
            raise InputError(f'BiSeNetSegmentor: model.test_cfg.{name} is missing; mode slide needs (height, width)')
    crop = cfg.get('crop_size', CROP)
    stride = cfg.get('stride', crop) if cfg.mode in ('slide', 'ssc', 'mscf') else crop
    if any(s > c for s, c in zip(stride, crop, strict=True)):
        raise InputError(
            f'BiSeNetSegmentor: model.test_cfg.stride={tuple(stride)} is larger than crop_size={tuple(crop)}, and '
            'windows would leave gaps; make stride smaller'
        )
    return cfg


def check_options(test_cfg: ConfigDict) -> None:
    """Raises:
    InputError: nothing reads an option.
    """
    for name in test_cfg:
        if name not in OPTIONS:
            raise InputError(
                f'BiSeNetSegmentor: nothing reads model.test_cfg.{name}; remove it, or choose from {", ".join(OPTIONS)}'
            )


def windows(size: Sequence[int], test_cfg: ConfigDict) -> list[tuple[slice, slice]]:
    """Rows and columns of the windows, in MMSegmentation's order: those of ``slide``, or the whole image."""
    if test_cfg.mode == 'whole':
        return [(slice(0, size[0]), slice(0, size[1]))]
    return list(_grid(size, test_cfg.crop_size, test_cfg.stride))


def probabilities(network: Callable[[Tensor], Tensor], inputs: Tensor, test_cfg: ConfigDict) -> Tensor:
    """Sums of probabilities over the windows, scales and flips of a protocol.

    Args:
        network: (N, 3, H, W) -> logits (N, C, H, W).
        inputs: (N, 3, H, W).
        test_cfg: ``mode`` is one of ``PROTOCOLS``; ``crop_size``, ``stride`` (both height, width) and ``scales`` are
            optional, with CoinCheung's values as defaults.

    Returns:
        (N, C, H, W).
    """
    mode, crop, size = test_cfg.mode, test_cfg.get('crop_size', CROP), inputs.shape[2:]
    stride = test_cfg.get('stride', [math.ceil(length * 2 / 3) for length in crop])
    scales = (1,) if mode in ('ss', 'ssc') else test_cfg.get('scales', SCALES)
    total: Any = 0
    for scale in scales:
        scaled = [int(scale * length) for length in size]
        if mode in ('ss', 'msf'):
            image = _resize(inputs, [math.ceil(length / DIVISOR) * DIVISOR for length in scaled])
            for flip in (False, True) if mode == 'msf' else (False,):
                total = _resize(_unflipped(network, image, flip), size).softmax(1).add_(total)
        else:
            image = _resize(inputs, scaled)
            total = _resize(_windowed(network, image, crop, stride, flip=mode == 'mscf'), size).add_(total)
    return total


def _windowed(
    network: Callable[[Tensor], Tensor], image: Tensor, crop: Sequence[int], stride: Sequence[int], flip: bool
) -> Tensor:
    height, width = image.shape[2:]
    bottom, right = max(crop[0] - height, 0), max(crop[1] - width, 0)
    top, left = bottom // 2, right // 2
    image = F.pad(image, (left, right - left, top, bottom - top))
    total: Any = None
    for rows, columns in _grid(image.shape[2:], crop, stride):
        chip = image[:, :, rows, columns]
        result = network(chip).softmax(1)
        if flip:
            result = result.add_(_unflipped(network, chip, True).softmax(1)).exp_()
        if total is None:
            total = result.new_zeros(*result.shape[:2], *image.shape[2:])
        total[:, :, rows, columns] += result
    return total[:, :, top : top + height, left : left + width]


def _grid(size: Sequence[int], crop: Sequence[int], stride: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """Windows row by row; the last ones end at the border."""
    rows, columns = (
        [
            slice(max(min(start + window, length) - window, 0), min(start + window, length))
            for start in range(0, max(length - window + step - 1, 0) // step * step + 1, step)
        ]
        for length, window, step in zip(size, crop, stride, strict=True)
    )
    return ((row, column) for row in rows for column in columns)


def _unflipped(network: Callable[[Tensor], Tensor], image: Tensor, flip: bool) -> Tensor:
    if not flip:
        return network(image)
    result = network(image.flip(3))
    for plane in result.unbind(1):  # a second map of all classes would set the peak of memory
        plane.copy_(plane.flip(2))
    return result


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    if x.shape[2:] == torch.Size(size):
        return x
    return F.interpolate(x, tuple(size), mode='bilinear', align_corners=True)
