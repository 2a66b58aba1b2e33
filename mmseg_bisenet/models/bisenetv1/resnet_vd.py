"""ResNet-D as PaddleSeg builds it (``paddleseg/models/backbones/resnet_vd.py``), for its BiSeNet V1.

Deviations from MMSegmentation's ``ResNetV1d``, both in networks of blocks of two convolutions (ResNet-18 and 34):

- The shortcut of the first block has a convolution and a norm, although neither size nor width changes.
- In a dilated stage, both convolutions of a block are dilated; in ``ResNetV1d`` only the first one is.
"""

from typing import Any

from mmcv.cnn import build_conv_layer, build_norm_layer
from mmseg.models.backbones import ResNetV1d
from mmseg.models.backbones.resnet import BasicBlock
from torch import nn

from mmseg_bisenet.registry import MODELS


@MODELS.register_module()
class ResNetVd(ResNetV1d):
    """The classification network without its classifier.

    Args:
        depth: 18, 34, 50, 101 or 152.
        in_channels: channels of the image.
        conv_cfg, norm_cfg: kinds of convolution and norm of every layer.
        others: arguments of MMSegmentation's ``ResNet``.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        conv_cfg: dict | None = None,
        norm_cfg: dict = dict(type='BN', requires_grad=True),
        **others: Any,
    ) -> None:
        super().__init__(depth=depth, in_channels=in_channels, conv_cfg=conv_cfg, norm_cfg=norm_cfg, **others)
        if self.block is not BasicBlock:
            return
        width = self.base_channels
        self.layer1[0].downsample = nn.Sequential(
            nn.Identity(),  # where the other stages have an average pool
            build_conv_layer(conv_cfg, self.stem_channels, width, kernel_size=1, bias=False),
            build_norm_layer(norm_cfg, width)[1],
        )
        for name in self.res_layers:
            for block in getattr(self, name):
                block.conv2.dilation, block.conv2.padding = block.conv1.dilation, block.conv1.padding
