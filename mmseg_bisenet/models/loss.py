"""Online hard example mining: the function, then the registered loss.

As the authors of V1 (TorchSeg) and CoinCheung define it: a pixel is hard where the probability of its true class is
below a threshold; at least a fixed share of the valid pixels is kept, the hardest ones; the loss is the mean over the
pixels that are **kept**. MMSegmentation's ``OHEMPixelSampler`` sets easy pixels to zero and divides by all pixels, and
its BiSeNetV2 OHEM config never applied it.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.registry import MODELS


def ohem_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    threshold: float = 0.7,
    min_kept_fraction: float = 1 / 16,
    ignore_index: int = 255,
    class_weight: Tensor | None = None,
) -> Tensor:
    """Cross entropy, averaged over the hard pixels.

    Args:
        logits: (N, C, H, W), any floating type; computed in float32.
        labels: (N, H, W) int64, in [0, C) or ``ignore_index``.
        threshold: pixels whose true class has a probability below it are kept.
        min_kept_fraction: at least this share of the valid pixels is kept, rounded down.
        ignore_index: the label of pixels that don't count.
        class_weight: (C,) factors on the loss of a pixel; mining does not see them.

    Returns:
        A scalar; zero, with zero gradients, where no pixel is valid.
    """
    losses = F.cross_entropy(logits.float(), labels, ignore_index=ignore_index, reduction='none')
    valid = labels != ignore_index
    # Loss is monotonous in the probability, so the threshold moves to the loss and no softmax is stored.
    mined = losses.detach().masked_fill(~valid, -1.0)
    bound = _kth_largest(mined, (valid.sum() * min_kept_fraction).long())
    # "Not easy" rather than "hard": the loss of a network that diverged is NaN, and must not be mined away.
    kept = valid & (~(mined <= -math.log(threshold)) | (mined >= bound))
    if class_weight is not None:
        losses = losses * class_weight.to(losses)[labels.masked_fill(~valid, 0)]
    return losses.masked_fill(~kept, 0.0).sum() / kept.sum().clamp(min=1)


def _kth_largest(values: Tensor, k: Tensor) -> Tensor:
    """The k-th largest of ``values`` (float32, any shape), as a scalar; infinity for k = 0.

    A radix selection: the bits of non-negative floats order as integers do, so three histograms of 11, 11 and 10 bits
    find the value without sorting, and k stays on the device, where it was counted. Negative values are left out.
    """
    keys = values.flatten().view(torch.int32)
    found = torch.zeros((), dtype=torch.int32, device=values.device)
    rank = k
    for shift, width in ((21, 11), (10, 11), (0, 10)):
        digits = (keys >> shift) & ((1 << width) - 1)
        candidate = (keys >= 0) & ((keys >> (shift + width)) == (found >> (shift + width)))
        counts = torch.zeros(1 << width, dtype=torch.int64, device=values.device)
        counts.scatter_add_(0, digits.long(), candidate.long())
        at_least = counts.flip(0).cumsum(0).flip(0)
        digit = (at_least >= rank).sum().clamp(min=1) - 1
        rank = rank - (at_least[digit] - counts[digit])
        found = found | (digit.to(torch.int32) << shift)
    return torch.where(k > 0, found.view(torch.float32), torch.inf)


@MODELS.register_module()
class OHEMCrossEntropyLoss(nn.Module):
    """:func:`ohem_cross_entropy` as ``loss_decode`` of a head.

    Args:
        threshold, min_kept_fraction: as in :func:`ohem_cross_entropy`.
        class_weight: a factor for each class.
        loss_weight: a factor on the whole.
        loss_name: its name in the log; it counts only where it begins with ``loss_``.

    Raises:
        InputError: a threshold outside (0, 1], or a fraction outside [0, 1].
    """

    def __init__(
        self,
        threshold: float = 0.7,
        min_kept_fraction: float = 1 / 16,
        class_weight: list[float] | None = None,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_ohem',
    ) -> None:
        super().__init__()
        if not (0 < threshold <= 1 and 0 <= min_kept_fraction <= 1):
            raise InputError(
                f'OHEMCrossEntropyLoss: threshold={threshold} must be above 0 and at most 1, and '
                f'min_kept_fraction={min_kept_fraction} from 0 to 1'
            )
        self.threshold = threshold
        self.min_kept_fraction = min_kept_fraction
        self.loss_weight = loss_weight
        self.loss_name = loss_name
        weight = None if class_weight is None else torch.tensor(class_weight)
        self.register_buffer('class_weight', weight, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, weight: None = None, ignore_index: int = 255) -> Tensor:
        """logits: (N, C, H, W), labels: (N, H, W) -> scalar. ``weight`` is what a pixel sampler would choose."""
        if weight is not None:
            raise ValueError('OHEMCrossEntropyLoss chooses its pixels itself; remove `sampler` from the head')
        return self.loss_weight * ohem_cross_entropy(
            logits, labels, self.threshold, self.min_kept_fraction, ignore_index, self.class_weight
        )
