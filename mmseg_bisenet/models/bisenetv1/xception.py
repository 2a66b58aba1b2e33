"""Xception39, the light classification network of BiSeNet V1's context path (arXiv 1808.00897, section 4.1).

The paper only names it. Widths, repeats and blocks are those of the authors' code (TorchSeg), whose checkpoints can be
converted: a stem of 8 channels, then three stages of 4, 8 and 4 blocks. The blocks are 16, 32 and 64 channels wide
inside; their outputs are four times as wide. Parameter names are our own.
"""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.conv import ConvNormAct
from mmseg_bisenet.registry import MODELS

EXPANSION = 4


@MODELS.register_module()
class Xception39(BaseModule):
    """The classification network without its classifier.

    Args:
        in_channels: channels of the image.
        stem_channels: width of the first convolution.
        channels: widths inside the blocks of the three stages; the outputs are four times as wide.
        layers: numbers of blocks of the three stages.
        conv_cfg, norm_cfg, act_cfg: kinds of convolution, norm and activation of every layer.
        init_cfg: mmengine's weight initialisation.

    Raises:
        InputError: the number of stages is not three.
    """

    def __init__(
        self,
        in_channels: int = 3,
        stem_channels: int = 8,
        channels: Sequence[int] = (16, 32, 64),
        layers: Sequence[int] = (4, 8, 4),
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = dict(type='BN', requires_grad=True),
        act_cfg: dict | None = dict(type='ReLU'),
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not len(channels) == len(layers) == 3:
            raise InputError(
                f'Xception39: channels={tuple(channels)} and layers={tuple(layers)} must be the widths and the '
                'numbers of blocks of 3 stages'
            )
        conv = ConvNormAct(conv_cfg, norm_cfg, act_cfg)
        self.stem = conv(in_channels, stem_channels, 3, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        stages, width = [], stem_channels
        for inner, blocks in zip(channels, layers, strict=True):
            out = inner * EXPANSION
            stages.append(
                nn.Sequential(
                    XceptionBlock(conv, width, inner, stride=2),
                    *(XceptionBlock(conv, out, inner) for _ in range(blocks - 1)),
                )
            )
            width = out
        self.layer1, self.layer2, self.layer3 = stages

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: (N, in_channels, H, W) -> maps of 4 * ``channels`` at 1/8, 1/16 and 1/32; sizes round up."""
        x8 = self.layer1(self.pool(self.stem(x)))
        x16 = self.layer2(x8)
        return x8, x16, self.layer3(x16)


class XceptionBlock(nn.Module):
    """Three depthwise separable convolutions and a shortcut; at stride 2 the shortcut is another such convolution.

    x: (N, in_channels, h, w) -> (N, 4 * channels, h/stride, w/stride). At stride 1 both widths must be equal.
    """

    def __init__(self, conv: ConvNormAct, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()

        def separable(inputs: int, outputs: int, stride: int = 1, act: bool = True) -> nn.Sequential:
            return conv.depthwise_separable(inputs, outputs, stride, depthwise_norm=False, act=act, bias=False)

        out_channels = EXPANSION * channels
        self.residual = nn.Sequential(
            separable(in_channels, channels, stride),
            separable(channels, channels),
            separable(channels, out_channels, act=False),
        )
        self.shortcut = nn.Identity() if stride == 1 else separable(in_channels, out_channels, stride, act=False)
        self.act = conv.act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.residual(x) + self.shortcut(x))
