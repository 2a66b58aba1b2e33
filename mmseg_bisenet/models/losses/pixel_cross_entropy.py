"""Cross entropy of pixels from low-resolution logits, without the upsampled logits.

Stock upsamples the logits of every head to the size of the labels and stores them, and their softmax, for the backward
pass. This file upsamples a strip of rows at a time, computes the losses of its pixels and frees it. The backward pass
upsamples the strips again. Only one number per pixel is stored. On a CPU a strip is of one image, so that it fits into
the caches. On a GPU it spans all images, because each strip launches some forty kernels, however small it is.

With Numba, a CPU does the same in two kernels (``pixel_cross_entropy_numba.py``), about ten times as fast.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmseg_bisenet.compat import after_import
from mmseg_bisenet.errors import InputError

# Upsampled logits in a strip: what fits into CPU caches, and what keeps a GPU busy.
STRIP_CPU, STRIP_GPU = 2**20, 2**25


def pixel_cross_entropy(
    logits: Tensor, labels: Tensor, align_corners: bool = False, ignore_index: int = 255
) -> tuple[Tensor, Tensor]:
    """Cross entropy of each pixel between bilinearly upsampled logits and labels.

    Args:
        logits: (N, C, h, w), any floating type; computed in float32, or in float64 for float64 logits.
        labels: (N, H, W) int64, in [0, C) or ``ignore_index``.
        align_corners: for the upsampling.
        ignore_index: label of the pixels to ignore.

    Returns:
        Losses (N, H, W), zero for ignored pixels, and (N, H, W) bool: whether the true class has the largest logit.

    Raises:
        InputError: labels that are no integers.
    """
    if labels.is_floating_point() or labels.is_complex():
        raise InputError(f'labels are {labels.dtype}; give ids of classes in an integer type')
    # Reductions over classes are slow for strips of channels-last logits.
    return _apply(logits.contiguous(), labels, align_corners, ignore_index)


def _apply(*arguments: Any) -> tuple[Tensor, Tensor]:
    return _PixelCrossEntropy.apply(*arguments)


def _stay_out_of_compiled_graphs() -> None:
    global _apply
    _apply = torch.compiler.disable(_apply)  # Inductor's CPU kernels for it do not compile (PyTorch 2.13)


# `disable` imports TorchDynamo, a fifth of the time that the networks take to import. What compiles imports it first.
after_import('torch._dynamo', _stay_out_of_compiled_graphs)


class _PixelCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, align_corners: bool, ignore_index: int
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(logits, labels)
        ctx.options = align_corners, ignore_index
        kernels = _kernels_for(logits)
        if kernels is not None:
            losses, hits = kernels.forward(logits.float(), labels, align_corners, ignore_index)
            ctx.mark_non_differentiable(hits)
            return losses, hits
        losses = torch.empty(labels.shape, dtype=_precise(logits), device=logits.device)
        hits = torch.empty_like(labels, dtype=torch.bool)
        for strip in _strips(logits, labels, align_corners):
            upsampled, strip_labels = strip.upsample(logits), strip.of(labels)
            strip.of(losses).copy_(
                F.cross_entropy(upsampled, strip_labels, ignore_index=ignore_index, reduction='none')
            )
            true_class = upsampled.gather(1, strip_labels.masked_fill(strip_labels == ignore_index, 0)[:, None])
            strip.of(hits).copy_((true_class[:, 0] >= upsampled.amax(1)) & (strip_labels != ignore_index))
        ctx.mark_non_differentiable(hits)
        return losses, hits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: None) -> tuple[Tensor | None, ...]:
        logits, labels = ctx.saved_tensors
        align_corners, ignore_index = ctx.options
        kernels = _kernels_for(logits)
        if kernels is not None:
            total = kernels.backward(logits.float(), labels, gradient, align_corners, ignore_index)
            return total.to(logits.dtype), None, None, None
        total = torch.zeros_like(logits, dtype=_precise(logits))
        for strip in _strips(logits, labels, align_corners):
            with torch.enable_grad():
                rows = strip.rows_below(logits).to(total.dtype).detach().requires_grad_()
                losses = F.cross_entropy(
                    strip.upsample_rows(rows), strip.of(labels), ignore_index=ignore_index, reduction='none'
                )
            strip.rows_below(total).add_(torch.autograd.grad(losses, rows, strip.of(gradient))[0])
        return total.to(logits.dtype), None, None, None


def _kernels_for(logits: Tensor) -> ModuleType | None:
    """Numba's, if it is here, for float32 and less; tensors without values (FakeTensor) have no memory to give it."""
    fit = logits.device.type == 'cpu' and _precise(logits) == torch.float32 and type(logits) is Tensor
    return _kernels() if fit else None


