"""The inner loops of :mod:`mmseg_bisenet.deploy.winograd.layer`, written as LLVM's vector instructions through Numba.

No compiler vectorises a 6x6 transform over channels or keeps a block of a matrix product in registers by itself. Each
of the intrinsics below emits straight-line vector code; Numba compiles the loops around them. What they read and
write is given as addresses and distances in bytes.
"""

import functools
from itertools import chain
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic, register_jitable

from mmseg_bisenet.deploy.winograd.products import multiplication
from mmseg_bisenet.deploy.winograd.transforms import (
    INPUT_STEPS,
    OUTPUT_STEPS,
    PATCH,
    TILE,
    square,
    square_at_edge,
    transform,
)
from mmseg_bisenet.deploy.winograd.vectors import (
    HALVES,
    INT,
    LANES,
    LINE,
    VECTOR,
    constant,
    from_bfloat16,
    has_bfloat16,
    pointer,
    round_to_bfloat16,
    to_bfloat16,
)
from mmseg_bisenet.loops import compiled

ROWS = 6  # tiles whose products are summed at the same time,
COLUMNS = (4 if LANES == 16 else 2) * LANES  # for as many output channels as fill the registers
PIXELS = 8 if LANES == 16 else 4  # of a tile, whose scores are summed at the same time,
CLASSES = 2 * LANES  # for as many classes


@register_jitable
def steps(block: int, channels: int, size: int) -> tuple[int, int]:
    """Bytes from one point's matrix of patches to the next one's, and the same of products.

    A vector more than they need: multiples of 4096 bytes would fall into the same few lines of the first cache.
    """
    return block * channels * size + LANES * 4, (block * COLUMNS + LANES) * 4


def scratch_bytes(block: int, channels: int, size: int, classes: int = 0) -> int:
    """What a thread needs for blocks of that many tiles: patches, products, scores, and one tile of outputs."""
    products = PATCH * PATCH * sum(steps(block, channels, size))
    return products + TILE * TILE * (COLUMNS + block * classes) * 4


@intrinsic
def fetch_and_add(context, address, amount):
    """Add to a counter that all threads share, and return what it was."""

    def emit(context, builder, signature, args):
        return builder.atomic_rmw('add', builder.inttoptr(args[0], INT.as_pointer()), args[1], 'monotonic')

    return types.int64(types.int64, types.int64), emit


@intrinsic
def _add(context, values, more, to):
    """Store the sum of two vectors of float32."""

    def emit(context, builder, signature, args):
        values, more = (builder.load(pointer(builder, address), align=4) for address in args[:2])
        builder.store(builder.fadd(values, more), pointer(builder, args[2]), align=4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), emit


