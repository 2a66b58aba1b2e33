"""Plans and runs of int8 on small networks: what kernels take, and what PyTorch computes in between."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmseg_bisenet.deploy.int8 import layers, library, memory, packing, ranges
from mmseg_bisenet.deploy.int8.network import Int8Network
from mmseg_bisenet.deploy.int8.plan import plan
from mmseg_bisenet.deploy.int8.steps import Nearest, Other
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
    """Concatenations: of maps in their places (16 and 24 channels), and of 24 and 16, which PyTorch joins."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 16, 3, stride=2, padding=1)
        self.second = nn.Conv2d(16, 24, 3, padding=1)
        self.third = nn.Conv2d(40, 24, 1)
        self.fourth = nn.Conv2d(40, 16, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.first(x))
        y = F.max_pool2d(x, 3, 1, 1)
        z = self.third(torch.cat([y, F.relu(self.second(x))], 1))
        return F.relu(self.fourth(torch.cat([z, x], 1)))


class Gated(nn.Module):
    """As the end of V2: a gate and a summand from a smaller map; then an attention of one pixel."""

    def __init__(self, align_corners: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.first = nn.Conv2d(4, 32, 7, stride=2, padding=3)
        self.small = nn.Conv2d(32, 32, 3, stride=2, padding=1)
        self.gate = nn.Conv2d(32, 32, 3, padding=1)
        self.wide = nn.Conv2d(32, 64, 3, padding=1)
        self.last = nn.Conv2d(64, 32, 1)
        self.attention = nn.Conv2d(32, 32, 1)

    def forward(self, x):
        x = F.relu(self.first(x))
        small = self.small(x)
        pooled = F.avg_pool2d(x, 3, 2, 1)

        def up(y):
            return F.interpolate(y, x.shape[2:], mode='bilinear', align_corners=self.align_corners)

        x = self.last(F.relu(self.wide(x * torch.sigmoid(up(self.gate(small))) + up(pooled))))
        return x * torch.sigmoid(self.attention(F.adaptive_avg_pool2d(x, 1))) + 0.5


class Attended(nn.Module):
    """As V1's fusion and V2's guided aggregation: attention of channels, added and not, and a gate of the same size."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 24, 3, stride=2, padding=1)
        self.squeeze, self.excite = nn.Conv2d(24, 8, 1), nn.Conv2d(8, 24, 1, bias=False)
        self.value = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.gate = nn.Conv2d(24, 24, 1)
        self.second = nn.Conv2d(24, 24, 3, padding=1)

    def attention(self, x):
        return torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))

    def forward(self, x):
        x = F.relu(self.first(x))
        x = x * self.attention(x) + x
        x = self.value(x) * torch.sigmoid(self.gate(x))
        y = self.second(x)
        return y * self.attention(y) + F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1))).repeat(1, 3, 1, 1)


class Upsampled(nn.Module):
    """As V1's context path: attention, nearest neighbours, and an addition of a map to an attended one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 24, 7, stride=2, padding=3)
        self.second, self.third = nn.Conv2d(24, 24, 3, 2, 1), nn.Conv2d(24, 24, 3, padding=1)
        self.squeeze = nn.Conv2d(24, 24, 1)

    def forward(self, x):
        x = F.relu(self.first(x))
        small = F.relu(self.second(x))
        up = F.relu(self.third(F.interpolate(small, x.shape[2:])))
        x = x * torch.sigmoid(self.squeeze(F.adaptive_avg_pool2d(x, 1))) + up
        return F.interpolate(x, scale_factor=2.5)


class Narrow(nn.Module):
    """Maps of three and four channels, which are no image; and readers of the image that PyTorch computes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.second, self.third = nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.third(F.relu(self.second(F.relu(self.first(x))))) + F.avg_pool2d(x, 3, 1, 1) / 99


class Plain(nn.Module):
    """Other activations, a dilated and a grouped convolution, additions of two results, and outputs read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 16, 3, padding=1)
        self.dilated = nn.Conv2d(16, 16, 3, padding=2, dilation=2)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(16, 48, 3, padding=1, groups=16, bias=False)
        self.pointwise = nn.Conv2d(48, 16, 1)

    def forward(self, x):
        x = F.leaky_relu(self.first(x))
        y = self.dilated(x) + self.grouped(x)
        return F.relu(self.pointwise(self.depthwise(x)) + y) - x


