"""Kernels of this package in the threads of GCC's OpenMP: those that PyTorch already has, if it is loaded.

A second pool of threads would compete with PyTorch's, which keep spinning after each layer.
"""

import ctypes
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SYSTEM = 'libgomp.so.1'  # which a compiler brings


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
    found = next(filter(None, map(_function, _pytorchs() if with_torch else [SYSTEM])), None)
    if found is not None:
        found.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint
        found.restype = None
    return found


def _pytorchs() -> list[str | None]:
    """Where PyTorch's OpenMP may be: in the whole process, or in a library that only PyTorch sees, as on AArch64."""
    mapped = {line.split()[-1] for line in Path('/proc/self/maps').read_text().splitlines()}
    return [None, *sorted(path for path in mapped if 'torch' in path and Path(path).name.startswith('libgomp'))]


def _function(library: str | None) -> Any:
    try:
        return getattr(ctypes.CDLL(library), 'GOMP_parallel', None)
    except OSError:
        return None
