"""BiSeNet V2 (arXiv 2004.02147), figure 3: detail branch, semantic branch and bilateral guided aggregation.

Parameter names are those of MMSegmentation's BiSeNetV2, so its published checkpoints load unchanged. Differences:

- ``conv_cfg``, ``norm_cfg`` and ``act_cfg`` reach every layer. Stock stores them and passes them to no branch, so its
  SyncBN configs train with plain batch norm.
- The aggregation layer takes the widths of the two branches. Stock assumes that both equal ``bga_channels``.

The paper's parameters are arguments: ``alpha``, ``depth`` (d), ``lambda_`` and ``semantic_expansion_ratio`` (epsilon).
The authors published no code, and other implementations disagree on what the parameters mean, so we compared the
costs. Multiply-adds of the convolutions at 512x1024, in G, with a head of C_t channels before the classifier:

=========================================== ====== ======= ============================
reading                                     V2     V2-L    lambda 1/2 instead of 1/4
=========================================== ====== ======= ============================
the paper                                   21.15  118.5   +4.69
expand_first, C_t = 256 alpha               20.26  112.7   +5.06
expand_first, C_t = 512 alpha               22.71  122.4   +5.06
expand_first, lambda in every stage         20.26  112.7   +12.9
stock layer, C_t = 1024 alpha (stock V2)    24.60  105.7   +1.66
stock layer, C_t = 256 alpha                17.24   76.4   +1.66
stock layer, d in the detail branch too     24.60  241.0   +1.66
=========================================== ====== ======= ============================

The second row fits best: d repeats only the gather-and-expansion layers, these expand in their first convolution,
lambda sets the widths of the stem and stage 3 (as in PaddleSeg), alpha scales all widths including the head's, and C_t
is 256. For both networks the paper's costs are still 4 to 5 % higher. We have no explanation: norms, activations and
upsampling add less than 1 %. The configs ``bisenetv2-paper`` and ``bisenetv2-l`` (alpha 2, d 3) follow this reading.
The defaults of :class:`BiSeNetV2` are MMSegmentation's, so that its checkpoints load.
"""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.bisenetv2.aggregation import BGALayer
from mmseg_bisenet.models.bisenetv2.detail_branch import DetailBranch
from mmseg_bisenet.models.bisenetv2.semantic_branch import GELayer, SemanticBranch
from mmseg_bisenet.models.conv import ConvNormAct, require_batch_for_pooled_norm
from mmseg_bisenet.models.resize import Resize
from mmseg_bisenet.registry import MODELS


