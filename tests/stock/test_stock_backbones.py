"""Stock's test_bisenetv1.py and test_bisenetv2.py. The drop-in's norms are SyncBN, which CPUs lack: these say BN."""

import pytest
import torch
from base import build
from mmcv.cnn import ConvModule
from torch import nn

BN = dict(type='BN')
RESNET = dict(
    type='ResNet',
    in_channels=3,
    depth=18,
    num_stages=4,
    out_indices=(0, 1, 2, 3),
    dilations=(1, 1, 1, 1),
    strides=(1, 2, 2, 2),
    norm_eval=False,
    style='pytorch',
    contract_dilation=True,
)


def shapes(network: nn.Module, height: int, width: int) -> list[tuple[int, ...]]:
    with torch.no_grad():
        return [tuple(feature.shape) for feature in network(torch.randn(2, 3, height, width))]


@pytest.fixture(scope='module')
def v1(dropin) -> nn.Module:
    network = build(dict(type='BiSeNetV1', in_channels=3, backbone_cfg=RESNET, norm_cfg=BN))
    network.init_weights()
    return network.train()


@pytest.fixture(scope='module')
def v2(dropin) -> nn.Module:
    network = build(dict(type='BiSeNetV2', norm_cfg=BN))
    network.init_weights()
    return network.train()


def test_outputs_of_v1(v1):
    assert shapes(v1, 64, 128) == [(2, 256, 8, 16), (2, 128, 8, 16), (2, 128, 4, 8)]
    assert shapes(v1, 95, 27) == [(2, 256, 12, 4), (2, 128, 12, 4), (2, 128, 6, 2)]


@pytest.mark.parametrize('widths', [dict(spatial_channels=(16, 16, 16)), dict(context_channels=(16, 32, 64, 128))])
def test_a_wrong_number_of_widths_is_an_assertion_error(widths):
    with pytest.raises(AssertionError, match=next(iter(widths))), torch.device('meta'):
        build(dict(type='BiSeNetV1', in_channels=3, backbone_cfg=RESNET, **widths))


def test_attention_refinement_module(v1):
    arm = v1.context_path.arm16
    conv = arm.conv_layer
    assert (conv.in_channels, conv.out_channels, conv.kernel_size) == (256, 128, (3, 3))
    assert arm(torch.randn(2, 256, 8, 16)).shape == (2, 128, 8, 16)


def test_feature_fusion_module(v1):
    ffm = v1.ffm
    assert (ffm.conv1.in_channels, ffm.conv1.out_channels, ffm.conv1.kernel_size) == (256, 256, (1, 1))
    gate = ffm.conv_atten[0]
    assert (gate.in_channels, gate.out_channels, gate.kernel_size) == (256, 256, (1, 1))
    assert ffm.gap(torch.ones(2, 256, 4, 4)).shape == (2, 256, 1, 1)  # stock asks for an `output_size` of (1, 1)
    assert ffm(torch.randn(2, 128, 8, 16), torch.randn(2, 128, 8, 16)).shape == (2, 256, 8, 16)


def test_outputs_of_v2(v2):
    assert shapes(v2, 64, 128) == [(2, 128, 8, 16), (2, 16, 16, 32), (2, 32, 8, 16), (2, 64, 4, 8), (2, 128, 2, 4)]
    assert shapes(v2, 95, 27) == [(2, 128, 12, 4), (2, 16, 24, 7), (2, 32, 12, 4), (2, 64, 6, 2), (2, 128, 3, 1)]


def test_parts_of_v2(v2):
    assert isinstance(v2.detail.detail_branch[0][0], ConvModule)
    assert v2.detail(torch.randn(2, 3, 32, 64)).shape == (2, 128, 4, 8)
    assert v2.semantic.stage1.pool.stride == 2
    assert isinstance(v2.bga.conv, ConvModule)
    assert v2.bga(torch.randn(2, 128, 8, 16), torch.randn(2, 128, 2, 4)).shape == (2, 128, 8, 16)
