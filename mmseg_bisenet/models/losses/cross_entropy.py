"""Cross entropy, and online hard example mining (OHEM) with its ``threshold``.

OHEM follows the authors of V1 (TorchSeg) and CoinCheung. A pixel is hard if the probability of its true class is below
the threshold. At least a fixed share of the valid pixels is kept, the hardest first. The loss is the mean over the
pixels that are **kept**. MMSegmentation's ``OHEMPixelSampler`` sets the losses of easy pixels to zero and divides by
the number of all pixels, and stock's BiSeNetV2 OHEM config never applies it.
"""

import math
from numbers import Real

import torch
from torch import Tensor, nn

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.losses.pixel_cross_entropy import pixel_cross_entropy
from mmseg_bisenet.registry import MODELS


def ohem_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    threshold: float = 0.7,
    min_kept_fraction: float = 1 / 16,
    ignore_index: int = 255,
    class_weight: Tensor | None = None,
    align_corners: bool = False,
) -> Tensor:
    """Cross entropy with online hard example mining: the mean over the hard pixels.

    Args:
        logits: (N, C, h, w), any floating type; upsampled to (H, W) and computed in float32.
        labels: (N, H, W) int64, in [0, C) or ``ignore_index``.
        threshold: a pixel is kept if the probability of its true class is below this value, in (0, 1]; ``thresh`` in
            stock.
        min_kept_fraction: at least this share of the valid pixels is kept, rounded down.
        ignore_index: label of the pixels to ignore.
        class_weight: (C,) weights of the classes in the mean; they do not affect which pixels are kept.
        align_corners: for the bilinear upsampling.

    Returns:
        A scalar; zero, with zero gradients, if no pixel is valid.

    Raises:
        InputError: labels that are no integers, another number of class weights, ``threshold`` outside (0, 1], or
            ``min_kept_fraction`` outside [0, 1].
    """
    require_weights(class_weight, logits)
    _require_shares('ohem_cross_entropy', threshold, min_kept_fraction)
    losses, _ = pixel_cross_entropy(logits, labels, align_corners, ignore_index)
    return _mean_of_hard(losses, labels, threshold, min_kept_fraction, ignore_index, class_weight)


def _mean_of_hard(
    losses: Tensor,
    labels: Tensor,
    threshold: float,
    min_kept_fraction: float,
    ignore_index: int,
    class_weight: Tensor | None,
) -> Tensor:
    """Losses (N, H, W) -> the mean over the pixels that mining keeps."""
    valid = labels != ignore_index
    # The loss is -log(probability), so the threshold applies to the loss and no softmax is stored.
    mined = losses.detach().float().masked_fill(~valid, -1.0)
    bound = _kth_largest(mined, (valid.sum() * min_kept_fraction).long())
    # Not easy instead of hard: the loss of a network that diverged is NaN, and NaN must stay in the mean.
    kept = valid & (~(mined <= -math.log(threshold)) | (mined >= bound))
    losses = losses.masked_fill(~kept, 0.0)
    if class_weight is None:
        return losses.sum() / kept.sum().clamp(min=1)
    return _weighted_mean(losses, _weights(labels, class_weight, ignore_index) * kept)


def _require_shares(name: str, threshold: float, min_kept_fraction: float) -> None:
    if not (0 < threshold <= 1 and 0 <= min_kept_fraction <= 1):
        raise InputError(
            f'{name}: threshold={threshold} must be above 0 and at most 1, and min_kept_fraction={min_kept_fraction} '
            'must be from 0 to 1'
        )


def require_weights(class_weight: Tensor | None, logits: Tensor) -> None:
    """Raises:
    InputError: there are more or fewer class weights than classes in the logits (N, C, H, W).
    """
    if class_weight is not None and len(class_weight) != logits.shape[1]:
        raise InputError(
            f'class_weight has {len(class_weight)} numbers, and the logits have {logits.shape[1]} classes; give one '
            'for each class'
        )


def _weights(labels: Tensor, class_weight: Tensor, ignore_index: int) -> Tensor:
    """The weight of each pixel's class, (N, H, W) float32, zero for ignored pixels."""
    ignored = labels == ignore_index
    weights = class_weight.float().index_select(0, labels.masked_fill(ignored, 0).flatten()).view(labels.shape)
    return weights.masked_fill(ignored, 0.0)


def _weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    # The smallest normal number, not 1: weights may be small.
    return (losses * weights).sum() / weights.sum().clamp(min=torch.finfo(torch.float32).tiny)


def _kth_largest(values: Tensor, k: Tensor) -> Tensor:
    """The k-th largest of the non-negative ``values`` (float32, any shape), as a scalar; infinity for k = 0.

    A radix selection: the bits of non-negative floats, read as integers, have the same order. So three histograms of
    11, 11 and 10 bits find the value without sorting, and ``k`` stays on its device. Negative values are skipped.
    """
    keys = values.flatten().view(torch.int32)
    found = torch.zeros(1, dtype=torch.int32, device=values.device)
    rank = k.view(1)
    for shift, width in ((21, 11), (10, 11), (0, 10)):
        digits = (keys >> shift) & ((1 << width) - 1)
        candidate = (keys >= 0) & ((keys >> (shift + width)) == (found >> (shift + width)))
        counts = torch.zeros(1 << width, dtype=torch.int64, device=values.device)
        counts.scatter_add_(0, digits.long(), candidate.long())
        at_least = counts.flip(0).cumsum(0).flip(0)
        digit = (at_least >= rank).sum(0, keepdim=True).clamp(min=1) - 1
        # `gather` keeps the digit on its device; indexing with it would copy it to the host.
        rank = rank - (at_least.gather(0, digit) - counts.gather(0, digit))
        found = found | (digit.to(torch.int32) << shift)
    return torch.where(k > 0, found.view(torch.float32)[0], torch.inf)


