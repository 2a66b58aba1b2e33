"""Feature fusion module (FFM) of BiSeNet V1 (arXiv 1808.00897, section 3.3, figure 2c).

All implementations gate each channel of the fused map by its global mean. They differ in the layers before the sigmoid:

- ``'conv-norm-act'``: MMSegmentation, the default, which loads its checkpoints. With ReLU the gate lies in [0.5, 1).
- ``'conv-norm'``: CoinCheung; without the activation, so that the gate can close.
- ``'conv-act-conv'``: the paper and the authors' code; two 1x1 convolutions without norm and bias. CoinCheung's early
  code and the face parsing code made from it have a quarter of the channels between them (``reduction=4``).
- ``'conv-norm-act-twice'``: PaddleSeg; two 1x1 convolutions, each with norm and activation.
"""

import torch
from torch import Tensor, nn

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.conv import ConvNormAct

GATES = ('conv-norm-act', 'conv-norm', 'conv-act-conv', 'conv-norm-act-twice')
SINGLE = GATES[:2]  # gates of one convolution


class FeatureFusionModule(nn.Module):
    """FFM: spatial (N, Cs, h, w), context (N, Cc, h, w) -> (N, out_channels, h, w); ``in_channels`` is Cs + Cc.

    A gate of two convolutions has ``out_channels // reduction`` channels between them.
    """

    def __init__(
        self,
        conv: ConvNormAct,
        in_channels: int,
        out_channels: int,
        gate: str = 'conv-norm-act',
        reduction: int = 1,
    ) -> None:
        super().__init__()
        if gate not in GATES:
            raise InputError(f'BiSeNetV1: fusion_gate={gate!r} is not known; choose one of {", ".join(GATES)}')
        if reduction < 1 or (reduction > 1 and gate in SINGLE):
            raise InputError(
                f'BiSeNetV1: fusion_reduction={reduction} with fusion_gate={gate!r}; give 1, or more for a gate of two '
                f'convolutions: {", ".join(GATES[2:])}'
            )
        self.conv1 = conv(in_channels, out_channels, 1)
        self.gap = nn.AdaptiveAvgPool2d(1)
        inner = out_channels // reduction
        if gate == 'conv-act-conv':
            layers = [
                conv(out_channels, inner, 1, norm=False, bias=False),
                conv(inner, out_channels, 1, norm=False, act=False, bias=False),
            ]
        elif gate == 'conv-norm-act-twice':
            layers = [conv(out_channels, inner, 1), conv(inner, out_channels, 1)]
        else:
            layers = [conv(out_channels, out_channels, 1, act=gate == 'conv-norm-act')]
        self.conv_atten = nn.Sequential(*layers, nn.Sigmoid())

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        fused = self.conv1(torch.cat([spatial, context], dim=1))
        return (fused * self.conv_atten(self.gap(fused))).add_(fused)
