"""Batch norms and the normalisation of the image become part of the convolutions; results change only by rounding.

In evaluation, batch norm multiplies each channel by a factor and adds a constant; a convolution next to it can do both.
So does the normalisation of the image, but zero padding needs care: a padded pixel is zero *after* the normalisation.
A fourth channel therefore carries the added constant: it is ``CONSTANT`` in the image and zero in the padding.
``CONSTANT`` is as large as a pixel, and not 1, because in int8 the weights of all channels share a scale. The weights
of a channel of ones would be so large that the others are rounded to zero.

The first convolutions of the two paths or branches read the same image with the same geometry and could be merged. They
are not, because the next layers would read slices of the output, which every CPU runtime copies or reads slowly.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, TypeGuard

import torch
from mmcv.cnn import ConvModule
from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding
from mmengine.model import BaseDataPreprocessor
from mmseg.structures import SegDataSample
from mmseg.utils import stack_batch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmseg_bisenet.errors import InputError

CONSTANT = 128  # the fourth channel of the image


def fold_batch_norms(network: nn.Module) -> None:
    """Fold each batch norm into the convolution before it in the same module.

    ConvWS, GroupNorm and batch norm without running statistics stay: they depend on the input or change the weights.
    """
    for parent in list(network.modules()):
        if isinstance(parent, ConvModule) and parent.order.index('norm') != parent.order.index('conv') + 1:
            continue  # the norm does not run right after the convolution
        children = list(parent.named_children())
        for (name, conv), (norm_name, norm) in pairwise(children):
            if _is_plain(conv) and _is_fixed(norm):
                setattr(parent, name, fuse_conv_bn_eval(conv.eval(), norm.eval()))
                setattr(parent, norm_name, nn.Identity())


def fold_norm_into_next(norm: nn.Module, conv: nn.Conv2d) -> nn.Module:
    """Fold the batch norm into the 1x1 convolution after it, as after a global pool.

    Returns:
        The module to put where ``norm`` was: an identity, or ``norm`` itself if it cannot be folded.
    """
    if not _is_plain(conv) or conv.kernel_size != (1, 1) or not _is_fixed(norm):
        return norm
    weight = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        weight = weight * norm.weight
    shift = -norm.running_mean * weight + (norm.bias if norm.affine else 0)
    matrix = conv.weight[:, :, 0, 0].double()
    bias = matrix @ shift + (0 if conv.bias is None else conv.bias)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    conv.weight = nn.Parameter(conv.weight * weight.to(conv.weight.dtype)[:, None, None], requires_grad=False)
    return nn.Identity()


def pad_statically(network: nn.Module) -> None:
    """Let convolutions of stride 1 that pad by the size of their input pad by a constant, which is the same."""
    modules: Iterable[Any] = network.modules()
    for conv in modules:
        if type(conv) is Conv2dAdaptivePadding and conv.stride == (1, 1):
            conv.padding = tuple(d * (k // 2) for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
            conv.__class__ = nn.Conv2d  # of which it is a subclass with another `forward`


def _is_plain(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether the module convolves with its own weights."""
    return type(conv) in (nn.Conv2d, Conv2dAdaptivePadding)


def _is_fixed(norm: nn.Module) -> TypeGuard[Any]:  # a _BatchNorm that has running statistics
    return isinstance(norm, _BatchNorm) and norm.running_mean is not None


# -- normalisation -----------------------------------------------------------------------------------------------------


