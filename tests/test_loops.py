"""Kernels are compiled once for all processes, and anew when they change."""

import pytest
import torch
from torch import nn

from mmseg_bisenet.deploy.winograd import layer

pytest.importorskip('numba')
if layer._parallel() is None:
    pytest.skip('PyTorch runs without libgomp', allow_module_level=True)

import numba
from numba.core.registry import cpu_target

from mmseg_bisenet import loops, upsampling
from mmseg_bisenet.deploy.winograd import depthwise_kernel
from mmseg_bisenet.deploy.winograd.depthwise import DepthwiseConv2d

kernel = depthwise_kernel.kernel.__wrapped__  # as in a process that has not asked for it yet


def test_the_second_process_finds_it_compiled(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, 'CACHE_DIR', str(tmp_path))
    conv, x, outputs = nn.Conv2d(16, 32, 3, padding=1, groups=16), torch.randn(1, 16, 5, 6), []
    for hits in (0, 1):
        made = kernel(False, 2)
        assert made.cache_hits == hits
        monkeypatch.setattr(depthwise_kernel, 'kernel', lambda *_, made=made: made)
        outputs.append(DepthwiseConv2d(conv)(x))
    assert torch.equal(*outputs)
    torch.testing.assert_close(outputs[0], conv(x))


def test_the_labels_are_found_compiled(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, 'CACHE_DIR', str(tmp_path))
    assert [upsampling._kernel.__wrapped__().cache_hits for _ in range(2)] == [0, 1]


def test_what_another_process_wrote_in_its_place_is_not_taken(monkeypatch, tmp_path):
    """Two processes that compile at the same time may both choose the next number for their file."""
    monkeypatch.setattr(numba.config, 'CACHE_DIR', str(tmp_path))
    kernel(False, 2), kernel(False, 6)
    (one, other) = tmp_path.rglob('*.nbc')
    other.write_bytes(one.read_bytes())
    assert sorted(kernel(False, size).cache_hits for size in (2, 6)) == [0, 1]
    assert [kernel(False, size).cache_hits for size in (2, 6)] == [1, 1]


def test_other_variants_and_files_are_compiled_anew(monkeypatch):
    function, codegen = kernel(False, 2).__wrapped__, cpu_target.target_context.codegen()

    def key(*variant: int) -> tuple:
        return loops._Cache(function, variant)._index_key(loops.SIGNATURE, codegen)

    keys = {key(False, 2), key(True, 2), key(True, 6), key(False, 2)}
    assert len(keys) == 3
    monkeypatch.setattr(loops, 'sources', lambda folder: 'a checksum of other files')
    assert key(False, 2) not in keys


def test_without_a_folder_for_the_cache_it_is_compiled(monkeypatch):
    def no_folder(*_: object) -> None:
        raise RuntimeError('cannot cache function: no locator available')

    monkeypatch.setattr(loops, '_Cache', no_folder)
    assert kernel(False, 2).cache_hits == 0
