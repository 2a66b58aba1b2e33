"""Loops that Numba compiles, run in the threads that PyTorch already has."""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import cfunc, int64, types
from numba.extending import intrinsic

from mmseg_bisenet import openmp, upsampling


def compiled(function: Callable[..., None]) -> Any:
    """``void function(int64_t *arguments)`` compiled, for :func:`run`."""
    return upsampling.compiled(cfunc, types.void(types.CPointer(int64)), function)


def run(function: Any, arguments: Sequence[int]) -> None:
    """Call a function of :func:`compiled` in each of PyTorch's threads, with the same memory.

    Args:
        function: takes units of work with :func:`next_unit` until none is left.
        arguments: addresses and sizes; in the memory that the function gets, a counter that is 0 precedes them.
    """
    memory = np.array([0, *arguments], np.int64)
    parallel = openmp.parallel()
    if parallel is None:
        function.ctypes(memory.ctypes.data_as(ctypes.POINTER(ctypes.c_int64)))
    else:
        parallel(function.address, memory.ctypes.data, torch.get_num_threads(), 0)


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
