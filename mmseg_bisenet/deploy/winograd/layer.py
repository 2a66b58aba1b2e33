"""3x3 convolutions on CPUs by Winograd's minimal filtering (Lavin & Gray, arXiv 1509.09308): a quarter of the products.

PyTorch's own convolutions run as fast as the processor multiplies, so only fewer products are faster. For a tile of 4x4
outputs and a pair of channels, F(4x4, 3x3) takes 36 products, the definition 144. The 6x6 inputs of the tile and the
filter are transformed, multiplied and summed over the input channels as 36 matrix products, and transformed back.

Deviations from the paper:

- The polynomials behind the transforms are evaluated at 0, +-3/4, +-3/2 and infinity instead of 0, +-1, +-2 and
  infinity. That makes the rounding error 2.5 times smaller, about twice that of a direct convolution (on such points:
  Barabasz et al., arXiv 1803.10986).
- A block of tiles goes through all steps before the next block, so that its intermediate values stay in the cache.
- Inputs and outputs may be bfloat16. Everything between them is float32, with one exception: a CPU with AVX-512-BF16
  multiplies bfloat16 twice as fast, so there the factors are rounded to bfloat16, and products summed in float32.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeGuard

import numpy as np
import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from mmseg_bisenet import openmp

CACHE_BYTES = 1.25 * 2**20  # of a core's second cache, for the patches and products of a block of tiles


def use_winograd(module: nn.Module) -> int:
    """Replace each 3x3 convolution that is faster this way, with the ReLU that follows it in a ``ConvModule``, and the
    classifier of a head.

    For inference on a CPU in float32 or bfloat16 by PyTorch, eager or compiled; not for training, nor for export. Needs
    Numba, and PyTorch's builds for Linux, whose threads it uses.

    Returns:
        How many 3x3 convolutions were replaced; 0 if it cannot run here.
    """
    if _parallel() is None:
        return 0
    from mmseg_bisenet.deploy.winograd import depthwise
    from mmseg_bisenet.deploy.winograd.head import use_winograd_head

    count = 0
    for parent in list(module.modules()):
        for name, conv in list(parent.named_children()):
            if not _is_fit(conv) and not depthwise.is_fit(conv):
                continue
            relu = isinstance(parent, ConvModule) and _ends_in_relu(parent)
            kind = WinogradConv2d if conv.groups == 1 else depthwise.DepthwiseConv2d
            setattr(parent, name, kind(conv, relu=relu))
            if relu:
                parent.activate = nn.Identity()
            count += 1
    for head in module.modules():
        use_winograd_head(head)
    return count


class WinogradConv2d(nn.Conv2d):
    """A 3x3 convolution with stride 1 and padding 1, and a ReLU if asked for; without gradients.

    x: (N, in_channels, H, W), float32 or bfloat16 -> (N, out_channels, H, W) of the same type, channels last.
    in_channels is a multiple of 32, out_channels of 64.

    The weight is transformed once: a later change of it, or of the bias, has no effect.
    """

    def __init__(self, conv: nn.Conv2d, relu: bool = False) -> None:
        super().__init__(conv.in_channels, conv.out_channels, 3, padding=1, device='meta')
        from mmseg_bisenet.deploy.winograd.kernel import COLUMNS
        from mmseg_bisenet.deploy.winograd.transforms import FILTER

        self.weight, self.bias = conv.weight, conv.bias
        transformed = np.einsum('pi,ocij,qj->opqc', FILTER, conv.weight.detach().double().numpy(), FILTER)
        panels = torch.from_numpy(transformed.reshape(-1, COLUMNS, FILTER.shape[0] ** 2, conv.in_channels))
        # Not buffers: `.bfloat16()` must not round them.
        self.transformed, self.rounded = factors(panels.permute(0, 2, 3, 1))
        self.summand = summand(conv)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        weight = self.rounded if x.dtype == torch.bfloat16 else self.transformed
        return winograd_conv2d(x, weight, self.summand, self.relu)


@torch.library.custom_op('mmseg_bisenet::winograd_conv2d', mutates_args=(), device_types='cpu')
def winograd_conv2d(x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
    """What :class:`WinogradConv2d` does.

    Args:
        x: (N, C, H, W), float32 or bfloat16.
        weight: (K / columns, 36, C, columns, 1), transformed, in float32; or (K / columns, 36, C / 2, columns, 2) in
            bfloat16, for x in bfloat16.
        bias: (K,), float32.
        relu: whether negative outputs become zero.

    Raises:
        TypeError: x is of another type or shape.
    """
    check(x, inputs_of(weight))
    out = _empty_output(x, weight, bias, relu)
    run(x, weight, bias, relu, out)
    return out


@winograd_conv2d.register_fake
def _empty_output(x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
    n, _, height, width = x.shape
    shape = n, len(bias), height, width
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def factors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices (…, depth, columns) as the kernel reads them, for inputs of float32 and of bfloat16.

    Returns:
        (…, depth, columns, 1) in float32; and (…, depth / 2, columns, 2) in bfloat16, or the same if the CPU does not
        multiply bfloat16.
    """
    exact = matrix.float().unsqueeze(-1).contiguous()
    return exact, matrix.unflatten(-2, (-1, 2)).mT.bfloat16().contiguous() if _has_bfloat16() else exact


