"""Kernels of this package in the threads that PyTorch already has.

A second pool of threads would compete with PyTorch's, which keep spinning after each layer.
"""

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any


@functools.cache
def parallel() -> Callable[[int | None, int, int, int], None] | Any:
    """``parallel(function, argument, threads, 0)`` calls a C function in that many threads of PyTorch's own OpenMP.

    Returns:
        None if PyTorch has another OpenMP than GCC's.
    """
    import torch  # noqa: F401  loads its OpenMP

    found = getattr(ctypes.CDLL(None), 'GOMP_parallel', None) if sys.platform == 'linux' else None
    if found is not None:
        found.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint
        found.restype = None
    return found
