"""A network in int8, for images of one shape."""

import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from mmseg_bisenet.deploy.int8 import packing
from mmseg_bisenet.deploy.int8.maps import padded
from mmseg_bisenet.deploy.int8.ranges import Ranges
from mmseg_bisenet.deploy.int8.run import Run
from mmseg_bisenet.deploy.int8.steps import Convolution, Linear, Nearest, Other, Plan, Pool, parts_of, shape_of

Packed = tuple[str, dict[str, Any]]  # a kernel, and values of the fields of its layer


class Int8Network:
    """images (N, H, W, 3) uint8, BGR -> logits (N, num_classes, h, w) float32. Any number of threads may call it.

    Args:
        plan: for that shape.
        ranges: of the values of the plan.
    """

    def __init__(self, plan: Plan, ranges: Ranges) -> None:
        self.plan, self.ranges = plan, ranges
        self.stored = set(plan.stored)
        self.scales = self._scales()
        self.packed = {step.output: self._pack(step) for step in plan.convolutions}
        self.packed |= {step.output: _linear(step) for step in plan.steps if isinstance(step, Linear)}
        self.inside = self._inside()
        self._drop_weights()
        self._own = threading.local()

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """The next call in the same thread overwrites the result."""
        if getattr(self._own, 'threads', None) != torch.get_num_threads():
            self._own.threads = torch.get_num_threads()
            self._own.run = Run(self, self._own.threads)
        if len(images) == 1:
            return self._own.run(images[0])
        return torch.cat([self._own.run(image).clone() for image in images])

    def _drop_weights(self) -> None:
        """Only their shapes are needed from now on, and what PyTorch computes with."""
        used = {value for step in self.plan.steps if isinstance(step, Other) for value in step.output.all_input_nodes}
        self.plan.constants = {node: value for node, value in self.plan.constants.items() if node in used}
        for step in self.plan.steps:
            if isinstance(step, Convolution | Linear):
                step.weight = step.weight.to('meta')

    def _inside(self) -> dict[Node, Convolution]:
        """The classifier by what it reads, if the Winograd kernel of that computes both: its many channels are not
        stored then.
        """
        steps = {step.output: step for step in self.plan.convolutions}
        classifier = steps.get(self.plan.logits)
        step = steps.get(classifier.source) if classifier else None
        if not classifier or not step or not packing.is_winograd(step) or not packing.is_pointwise(classifier):
            return {}
        more = step.shortcut or classifier.shortcut or step.gated or classifier.gated
        return {} if more or len(step.output.users) > 1 else {step.output: classifier}

    def _scales(self) -> dict[Node, tuple[np.ndarray, int]]:
        """The scale of each channel, and the zero, of every value that is stored in bytes."""
        found: dict[Node, tuple[np.ndarray, int]] = {}
        copies = {step.output: step.source for step in self.plan.steps if isinstance(step, Pool | Nearest)}
        for node in self.plan.stored:
            channels = shape_of(node)[1]
            if node is self.plan.image:
                found[node] = np.ones(3), 0
            elif node in copies:
                found[node] = found[copies[node]]
            elif self.plan.joins(node):
                parts = [found[value] for value in parts_of(node)]
                found[node] = np.concatenate([scale for scale, _ in parts]), parts[0][1]
            else:
                positive = node in self.plan.positive
                scale = max(self.ranges.largest[node.name], 1e-9) / (255 if positive else 127)
                found[node] = np.full(channels, scale), 0 if positive else 128
        return found

    def _pack(self, step: Convolution) -> Packed:
        weight, bias = step.weight.double().numpy(), step.bias.double().numpy()
        in_scale, in_zero = self.scales[step.source]
        outputs = padded(len(weight))
        more = (0, outputs - len(weight))
        if step.groups > 1:
            weight = weight * np.repeat(in_scale, len(weight) // len(in_scale))[:, None, None, None]
        else:
            weight = weight * (1 if step.source is self.plan.image else in_scale[:, None, None])
        floats = np.ones(len(weight)), 0
        out_scale, out_zero = floats if step.gated else self.scales.get(step.output, floats)
        out_scale = np.pad(out_scale, more, constant_values=1)
        bias = np.pad(bias, more) / out_scale + out_zero
        fields: dict[str, Any] = {}
        if step.shortcut is not None:
            scale, zero = self.scales[step.shortcut]
            fields['shortcut_scale'] = np.pad(scale, more) / out_scale
            bias -= zero * fields['shortcut_scale']
        if packing.is_winograd(step):
            kernel = 'winograd'
            fields['weight'], unit, fields['starts'] = packing.winograd(weight, padded(weight.shape[1]))
            fields['units'] = unit / out_scale.reshape(-1, 1, packing.COLUMNS)
        else:
            kernel, sums = 'direct', np.zeros(outputs)
            if step.source is self.plan.image:
                fields['weight'], unit, fields['starts'], *where = packing.of_image(
                    weight, step.stride, shape_of(step.source)[2:]
                )
                fields['row_of'], fields['column_of'] = where
            elif step.groups > 1:
                kernel = 'depthwise'
                fields['weight'], unit, sums, *where = packing.depthwise(weight, len(in_scale))
                fields['order'], fields['first'] = where
            else:
                fields['weight'], unit, sums = packing.direct(weight, padded(weight.shape[1]))
            fields['scale'] = unit / out_scale
            bias -= in_zero * sums * fields['scale']
        fields['bias'] = bias
        for name in {'scale', 'bias', 'shortcut_scale', 'units'} & set(fields):
            fields[name] = np.float32(fields[name])
        return kernel, {name: _aligned(value) for name, value in fields.items()}


def _linear(step: Linear) -> Packed:
    more = padded(len(step.weight)) - len(step.weight)
    weight = np.pad(step.weight[..., 0, 0].T.numpy(), ((0, 0), (0, more)))
    return 'linear', dict(weight=_aligned(weight), bias=_aligned(np.pad(step.bias.numpy(), (0, more))))


def _aligned(value: Any) -> Any:
    """An array in whole cache lines: a vector that lies in two of them takes twice the time to read."""
    if not isinstance(value, np.ndarray):
        return value
    memory = np.empty(value.nbytes + 64, np.uint8)
    found = memory[-memory.ctypes.data % 64 :][: value.nbytes].view(value.dtype).reshape(value.shape)
    found[...] = value
    return found
