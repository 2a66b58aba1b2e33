"""From low-resolution logits to labels, one class at a time.

Stock upsamples the logits of all classes to the size of the input, resizes them to the size of the original image,
keeps both, and takes the argmax over classes. Here each class is upsampled and resized alone, compared with the best
class so far, and freed. The interpolations are the same, so the labels are equal to stock's.

This holds for contiguous logits, as in stock's segmentors. PyTorch's CPU kernel for channels_last maps of 4 or more
channels rounds differently. Such logits are made contiguous first, so near ties may differ from stock.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

# If height + width is at most this, PyTorch's CPU kernel rounds differently for different numbers of channels.
SMALL = 128


@dataclass(frozen=True)
class Logits:
    """The head's outputs for a batch, upsampled on demand.

    Args:
        windows: rows and columns of the input for each of ``maps``; overlapping windows are averaged.
        maps: (N, C, h, w) each.
        size: height and width of the input.
        align_corners: for the upsampling.
        dtype: type of the upsampled logits.
    """

    windows: Sequence[tuple[slice, slice]]
    maps: Sequence[Tensor]
    size: Sequence[int]
    align_corners: bool
    dtype: torch.dtype

    def labels(self, image: int, meta: dict) -> Tensor:
        """The class with the largest logit at each pixel of an image, the first of equals, (1, *ori_shape) int64."""
        if self._classes_are_independent(meta['ori_shape'][:2]):
            return argmax(self._original(image, meta, slice(index, index + 1)) for index in range(self._classes))
        return self._original(image, meta).argmax(1)

    def full(self, image: int, meta: dict) -> Tensor:
        """Logits at the image's original size, with padding and flip undone, (C, *ori_shape)."""
        if not self._classes_are_independent(meta['ori_shape'][:2]):
            return self._original(image, meta)[0]
        result = self.maps[0].new_empty(self._classes, *meta['ori_shape'][:2], dtype=self.dtype)
        for index in range(self._classes):
            result[index] = self._original(image, meta, slice(index, index + 1))
        return result

    @property
    def _classes(self) -> int:
        return self.maps[0].shape[1]

    def _classes_are_independent(self, size: Sequence[int]) -> bool:
        """Whether a class interpolated alone equals the same class interpolated with the others, to the last bit.

        On a CPU, PyTorch's kernel depends on the number of channels for small maps, and for 3 channels in a single
        thread. Logits must be finite, because an argmax over all classes prefers NaN.
        """
        sizes = [*map(_size, self.windows), size]
        device = self.maps[0].device.type
        independent = device == 'cuda' or (
            device == 'cpu' and self._classes != 3 and all(height + width > SMALL for height, width in sizes)
        )
        return independent and self._finite

    @cached_property
    def _finite(self) -> bool:
        return all(bool(x.isfinite().all()) for x in self.maps)

    def _original(self, image: int, meta: dict, classes: slice = slice(None)) -> Tensor:
        left, right, top, bottom = padding(meta)
        x = self._upsample(slice(image, image + 1), classes)
        x = x[:, :, top : self.size[0] - bottom, left : self.size[1] - right]
        if meta.get('flip'):
            x = x.flip({'horizontal': 3, 'vertical': 2}[meta['flip_direction']])
        return self._resize(x, meta['ori_shape'][:2])

    def _upsample(self, image: slice, classes: slice) -> Tensor:
        parts = (
            self._resize(x[image, classes], _size(window)) for window, x in zip(self.windows, self.maps, strict=True)
        )
        if len(self.windows) == 1:
            return next(parts).to(self.dtype)
        total = self.maps[0].new_zeros(1, len(range(self._classes)[classes]), *self.size, dtype=self.dtype)
        count = total.new_zeros(self.size)
        for (rows, columns), part in zip(self.windows, parts, strict=True):
            total[:, :, rows, columns] += part
            count[rows, columns] += 1
        return total.div_(count)

    def _resize(self, x: Tensor, size: Sequence[int]) -> Tensor:
        if x.shape[2:] == torch.Size(size):
            return x
        return F.interpolate(x, tuple(size), mode='bilinear', align_corners=self.align_corners)


def padding(meta: dict) -> Sequence[int]:
    """The padding of an image: left, right, top, bottom."""
    return meta.get('img_padding_size', meta.get('padding_size', (0, 0, 0, 0)))


def argmax(planes: Iterable[Tensor]) -> Tensor:
    """Maps (1, 1, H, W), one per class -> index of the largest, the first of equals, (1, H, W) int64."""
    return largest(planes, torch.int16)[0].long()


def largest(planes: Iterable[Tensor], dtype: torch.dtype) -> Tensor:
    """Finite maps of one shape -> index of the largest at each position, the first of equals, as integers ``dtype``."""
    planes = iter(planes)
    best = next(planes)
    labels = torch.zeros(best.shape, dtype=dtype, device=best.device)
    for index, plane in enumerate(planes, start=1):
        # The indices increase, so a maximum selects; on a CPU masked_fill_ and where take forty times as long.
        torch.maximum(labels, (plane > best).to(dtype) * index, out=labels)
        best = torch.maximum(best, plane)
    return labels


def _size(window: tuple[slice, slice]) -> tuple[int, int]:
    rows, columns = window
    return rows.stop - rows.start, columns.stop - columns.start
