"""The inner loops of :mod:`mmseg_bisenet.deploy.winograd.depthwise`, as in ``kernel``."""

import functools
from itertools import chain
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from mmseg_bisenet.deploy.winograd.kernel import fetch_and_add
from mmseg_bisenet.deploy.winograd.transforms import square, square_at_edge
from mmseg_bisenet.deploy.winograd.vectors import (
    HALVES,
    LANES,
    VECTOR,
    constant,
    fma,
    from_bfloat16,
    has_bfloat16,
    pointer,
    round_to_bfloat16,
    to_bfloat16,
)
from mmseg_bisenet.loops import compiled

SIZE = 3  # of the convolution


@functools.cache
def kernel(bfloat16: bool, multiplier: int) -> Any:
    """``void kernel(int64_t *arguments)``, whose ``address`` it has, for images of that type.

    multiplier: outputs of an input channel; they lie beside each other.

    Each thread that runs it takes rows of the output until none is left. Its first lines name the arguments.
    """
    stored, size = (HALVES, 2) if bfloat16 else (VECTOR, 4)
    rounded = round_to_bfloat16 if has_bfloat16() else to_bfloat16
    i64 = types.int64

    def convolution(at_edge: bool) -> Any:
        @intrinsic
        def convolve(context, image, row, column, y, x, height, width, outside, weight, bias, relu, out):
            """LANES channels of 3x3 pixels, of which the first is at y and x -> their outputs at one pixel."""

            def emit(context, builder, signature, args):
                image, row, column, y, x, height, width, outside, weight, bias, relu, out = args
                addresses = square(builder, SIZE, image, row, column)
                if at_edge:
                    addresses = square_at_edge(builder, addresses, (y, x), (height, width), outside)
                sums = [builder.load(pointer(builder, bias, m * LANES * 4), align=4) for m in range(multiplier)]
                for tap, address in enumerate(chain.from_iterable(addresses)):
                    value = builder.load(pointer(builder, address, to=stored), align=2)
                    value = from_bfloat16(builder, value) if bfloat16 else value
                    for m in range(multiplier):
                        places = [(m * LANES + i) // multiplier for i in range(LANES)]
                        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), places)
                        factor = pointer(builder, weight, (tap * multiplier + m) * LANES * 4)
                        spread = builder.shuffle_vector(value, value, mask)
                        sums[m] = fma(builder, spread, builder.load(factor, align=4), sums[m])
                least = builder.select(builder.trunc(relu, ir.IntType(1)), constant(0), constant(-np.inf))
                for m, value in enumerate(sums):
                    value = builder.select(builder.fcmp_ordered('<', value, least), least, value)
                    value = rounded(builder, value) if bfloat16 else value
                    builder.store(value, pointer(builder, out, m * LANES * size, to=stored), align=2)
                return context.get_dummy_value()

            return types.void(*[i64] * 12), emit

        return convolve

    convolve_inside, convolve_at_edge = convolution(False), convolution(True)

    def run(pointer):
        arguments = carray(pointer, 14)
        image, weight, bias, out, zeros = arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]
        rows, height, width, channels = arguments[6], arguments[7], arguments[8], arguments[9]  # rows of all outputs
        down, across, stride, relu = arguments[10], arguments[11], arguments[12], arguments[13]

        pixel, row = channels * size, width * channels * size
        while True:
            taken = fetch_and_add(arguments.ctypes.data, 1)
            if taken >= rows:
                break
            y = taken % down * stride - 1
            source = image + taken // down * height * row + y * row
            to = out + taken * across * pixel * multiplier
            for c in range(0, channels, LANES):
                taps, start = weight + c * SIZE * SIZE * multiplier * 4, bias + c * multiplier * 4
                for i in range(across):
                    x = i * stride - 1
                    at, target = source + x * pixel + c * size, to + (i * pixel + c * size) * multiplier
                    if y >= 0 and x >= 0 and y + SIZE <= height and x + SIZE <= width:
                        convolve_inside(at, row, pixel, y, x, height, width, zeros, taps, start, relu, target)
                    else:
                        convolve_at_edge(at, row, pixel, y, x, height, width, zeros, taps, start, relu, target)

    return compiled(run, bfloat16, multiplier)
