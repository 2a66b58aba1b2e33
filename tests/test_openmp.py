"""Whose OpenMP runs kernels: PyTorch's, wherever it is, and the system's without PyTorch."""

import ctypes
import sys
from types import SimpleNamespace

import pytest
import torch

from mmseg_bisenet import openmp

pytestmark = pytest.mark.skipif(openmp.parallel() is None, reason="PyTorch has another OpenMP than GCC's")
CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def calls(parallel) -> int:
    """How often a function is called that is given to two threads."""
    found = []
    function = CALLBACK(found.append)
    parallel(ctypes.cast(function, ctypes.c_void_p).value, None, 2, 0)
    return len(found)


def test_pytorchs():
    assert torch.get_num_threads() and openmp.parallel() is openmp._parallel(True)
    assert calls(openmp.parallel()) == 2


def test_one_that_only_pytorch_sees(monkeypatch):
    """As with its wheels for AArch64: the process as a whole has no such function."""
    load = ctypes.CDLL
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: SimpleNamespace() if name is None else load(name))
    assert calls(openmp._parallel.__wrapped__(True)) == 2
    monkeypatch.setattr(openmp, '_pytorchs', lambda: [None])
    assert openmp._parallel.__wrapped__(True) is None


def test_the_systems_without_pytorch(monkeypatch):
    found = openmp._parallel.__wrapped__(False)
    assert found is None or calls(found) == 2
    monkeypatch.setattr(openmp, 'SYSTEM', 'libmissing.so.1')
    assert openmp._parallel.__wrapped__(False) is None
    monkeypatch.setattr(sys, 'platform', 'win32')
    assert openmp._parallel.__wrapped__(True) is None
