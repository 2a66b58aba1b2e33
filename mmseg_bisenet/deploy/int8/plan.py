"""The steps that compute a network, in order, from its graph of torch.export.

A convolution takes the addition and the ReLU behind it into itself. Values between the steps are bytes, but for vectors
and for what a gate or the labels read.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from mmseg_bisenet.deploy.int8.maps import LANES
from mmseg_bisenet.deploy.int8.steps import (
    Bilinear,
    Convolution,
    Gate,
    Linear,
    Mean,
    Nearest,
    Plan,
    Pool,
    Scaled,
    Step,
    Value,
)
from mmseg_bisenet.deploy.int8.trace import Traced, aten, copied, is_vector, resizing, shape_of
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.inference.fold import CONSTANT

RELU = (aten.relu.default, aten.relu_.default)
ADD = (aten.add.Tensor, aten.add_.Tensor)
# They give no negative value if what they read has none.
POSITIVE = {*ADD, aten.mul.Tensor, aten.adaptive_avg_pool2d.default, aten.avg_pool2d.default, aten.cat.default}
POSITIVE |= {aten.max_pool2d.default, aten.upsample_bilinear2d.vec, aten.upsample_nearest2d.vec}
DEFAULTS = (None, [1, 1], [0, 0], [1, 1], 1)  # bias, stride, padding, dilation and groups of a convolution
LARGEST_STRIDE = 8  # that the memory behind a map has room for


def plan(traced: Traced) -> Plan:
    """Raises:
    InputError: a layer has no kernel.
    """
    return _Planner(traced).run()


class _Planner:
    """Makes a step of each node, and of some nodes together one step."""

    def __init__(self, traced: Traced) -> None:
        self.traced = traced
        self.constants = {node: value.float().contiguous().numpy() for node, value in traced.constants.items()}
        self.steps: dict[Node, Step | None] = {}  # by the last node of each; None: no kernel alone
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.positive: set[Node] = set()
        self._kinds: list[Callable[[Node], Step | None]] = [
            *(self._convolution, self._behind_convolution, self._pool, self._nearest, self._bilinear),
            *(self._gate, self._gated),
            *(self._mean, self._linear, self._behind_linear, self._scaled, self._behind_scaled),
        ]

    def run(self) -> Plan:
        image, logits = self.traced.image, self.traced.logits
        for node in self.traced.graph.nodes:
            if node.op != 'call_function':
                continue
            if not isinstance(node.meta['val'], torch.Tensor):
                _refuse(node)
            self.shapes[node.name] = shape_of(node)
            # The image has pixels of three bytes, which only convolutions read.
            of_image = image in node.all_input_nodes
            found = (make(node) for make in ([self._convolution] if of_image else self._kinds))
            self.steps[node] = next((step for step in found if step), None)
            if self._is_positive(node):
                self.positive.add(node)
        for node, step in self.steps.items():
            if step is None and not self._parts(node):
                _refuse(node)
        if not self._alone(logits):
            _refuse(logits)
        nodes = [image, *self.steps]
        values = {node.name: Value(shape_of(node)[1:], node in self.positive, self._parts(node)) for node in nodes}
        return Plan(image.name, logits.name, values, [step for step in self.steps.values() if step])

    def _parts(self, node: Node) -> list[str]:
        """The inputs of a concatenation, if each can be written to its place in the result; otherwise none."""
        if node.target is not aten.cat.default or list(node.args[1:]) != [1]:
            return []
        parts: Any = node.args[0]
        alone = all(sum(user.target is aten.cat.default for user in part.users) == 1 for part in parts)
        alone = alone and self.traced.image not in parts
        aligned = all(shape_of(part)[1] % LANES == 0 for part in parts[:-1])
        alike = len({*parts}) == len(parts) and len({part in self.positive for part in parts}) == 1
        return [part.name for part in parts] if alone and aligned and alike else []

    def _is_positive(self, node: Node) -> bool:
        if node.target in (*RELU, aten.sigmoid.default):
            return True
        numbers = [value for value in node.args if isinstance(value, int | float)]
        kept = node.target in POSITIVE and min(numbers, default=0) >= 0 and not node.kwargs
        return kept and all(value in self.positive for value in node.all_input_nodes)

    def _convolution(self, node: Node) -> Convolution | None:
        mean = node.target is aten.avg_pool2d.default and list(node.args[1:]) == [[3, 3], [2, 2], [1, 1]]
        if mean and node.args[0] is not self.traced.image:
            # It counts the zeros of the padding, so it is a convolution.
            channels = shape_of(node)[1]
            ninths, zeros = np.full((channels, 1, 3, 3), 1 / 9, np.float32), np.zeros(channels, np.float32)
            return Convolution(node.name, _node(node.args[0]).name, ninths, zeros, 2, channels)
        if node.target is not aten.conv2d.default:
            return None
        arguments: Any = [*node.args, *DEFAULTS[len(node.args) - 2 :]]
        source, weight_of, bias_of, stride, padding, dilation, groups = arguments
        weight = self.constants.get(weight_of)
        if weight is None or shape_of(node)[0] != 1 or shape_of(node)[2:] == (1, 1):
            return None
        kernel = weight.shape[-1]
        square = weight.shape[2] == kernel and kernel % 2 and stride[0] == stride[1] <= LARGEST_STRIDE
        if not square or list(padding) != 2 * [kernel // 2] or list(dilation) != [1, 1]:
            return None
        depthwise = weight.shape[1] == 1 and groups == shape_of(source)[1] and kernel == 3 and stride[0] <= 2
        of_image = source is self.traced.image
        if groups != 1 and (not depthwise or of_image):
            return None
        if of_image:
            weight = weight * np.array([1, 1, 1, CONSTANT], np.float32)[:, None, None]
        bias = np.zeros(len(weight), np.float32) if bias_of is None else self.constants[bias_of]
        return Convolution(node.name, source.name, weight, bias, stride[0], groups)

    def _behind_convolution(self, node: Node) -> Convolution | None:
        """A ReLU, or an addition of another map."""
        if node.target in RELU:
            step = self._alone(node.args[0])
            if step and not step.relu:
                del self.steps[_node(node.args[0])]
                step.relu, step.output = True, node.name
                return step
        if node.target in ADD and len(node.args) == 2:
            for value, other in (node.args[::-1], node.args):
                step = self._alone(value)
                if not step or step.relu or step.shortcut or not isinstance(other, Node) or other is value:
                    continue
                if shape_of(other) == shape_of(node) and other not in self.constants:
                    del self.steps[_node(value)]
                    step.shortcut, step.output = other.name, node.name
                    return step
        return None

    def _pool(self, node: Node) -> Pool | None:
        if node.target is not aten.max_pool2d.default or len(node.args) != 4:
            return None
        source, kernel, stride, padding = map(_node, node.args)
        square = kernel[0] == kernel[1] and stride[0] == stride[1] and padding == 2 * [kernel[0] // 2]
        return Pool(node.name, source.name, kernel[0], stride[0]) if square and source in self.positive else None

    def _nearest(self, node: Node) -> Nearest | None:
        if node.target is not aten.upsample_nearest2d.vec or is_vector(node.args[0]):
            return None
        return Nearest(node.name, _node(node.args[0]).name, *copied(node))

    def _bilinear(self, node: Node) -> Bilinear | None:
        if resizing(node) not in ('bilinear', 'corners') or is_vector(node.args[0]):
            return None
        return Bilinear(node.name, _node(node.args[0]).name, resizing(node))

    def _gate(self, node: Node) -> Gate | None:
        if node.target is aten.mul.Tensor:
            for value, gate in map(_node, (node.args, node.args[::-1])):
                if not isinstance(gate, Node) or gate.target is not aten.sigmoid.default or len(gate.users) > 1:
                    continue
                resized = _node(gate.args[0])
                small = self._small(resized)
                if small and isinstance(value, Node) and shape_of(value) == shape_of(node):
                    del self.steps[gate], self.steps[resized]
                    return Gate(node.name, value.name, small.name, resizing(resized))
        if node.target in ADD:
            for value, other in map(_node, (node.args, node.args[::-1])):
                step, small = self.steps.get(value), self._small(other)
                if not isinstance(step, Gate) or not small or step.summand or len(value.users) > 1:
                    continue
                if resizing(other) == step.resizing and shape_of(small)[2:] == self.shapes[step.gate][2:]:
                    del self.steps[value], self.steps[other]
                    step.summand, step.output = small.name, node.name
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
            del self.steps[gate], self.steps[_node(gate.args[0])]
            step.gated, step.output = value.name, node.name
            return step
        return None

    def _mean(self, node: Node) -> Mean | None:
        if node.target is not aten.adaptive_avg_pool2d.default or node.args[1] != [1, 1]:
            return None
        return None if is_vector(node.args[0]) else Mean(node.name, _node(node.args[0]).name)

    def _linear(self, node: Node) -> Linear | None:
        if node.target is not aten.conv2d.default or not is_vector(node) or not is_vector(node.args[0]):
            return None
        source, weight_of, bias_of = map(_node, (*node.args[:2], [*node.args, None][2]))
        weight, bias = self.constants.get(weight_of), self.constants.get(bias_of)
        if weight is None or weight.shape[1:] != (*shape_of(source)[1:2], 1, 1):
            return None
        if not isinstance(self.steps.get(source), Mean | Linear):
            return None
        bias = np.zeros(len(weight), np.float32) if bias is None else bias
        return Linear(node.name, source.name, weight[:, :, 0, 0], bias)

    def _behind_linear(self, node: Node) -> Linear | None:
        """A ReLU or a sigmoid."""
        before: Any = node.args[0] if node.args and isinstance(node.args[0], Node) else None
        step = self.steps.get(before)
        if not isinstance(step, Linear) or len(before.users) > 1 or step.sigmoid:
            return None
        if node.target not in (*RELU, aten.sigmoid.default):
            return None
        del self.steps[before]
        step.relu, step.sigmoid = step.relu or node.target in RELU, node.target is aten.sigmoid.default
        step.output = node.name
        return step

    def _scaled(self, node: Node) -> Scaled | None:
        if node.target not in (*ADD, aten.mul.Tensor) or len(node.all_input_nodes) != 2 or is_vector(node):
            return None
        for value, other in map(_node, (node.args, node.args[::-1])):
            step = self.steps.get(value)
            alone = isinstance(step, Scaled) and len(value.users) == 1 and not step.summand
            before = step if isinstance(step, Scaled) and alone and node.target in ADD else None
            if before and other.name == before.source and not before.more:
                before.more = True
            elif not isinstance(self.steps.get(other), Linear) or shape_of(other)[1] != shape_of(node)[1]:
                continue
            elif node.target is aten.mul.Tensor:
                return Scaled(node.name, value.name, factor=other.name)
            elif not before:
                return Scaled(node.name, value.name, summand=other.name)
            else:
                before.summand = other.name
            del self.steps[value]
            before.output = node.name
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
                step.shortcut, step.output = other.name, node.name
                return step
        return None

    def _alone(self, node: Any) -> Convolution | None:
        """The convolution that gives a value, if nothing else reads it."""
        step = self.steps.get(node) if isinstance(node, Node) else None
        return step if isinstance(step, Convolution) and len(node.users) == 1 else None

    def _small(self, node: Any) -> Node | None:
        """What is resized to give a value that nothing else reads: results of a convolution."""
        if not isinstance(node, Node) or not resizing(node) or len(node.users) > 1:
            return None
        return _node(node.args[0]) if self._alone(node.args[0]) else None


def _node(argument: Any) -> Any:
    """For the type checker: an argument of a node that is known to be what is wanted."""
    return argument


def _refuse(node: Node) -> None:
    """Raises:
    InputError: it names the layer and its operator.
    """
    modules = [name for name, _ in node.meta.get('nn_module_stack', {}).values()]
    path = (modules or [''])[-1] or 'the network'
    operator = str(node.target).removeprefix('aten.').partition('.')[0]
    raise InputError(f'{path} computes {operator}, for which vnni has no kernel; take another runtime')
