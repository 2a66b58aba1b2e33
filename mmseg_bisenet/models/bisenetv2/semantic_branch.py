"""Semantic branch of BiSeNet V2 (arXiv 2004.02147, section 4.2, figures 4 and 5, table 1): narrow and deep, to 1/32.

Deviations from the paper, all as in MMSegmentation, so that its checkpoints load:

- The gather-and-expansion layer (GE) expands in the depthwise convolution. The paper expands in the first 3x3
  convolution (``expand_first=True``).
- The depthwise part of the GE layer ends in an activation. PaddleSeg's does not (``depthwise_act=False``).
- The last convolution of the context embedding block (CE) has norm and activation. The paper's has neither
  (``context_norm=False``).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.conv import ConvNormAct


class SemanticBranch(nn.Module):
    """x: (N, in_channels, H, W) -> the maps of four stages, and the context embedding of the last; sizes round up.

    The stages are ``channels`` wide, at 1/4, 1/8, 1/16 and 1/32; the context embedding is as the last of them.

    Args:
        conv: builds the layers.
        in_channels: channels of the image.
        channels: widths of the stem and the three stages.
        expansion: factor of the GE layers (epsilon).
        depth: factor on the number of GE layers in each stage (d).
        expand_first: the GE layers expand in the first 3x3 convolution.
        depthwise_act: the depthwise part of the GE layers ends in an activation.
        context_norm: the last convolution of the CE block has norm and activation.
    """

    def __init__(
        self,
        conv: ConvNormAct,
        in_channels: int,
        channels: Sequence[int],
        expansion: int,
        depth: int = 1,
        expand_first: bool = False,
        depthwise_act: bool = True,
        context_norm: bool = True,
    ) -> None:
        super().__init__()
        if len(channels) != 4:
            raise InputError(
                f'BiSeNetV2: semantic_channels={tuple(channels)} must be the widths of the stem and 3 stages'
            )

        def layer(inputs: int, width: int, stride: int = 1) -> GELayer:
            return GELayer(conv, inputs, width, expansion, stride, expand_first, depthwise_act)

        def stage(inputs: int, width: int, layers: int) -> nn.Sequential:
            return nn.Sequential(
                layer(inputs, width, stride=2),
                *(layer(width, width) for _ in range(layers * depth - 1)),
            )

        # Names as in checkpoints: stage1 is the paper's stages 1 and 2 (the stem), stage2 is its stage 3, and so on.
        self.stage1 = StemBlock(conv, in_channels, channels[0])
        self.stage2 = stage(channels[0], channels[1], layers=2)
        self.stage3 = stage(channels[1], channels[2], layers=2)
        self.stage4 = stage(channels[2], channels[3], layers=4)
        self.stage4_CEBlock = CEBlock(conv, channels[3], context_norm)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        stem = self.stage1(x)
        stage3 = self.stage2(stem)
        stage4 = self.stage3(stage3)
        stage5 = self.stage4(stage4)
        return stem, stage3, stage4, stage5, self.stage4_CEBlock(stage5)


class StemBlock(nn.Module):
    """Stem block, figure 4a: a convolution and a max pool downsample in parallel.

    x: (N, in_channels, H, W) -> (N, out_channels, H/4, W/4); sizes round up.
    """

    def __init__(self, conv: ConvNormAct, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv_first = conv(in_channels, out_channels, 3, stride=2)
        self.convs = nn.Sequential(
            conv(out_channels, out_channels // 2, 1), conv(out_channels // 2, out_channels, 3, stride=2)
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.fuse_last = conv(2 * out_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first(x)
        return self.fuse_last(torch.cat([self.convs(x), self.pool(x)], dim=1))


class GELayer(nn.Module):
    """Gather-and-expansion layer (GE), figure 5b (stride 1) and figure 5c (stride 2).

    x: (N, in_channels, h, w) -> (N, out_channels, h/stride, w/stride). At stride 1 both widths must be equal.
    """

    def __init__(
        self,
        conv: ConvNormAct,
        in_channels: int,
        out_channels: int,
        expansion: int,
        stride: int = 1,
        expand_first: bool = False,
        depthwise_act: bool = True,
    ) -> None:
        super().__init__()
        expanded = in_channels * expansion
        gathered = expanded if expand_first else in_channels
        self.conv1 = conv(in_channels, gathered, 3)
        if stride == 1:
            self.dwconv = nn.Sequential(conv(gathered, expanded, 3, groups=gathered, act=depthwise_act))
            self.shortcut: nn.Module = nn.Identity()
        else:
            self.dwconv = nn.Sequential(
                conv(gathered, expanded, 3, stride=stride, groups=gathered, act=False),
                conv(expanded, expanded, 3, groups=expanded, act=depthwise_act),
            )
            self.shortcut = nn.Sequential(conv.depthwise_separable(in_channels, out_channels, stride))
        self.conv2 = nn.Sequential(conv(expanded, out_channels, 1, act=False))
        self.act = conv.act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv2(self.dwconv(self.conv1(x))) + self.shortcut(x))


class CEBlock(nn.Module):
    """Context embedding block (CE), figure 4b: the global mean is added to every position.

    x: (N, channels, h, w) -> (N, channels, h, w).
    """

    def __init__(self, conv: ConvNormAct, channels: int, norm: bool = True) -> None:
        super().__init__()
        self.gap = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv.norm(channels))
        self.conv_gap = conv(channels, channels, 1)
        self.conv_last = conv(channels, channels, 3, norm=norm, act=norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_last(x + self.conv_gap(self.gap(x)))
