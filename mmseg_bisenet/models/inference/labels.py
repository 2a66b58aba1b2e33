"""From low-resolution logits to labels, one class at a time.

Stock upsamples the logits of all classes to the size of the input, resizes them again to that of the original image,
keeps both, and takes an argmax over the slowest dimension. Here each class makes that way on its own, and is forgotten
once compared with the best so far: the same interpolations of the same numbers, so the same labels to the last bit.

That is of contiguous logits, as stock's segmentors have them. PyTorch's CPU kernel for channels_last maps of 4 or more
channels rounds otherwise; such logits are made contiguous before, and near ties may turn from what stock makes of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

# PyTorch's CPU kernel for maps whose height and width add up to no more than this rounds by number of channels.
SMALL = 128


@dataclass(frozen=True)
class Logits:
    """What the head gave for a batch, upsampled when it is asked for.

    Args:
        windows: rows and columns of the input that each of ``maps`` is of; where windows overlap, the mean is taken.
        maps: (N, C, h, w) each.
        size: height and width of the input.
        align_corners: of the upsampling.
        dtype: of the upsampled logits.
    """

    windows: Sequence[tuple[slice, slice]]
    maps: Sequence[Tensor]
    size: Sequence[int]
    align_corners: bool
    dtype: torch.dtype

    def labels(self, image: int, meta: dict) -> Tensor:
        """The likeliest class of each pixel of an image, the first of equals, (1, *ori_shape) int64."""
        if self._can_be_parted(meta['ori_shape'][:2]):
            return argmax(self._original(image, meta, slice(index, index + 1)) for index in range(self._classes))
        return self._original(image, meta).argmax(1)

    def full(self, image: int, meta: dict) -> Tensor:
        """Logits at the image's original size, padding and flip undone, (C, *ori_shape)."""
        if not self._can_be_parted(meta['ori_shape'][:2]):
            return self._original(image, meta)[0]
        result = self.maps[0].new_empty(self._classes, *meta['ori_shape'][:2], dtype=self.dtype)
        for index in range(self._classes):
            result[index] = self._original(image, meta, slice(index, index + 1))
        return result

    @property
    def _classes(self) -> int:
        return self.maps[0].shape[1]

    def _can_be_parted(self, size: Sequence[int]) -> bool:
        """Whether a class interpolates alone as it does beside the others, to the last bit.

        PyTorch's CPU kernels depend on the number of channels for small maps, and for 3 in a single thread. Of numbers
        that aren't finite an argmax over all classes prefers NaN.
        """
        sizes = [*map(_size, self.windows), size]
        device = self.maps[0].device.type
        parted = device == 'cuda' or (
            device == 'cpu' and self._classes != 3 and all(height + width > SMALL for height, width in sizes)
        )
        return parted and self._finite

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
    """What was added to an image: left, right, top, bottom."""
    return meta.get('img_padding_size', meta.get('padding_size', (0, 0, 0, 0)))


def argmax(planes: Iterable[Tensor]) -> Tensor:
    """Maps (1, 1, H, W), one a class -> index of the largest, the first of equals, (1, H, W) int64."""
    return largest(planes, torch.int16)[0].long()


def largest(planes: Iterable[Tensor], dtype: torch.dtype) -> Tensor:
    """Maps of one shape, finite -> index of the largest at each place, the first of equals, of an integer type."""
    planes = iter(planes)
    best = next(planes)
    labels = torch.zeros(best.shape, dtype=dtype, device=best.device)
    for index, plane in enumerate(planes, start=1):
        # Indices only grow; on a CPU masked_fill_ and where are forty times as slow as maximum.
        torch.maximum(labels, (plane > best).to(dtype) * index, out=labels)
        best = torch.maximum(best, plane)
    return labels


def _size(window: tuple[slice, slice]) -> tuple[int, int]:
    rows, columns = window
    return rows.stop - rows.start, columns.stop - columns.start
