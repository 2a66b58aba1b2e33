"""Depthwise convolutions with several outputs a channel against the definition, and where they replace others."""

import copy

import pytest
import torch
from mmcv.cnn import ConvModule
from torch import nn
from torch.nn import functional as F

from mmseg_bisenet.deploy.winograd import layer

pytest.importorskip('numba')
if layer._parallel() is None:
    pytest.skip('PyTorch runs without libgomp', allow_module_level=True)

from mmseg_bisenet.deploy.winograd.depthwise import DepthwiseConv2d, depthwise_conv2d


def make(channels: int, multiplier: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels, channels * multiplier, 3, stride, 1, groups=channels, bias=bias)


@pytest.mark.parametrize('shape', [(1, 16, 1, 1), (2, 32, 19, 30), (1, 48, 8, 7)], ids=str)
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('multiplier', [2, 3, 6, 8])
@pytest.mark.parametrize('relu', [True, False], ids=['relu', 'linear'])
@torch.no_grad()
def test_it_is_the_convolution(shape, stride, multiplier, relu):
    conv, x = make(shape[1], multiplier, stride, bias=relu), torch.randn(shape)
    want = copy.deepcopy(conv).double()(x.double())
    want = F.relu(want) if relu else want
    for given in (x, x.to(memory_format=torch.channels_last)):
        got = DepthwiseConv2d(conv, relu)(given)
        assert got.dtype == torch.float32 and got.is_contiguous(memory_format=torch.channels_last)
        assert (got - want).abs().max() < 1e-6 * want.abs().max() + 1e-7
    rounded = x.bfloat16()
    want = DepthwiseConv2d(conv, relu)(rounded.float()).bfloat16()
    got = DepthwiseConv2d(conv, relu).bfloat16()(rounded)
    assert got.dtype == torch.bfloat16 and torch.equal(got, want)


@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_not_a_number_reaches_only_its_neighbourhood(dtype):
    x = torch.ones(1, 32, 9, 9, dtype=dtype)
    x[0, 3, 4, 4] = float('nan')
    got = DepthwiseConv2d(make(32, 6), relu=True)(x).isnan()
    assert got[0, 18:24, 3:6, 3:6].all() and got.sum() == 6 * 9


@torch.no_grad()
def test_any_number_of_threads_gives_the_same():
    conv, x, before, results = DepthwiseConv2d(make(32, 6, 2)), torch.randn(2, 32, 37, 45), torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(conv(x))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], result) for result in results[1:])


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_the_operator_has_a_right_fake_and_refuses_other_inputs(dtype):
    conv = DepthwiseConv2d(make(32, 6, 2))
    x = torch.randn(1, 32, 9, 8).to(dtype)
    torch.library.opcheck(depthwise_conv2d, (x, conv.taps, conv.summand, 2, True))
    for other in (x.half(), x[:, :16], x[0]):
        with pytest.raises(TypeError, match=r'give \(N, 32, H, W\) in float32 or bfloat16'):
            conv(other)
    assert conv(x[:0]).shape == (0, 192, 5, 4)


@torch.no_grad()
def test_it_replaces_a_convolution_and_its_relu():
    network = nn.Sequential(ConvModule(32, 192, 3, 2, 1, groups=32), ConvModule(192, 32, 1)).eval()
    x, keys = torch.randn(1, 32, 20, 30), list(network.state_dict())
    want = network(x)
    assert layer.use_winograd(network) == 1
    assert type(network[0].conv) is DepthwiseConv2d and network[0].conv.relu
    assert type(network[0].activate) is nn.Identity and list(network.state_dict()) == keys
    torch.testing.assert_close(network(x), want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(copy.deepcopy(network)(x), network(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    'conv',
    [
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.Conv2d(24, 48, 3, padding=1, groups=24),
        nn.Conv2d(32, 288, 3, padding=1, groups=32),
        nn.Conv2d(32, 64, 3, padding=1, groups=16),
        nn.Conv2d(32, 64, 3, groups=32),
        nn.Conv2d(32, 64, 5, padding=2, groups=32),
        nn.Conv2d(32, 64, 3, stride=(1, 2), padding=1, groups=32),
        nn.Conv2d(32, 64, 3, padding=1, groups=32, padding_mode='reflect'),
        nn.Conv2d(32, 64, 3, padding=1, groups=32).double(),
    ],
    ids=str,
)
def test_other_layers_are_left_alone(conv):
    network = nn.Sequential(conv)
    assert layer.use_winograd(network) == 0 and network[0] is conv
