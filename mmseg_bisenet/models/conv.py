"""Convolution, norm and activation as one object, the only reader of ``conv_cfg``, ``norm_cfg`` and ``act_cfg``.

A backbone builds the object once from its three cfgs and passes it to its parts, so no part can forget a cfg. In stock
MMSegmentation the backbones store the cfgs and build every branch without them.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch.distributed as dist
from mmcv.cnn import ConvModule, build_activation_layer, build_norm_layer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_bisenet.errors import InputError


@dataclass(frozen=True)
class ConvNormAct:
    """Builds layers with the same kind of convolution, norm and activation.

    The cfgs are mmcv's. ``conv_cfg=None`` means ``Conv2d``, ``norm_cfg=None`` no norm but a bias in the convolution,
    and ``act_cfg=None`` no activation.
    """

    conv_cfg: dict | None = None
    norm_cfg: dict | None = None
    act_cfg: dict | None = None

    def __call__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        groups: int = 1,
        norm: bool = True,
        act: bool = True,
        bias: bool | None = None,
    ) -> ConvModule:
        """(N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride)), for an odd kernel.

        By default the convolution has a bias if no norm follows.
        """
        return ConvModule(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            groups=groups,
            bias='auto' if bias is None else bias,
            conv_cfg=self.conv_cfg,
            norm_cfg=self.norm_cfg if norm else None,
            act_cfg=self.act_cfg if act else None,
        )

    def depthwise_separable(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        depthwise_norm: bool = True,
        pointwise_norm: bool = True,
        act: bool = False,
        bias: bool = True,
    ) -> nn.Sequential:
        """A 3x3 depthwise convolution and norm, then a 1x1 convolution, norm and activation.

        ``bias`` applies to a convolution without norm.
        """
        depthwise = self(
            in_channels,
            in_channels,
            3,
            stride,
            groups=in_channels,
            norm=depthwise_norm,
            act=False,
            bias=None if depthwise_norm else bias,
        )
        pointwise = self(
            in_channels, out_channels, 1, norm=pointwise_norm, act=act, bias=None if pointwise_norm else bias
        )
        # The names of mmcv's DepthwiseSeparableConvModule.
        return nn.Sequential(OrderedDict(depthwise_conv=depthwise, pointwise_conv=pointwise))

    def norm(self, channels: int) -> nn.Module:
        return nn.Identity() if self.norm_cfg is None else build_norm_layer(self.norm_cfg, channels)[1]

    def act(self) -> nn.Module:
        return nn.Identity() if self.act_cfg is None else build_activation_layer(self.act_cfg)


def needs_two_images(norm: object) -> bool:
    """Whether a layer after a global average pool takes training batches of two images and more of this process only.

    A single 1x1 map has no batch statistics, and PyTorch would fail deep inside the network.

    Args:
        norm: only batch norm in training mode needs several values per channel; several processes may give them.
    """
    if not (isinstance(norm, _BatchNorm) and norm.training):
        return False
    return not (isinstance(norm, nn.SyncBatchNorm) and dist.is_initialized() and dist.get_world_size() > 1)


def require_batch_for_pooled_norm(norm: object, x: Tensor) -> None:
    """Refuse a training batch of one image if ``norm``, which follows a global average pool, needs two.

    Args:
        norm: the layer after the pool.
        x: the network's input, (N, C, H, W).

    Raises:
        InputError: N is 1.
    """
    if needs_two_images(norm) and x.shape[0] == 1:  # the size is not looked at, and traced, without need
        raise InputError(
            f'training batch of shape {tuple(x.shape)}: batch norm after a global pool needs 2 or more images per '
            'process; call model.eval() to predict; to train, raise train_dataloader.batch_size to 2 (where only the '
            'last batch of an epoch has one image, set drop_last=True), or set norm_cfg to a GroupNorm such as '
            "dict(type='GN', num_groups=8)"
        )
