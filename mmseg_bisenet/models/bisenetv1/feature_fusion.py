"""Feature fusion module of BiSeNet V1 (arXiv 1808.00897, section 3.3, figure 2c).

The paper's gate is two 1x1 convolutions without norm. This follows MMSegmentation's layout, whose checkpoints it loads:
one 1x1 convolution with norm and activation before the sigmoid, so that with ReLU the gate lies in [0.5, 1).
"""

import torch
from torch import Tensor, nn

from mmseg_bisenet.models.conv import ConvNormAct


class FeatureFusionModule(nn.Module):
    """spatial (N, Cs, h, w), context (N, Cc, h, w) -> (N, out_channels, h, w), where Cs + Cc is ``in_channels``."""

    def __init__(self, conv: ConvNormAct, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, out_channels, 1)
        self.gap = nn.AdaptiveAvgPool2d(1)
        self.conv_atten = nn.Sequential(conv(out_channels, out_channels, 1), nn.Sigmoid())

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        fused = self.conv1(torch.cat([spatial, context], dim=1))
        return fused * self.conv_atten(self.gap(fused)) + fused
