"""The layers of a network in the order in which they run, from its graph of torch.export.

A convolution takes a following addition and ReLU into itself. Between layers that run in int8, values are bytes.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

aten = torch.ops.aten
RELU = (aten.relu.default, aten.relu_.default)
ADD = (aten.add.Tensor, aten.add_.Tensor)
ALIASES = (aten.dropout.default, aten.feature_dropout.default, aten._assert_tensor_metadata.default)


@dataclass
class Convolution:
    """In int8; ``output`` is the last node that it computes."""

    output: Node
    source: Node
    weight: Tensor
    bias: Tensor
    stride: int
    groups: int
    relu: bool = False
    shortcut: Node | None = None


@dataclass
class Pool:
    """The largest of a square."""

    output: Node
    source: Node
    kernel: int
    stride: int


@dataclass
class Gate:
    """``source * sigmoid(resized gate) + resized summand``."""

    output: Node
    source: Node
    gate: Node
    align_corners: bool
    summand: Node | None = None


@dataclass
class Other:
    """By PyTorch, in float32."""

    output: Node


@dataclass
class Plan:
    """``steps`` in order; ``image`` is the node of the pixels and ``logits`` that of the result."""

    image: Node
    logits: Node
    steps: list[Convolution | Pool | Gate | Other]
    constants: dict[Node, Tensor] = field(default_factory=dict)
    positive: set[Node] = field(default_factory=set)  # values that are never negative

    @property
    def convolutions(self) -> list[Convolution]:
        return [step for step in self.steps if isinstance(step, Convolution)]

    @property
    def stored(self) -> list[Node]:
        """The values that lie in maps of bytes, in order: what kernels read, and the parts of what is joined."""
        read = {step.source for step in self.steps if not isinstance(step, Other)}
        read |= {step.shortcut for step in self.convolutions if step.shortcut is not None}
        for joined in [node for node in read if node.target is aten.cat.default]:
            read |= set(joined.args[0])
        return [node for node in [self.image, *(step.output for step in self.steps)] if node in read]


class Pixels(nn.Module):
    """The network from pixels (N, 4, H, W) in float32, the fourth channel constant."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.backbone, self.decode_head = network.backbone, network.decode_head

    def forward(self, pixels: Tensor) -> Tensor:
        return self.decode_head(self.backbone(pixels))


def plan(network: nn.Module, shape: tuple[int, int]) -> Plan:
    """The steps of a :class:`~mmseg_bisenet.deploy.network.DeployNetwork` for one image of that shape."""
    program = torch.export.export(Pixels(network), (torch.zeros(1, 4, *shape),), strict=False)
    stored = dict(program.state_dict) | dict(program.constants)
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    graph = program.graph
    _drop_aliases(graph)
    nodes = [node for node in graph.nodes if node.op != 'output']
    inputs = [node for node in nodes if node.op == 'placeholder']
    constants = {node: stored[names[node.name]].detach() for node in inputs if node.name in names}
    (image,) = (node for node in inputs if node.name not in names)
    (output,) = (node for node in graph.nodes if node.op == 'output')
    (logits,) = output.args[0]

    steps: dict[Node, Convolution | Pool | Gate | Other] = {}  # by the last node of each
    result = Plan(image, logits, [], constants, {image})
    for node in nodes:
        if node.op != 'call_function':
            continue
        step = _step(node, steps, constants, result.positive)
        steps[step.output] = step
        if _is_positive(step, result.positive):
            result.positive.add(step.output)
    result.steps = list(steps.values())
    return result


