"""Loops that Numba compiles, for threads that take units of work until none is left."""

import ctypes
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import cfunc, int64, types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from mmseg_bisenet import openmp

SIGNATURE = types.void(types.CPointer(int64))


def compiled(function: Callable[..., None], *variant: Any, fused: bool = False) -> Any:
    """``void function(int64_t *arguments)`` compiled, and cached on disk if possible, for :func:`run`.

    Args:
        variant: what the function depends on beside this file and those of its own folder.
        fused: allow fused multiply-adds. Nothing else of Numba's ``fastmath`` keeps NaN and ties as they are.
    """
    options: Any = dict(fastmath={'contract'}) if fused else {}
    try:
        result: Any = CFunc(function, (SIGNATURE.args, SIGNATURE.return_type), locals={}, options=options)
        result._cache = _Cache(function, variant)
        result.compile()
        return result
    except Exception:  # no folder for the cache can be written, its content is broken, or another Numba
        return cfunc(SIGNATURE, **options)(function)


class _Cache(FunctionCache):
    """Numba's cache on disk, with another key: in Numba's own, each process has new numbers for the intrinsics."""

    def __init__(self, function: Callable[..., None], variant: tuple) -> None:
        super().__init__(function)
        self.variant = variant
        self.folder = Path(function.__code__.co_filename).parent
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp())

    def _index_key(self, signature: Any, codegen: Any) -> tuple:
        return signature, codegen.magic_tuple(), sources(self.folder), self.variant


class _Files(IndexDataCacheFile):
    """Numba's files, each with its key: two processes that compile at once may give two keys the same file."""

    def save(self, key: tuple, data: Any) -> None:
        super().save(key, (key, data))

    def load(self, key: tuple) -> Any:
        found = super().load(key)
        return found[1] if found and found[0] == key else None


@functools.cache
def sources(folder: Path) -> str:
    """A checksum of this file and those of a folder."""
    files = sorted({Path(__file__), *folder.glob('*.py')})
    return hashlib.sha256(b''.join(file.read_bytes() for file in files)).hexdigest()


def memory(arguments: Sequence[int]) -> np.ndarray:
    """What a function of :func:`compiled` gets: a counter that is 0, and then addresses and sizes."""
    return np.array([0, *arguments], np.int64)


def call(function: Any, memory: np.ndarray, *kept: Any) -> None:
    """Call a function of :func:`compiled` in this thread; ``kept`` are what the addresses are of."""
    function.ctypes(memory.ctypes.data_as(ctypes.POINTER(ctypes.c_int64)))


def run(function: Any, memory: np.ndarray, threads: int) -> None:
    """Call a function of :func:`compiled` in that many of OpenMP's threads, or else in this one, with the same memory.

    The function takes units of work with :func:`next_unit` until none is left.
    """
    parallel = openmp.parallel()
    if parallel is None:
        call(function, memory)
    else:
        parallel(function.address, memory.ctypes.data, threads, 0)


# -- for these functions -----------------------------------------------------------------------------------------------


@intrinsic
def next_unit(context, arguments):
    """Add 1 to the counter that all threads share, and return what it was."""

    def emit(context, builder, signature, args):
        return builder.atomic_rmw('add', args[0], ir.Constant(ir.IntType(64), 1), 'monotonic')

    return types.int64(types.CPointer(int64)), emit


@intrinsic
def pointer(context, address):
    """An address as ``carray`` takes it."""

    def emit(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), emit


@intrinsic
def select(context, condition, value, other):
    """``value if condition else other``, of two values of one type, without a branch.

    LLVM turns a branch around a store into a store with a mask, which takes an AMD CPU with AVX2 tens of cycles (none
    with AVX-512). To be safe from it, a loop also has to store elsewhere than where ``other`` was read.
    """

    def emit(context, builder, signature, args):
        return builder.select(*args)

    return value(condition, value, value), emit
