"""Depthwise 3x3 convolutions with several outputs for each channel, without Winograd.

PyTorch's convolutions take longer to read and write their maps in bfloat16 than in float32. Here the outputs of 16
channels are computed at once, in float32, and each input is read and converted once for all of its outputs.
"""

from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from mmseg_bisenet import openmp
from mmseg_bisenet.deploy.winograd.layer import check, summand


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise 3x3 convolution with padding 1, and a ReLU if asked for; without gradients.

    x: (N, in_channels, H, W), float32 or bfloat16 -> (N, out_channels, ceil(H / stride), ceil(W / stride)) of the same
    type, channels last. in_channels is a multiple of 16.

    The weight is arranged once: a later change of it, or of the bias, has no effect.
    """

    def __init__(self, conv: nn.Conv2d, relu: bool = False) -> None:
        channels, outputs = conv.in_channels, conv.out_channels
        super().__init__(channels, outputs, 3, conv.stride[0], 1, groups=channels, device='meta')
        from mmseg_bisenet.deploy.winograd.vectors import LANES

        self.weight, self.bias = conv.weight, conv.bias
        # Not buffers: `.bfloat16()` must not round them.
        taps = conv.weight.detach().float().reshape(-1, LANES * outputs // channels, 9)
        self.taps = taps.mT.reshape(channels // LANES, 9, outputs // channels, LANES).contiguous()
        self.summand = summand(conv)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        return depthwise_conv2d(x, self.taps, self.summand, self.stride[0], self.relu)


def is_fit(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether :class:`DepthwiseConv2d` computes it faster."""
    return (
        type(conv) is nn.Conv2d
        and (conv.kernel_size, conv.padding, conv.dilation) == ((3, 3), (1, 1), (1, 1))
        and conv.stride in ((1, 1), (2, 2))
        and (conv.padding_mode, conv.weight.device.type) == ('zeros', 'cpu')
        and conv.weight.dtype in (torch.float32, torch.bfloat16)
        and conv.groups == conv.in_channels
        and conv.in_channels % 16 == 0
        and 2 <= conv.out_channels // conv.in_channels <= 8
    )


@torch.library.custom_op('mmseg_bisenet::depthwise_conv2d', mutates_args=(), device_types='cpu')
def depthwise_conv2d(x: Tensor, taps: Tensor, bias: Tensor, stride: int, relu: bool) -> Tensor:
    """What :class:`DepthwiseConv2d` does.

    Args:
        x: (N, C, H, W), float32 or bfloat16.
        taps: (C / lanes, 9, multiplier, lanes), float32: the weights of ``lanes`` channels for each tap.
        bias: (C * multiplier,), float32.
        stride: 1 or 2.
        relu: whether negative outputs become zero.

    Raises:
        TypeError: x is of another type or shape.
    """
    from mmseg_bisenet.deploy.winograd.depthwise_kernel import kernel

    channels, multiplier = taps.shape[0] * taps.shape[3], taps.shape[2]
    check(x, channels)
    x = x.contiguous(memory_format=torch.channels_last)
    out = _empty_output(x, taps, bias, stride, relu)
    down, across = out.shape[2:]
    zeros = torch.zeros(channels, dtype=torch.float32)  # whatever the caller's default
    addresses = [t.data_ptr() for t in (x, taps, bias, out, zeros)]
    values = [0, *addresses, len(x) * down, *x.shape[2:], channels, down, across, stride, relu]
    arguments = np.array(values, np.int64)
    run = kernel(x.dtype == torch.bfloat16, multiplier)
    openmp.parallel()(run.address, arguments.ctypes.data, torch.get_num_threads(), 0)
    return out


@depthwise_conv2d.register_fake
def _empty_output(x: Tensor, taps: Tensor, bias: Tensor, stride: int, relu: bool) -> Tensor:
    n, _, height, width = x.shape
    shape = n, len(bias), -(-height // stride), -(-width // stride)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
