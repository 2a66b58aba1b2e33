"""A network in int8, for images of one shape."""

import threading
from typing import Any

import numpy as np

from mmseg_bisenet.deploy.int8 import packing
from mmseg_bisenet.deploy.int8.maps import aligned, padded
from mmseg_bisenet.deploy.int8.run import Run
from mmseg_bisenet.deploy.int8.steps import Bilinear, Convolution, Linear, Nearest, Plan, Pool
from mmseg_bisenet.errors import InputError

Packed = tuple[str, dict[str, np.ndarray]]  # a kernel, and values of the fields of its layer


class Int8Network:
    """images (N, H, W, 3) uint8, BGR -> logits (N, num_classes, h, w) float32. Any number of threads may call it.

    Args:
        plan: for that shape, with the ranges of its values; its weights are dropped.
        threads: that each call runs in.

    Raises:
        InputError: images of another shape.
    """

    def __init__(self, plan: Plan, threads: int) -> None:
        self.plan, self.threads = plan, threads
        self.stored = set(plan.stored)
        self.scales = self._scales()
        self.packed = {step.output: self._pack(step) for step in plan.convolutions}
        self.packed |= {step.output: _linear(step) for step in plan.steps if isinstance(step, Linear)}
        self.inside = self._inside()
        for step in plan.steps:
            if isinstance(step, Convolution | Linear):  # only their shapes are needed from now on
                step.weight = np.broadcast_to(np.float32(0), step.weight.shape)
        self._own = threading.local()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The next call in the same thread overwrites the result."""
        _, height, width = self.plan.values[self.plan.image].shape
        if images.shape[1:] != (height, width, 3):
            raise InputError(f'images of shape {images.shape}: the network is for (N, {height}, {width}, 3)')
        if not hasattr(self._own, 'run'):
            self._own.run = Run(self, self.threads)
        if len(images) == 1:
            return self._own.run(images[0])[None]
        return np.stack([self._own.run(image).copy() for image in images])

    def _inside(self) -> dict[str, Convolution]:
        """The classifier by what it reads, if the Winograd kernel of that computes both: its many channels are not
        stored then.
        """
        steps = {step.output: step for step in self.plan.convolutions}
        classifier = steps[self.plan.logits]
        step = steps.get(classifier.source)
        if not step or not packing.is_winograd(step) or not packing.is_pointwise(classifier):
            return {}
        more = step.shortcut or classifier.shortcut or step.gated or classifier.gated
        return {} if more or self.plan.reads[step.output] > 1 else {step.output: classifier}

    def _scales(self) -> dict[str, tuple[np.ndarray, int]]:
        """The scale of each channel, and the zero, of every value that is stored in bytes."""
        found: dict[str, tuple[np.ndarray, int]] = {}
        copies = {step.output: step.source for step in self.plan.steps if isinstance(step, Pool | Nearest | Bilinear)}
        for name in self.plan.stored:
            value = self.plan.values[name]
            if name == self.plan.image:
                found[name] = np.ones(3), 0
            elif name in copies:
                found[name] = found[copies[name]]
            elif value.parts:
                parts = [found[part] for part in value.parts]
                found[name] = np.concatenate([scale for scale, _ in parts]), parts[0][1]
            else:
                scale = max(value.largest, 1e-9) / (255 if value.positive else 127)
                found[name] = np.full(value.shape[0], scale), 0 if value.positive else 128
        return found

    def _pack(self, step: Convolution) -> Packed:
        weight, bias = step.weight.astype(np.float64), step.bias.astype(np.float64)
        in_scale, in_zero = self.scales[step.source]
        outputs = padded(len(weight))
        more = (0, outputs - len(weight))
        if step.groups > 1:
            weight = weight * np.repeat(in_scale, len(weight) // len(in_scale))[:, None, None, None]
        else:
            weight = weight * (1 if step.source == self.plan.image else in_scale[:, None, None])
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
            if step.source == self.plan.image:
                fields['weight'], unit, fields['starts'], *where = packing.of_image(
                    weight, step.stride, self.plan.values[step.source].shape[1:]
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
    weight = np.pad(step.weight.T, ((0, 0), (0, more)))
    return 'linear', dict(weight=_aligned(weight), bias=_aligned(np.pad(step.bias, (0, more))))


def _aligned(value: np.ndarray) -> np.ndarray:
    found = aligned(value.shape, value.dtype.name)
    found[...] = value
    return found
