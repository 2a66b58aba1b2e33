"""Loops that Numba compiles, for threads that take units of work until none is left."""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import cfunc, int64, types
from numba.extending import intrinsic

from mmseg_bisenet import openmp

SIGNATURE = types.void(types.CPointer(int64))


def compiled(function: Callable[..., None], *variant: Any, fused: bool = False) -> Any:
    """``void function(int64_t *arguments)`` compiled, and cached on disk if possible, for :func:`run`.

    Args:
        variant: what the function depends on beside this file and those of its own folder.
        fused: allow fused multiply-adds, the only flag of Numba's ``fastmath`` that keeps NaN and ties.
    """
    options: Any = dict(fastmath={'contract'}) if fused else {}
    try:
        from mmseg_bisenet.kernel_cache import cached

        return cached(function, SIGNATURE, options, variant)
    except Exception:  # no folder for the cache can be written, its content is broken, or another Numba
        return cfunc(SIGNATURE, **options)(function)


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
