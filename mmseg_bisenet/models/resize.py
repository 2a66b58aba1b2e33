"""Resizing of feature maps, with checks of the mode and of ``align_corners``."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from mmseg_bisenet.errors import InputError


@dataclass(frozen=True)
class Resize:
    """Resize (N, C, h, w) to (N, C, H, W), the size given in the call.

    Args:
        mode: ``'nearest'`` or ``'bilinear'``.
        align_corners: for bilinear, align the centres of the corner pixels.

    Raises:
        InputError: an unknown mode, or ``align_corners`` with nearest, which would ignore it.
    """

    mode: str
    align_corners: bool = False

    def __post_init__(self) -> None:
        if self.mode not in ('nearest', 'bilinear'):
            raise InputError(f"upsampling mode {self.mode!r} is not known; choose 'nearest' or 'bilinear'")
        if self.mode == 'nearest' and self.align_corners:
            raise InputError("align_corners=True has no meaning for upsampling mode 'nearest'; choose 'bilinear'")

    def __call__(self, x: Tensor, size: Sequence[int]) -> Tensor:
        if self.mode == 'nearest':
            return F.interpolate(x, tuple(size), mode='nearest')
        return F.interpolate(x, tuple(size), mode='bilinear', align_corners=self.align_corners)
