"""Layers of a small receptive field, run over some rows of an image at a time.

The first layers of a network hold most of its memory: maps at half the image's size, before and behind each norm. In
prediction only what the last of them puts out has to be whole. Each row is computed from the same rows as ever; what
differs is how often PyTorch starts its kernels, and the caches that hold what passes between them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

ROWS = 64  # of the image: what passes between layers at 1024x2048 is 10 MB


def by_strips(module: nn.Module, layers: Callable[[Tensor], Tensor], x: Tensor, stride: int, reach: int) -> Tensor:
    """``layers(x)``; on a CPU by strips where ``module``, whose layers they are, is in evaluation, without gradients.

    Args:
        module: says whether this is training.
        layers: (N, C, H, W) -> (N, D, ceil(H / stride), ceil(W / stride)), each value made from pixels near by.
        x: the input.
        stride: of all layers together.
        reach: how many rows above and below its own a value is made from, at most; a multiple of ``stride``.
    """
    height = x.shape[2]
    rows = ROWS if stride > 1 else ROWS // 4  # a head is wide
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    wanted = not (module.training or torch.is_grad_enabled() or traced) and x.device.type == 'cpu'
    if not wanted or height <= rows + 2 * reach or not _local(module):
        return layers(x)
    result = None
    for top in range(0, height, rows):
        start, bottom = max(top - reach, 0), min(top + rows, height)
        strip = layers(x[:, :, start : bottom + reach])
        if result is None:
            shape = *strip.shape[:2], -(-height // stride), strip.shape[3]
            last = strip.is_contiguous(memory_format=torch.channels_last)
            kind = torch.channels_last if last else torch.contiguous_format
            result = torch.empty(shape, dtype=strip.dtype, device=strip.device, memory_format=kind)
        place = slice(top // stride, -(-bottom // stride))
        skip = (top - start) // stride
        result[:, :, place] = strip[:, :, skip : skip + place.stop - place.start]
    return result


def _local(module: nn.Module) -> bool:
    """Whether no layer looks at the whole map, as norms by groups do, and batch norm of its own statistics."""
    return not any(
        isinstance(layer, nn.GroupNorm | nn.LayerNorm)
        or (isinstance(layer, _NormBase) and (layer.training or layer.running_mean is None))
        for layer in module.modules()
    )
