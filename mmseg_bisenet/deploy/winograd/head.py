"""The head's last 3x3 convolution and the 1x1 classifier after it in one kernel.

The 1024 channels of a head at 512x1024 take 34 MB in float32, more than the caches hold. Here each tile of them is
multiplied by the classifier's weights while it is in the first cache, and only the logits are stored.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from mmseg_bisenet.deploy.winograd.layer import WinogradConv2d, check, factors, inputs_of, run, summand
from mmseg_bisenet.models.head import BiSeNetHead
from mmseg_bisenet.models.inference.tiling import TiledHead


def use_winograd_head(head: Any) -> bool:
    """Let a head whose last convolution is a :class:`WinogradConv2d` compute its classifier in the same kernel.

    Returns:
        Whether it does: not if something else lies between the two, or if the head is of another class.
    """
    if type(head) not in (BiSeNetHead, TiledHead) or not isinstance(head.convs, nn.Sequential):
        return False
    last, classifier = head.convs[-1], head.conv_seg
    if not (
        type(last) is ConvModule
        and type(last.conv) is WinogradConv2d
        and (not last.with_norm or type(last.norm) is nn.Identity)
        and (not last.with_activation or type(last.activate) is nn.Identity)
        and type(classifier) is nn.Conv2d
        and (classifier.kernel_size, classifier.groups) == ((1, 1), 1)
    ):
        return False
    from mmseg_bisenet.deploy.winograd.kernel import CLASSES

    classes, channels = classifier.weight.shape[:2]
    padding = -classes % CLASSES
    weight = nn.functional.pad(classifier.weight.detach()[:, :, 0, 0], (0, 0, 0, padding))
    # Not buffers: `.bfloat16()` must not round them.
    head.class_factors = factors(weight.view(-1, CLASSES, channels).mT)
    head.class_summand = nn.functional.pad(summand(classifier), (0, padding))
    head.__class__ = WinogradHead
    return True


class WinogradHead(BiSeNetHead):
    """The head of :func:`use_winograd_head`, for inference. Its logits are float32 in every precision.

    The weights are transformed once: a later change of them has no effect.
    """

    class_factors: tuple[Tensor, Tensor]
    class_summand: Tensor

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        x = self.convs[:-1](self._transform_inputs(inputs))
        conv = self.convs[-1].conv
        rounded = x.dtype == torch.bfloat16
        weights = (conv.rounded if rounded else conv.transformed), self.class_factors[rounded]
        return winograd_logits(x, *weights, conv.summand, self.class_summand, conv.relu, self.num_classes)


@torch.library.custom_op('mmseg_bisenet::winograd_logits', mutates_args=(), device_types='cpu')
def winograd_logits(
    x: Tensor, weight: Tensor, class_weight: Tensor, bias: Tensor, class_bias: Tensor, relu: bool, classes: int
) -> Tensor:
    """What :class:`WinogradHead` does.

    Args:
        x, weight, bias, relu: as for :func:`mmseg_bisenet.deploy.winograd.layer.winograd_conv2d`.
        class_weight: (padded classes / CLASSES, K, CLASSES, 1) in float32, or (…, K / 2, CLASSES, 2) in bfloat16 as
            ``weight`` is.
        class_bias: (padded classes,), float32.
        classes: without those that fill up.

    Returns:
        (N, classes, H, W), float32.

    Raises:
        TypeError: x is of another type or shape.
    """
    check(x, inputs_of(weight))
    out = _empty_logits(x, weight, class_weight, bias, class_bias, relu, classes)
    run(x, weight, bias, relu, out, class_weight, class_bias)
    return out


@winograd_logits.register_fake
def _empty_logits(
    x: Tensor, weight: Tensor, class_weight: Tensor, bias: Tensor, class_bias: Tensor, relu: bool, classes: int
) -> Tensor:
    n, _, height, width = x.shape
    shape = n, height, width, len(class_bias)
    return torch.empty(shape, dtype=torch.float32, device=x.device)[..., :classes].permute(0, 3, 1, 2)
