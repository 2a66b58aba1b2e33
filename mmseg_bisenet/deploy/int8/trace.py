"""A network's graph of torch.export, from which :mod:`~.plan` makes steps and :mod:`~.ranges` measures values."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Graph, Node

aten = torch.ops.aten
NOTHING = (aten.dropout.default, aten.feature_dropout.default, aten._assert_tensor_metadata.default)


class Pixels(nn.Module):
    """A :class:`~mmseg_bisenet.deploy.network.DeployNetwork` from float32 pixels (N, 4, H, W) on."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.backbone, self.decode_head = network.backbone, network.decode_head

    def forward(self, pixels: Tensor) -> Tensor:
        return self.decode_head(self.backbone(pixels))


@dataclass
class Traced:
    """A network for one image: its graph, and by their nodes the pixels (1, 4, H, W), the logits, and the weights."""

    graph: Graph
    image: Node
    logits: Node
    constants: dict[Node, Tensor]


def trace(network: nn.Module, shape: tuple[int, int]) -> Traced:
    """A :class:`~mmseg_bisenet.deploy.network.DeployNetwork` on the CPU for images of that shape."""
    program = torch.export.export(Pixels(network), (torch.zeros(1, 4, *shape),), strict=False)
    graph, signature = program.graph, program.graph_signature
    tensors = {**program.state_dict, **program.constants}
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    names |= signature.inputs_to_lifted_tensor_constants
    _drop_nothing(graph)
    inputs = [node for node in graph.nodes if node.op == 'placeholder']
    constants = {node: tensors[names[node.name]].detach() for node in inputs if node.name in names}
    (image,) = (node for node in inputs if node.name not in names)
    (output,) = (node for node in graph.nodes if node.op == 'output')
    return Traced(graph, image, output.args[0][0], constants)


def shape_of(node: Any) -> tuple[int, ...]:
    """(1, C, H, W) of the value that the node computes."""
    return tuple(node.meta['val'].shape)


def is_vector(node: Any) -> bool:
    """Whether a value has the shape (1, C, 1, 1)."""
    return isinstance(node, Node) and len(shape_of(node)) == 4 and shape_of(node)[2:] == (1, 1)


def resizing(node: Any) -> str:
    """How a node resizes a map, as a gate names it; '' if it does not."""
    if node.target is aten.upsample_bilinear2d.vec and node.args[3:] in ((), (None,)):
        return 'corners' if node.args[2] else 'bilinear'
    if node.target is aten.upsample_nearest2d.vec:
        sides = zip(shape_of(node)[2:], shape_of(node.args[0])[2:], strict=True)
        return '' if any(large % small for large, small in sides) else 'nearest'
    return ''


def copied(node: Any) -> tuple[np.ndarray, np.ndarray]:
    """Which row and column of its input an operator of nearest neighbours copies, for each of its output."""
    height, width = shape_of(node.args[0])[2:]
    places = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij'))
    of = node.target(places[None].float(), *node.args[1:], **node.kwargs)[0].long()
    return of[0, :, 0].numpy().copy(), of[1, 0].numpy().copy()


def _drop_nothing(graph: Graph) -> None:
    for node in list(graph.nodes):
        if node.target in NOTHING:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
