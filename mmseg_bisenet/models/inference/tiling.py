"""Prediction on a CPU with less memory: known layers of both networks run on strips of rows, one strip at a time.

The first layers of a network hold most of its memory: maps at half the image's size, before and after each norm. In
prediction only the last of these maps must be complete. :func:`enable` gives known modules a subclass of their class
whose ``forward`` computes that map strip by strip, so that everything between fits into caches. Each output row is
computed from the same input rows as before. Training, gradients, other devices and traced graphs (``torch.compile``,
``torch.export``, ``torch.jit``) run the whole map at once. After :func:`enable_compiled`, graphs of ``torch.compile``
have few strips, if maps are large.

The swap of classes leaves module names, parameters and hooks alone, and copies and pickles of a network keep it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from mmcv.cnn import ConvModule
from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding
from mmseg.models.backbones import ResNet
from mmseg.models.backbones.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from mmseg_bisenet.models.bisenetv1.context_path import ContextPath
from mmseg_bisenet.models.bisenetv1.feature_fusion import FeatureFusionModule
from mmseg_bisenet.models.bisenetv1.spatial_path import SpatialPath
from mmseg_bisenet.models.bisenetv2.detail_branch import DetailBranch
from mmseg_bisenet.models.bisenetv2.semantic_branch import StemBlock
from mmseg_bisenet.models.head import BiSeNetHead

Module = TypeVar('Module', bound=nn.Module)

# glibc returns blocks above 32 MB to the system at once, and clearing new pages takes longer than most layers.
LARGE = 2**24


def enable(network: Module) -> Module:
    """Tile the modules of ``network`` that this file knows, in place, and return it.

    Modules of other classes, subclasses of the known ones included, stay as they are.
    """
    for module in network.modules():
        if isinstance(module, FeatureFusionModule):
            module.conv1.__class__ = TiledConvModule
        module.__class__ = TILED.get(type(module), type(module))
    return network


def enable_compiled(network: nn.Module) -> None:
    """Let ``torch.compile`` cut maps of more than ``LARGE`` bytes, for a network on a CPU and images of one size."""
    modules: Iterable[Any] = network.modules()
    for module in modules:
        module.cut_when_compiled = True


class TiledSpatialPath(SpatialPath):
    def forward(self, x: Tensor) -> Tensor:
        layers = nn.Sequential(self.layer1, self.layer2, self.layer3)
        return self.layer4(in_strips(self, layers, x, *span(layers), rows=8))


class TiledContextPath(ContextPath):
    """The stem and each block of a ResNet are tiled; other networks run as they are."""

    def stages(self, x: Tensor) -> Sequence[Tensor]:
        network: ResNet = self.backbone
        if self.training or torch.is_grad_enabled() or type(network).forward is not ResNet.forward:
            return super().stages(x)
        first = network.stem if network.deep_stem else network.conv1
        x = in_strips(network, self._stem, x, *span(first, network.maxpool))
        outputs = []
        for index, name in enumerate(network.res_layers):
            for block in getattr(network, name):
                x = in_strips(block, block, x, *_block_span(block), rows=64) if _is_plain(block) else block(x)
            if index in network.out_indices[-3:]:
                outputs.append(x)
        return outputs

    def _stem(self, x: Tensor) -> Tensor:
        network: ResNet = self.backbone
        x = network.stem(x) if network.deep_stem else network.relu(network.norm1(network.conv1(x)))
        return network.maxpool(x)


class TiledConvModule(ConvModule):
    """For the 1x1 convolution of the feature fusion module, which reads all channels of both paths."""

    def forward(self, x: Tensor) -> Tensor:
        return in_strips(self, super().forward, x, *span(self))


class TiledDetailBranch(DetailBranch):
    """Tiled in two groups, each up to and including the next layer of stride 2."""

    detail_branch: Any  # three nn.Sequential

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = self.detail_branch
        for layers in (nn.Sequential(first, second[0]), nn.Sequential(second[1:], third[0])):
            x = in_strips(self, layers, x, *span(layers))
        return third[1:](x)


class TiledStemBlock(StemBlock):
    def forward(self, x: Tensor) -> Tensor:
        return in_strips(self, super().forward, x, *span(self.conv_first, self.convs, self.fuse_last))


class TiledHead(BiSeNetHead):
    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        x = self._transform_inputs(inputs)
        return in_strips(self, lambda x: self.cls_seg(self.convs(x)), x, *span(self.convs))


class SeparableMaxPool2d(nn.MaxPool2d):
    """The 3x3 max pool of stride 2 of stems: rows first, then columns, equal to the last bit.

    It is not tiled but replaced, because PyTorch's kernel for NCHW on CPUs compares value by value.
    """

    def forward(self, x: Tensor) -> Tensor:
        plain = (self.kernel_size, self.stride, self.padding, self.dilation, self.return_indices) == (3, 2, 1, 1, False)
        if plain and x.is_contiguous() and in_prediction_on_cpu(self, x):
            return _halve(_halve(x, 2), 3)
        return super().forward(x)


TILED = {
    SpatialPath: TiledSpatialPath,
    ContextPath: TiledContextPath,
    DetailBranch: TiledDetailBranch,
    StemBlock: TiledStemBlock,
    BiSeNetHead: TiledHead,
    nn.MaxPool2d: SeparableMaxPool2d,
}


def in_strips(
    module: nn.Module, layers: Callable[[Tensor], Tensor], x: Tensor, stride: int, reach: int, rows: int = 16
) -> Tensor:
    """``layers(x)``, in strips of rows if ``module`` is in evaluation on a CPU, without gradients.

    Args:
        module: contains the layers; it is in training or in evaluation.
        layers: (N, C, H, W) -> (N, D, ceil(H / stride), ceil(W / stride)), with a small receptive field.
        x: the input.
        stride: of all layers together.
        reach: output row ``y`` depends on no input row above ``stride * y - reach``, as :func:`span` counts.
        rows: output rows in a strip; the maps between the layers should fit into caches.
    """
    if torch.compiler.is_compiling() and getattr(module, 'cut_when_compiled', False):
        count = -(-_bytes_of_first_map(layers if isinstance(layers, nn.Module) else module, x) // LARGE)
        rows = -(-x.shape[2] // (stride * count))
    elif not in_prediction_on_cpu(module, x):
        return layers(x)
    height, step = x.shape[2], rows * stride
    # The size comes last: an export with dynamic shapes must not depend on it.
    if height <= step or not _is_local(module):
        return layers(x)
    above, below = -(-reach // stride) * stride, max(reach - stride + 1, 0)
    result: Any = None
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
    """Stride and reach of consecutive convolutions and pools, padded so that only strides change the size."""
    stride, reach = 1, 0
    for layer in (inner for outer in layers for inner in outer.modules()):
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            reach += stride * _first(layer.padding)
            stride *= _first(layer.stride)
    return stride, reach


def in_prediction_on_cpu(module: nn.Module, x: Tensor) -> bool:
    """Whether only the result is needed: no gradients, and no graph of the operations."""
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return not (module.training or torch.is_grad_enabled() or traced) and x.device.type == 'cpu'


def _bytes_of_first_map(layers: nn.Module, x: Tensor) -> int:
    """The size of the output of the first convolution, the largest map."""
    conv = next(layer for layer in layers.modules() if isinstance(layer, nn.Conv2d))
    return conv.out_channels * (x.numel() // x.shape[1]) // _first(conv.stride) ** 2 * x.element_size()


def _first(value: int | tuple[int, ...] | Any) -> int:
    return value if isinstance(value, int) else value[0]


def _is_local(module: nn.Module) -> bool:
    """Whether no layer depends on the whole map: group norm and batch norm without running statistics read it, and
    adaptive padding pads by its size.
    """
    return not any(
        isinstance(layer, nn.GroupNorm | nn.LayerNorm | Conv2dAdaptivePadding)
        or (isinstance(layer, _NormBase) and (layer.training or layer.running_mean is None))
        for layer in module.modules()
    )


def _is_plain(block: nn.Module) -> bool:
    """Whether a ResNet block has neither plugins, which may read the whole map, nor deformable convolutions."""
    return type(block) is BasicBlock or (type(block) is Bottleneck and not (block.with_plugins or block.with_dcn))


def _block_span(block: BasicBlock | Bottleneck) -> tuple[int, int]:
    return span(*(layer for name, layer in block.named_children() if name != 'downsample'))


def _halve(x: Tensor, dim: int) -> Tensor:
    """The maximum of each even position of ``dim`` and its two neighbours."""
    even, odd = (x[(slice(None),) * dim + (slice(place, None, 2),)] for place in (0, 1))
    result = even.clone(memory_format=torch.contiguous_format)
    for start, length in ((0, odd.shape[dim]), (1, even.shape[dim] - 1)):
        part = result.narrow(dim, start, length)
        torch.maximum(part, odd.narrow(dim, 0, length), out=part)
    return result
