"""Plans and runs of int8 on small networks, also from files: what kernels take, and what is refused."""

import copy
from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmseg_bisenet.deploy.int8 import file, layers, library, memory, packing
from mmseg_bisenet.deploy.int8.network import Int8Network
from mmseg_bisenet.deploy.int8.plan import plan
from mmseg_bisenet.deploy.int8.ranges import measure
from mmseg_bisenet.deploy.int8.steps import Plan
from mmseg_bisenet.deploy.int8.trace import trace
from mmseg_bisenet.deploy.network import DeployNetwork
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.inference.fold import CONSTANT
from mmseg_bisenet.zoo import get_model

try:
    library.require()
    library._library()
except (InputError, RuntimeError) as error:
    pytest.skip(str(error), allow_module_level=True)

SHAPE = (21, 30)


class Network(nn.Module):
    """A backbone of some layers under a classifier of 5 classes."""

    def __init__(self, backbone: nn.Module, channels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.decode_head = nn.Conv2d(channels, 5, 1)


class Joined(nn.Module):
    """Concatenations, whose parts are written in their places: of 16 and 24 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 16, 3, stride=2, padding=1)
        self.second = nn.Conv2d(16, 24, 3, padding=1)
        self.third = nn.Conv2d(40, 24, 1)
        self.fourth = nn.Conv2d(40, 16, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.first(x))
        y = F.max_pool2d(x, 3, 1, 1)
        z = F.relu(self.third(torch.cat([y, F.relu(self.second(x))], 1)))
        return F.relu(self.fourth(torch.cat([x, z], 1)))


class Gated(nn.Module):
    """As the end of V2: a gate and a summand from a smaller map; then an attention of one pixel."""

    def __init__(self, **resizing) -> None:
        super().__init__()
        self.resizing = resizing
        self.first = nn.Conv2d(4, 32, 7, padding=3)
        self.second = nn.Conv2d(32, 32, 3, stride=3, padding=1)
        self.gate = nn.Conv2d(32, 32, 3, padding=1)
        self.summand = nn.Conv2d(32, 32, 1)
        self.wide = nn.Conv2d(32, 64, 3, padding=1)
        self.last = nn.Conv2d(64, 32, 1)
        self.attention = nn.Conv2d(32, 32, 1)

    def forward(self, x):
        x = F.relu(self.first(x))
        small = self.second(x)
        gate, summand = (F.interpolate(part(small), x.shape[2:], **self.resizing) for part in (self.gate, self.summand))
        x = self.last(F.relu(self.wide(x * torch.sigmoid(gate) + summand)))
        return x * torch.sigmoid(self.attention(F.adaptive_avg_pool2d(x, 1)))


class Attended(nn.Module):
    """As V1's fusion and V2's guided aggregation: attention of channels, added and not, and a gate of the same size."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 24, 3, stride=2, padding=1)
        self.squeeze, self.excite = nn.Conv2d(24, 8, 1), nn.Conv2d(8, 24, 1, bias=False)
        self.value = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.gate = nn.Conv2d(24, 24, 1)
        self.second = nn.Conv2d(24, 24, 3, padding=1)
        self.summand = nn.Conv2d(24, 24, 1)

    def attention(self, x):
        return torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))

    def forward(self, x):
        x = F.relu(self.first(x))
        x = x * self.attention(x) + x
        x = self.value(x) * torch.sigmoid(self.gate(x))
        y = self.second(x)
        return y * self.attention(y) + F.relu(self.summand(F.adaptive_avg_pool2d(y, 1)))


class Upsampled(nn.Module):
    """As V1's context path: attention, an addition of a resized map, and resizing before the head."""

    def __init__(self, **resizing) -> None:
        super().__init__()
        self.resizing = resizing
        self.first = nn.Conv2d(4, 24, 7, stride=2, padding=3)
        self.second, self.third = nn.Conv2d(24, 24, 3, padding=1), nn.Conv2d(24, 24, 3, padding=1)
        self.squeeze = nn.Conv2d(24, 24, 1)

    def forward(self, x):
        x = F.relu(self.first(x))
        small = F.relu(self.second(F.avg_pool2d(x, 3, 2, 1)))
        up = F.relu(self.third(F.interpolate(small, x.shape[2:], **self.resizing)))
        x = x * torch.sigmoid(self.squeeze(F.adaptive_avg_pool2d(x, 1))) + up
        return F.interpolate(x, scale_factor=2.5)


