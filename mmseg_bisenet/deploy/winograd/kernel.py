"""The inner loops of :mod:`mmseg_bisenet.deploy.winograd.layer`, written as LLVM's vector instructions through Numba.

No compiler vectorises a 6x6 transform over channels or keeps a block of a matrix product in registers by itself. Each
of the intrinsics below emits straight-line vector code; Numba compiles the loops around them. What they read and
write is given as addresses and distances in bytes.
"""

import functools
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, types
from numba.extending import intrinsic, register_jitable

from mmseg_bisenet.deploy.winograd.vectors import (
    FLOAT,
    HALVES,
    INT,
    LANES,
    VECTOR,
    broadcast,
    constant,
    dot,
    fma,
    from_bfloat16,
    has_bfloat16,
    pointer,
    round_to_bfloat16,
    to_bfloat16,
)

ROWS = 6  # tiles whose products are summed at the same time,
COLUMNS = (4 if LANES == 16 else 2) * LANES  # for as many output channels as fill the registers

TILE = 4  # outputs a tile, in each direction
PATCH = TILE + 2  # inputs a tile
POINTS = np.array([0, 3 / 4, -3 / 4, 3 / 2, -3 / 2])
_OTHERS = [np.delete(POINTS, i) for i in range(len(POINTS))]
_INFINITY = [0.0, 0.0, 0.0, 1.0]
# The transforms of patches, filters and products, with a point (or infinity) a row, a row and a column.
INPUT = np.array([[*np.poly(others)[::-1], 0] for others in _OTHERS] + [np.poly(POINTS)[::-1]])
FILTER = np.array([p ** np.arange(3) / np.prod(p - o) for p, o in zip(POINTS, _OTHERS, strict=True)] + [_INFINITY[1:]])
OUTPUT = np.array([p ** np.arange(TILE) for p in POINTS] + [_INFINITY]).T


def _matrix_times(builder: ir.IRBuilder, matrix: np.ndarray, vectors: Sequence[ir.Value]) -> list[ir.Value]:
    """``matrix @ vectors``, without the products by 0, 1 and -1."""
    results = []
    for row in matrix:
        (factor, total), *rest = sorted(
            ((c, v) for c, v in zip(row, vectors, strict=True) if c), key=lambda term: term[0] != 1
        )
        if factor != 1:
            total = builder.fmul(total, constant(factor))
        for factor, vector in rest:
            if abs(factor) == 1:
                total = (builder.fadd if factor == 1 else builder.fsub)(total, vector)
            else:
                total = fma(builder, vector, constant(factor), total)
        results.append(total)
    return results


def _transform(builder: ir.IRBuilder, matrix: np.ndarray, grid: list[list[ir.Value]]) -> list[list[ir.Value]]:
    """``matrix @ grid @ matrix.T`` of a square of vectors, a list of rows."""
    columns = [_matrix_times(builder, matrix, column) for column in zip(*grid, strict=True)]
    return [_matrix_times(builder, matrix, row) for row in zip(*columns, strict=True)]


def _square(builder: ir.IRBuilder, size: int, args: Sequence[ir.Value]) -> list[list[ir.Value]]:
    """The addresses of ``size`` x ``size`` pixels, and ``outside`` for each that is not in the image.

    args: the first pixel's address and position, the distances of rows and columns, the image's size, ``outside``.
    """
    base, y, x, row, column, height, width, outside = args

    def places(position: ir.Value, end: ir.Value) -> list[tuple[ir.Value, ir.Value]]:
        steps = [ir.Constant(INT, i) for i in range(size)]
        return [(step, builder.icmp_unsigned('<', builder.add(position, step), end)) for step in steps]

    return [
        [
            builder.select(
                builder.and_(row_in, column_in),
                builder.add(base, builder.add(builder.mul(i, row), builder.mul(j, column))),
                outside,
            )
            for j, column_in in places(x, width)
        ]
        for i, row_in in places(y, height)
    ]


@register_jitable
def steps(block: int, channels: int, size: int) -> tuple[int, int]:
    """Bytes from one point's matrix of patches to the next one's, and the same of products.

    A vector more than they need: multiples of 4096 bytes would fall into the same few lines of the first cache.
    """
    return block * channels * size + LANES * 4, (block * COLUMNS + LANES) * 4


