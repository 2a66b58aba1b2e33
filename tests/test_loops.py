"""Kernels are compiled once for all processes, and anew when they change."""

import pytest
import torch
from torch import nn

from mmseg_bisenet.deploy.winograd import layer

pytest.importorskip('numba')

import numba
from numba.core.registry import cpu_target

from mmseg_bisenet import kernel_cache, loops, upsampling_numba
from mmseg_bisenet.models.losses import pixel_cross_entropy_numba

winograd = pytest.mark.skipif(layer._parallel() is None, reason='PyTorch runs without libgomp')


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty one."""
    monkeypatch.setattr(numba.config, 'CACHE_DIR', str(tmp_path))
    return tmp_path


@pytest.fixture
def kernel():
    """Of depthwise convolutions; compiled as in a process that has not asked for it yet."""
    from mmseg_bisenet.deploy.winograd import depthwise_kernel

    return depthwise_kernel.kernel.__wrapped__


@winograd
def test_the_second_process_finds_it_compiled(monkeypatch, cache, kernel):
    from mmseg_bisenet.deploy.winograd import depthwise, depthwise_kernel

    conv, x, outputs = nn.Conv2d(16, 32, 3, padding=1, groups=16), torch.randn(1, 16, 5, 6), []
    for hits in (0, 1):
        made = kernel(False, 2)
        assert made.cache_hits == hits
        monkeypatch.setattr(depthwise_kernel, 'kernel', lambda *_, made=made: made)
        outputs.append(depthwise.DepthwiseConv2d(conv)(x))
    assert torch.equal(*outputs)
    torch.testing.assert_close(outputs[0], conv(x))


LOOPS = [upsampling_numba.label_rows, pixel_cross_entropy_numba._losses, pixel_cross_entropy_numba._gradients]


@pytest.mark.parametrize('function', LOOPS)
def test_so_it_does_those_of_labels_and_of_the_loss(cache, function):
    assert [loops.compiled(function, fused=True).cache_hits for _ in range(2)] == [0, 1]


def test_other_options_are_compiled_anew(cache):
    assert [loops.compiled(LOOPS[0], fused=fused).cache_hits for fused in (False, True)] == [0, 0]


@winograd
def test_what_another_process_wrote_in_its_place_is_not_taken(cache, kernel):
    """Two processes that compile at the same time may both choose the next number for their file."""
    kernel(False, 2), kernel(False, 6)
    one, other = cache.rglob('*.nbc')
    other.write_bytes(one.read_bytes())
    assert sorted(kernel(False, size).cache_hits for size in (2, 6)) == [0, 1]
    assert [kernel(False, size).cache_hits for size in (2, 6)] == [1, 1]


@winograd
def test_other_variants_and_files_are_compiled_anew(monkeypatch, kernel):
    function, codegen = kernel(False, 2).__wrapped__, cpu_target.target_context.codegen()

    def key(*variant: int) -> tuple:
        return kernel_cache._Cache(function, variant)._index_key(loops.SIGNATURE, codegen)

    keys = {key(False, 2), key(True, 2), key(True, 6), key(False, 2)}
    assert len(keys) == 3
    monkeypatch.setattr(kernel_cache, 'sources', lambda folder: 'a checksum of other files')
    assert key(False, 2) not in keys


def test_without_a_folder_for_the_cache_it_is_compiled(monkeypatch):
    def no_folder(*_: object) -> None:
        raise RuntimeError('cannot cache function: no locator available')

    monkeypatch.setattr(kernel_cache, '_Cache', no_folder)
    assert loops.compiled(LOOPS[0]).cache_hits == 0
