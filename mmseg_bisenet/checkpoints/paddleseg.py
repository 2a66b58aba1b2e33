"""PaddleSeg, ``paddleseg/models/bisenet.py`` (V2) and ``bisenetv1.py`` with ResNet18_vd.

Differences in what is stored:

- The statistics of a batch norm have other names, and there is no counter of batches.
- V2's convolutions have a bias before their batch norm. It moves into the running mean: the norm subtracts both, so the
  output is the same, in training too.

PaddleSeg's lists of attention refinement modules, refinements and heads of V1 start with those at 1/32.
"""

import torch
from torch import Tensor

from mmseg_bisenet.checkpoints.layout import Layout

Rules = tuple[tuple[str, str], ...]


def _norm(theirs: str, ours: str) -> Rules:
    return (
        (rf'{theirs}\._mean', f'{ours}.running_mean'),
        (rf'{theirs}\._variance', f'{ours}.running_var'),
        (rf'{theirs}\.', f'{ours}.'),
    )


def _conv(theirs: str, ours: str, conv: str = 'conv', norm: str = 'bn') -> Rules:
    """A convolution and its norm."""
    return ((rf'{theirs}\._conv\.', f'{ours}{conv}.'), *_norm(rf'{theirs}\._batch_norm', f'{ours}{norm}'))


def _conv_module(theirs: str, ours: str) -> Rules:
    return _conv(theirs, f'{ours}.')


def adapt(state_dict: dict[str, Tensor]) -> None:
    """Move the biases before batch norms into the running means, and add the counters of batches."""
    for key, mean in list(state_dict.items()):
        if not key.endswith('.running_mean'):
            continue
        norm = key.removesuffix('.running_mean')
        state_dict[f'{norm}.num_batches_tracked'] = torch.tensor(0)
        bias = state_dict.get(f'{norm.removesuffix(".bn")}.conv.bias')
        if norm.endswith('.bn') and bias is not None and bias.shape == mean.shape:
            del state_dict[f'{norm.removesuffix(".bn")}.conv.bias']
            state_dict[key] = mean - bias


# -- V2 ----------------------------------------------------------------------------------------------------------------

_DETAIL = ('0.0', '0.1', '1.0', '1.1', '1.2', '2.0', '2.1', '2.2')  # our names of the eight layers
_STAGES = {'stage3': 'stage2', 'stage4': 'stage3', 'stage5_4': 'stage4'}
# Parts of the gather-and-expansion layers of stride 2 (`branch`) and 1.
_GE_LAYER = {
    r'branch_1\.0': 'conv1',
    r'branch_1\.1\.depthwise_conv': 'dwconv.0',
    r'branch_1\.2\.depthwise_conv': 'dwconv.1',
    r'branch_1\.3': 'conv2.0',
    r'branch_2\.0\.depthwise_conv': 'shortcut.0.depthwise_conv',
    r'branch_2\.1': 'shortcut.0.pointwise_conv',
    r'conv\.0': 'conv1',
    r'conv\.1\.depthwise_conv': 'dwconv.0',
    r'conv\.2': 'conv2.0',
}
_V2_MODULES = {
    r'sb\.stem\.conv': 'semantic.stage1.conv_first',
    r'sb\.stem\.left\.(\d)': r'semantic.stage1.convs.\1',
    r'sb\.stem\.fuse': 'semantic.stage1.fuse_last',
    r'sb\.ce\.conv_1x1': 'semantic.stage4_CEBlock.conv_gap',
    r'bga\.db_branch_keep\.0\.depthwise_conv': 'bga.detail_dwconv.0.depthwise_conv',
    r'bga\.db_branch_down\.0': 'bga.detail_down.0',
    r'bga\.sb_branch_keep\.0\.depthwise_conv': 'bga.semantic_dwconv.0.depthwise_conv',
    r'bga\.sb_branch_up': 'bga.semantic_conv.0',
    r'bga\.conv': 'bga.conv',
}
V2 = Layout(
    source='paddleseg',
    network='BiSeNet V2',
    marks=('db.convs.', 'sb.stem.', 'bga.'),
    rules=(
        *(
            rule
            for i, ours in enumerate(_DETAIL)
            for rule in _conv_module(rf'db\.convs\.{i}', f'backbone.detail.detail_branch.{ours}')
        ),
        *(
            rule
            for stage, our_stage in _STAGES.items()
            for part, our_part in _GE_LAYER.items()
            for rule in _conv_module(rf'sb\.{stage}\.(\d)\.{part}', rf'backbone.semantic.{our_stage}.\1.{our_part}')
        ),
        *(rule for part, ours in _V2_MODULES.items() for rule in _conv_module(part, f'backbone.{ours}')),
        *_norm(r'sb\.ce\.bn', 'backbone.semantic.stage4_CEBlock.gap.1'),
        (r'sb\.ce\.conv_3x3\.', 'backbone.semantic.stage4_CEBlock.conv_last.conv.'),
        (r'bga\.db_branch_keep\.1\.', 'backbone.bga.detail_dwconv.0.pointwise_conv.conv.'),
        (r'bga\.sb_branch_keep\.1\.', 'backbone.bga.semantic_dwconv.0.pointwise_conv.conv.'),
        *_conv_module(r'head\.conv_3x3\.0', 'decode_head.convs.0'),
        (r'head\.conv_1x1\.', 'decode_head.conv_seg.'),
        *(
            rule
            for i in range(4)
            for rule in (
                *_conv_module(rf'aux_head{i + 1}\.conv_3x3\.0', f'auxiliary_head.{i}.convs.0'),
                (rf'aux_head{i + 1}\.conv_1x1\.', f'auxiliary_head.{i}.conv_seg.'),
            )
        ),
    ),
    configs=('bisenetv2_fcn-paddleseg_*',),
    adapt=adapt,
)