def scratch_bytes(block: int, channels: int, size: int) -> int:
    """What a thread needs for blocks of that many tiles: patches, products, and a place for pixels off the image."""
    return PATCH * PATCH * sum(steps(block, channels, size)) + COLUMNS * 4


@intrinsic
def _fetch_and_add(context, address, amount):
    """Add to a counter that all threads share, and return what it was."""

    def emit(context, builder, signature, args):
        return builder.atomic_rmw('add', builder.inttoptr(args[0], INT.as_pointer()), args[1], 'monotonic')

    return types.int64(types.int64, types.int64), emit


@functools.cache
def _multiplication(factor_size: int) -> Any:
    """Of matrices of float32, or of pairs of bfloat16, summed in float32."""
    element = FLOAT if factor_size == 4 else ir.IntType(32)
    vector = ir.VectorType(element, LANES)
    product = {4: fma, 2: dot}[factor_size]

    @intrinsic
    def multiply(context, patches, row, weight, products, depth):
        """(ROWS, depth) matrix with ``row`` bytes a row, times (depth, COLUMNS) -> (ROWS, COLUMNS), all dense."""

        def emit(context, builder, signature, args):
            patches, row, weight, products, depth = args
            width = COLUMNS // LANES
            rows = [patches]
            for _ in range(ROWS - 1):
                rows.append(builder.add(rows[-1], row))

            entry, loop = builder.block, builder.append_basic_block('multiply')
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(INT)
            sums = [[builder.phi(VECTOR) for _ in range(width)] for _ in range(ROWS)]
            at = builder.add(weight, builder.mul(k, ir.Constant(INT, COLUMNS * 4)))
            factors = [builder.load(pointer(builder, at, j * LANES * 4, to=vector), align=4) for j in range(width)]
            offset = builder.mul(k, ir.Constant(INT, 4))
            new = []
            for address, line in zip(rows, sums, strict=True):
                value = builder.load(pointer(builder, builder.add(address, offset), to=element), align=4)
                value = broadcast(builder, value)
                new.append(
                    [product(builder, value, factor, before) for factor, before in zip(factors, line, strict=True)]
                )
            after = builder.add(k, ir.Constant(INT, 1))
            k.add_incoming(ir.Constant(INT, 0), entry)
            k.add_incoming(after, loop)
            for line, values in zip(sums, new, strict=True):
                for phi, value in zip(line, values, strict=True):
                    phi.add_incoming(constant(0), entry)
                    phi.add_incoming(value, loop)
            done = builder.append_basic_block('multiplied')
            builder.cbranch(builder.icmp_signed('<', after, depth), loop, done)
            builder.position_at_end(done)
            for i, value in enumerate(chain.from_iterable(new)):
                builder.store(value, pointer(builder, products, i * LANES * 4), align=4)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 5), emit

    return multiply


