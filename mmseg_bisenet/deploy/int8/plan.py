"""The steps that compute a network, in order, from its graph of torch.export.

A convolution takes the addition and the ReLU behind it into itself. Values between the steps of kernels are bytes.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node

from mmseg_bisenet.deploy.int8.steps import (
    Convolution,
    Gate,
    Linear,
    Mean,
    Nearest,
    Other,
    Plan,
    Pool,
    Scaled,
    Step,
    aten,
    is_vector,
    shape_of,
)

RELU = (aten.relu.default, aten.relu_.default)
ADD = (aten.add.Tensor, aten.add_.Tensor)
NOTHING = (aten.dropout.default, aten.feature_dropout.default, aten._assert_tensor_metadata.default)
# They give no negative value if what they read has none.
POSITIVE = {*ADD, aten.mul.Tensor, aten.adaptive_avg_pool2d.default, aten.avg_pool2d.default, aten.cat.default}
POSITIVE |= {aten.max_pool2d.default, aten.upsample_bilinear2d.vec, aten.upsample_nearest2d.vec}
DEFAULTS = (None, [1, 1], [0, 0], [1, 1], 1)  # bias, stride, padding, dilation and groups of a convolution
LARGEST_STRIDE = 8  # that the memory behind a map has room for


class Pixels(nn.Module):
    """A :class:`~mmseg_bisenet.deploy.network.DeployNetwork` from float32 pixels (N, 4, H, W) on."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = nn.ModuleList([network.backbone, network.decode_head])

    def forward(self, pixels: Tensor) -> Tensor:
        backbone, decode_head = self.network
        return decode_head(backbone(pixels))


def plan(network: nn.Module, shape: tuple[int, int]) -> Plan:
    """The steps of a :class:`~mmseg_bisenet.deploy.network.DeployNetwork` on the CPU for one image of that shape."""
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
    return _Planner(Plan(image, output.args[0][0], constants, {image})).run(graph)


