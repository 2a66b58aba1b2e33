"""BiSeNet V1 (arXiv 1808.00897), figure 2a: spatial path, context path and feature fusion module.

Parameter names are those of MMSegmentation's BiSeNetV1, so its published checkpoints load unchanged. Differences:

- ``conv_cfg``, ``norm_cfg`` and ``act_cfg`` reach every layer. ``conv_cfg`` and ``norm_cfg`` also reach the
  classification network in the context path, unless ``backbone_cfg`` sets them. Stock drops them.
- The input width of the feature fusion module is the sum of both paths' widths. Stock uses ``context_channels[1]``.
- ``align_corners=True`` upsamples bilinearly with aligned corners, as the authors' code does. Stock stores the argument
  and always upsamples by nearest neighbour.
- ``spatial_path``, ``fusion_gate``, ``fusion_reduction`` and ``attention_act`` select the layers of other sources. The
  context path can use :class:`Xception39` and :class:`ResNetVd`.
"""

import inspect
from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.bisenetv1.context_path import ContextPath
from mmseg_bisenet.models.bisenetv1.feature_fusion import FeatureFusionModule
from mmseg_bisenet.models.bisenetv1.spatial_path import SpatialPath
from mmseg_bisenet.models.conv import ConvNormAct, require_batch_for_pooled_norm
from mmseg_bisenet.models.resize import Resize
from mmseg_bisenet.registry import MODELS


@MODELS.register_module()
class BiSeNetV1(BaseModule):
    """The network without its heads.

    Args:
        backbone_cfg: the classification network of the context path, e.g. ``dict(type='ResNet', depth=18, ...)``. Its
            last three outputs must be at 1/8, 1/16 and 1/32.
        in_channels: channels of the image, for both paths.
        spatial_channels: widths of the four layers of the spatial path.
        context_channels: width of the context path's outputs, then the widths of ``backbone_cfg``'s outputs at 1/16
            and 1/32.
        out_indices: the outputs to return, in this order; 0 is the fused map at 1/8, 1 and 2 are the maps of the
            context path at 1/8 and 1/16.
        align_corners: upsample the context path bilinearly, with aligned corners.
        out_channels: width of the fused map.
        conv_cfg, norm_cfg, act_cfg: kinds of convolution, norm and activation of every layer. MMSegmentation's ResNet
            has no ``act_cfg`` and always uses ReLU.
        upsample: ``'nearest'`` or ``'bilinear'``; by default nearest, or bilinear if ``align_corners`` is set.
        fusion_gate: the layers before the sigmoid of the feature fusion module: ``'conv-norm-act'`` (MMSegmentation),
            ``'conv-norm'`` (CoinCheung), ``'conv-act-conv'`` (the authors) or ``'conv-norm-act-twice'`` (PaddleSeg).
        fusion_reduction: a gate of two convolutions has ``out_channels // fusion_reduction`` channels between them.
        spatial_path: False replaces the spatial path by ``backbone_cfg``'s output at 1/8, as networks for face parsing
            do; ``spatial_channels[-1]`` is then the width of that output.
        attention_act: an activation before the sigmoid of the attention refinement modules, as in PaddleSeg.
        init_cfg: mmengine's weight initialisation.

    Raises:
        InputError: a wrong number of widths, an unknown choice or output, or another ``in_channels`` in
            ``backbone_cfg``.
    """

    def __init__(
        self,
        backbone_cfg: dict,
        in_channels: int = 3,
        spatial_channels: Sequence[int] = (64, 64, 64, 128),
        context_channels: Sequence[int] = (128, 256, 512),
        out_indices: Sequence[int] = (0, 1, 2),
        align_corners: bool = False,
        out_channels: int = 256,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = dict(type='BN', requires_grad=True),
        act_cfg: dict | None = dict(type='ReLU'),
        upsample: str | None = None,
        fusion_gate: str = 'conv-norm-act',
        fusion_reduction: int = 1,
        spatial_path: bool = True,
        attention_act: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not set(out_indices) <= {0, 1, 2}:
            raise InputError(f'BiSeNetV1: out_indices={tuple(out_indices)} must be from 0 to 2')
        backbone_cfg = _share(
            backbone_cfg, in_channels=in_channels, conv_cfg=conv_cfg, norm_cfg=norm_cfg, act_cfg=act_cfg
        )
        conv = ConvNormAct(conv_cfg, norm_cfg, act_cfg)
        resize = Resize(upsample or ('bilinear' if align_corners else 'nearest'), align_corners)
        self.out_indices = out_indices
        self.context_path = ContextPath(conv, MODELS.build(backbone_cfg), context_channels, resize, attention_act)
        self.spatial_path = SpatialPath(conv, in_channels, spatial_channels) if spatial_path else None
        self.ffm = FeatureFusionModule(
            conv, spatial_channels[-1] + context_channels[0], out_channels, fusion_gate, fusion_reduction
        )

    @property
    def pooled_norm(self) -> Any:
        """The norm after the global average pool."""
        return self.context_path.gap_conv[1].norm

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x: (N, in_channels, H, W) -> the maps of ``out_indices``; sizes round up.

        They are the fused (N, out_channels, H/8, W/8), and the context path's (N, context_channels[0], H/8, W/8) and
        (N, context_channels[0], H/16, W/16).
        """
        require_batch_for_pooled_norm(self.pooled_norm, x)
        feature8, context8, context16 = self.context_path(x)
        spatial = feature8 if self.spatial_path is None else self.spatial_path(x)
        outputs = (self.ffm(spatial, context8), context8, context16)
        return tuple(outputs[i] for i in self.out_indices)


def _arguments(network: type) -> set[str]:
    """Names of the arguments that a class takes, those that it passes on to its base class included."""
    names = set[str]()
    for part in inspect.getmro(network):
        parameters = inspect.signature(part).parameters
        names |= parameters.keys()
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return names


def _share(backbone_cfg: dict, in_channels: int, **cfgs: dict | None) -> dict:
    """The classification network's cfg, completed with the arguments of the whole network."""
    kind = backbone_cfg.get('type')
    network = MODELS.get(kind) if isinstance(kind, str) else kind
    if network is None:
        raise InputError(f"BiSeNetV1: backbone_cfg.type={kind!r} is not a registered network; try 'ResNet'")
    taken = _arguments(network)
    shared = dict(cfgs, in_channels=in_channels).items()
    backbone_cfg = {**{key: value for key, value in shared if value is not None and key in taken}, **backbone_cfg}
    given = backbone_cfg.get('in_channels', in_channels)
    if given != in_channels:
        raise InputError(
            f'BiSeNetV1: in_channels={in_channels}, but backbone_cfg.in_channels={given}; both read the same image: '
            'give in_channels once, outside backbone_cfg'
        )
    return backbone_cfg
