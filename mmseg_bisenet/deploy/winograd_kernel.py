"""The inner loops of :mod:`mmseg_bisenet.deploy.winograd`, written as LLVM's vector instructions through Numba.

No compiler vectorises a 6x6 transform over channels or keeps a block of a matrix product in registers by itself. Each
of the three intrinsics below emits straight-line vector code; Numba compiles the loops around them. What they read and
write is given as addresses and distances in bytes.
"""

import functools
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import carray, cfunc, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

LANES = 16 if get_host_cpu_features().get('avx512f') else 8  # float32 values a vector register
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

_FLOAT, _INT = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [float(value)] * LANES)


def _pointer(builder: ir.IRBuilder, address: ir.Value, offset: int = 0, to: ir.Type = _VECTOR) -> ir.Value:
    return builder.inttoptr(builder.add(address, ir.Constant(_INT, offset)), to.as_pointer())


def _broadcast(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    indices = ir.VectorType(ir.IntType(32), LANES)
    vector = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(vector, vector, ir.Constant(indices, [0] * LANES))


def _fma(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    signature = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, f'llvm.fma.v{LANES}f32'), [a, b, c])


def _matrix_times(builder: ir.IRBuilder, matrix: np.ndarray, vectors: Sequence[ir.Value]) -> list[ir.Value]:
    """``matrix @ vectors``, without the products by 0, 1 and -1."""
    results = []
    for row in matrix:
        (factor, total), *rest = sorted(
            ((c, v) for c, v in zip(row, vectors, strict=True) if c), key=lambda term: term[0] != 1
        )
        if factor != 1:
            total = builder.fmul(total, _constant(factor))
        for factor, vector in rest:
            if abs(factor) == 1:
                total = (builder.fadd if factor == 1 else builder.fsub)(total, vector)
            else:
                total = _fma(builder, vector, _constant(factor), total)
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
        steps = [ir.Constant(_INT, i) for i in range(size)]
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


_BITS = ir.VectorType(ir.IntType(32), LANES)
_HALVES = ir.VectorType(ir.IntType(16), LANES)  # bfloat16, which llvmlite lacks, is the upper half of a float32