class _Planner:
    """Makes a step of each node, and of some nodes together one step."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.steps: dict[Node, Step] = {}  # by the last node of each
        self._kinds: list[Callable[[Node], Step | None]] = [
            *(self._convolution, self._behind_convolution, self._pool, self._nearest, self._gate, self._gated),
            *(self._mean, self._linear, self._behind_linear, self._scaled, self._behind_scaled),
        ]

    def run(self, graph: Graph) -> Plan:
        for node in graph.nodes:
            if node.op != 'call_function':
                continue
            # The image has pixels of three bytes, which only convolutions read.
            of_image = self.plan.image in node.all_input_nodes
            found = (make(node) for make in ([self._convolution] if of_image else self._kinds))
            self.steps[node] = next((step for step in found if step), Other(node))
            if self._is_positive(node):
                self.plan.positive.add(node)
        self.plan.steps = list(self.steps.values())
        return self.plan

    def _is_positive(self, node: Node) -> bool:
        if node.target in (*RELU, aten.sigmoid.default):
            return True
        numbers = [value for value in node.args if isinstance(value, int | float)]
        kept = node.target in POSITIVE and min(numbers, default=0) >= 0 and not node.kwargs
        return kept and all(value in self.plan.positive for value in node.all_input_nodes)

    def _convolution(self, node: Node) -> Convolution | None:
        mean = node.target is aten.avg_pool2d.default and list(node.args[1:]) == [[3, 3], [2, 2], [1, 1]]
        if mean and node.args[0] is not self.plan.image:
            # It counts the zeros of the padding, so it is a convolution.
            channels = shape_of(node)[1]
            ninths = torch.full((channels, 1, 3, 3), 1 / 9)
            return Convolution(node, _node(node.args[0]), ninths, torch.zeros(channels), 2, channels)
        if node.target is not aten.conv2d.default:
            return None
        arguments: Any = [*node.args, *DEFAULTS[len(node.args) - 2 :]]
        source, weight_of, bias_of, stride, padding, dilation, groups = arguments
        weight = self.plan.constants.get(weight_of)
        if weight is None or shape_of(node)[0] != 1 or shape_of(node)[2:] == (1, 1):
            return None
        kernel = weight.shape[-1]
        square = weight.shape[2] == kernel and kernel % 2 and stride[0] == stride[1] <= LARGEST_STRIDE
        if not square or list(padding) != 2 * [kernel // 2] or list(dilation) != [1, 1]:
            return None
        depthwise = weight.shape[1] == 1 and groups == shape_of(source)[1] and kernel == 3 and stride[0] <= 2
        if groups != 1 and (not depthwise or source is self.plan.image):
            return None
        bias = torch.zeros(len(weight)) if bias_of is None else self.plan.constants[bias_of]
        return Convolution(node, source, weight, bias, stride[0], groups)

    def _behind_convolution(self, node: Node) -> Convolution | None:
        """A ReLU, or an addition of another map."""
        if node.target in RELU:
            step = self._alone(node.args[0])
            if step and not step.relu:
                del self.steps[step.output]
                step.relu, step.output = True, node
                return step
        if node.target in ADD and len(node.args) == 2:
            for value, other in (node.args[::-1], node.args):
                step = self._alone(value)
                if not step or step.relu or step.shortcut or not isinstance(other, Node) or other is value:
                    continue
                if shape_of(other) == shape_of(node) and other not in self.plan.constants:
                    del self.steps[step.output]
                    step.shortcut, step.output = other, node
                    return step
        return None

    def _pool(self, node: Node) -> Pool | None:
        if node.target is not aten.max_pool2d.default or len(node.args) != 4:
            return None
        source, kernel, stride, padding = map(_node, node.args)
        square = kernel[0] == kernel[1] and stride[0] == stride[1] and padding == 2 * [kernel[0] // 2]
        return Pool(node, source, kernel[0], stride[0]) if square and source in self.plan.positive else None

    def _nearest(self, node: Node) -> Nearest | None:
        if node.target is not aten.upsample_nearest2d.vec or is_vector(node.args[0]):
            return None
        return Nearest(node, _node(node.args[0]))

    def _gate(self, node: Node) -> Gate | None:
        if node.target is aten.mul.Tensor:
            for value, gate in (node.args, node.args[::-1]):
                if not isinstance(gate, Node) or gate.target is not aten.sigmoid.default or len(gate.users) > 1:
                    continue
                resized = gate.args[0]
                small = self._resized(resized)
                if small is not None and isinstance(value, Node) and shape_of(value) == shape_of(node):
                    del self.steps[gate], self.steps[_node(resized)]
                    return Gate(node, value, small, _node(resized).args[2])
        if node.target in ADD:
            for value, other in map(_node, (node.args, node.args[::-1])):
                step, small = self.steps.get(value), self._resized(other)
                if not isinstance(step, Gate) or small is None or step.summand or len(step.output.users) > 1:
                    continue
                if other.args[2] == step.align_corners and shape_of(small)[2:] == shape_of(step.gate)[2:]:
                    del self.steps[step.output], self.steps[other]
                    step.summand, step.output = small, node
                    return step
        return None

    def _gated(self, node: Node) -> Convolution | None:
        """A product of two convolutions, of which the second goes through a sigmoid."""
        if node.target is not aten.mul.Tensor:
            return None
        for value, gate in map(_node, (node.args, node.args[::-1])):
            if not isinstance(gate, Node) or gate.target is not aten.sigmoid.default or len(gate.users) > 1:
                continue
            other, step = self._alone(value), self._alone(gate.args[0])
            if not other or not step or other.gated or step.relu or step.shortcut:
                continue
            del self.steps[gate], self.steps[step.output]
            step.gated, step.output = value, node
            return step
        return None

    def _mean(self, node: Node) -> Mean | None:
        if node.target is not aten.adaptive_avg_pool2d.default or node.args[1] != [1, 1]:
            return None
        return None if is_vector(node.args[0]) else Mean(node, _node(node.args[0]))

    def _linear(self, node: Node) -> Linear | None:
        if node.target is not aten.conv2d.default or not is_vector(node) or not is_vector(node.args[0]):
            return None
        source, weight_of, bias_of = map(_node, (*node.args[:2], [*node.args, None][2]))
        weight, bias = self.plan.constants.get(weight_of), self.plan.constants.get(bias_of)
        if weight is None or weight.shape[1:] != (*shape_of(source)[1:2], 1, 1):
            return None
        if not isinstance(self.steps.get(source), Mean | Linear):
            return None
        return Linear(node, source, weight, torch.zeros(len(weight)) if bias is None else bias)

    def _behind_linear(self, node: Node) -> Linear | None:
        """A ReLU or a sigmoid."""
        step = self.steps.get(node.args[0]) if node.args and isinstance(node.args[0], Node) else None
        if not isinstance(step, Linear) or len(step.output.users) > 1 or step.sigmoid:
            return None
        if node.target not in (*RELU, aten.sigmoid.default):
            return None
        del self.steps[step.output]
        step.relu, step.sigmoid = step.relu or node.target in RELU, node.target is aten.sigmoid.default
        step.output = node
        return step

    def _scaled(self, node: Node) -> Scaled | None:
        if node.target not in (*ADD, aten.mul.Tensor) or len(node.all_input_nodes) != 2 or is_vector(node):
            return None
        for value, other in map(_node, (node.args, node.args[::-1])):
            step = self.steps.get(value)
            alone = isinstance(step, Scaled) and len(value.users) == 1 and not step.summand
            before = step if isinstance(step, Scaled) and alone and node.target in ADD else None
            if before and other is before.source and not before.more:
                before.more = True
            elif not isinstance(self.steps.get(other), Linear) or shape_of(other)[1] != shape_of(node)[1]:
                continue
            elif node.target is aten.mul.Tensor:
                return Scaled(node, value, factor=other)
            elif not before:
                return Scaled(node, value, summand=other)
            else:
                before.summand = other
            del self.steps[value]
            before.output = node
            return before
        return None

    def _behind_scaled(self, node: Node) -> Scaled | None:
        """An addition of another map."""
        if node.target not in ADD or len(node.args) != 2:
            return None
        for value, other in map(_node, (node.args, node.args[::-1])):
            step = self.steps.get(value) if isinstance(value, Node) else None
            if not isinstance(step, Scaled) or step.summand or step.shortcut or len(value.users) > 1:
                continue
            if isinstance(other, Node) and other in self.steps and shape_of(other) == shape_of(node):
                del self.steps[value]
                step.shortcut, step.output = other, node
                return step
        return None

    def _alone(self, node: Any) -> Convolution | None:
        """The convolution that gives a value, if nothing else reads it."""
        step = self.steps.get(node) if isinstance(node, Node) else None
        return step if isinstance(step, Convolution) and len(step.output.users) == 1 else None

    def _resized(self, node: Any) -> Node | None:
        """What is resized bilinearly to give a value that nothing else reads."""
        if not isinstance(node, Node) or not isinstance(self.steps.get(node), Other) or len(node.users) > 1:
            return None
        bilinear = node.target is aten.upsample_bilinear2d.vec and node.args[3:] in ((), (None,))
        return _node(node.args[0]) if bilinear else None


def _node(argument: Any) -> Any:
    """For the type checker: an argument of a node that is known to be what is wanted."""
    return argument


def _drop_nothing(graph: Graph) -> None:
    for node in list(graph.nodes):
        if node.target in NOTHING:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
