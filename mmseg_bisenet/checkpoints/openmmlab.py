"""MMSegmentation 0.x and 1.x, and this package: all have the same keys, auxiliary heads included.

Keys that only one network has tell the networks apart. The layouts with the most specific keys come first.
"""

from mmseg_bisenet.checkpoints.layout import Layout

SAME = ((r'(backbone|decode_head|auxiliary_head)\.', r'\g<0>'),)
_CONTEXT = 'backbone.context_path.backbone.'
_DETAIL, _SPATIAL = 'backbone.detail.', 'backbone.spatial_path.'


def _layout(network: str, marks: tuple[str, ...], *configs: str) -> Layout:
    return Layout('openmmlab', network, marks, SAME, configs)


LAYOUTS = (
    _layout(
        'BiSeNet V1 with Xception39',
        (f'{_CONTEXT}stem.conv.', _SPATIAL),
        'bisenetv1_x39-d32_*',
        'bisenetv1_x39-d32-speed_*',
    ),
    _layout(
        'BiSeNet V1 with ResNet-18-D', (f'{_CONTEXT}layer1.0.downsample.2.', _SPATIAL), 'bisenetv1_r18-d8-paddleseg_*'
    ),
    _layout(
        "BiSeNet V1 with the authors' ResNet-101", (f'{_CONTEXT}stem.0.', _SPATIAL), 'bisenetv1_r101-d32-torchseg_*'
    ),
    _layout(
        "BiSeNet V1 with ResNet-18 and the authors' fusion",
        (f'{_CONTEXT}conv1.', 'backbone.ffm.conv_atten.1.', _SPATIAL),
        'bisenetv1_r18-d32-torchseg_*',
        'bisenetv1_r18-d32-torchseg-speed_*',
        'bisenetv1_r18-d32-coincheung-early_*',
    ),
    _layout(
        'BiSeNet V1 without a spatial path',
        (f'{_CONTEXT}conv1.', 'backbone.ffm.conv_atten.1.'),
        'bisenetv1_r18-d32-faceparsing_*',
        'bisenetv1_r34-d32-faceparsing_*',
    ),
    _layout('BiSeNet V1 with ResNet-101', (f'{_CONTEXT}layer3.6.', _SPATIAL), 'bisenetv1_r101-d32_*'),
    _layout('BiSeNet V1 with ResNet-50', (f'{_CONTEXT}layer1.0.conv3.', _SPATIAL), 'bisenetv1_r50-d32_*'),
    _layout(
        'BiSeNet V1 with ResNet-18', (f'{_CONTEXT}conv1.', _SPATIAL), 'bisenetv1_r18-d32_4xb4-*', 'bisenetv1_r18-d32_*'
    ),
    _layout('BiSeNet V2-Large', ('backbone.semantic.stage2.2.', _DETAIL), 'bisenetv2-l_*'),
    _layout('BiSeNet V2', ('backbone.semantic.', 'backbone.bga.', _DETAIL), 'bisenetv2_fcn_4xb4-*', 'bisenetv2*_fcn*'),
)
