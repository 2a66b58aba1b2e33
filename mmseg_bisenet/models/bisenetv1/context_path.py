"""Context path of BiSeNet V1 (arXiv 1808.00897, section 3.2, figures 2a and 2b): a large receptive field at low cost.

A classification network, a global average pool of its last stage, and an attention refinement module (ARM) on each of
its last two stages. The refined maps are upsampled and added up.
"""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.conv import ConvNormAct
from mmseg_bisenet.models.resize import Resize


class ContextPath(BaseModule):
    """x: (N, C, H, W) -> (N, C8, H/8, W/8), (N, channels[0], H/8, W/8) and (N, channels[0], H/16, W/16).

    The first is the classification network's own output at 1/8, which can replace the spatial path. The module is a
    ``BaseModule`` so that ``init_weights`` reaches the classification network, which loads ImageNet weights.

    Args:
        conv: builds the layers.
        backbone: the classification network; its last three outputs are at 1/8, 1/16 and 1/32.
        channels: width of both outputs, then the widths of ``backbone``'s outputs at 1/16 and 1/32.
        resize: upsamples from 1/32 to 1/16 and from 1/16 to 1/8.
        attention_act: the attention refinement modules have an activation before their sigmoid.
    """

    def __init__(
        self,
        conv: ConvNormAct,
        backbone: nn.Module,
        channels: Sequence[int],
        resize: Resize,
        attention_act: bool = False,
    ) -> None:
        super().__init__()
        if len(channels) != 3:
            raise InputError(
                f'BiSeNetV1: context_channels={tuple(channels)} must be 3 widths: of the context path, and of the '
                'outputs of its classification network at 1/16 and 1/32'
            )
        width, width16, width32 = channels
        self.backbone = backbone
        self.resize = resize
        self.arm16 = AttentionRefinementModule(conv, width16, width, attention_act)
        self.arm32 = AttentionRefinementModule(conv, width32, width, attention_act)
        self.conv_head32 = conv(width, width, 3)
        self.conv_head16 = conv(width, width, 3)
        self.gap_conv = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(width32, width, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x8, x16, x32 = self.stages(x)
        up16 = self.arm32(x32) + self.gap_conv(x32)
        up16 = self.conv_head32(self.resize(up16, x16.shape[2:]))
        up8 = self.arm16(x16) + up16
        up8 = self.conv_head16(self.resize(up8, x8.shape[2:]))
        return x8, up8, up16

    def stages(self, x: Tensor) -> Sequence[Tensor]:
        """Outputs of the classification network at 1/8, 1/16 and 1/32."""
        return self.backbone(x)[-3:]


class AttentionRefinementModule(nn.Module):
    """ARM, figure 2b: each channel is multiplied by a gate computed from its global mean.

    x: (N, in_channels, h, w) -> (N, out_channels, h, w). The paper gates the stage's output itself. This class follows
    the authors' code, as all other implementations do, and puts a 3x3 convolution first. PaddleSeg's has an activation
    before the sigmoid (``act=True``).
    """

    def __init__(self, conv: ConvNormAct, in_channels: int, out_channels: int, act: bool = False) -> None:
        super().__init__()
        self.conv_layer = conv(in_channels, out_channels, 3)
        self.atten_conv_layer = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), conv(out_channels, out_channels, 1, act=act), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_layer(x)
        return x * self.atten_conv_layer(x)