def _from_bfloat16(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    sixteen = ir.Constant(_BITS, [16] * LANES)
    return builder.bitcast(builder.shl(builder.zext(value, _BITS), sixteen), _VECTOR)


def _to_bfloat16(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Rounded to the nearest, of two to the even one."""
    sixteen, one, below, nan = (ir.Constant(_BITS, [n] * LANES) for n in (16, 1, 0x7FFF, 0x7FC0))
    bits = builder.bitcast(value, _BITS)
    odd = builder.and_(builder.lshr(bits, sixteen), one)
    rounded = builder.lshr(builder.add(bits, builder.add(odd, below)), sixteen)
    return builder.trunc(builder.select(builder.fcmp_unordered('uno', value, value), nan, rounded), _HALVES)


@register_jitable
def steps(block: int, channels: int) -> tuple[int, int]:
    """Bytes from one point's matrix of patches to the next one's, and the same of products.

    A vector more than they need: multiples of 4096 bytes would fall into the same few lines of the first cache.
    """
    return (block * channels + LANES) * 4, (block * COLUMNS + LANES) * 4


def scratch_bytes(block: int, channels: int) -> int:
    """What a thread needs for blocks of that many tiles: patches, products, and a place for pixels off the image."""
    return PATCH * PATCH * sum(steps(block, channels)) + COLUMNS * 4


@intrinsic
def _fetch_and_add(context, address, amount):
    """Add to a counter that all threads share, and return what it was."""

    def emit(context, builder, signature, args):
        return builder.atomic_rmw('add', builder.inttoptr(args[0], _INT.as_pointer()), args[1], 'monotonic')

    return types.int64(types.int64, types.int64), emit


@intrinsic
def _multiply(context, patches, row, weight, products, depth):
    """(ROWS, depth) matrix with ``row`` bytes a row, times (depth, COLUMNS) -> (ROWS, COLUMNS), both dense."""

    def emit(context, builder, signature, args):
        patches, row, weight, products, depth = args
        width = COLUMNS // LANES
        rows = [patches]
        for _ in range(ROWS - 1):
            rows.append(builder.add(rows[-1], row))

        before, loop = builder.block, builder.append_basic_block('multiply')
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(_INT)
        sums = [[builder.phi(_VECTOR) for _ in range(width)] for _ in range(ROWS)]
        at = builder.add(weight, builder.mul(k, ir.Constant(_INT, COLUMNS * 4)))
        factors = [builder.load(_pointer(builder, at, j * LANES * 4), align=4) for j in range(width)]
        offset = builder.mul(k, ir.Constant(_INT, 4))
        new = []
        for address, line in zip(rows, sums, strict=True):
            value = builder.load(_pointer(builder, builder.add(address, offset), to=_FLOAT), align=4)
            value = _broadcast(builder, value)
            new.append([_fma(builder, value, factor, total) for factor, total in zip(factors, line, strict=True)])
        after = builder.add(k, ir.Constant(_INT, 1))
        k.add_incoming(ir.Constant(_INT, 0), before)
        k.add_incoming(after, loop)
        for total, value in zip(chain.from_iterable(sums), chain.from_iterable(new), strict=True):
            total.add_incoming(_constant(0), before)
            total.add_incoming(value, loop)
        done = builder.append_basic_block('multiplied')
        builder.cbranch(builder.icmp_signed('<', after, depth), loop, done)
        builder.position_at_end(done)
        for i, value in enumerate(chain.from_iterable(new)):
            builder.store(value, _pointer(builder, products, i * LANES * 4), align=4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), emit


@functools.cache
def kernel(bfloat16: bool) -> Any:
    """``void kernel(int64_t *arguments)``, whose ``address`` it has, for images of that type.

    Each thread that runs it takes blocks of tiles until none is left. Its first lines name the arguments.
    """
    stored = _HALVES if bfloat16 else _VECTOR
    size = 2 if bfloat16 else 4  # bytes a value of an image
    i64 = types.int64

    @intrinsic
    def transform_input(context, image, y, x, row, column, height, width, outside, to, step):
        """LANES channels of a patch -> the same of 36 matrices, ``step`` apart."""

        def emit(context, builder, signature, args):
            def load(address):
                value = builder.load(_pointer(builder, address, to=stored), align=2)
                return _from_bfloat16(builder, value) if bfloat16 else value

            grid = [[load(address) for address in line] for line in _square(builder, PATCH, args[:8])]
            to, step = args[8:]
            for value in chain.from_iterable(_transform(builder, INPUT, grid)):
                builder.store(value, _pointer(builder, to), align=4)
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
                values.append(builder.load(_pointer(builder, products), align=4))
                products = builder.add(products, step)
            grid = [values[i : i + PATCH] for i in range(0, PATCH * PATCH, PATCH)]
            bias = builder.load(_pointer(builder, bias), align=4)
            floor = builder.select(builder.trunc(relu, ir.IntType(1)), _constant(0), _constant(-np.inf))
            addresses = _square(builder, TILE, args[:8])
            for line, targets in zip(_transform(builder, OUTPUT, grid), addresses, strict=True):
                for value, target in zip(line, targets, strict=True):
                    value = builder.fadd(value, bias)
                    value = builder.select(builder.fcmp_ordered('<', value, floor), floor, value)
                    value = _to_bfloat16(builder, value) if bfloat16 else value
                    builder.store(value, _pointer(builder, target, to=stored), align=2)
            return context.get_dummy_value()

        return types.void(*[i64] * 12), emit

    @cfunc(types.void(types.CPointer(i64)))
    def run(pointer):
        arguments = carray(pointer, 16)
        image, weight, bias, out = arguments[2], arguments[3], arguments[4], arguments[5]
        zeros, scratch, scratch_bytes = arguments[6], arguments[7], arguments[8]
        height, width, inputs, outputs = arguments[9], arguments[10], arguments[11], arguments[12]
        tiles, block, relu = arguments[13], arguments[14], arguments[15]

        down, across = (height + TILE - 1) // TILE, (width + TILE - 1) // TILE
        patch_step, product_step = steps(block, inputs)
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
                to = patches + t * inputs * 4
                for c in range(0, inputs, LANES):
                    at, pixel, row = place + c * size, inputs * size, width * inputs * size
                    transform_input(at, y - 1, x - 1, row, pixel, height, width, zeros, to + c * 4, patch_step)
            for panel in range(outputs // COLUMNS):
                for point in range(PATCH * PATCH):
                    for t in range(0, count, ROWS):
                        a = patches + point * patch_step + t * inputs * 4
                        b = weight + (panel * PATCH * PATCH + point) * inputs * COLUMNS * 4
                        _multiply(a, inputs * 4, b, products + point * product_step + t * COLUMNS * 4, inputs)
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