class PixelLoss(nn.Module):
    """A mean of the pixels' cross entropies; subclasses define which one in ``mean``.

    Args:
        class_weight: a weight for each class in the mean.
        loss_weight: a factor on the loss.
        loss_name: its name in the log. MMEngine only adds up losses whose names contain ``loss``.

    Raises:
        InputError: a weight is below 0, infinite or no number.
    """

    class_weight: Tensor | None
    loss_weight: float

    def __init__(self, class_weight: list[float] | None, loss_weight: float, loss_name: str) -> None:
        super().__init__()
        if not (isinstance(loss_weight, Real) and 0 <= loss_weight < math.inf):
            raise InputError(f'{type(self).__name__}: loss_weight is {loss_weight!r}; give a number, 0 or more')
        if class_weight is not None and not all(0 <= float(one) < math.inf for one in class_weight):
            raise InputError(f'{type(self).__name__}: class_weight is {class_weight!r}; give numbers, 0 or more')
        self.loss_weight = loss_weight
        self.loss_name = loss_name
        weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer('class_weight', weight, persistent=False)

    def mean(self, losses: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
        """Losses of pixels (N, H, W), zero for ignored pixels, and labels (N, H, W) -> scalar."""
        raise NotImplementedError

    def forward(self, logits: Tensor, labels: Tensor, weight: None = None, ignore_index: int = 255) -> Tensor:
        """logits: (N, C, H, W), labels: (N, H, W) -> scalar. ``weight``, a pixel sampler's, must be None."""
        if weight is not None:
            raise ValueError(f'{type(self).__name__} selects its pixels itself; remove `sampler` from the head')
        require_weights(self.class_weight, logits)
        return self.mean(pixel_cross_entropy(logits, labels, ignore_index=ignore_index)[0], labels, ignore_index)


@MODELS.register_module()
class CrossEntropyLoss(PixelLoss):
    """The value of MMSegmentation's ``CrossEntropyLoss`` with the same arguments, in a fraction of the memory.

    The mean is over all pixels; with class weights it is the weighted mean.

    Args:
        class_weight, loss_weight, loss_name: as in :class:`PixelLoss`.
        avg_non_ignore: leave ignored pixels out of the mean.
        use_sigmoid, use_mask: accepted because stock heads set them; only False.
        reduction: accepted for the same reason; only ``'mean'``.

    Raises:
        InputError: an option asks for another loss.
    """

    def __init__(
        self,
        class_weight: list[float] | None = None,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_ce',
        avg_non_ignore: bool = False,
        use_sigmoid: bool = False,
        use_mask: bool = False,
        reduction: str = 'mean',
    ) -> None:
        super().__init__(class_weight, loss_weight, loss_name)
        for key, value, only in (
            ('use_sigmoid', use_sigmoid, False),
            ('use_mask', use_mask, False),
            ('reduction', reduction, 'mean'),
        ):
            if value != only:
                raise InputError(f'CrossEntropyLoss: {key} is {value!r}; remove it, or take mmseg.CrossEntropyLoss')
        self.avg_non_ignore = avg_non_ignore

    def mean(self, losses: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
        if self.class_weight is not None:
            return self.loss_weight * _weighted_mean(losses, _weights(labels, self.class_weight, ignore_index))
        if not self.avg_non_ignore:
            return self.loss_weight * losses.mean()
        return self.loss_weight * losses.sum() / (labels != ignore_index).sum().clamp(min=1)


@MODELS.register_module()
class OHEMCrossEntropyLoss(PixelLoss):
    """Online hard example mining (OHEM): :func:`ohem_cross_entropy` as ``loss_decode`` of a head.

    Args:
        threshold, min_kept_fraction: as in :func:`ohem_cross_entropy`.
        class_weight, loss_weight, loss_name: as in :class:`PixelLoss`.

    Raises:
        InputError: ``threshold`` is outside (0, 1], or ``min_kept_fraction`` outside [0, 1].
    """

    def __init__(
        self,
        threshold: float = 0.7,
        min_kept_fraction: float = 1 / 16,
        class_weight: list[float] | None = None,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_ohem',
    ) -> None:
        super().__init__(class_weight, loss_weight, loss_name)
        _require_shares(type(self).__name__, threshold, min_kept_fraction)
        self.threshold = threshold
        self.min_kept_fraction = min_kept_fraction

    def mean(self, losses: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
        return self.loss_weight * _mean_of_hard(
            losses, labels, self.threshold, self.min_kept_fraction, ignore_index, self.class_weight
        )