class Narrow(nn.Module):
    """Maps of three and four channels, which are no image."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second, self.third = nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.third(F.relu(self.second(F.relu(self.first(x)))))


class Plain(nn.Module):
    """Additions of two results, and outputs that are read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 16, 3, padding=1)
        self.second, self.third = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 1)
        self.depthwise = nn.Conv2d(16, 48, 3, padding=1, groups=16, bias=False)
        self.pointwise = nn.Conv2d(48, 16, 1)

    def forward(self, x):
        x = self.first(x)
        y = self.second(x) + self.third(x)
        return F.relu(self.pointwise(self.depthwise(x)) + y)


GATED = dict(Convolution=7, Gate=1, Mean=1, Linear=1, Scaled=1)
ATTENDED = dict(Convolution=5, Mean=1, Linear=1, Scaled=1)
CASES = dict(
    joined=(Joined, 16, dict(Convolution=5, Pool=1)),
    gated=(partial(Gated, mode='bilinear'), 32, GATED),
    corners=(partial(Gated, mode='bilinear', align_corners=True), 32, GATED),
    gated_by_nearest=(partial(Gated, mode='nearest'), 32, GATED),
    attended=(Attended, 24, dict(Convolution=5, Mean=3, Linear=5, Scaled=2)),
    upsampled=(Upsampled, 24, ATTENDED | dict(Nearest=2)),
    bilinear=(
        partial(Upsampled, mode='bilinear'),
        24,
        dict(Convolution=5, Mean=1, Linear=1, Scaled=1, Nearest=1, Bilinear=1),
    ),
    narrow=(Narrow, 4, dict(Convolution=4)),
    plain=(Plain, 16, dict(Convolution=6)),
)


def planned(network: nn.Module, images: np.ndarray | None = None) -> Plan:
    """The plan of a network, with ranges of images."""
    traced = trace(network, SHAPE)
    found = plan(traced)
    if images is not None:
        measure(traced, found, images)
    return found


@pytest.mark.parametrize('name', CASES)
@torch.no_grad()
def test_it_is_nearly_the_network(name, monkeypatch, tmp_path):
    backbone, channels, kinds = CASES[name]
    torch.manual_seed(0)
    network = Network(backbone(), channels).eval()
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
            if part.bias is not None:
                nn.init.normal_(part.bias, std=0.1)
    images = np.random.RandomState(0).randint(0, 256, (3, *SHAPE, 3), np.uint8)
    network.backbone.first.weight /= 100  # of pixels
    steps = planned(network, images)
    assert Counter(type(step).__name__ for step in steps.steps) == kinds
    found = Int8Network(copy.deepcopy(steps), 1)
    pixels = F.pad(torch.from_numpy(images), (0, 1), value=CONSTANT).permute(0, 3, 1, 2).float()
    want = network.decode_head(network.backbone(pixels)).numpy()
    got = found(images)
    assert got.shape == want.shape
    error = np.sqrt(np.square(got - want).mean((1, 2, 3))) / want.std()
    assert error.max() < 0.06, error
    for i in range(3):  # alone as in a batch, and again
        np.testing.assert_array_equal(found(images[i : i + 1])[0], got[i])
    file.write(tmp_path / 'a', steps, {})
    again = Int8Network(file.read(tmp_path / 'a'), 2)
    np.testing.assert_array_equal(again(images), got)
    monkeypatch.setattr(memory, 'SMALL', 0)
    shared = Int8Network(steps, 2)
    np.testing.assert_array_equal(shared(images), got)
    maps = shared._own.run._memory
    assert len(maps._bytes) < sum(length for _, length in maps._places.values())
    with pytest.raises(InputError, match=r'^images of shape \(1, 21, 31, 3\): the network is for \(N, 21, 30, 3\)$'):
        found(np.zeros((1, 21, 31, 3), np.uint8))


def test_weights_are_kept_once():
    images = np.random.RandomState(0).randint(0, 256, (1, *SHAPE, 3), np.uint8)
    found = Int8Network(planned(Network(Joined(), 16), images), 1)
    assert all(step.weight.strides == (0, 0, 0, 0) for step in found.plan.convolutions)
    assert all(fields['weight'].dtype == np.int8 for _, fields in found.packed.values())


def of_map(layer: Callable[[torch.Tensor], torch.Tensor], channels: int = 16) -> nn.Module:
    """A network with a layer between its first convolution and its classifier."""
    backbone = nn.Sequential(nn.Conv2d(4, 16, 3, padding=1), Layer(layer))
    return Network(backbone, channels)


