"""Spatial path of BiSeNet V1 (arXiv 1808.00897, section 3.1, figure 2a): spatial detail at 1/8 of the image size.

The paper has three convolutions of stride 2. This file follows the authors' code, as all other implementations do: 7x7,
3x3 and 3x3 convolutions of stride 2, then a 1x1 convolution.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.conv import ConvNormAct


class SpatialPath(nn.Module):
    """x: (N, in_channels, H, W) -> (N, channels[3], H/8, W/8); sizes round up."""

    def __init__(self, conv: ConvNormAct, in_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        if len(channels) != 4:
            raise InputError(f'BiSeNetV1: spatial_channels={tuple(channels)} must be the widths of 4 layers')
        self.layer1 = conv(in_channels, channels[0], 7, stride=2)
        self.layer2 = conv(channels[0], channels[1], 3, stride=2)
        self.layer3 = conv(channels[1], channels[2], 3, stride=2)
        self.layer4 = conv(channels[2], channels[3], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))
