"""Rewrites of a trained network for inference, each of which leaves what it computes unchanged but for rounding.

Batch norm in evaluation is one factor and one summand a channel, so it is part of the convolution beside it. So is the
normalisation of the image, where zero padding needs care: a padded pixel is zero *behind* the normalisation. A fourth
channel, constant in the image and zero in the padding, carries the summand, and makes that exact. The constant is as
large as pixels are, and not 1: weights of other channels, which share a scale in int8, would vanish beside its own.

The two first convolutions of a BiSeNet read the same image with the same geometry and could be one. They are not: the
layers behind them then read slices of its output, which every runtime for CPUs copies or reads badly.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from mmcv.cnn import ConvModule
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
    """Replace each batch norm that follows a convolution in the same module, and give the convolution its effect.

    What normalises weights or statistics of its own (ConvWS, GroupNorm, batch norm without running statistics) stays.
    """
    for parent in list(network.modules()):
        if isinstance(parent, ConvModule) and parent.order.index('norm') != parent.order.index('conv') + 1:
            continue  # its children stand in this order, and run in another
        children = list(parent.named_children())
        for (name, conv), (norm_name, norm) in pairwise(children):
            if type(conv) is nn.Conv2d and _is_fixed(norm):
                setattr(parent, name, fuse_conv_bn_eval(conv.eval(), norm.eval()))
                setattr(parent, norm_name, nn.Identity())


def fold_norm_into_next(norm: nn.Module, conv: nn.Conv2d) -> nn.Module:
    """The batch norm in front of a 1x1 convolution becomes part of it, as behind a global pool.

    Returns:
        What now stands in place of ``norm``.
    """
    if type(conv) is not nn.Conv2d or conv.kernel_size != (1, 1) or not _is_fixed(norm):
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


def _is_fixed(norm: nn.Module) -> bool:
    return isinstance(norm, _BatchNorm) and norm.running_mean is not None


# -- normalisation -----------------------------------------------------------------------------------------------------


@torch.no_grad()
def normalization(preprocessor: BaseDataPreprocessor) -> tuple[Tensor, Tensor]:
    """What a preprocessor makes of a pixel p is ``matrix @ p + shift``: (3, 3) and (3,), float64.

    It is found by running it, so that channel order, mean and standard deviation come from one place.

    Raises:
        InputError: it does something else, or pads with other pixels than zero.
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
            f'data_preprocessor {type(preprocessor).__name__} is no mean and standard deviation a channel; '
            'use SegDataPreProcessor'
        )
    return matrix, shift


def fold_normalization(conv: nn.Conv2d, matrix: Tensor, shift: Tensor) -> None:
    """Let a convolution of normalised images read pixels, and a fourth channel, ``CONSTANT`` but zero where padded."""
    weight = conv.weight.detach().double()
    pixels = torch.einsum('oihw,ij->ojhw', weight, matrix.to(weight))
    constant = torch.einsum('oihw,i->ohw', weight, shift.to(weight)) / CONSTANT
    conv.weight = nn.Parameter(torch.cat([pixels, constant[:, None]], dim=1).to(conv.weight.dtype))
    conv.in_channels = 4


def image_convolutions(backbone: nn.Module) -> list[nn.Conv2d]:
    """The convolutions that read the image itself, found by running the network on a small one.

    Raises:
        InputError: no convolution reads it, a layer of another kind, or one that is not plain.
    """
    found = []

    def note(module: nn.Module, inputs: Sequence[Tensor]) -> None:
        if inputs and inputs[0] is image and not any(module.children()):
            found.append(module)

    handles = [module.register_forward_pre_hook(note) for module in backbone.modules() if module is not backbone]
    weight = next(backbone.parameters())
    image = torch.zeros(1, 3, 64, 64).to(weight)
    try:
        with torch.enable_grad():  # without strips, which are slices of the image
            backbone(image)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise InputError(f'no layer of {type(backbone).__name__} reads the image as it is; do without switch_to_deploy')
    for module in found:
        if type(module) is not nn.Conv2d or module.groups != 1 or module.padding_mode != 'zeros':
            raise InputError(
                f'{type(module).__name__} reads the image in {type(backbone).__name__}, and normalisation folds into '
                'plain convolutions only; do without switch_to_deploy'
            )
    return found


class PixelPreprocessor(BaseDataPreprocessor):
    """What takes the place of a preprocessor whose normalisation was folded: pixels, and the constant channel.

    Args:
        test_cfg: ``size`` or ``size_divisor`` to pad images to, as MMSegmentation's ``SegDataPreProcessor`` has it.
    """

    def __init__(self, test_cfg: dict | None = None) -> None:
        super().__init__()
        self.test_cfg = test_cfg

    def forward(self, data: dict, training: bool = False) -> dict:
        """``inputs``, a list of (3, H, W) uint8 -> (N, 4, H, W) float32, zero where padded, and the samples."""
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