@functools.cache
def _kernels() -> ModuleType | None:
    try:
        from mmseg_bisenet.models.losses import pixel_cross_entropy_numba
    except ImportError:  # no Numba, or it refuses the NumPy beside it
        return None
    return pixel_cross_entropy_numba


def _precise(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)


@dataclass(frozen=True)
class _Strip:
    """Rows of some images' labels, and the rows of logits that bilinear interpolation reads for them."""

    images: slice
    rows: slice  # of their labels
    below: slice  # rows of the logits
    upper: Tensor  # for each label row, the row of `below` above it
    lower: Tensor  # and the row of `below` under it
    weight: Tensor  # of the lower row
    width: int
    align_corners: bool

    def of(self, labels: Tensor) -> Tensor:
        """(N, H, W) -> (images, rows, W), a view."""
        return labels[self.images, self.rows]

    def rows_below(self, logits: Tensor) -> Tensor:
        """(N, C, h, w) -> (images, C, rows below, w), a view."""
        return logits[self.images, :, self.below]

    def upsample(self, logits: Tensor) -> Tensor:
        """(N, C, h, w) -> (images, C, rows, W)."""
        return self.upsample_rows(self.rows_below(logits).to(_precise(logits)))

    def upsample_rows(self, rows: Tensor) -> Tensor:
        wide = F.interpolate(rows, (rows.shape[2], self.width), mode='bilinear', align_corners=self.align_corners)
        return torch.lerp(wide.index_select(2, self.upper), wide.index_select(2, self.lower), self.weight)


def _strips(logits: Tensor, labels: Tensor, align_corners: bool) -> Iterator[_Strip]:
    (images, classes, small, _), (_, height, width) = logits.shape, labels.shape
    device, dtype = logits.device, _precise(logits)
    scale = (small - 1) / max(height - 1, 1) if align_corners else small / height
    places = [row * scale if align_corners else max((row + 0.5) * scale - 0.5, 0) for row in range(height)]
    above = [min(int(place), small - 1) for place in places]
    weight = _sent([place - row for place, row in zip(places, above, strict=True)], dtype, device)[:, None]
    upper = _sent(above, torch.int64, device)
    lower = (upper + 1).clamp(max=small - 1)
    together, most = _strip_shape(images, classes * width, device)
    for image in range(0, images, together):
        for first in range(0, height, most):
            rows = slice(first, min(first + most, height))
            below = slice(above[rows.start], min(above[rows.stop - 1] + 1, small - 1) + 1)
            yield _Strip(
                slice(image, image + together),
                rows,
                below,
                upper[rows] - below.start,
                lower[rows] - below.start,
                weight[rows],
                width,
                align_corners,
            )


def _strip_shape(images: int, row: int, device: torch.device) -> tuple[int, int]:
    """Images and rows in a strip; ``row`` upsampled logits are a row of an image."""
    if device.type == 'cpu':
        return 1, max(STRIP_CPU // row, 1)
    return images, max(STRIP_GPU // (images * row), 1)


def _sent(values: list, dtype: torch.dtype, device: torch.device) -> Tensor:
    # From pinned memory, so that the host does not wait for the copy.
    return torch.tensor(values, dtype=dtype, pin_memory=device.type == 'cuda').to(device, non_blocking=True)