@functools.cache
def kernel(bfloat16: bool, factor_size: int) -> Any:
    """``void kernel(int64_t *arguments)``, whose ``address`` it has, for images of that type.

    factor_size: 4 bytes for products of float32; 2 for those of bfloat16, on a CPU that has AVX-512-BF16.

    Each thread that runs it takes blocks of tiles until none is left. Its first lines name the arguments. With classes,
    each tile of the output is multiplied by the classifier's weights at once, and only these scores are stored.
    """
    size = 2 if bfloat16 else 4  # bytes a value of an image
    rounded = round_to_bfloat16 if factor_size == 2 and has_bfloat16() else to_bfloat16
    multiply = multiplication(factor_size, ROWS, COLUMNS // LANES, onto=False)
    classify = multiplication(factor_size, PIXELS, CLASSES // LANES, onto=True)
    i64 = types.int64

    def input_transform(at_edge: bool) -> Any:
        @intrinsic
        def transform_input(context, image, row, column, y, x, height, width, outside, to, step):
            """LANES channels of a patch -> the same of 36 matrices, ``step`` apart."""

            def emit(context, builder, signature, args):
                image, row, column, y, x, height, width, outside, to, step = args
                addresses = square(builder, PATCH, image, row, column)
                if at_edge:
                    addresses = square_at_edge(builder, addresses, (y, x), (height, width), outside)

                def load(address):
                    value = builder.load(pointer(builder, address, to=HALVES if bfloat16 else VECTOR), align=2)
                    return from_bfloat16(builder, value) if bfloat16 else value

                grid = [[load(address) for address in line] for line in addresses]
                for value in chain.from_iterable(transform(builder, INPUT_STEPS, grid)):
                    if factor_size == 2:
                        value = rounded(builder, value)
                    builder.store(value, pointer(builder, to, to=value.type), align=1)
                    to = builder.add(to, step)
                return context.get_dummy_value()

            return types.void(*[i64] * 10), emit

        return transform_input

    def output_transform(at_edge: bool, narrow: bool) -> Any:
        @intrinsic
        def transform_output(context, image, row, column, y, x, height, width, outside, products, step, bias, relu):
            """LANES channels of 36 matrices, ``step`` apart -> the same of a tile, with bias and ReLU."""

            def emit(context, builder, signature, args):
                image, row, column, y, x, height, width, outside, products, step, bias, relu = args
                values = []
                for _ in range(PATCH * PATCH):
                    values.append(builder.load(pointer(builder, products), align=4))
                    products = builder.add(products, step)
                grid = [values[i : i + PATCH] for i in range(0, PATCH * PATCH, PATCH)]
                bias = builder.load(pointer(builder, bias), align=4)
                least = builder.select(builder.trunc(relu, ir.IntType(1)), constant(0), constant(-np.inf))
                addresses = square(builder, TILE, image, row, column)
                if at_edge:
                    addresses = square_at_edge(builder, addresses, (y, x), (height, width), outside)
                values = chain.from_iterable(transform(builder, OUTPUT_STEPS, grid))
                for value, target in zip(values, chain.from_iterable(addresses), strict=True):
                    value = builder.fadd(value, bias)
                    value = builder.select(builder.fcmp_ordered('<', value, least), least, value)
                    value = rounded(builder, value) if narrow else value
                    builder.store(value, pointer(builder, target, to=value.type), align=2)
                return context.get_dummy_value()

            return types.void(*[i64] * 12), emit

        return transform_output

    read_inside, read_at_edge = input_transform(False), input_transform(True)
    write_inside, write_at_edge = output_transform(False, bfloat16), output_transform(True, bfloat16)
    keep = output_transform(False, factor_size == 2)

    def run(pointer):
        arguments = carray(pointer, 19)
        image, weight, bias, out = arguments[2], arguments[3], arguments[4], arguments[5]
        zeros, scratch, scratch_bytes = arguments[6], arguments[7], arguments[8]
        height, width, inputs, outputs = arguments[9], arguments[10], arguments[11], arguments[12]
        tiles, block, relu = arguments[13], arguments[14], arguments[15]
        classes, class_weight, class_bias = arguments[16], arguments[17], arguments[18]  # classes: 0 for none

        depth = inputs * factor_size // 4  # of the matrices; a value, or a pair of them, has four bytes
        down, across = (height + TILE - 1) // TILE, (width + TILE - 1) // TILE
        patch_step, product_step = steps(block, inputs, factor_size)
        patches = scratch + fetch_and_add(arguments.ctypes.data, 1) * scratch_bytes
        products = patches + PATCH * PATCH * patch_step
        tile = products + PATCH * PATCH * product_step  # also takes what lies off the image
        scores = tile + TILE * TILE * COLUMNS * 4
        while True:
            first = fetch_and_add(arguments.ctypes.data + 8, block)
            if first >= tiles:
                break
            count = min(block, tiles - first)
            for t in range(count):
                y, x = (first + t) // across % down * TILE - 1, (first + t) % across * TILE - 1
                n = (first + t) // (across * down)
                pixel, row = inputs * size, width * inputs * size
                at = image + n * height * row + y * row + x * pixel
                to = patches + t * inputs * factor_size
                if y >= 0 and x >= 0 and y + PATCH <= height and x + PATCH <= width:
                    for _ in range(inputs // LANES):
                        read_inside(at, row, pixel, y, x, height, width, zeros, to, patch_step)
                        at += LANES * size
                        to += LANES * factor_size
                else:
                    for _ in range(inputs // LANES):
                        read_at_edge(at, row, pixel, y, x, height, width, zeros, to, patch_step)
                        at += LANES * size
                        to += LANES * factor_size
            for place in range(0, count * classes * TILE * TILE, LANES):
                _add(zeros, zeros, scores + place * 4)
            for panel in range(outputs // COLUMNS):
                for point in range(PATCH * PATCH):
                    column = panel * PATCH * PATCH + point
                    b = weight + column * depth * COLUMNS * 4
                    ahead = b + depth * COLUMNS * 4  # the next point's, of which each call fetches a part
                    for t in range(0, count, ROWS):
                        a, to = patches + point * patch_step + t * depth * 4, products + point * product_step
                        multiply(a, depth * 4, b, to + t * COLUMNS * 4, depth, ahead)
                        ahead += depth * LINE
                for t in range(count):
                    y, x = (first + t) // across % down * TILE, (first + t) % across * TILE
                    n = (first + t) // (across * down)
                    pixel, row = outputs * size, width * outputs * size
                    at = out + n * height * row + y * row + x * pixel + panel * COLUMNS * size
                    source, more = products + t * COLUMNS * 4, bias + panel * COLUMNS * 4
                    if classes:
                        at, pixel, row = tile, COLUMNS * factor_size, TILE * COLUMNS * factor_size
                        for _ in range(COLUMNS // LANES):
                            keep(at, row, pixel, y, x, height, width, tile, source, product_step, more, relu)
                            at += LANES * factor_size
                            source += LANES * 4
                            more += LANES * 4
                    elif y + TILE <= height and x + TILE <= width:
                        for _ in range(COLUMNS // LANES):
                            write_inside(at, row, pixel, y, x, height, width, tile, source, product_step, more, relu)
                            at += LANES * size
                            source += LANES * 4
                            more += LANES * 4
                    else:
                        for _ in range(COLUMNS // LANES):
                            write_at_edge(at, row, pixel, y, x, height, width, tile, source, product_step, more, relu)
                            at += LANES * size
                            source += LANES * 4
                            more += LANES * 4
                    for k in range(0, classes, CLASSES):
                        b = class_weight + (k * outputs + panel * COLUMNS * CLASSES) * factor_size
                        for p in range(0, TILE * TILE, PIXELS):
                            a = tile + p * COLUMNS * factor_size
                            to = scores + ((t * classes + k) * TILE * TILE + p * CLASSES) * 4
                            classify(a, COLUMNS * factor_size, b, to, COLUMNS * factor_size // 4, b)
            if classes:
                for t in range(count):
                    y, x = (first + t) // across % down * TILE, (first + t) % across * TILE
                    n = (first + t) // (across * down)
                    for i in range(min(TILE, height - y)):
                        for j in range(min(TILE, width - x)):
                            to = out + ((n * height + y + i) * width + x + j) * classes * 4
                            for k in range(0, classes, LANES):
                                group, c = k // CLASSES * CLASSES, k % CLASSES
                                at = (t * classes + group) * TILE * TILE + (i * TILE + j) * CLASSES + c
                                _add(scores + at * 4, class_bias + k * 4, to + k * 4)

    return compiled(run, bfloat16, factor_size)
