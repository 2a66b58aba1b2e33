"""The 3x3 max pool of stride 2, as stems have it: PyTorch's kernel for NCHW on CPUs compares value by value."""

import torch
from torch import Tensor, nn

from mmseg_bisenet.models.inference.tiling import in_prediction_on_cpu


def max_pool(pool: nn.MaxPool2d, x: Tensor) -> Tensor:
    """``pool(x)``, to the last bit; in prediction on a CPU rows first, then columns, a fraction of the time.

    Args:
        pool: 3x3 of stride 2, padded by 1.
        x: (N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2)).
    """
    plain = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.return_indices) == (3, 2, 1, 1, False)
    if plain and x.is_contiguous() and in_prediction_on_cpu(pool, x):
        return _halve(_halve(x, 2), 3)
    return pool(x)


def _halve(x: Tensor, dim: int) -> Tensor:
    """The largest of each even place and its two neighbours."""
    even, odd = (x[(slice(None),) * dim + (slice(place, None, 2),)] for place in (0, 1))
    result = even.clone(memory_format=torch.contiguous_format)
    for start, length in ((0, odd.shape[dim]), (1, even.shape[dim] - 1)):
        part = result.narrow(dim, start, length)
        torch.maximum(part, odd.narrow(dim, 0, length), out=part)
    return result