@torch.no_grad()
def normalization(preprocessor: BaseDataPreprocessor) -> tuple[Tensor, Tensor]:
    """``matrix`` (3, 3) and ``shift`` (3,), float64: the preprocessor turns a pixel p into ``matrix @ p + shift``.

    Both are measured by running the preprocessor, so they include channel order, mean and standard deviation.

    Raises:
        InputError: the preprocessor does something else, or pads with a value other than zero.
    """
    if getattr(preprocessor, 'pad_val', 0) != 0:
        raise InputError(
            f'data_preprocessor.pad_val={preprocessor.pad_val} cannot be folded into a convolution; set it to 0'
        )
    pixels = torch.cat([torch.zeros(3, 1), 255 * torch.eye(3), torch.tensor([[30.0], [60.0], [90.0]])], dim=1)
    data = preprocessor(dict(inputs=[pixels[:, None]], data_samples=[SegDataSample()]))
    outputs = data['inputs'][0, :, 0, :5].double()
    shift = outputs[:, 0]
    matrix = (outputs[:, 1:4] - shift[:, None]) / 255
    if not torch.allclose(matrix @ pixels[:, 4].double().to(matrix.device) + shift, outputs[:, 4], atol=1e-4):
        raise InputError(
            f'data_preprocessor {type(preprocessor).__name__} does more than subtract a mean and divide by a standard '
            'deviation, and cannot be folded into a convolution; use SegDataPreProcessor'
        )
    return matrix, shift


def fold_normalization(conv: nn.Conv2d, matrix: Tensor, shift: Tensor) -> None:
    """Let a convolution of normalised images read pixels and a fourth channel, ``CONSTANT`` or zero in the padding."""
    weight = conv.weight.detach().double()
    pixels = torch.einsum('oihw,ij->ojhw', weight, matrix.to(weight))
    constant = torch.einsum('oihw,i->ohw', weight, shift.to(weight)) / CONSTANT
    conv.weight = nn.Parameter(torch.cat([pixels, constant[:, None]], dim=1).to(conv.weight.dtype))
    conv.in_channels = 4


def image_convolutions(backbone: nn.Module) -> list[nn.Conv2d]:
    """The convolutions that read the image, found by running the network on a small one.

    Raises:
        InputError: no layer reads the image, or one that is not a plain convolution does.
    """
    found: list[Any] = []

    def note(module: nn.Module, inputs: Sequence[Tensor]) -> None:
        if inputs and inputs[0] is image and not any(module.children()):
            found.append(module)

    handles = [module.register_forward_pre_hook(note) for module in backbone.modules() if module is not backbone]
    weight = next(backbone.parameters())
    image = torch.zeros(1, 3, 64, 64).to(weight)
    try:
        with torch.enable_grad():  # no tiling: strips are slices of the image
            backbone(image)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise InputError(f'no layer of {type(backbone).__name__} reads the original image; do not use switch_to_deploy')
    for module in found:
        if not _is_plain(module) or module.groups != 1 or module.padding_mode != 'zeros':
            raise InputError(
                f'{type(module).__name__} reads the image in {type(backbone).__name__}, but normalisation folds only '
                'into plain convolutions; do not use switch_to_deploy'
            )
    return found


class PixelPreprocessor(BaseDataPreprocessor):
    """Replaces a preprocessor whose normalisation was folded: gives pixels and the constant channel.

    Args:
        test_cfg: ``size`` or ``size_divisor`` to pad images to, as in MMSegmentation's ``SegDataPreProcessor``.
    """

    def __init__(self, test_cfg: dict | None = None) -> None:
        super().__init__()
        self.test_cfg = test_cfg

    def forward(self, data: dict, training: bool = False) -> dict:
        """``inputs``, a list of (3, H, W) uint8 -> (N, 4, H, W) float32, zero in the padding, and the samples."""
        data = self.cast_data(data)
        images = [F.pad(image, (0, 0, 0, 0, 0, 1), value=CONSTANT) for image in data['inputs']]
        samples = data.get('data_samples')
        if self.test_cfg:
            padding = {key: self.test_cfg.get(key) for key in ('size', 'size_divisor')}
            inputs, padded = stack_batch(images, **padding)
            for sample, meta in zip(samples or (), padded, strict=False):
                sample.set_metainfo(meta)
        else:
            inputs = torch.stack(images)
        inputs = inputs.contiguous(memory_format=torch.channels_last).float()
        return dict(inputs=inputs, data_samples=samples)
