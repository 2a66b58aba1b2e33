"""Feature fusion module (FFM) of BiSeNet V1 (arXiv 1808.00897, section 3.3, figure 2c).

All implementations gate each channel of the fused map by its global mean. They differ in the layers before the sigmoid:

- ``'conv-norm-act'``: MMSegmentation, the default, which loads its checkpoints. With ReLU the gate lies in [0.5, 1).
- ``'conv-norm'``: CoinCheung; without the activation, so that the gate can close.
- ``'conv-act-conv'``: the paper and the authors' code; two 1x1 convolutions without norm and bias.
"""

import torch
from torch import Tensor, nn

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.conv import ConvNormAct

GATES = ('conv-norm-act', 'conv-norm', 'conv-act-conv')


class FeatureFusionModule(nn.Module):
    """FFM: spatial (N, Cs, h, w), context (N, Cc, h, w) -> (N, out_channels, h, w); ``in_channels`` is Cs + Cc."""

    def __init__(self, conv: ConvNormAct, in_channels: int, out_channels: int, gate: str = 'conv-norm-act') -> None:
        super().__init__()
        if gate not in GATES:
            raise InputError(f'BiSeNetV1: fusion_gate={gate!r} is not known; choose one of {", ".join(GATES)}')
        self.conv1 = conv(in_channels, out_channels, 1)
        self.gap = nn.AdaptiveAvgPool2d(1)
        if gate == 'conv-act-conv':
            layers = [
                conv(out_channels, out_channels, 1, norm=False, bias=False),
                conv(out_channels, out_channels, 1, norm=False, act=False, bias=False),
            ]
        else:
            layers = [conv(out_channels, out_channels, 1, act=gate == 'conv-norm-act')]
        self.conv_atten = nn.Sequential(*layers, nn.Sigmoid())

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        fused = self.conv1(torch.cat([spatial, context], dim=1))
        return (fused * self.conv_atten(self.gap(fused))).add_(fused)
