"""Winograd's transforms of F(4x4, 3x3), and how :mod:`mmseg_bisenet.deploy.winograd.kernel` computes them in LLVM."""

from collections.abc import Sequence

import numpy as np
from llvmlite import ir

from mmseg_bisenet.deploy.winograd.vectors import INT, constant, fma

TILE = 4  # outputs a tile, in each direction
PATCH = TILE + 2  # inputs a tile
POINTS = np.array([0, 3 / 4, -3 / 4, 3 / 2, -3 / 2])
_OTHERS = [np.delete(POINTS, i) for i in range(len(POINTS))]
_INFINITY = [0.0, 0.0, 0.0, 1.0]
# The transforms of patches, filters and products, with a point (or infinity) a row, a row and a column.
INPUT = np.array([[*np.poly(others)[::-1], 0] for others in _OTHERS] + [np.poly(POINTS)[::-1]])
FILTER = np.array([p ** np.arange(3) / np.prod(p - o) for p, o in zip(POINTS, _OTHERS, strict=True)] + [_INFINITY[1:]])
OUTPUT = np.array([p ** np.arange(TILE) for p in POINTS] + [_INFINITY]).T

# A polynomial at p and at -p is the sum and the difference of its even and its odd part. So INPUT and OUTPUT are
# products of two sparse matrices each, with about half of their operations.
_JOIN, _PAIR = np.eye(PATCH), np.eye(PATCH)
for _i in (1, 3):
    _JOIN[_i : _i + 2, _i : _i + 2] = [[1, POINTS[_i]], [1, POINTS[_i + 1]]]
    _PAIR[_i : _i + 2, _i : _i + 2] = [[1, 1], [1, -1]]
INPUT_STEPS = np.linalg.solve(_JOIN, INPUT), _JOIN
OUTPUT_STEPS = _PAIR, np.linalg.solve(_PAIR.T, OUTPUT.T).T


def transform(builder: ir.IRBuilder, steps: Sequence[np.ndarray], grid: list[list[ir.Value]]) -> list[list[ir.Value]]:
    """``matrix @ grid @ matrix.T`` of a square of vectors, a list of rows; ``matrix`` is the product of the steps."""
    for _ in range(2):
        columns = []
        for column in zip(*grid, strict=True):
            values = list(column)
            for matrix in steps:
                values = _matrix_times(builder, matrix, values)
            columns.append(values)
        grid = columns  # which are the rows of the transposed square
    return grid


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


def square(builder: ir.IRBuilder, size: int, base: ir.Value, row: ir.Value, column: ir.Value) -> list[list[ir.Value]]:
    """The addresses of ``size`` x ``size`` pixels from the first one's and the distances of rows and columns."""
    steps = [ir.Constant(INT, i) for i in range(size)]
    return [[builder.add(builder.add(base, builder.mul(i, row)), builder.mul(j, column)) for j in steps] for i in steps]


def square_at_edge(
    builder: ir.IRBuilder,
    addresses: list[list[ir.Value]],
    position: tuple[ir.Value, ir.Value],
    end: tuple[ir.Value, ir.Value],
    outside: ir.Value,
) -> list[list[ir.Value]]:
    """These, but ``outside`` for pixels that are not in the image, of which the first is at ``position``."""
    steps = [ir.Constant(INT, i) for i in range(len(addresses))]
    rows_in, columns_in = (
        [builder.icmp_unsigned('<', builder.add(first, step), size) for step in steps]
        for first, size in zip(position, end, strict=True)
    )
    return [
        [
            builder.select(builder.and_(row_in, column_in), address, outside)
            for address, column_in in zip(line, columns_in, strict=True)
        ]
        for line, row_in in zip(addresses, rows_in, strict=True)
    ]
