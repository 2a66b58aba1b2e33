"""Bilateral guided aggregation (BGA) of BiSeNet V2 (arXiv 2004.02147, section 4.3, figure 6).

Each branch gates the other.

Deviations from the paper, both as in MMSegmentation, so that its checkpoints load:

- The pointwise convolutions have a bias. CoinCheung's have none (``pointwise_bias=False``).
- The last convolution ends in an activation. PaddleSeg's does not (``act=False``).
"""

import torch
from torch import Tensor, nn

from mmseg_bisenet.models.conv import ConvNormAct
from mmseg_bisenet.models.resize import Resize


class BGALayer(nn.Module):
    """BGA: detail (N, detail_channels, H, W), semantic (N, semantic_channels, H/4, W/4) -> (N, out_channels, H, W)."""

    def __init__(
        self,
        conv: ConvNormAct,
        detail_channels: int,
        semantic_channels: int,
        out_channels: int,
        resize: Resize,
        pointwise_bias: bool = True,
        act: bool = True,
        pool_padding: bool = True,
    ) -> None:
        super().__init__()
        self.resize = resize
        self.detail_dwconv = nn.Sequential(
            conv.depthwise_separable(detail_channels, out_channels, pointwise_norm=False, bias=pointwise_bias)
        )
        self.detail_down = nn.Sequential(
            conv(detail_channels, out_channels, 3, stride=2, act=False),
            nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=pool_padding),
        )
        self.semantic_conv = nn.Sequential(conv(semantic_channels, out_channels, 3, act=False))
        self.semantic_dwconv = nn.Sequential(
            conv.depthwise_separable(semantic_channels, out_channels, pointwise_norm=False, bias=pointwise_bias)
        )
        self.conv = conv(out_channels, out_channels, 3, act=act)

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        size = detail.shape[2:]
        fine = self.detail_dwconv(detail) * torch.sigmoid(self.resize(self.semantic_conv(semantic), size))
        coarse = self.detail_down(detail) * torch.sigmoid(self.semantic_dwconv(semantic))
        return self.conv(fine + self.resize(coarse, size))
