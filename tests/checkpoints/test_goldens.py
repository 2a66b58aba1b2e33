"""Converted networks give the outputs of the code that they come from."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checkpoints.formula import image, logits, segmentor, tensor
from torch import Tensor, nn

from mmseg_bisenet.checkpoints import Converted, convert, read

# What differs from MMSegmentation's network, set back to it, or changed: the golden outputs tell the two apart.
NETWORKS = {
    'coincheung/bisenetv1': dict(fusion_gate='conv-norm-act'),
    'coincheung/bisenetv2': dict(upsample='bilinear'),
    'torchseg/bisenetv1_r18': dict(align_corners=False),
    'torchseg/bisenetv1_x39': dict(align_corners=False),
    'faceparsing/bisenetv1_r18': dict(upsample='bilinear'),
}
SIZES = [(64, 128), (96, 160)]


@pytest.fixture(scope='module')
def converted(shared_data, tmp_path_factory):
    """Each network, converted once."""
    done: dict[str, tuple[Converted, dict[str, Tensor]]] = {}

    def get(name: str) -> tuple[Converted, dict[str, Tensor]]:
        if name not in done:
            shapes = json.loads((shared_data / 'checkpoints' / f'{name}_state_dict.json').read_text())
            folder = tmp_path_factory.mktemp('converted')
            torch.save({key: tensor(key, tuple(shape)) for key, shape in shapes.items()}, folder / 'in.pth')
            done[name] = convert(folder / 'in.pth', folder / 'out.pth'), read(folder / 'out.pth').state_dict
        return done[name]

    return get


def error(model: nn.Module, golden: dict[str, np.ndarray], size: tuple[int, int]) -> float:
    out = logits(model, image(*size))
    if 'log_softmax' in golden:
        return np.abs(out.log_softmax(1)[0, :, ::4, ::4].numpy() - golden['log_softmax']).max()
    return np.abs(out[0, :, ::4, ::4].numpy() - golden['logits']).max()


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('name', NETWORKS)
def test_outputs_are_those_of_the_source(name, size, converted, shared_data):
    done, state_dict = converted(name)
    with np.load(shared_data / 'checkpoints' / f'{name}_seed1_{size[0]}x{size[1]}.npz') as golden:
        assert error(segmentor(done.config, state_dict), golden, size) < 1e-4
        assert error(segmentor(done.config, state_dict, **NETWORKS[name]), golden, size) > 1e-3


@pytest.mark.parametrize('name', NETWORKS)
def test_source_network_and_classes_are_found(name, converted):
    done, state_dict = converted(name)
    assert done.source == name.partition('/')[0]
    assert done.num_classes == done.config_num_classes == len(state_dict['decode_head.conv_seg.weight']) == 19
    network = name.partition('/')[2]
    assert done.network.startswith('BiSeNet V2' if network == 'bisenetv2' else 'BiSeNet V1')
    assert ('x39' in done.config.stem) == network.endswith('x39')


def test_only_boosters_without_counterpart_are_dropped(converted):
    for name in NETWORKS:
        dropped = converted(name)[0].dropped
        heads = {key.partition('.')[0] for key in dropped}
        assert heads == ({'aux2', 'aux3', 'aux4', 'aux5_4'} if name == 'coincheung/bisenetv2' else set())


# ResNet-101 of TorchSeg has no golden outputs: here is the network from its description, in the names of that code.
# Weights come into being where they are first used.


def torchseg_r101(weights: dict[str, Tensor], x: Tensor, classes: int) -> list[Tensor]:
    """Logits of the three heads, from 1/32 upwards, at the size of their features."""

    def conv(x: Tensor, name: str, width: int, kernel: int, stride: int = 1) -> Tensor:
        shape = (width, x.shape[1], kernel, kernel)
        weight = weights.setdefault(f'{name}.weight', tensor(f'{name}.weight', shape))
        return F.conv2d(x, weight, stride=stride, padding=kernel // 2)

    def norm(x: Tensor, name: str) -> Tensor:
        for part in ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked'):
            shape = () if part == 'num_batches_tracked' else x.shape[1:2]
            weights[f'{name}.{part}'] = tensor(f'{name}.{part}', tuple(shape))
        mean, var, weight, bias = (
            weights[f'{name}.{part}'] for part in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-5)

    def conv_norm(x: Tensor, name: str, width: int, kernel: int, stride: int = 1) -> Tensor:
        return norm(conv(x, f'{name}.conv', width, kernel, stride), f'{name}.bn')

    def pool(x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    def up(x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, like.shape[2:], mode='bilinear', align_corners=True)

    def head(x: Tensor, name: str) -> Tensor:
        weights[f'{name}.conv_1x1.bias'] = bias = tensor(f'{name}.conv_1x1.bias', (classes,))
        hidden = conv_norm(x, f'{name}.conv_3x3', 256, 3).relu()
        return conv(hidden, f'{name}.conv_1x1', classes, 1) + bias[:, None, None]

    spatial = x
    for name, width, kernel, stride in (
        ('7x7', 64, 7, 2),
        ('3x3_1', 64, 3, 2),
        ('3x3_2', 64, 3, 2),
        ('1x1', 128, 1, 1),
    ):
        spatial = conv_norm(spatial, f'spatial_path.conv_{name}', width, kernel, stride).relu()

    path = 'context_path'
    x = norm(conv(x, f'{path}.conv1.0', 64, 3, 2), f'{path}.conv1.1').relu()
    x = norm(conv(x, f'{path}.conv1.3', 64, 3), f'{path}.conv1.4').relu()
    x = norm(conv(x, f'{path}.conv1.6', 128, 3), f'{path}.bn1').relu()
    x = F.max_pool2d(x, 3, 2, 1)
    features = []
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (23, 256), (3, 512)), start=1):
        for block in range(blocks):
            name, stride = f'{path}.layer{stage}.{block}', 2 if stage > 1 and block == 0 else 1
            out = norm(conv(x, f'{name}.conv1', width, 1), f'{name}.bn1').relu()
            out = norm(conv(out, f'{name}.conv2', width, 3, stride), f'{name}.bn2').relu()
            out = norm(conv(out, f'{name}.conv3', 4 * width, 1), f'{name}.bn3')
            if block == 0:
                x = norm(conv(x, f'{name}.downsample.0', 4 * width, 1, stride), f'{name}.downsample.1')
            x = (out + x).relu()
        features.append(x)

    context = conv_norm(pool(features[3]), 'global_context.1', 128, 1).relu()
    logits = []
    for i, (feature, finer) in enumerate(((features[3], features[2]), (features[2], features[1]))):
        feature = conv_norm(feature, f'arms.{i}.conv_3x3', 128, 3).relu()
        gate = conv_norm(pool(feature), f'arms.{i}.channel_attention.1', 128, 1).sigmoid()
        context = conv_norm(up(feature * gate + context, finer), f'refines.{i}', 128, 3).relu()
        logits.append(head(context, f'heads.{i}'))
    fused = conv_norm(torch.cat([spatial, context], 1), 'ffm.conv_1x1', 256, 1).relu()
    gate = conv(pool(fused), 'ffm.channel_attention.1.conv', 256, 1).relu()
    gate = conv(gate, 'ffm.channel_attention.2.conv', 256, 1).sigmoid()
    return [*logits, head(fused + fused * gate, 'heads.2')]


@torch.no_grad()
def test_torchsegs_resnet101(tmp_path):
    weights, x = {}, image(64, 96)
    expected = torchseg_r101(weights, x, classes=7)
    torch.save({'model': weights, 'optimizer': {}, 'epoch': 79, 'iteration': 999}, tmp_path / 'epoch-last.pth')
    done = convert(tmp_path / 'epoch-last.pth', tmp_path / 'out.pth')
    assert done.network == 'BiSeNet V1 with ResNet-101'
    assert (done.num_classes, done.config_num_classes, done.dropped) == (7, 19, ())
    model = segmentor(done.config, read(tmp_path / 'out.pth').state_dict)
    features = model.backbone(x)
    torch.testing.assert_close(model.decode_head(features), expected[2], rtol=0, atol=1e-4)
    torch.testing.assert_close(model.auxiliary_head[0](features), expected[1], rtol=0, atol=1e-4)
    torch.testing.assert_close(model.auxiliary_head[1](features), expected[0], rtol=0, atol=1e-4)
