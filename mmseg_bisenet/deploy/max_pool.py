"""Max pools that ``torch.compile`` leaves to PyTorch.

What Inductor writes for a CPU compares value by value. PyTorch's own kernel compares vectors of channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmseg_bisenet.models.inference.tiling import SeparableMaxPool2d


def keep_max_pools(network: nn.Module) -> None:
    """Let the max pools of a network be operators that ``torch.compile`` does not look into."""
    for module in network.modules():
        if type(module) in (nn.MaxPool2d, SeparableMaxPool2d) and not module.return_indices:
            module.__class__ = KeptMaxPool2d


class KeptMaxPool2d(nn.MaxPool2d):
    def forward(self, x: Tensor) -> Tensor:
        sizes = (_pair(value) for value in (self.kernel_size, self.stride, self.padding, self.dilation))
        return max_pool2d(x, *sizes, self.ceil_mode)


@torch.library.custom_op('mmseg_bisenet::max_pool2d', mutates_args=())
def max_pool2d(
    x: Tensor, kernel_size: list[int], stride: list[int], padding: list[int], dilation: list[int], ceil_mode: bool
) -> Tensor:
    """``F.max_pool2d``."""
    return F.max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode)


@max_pool2d.register_fake
def _(
    x: Tensor, kernel_size: list[int], stride: list[int], padding: list[int], dilation: list[int], ceil_mode: bool
) -> Tensor:
    return F.max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode)


def _pair(value: int | tuple[int, ...]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)