def inputs_of(weight: Tensor) -> int:
    """The channels that a transformed weight is for."""
    return weight.shape[2] * weight.shape[4]


def check(x: Tensor, channels: int) -> None:
    """Raises:
    TypeError: x is of another type or shape than the weights are for.
    """
    if x.dtype not in (torch.float32, torch.bfloat16) or x.dim() != 4 or x.shape[1] != channels:
        raise TypeError(f'{x.dtype} {tuple(x.shape)}: give (N, {channels}, H, W) in float32 or bfloat16')


def summand(conv: nn.Conv2d) -> Tensor:
    """The bias in float32, zeros without one; whatever the default type of the caller."""
    if conv.bias is None:
        return torch.zeros(conv.out_channels, dtype=torch.float32)
    return conv.bias.detach().float().clone()


def run(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    relu: bool,
    out: Tensor,
    class_weight: Tensor | None = None,
    class_bias: Tensor | None = None,
) -> None:
    """Call the kernel in PyTorch's threads; with a classifier ``out`` takes its sums, else the convolution's."""
    from mmseg_bisenet.deploy.winograd.kernel import COLUMNS, ROWS, kernel, scratch_bytes

    factor_size = weight.element_size()
    x = x.contiguous(memory_format=torch.channels_last)
    n, channels, height, width = x.shape
    classes = 0 if class_bias is None else len(class_bias)
    count = torch.get_num_threads()
    tiles = n * -(-height // 4) * -(-width // 4)
    # Each thread gets the same number of blocks; the memory of a block is about as large as the cache.
    rounds = max(1, round(tiles / count * scratch_bytes(1, channels, factor_size) / CACHE_BYTES))
    block = -(-tiles // (count * rounds * ROWS)) * ROWS
    size = scratch_bytes(block, channels, factor_size, classes)
    scratch = torch.empty(count, size, dtype=torch.uint8)
    zeros = torch.zeros(max(channels, COLUMNS), dtype=torch.float32)
    addresses = [t.data_ptr() for t in (x, weight, bias, out, zeros, scratch)]
    values = [0, 0, *addresses, size, height, width, channels, len(bias), tiles, block, relu, classes]
    values += [0 if t is None else t.data_ptr() for t in (class_weight, class_bias)]
    arguments = np.array(values, np.int64)
    _parallel()(kernel(x.dtype == torch.bfloat16, factor_size).address, arguments.ctypes.data, count, 0)


def _is_fit(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    return (
        type(conv) is nn.Conv2d
        and (conv.kernel_size, conv.stride, conv.padding, conv.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
        and (conv.groups, conv.padding_mode, conv.weight.device.type) == (1, 'zeros', 'cpu')
        and conv.weight.dtype in (torch.float32, torch.bfloat16)
        and conv.in_channels % 32 == 0
        and conv.out_channels % 64 == 0
    )


def _ends_in_relu(layer: ConvModule) -> bool:
    norm = layer.norm if layer.with_norm else None
    return (
        layer.with_activation
        and type(layer.activate) is nn.ReLU
        and layer.order == ('conv', 'norm', 'act')
        and (norm is None or type(norm) is nn.Identity)
    )


def _has_bfloat16() -> bool:
    """Whether the CPU has AVX-512-BF16."""
    from mmseg_bisenet.deploy.winograd.vectors import has_bfloat16

    return has_bfloat16()


@functools.cache
def _parallel() -> Callable[[int | None, int, int, int], None] | Any:
    """:func:`mmseg_bisenet.openmp.parallel`.

    Returns:
        None also if Numba is missing, or if the CPU does not multiply and add in one instruction: LLVM then compiles
        each into a function call.
    """
    try:
        import numba  # noqa: F401  (where it is installed it may still refuse the NumPy beside it)
        from llvmlite.binding import get_host_cpu_features
    except ImportError:
        return None
    features = get_host_cpu_features()
    return openmp.parallel() if features.get('fma') or features.get('neon') else None
