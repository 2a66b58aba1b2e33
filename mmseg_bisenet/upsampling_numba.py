"""The kernel of :mod:`mmseg_bisenet.upsampling` that Numba compiles."""

import numpy as np
from numba import carray

from mmseg_bisenet.loops import next_unit, pointer, select

TILE = 128  # columns: two rows of 19 classes are 19 KB
ONE = np.float32(1)


def label_rows(memory):
    """Write labels (N, H, W) from logits (N, C, h, w), in units of rows."""
    arguments = carray(memory, 16)
    images, classes, small, narrow, height, width, units = arguments[1:8]
    logits = carray(pointer(arguments[8]), (images, classes, small, narrow), np.float32)
    upper = carray(pointer(arguments[9]), height, np.int64)  # for a row of labels, the rows of logits above
    lower = carray(pointer(arguments[10]), height, np.int64)  # and below,
    row_weights = carray(pointer(arguments[11]), height, np.float32)  # and the weight of the one below
    left = carray(pointer(arguments[12]), width, np.int64)  # for a column, the same to the left
    right = carray(pointer(arguments[13]), width, np.int64)  # and to the right
    column_weights = carray(pointer(arguments[14]), width, np.float32)
    labels = carray(pointer(arguments[15]), (images, height, width), np.uint8)
    lines = np.zeros((2, classes, TILE), np.float32)  # rows of logits at full width, even and odd
    best = np.empty((2, TILE), np.float32)  # up to a class, even and odd
    label = np.empty((2, TILE), np.int32)
    while True:
        unit = next_unit(memory)
        if unit >= units:
            break
        start, stop = images * height * unit // units, images * height * (unit + 1) // units
        for column in range(0, width, TILE):
            columns = min(TILE, width - column)
            first, second = left[column : column + TILE], right[column : column + TILE]
            weights = column_weights[column : column + TILE]
            for index in range(start, stop):
                image = index // height
                y = index - image * height
                for row in (upper[y], lower[y]):
                    if index == start or y == 0 or (row != upper[y - 1] and row != lower[y - 1]):
                        for c in range(classes):
                            source, line = logits[image, c, row], lines[row & 1, c]
                            for x in range(columns):
                                # Unsigned, since Numba looks whether an index is negative.
                                one, other = source[np.uint32(first[x])], source[np.uint32(second[x])]
                                line[x] = (ONE - weights[x]) * one + weights[x] * other
                above, below = lines[upper[y] & 1], lines[lower[y] & 1]
                weight = row_weights[y]
                rest = ONE - weight
                for x in range(TILE):
                    best[0, x] = rest * above[0, x] + weight * below[0, x]
                    label[0, x] = 0
                for c in range(1, classes):
                    upper_line, lower_line, before, now = above[c], below[c], c - 1 & 1, c & 1
                    for x in range(TILE):
                        value = rest * upper_line[x] + weight * lower_line[x]
                        top = best[before, x]
                        larger = (value > top) | ((value != value) & (top == top))
                        best[now, x] = select(larger, value, top)
                        label[now, x] = select(larger, np.int32(c), label[before, x])
                labels[image, y, column : column + columns] = label[classes - 1 & 1, :columns]
