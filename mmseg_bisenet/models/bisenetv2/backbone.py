"""BiSeNet V2 (arXiv 2004.02147), figure 3: detail branch, semantic branch and bilateral guided aggregation.

Parameter names are those of MMSegmentation's BiSeNetV2, so published checkpoints load as they are. What is different
from it:

- ``conv_cfg``, ``norm_cfg`` and ``act_cfg`` reach every layer; there they were stored and no branch got them, so that a
  SyncBN config trained with plain batch norm.
- The aggregation layer takes the widths of the two branches; there it assumed that both equal ``bga_channels``.
"""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor

from mmseg_bisenet.models.bisenetv2.aggregation import BGALayer
from mmseg_bisenet.models.bisenetv2.detail_branch import DetailBranch
from mmseg_bisenet.models.bisenetv2.semantic_branch import SemanticBranch
from mmseg_bisenet.models.conv import ConvNormAct, require_batch_for_pooled_norm
from mmseg_bisenet.models.resize import Resize
from mmseg_bisenet.registry import MODELS


@MODELS.register_module()
class BiSeNetV2(BaseModule):
    """The network without its heads.

    Args:
        in_channels: channels of the image.
        detail_channels: widths of the three stages of the detail branch (table 1).
        semantic_channels: widths of the stem and the three stages of the semantic branch (table 1).
        semantic_expansion_ratio: expansion of the gather-and-expansion layers (epsilon, table 1).
        bga_channels: width of the aggregated map.
        out_indices: which of (aggregated 1/8, stem 1/4, stage 3 1/8, stage 4 1/16, stage 5 1/32) are returned, in
            which order; the last four are for the boosters.
        align_corners: for the bilinear upsampling in the aggregation layer.
        conv_cfg, norm_cfg, act_cfg: kinds of convolution, norm and activation of every layer.
        init_cfg: mmengine's weight initialisation; by default Kaiming normal, as the paper.

    Raises:
        InputError: widths of the wrong number.
    """

    def __init__(
        self,
        in_channels: int = 3,
        detail_channels: Sequence[int] = (64, 64, 128),
        semantic_channels: Sequence[int] = (16, 32, 64, 128),
        semantic_expansion_ratio: int = 6,
        bga_channels: int = 128,
        out_indices: Sequence[int] = (0, 1, 2, 3, 4),
        align_corners: bool = False,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = dict(type='BN'),
        act_cfg: dict | None = dict(type='ReLU'),
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(
            init_cfg
            or [dict(type='Kaiming', layer='Conv2d'), dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm'])]
        )
        conv = ConvNormAct(conv_cfg, norm_cfg, act_cfg)
        self.out_indices = out_indices
        self.detail = DetailBranch(conv, in_channels, detail_channels)
        self.semantic = SemanticBranch(conv, in_channels, semantic_channels, semantic_expansion_ratio)
        self.bga = BGALayer(
            conv, detail_channels[-1], semantic_channels[-1], bga_channels, Resize('bilinear', align_corners)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x: (N, in_channels, H, W) -> those of ``out_indices`` of five maps.

        (N, bga_channels, H/8, W/8), then ``semantic_channels`` at 1/4, 1/8, 1/16 and 1/32; odd sizes round up.
        """
        require_batch_for_pooled_norm(self.semantic.stage4_CEBlock.gap[1], x)
        stem, stage3, stage4, stage5, context = self.semantic(x)
        outputs = (self.bga(self.detail(x), context), stem, stage3, stage4, stage5)
        return tuple(outputs[i] for i in self.out_indices)
