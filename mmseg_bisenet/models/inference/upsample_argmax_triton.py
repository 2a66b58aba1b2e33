"""Bilinear upsampling and argmax in one Triton kernel: :func:`upsample_argmax` for CUDA.

A program computes the labels of some columns in the rows that lie between two rows of logits, so that it interpolates
these two rows to full width once. Classes are a loop, in which the largest value and its class stay in registers.
Neighbouring threads have neighbouring columns.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS = 128  # of a program: one for each thread
ROWS = 8  # of a program, at most; 48 registers a thread on sm_80


def upsample_argmax(logits: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """As :func:`mmseg_bisenet.models.inference.upsample_argmax.upsample_argmax`; at least one class, no empty map."""
    (images, classes, small_height, small_width), (height, width) = logits.shape, size
    labels = torch.empty(images, height, width, dtype=torch.uint8, device=logits.device)
    rows = _places(small_height, height, align_corners)
    between = triton.cdiv(rows[2], rows[0])  # rows of labels between two rows of logits, at most
    block = min(triton.next_power_of_2(between), ROWS)
    blocks = triton.cdiv(between, block)
    grid = (small_height + 1) * blocks, triton.cdiv(width, COLUMNS), images
    with torch.cuda.device_of(logits):
        _label_block[grid](
            logits,
            labels,
            *(small_height, height, *rows),
            *(small_width, width, *_places(small_width, width, align_corners)),
            *logits.stride(),
            blocks,
            CLASSES=classes,
            ROWS=block,
            COLUMNS=COLUMNS,
        )
    return labels


def _places(small: int, large: int, align_corners: bool) -> tuple[int, int, int]:
    """Integers a, b, c: the centre of row y of ``large`` lies at row max(a y + b, 0) / c of ``small``."""
    if align_corners and small > 1:
        return (small - 1, 0, large - 1) if large > 1 else (1, 0, 1)
    return 2 * small, small - large, 2 * large


@triton.jit
def _label_block(
    logits,
    labels,
    small_height,
    height,
    row_a,
    row_b,
    row_c,
    small_width,
    width,
    column_a,
    column_b,
    column_c,
    image_stride,
    class_stride,
    row_stride,
    column_stride,
    blocks,
    CLASSES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    # The rows of labels below row `above` of the logits. The first ones lie above row 0.
    above = tl.program_id(0) // blocks - 1
    first = tl.maximum(above * row_c - row_b + row_a - 1, 0) // row_a
    stop = tl.minimum(tl.maximum((above + 1) * row_c - row_b + row_a - 1, 0) // row_a, height)
    y = first + tl.program_id(0) % blocks * ROWS + tl.arange(0, ROWS)
    upper = tl.maximum(above, 0)
    lower = tl.minimum(upper + 1, small_height - 1)
    row_weight = (tl.maximum(row_a * y + row_b, 0) - upper * row_c).to(tl.float32) / row_c

    x = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    place = tl.maximum(column_a * x + column_b, 0)
    left = place // column_c
    right = tl.minimum(left + 1, small_width - 1)
    column_weight = (place - left * column_c).to(tl.float32) / column_c

    image = tl.program_id(2).to(tl.int64)
    upper_line = logits + image * image_stride + upper * row_stride
    lower_line = logits + image * image_stride + lower * row_stride
    inside = x < width
    best = tl.full((ROWS, COLUMNS), float('-inf'), tl.float32)
    label = tl.full((ROWS, COLUMNS), 0, tl.int32)
    for c in range(CLASSES):
        plane = c * class_stride
        upper_left = tl.load(upper_line + plane + left * column_stride, inside, 0.0).to(tl.float32)
        upper_right = tl.load(upper_line + plane + right * column_stride, inside, 0.0).to(tl.float32)
        lower_left = tl.load(lower_line + plane + left * column_stride, inside, 0.0).to(tl.float32)
        lower_right = tl.load(lower_line + plane + right * column_stride, inside, 0.0).to(tl.float32)
        upper_value = (1 - column_weight) * upper_left + column_weight * upper_right
        lower_value = (1 - column_weight) * lower_left + column_weight * lower_right
        value = (1 - row_weight)[:, None] * upper_value[None, :] + row_weight[:, None] * lower_value[None, :]
        larger = (value > best) | ((value != value) & (best == best))
        best = tl.where(larger, value, best)
        label = tl.where(larger, c, label)
    target = labels + (image * height + y[:, None]) * width + x[None, :]
    tl.store(target, label.to(tl.uint8), (y < stop)[:, None] & inside[None, :])
