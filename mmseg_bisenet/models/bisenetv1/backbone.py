"""BiSeNet V1 (arXiv 1808.00897), figure 2a: spatial path, context path and feature fusion module.

Parameter names are those of MMSegmentation's BiSeNetV1, so published checkpoints load as they are. What is different
from it:

- ``conv_cfg``, ``norm_cfg`` and ``act_cfg`` reach every layer, and ``norm_cfg`` and ``conv_cfg`` the classification
  network in the context path too where ``backbone_cfg`` does not name its own; there they were dropped.
- The fusion module's input is as wide as the two paths together; there it was ``context_channels[1]``.
- ``align_corners=True`` gives bilinear upsampling with aligned corners, as the authors' code has it; there the argument
  was stored and the upsampling always nearest.
- ``fusion_gate`` offers the other sources' fusion modules, and :class:`Xception39` is a context network beside ResNet.
"""

import inspect
from collections.abc import Sequence

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
            last three outputs are taken, at 1/8, 1/16 and 1/32.
        in_channels: channels of the image, for both paths.
        spatial_channels: widths of the four layers of the spatial path.
        context_channels: width of the context path's outputs, then the widths of ``backbone_cfg``'s outputs at 1/16
            and 1/32.
        out_indices: which of (fused 1/8, context 1/8, context 1/16) are returned, in which order.
        align_corners: upsample the context path bilinearly, with aligned corners.
        out_channels: width of the fused map.
        conv_cfg, norm_cfg, act_cfg: kinds of convolution, norm and activation of every layer. The activations inside
            MMSegmentation's ResNet are ReLU by its own code; a network that has an ``act_cfg`` gets this one.
        upsample: ``'nearest'`` or ``'bilinear'``; by default nearest, and bilinear where ``align_corners`` is set.
        fusion_gate: what stands before the sigmoid of the fusion module: ``'conv-norm-act'`` (MMSegmentation),
            ``'conv-norm'`` (CoinCheung) or ``'conv-act-conv'`` (the authors).
        init_cfg: mmengine's weight initialisation.

    Raises:
        InputError: widths of the wrong number, an unknown choice, or ``in_channels`` that ``backbone_cfg`` contradicts.
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
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        backbone_cfg = _share(
            backbone_cfg, in_channels=in_channels, conv_cfg=conv_cfg, norm_cfg=norm_cfg, act_cfg=act_cfg
        )
        conv = ConvNormAct(conv_cfg, norm_cfg, act_cfg)
        resize = Resize(upsample or ('bilinear' if align_corners else 'nearest'), align_corners)
        self.out_indices = out_indices
        self.context_path = ContextPath(conv, MODELS.build(backbone_cfg), context_channels, resize)
        self.spatial_path = SpatialPath(conv, in_channels, spatial_channels)
        self.ffm = FeatureFusionModule(conv, spatial_channels[-1] + context_channels[0], out_channels, fusion_gate)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x: (N, in_channels, H, W) -> those of ``out_indices`` of three maps.

        (N, out_channels, H/8, W/8) fused, (N, context_channels[0], H/8, W/8) and (N, context_channels[0], H/16, W/16)
        of the context path; odd sizes round up.
        """
        require_batch_for_pooled_norm(self.context_path.gap_conv[1].norm, x)
        context8, context16 = self.context_path(x)
        outputs = (self.ffm(self.spatial_path(x), context8), context8, context16)
        return tuple(outputs[i] for i in self.out_indices)


def _share(backbone_cfg: dict, in_channels: int, **cfgs: dict | None) -> dict:
    """The classification network's cfg, with what it does not say itself taken from the whole network's."""
    kind = backbone_cfg.get('type')
    network = MODELS.get(kind) if isinstance(kind, str) else kind
    if network is None:
        raise InputError(f"BiSeNetV1: backbone_cfg.type={kind!r} is no network that is registered; try 'ResNet'")
    taken = inspect.signature(network).parameters
    shared = dict(cfgs, in_channels=in_channels).items()
    backbone_cfg = {**{key: value for key, value in shared if value is not None and key in taken}, **backbone_cfg}
    given = backbone_cfg.get('in_channels', in_channels)
    if given != in_channels:
        raise InputError(
            f'BiSeNetV1: in_channels={in_channels}, but backbone_cfg.in_channels={given}; both read the same image: '
            'give in_channels once, outside backbone_cfg'
        )
    return backbone_cfg
