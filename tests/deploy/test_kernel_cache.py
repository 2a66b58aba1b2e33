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

from mmseg_bisenet.deploy.winograd import compiled, depthwise_kernel
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


def test_other_variants_and_files_are_compiled_anew(monkeypatch):
    function, codegen = kernel(False, 2).__wrapped__, cpu_target.target_context.codegen()

    def key(*variant: int) -> tuple:
        return compiled._Cache(function, variant)._index_key(compiled.SIGNATURE, codegen)

    keys = {key(False, 2), key(True, 2), key(True, 6), key(False, 2)}
    assert len(keys) == 3
    monkeypatch.setattr(compiled, 'sources', lambda: 'a checksum of other files')
    assert key(False, 2) not in keys


def test_without_a_folder_for_the_cache_it_is_compiled(monkeypatch):
    def no_folder(*_: object) -> None:
        raise RuntimeError('cannot cache function: no locator available')

    monkeypatch.setattr(compiled, '_Cache', no_folder)
    assert kernel(False, 2).cache_hits == 0
