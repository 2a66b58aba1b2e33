"""TorchSeg, the code of V1's authors: ``model/bisenet/cityscapes.bisenet.{R18,R101,X39}``, with or without ``.speed``.

Their lists of attention refinement modules, refinements and heads start with those at 1/32.
"""

from mmseg_bisenet.checkpoints.layout import Layout

RULES = (
    (r'spatial_path\.conv_7x7\.', 'backbone.spatial_path.layer1.'),
    (r'spatial_path\.conv_3x3_1\.', 'backbone.spatial_path.layer2.'),
    (r'spatial_path\.conv_3x3_2\.', 'backbone.spatial_path.layer3.'),
    (r'spatial_path\.conv_1x1\.', 'backbone.spatial_path.layer4.'),
    (r'global_context\.1\.', 'backbone.context_path.gap_conv.1.'),
    (r'arms\.0\.conv_3x3\.', 'backbone.context_path.arm32.conv_layer.'),
    (r'arms\.0\.channel_attention\.1\.', 'backbone.context_path.arm32.atten_conv_layer.1.'),
    (r'arms\.1\.conv_3x3\.', 'backbone.context_path.arm16.conv_layer.'),
    (r'arms\.1\.channel_attention\.1\.', 'backbone.context_path.arm16.atten_conv_layer.1.'),
    (r'refines\.0\.', 'backbone.context_path.conv_head32.'),
    (r'refines\.1\.', 'backbone.context_path.conv_head16.'),
    (r'ffm\.conv_1x1\.', 'backbone.ffm.conv1.'),
    (r'ffm\.channel_attention\.1\.', 'backbone.ffm.conv_atten.0.'),
    (r'ffm\.channel_attention\.2\.', 'backbone.ffm.conv_atten.1.'),
    (r'heads\.0\.conv_3x3\.', 'auxiliary_head.1.convs.0.'),
    (r'heads\.0\.conv_1x1\.', 'auxiliary_head.1.conv_seg.'),
    (r'heads\.1\.conv_3x3\.', 'auxiliary_head.0.convs.0.'),
    (r'heads\.1\.conv_1x1\.', 'auxiliary_head.0.conv_seg.'),
    (r'heads\.2\.conv_3x3\.', 'decode_head.convs.0.'),
    (r'heads\.2\.conv_1x1\.', 'decode_head.conv_seg.'),
)
R18 = Layout(
    source='torchseg',
    network='BiSeNet V1 with ResNet-18',
    marks=('context_path.conv1.weight', 'spatial_path.conv_7x7.'),
    rules=((r'context_path\.', 'backbone.context_path.backbone.'), *RULES),
    configs=('bisenetv1_r18-d32-torchseg_*', 'bisenetv1_r18-d32-torchseg-speed_*'),
)
R101 = Layout(
    source='torchseg',
    network='BiSeNet V1 with ResNet-101',
    marks=('context_path.conv1.0.', 'spatial_path.conv_7x7.'),
    rules=(
        # The norm after the last of the stem's three convolutions is outside their sequence.
        (r'context_path\.bn1\.', 'backbone.context_path.backbone.stem.7.'),
        (r'context_path\.conv1\.', 'backbone.context_path.backbone.stem.'),
        (r'context_path\.', 'backbone.context_path.backbone.'),
        *RULES,
    ),
    configs=('bisenetv1_r101-d32-torchseg_*',),
)
_STAGE = r'backbone.context_path.backbone.layer\1.\2.'
X39 = Layout(
    source='torchseg',
    network='BiSeNet V1 with Xception39',
    marks=('context_path.conv1.conv.', 'spatial_path.conv_7x7.'),
    rules=(
        (r'context_path\.conv1\.', 'backbone.context_path.backbone.stem.'),
        (r'context_path\.layer(\d)\.(\d+)\.proj\.conv1\.', rf'{_STAGE}shortcut.depthwise_conv.conv.'),
        (r'context_path\.layer(\d)\.(\d+)\.proj\.point_wise_cbr\.', rf'{_STAGE}shortcut.pointwise_conv.'),
        (
            r'context_path\.layer(\d)\.(\d+)\.residual_branch\.(\d)\.conv1\.',
            rf'{_STAGE}residual.\3.depthwise_conv.conv.',
        ),
        (
            r'context_path\.layer(\d)\.(\d+)\.residual_branch\.(\d)\.point_wise_cbr\.',
            rf'{_STAGE}residual.\3.pointwise_conv.',
        ),
        *RULES,
    ),
    configs=('bisenetv1_x39-d32_*',),
)
LAYOUTS = (R18, R101, X39)
