"""PaddleSeg's ResNet-D against MMSegmentation's; ``tests/checkpoints/test_references.py`` runs PaddleSeg's own code."""

import pytest
import torch
from base import build, count, images, randomised
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

DILATED = dict(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))


def test_bottlenecks_are_those_of_stock():
    ours = randomised(dict(type='mmseg_bisenet.ResNetVd', depth=50, **DILATED))
    stock = build(dict(type='ResNetV1d', depth=50, **DILATED))
    stock.load_state_dict(ours.state_dict(), strict=True)
    for network in (ours, stock):
        network.eval()  # which does not return it
    x = images(1, (64, 96))
    torch.testing.assert_close(ours(x), stock(x), rtol=0, atol=0)


@pytest.mark.parametrize('depth', [18, 34])
def test_basic_blocks_have_a_first_shortcut_and_two_dilations(depth):
    ours = randomised(dict(type='mmseg_bisenet.ResNetVd', depth=depth, **DILATED))
    ours.eval()
    stock = build(dict(type='ResNetV1d', depth=depth, **DILATED))
    extra = {key for key in ours.state_dict() if key not in stock.state_dict()}
    assert {key.rpartition('.')[0] for key in extra} == {'layer1.0.downsample.1', 'layer1.0.downsample.2'}
    assert [[block.conv2.dilation[0] for block in getattr(ours, name)][-1] for name in ours.res_layers] == [1, 1, 2, 4]
    assert [out.shape[2:] for out in ours(images(1, (64, 96)))] == [(16, 24), (8, 12), (8, 12), (8, 12)]


def test_cfgs_of_the_whole_network_reach_it():
    v1 = dict(type='mmseg_bisenet.BiSeNetV1', backbone_cfg=dict(type='mmseg_bisenet.ResNetVd', depth=18))
    network = build(v1 | dict(norm_cfg=dict(type='SyncBN'), in_channels=4))
    assert count(network, nn.SyncBatchNorm) == count(network, _BatchNorm) == 23 + 1 + 13 - 1
    assert network.context_path.backbone.stem[0].in_channels == 4