class Layer(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function
        self.dilated, self.grouped = nn.Conv2d(16, 16, 3, padding=2, dilation=2), nn.Conv2d(16, 16, 1, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    ('layer', 'channels', 'operator'),
    [
        (F.leaky_relu, 16, 'leaky_relu'),
        (lambda x: x - 1, 16, 'sub'),
        (lambda x: x + 1, 16, 'add'),
        (lambda x: torch.cat([F.relu(x[:, :8]), x], 1), 24, 'slice'),
        (lambda x: torch.cat([x, x], 1), 32, 'cat'),
        (lambda x: F.max_pool2d(x, 3, 1, 1), 16, 'max_pool2d'),
        (lambda x: F.avg_pool2d(x, 3, 1, 1), 16, 'avg_pool2d'),
        (lambda x: F.interpolate(x, scale_factor=2, mode='bicubic'), 16, 'upsample_bicubic2d'),
        (lambda x: x.max(dim=1, keepdim=True).values, 1, 'max'),
    ],
)
def test_what_no_kernel_computes_is_refused(layer, channels, operator):
    with pytest.raises(
        InputError, match=rf'^backbone.1 computes {operator}, for which vnni has no kernel; take another'
    ):
        planned(of_map(layer, channels))


def test_convolutions_that_no_kernel_computes_are_refused():
    for name in ('dilated', 'grouped'):
        network = of_map(lambda x: x)
        network.backbone[1] = getattr(network.backbone[1], name)
        with pytest.raises(
            InputError, match=r'^backbone.1 computes conv2d, for which vnni has no kernel; take another'
        ):
            planned(network)
    network = of_map(lambda x: x)
    network.decode_head = nn.Sequential(network.decode_head, nn.Upsample(scale_factor=2))
    with pytest.raises(InputError, match=r'^decode_head.1 computes upsample_nearest2d, for which vnni has no kernel'):
        planned(network)


class Head(nn.Sequential):
    """As the end of both networks: a 3x3 convolution of many channels under the classifier."""

    def __init__(self, classes: int) -> None:
        super().__init__(nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.Dropout2d(0.1), nn.Conv2d(128, classes, 1))


@pytest.mark.parametrize('classes', [1, 5, 19, 33])
@torch.no_grad()
def test_a_head_and_its_classifier_are_one_kernel(classes, monkeypatch):
    """It gives the very scores of two kernels, and does not store the channels in between."""
    torch.manual_seed(classes)
    network = Network(nn.Sequential(nn.Conv2d(4, 64, 3, stride=2, padding=1), nn.ReLU()), 64).eval()
    network.decode_head = Head(classes).eval()
    network.backbone[0].weight /= 100
    images = np.random.RandomState(0).randint(0, 256, (2, *SHAPE, 3), np.uint8)
    steps = planned(network, images)
    found = Int8Network(copy.deepcopy(steps), 2)
    got = found(images)
    assert len(found._own.run._calls) == 2 and len(found._own.run._maps) == 2
    pixels = F.pad(torch.from_numpy(images), (0, 1), value=CONSTANT).permute(0, 3, 1, 2).float()
    want = network.decode_head(network.backbone(pixels)).numpy()
    assert np.square(got - want).mean() < 0.01 * want.var()
    monkeypatch.setattr(packing, 'is_pointwise', lambda step: False)
    separate = Int8Network(steps, 2)
    np.testing.assert_array_equal(separate(images), got)
    assert len(separate._own.run._calls) == 3 and len(separate._own.run._maps) == 3


@pytest.mark.parametrize('tiles, threads, want', [(512, 1, 48), (512, 2, 42), (32, 2, 18), (1, 4, 6), (8192, 2, 48)])
def test_blocks_of_tiles_share_the_work_evenly(tiles, threads, want):
    block = layers.tiles_of_block(tiles, threads)
    assert block == want and block % layers.GROUP == 0
    load = [0] * threads
    for first in range(0, tiles, block):
        load[load.index(min(load))] += min(block, tiles - first)
    assert max(load) <= 1.04 * tiles / threads + layers.GROUP


@pytest.mark.parametrize(
    ('config', 'resized'),
    [
        ('bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024', dict(Nearest=2)),
        ('bisenetv1_x39-d32_4xb4-ohem-140k_cityscapes-1024x1024', dict(Bilinear=2)),
        ('bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024', dict(Gate=1)),
        ('bisenetv2_fcn-coincheung_2xb8-ohem-150k_cityscapes-512x1024', dict(Gate=1)),
    ],
)
@torch.no_grad()
def test_kernels_compute_all_of_both_networks(config, resized):
    steps = plan(trace(DeployNetwork(get_model(config)), (64, 128))).steps
    kinds = Counter(type(step).__name__ for step in steps)
    assert {name: kinds[name] for name in ('Nearest', 'Bilinear', 'Gate') if name in kinds} == resized