def _step(node: Node, steps: dict[Node, Any], constants: dict[Node, Tensor], positive: set[Node]) -> Any:
    if node.target is aten.conv2d.default and _fits(node, constants):
        stride, groups = _argument(node, 3, [1, 1])[0], _argument(node, 6, 1)
        bias = _argument(node, 2, None)
        weight = constants[node.args[1]]
        return Convolution(
            node, node.args[0], weight, weight.new_zeros(len(weight)) if bias is None else constants[bias], stride, groups
        )
    if node.target in RELU and (before := _only(node.args[0], steps)):
        if not before.relu:
            del steps[before.output]
            before.relu, before.output = True, node
            return before
    if node.target in ADD and len(node.args) == 2:
        # The later of two convolutions adds the other's result.
        found = [(i, before) for i in (0, 1) if (before := _only(node.args[i], steps))]
        found = [(i, before) for i, before in found if not before.relu and before.shortcut is None]
        order = list(steps)
        if found:
            i, before = max(found, key=lambda pair: order.index(pair[1].output))
            other = node.args[1 - i]
            if isinstance(other, Node) and other is not node.args[i] and _shape(other) == _shape(node):
                del steps[before.output]
                before.shortcut, before.output = other, node
                return before
        if gate := _with_summand(node, steps):
            return gate
    if node.target is aten.mul.Tensor and (gate := _gate(node, steps)):
        return gate
    if node.target is aten.avg_pool2d.default and node.args[1:] == ([3, 3], [2, 2], [1, 1]):
        # The mean of zeros too is a convolution.
        channels = _shape(node)[1]
        return Convolution(
            node, node.args[0], torch.full((channels, 1, 3, 3), 1 / 9), torch.zeros(channels), 2, groups=channels
        )
    if node.target is aten.max_pool2d.default and len(node.args) == 4 and node.args[0] in positive:
        (kernel, width), (stride, other), (padding, _) = node.args[1:]
        if kernel == width and stride == other and padding == kernel // 2:
            return Pool(node, node.args[0], kernel, stride)
    return Other(node)


def _gate(node: Node, steps: dict[Node, Any]) -> Gate | None:
    for value, gate in (node.args[:2], node.args[1::-1]):
        if not (isinstance(value, Node) and isinstance(gate, Node)) or _shape(value) != _shape(node):
            continue
        small = _resized(gate.args[0], steps) if gate.target is aten.sigmoid.default and len(gate.users) == 1 else None
        if small is not None:
            for inner in (gate, gate.args[0]):
                del steps[inner]
            return Gate(node, value, small, gate.args[0].args[2])
    return None


def _with_summand(node: Node, steps: dict[Node, Any]) -> Gate | None:
    for value, other in (node.args[:2], node.args[1::-1]):
        gate = steps.get(value)
        small = _resized(other, steps)
        if not isinstance(gate, Gate) or gate.summand is not None or len(value.users) > 1 or small is None:
            continue
        if other.args[2] == gate.align_corners and _shape(small)[2:] == _shape(gate.gate)[2:] and _shape(other) == _shape(node):
            for inner in (value, other):
                del steps[inner]
            gate.summand, gate.output = small, node
            return gate
    return None


def _resized(node: Any, steps: dict[Node, Any]) -> Node | None:
    """What is resized bilinearly to give a value that nothing else reads."""
    if not isinstance(steps.get(node), Other) or len(node.users) > 1:
        return None
    bilinear = node.target is aten.upsample_bilinear2d.vec and node.args[3:] in ((), (None,))
    return node.args[0] if bilinear else None


def _only(node: Any, steps: dict[Node, Any]) -> Convolution | None:
    step = steps.get(node)
    return step if isinstance(step, Convolution) and len(node.users) == 1 else None


def _fits(node: Node, constants: dict[Node, Tensor]) -> bool:
    weight = constants.get(node.args[1])
    if weight is None or _argument(node, 5, [1, 1]) != [1, 1] or _shape(node)[2:] == (1, 1) or _shape(node)[0] != 1:
        return False
    outputs, inputs, kernel, width = weight.shape
    stride, padding, groups = _argument(node, 3, [1, 1]), _argument(node, 4, [0, 0]), _argument(node, 6, 1)
    if kernel != width or kernel % 2 == 0 or stride[0] != stride[1] or list(padding) != [kernel // 2] * 2:
        return False
    depthwise = inputs == 1 and groups == _shape(node.args[0])[1] and kernel == 3 and stride[0] in (1, 2)
    return groups == 1 or depthwise


def _is_positive(step: Any, positive: set[Node]) -> bool:
    if isinstance(step, Convolution):
        return step.relu
    if isinstance(step, Pool):
        return True
    node = step.output
    if node.target in (*RELU, aten.sigmoid.default):
        return True
    if node.target is aten.cat.default:
        return all(value in positive for value in node.args[0])
    if node.target in (aten.adaptive_avg_pool2d.default, aten.avg_pool2d.default, aten.upsample_bilinear2d.vec):
        return node.args[0] in positive
    if node.target in (*ADD, aten.mul.Tensor):
        return all(value in positive for value in node.args[:2])
    return False


def _drop_aliases(graph: torch.fx.Graph) -> None:
    for node in list(graph.nodes):
        if node.target in ALIASES:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def _argument(node: Node, index: int, default: Any) -> Any:
    value = node.args[index] if len(node.args) > index else default
    return value if not isinstance(value, list | tuple) or len(value) > 1 else list(value) * 2


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(node.meta['val'].shape)
