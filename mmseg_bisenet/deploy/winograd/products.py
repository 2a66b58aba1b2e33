"""Products of small matrices whose sums stay in vector registers, for :mod:`mmseg_bisenet.deploy.winograd.kernel`."""

import functools
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from mmseg_bisenet.deploy.winograd.vectors import (
    FLOAT,
    INT,
    LANES,
    LINE,
    VECTOR,
    broadcast,
    constant,
    dot,
    fma,
    pointer,
    prefetch,
)


@functools.cache
def multiplication(factor_size: int, height: int, width: int, onto: bool) -> Any:
    """Of matrices of float32, or of pairs of bfloat16, summed in float32; ``onto`` what lies there, or alone.

    height, width: of the result, in rows and in vectors.
    """
    element = FLOAT if factor_size == 4 else ir.IntType(32)
    vector = ir.VectorType(element, LANES)
    product = {4: fma, 2: dot}[factor_size]

    @intrinsic
    def multiply(context, left, row, right, result, depth, ahead):
        """(height, depth) matrix with ``row`` bytes a row, times (depth, width) -> (height, width), all dense.

        Meanwhile ``depth`` lines from ``ahead`` on are brought into the second cache.
        """

        def emit(context, builder, signature, args):
            left, row, right, result, depth, ahead = args
            rows = [left]
            for _ in range(height - 1):
                rows.append(builder.add(rows[-1], row))
            places = [pointer(builder, result, i * LANES * 4) for i in range(height * width)]
            start = [builder.load(place, align=4) if onto else constant(0) for place in places]

            entry, loop = builder.block, builder.append_basic_block('multiply')
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(INT)
            sums = [builder.phi(VECTOR) for _ in start]
            at = builder.add(right, builder.mul(k, ir.Constant(INT, width * LANES * 4)))
            factors = [builder.load(pointer(builder, at, j * LANES * 4, to=vector), align=4) for j in range(width)]
            offset = builder.mul(k, ir.Constant(INT, 4))
            prefetch(builder, builder.add(ahead, builder.mul(k, ir.Constant(INT, LINE))))
            new = []
            for i, address in enumerate(rows):
                value = builder.load(pointer(builder, builder.add(address, offset), to=element), align=4)
                value = broadcast(builder, value)
                line = sums[i * width : (i + 1) * width]
                new += [product(builder, value, factor, before) for factor, before in zip(factors, line, strict=True)]
            after = builder.add(k, ir.Constant(INT, 1))
            k.add_incoming(ir.Constant(INT, 0), entry)
            k.add_incoming(after, loop)
            for phi, first, value in zip(sums, start, new, strict=True):
                phi.add_incoming(first, entry)
                phi.add_incoming(value, loop)
            done = builder.append_basic_block('multiplied')
            builder.cbranch(builder.icmp_signed('<', after, depth), loop, done)
            builder.position_at_end(done)
            for value, place in zip(new, places, strict=True):
                builder.store(value, place, align=4)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), emit

    return multiply