@functools.cache
def kernel(bfloat16: bool, factor_size: int) -> Any:
    """``void kernel(int64_t *arguments)``, whose ``address`` it has, for images of that type.

    factor_size: 4 bytes for products of float32; 2 for those of bfloat16, on a CPU that has AVX-512-BF16.

    Each thread that runs it takes blocks of tiles until none is left. Its first lines name the arguments.
    """
    stored = HALVES if bfloat16 else VECTOR
    size = 2 if bfloat16 else 4  # bytes a value of an image
    rounded = round_to_bfloat16 if factor_size == 2 and has_bfloat16() else to_bfloat16
    multiply = _multiplication(factor_size)
    i64 = types.int64

    @intrinsic
    def transform_input(context, image, y, x, row, column, height, width, outside, to, step):
        """LANES channels of a patch -> the same of 36 matrices, ``step`` apart."""

        def emit(context, builder, signature, args):
            def load(address):
                value = builder.load(pointer(builder, address, to=stored), align=2)
                return from_bfloat16(builder, value) if bfloat16 else value

            grid = [[load(address) for address in line] for line in _square(builder, PATCH, args[:8])]
            to, step = args[8:]
            for value in chain.from_iterable(_transform(builder, INPUT, grid)):
                if factor_size == 2:
                    value = rounded(builder, value)
                builder.store(value, pointer(builder, to, to=value.type), align=1)
                to = builder.add(to, step)
            return context.get_dummy_value()

        return types.void(*[i64] * 10), emit

    @intrinsic
    def transform_output(context, image, y, x, row, column, height, width, outside, products, step, bias, relu):
        """LANES channels of 36 matrices, ``step`` apart -> the same of a tile, with bias and ReLU."""

        def emit(context, builder, signature, args):
            products, step, bias, relu = args[8:]
            values = []
            for _ in range(PATCH * PATCH):
                values.append(builder.load(pointer(builder, products), align=4))
                products = builder.add(products, step)
            grid = [values[i : i + PATCH] for i in range(0, PATCH * PATCH, PATCH)]
            bias = builder.load(pointer(builder, bias), align=4)
            least = builder.select(builder.trunc(relu, ir.IntType(1)), constant(0), constant(-np.inf))
            addresses = _square(builder, TILE, args[:8])
            for line, targets in zip(_transform(builder, OUTPUT, grid), addresses, strict=True):
                for value, target in zip(line, targets, strict=True):
                    value = builder.fadd(value, bias)
                    value = builder.select(builder.fcmp_ordered('<', value, least), least, value)
                    value = rounded(builder, value) if bfloat16 else value
                    builder.store(value, pointer(builder, target, to=stored), align=2)
            return context.get_dummy_value()

        return types.void(*[i64] * 12), emit

    @cfunc(types.void(types.CPointer(i64)))
    def run(pointer):
        arguments = carray(pointer, 16)
        image, weight, bias, out = arguments[2], arguments[3], arguments[4], arguments[5]
        zeros, scratch, scratch_bytes = arguments[6], arguments[7], arguments[8]
        height, width, inputs, outputs = arguments[9], arguments[10], arguments[11], arguments[12]
        tiles, block, relu = arguments[13], arguments[14], arguments[15]

        depth = inputs * factor_size // 4  # of the matrices; a value, or a pair of them, has four bytes
        down, across = (height + TILE - 1) // TILE, (width + TILE - 1) // TILE
        patch_step, product_step = steps(block, inputs, factor_size)
        patches = scratch + _fetch_and_add(arguments.ctypes.data, 1) * scratch_bytes
        products = patches + PATCH * PATCH * patch_step
        dump = products + PATCH * PATCH * product_step
        while True:
            first = _fetch_and_add(arguments.ctypes.data + 8, block)
            if first >= tiles:
                break
            count = min(block, tiles - first)
            for t in range(count):
                y, x = (first + t) // across % down * TILE, (first + t) % across * TILE
                n = (first + t) // (across * down)
                place = image + (((n * height + y - 1) * width) + x - 1) * inputs * size
                to = patches + t * inputs * factor_size
                for c in range(0, inputs, LANES):
                    at, pixel, row = place + c * size, inputs * size, width * inputs * size
                    transform_input(
                        at, y - 1, x - 1, row, pixel, height, width, zeros, to + c * factor_size, patch_step
                    )
            for panel in range(outputs // COLUMNS):
                for point in range(PATCH * PATCH):
                    column = panel * PATCH * PATCH + point
                    for t in range(0, count, ROWS):
                        a = patches + point * patch_step + t * depth * 4
                        b = weight + column * depth * COLUMNS * 4
                        multiply(a, depth * 4, b, products + point * product_step + t * COLUMNS * 4, depth)
                for t in range(count):
                    y, x = (first + t) // across % down * TILE, (first + t) % across * TILE
                    n = (first + t) // (across * down)
                    for c in range(0, COLUMNS, LANES):
                        k = panel * COLUMNS + c
                        pixel, row = outputs * size, width * outputs * size
                        at = out + (((n * height + y) * width + x) * outputs + k) * size
                        source = products + (t * COLUMNS + c) * 4
                        transform_output(
                            at, y, x, row, pixel, height, width, dump, source, product_step, bias + k * 4, relu
                        )

    return run
