"""A network in int8: its plan with ranges and packed weights, and what one thread needs to run it."""

import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from mmseg_bisenet.deploy.int8 import packing
from mmseg_bisenet.deploy.int8.library import Layer, run
from mmseg_bisenet.deploy.int8.maps import LANES, Map
from mmseg_bisenet.deploy.int8.plan import Convolution, Gate, Other, Plan, Pool, aten, plan
from mmseg_bisenet.models.inference.fold import CONSTANT

TILES = 60


class Int8Network:
    """images (N, H, W, 3) uint8 BGR -> logits (N, num_classes, h, w) float32."""

    def __init__(self, network: nn.Module, shape: tuple[int, int], ranges: dict, options: dict | None = None) -> None:
        self.plan = plan(network, shape)
        self.ranges = ranges
        self.options = options or {}
        self.bytes_of = _byte_values(self.plan)
        self.scales = self._scales()
        self.packed = [self._pack(step) if isinstance(step, Convolution) else None for step in self.plan.steps]
        self.own = threading.local()

    def __call__(self, images: Tensor) -> Tensor:
        if not hasattr(self.own, 'run'):
            self.own.run = Run(self)
        results = [self.own.run(image) for image in images]
        return results[0] if len(results) == 1 else torch.cat([result.clone() for result in results])

    def _scales(self) -> dict[Node, tuple[np.ndarray, int]]:
        """Scale of each channel and zero of every value that is stored in bytes."""
        found: dict[Node, tuple[np.ndarray, int]] = {}
        pools = {step.output: step.source for step in self.plan.steps if isinstance(step, Pool)}
        for node in self.bytes_of:
            channels = node.meta['val'].shape[1]
            positive = node in self.plan.positive
            if node is self.plan.image:
                found[node] = np.ones(channels, np.float32), 0
            elif node in pools:
                found[node] = found[pools[node]]
            elif _joins(node, self.bytes_of):
                scale = np.concatenate([found[value][0] for value in node.args[0]])
                found[node] = scale, found[node.args[0][0]][1]
            else:
                most = max(self.ranges[node.name], 1e-9)
                scale = most / (255 if positive else 127)
                found[node] = np.full(channels, scale, np.float32), 0 if positive else 128
        return found

    def _pack(self, step: Convolution) -> Any:
        weight = step.weight.double().numpy()
        in_scale, in_zero = self.scales[step.source]
        depthwise = step.groups > 1
        per_input = np.repeat(in_scale, len(weight) // len(in_scale)) if depthwise else in_scale
        weight = weight * (per_input[:, None, None, None] if depthwise else per_input[None, :, None, None])
        inputs = 4 if step.source is self.plan.image else -(-weight.shape[1] // LANES) * LANES
        outputs = -(-len(weight) // LANES) * LANES
        out_scale, out_zero = self.scales[step.output] if step.output in self.bytes_of else (np.ones(len(weight)), 0)
        out_scale = np.pad(out_scale, (0, outputs - len(weight)), constant_values=1).astype(np.float64)
        bias = np.pad(step.bias.double().numpy(), (0, outputs - len(weight))) / out_scale + out_zero
        more: dict[str, np.ndarray] = {}
        if step.shortcut is not None:
            scale, zero = self.scales[step.shortcut]
            more['shortcut_scale'] = np.pad(scale, (0, outputs - len(weight))) / out_scale
            bias -= zero * more['shortcut_scale']
        if depthwise:
            kind = 'depthwise'
            packed, unit, sums, order, first = packing.depthwise(weight, len(in_scale))
            scale = unit / out_scale
            more |= dict(order=order, first=first, scale=scale)
            bias = bias - in_zero * sums * scale
        elif self._is_winograd(step):
            kind = 'winograd'
            packed, unit, starts = packing.winograd(weight, inputs)
            more |= dict(starts=starts)
            more['units'] = (unit / out_scale.reshape(-1, 1, packing.COLUMNS)).astype(np.float32)
        else:
            kind = 'direct'
            wide = step.source is self.plan.image or step.output.name in self.options.get('wide', ())
            packed, unit, sums = packing.direct(weight, inputs, wide)
            scale = unit / out_scale
            more |= dict(scale=scale, wide=wide)
            bias = bias - in_zero * sums * scale
        more |= dict(weight=packed, bias=bias)
        for name in ('scale', 'bias', 'shortcut_scale'):
            if name in more:
                more[name] = np.ascontiguousarray(more[name], np.float32)
        return kind, more

    def _is_winograd(self, step: Convolution) -> bool:
        outputs, inputs, kernel, _ = step.weight.shape
        fits = kernel == 3 and step.stride == 1 and inputs % 32 == 0 and outputs % packing.COLUMNS == 0
        return fits and step.shortcut is None and step.output.name not in self.options.get('direct', ())


class Run:
    """The maps and layers of one thread."""

    def __init__(self, network: Int8Network) -> None:
        self.network = network
        self.plan = network.plan
        self.maps: dict[Node, Map] = {}
        self.floats: dict[Node, Tensor] = {}
        self.kept: list[Any] = []
        self.image = self._map(self.plan.image)
        height, width = self.image.height, self.image.width
        self.pixels = Layer(height=height, width=width, in_row=3 * width, zero=CONSTANT)
        self.pixels.out, self.pixels.out_row = self.image.address(), self.image.row
        self.calls = []
        for step, packed in zip(self.plan.steps, network.packed, strict=True):
            new = self._calls(step, packed)
            self.names = getattr(self, 'names', []) + [f'{step.output.name} {packed and packed[0]}' for _ in new]
            self.calls += new

    def __call__(self, image: Tensor) -> Tensor:
        image = image.contiguous()
        self.pixels.source = image.data_ptr()
        run('pixels', self.pixels)
        for call in self.calls:
            call()
        return self.floats[self.plan.logits]

    def _map(self, node: Node) -> Map:
        if node in self.maps:
            return self.maps[node]
        scale, zero = self.network.scales[node]
        for user in node.users:
            if _joins(user, self.network.bytes_of):
                whole, offset = self._map(user), 0
                for value in user.args[0]:
                    channels = value.meta['val'].shape[1]
                    if value is node:
                        break
                    offset += channels
                height, width = node.meta['val'].shape[2:]
                found = Map(height, width, channels, whole.halo, zero, scale, inside=whole, offset=offset)
                self.maps[node] = found
                return found
        _, channels, height, width = node.meta['val'].shape
        halo = max([1, *(step.weight.shape[-1] // 2 for step in self.plan.convolutions() if step.source is node)])
        self.maps[node] = Map(height, width, channels, halo, zero, scale, image=node is self.plan.image)
        return self.maps[node]

    def _calls(self, step, packed):
        if isinstance(step, Convolution):
            return self._convolution(step, *packed)
        if isinstance(step, Pool):
            source, out = self._map(step.source), self._map(step.output)
            layer = _layer(source, step.kernel // 2, out.height, out.width, out.stored, step.kernel, step.stride)
            layer.out, layer.out_row, layer.out_pixel = out.address(), out.row, out.pixel
            return [lambda: run('max_pool', layer)]
        if isinstance(step, Gate):
            return self._gate(step)
        node = step.output
        if _joins(node, self.network.bytes_of):
            self._map(node)
            return []
        calls = []
        for value in node.all_input_nodes:
            if value not in self.floats and value in self.maps:
                calls.append(lambda value=value: self.floats.__setitem__(value, self._dequantized(value)))
        calls.append(lambda: self._other(node))
        if node in self.network.bytes_of:
            target = self._map(node)
            inverse, zero = torch.from_numpy(1 / target.scale.copy()).view(-1, 1, 1), target.zero
            def quantize():
                value = (self.floats[node][0] * inverse).add_(zero).round_().clamp_(0, 255)
                torch.from_numpy(target.bytes).copy_(value.permute(1, 2, 0))
            calls.append(quantize)
        return calls

    def _gate(self, step: Gate):
        source, out = self._map(step.source), self._map(step.output)
        height, width = step.gate.meta['val'].shape[2:]
        channels = step.output.meta['val'].shape[1]
        align = step.align_corners
        pad = (0, out.stored - channels)
        in_scale, in_zero = self.network.scales[step.source]
        out_scale, out_zero = self.network.scales[step.output]
        scale = np.pad(in_scale / out_scale, pad).astype(np.float32)
        more = np.pad(1 / out_scale, pad).astype(np.float32)
        bias = np.full(out.stored, out_zero, np.float32)
        rows, columns = _between(height, out.height, align), _between(width, out.width, align)
        layer = _layer(source, 0, out.height, out.width, out.stored, 1, 1)
        layer.out, layer.out_row, layer.out_pixel = out.address(), out.row, out.pixel
        layer.small_width = width
        layer.scale, layer.shortcut_scale, layer.bias = scale.ctypes.data, more.ctypes.data, bias.ctypes.data
        layer.rows, layer.columns = rows.ctypes.data, columns.ctypes.data
        layer.scratch_bytes = 2 * 4 * width * out.stored
        layer.scratch = self._scratch(torch.get_num_threads() * layer.scratch_bytes)
        smalls = {}
        for name, node in (('gate', step.gate), ('summand', step.summand)):
            if node is not None:
                smalls[name] = node, torch.zeros(height, width, out.stored)
                setattr(layer, name, smalls[name][1].data_ptr())
        self.kept.append((layer, scale, more, bias, rows, columns))

        def call():
            for node, small in smalls.values():
                value = self.floats[node] if node in self.floats else self._dequantized(node)
                small[..., :channels].copy_(value[0].permute(1, 2, 0))
            run('gate', layer)
        return [call]

    def _convolution(self, step: Convolution, kind: str, packed: dict):
        source = self._map(step.source)
        outputs, _, kernel, _ = step.weight.shape
        height, width = step.output.meta['val'].shape[2:]
        stored = -(-outputs // LANES) * LANES
        layer = _layer(source, kernel // 2, height, width, stored, kernel, step.stride)
        for name, value in packed.items():
            setattr(layer, name, value.ctypes.data if isinstance(value, np.ndarray) else int(value))
        if step.output in self.network.bytes_of:
            out = self._map(step.output)
            layer.out, layer.out_row, layer.out_pixel = out.address(), out.row, out.pixel
        else:
            result = torch.empty(height, width, stored)
            layer.out, layer.out_row, layer.out_pixel = result.data_ptr(), 4 * width * stored, 4 * stored
            layer.floats, layer.relu = 1, step.relu
            self.floats[step.output] = result[..., :outputs].permute(2, 0, 1)[None]
            self.kept.append(result)
        if step.shortcut is not None:
            other = self._map(step.shortcut)
            layer.shortcut, layer.shortcut_row, layer.shortcut_pixel = other.address(), other.row, other.pixel
        if kind == 'winograd':
            threads = torch.get_num_threads()
            tiles = -(-height // 4) * -(-width // 4)
            layer.tiles = min(TILES, -(-tiles // (threads * 12)) * 12)
            size = layer.tiles * (36 * source.stored + 192) + 12 * 36 * 256 + 256
            layer.scratch_bytes = -(-size // 64) * 64
            scratch = self._scratch(threads * layer.scratch_bytes + 64)
            layer.scratch = -(-scratch // 64) * 64
        self.kept.append((layer, packed))
        return [lambda: run(kind, layer)]

    def _scratch(self, size):
        array = np.empty(size, np.uint8)
        self.kept.append(array)
        return array.ctypes.data

    def _dequantized(self, node: Node) -> Tensor:
        found = self.maps[node]
        value = torch.from_numpy(found.bytes).permute(2, 0, 1)[None].float()
        return (value - found.zero) * torch.from_numpy(found.scale.copy()).view(-1, 1, 1)

    def _other(self, node: Node) -> None:
        def value(argument):
            return self.plan.constants[argument] if argument in self.plan.constants else self.floats[argument]
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), value)
        self.floats[node] = node.target(*args, **kwargs)


def _layer(source: Map, padding: int, height: int, width: int, outputs: int, kernel: int, stride: int) -> Layer:
    return Layer(
        source=source.address(padding), in_row=source.row, in_pixel=source.pixel, height=height, width=width,
        outputs=outputs, depth=source.stored // 4, kernel=kernel, stride=stride, zero=source.zero,
    )


def _between(small: int, large: int, align_corners: bool) -> np.ndarray:
    """For each of ``large`` places, the two of ``small`` ones that it lies between, and where."""
    if align_corners:
        at = np.arange(large) * ((small - 1) / max(large - 1, 1))
    else:
        at = np.maximum((np.arange(large) + 0.5) * (small / large) - 0.5, 0)
    first = np.minimum(at.astype(np.int32), small - 1)
    found = np.empty(large, dict(names=('first', 'second', 'part'), formats=('i4', 'i4', 'f4')))
    found['first'], found['second'], found['part'] = first, np.minimum(first + 1, small - 1), at - first
    return found


def _byte_values(plan: Plan) -> dict[Node, None]:
    """The values that are stored in bytes, in order: those that a convolution or a pool reads."""
    read = {step.source for step in plan.steps if isinstance(step, Convolution | Pool | Gate)}
    read |= {step.shortcut for step in plan.convolutions() if step.shortcut is not None}
    found = {node: None for node in [plan.image, *(step.output for step in plan.steps)] if node in read}
    for node in reversed(list(found)):
        if node.target is aten.cat.default:
            read |= set(node.args[0])
    return {node: None for node in [plan.image, *(step.output for step in plan.steps)] if node in read}


def _joins(node: Node, stored: dict[Node, None]) -> bool:
    """Whether a value is a concatenation whose parts are written in its place."""
    return node in stored and node.target is aten.cat.default
