"""PaddleSeg's BiSeNets as functions, from its code: the independent reference of the converted networks.

``tensors(name, shape)`` gives the weights, with PaddleSeg's names. Both networks return their logits at the size of the
features, the main head's first.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Tensors = Callable[[str, tuple[int, ...]], Tensor]


class Layers:
    """The layers of ``paddleseg/models/layers/layer_libs.py``."""

    def __init__(self, tensors: Tensors, bias: bool) -> None:
        self.tensors = tensors
        self.bias = bias  # in convolutions before a norm

    def conv(
        self,
        x: Tensor,
        name: str,
        width: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        bias: bool = True,
        same: bool = True,
    ) -> Tensor:
        """``same`` is Paddle's padding of that name: the odd pixel of the padding comes last."""
        weight = self.tensors(f'{name}.weight', (width, x.shape[1] // groups, kernel, kernel))
        shift = self.tensors(f'{name}.bias', (width,)) if bias else None
        if not same:
            return F.conv2d(x, weight, shift, stride, kernel // 2 * dilation, dilation, groups)
        margins = []
        for side in (x.shape[3], x.shape[2]):
            total = max((-(-side // stride) - 1) * stride + (kernel - 1) * dilation + 1 - side, 0)
            margins += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, margins), weight, shift, stride, 0, dilation, groups)

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            self.tensors(f'{name}.{part}', (x.shape[1],)) for part in ('_mean', '_variance', 'weight', 'bias')
        )
        scale = weight / (var + 1e-5).sqrt()
        return x * scale[:, None, None] + (bias - mean * scale)[:, None, None]

    def conv_bn(self, x: Tensor, name: str, width: int, kernel: int = 1, stride: int = 1, **others) -> Tensor:
        x = self.conv(x, f'{name}._conv', width, kernel, stride, bias=self.bias, **others)
        return self.norm(x, f'{name}._batch_norm')

    def depthwise(self, x: Tensor, name: str, width: int, stride: int = 1) -> Tensor:
        return self.conv_bn(x, f'{name}.depthwise_conv', width, 3, stride, groups=x.shape[1])

    def head(self, x: Tensor, name: str, width: int, classes: int, conv: str) -> Tensor:
        hidden = self.conv_bn(x, f'{name}.{conv}', width, 3).relu()
        return self.conv(hidden, f'{name}.conv_1x1', classes)


def bisenetv2(tensors: Tensors, x: Tensor, classes: int) -> list[Tensor]:
    """``paddleseg/models/bisenet.py``."""
    layers = Layers(tensors, bias=True)

    def conv_bn_relu(x: Tensor, name: str, width: int, kernel: int = 1, stride: int = 1) -> Tensor:
        return layers.conv_bn(x, name, width, kernel, stride).relu()

    def pool(x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    def up(x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, like.shape[2:], mode='bilinear', align_corners=False)

    detail = x
    for i, (width, stride) in enumerate(((64, 2), (64, 1), (64, 2), (64, 1), (64, 1), (128, 2), (128, 1), (128, 1))):
        detail = conv_bn_relu(detail, f'db.convs.{i}', width, 3, stride)

    x = conv_bn_relu(x, 'sb.stem.conv', 16, 3, 2)
    left = conv_bn_relu(conv_bn_relu(x, 'sb.stem.left.0', 8), 'sb.stem.left.1', 16, 3, 2)
    x = conv_bn_relu(torch.cat([left, F.max_pool2d(x, 3, 2, 1)], 1), 'sb.stem.fuse', 16, 3)
    features = [x]
    for stage, width, repeats in (('stage3', 32, 1), ('stage4', 64, 1), ('stage5_4', 128, 3)):
        name, expanded = f'sb.{stage}.0', 6 * x.shape[1]
        out = conv_bn_relu(x, f'{name}.branch_1.0', x.shape[1], 3)
        out = layers.depthwise(out, f'{name}.branch_1.1', expanded, 2)
        out = layers.depthwise(out, f'{name}.branch_1.2', expanded)
        out = layers.conv_bn(out, f'{name}.branch_1.3', width)
        shortcut = layers.depthwise(x, f'{name}.branch_2.0', x.shape[1], 2)
        x = (out + layers.conv_bn(shortcut, f'{name}.branch_2.1', width)).relu()
        for i in range(repeats):
            name = f'sb.{stage}.{i + 1}.conv'
            out = layers.depthwise(conv_bn_relu(x, f'{name}.0', width, 3), f'{name}.1', 6 * width)
            x = (layers.conv_bn(out, f'{name}.2', width) + x).relu()
        features.append(x)
    context = conv_bn_relu(layers.norm(pool(x), 'sb.ce.bn'), 'sb.ce.conv_1x1', 128) + x
    semantic = layers.conv(context, 'sb.ce.conv_3x3', 128, 3)

    keep = layers.conv(layers.depthwise(detail, 'bga.db_branch_keep.0', 128), 'bga.db_branch_keep.1', 128)
    down = layers.conv_bn(detail, 'bga.db_branch_down.0', 128, 3, 2)
    ones = torch.ones_like(down)  # Paddle divides by the pixels inside the map
    down = F.avg_pool2d(down, 3, 2, 1) / F.avg_pool2d(ones, 3, 2, 1)
    gate = layers.conv(layers.depthwise(semantic, 'bga.sb_branch_keep.0', 128), 'bga.sb_branch_keep.1', 128).sigmoid()
    fine = keep * up(layers.conv_bn(semantic, 'bga.sb_branch_up', 128, 3), keep).sigmoid()
    fused = layers.conv_bn(fine + up(down * gate, fine), 'bga.conv', 128, 3)
    return [
        layers.head(fused, 'head', 128, classes, 'conv_3x3.0'),
        *(
            layers.head(feature, f'aux_head{i}', feature.shape[1], classes, 'conv_3x3.0')
            for i, feature in enumerate(features, 1)
        ),
    ]


def bisenetv1(tensors: Tensors, x: Tensor, classes: int) -> list[Tensor]:
    """``paddleseg/models/bisenetv1.py`` with ResNet18_vd of output stride 8; auxiliary heads from 1/16 downwards."""
    layers = Layers(tensors, bias=False)

    def conv_bn_relu(x: Tensor, name: str, width: int, kernel: int = 1, stride: int = 1, **others) -> Tensor:
        return layers.conv_bn(x, name, width, kernel, stride, same=False, **others).relu()

    def pool(x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    def up(x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, like.shape[2:], mode='bilinear', align_corners=True)

    spatial = x
    for name, width, kernel, stride in (
        ('7x7', 64, 7, 2),
        ('3x3_1', 64, 3, 2),
        ('3x3_2', 64, 3, 2),
        ('1x1', 128, 1, 1),
    ):
        spatial = conv_bn_relu(spatial, f'spatial_path.conv_{name}', width, kernel, stride)

    for i, (width, stride) in enumerate(((32, 2), (32, 1), (64, 1)), 1):
        x = conv_bn_relu(x, f'backbone.conv1_{i}', width, 3, stride)
    x = F.max_pool2d(x, 3, 2, 1)
    features = []
    for stage, (width, stride, dilation) in enumerate(((64, 1, 1), (128, 2, 1), (256, 1, 2), (512, 1, 4))):
        for block in range(2):
            name, stride = f'backbone.bb_{stage}_{block}', stride if block == 0 else 1
            out = conv_bn_relu(x, f'{name}.conv0', width, 3, stride, dilation=dilation)
            out = layers.conv_bn(out, f'{name}.conv1', width, 3, dilation=dilation, same=False)
            if block == 0:
                x = F.avg_pool2d(x, 2, 2, ceil_mode=True) if stride == 2 else x
                x = layers.conv_bn(x, f'{name}.short', width)
            x = (x + out).relu()
        features.append(x)

    context = conv_bn_relu(pool(features[3]), 'global_context.1', 128)
    outputs = []
    for i, (feature, finer) in enumerate(((features[3], features[2]), (features[2], features[1]))):
        feature = conv_bn_relu(feature, f'arms.{i}.conv_3x3', 128, 3)
        gate = conv_bn_relu(pool(feature), f'arms.{i}.channel_attention.1', 128).sigmoid()
        context = conv_bn_relu(up(feature * gate + context, finer), f'refines.{i}', 128, 3)
        outputs.append(layers.head(context, f'heads.{i}', 128, classes, 'conv_3x3'))
    fused = conv_bn_relu(torch.cat([spatial, context], 1), 'ffm.conv_1x1', 256)
    gate = conv_bn_relu(pool(fused), 'ffm.channel_attention.1', 256)
    gate = conv_bn_relu(gate, 'ffm.channel_attention.2', 256).sigmoid()
    return [layers.head(fused + fused * gate, 'heads.2', 64, classes, 'conv_3x3'), *reversed(outputs)]
