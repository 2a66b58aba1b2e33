"""What fp32 means on a GPU: no TF32, in references, in exports and in what `load` returns."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from small import shrunk
from torch import Tensor, nn

import mmseg_bisenet
from mmseg_bisenet.benchmark import comparison, methods
from mmseg_bisenet.benchmark.latency import Method
from mmseg_bisenet.cli import main
from mmseg_bisenet.deploy import building, load, verify
from mmseg_bisenet.deploy.backends import FORMATS, RUNTIMES
from mmseg_bisenet.deploy.export import write
from mmseg_bisenet.deploy.precision import switch_tf32_off
from mmseg_bisenet.errors import InputError

NAME = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'
BY_DEFAULT = True, False


def rounds() -> tuple[bool, bool]:
    """Whether convolutions and matrix products round to TF32."""
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.fixture(autouse=True)
def by_default() -> Iterator[None]:
    """PyTorch's own settings, before and after each test."""
    assert rounds() == BY_DEFAULT
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = BY_DEFAULT


@pytest.mark.parametrize(
    ('precision', 'device', 'expected'),
    [('fp32', 'cuda', (False, False)), ('fp16', 'cuda', BY_DEFAULT), ('fp32', 'cpu', BY_DEFAULT)],
)
def test_only_fp32_on_cuda_switches_it_off(precision, device, expected):
    switch_tf32_off(precision, torch.device(device))
    assert rounds() == expected


def test_load_switches_it_before_the_network_is_built(monkeypatch):
    order = []
    monkeypatch.setattr(building, 'switch_tf32_off', lambda *given: order.append(given))
    monkeypatch.setattr(RUNTIMES['eager'], 'build', lambda *_: order.append('built') or engine)
    load(shrunk(mmseg_bisenet.get_model(NAME)), shape=(8, 8))
    assert order == [('fp32', torch.device('cpu')), 'built']


def engine(images: Tensor) -> Tensor:
    return images[..., 0]


class Network(nn.Module):
    align_corners = False

    def __init__(self, seen: list) -> None:
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.ones(())), seen

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(rounds())
        return images[:, ::8, ::8].permute(0, 3, 1, 2).float()


def test_verification_compares_without_it():
    seen = []

    def run(images: np.ndarray) -> np.ndarray:
        seen.append(rounds())
        return np.zeros(images.shape[:3], np.uint8)

    images = [np.zeros((1, 16, 16, 3), np.uint8)]
    verify.compare(run, Network(seen), images, dict(output_kind='labels', precision='fp32'))
    assert seen == [(False, False)] * 2
    assert rounds() == BY_DEFAULT


def test_a_file_is_written_without_it(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(FORMATS['pt2'], 'write', lambda *_: seen.append(rounds()))
    write(FORMATS['pt2'], shrunk(mmseg_bisenet.get_model(NAME)), 'fp32', (64, 64), tmp_path, torch.device('cpu'))
    assert seen == [(False, False)]
    assert rounds() == BY_DEFAULT


def test_the_benchmark_compares_without_it(monkeypatch):
    def compare(*_) -> None:
        seen.append(rounds())
        raise InputError('seen')

    seen = []
    monkeypatch.setattr(comparison, 'compare', compare)
    monkeypatch.setattr(methods, 'prepare', lambda *_: Method('stock', 'fp32', lambda _: seen.append(rounds()), list))
    assert main(['benchmark', NAME, '--shape', '64', '64', '--vs', 'none', '--runtime', 'eager']) == 2
    methods.prepare_work(None, 'stock', 'fp32')()  # in a process of its own, which counts its memory
    assert seen == [(False, False)] * 2
    assert rounds() == BY_DEFAULT
