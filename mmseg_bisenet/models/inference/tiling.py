"""Layers of a small receptive field, run over some rows of an image at a time.

The first layers of a network hold most of its memory: maps at half the image's size, before and behind each norm. In
prediction only what the last of them puts out has to be whole. Each row is computed from the same rows as ever; what
differs is how often PyTorch starts its kernels, and the caches that hold what passes between them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


def by_strips(
    module: nn.Module, layers: Callable[[Tensor], Tensor], x: Tensor, stride: int, reach: int, rows: int = 16
) -> Tensor:
    """``layers(x)``; on a CPU by strips where ``module``, whose layers they are, is in evaluation, without gradients.

    Args:
        module: says whether this is training.
        layers: (N, C, H, W) -> (N, D, ceil(H / stride), ceil(W / stride)), each value made from pixels near by.
        x: the input.
        stride: of all layers together.
        reach: how many rows above ``stride`` times its own a value is made from, as :func:`span` tells.
        rows: of the result, a strip; what passes between the layers should fit into caches.
    """
    height, step = x.shape[2], rows * stride
    # The size comes last: an export for every size must not depend on it.
    if not in_prediction_on_cpu(module, x) or height <= step or not _local(module):
        return layers(x)
    above, below = -(-reach // stride) * stride, max(reach - stride + 1, 0)
    result = None
    for top in range(0, height, step):
        start, bottom = max(top - above, 0), min(top + step, height)
        strip = layers(x[:, :, start : bottom + below])
        if result is None:
            shape = *strip.shape[:2], -(-height // stride), strip.shape[3]
            last = strip.is_contiguous(memory_format=torch.channels_last)
            kind = torch.channels_last if last else torch.contiguous_format
            result = torch.empty(shape, dtype=strip.dtype, device=strip.device, memory_format=kind)
        place = slice(top // stride, -(-bottom // stride))
        skip = (top - start) // stride
        result[:, :, place] = strip[:, :, skip : skip + place.stop - place.start]
    return result


def span(*layers: nn.Module) -> tuple[int, int]:
    """Stride and reach of convolutions and pools, one behind the other, all padded to keep the size but for strides."""
    stride, reach = 1, 0
    for layer in (inner for outer in layers for inner in outer.modules()):
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            reach += stride * _first(layer.padding)
            stride *= _first(layer.stride)
    return stride, reach


def in_prediction_on_cpu(module: nn.Module, x: Tensor) -> bool:
    """Whether nothing but the result is wanted: no gradients, and no graph of the operations."""
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return not (module.training or torch.is_grad_enabled() or traced) and x.device.type == 'cpu'


def _first(value: int | tuple[int, int]) -> int:
    return value if isinstance(value, int) else value[0]


def _local(module: nn.Module) -> bool:
    """Whether no layer looks at the whole map, as norms by groups do, and batch norm of its own statistics."""
    return not any(
        isinstance(layer, nn.GroupNorm | nn.LayerNorm)
        or (isinstance(layer, _NormBase) and (layer.training or layer.running_mean is None))
        for layer in module.modules()
    )
