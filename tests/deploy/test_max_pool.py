"""Max pools that stay PyTorch's in compiled graphs."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmseg_bisenet.deploy.max_pool import KeptMaxPool2d, keep_max_pools, max_pool2d
from mmseg_bisenet.models.inference import tiling


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('kind', [torch.channels_last, torch.contiguous_format], ids=str)
@torch.no_grad()
def test_the_pool_stays_one_operator(dtype, kind):
    network = tiling.enable(nn.Sequential(nn.Conv2d(4, 16, 3), nn.MaxPool2d(3, 2, 1))).eval().to(dtype)
    x = torch.randn(2, 4, 19, 30, dtype=dtype).contiguous(memory_format=kind)
    want, targets = network(x), []
    keep_max_pools(network)
    assert type(network[1]) is KeptMaxPool2d
    compiled = torch.compile(network, backend=lambda g, _: targets.extend(n.target for n in g.graph.nodes) or g)
    assert torch.equal(compiled(x), want) and torch.equal(network(x), want)
    assert 'mmseg_bisenet.max_pool2d.default' in map(str, targets)


@pytest.mark.parametrize(
    'options', [dict(), dict(padding=1), dict(stride=(2, 1), ceil_mode=True), dict(dilation=2)], ids=str
)
def test_the_pool_is_that_of_pytorch(options):
    plain, x = nn.MaxPool2d(3, **options), torch.randn(1, 3, 12, 15)
    x[0, 0, 3, 3] = float('nan')
    want = plain(x)
    keep_max_pools(plain)
    assert torch.equal(plain(x).nan_to_num(7), want.nan_to_num(7))


def test_the_operator_has_a_right_fake():
    torch.library.opcheck(max_pool2d, (torch.randn(1, 8, 9, 7), [3, 3], [2, 2], [1, 1], [1, 1], False))


def test_a_pool_that_gives_indices_stays():
    pool = nn.MaxPool2d(2, return_indices=True)
    keep_max_pools(nn.Sequential(pool))
    assert type(pool) is nn.MaxPool2d and torch.equal(pool(torch.eye(4)[None])[0], F.max_pool2d(torch.eye(4)[None], 2))
