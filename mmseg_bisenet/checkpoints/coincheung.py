"""CoinCheung/BiSeNet, ``lib/models/bisenetv1.py`` and ``bisenetv2.py``, and the early V1 of its ``model.py``.

Their batch norms after a convolution have numbers, and ours have names. Their boosters of V2 upsample before a second
convolution. Ours have no such layer, so the boosters are dropped. The early V1 has a fusion gate of two convolutions,
and classifiers without bias; ours have one, so zeros are added.
"""

import re

import torch
from torch import Tensor

from mmseg_bisenet.checkpoints.layout import Layout

# What all versions of V1 have.
CONTEXT_PATH_AND_HEADS = (
    (r'cp\.resnet\.', 'backbone.context_path.backbone.'),
    (r'cp\.arm(16|32)\.conv\.', r'backbone.context_path.arm\1.conv_layer.'),
    (r'cp\.arm(16|32)\.(conv|bn)_atten\.', r'backbone.context_path.arm\1.atten_conv_layer.1.\2.'),
    (r'cp\.conv_head(16|32)\.', r'backbone.context_path.conv_head\1.'),
    (r'cp\.conv_avg\.', 'backbone.context_path.gap_conv.1.'),
    (r'ffm\.convblk\.', 'backbone.ffm.conv1.'),
    (r'conv_out\.conv\.', 'decode_head.convs.0.'),
    (r'conv_out\.conv_out\.', 'decode_head.conv_seg.'),
    (r'conv_out16\.conv\.', 'auxiliary_head.0.convs.0.'),
    (r'conv_out16\.conv_out\.', 'auxiliary_head.0.conv_seg.'),
    (r'conv_out32\.conv\.', 'auxiliary_head.1.convs.0.'),
    (r'conv_out32\.conv_out\.', 'auxiliary_head.1.conv_seg.'),
)
SPATIAL_PATH = (
    (r'sp\.conv([123])\.', r'backbone.spatial_path.layer\1.'),
    (r'sp\.conv_out\.', 'backbone.spatial_path.layer4.'),
)
EARLY_GATE = (
    (r'ffm\.conv1\.', 'backbone.ffm.conv_atten.0.conv.'),
    (r'ffm\.conv2\.', 'backbone.ffm.conv_atten.1.conv.'),
)


def add_biases(state_dict: dict[str, Tensor]) -> None:
    """Give each classifier that has no bias one of zeros."""
    for key, weight in list(state_dict.items()):
        if key.endswith('.conv_seg.weight') and weight.ndim:
            bias = f'{key.removesuffix("weight")}bias'
            state_dict.setdefault(bias, torch.zeros(len(weight), dtype=weight.dtype))


EARLY_V1 = Layout(
    source='coincheung',
    network='BiSeNet V1 with ResNet-18, early version',
    marks=('cp.resnet.', 'sp.', 'ffm.conv1.', 'conv_out.'),
    rules=(*CONTEXT_PATH_AND_HEADS, *SPATIAL_PATH, *EARLY_GATE),
    configs=('bisenetv1_r18-d32-coincheung-early_*',),
    adapt=add_biases,
)
V1 = Layout(
    source='coincheung',
    network='BiSeNet V1 with ResNet-18',
    marks=('cp.resnet.', 'sp.', 'conv_out.'),
    rules=(*CONTEXT_PATH_AND_HEADS, *SPATIAL_PATH, (r'ffm\.(conv|bn)\.', r'backbone.ffm.conv_atten.0.\1.')),
    configs=('bisenetv1_r18-d32-coincheung_*',),
)

# Their stages have the paper's numbers, and ours have MMSegmentation's.
_STAGES = {'S3': 'stage2', 'S4': 'stage3', 'S5_4': 'stage4'}
_GE_LAYER = {
    'conv1': 'conv1',
    'dwconv.0': 'dwconv.0.conv',
    'dwconv.1': 'dwconv.0.bn',
    'dwconv1.0': 'dwconv.0.conv',
    'dwconv1.1': 'dwconv.0.bn',
    'dwconv2.0': 'dwconv.1.conv',
    'dwconv2.1': 'dwconv.1.bn',
    'conv2.0': 'conv2.0.conv',
    'conv2.1': 'conv2.0.bn',
    'shortcut.0': 'shortcut.0.depthwise_conv.conv',
    'shortcut.1': 'shortcut.0.depthwise_conv.bn',
    'shortcut.2': 'shortcut.0.pointwise_conv.conv',
    'shortcut.3': 'shortcut.0.pointwise_conv.bn',
}
_REST = {
    'detail.S1': 'backbone.detail.detail_branch.0',
    'detail.S2': 'backbone.detail.detail_branch.1',
    'detail.S3': 'backbone.detail.detail_branch.2',
    'segment.S1S2.conv': 'backbone.semantic.stage1.conv_first',
    'segment.S1S2.left': 'backbone.semantic.stage1.convs',
    'segment.S1S2.fuse': 'backbone.semantic.stage1.fuse_last',
    'segment.S5_5.bn': 'backbone.semantic.stage4_CEBlock.gap.1',
    'segment.S5_5.conv_gap': 'backbone.semantic.stage4_CEBlock.conv_gap',
    'segment.S5_5.conv_last': 'backbone.semantic.stage4_CEBlock.conv_last',
    'bga.left1.0': 'backbone.bga.detail_dwconv.0.depthwise_conv.conv',
    'bga.left1.1': 'backbone.bga.detail_dwconv.0.depthwise_conv.bn',
    'bga.left1.2': 'backbone.bga.detail_dwconv.0.pointwise_conv.conv',
    'bga.left2.0': 'backbone.bga.detail_down.0.conv',
    'bga.left2.1': 'backbone.bga.detail_down.0.bn',
    'bga.right1.0': 'backbone.bga.semantic_conv.0.conv',
    'bga.right1.1': 'backbone.bga.semantic_conv.0.bn',
    'bga.right2.0': 'backbone.bga.semantic_dwconv.0.depthwise_conv.conv',
    'bga.right2.1': 'backbone.bga.semantic_dwconv.0.depthwise_conv.bn',
    'bga.right2.2': 'backbone.bga.semantic_dwconv.0.pointwise_conv.conv',
    'bga.conv.0': 'backbone.bga.conv.conv',
    'bga.conv.1': 'backbone.bga.conv.bn',
    'head.conv': 'decode_head.convs.0',
    'head.conv_out.1': 'decode_head.conv_seg',
}
V2 = Layout(
    source='coincheung',
    network='BiSeNet V2',
    marks=('detail.S1.', 'segment.S1S2.', 'bga.left1.'),
    rules=(
        *(
            (
                rf'segment\.{stage}\.(\d+)\.{re.escape(part)}\.',
                rf'backbone.semantic.{our_stage}.\1.{our_part}.',
            )
            for stage, our_stage in _STAGES.items()
            for part, our_part in _GE_LAYER.items()
        ),
        *((rf'{re.escape(name)}\.', f'{our_name}.') for name, our_name in _REST.items()),
        (r'aux(2|3|4|5_4)\.', None),
    ),
    configs=('bisenetv2_fcn-coincheung_*',),
)
LAYOUTS = (EARLY_V1, V1, V2)
