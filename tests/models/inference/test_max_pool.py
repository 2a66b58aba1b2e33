"""The pool in prediction against PyTorch's, to the last bit."""

import pytest
import torch
from torch import nn

from mmseg_bisenet.models.inference import max_pool as module
from mmseg_bisenet.models.inference.max_pool import max_pool


@pytest.mark.parametrize('size', [(1, 1), (1, 8), (2, 2), (7, 9), (8, 5), (33, 64)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_equals_pytorch(size, dtype, monkeypatch):
    pool = nn.MaxPool2d(3, stride=2, padding=1).eval()
    x = torch.randn(2, 3, *size, dtype=dtype)
    x[0, 0, 0, 0], x[-1, -1, -1, -1] = -float('inf'), float('nan')
    calls, halve = [], module._halve
    monkeypatch.setattr(module, '_halve', lambda *args: calls.append(args[1]) or halve(*args))
    before = x.clone()
    assert torch.equal(max_pool(pool, x).nan_to_num(7), pool(x).nan_to_num(7))
    assert calls == [2, 3] and torch.equal(x.nan_to_num(7), before.nan_to_num(7))


@pytest.mark.parametrize('options', [dict(kernel_size=2), dict(kernel_size=3), dict(kernel_size=3, stride=2)])
@torch.no_grad()
def test_other_pools_are_pytorchs(options):
    pool, x = nn.MaxPool2d(**options).eval(), torch.randn(1, 2, 9, 12)
    assert torch.equal(max_pool(pool, x), pool(x))


def test_training_is_pytorchs():
    pool, x = nn.MaxPool2d(3, stride=2, padding=1), torch.randn(1, 2, 9, 12, requires_grad=True)
    max_pool(pool, x).sum().backward()
    gradient, x.grad = x.grad, None
    pool(x).sum().backward()
    assert torch.equal(x.grad, gradient)
