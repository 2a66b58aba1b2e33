"""Kernels of this package in the threads of GCC's OpenMP: those that PyTorch already has, if it is loaded.

A second pool of threads would compete with PyTorch's, which keep spinning after each layer.
"""

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any


def parallel() -> Callable[[int | None, int, int, int], None] | Any:
    """``parallel(function, argument, threads, 0)`` calls a C function in that many threads.

    Returns:
        None if PyTorch has another OpenMP than GCC's; without PyTorch, if there is none.
    """
    return _parallel('torch' in sys.modules)


@functools.cache
def _parallel(with_torch: bool) -> Callable[[int | None, int, int, int], None] | Any:
    if sys.platform != 'linux':
        return None
    try:
        # PyTorch brings its own; a compiler brings the system's.
        library = ctypes.CDLL(None if with_torch else 'libgomp.so.1')
    except OSError:
        return None
    found = getattr(library, 'GOMP_parallel', None)
    if found is not None:
        found.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint
        found.restype = None
    return found
