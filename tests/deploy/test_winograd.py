"""Winograd's convolutions against the definition, and where they replace others."""

import copy
import sys

import pytest
import torch
from mmcv.cnn import ConvModule
from torch import nn
from torch.nn import functional as F

from mmseg_bisenet import openmp
from mmseg_bisenet.deploy.winograd import layer as winograd

pytest.importorskip('numba')
if winograd._parallel() is None:
    pytest.skip('PyTorch runs without libgomp', allow_module_level=True)

from mmseg_bisenet.deploy.winograd.head import WinogradHead, winograd_logits
from mmseg_bisenet.deploy.winograd.layer import WinogradConv2d, use_winograd
from mmseg_bisenet.deploy.winograd.transforms import FILTER, INPUT, INPUT_STEPS, OUTPUT, OUTPUT_STEPS
from mmseg_bisenet.models.head import BiSeNetHead, BoosterHead
from mmseg_bisenet.models.inference import tiling

needs_bfloat16 = pytest.mark.skipif(not winograd._has_bfloat16(), reason='a CPU without AVX-512-BF16')
SHAPES = [(1, 32, 64, 1, 1), (1, 64, 64, 8, 16), (2, 32, 128, 19, 30), (3, 128, 64, 33, 7), (1, 96, 192, 61, 90)]


def make(channels: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels, outputs, 3, padding=1, bias=bias)


def exact(conv: nn.Conv2d, x: torch.Tensor, relu: bool) -> torch.Tensor:
    y = copy.deepcopy(conv).double()(x.double())
    return F.relu(y) if relu else y


def test_transforms_are_an_identity_in_one_dimension():
    signal, taps = torch.randn(6).double().numpy(), torch.randn(3).double().numpy()
    products = (FILTER @ taps) * (INPUT @ signal)
    direct = [signal[i : i + 3] @ taps for i in range(4)]
    assert OUTPUT @ products == pytest.approx(direct, rel=1e-12, abs=1e-12)


def test_steps_of_transforms_are_the_transforms():
    assert (INPUT_STEPS[1] @ INPUT_STEPS[0] == INPUT).all() and (OUTPUT_STEPS[1] @ OUTPUT_STEPS[0] == OUTPUT).all()


@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('bias', [True, False], ids=['bias', 'no bias'])
@pytest.mark.parametrize('relu', [True, False], ids=['relu', 'linear'])
@torch.no_grad()
def test_float32_is_the_convolution(shape, bias, relu):
    n, channels, outputs, height, width = shape
    conv = make(channels, outputs, bias)
    x = torch.randn(n, channels, height, width)
    want = exact(conv, x, relu)
    for given in (x, x.to(memory_format=torch.channels_last)):
        got = WinogradConv2d(conv, relu)(given)
        assert got.dtype == torch.float32 and got.is_contiguous(memory_format=torch.channels_last)
        error = got - want
        assert error.abs().max() < 5e-6 * want.abs().max()
        assert error.square().mean().sqrt() < 2e-6 * want.square().mean().sqrt()


@torch.no_grad()
def test_bfloat16_is_as_near_as_a_direct_convolution(monkeypatch):
    monkeypatch.setattr(winograd, '_has_bfloat16', lambda: False)
    conv = make(64, 64)
    x = torch.randn(2, 64, 21, 30).bfloat16()
    want = exact(conv, x, relu=False)
    layer = WinogradConv2d(conv)
    in_float32 = layer(x.float())
    got = layer.bfloat16()(x)
    assert got.dtype == torch.bfloat16 and torch.equal(got, in_float32.bfloat16())
    # Half a unit in the last place, and the error of float32.
    assert torch.all((got - want).abs() <= want.abs() * 2**-8 + 5e-6 * want.abs().max())
    direct = conv.bfloat16()(x)
    assert (got - want).square().mean() < (direct - want).square().mean()


@needs_bfloat16
@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('relu', [True, False], ids=['relu', 'linear'])
@torch.no_grad()
def test_products_of_bfloat16_err_by_no_more_than_rounding(shape, relu):
    n, channels, outputs, height, width = shape
    conv, x = make(channels, outputs), torch.randn(n, channels, height, width).bfloat16()
    want = exact(conv, x, relu)
    got = WinogradConv2d(copy.deepcopy(conv), relu).bfloat16()(x)
    assert got.dtype == torch.bfloat16 and got.is_contiguous(memory_format=torch.channels_last)
    # Rounding to 8 bits adds an error of up to 2^-8 of the value, evenly spread: a variance of a third of that squared.
    # A product has two rounded factors; the output transform sums the variances, and the output is rounded itself.
    variance = (2 * sum_of_squared_products(conv, x) + want.square()) * (2**-8) ** 2 / 3
    error = got - want
    assert error.square().mean() < variance.mean()
    assert torch.all(error.abs() < 6 * variance.sqrt())