@MODELS.register_module()
class BiSeNetV2(BaseModule):
    """The network without its heads.

    Args:
        in_channels: channels of the image.
        detail_channels: widths of the three stages of the detail branch (table 1).
        semantic_channels: widths of the stem and the three stages of the semantic branch (table 1); by default
            ``lambda_`` times the first and last of ``detail_channels``, then 64 and 128.
        semantic_expansion_ratio: expansion of the gather-and-expansion layers (epsilon, table 1).
        bga_channels: width of the aggregated map.
        out_indices: the outputs to return, in this order; 0 is the aggregated map at 1/8, 1 to 4 are the maps for the
            boosters: the stem at 1/4, stage 3 at 1/8, stage 4 at 1/16, stage 5 at 1/32.
        align_corners: applies to the bilinear upsampling in the aggregation layer.
        conv_cfg, norm_cfg, act_cfg: kinds of convolution, norm and activation of every layer.
        init_cfg: mmengine's weight initialisation; by default Kaiming normal, as in the paper.
        alpha: factor on all widths above, rounded.
        depth: factor on the number of gather-and-expansion layers (d).
        lambda_: widths of the semantic branch's first stages, as a fraction of the detail branch's; by default 1/4.
        expand_first: the gather-and-expansion layers expand in their first convolution, as in the paper, instead of the
            depthwise convolution.
        depthwise_act: the depthwise part of the gather-and-expansion layers ends in an activation; PaddleSeg's does
            not.
        context_norm: norm and activation after the last convolution of the context embedding block; the paper has
            neither.
        pointwise_bias: bias in the pointwise convolutions of the aggregation layer.
        bga_act: the aggregation layer ends in an activation; PaddleSeg's does not.
        bga_pool_padding: the average pool of the aggregation layer counts the zeros of its padding; Paddle's does not.
        upsample: ``'bilinear'`` or ``'nearest'``, in the aggregation layer.
        zero_init_last_norm: the last norm of each gather-and-expansion layer starts at zero, so that the layer starts
            as its shortcut, as in CoinCheung's code.

    Raises:
        InputError: a wrong number of widths, both ``semantic_channels`` and ``lambda_``, ``depth`` below 1, or an
            unknown output.
    """

    def __init__(
        self,
        in_channels: int = 3,
        detail_channels: Sequence[int] = (64, 64, 128),
        semantic_channels: Sequence[float] | None = None,
        semantic_expansion_ratio: int = 6,
        bga_channels: int = 128,
        out_indices: Sequence[int] = (0, 1, 2, 3, 4),
        align_corners: bool = False,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = dict(type='BN'),
        act_cfg: dict | None = dict(type='ReLU'),
        init_cfg: dict | list | None = None,
        alpha: float = 1.0,
        depth: int = 1,
        lambda_: float | None = None,
        expand_first: bool = False,
        depthwise_act: bool = True,
        context_norm: bool = True,
        pointwise_bias: bool = True,
        bga_act: bool = True,
        bga_pool_padding: bool = True,
        upsample: str = 'bilinear',
        zero_init_last_norm: bool = False,
    ) -> None:
        super().__init__(
            init_cfg
            or [dict(type='Kaiming', layer='Conv2d'), dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm'])]
        )
        if depth < 1:
            raise InputError(f'BiSeNetV2: depth={depth} must be 1 or more')
        if not set(out_indices) <= {0, 1, 2, 3, 4}:
            raise InputError(f'BiSeNetV2: out_indices={tuple(out_indices)} must be from 0 to 4')
        if semantic_channels is None:
            share = 0.25 if lambda_ is None else lambda_
            semantic_channels = (share * detail_channels[0], share * detail_channels[-1], 64, 128)
        elif lambda_ is not None:
            raise InputError(
                f'BiSeNetV2: semantic_channels={tuple(semantic_channels)} and lambda_={lambda_} both set the widths of '
                'the semantic branch; give one of them'
            )
        detail_channels, semantic_channels, (bga_channels,) = (
            [round(alpha * width) for width in widths]
            for widths in (detail_channels, semantic_channels, (bga_channels,))
        )
        conv = ConvNormAct(conv_cfg, norm_cfg, act_cfg)
        self.out_indices = out_indices
        self.zero_init_last_norm = zero_init_last_norm
        self.detail = DetailBranch(conv, in_channels, detail_channels)
        self.semantic = SemanticBranch(
            conv,
            in_channels,
            semantic_channels,
            semantic_expansion_ratio,
            depth,
            expand_first,
            depthwise_act,
            context_norm,
        )
        self.bga = BGALayer(
            conv,
            detail_channels[-1],
            semantic_channels[-1],
            bga_channels,
            Resize(upsample, align_corners),
            pointwise_bias,
            bga_act,
            bga_pool_padding,
        )

    def init_weights(self) -> None:
        super().init_weights()
        pretrained = isinstance(self.init_cfg, dict) and self.init_cfg['type'] == 'Pretrained'
        if self.zero_init_last_norm and not pretrained:
            for layer in self.modules():
                if isinstance(layer, GELayer):
                    last: ConvModule = layer.conv2[0]
                    if last.with_norm:
                        nn.init.zeros_(last.norm.weight)

    @property
    def pooled_norm(self) -> nn.Module:
        """The norm after the global average pool."""
        return self.semantic.stage4_CEBlock.gap[1]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x: (N, in_channels, H, W) -> the maps of ``out_indices``; sizes round up.

        They are the aggregated (N, bga_channels, H/8, W/8), and ``semantic_channels`` wide maps at 1/4 to 1/32.
        """
        require_batch_for_pooled_norm(self.pooled_norm, x)
        stem, stage3, stage4, stage5, context = self.semantic(x)
        outputs = (self.bga(self.detail(x), context), stem, stage3, stage4, stage5)
        return tuple(outputs[i] for i in self.out_indices)