CASES = dict(
    joined=(Joined(), 16, dict(Convolution=5, Pool=1, Other=2)),
    gated=(Gated(), 32, dict(Convolution=7, Gate=1, Mean=1, Linear=1, Scaled=1, Other=1)),
    corners=(Gated(True), 32, dict(Convolution=7, Gate=1, Mean=1, Linear=1, Scaled=1, Other=1)),
    attended=(Attended(), 24, dict(Convolution=5, Mean=3, Linear=5, Scaled=2, Other=2)),
    upsampled=(Upsampled(), 24, dict(Convolution=4, Mean=1, Linear=1, Scaled=1, Nearest=2)),
    narrow=(Narrow(), 4, dict(Convolution=3, Other=4)),
    plain=(Plain(), 16, dict(Convolution=4, Other=5)),
)


@pytest.mark.parametrize('name', CASES)
@torch.no_grad()
def test_it_is_nearly_the_network(name, monkeypatch):
    backbone, channels, kinds = CASES[name]
    torch.manual_seed(0)
    network = Network(backbone, channels).eval()
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    images = np.random.RandomState(0).randint(0, 256, (3, *SHAPE, 3), np.uint8)
    network.backbone.first.weight /= 100  # of pixels
    steps = plan(network, SHAPE)
    assert Counter(type(step).__name__ for step in steps.steps) == kinds
    found = Int8Network(steps, ranges.measure(steps, images))
    pixels = F.pad(torch.from_numpy(images), (0, 1), value=CONSTANT).permute(0, 3, 1, 2).float()
    want = network.decode_head(network.backbone(pixels))
    got = found(torch.from_numpy(images))
    assert got.shape == want.shape
    error = (got - want).square().mean((1, 2, 3)).sqrt() / want.std()
    assert error.max() < 0.06
    for i in range(3):  # alone as in a batch, and again
        assert torch.equal(found(torch.from_numpy(images[i : i + 1]))[0], got[i])
    monkeypatch.setattr(memory, 'SMALL', 0)
    shared = Int8Network(plan(network, SHAPE), found.ranges)
    assert torch.equal(shared(torch.from_numpy(images)), got)
    maps = shared._own.run._memory
    assert len(maps._bytes) < sum(length for _, length in maps._places.values())


def test_weights_are_kept_once():
    steps = plan(Network(Joined(), 16), SHAPE)
    images = np.random.RandomState(0).randint(0, 256, (1, *SHAPE, 3), np.uint8)
    found = Int8Network(steps, ranges.measure(steps, images))
    assert not found.plan.constants and all(step.weight.is_meta for step in found.plan.convolutions)
    assert all(fields['weight'].dtype == np.int8 for _, fields in found.packed.values())


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
    measured = ranges.measure(plan(network, SHAPE), images)
    found = Int8Network(plan(network, SHAPE), measured)
    got = found(torch.from_numpy(images))
    assert len(found._own.run._calls) == 2 and len(found._own.run._maps) == 2
    pixels = F.pad(torch.from_numpy(images), (0, 1), value=CONSTANT).permute(0, 3, 1, 2).float()
    want = network.decode_head(network.backbone(pixels))
    assert (got - want).square().mean().sqrt() < 0.1 * want.std()
    monkeypatch.setattr(packing, 'is_pointwise', lambda step: False)
    separate = Int8Network(plan(network, SHAPE), measured)
    assert torch.equal(separate(torch.from_numpy(images)), got)
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
    'config', ['bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024', 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024']
)
@torch.no_grad()
def test_kernels_compute_all_of_both_networks(config):
    """But concatenations, whose parts are written in their places."""
    found = plan(DeployNetwork(get_model(config)), (64, 128))
    others = [step.output for step in found.steps if isinstance(step, Other)]
    assert all(found.joins(node) for node in others)
    assert sum(isinstance(step, Nearest) for step in found.steps) == (2 if 'v1' in config else 0)
