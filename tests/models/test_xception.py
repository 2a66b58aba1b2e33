import pytest
import torch
from base import build, count, images, randomise
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models import Xception39
from mmseg_bisenet.models.bisenetv1.xception import XceptionBlock
from mmseg_bisenet.models.conv import ConvNormAct

V1 = dict(
    type='mmseg_bisenet.BiSeNetV1',
    backbone_cfg=dict(type='mmseg_bisenet.Xception39'),
    context_channels=(128, 128, 256),
)
BLOCKS = 4 + 8 + 4
SEPARABLE = 3 * BLOCKS + 3  # three in each block, and a shortcut in each stage


@pytest.mark.parametrize('size', [(64, 96), (95, 127)])
def test_alone_it_gives_three_maps(size):
    network = randomise(build(dict(type='mmseg_bisenet.Xception39'))).eval()
    shapes = [tuple(out.shape) for out in network(images(2, size))]
    expected = [-(-side // 8) for side in size]
    assert shapes[0] == (2, 64, *expected)
    assert shapes[1] == (2, 128, *(-(-side // 2) for side in expected))
    assert shapes[2] == (2, 256, *(-(-side // 4) for side in expected))


def test_its_layers_are_those_of_its_name():
    network = Xception39()
    assert [len(stage) for stage in (network.layer1, network.layer2, network.layer3)] == [4, 8, 4]
    assert count(network, nn.Conv2d) == 1 + 2 * SEPARABLE
    assert count(network, _BatchNorm) == 1 + SEPARABLE
    assert all(layer.bias is None for layer in network.modules() if isinstance(layer, nn.Conv2d))


@pytest.mark.parametrize('stride', [1, 2])
def test_a_block_is_a_residual(stride):
    conv = ConvNormAct(norm_cfg=dict(type='BN'), act_cfg=dict(type='ReLU'))
    block = randomise(XceptionBlock(conv, 8, 2, stride)).eval()
    x = images(2, (6, 9), channels=8)

    def separable(layers: nn.Module, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        depthwise, pointwise = layers.depthwise_conv.conv, layers.pointwise_conv
        x = nn.functional.conv2d(x, depthwise.weight, stride=stride, padding=1, groups=x.shape[1])
        return pointwise.bn(nn.functional.conv2d(x, pointwise.conv.weight))

    first, second, third = block.residual
    residual = separable(third, separable(second, separable(first, x, stride).relu()).relu())
    shortcut = x if stride == 1 else separable(block.shortcut, x, stride)
    torch.testing.assert_close(block(x), (residual + shortcut).relu())


def test_cfgs_reach_it_through_the_backbone():
    from mmcv.cnn.bricks.conv_ws import ConvWS2d

    plain = build(V1)
    assert count(plain, _BatchNorm) == 1 + SEPARABLE + 13
    network = build(V1 | dict(norm_cfg=dict(type='SyncBN', requires_grad=True)))
    assert count(network, nn.SyncBatchNorm) == count(plain, _BatchNorm)
    network = build(V1 | dict(act_cfg=dict(type='LeakyReLU', negative_slope=0.2)))
    assert count(network, nn.LeakyReLU) == 1 + 3 * BLOCKS + 11  # per block, two in the residual part and one at the end
    assert count(network, nn.ReLU) == 0
    network = build(V1 | dict(conv_cfg=dict(type='ConvWS')))
    assert count(network, ConvWS2d) == count(plain, nn.Conv2d)
    assert [layer for layer in network.modules() if type(layer) is nn.Conv2d] == []
    network = randomise(build(V1 | dict(in_channels=4))).eval()
    assert network(images(1, (64, 64), channels=4))[0].shape == (1, 256, 8, 8)


def test_its_own_cfgs_win():
    network = build(V1 | dict(backbone_cfg=V1['backbone_cfg'] | dict(act_cfg=dict(type='ELU'))))
    assert count(network, nn.ELU) == 1 + 3 * BLOCKS


@pytest.mark.parametrize('change', [dict(channels=(16, 32)), dict(layers=(4, 8, 4, 4))])
def test_another_number_of_stages_is_refused(change):
    with pytest.raises(InputError, match=r'Xception39: channels=\(16, 32.*layers=\(4, 8, 4'):
        Xception39(**change)