def sum_of_squared_products(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Winograd's convolution with all that the output transform takes squared, in float64."""
    height, width = x.shape[2:]
    patches, filters = transformed(conv, x)
    products = torch.einsum('pnchw,poc->pnohw', patches.square(), filters.square()).unflatten(0, (6, 6))
    out = torch.from_numpy(OUTPUT**2)
    tiles = torch.einsum('ip,pqnohw,jq->nohiwj', out, products, out)
    return tiles.flatten(4, 5).flatten(2, 3)[:, :, :height, :width]


def transformed(conv: nn.Conv2d, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches (36, N, C, H / 4, W / 4) and filters (36, K, C), in float64."""
    height, width = x.shape[2:]
    padded = F.pad(x.double(), (1, 1 + -width % 4, 1, 1 + -height % 4))
    patches = padded.unfold(2, 6, 4).unfold(3, 6, 4)
    into, taps = map(torch.from_numpy, (INPUT, FILTER))
    patches = torch.einsum('pi,nchwij,qj->pqnchw', into, patches, into)
    return patches.flatten(0, 1), torch.einsum('pi,ocij,qj->pqoc', taps, conv.weight.double(), taps).flatten(0, 1)


@torch.no_grad()
def test_identity_filter_gives_the_image_back():
    conv = make(64, 64, bias=False)
    nn.init.dirac_(conv.weight)
    x = torch.randn(1, 64, 10, 14)
    torch.testing.assert_close(WinogradConv2d(conv)(x), x, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_not_a_number_reaches_only_its_neighbourhood(dtype):
    x = torch.ones(1, 32, 16, 16, dtype=dtype)
    x[0, 3, 0, 0] = float('nan')
    got = WinogradConv2d(make(32, 64), relu=True)(x)
    assert got[0, :, :2, :2].isnan().all() and not got[0, :, 4:].isnan().any() and not got[0, :, :, 4:].isnan().any()


@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_any_number_of_threads_gives_the_same(dtype):
    layer, x = WinogradConv2d(make(64, 64)), torch.randn(1, 64, 37, 45, dtype=dtype)
    before = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(layer(x))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], result) for result in results[1:])


@pytest.mark.parametrize(
    ('shape', 'dtype'),
    [
        ((1, 64, 8, 8), torch.float16),
        ((1, 64, 8, 8), torch.float64),
        ((1, 32, 8, 8), torch.float32),
        ((64, 8, 8), torch.float32),
    ],
)
def test_other_inputs_are_refused(shape, dtype):
    layer = WinogradConv2d(make(64, 64))
    with pytest.raises(TypeError, match=r'give \(N, 64, H, W\) in float32 or bfloat16'):
        layer(torch.zeros(shape, dtype=dtype))


def test_no_image_gives_none():
    assert WinogradConv2d(make(64, 64))(torch.randn(0, 64, 8, 8)).shape == (0, 64, 8, 8)


@pytest.mark.parametrize(
    'change',
    [
        lambda patch: patch.setitem(sys.modules, 'numba', None),
        lambda patch: patch.setattr('llvmlite.binding.get_host_cpu_features', lambda: dict(avx=True)),
        lambda patch: patch.setattr(sys, 'platform', 'win32'),
    ],
    ids=['no numba', 'no fma', 'windows'],
)
def test_where_it_cannot_run_nothing_is_replaced(change, monkeypatch):
    change(monkeypatch)
    monkeypatch.setattr(winograd, '_parallel', winograd._parallel.__wrapped__)
    monkeypatch.setattr(openmp, '_parallel', openmp._parallel.__wrapped__)
    network = nn.Sequential(make(32, 64))
    assert use_winograd(network) == 0 and type(network[0]) is nn.Conv2d


def test_a_numba_that_refuses_the_numpy_beside_it(monkeypatch, tmp_path):
    (tmp_path / 'numba.py').write_text("raise ImportError('Numba needs NumPy 2.3 or less. Got NumPy 2.4.')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'numba')
    assert winograd._parallel.__wrapped__() is None


class Network(nn.Module):
    """Each kind of layer: with ReLU, with another activation, and one used bare."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ConvModule(32, 64, 3, padding=1)
        self.second = ConvModule(64, 64, 3, padding=1, act_cfg=dict(type='LeakyReLU'))
        self.third = nn.Conv2d(64, 64, 3, padding=1)
        self.relu = nn.ReLU()
        self.last = nn.Conv2d(64, 19, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(x))
        return self.last(self.relu(self.third(x) + x))


@torch.no_grad()
def test_a_network_stays_what_it_is():
    network, x = Network().eval(), torch.randn(1, 32, 24, 40)
    want, keys = network(x), list(network.state_dict())
    assert use_winograd(network) == 3
    assert [network.first.conv.relu, network.second.conv.relu, network.third.relu] == [True, False, False]
    assert type(network.first.activate) is nn.Identity
    assert list(network.state_dict()) == keys
    torch.testing.assert_close(network(x), want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(copy.deepcopy(network)(x), network(x), rtol=0, atol=0)
    assert use_winograd(network) == 0


@torch.no_grad()
def test_a_network_can_be_compiled():
    network, x = Network().eval(), torch.randn(1, 32, 24, 40)
    use_winograd(network)
    compiled = torch.compile(network, fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(compiled(x), network(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_the_operator_has_a_right_fake(dtype):
    layer = WinogradConv2d(make(32, 64))
    weight = layer.transformed if dtype == torch.float32 else layer.rounded
    x = torch.randn(1, 32, 9, 8).to(dtype)
    torch.library.opcheck(winograd.winograd_conv2d, (x, weight, layer.summand, True))


@pytest.mark.parametrize(
    'layer',
    [
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.Conv2d(32, 64, 3),
        nn.Conv2d(32, 64, 3, padding=2, dilation=2),
        nn.Conv2d(64, 64, 3, padding=1, groups=2),
        nn.Conv2d(64, 64, 3, padding=1, padding_mode='reflect'),
        nn.Conv2d(32, 64, 1),
        nn.Conv2d(32, 64, 5, padding=1),
        nn.Conv2d(3, 64, 3, padding=1),
        nn.Conv2d(32, 19, 3, padding=1),
        nn.Conv2d(32, 64, 3, padding='same'),
        nn.Conv2d(32, 64, 3, padding=1).double(),
        nn.ConvTranspose2d(32, 64, 3, padding=1),
    ],
    ids=str,
)
def test_other_layers_are_left_alone(layer):
    network = nn.Sequential(layer)
    assert use_winograd(network) == 0
    assert network[0] is layer


def make_head(classes: int = 19, channels: int = 128, kind: type = BiSeNetHead, **options) -> BiSeNetHead:
    torch.manual_seed(1)
    head = kind(32, channels, classes, norm_cfg=None, **options).eval()
    nn.init.normal_(head.conv_seg.weight)
    nn.init.normal_(head.conv_seg.bias)
    return head


@pytest.mark.parametrize('classes', [2, 19, 32, 33, 100])
@pytest.mark.parametrize('size', [(1, 1), (19, 30), (64, 33)], ids=str)
@torch.no_grad()
def test_logits_of_a_head_in_one_kernel(classes, size):
    head = tiling.enable(make_head(classes, num_convs=2))
    keys, x = list(head.state_dict()), torch.randn(2, 32, *size)
    want = copy.deepcopy(head).double()([x.double()])
    assert use_winograd(nn.Sequential(head)) == 2
    assert type(head) is WinogradHead and list(head.state_dict()) == keys
    got = head([x])
    assert got.dtype == torch.float32 and got.shape == want.shape
    assert (got - want).abs().max() < 5e-6 * want.abs().max()
    assert torch.equal(copy.deepcopy(head)([x]), got)


@torch.no_grad()
def test_logits_of_bfloat16_err_by_no_more_than_those_of_two_layers():
    head, x = make_head(channels=256), torch.randn(1, 32, 21, 34).bfloat16()
    want = copy.deepcopy(head).double()([x.double()])
    use_winograd(nn.Sequential(head))
    got = head.bfloat16()([x])
    two = head.cls_seg(head.convs(x))
    assert got.dtype == torch.float32 and two.dtype == torch.bfloat16
    assert (got - want).square().mean() < (two - want).square().mean()
    assert (got - want).abs().max() < 0.05 * want.abs().max()


@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_not_a_number_reaches_only_the_logits_near_it(dtype):
    head, x = make_head(), torch.ones(1, 32, 16, 16, dtype=dtype)
    x[0, 3, 0, 0] = float('nan')
    use_winograd(nn.Sequential(head))
    got = head.to(dtype)([x])
    assert got[0, :, :2, :2].isnan().all() and not got[0, :, 4:].isnan().any() and not got[0, :, :, 4:].isnan().any()


@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_any_number_of_threads_gives_the_same_logits(dtype):
    head, x = make_head(), torch.randn(1, 32, 37, 45, dtype=dtype)
    use_winograd(nn.Sequential(head))
    head, before, results = head.to(dtype), torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(head([x]))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], result) for result in results[1:])


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_the_operator_of_logits_has_a_right_fake(dtype):
    head, rounded = make_head(), dtype == torch.bfloat16
    use_winograd(nn.Sequential(head))
    conv = head.convs[0].conv
    weights = (conv.rounded if rounded else conv.transformed), head.class_factors[rounded]
    arguments = torch.randn(1, 32, 9, 8).to(dtype), *weights, conv.summand, head.class_summand, True, 19
    torch.library.opcheck(winograd_logits, arguments)
    with pytest.raises(TypeError, match=r'give \(N, 32, H, W\) in float32 or bfloat16'):
        winograd_logits(arguments[0].half(), *arguments[1:])


@pytest.mark.parametrize(
    'head',
    [
        lambda: make_head(kind=BoosterHead),
        lambda: make_head(act_cfg=dict(type='LeakyReLU')),
        lambda: make_head(num_convs=0, channels=32),
        lambda: make_head(channels=40),
    ],
    ids=['booster', 'leaky', 'no convolution', 'narrow'],
)
@torch.no_grad()
def test_other_heads_stay_what_they_are(head):
    head, x = head(), torch.randn(1, 32, 9, 8)
    want, kind = head([x]), type(head)
    use_winograd(nn.Sequential(head))
    assert type(head) is kind
    torch.testing.assert_close(head([x]), want, rtol=1e-4, atol=1e-4)
