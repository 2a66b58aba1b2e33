"""The network as one graph from pixels to labels, and as ONNX.

Two matrix products and an argmax make the labels. Bilinear upsampling is linear along rows and along columns, so it is
``rows @ logits @ columns.T``, and runtimes multiply matrices faster than they resize. Example for 512x1024, 19 classes
and two threads: in ONNX Runtime the end of the graph took 20 ms as Interpolate and TopK, 13 ms as products. The
runtimes of this package stop at ``logits``, and are faster still.
"""

import copy
from typing import TYPE_CHECKING, Any

import torch
from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding
from torch import Tensor, nn

from mmseg_bisenet.deploy.backends.base import LARGEST, SMALLEST
from mmseg_bisenet.deploy.network import DeployNetwork
from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    import onnx

TRACED = (128, 256)  # what free shapes are traced with
NOT_FREE = (
    'the network has layers that pad or pool by the size of the image, and cannot be exported for any size; leave '
    '--dynamic out, and give the size with --shape'
)


class Graph(nn.Module):
    """The network as it is exported.

    Args:
        network: images -> logits.
        labels: whether the graph goes on from logits to labels.
        cast_by_float: convert between bytes and other types through float32 only, for runtimes that have no other cast.
    """

    def __init__(self, network: DeployNetwork, labels: bool, cast_by_float: bool = False) -> None:
        super().__init__()
        self.network = network
        self.labels = labels
        self.cast_by_float = cast_by_float

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images: (N, H, W, 3) uint8 -> [labels (N, H, W) uint8,] logits (N, num_classes, H/8, W/8)."""
        logits = self.network(images.float() if self.cast_by_float else images)
        if not self.labels:
            return (logits,)
        rows, columns = (
            bilinear(logits.shape[2 + i], images.shape[1 + i], self.network.align_corners, logits.device)
            for i in (0, 1)
        )
        labels = (rows @ (logits.float() @ columns.T)).argmax(dim=1)
        return (labels.float() if self.cast_by_float else labels).to(torch.uint8), logits


class Named(nn.Module):
    """A graph whose output is a dict, for converters that name outputs after its keys."""

    def __init__(self, whole: Graph) -> None:
        super().__init__()
        self.whole = whole  # a module of torch.fx has an attribute `graph` of its own

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images: (N, H, W, 3) uint8 -> labels (N, H, W) uint8, or logits (N, num_classes, H/8, W/8)."""
        return {'labels' if self.whole.labels else 'logits': self.whole(images)[0]}


class Planes(nn.Module):
    """A graph without labels for runtimes that take an image as planes of floats."""

    def __init__(self, whole: Graph) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, planes: Tensor) -> Tensor:
        """planes: (N, 3, H, W) float, 0 to 255, BGR -> logits (N, num_classes, H/8, W/8)."""
        return self.whole(planes.permute(0, 2, 3, 1))[0]


def contiguous(graph: Graph) -> Graph:
    """A copy with weights in PyTorch's default layout.

    ``DeployNetwork`` has them in channels last, which converters of other libraries do not expect: litert-torch reads
    them in the wrong order, and ExecuTorch refuses them.
    """
    graph = copy.deepcopy(graph)
    for weight in graph.parameters():
        weight.data = weight.data.contiguous()
    return graph


def bilinear(source: int, target: int, align_corners: bool, device: torch.device) -> Tensor:
    """The matrix (target, source) that upsamples as ``F.interpolate(mode='bilinear')`` does."""
    at = torch.arange(target, dtype=torch.float32, device=device)
    if align_corners:
        at = at * ((source - 1) / (target - 1))
    else:
        at = ((at + 0.5) * (source / target) - 0.5).clamp(min=0)
    at = at.minimum(torch.full_like(at[:1], 1.0) * (source - 1))
    index = torch.arange(source, dtype=torch.float32, device=device)
    return (1 - (at[:, None] - index).abs()).clamp(min=0)


def to_program(graph: Graph, shape: tuple[int, int], dynamic: bool) -> torch.export.ExportedProgram:
    """The graph by torch.export, for a batch of 1 and images of that shape, or for every N, H and W.

    Raises:
        InputError: a layer pads or pools by the size of the image, so that torch.export cannot leave it free.
    """
    device = next(graph.parameters()).device
    # torch.export treats a size of 1 as a constant, and equal sizes as one size.
    batch, shape = (2, TRACED) if dynamic else (1, shape)
    images = torch.zeros(batch, *shape, 3, dtype=torch.uint8, device=device)
    free = None
    if dynamic:
        if any(isinstance(layer, Conv2dAdaptivePadding) for layer in graph.modules()):
            raise InputError(NOT_FREE)  # torch.export would find out in minutes
        side = dict(min=SMALLEST, max=LARGEST)
        dim = torch.export.Dim
        free = dict(images={0: dim('batch', max=1024), 1: dim('height', **side), 2: dim('width', **side)})
    try:
        return torch.export.export(graph, (images,), dynamic_shapes=free, strict=False)
    except torch._dynamo.exc.UserError as error:
        raise InputError(NOT_FREE) from error


def to_onnx(graph: Graph, shape: tuple[int, int], dynamic: bool) -> 'onnx.ModelProto':
    """The graph with input ``images``, a tensor ``logits``, and the output ``labels`` if it has one.

    Its nodes are named after the modules of the network, as in ``decode_head.conv_seg/Conv``.
    """
    names = ['labels', 'logits'] if graph.labels else ['logits']
    program = to_program(graph, shape, dynamic)
    exported: Any = torch.onnx.export(program, input_names=['images'], output_names=names, dynamo=True, verbose=False)
    model = exported.model_proto
    if graph.labels:
        del model.graph.output[1]  # `logits` keeps its name
    _name_nodes(model)
    return model


def _name_nodes(model: 'onnx.ModelProto') -> None:
    """Name nodes after modules, and drop PyTorch's notes, which hold paths and code of this machine."""
    seen: dict[str, int] = {}
    for node in model.graph.node:
        notes = {item.key: item.value for item in node.metadata_props}
        scopes = [text for text in notes.get('pkg.torch.onnx.name_scopes', '[]').strip('[]').split(', ')]
        module = scopes[-2].strip("'").removeprefix('network').lstrip('.') if len(scopes) > 1 else ''
        name = f'{module or "labels"}/{node.op_type}'
        seen[name] = seen.get(name, -1) + 1
        node.name = name if not seen[name] else f'{name}_{seen[name]}'
        del node.metadata_props[:]
    for item in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del item.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