# -- V1 ----------------------------------------------------------------------------------------------------------------

_RESNET = 'backbone.context_path.backbone'
_HEADS = {0: 'auxiliary_head.1', 1: 'auxiliary_head.0', 2: 'decode_head'}
_V1_MODULES = {
    r'spatial_path\.conv_7x7': 'backbone.spatial_path.layer1',
    r'spatial_path\.conv_3x3_1': 'backbone.spatial_path.layer2',
    r'spatial_path\.conv_3x3_2': 'backbone.spatial_path.layer3',
    r'spatial_path\.conv_1x1': 'backbone.spatial_path.layer4',
    r'global_context\.1': 'backbone.context_path.gap_conv.1',
    r'arms\.0\.conv_3x3': 'backbone.context_path.arm32.conv_layer',
    r'arms\.0\.channel_attention\.1': 'backbone.context_path.arm32.atten_conv_layer.1',
    r'arms\.1\.conv_3x3': 'backbone.context_path.arm16.conv_layer',
    r'arms\.1\.channel_attention\.1': 'backbone.context_path.arm16.atten_conv_layer.1',
    r'refines\.0': 'backbone.context_path.conv_head32',
    r'refines\.1': 'backbone.context_path.conv_head16',
    r'ffm\.conv_1x1': 'backbone.ffm.conv1',
    r'ffm\.channel_attention\.1': 'backbone.ffm.conv_atten.0',
    r'ffm\.channel_attention\.2': 'backbone.ffm.conv_atten.1',
}
V1 = Layout(
    source='paddleseg',
    network='BiSeNet V1 with ResNet-18-D',
    marks=('backbone.conv1_1.', 'backbone.bb_0_0.', 'spatial_path.conv_7x7.'),
    rules=(
        # Convolutions and norms of the stem alternate with activations: 0 and 1, 3 and 4, 6 and 7.
        *(
            rule
            for i in range(3)
            for rule in _conv(rf'backbone\.conv1_{i + 1}', f'{_RESNET}.stem.', f'{3 * i}', f'{3 * i + 1}')
        ),
        *(
            rule
            for stage in range(4)
            for theirs, conv, norm in (
                ('conv0', 'conv1', 'bn1'),
                ('conv1', 'conv2', 'bn2'),
                ('short', 'downsample.1', 'downsample.2'),
            )
            for rule in _conv(rf'backbone\.bb_{stage}_(\d)\.{theirs}', rf'{_RESNET}.layer{stage + 1}.\1.', conv, norm)
        ),
        *(rule for part, ours in _V1_MODULES.items() for rule in _conv_module(part, ours)),
        *(
            rule
            for i, ours in _HEADS.items()
            for rule in (
                *_conv_module(rf'heads\.{i}\.conv_3x3', f'{ours}.convs.0'),
                (rf'heads\.{i}\.conv_1x1\.', f'{ours}.conv_seg.'),
            )
        ),
    ),
    configs=('bisenetv1_r18-d8-paddleseg_*',),
    adapt=adapt,
)
LAYOUTS = (V2, V1)
