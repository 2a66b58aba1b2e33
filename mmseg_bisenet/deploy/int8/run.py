"""The maps of one thread, and the calls that compute one image."""

import ctypes
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional as F

from mmseg_bisenet.deploy.int8 import layers, library
from mmseg_bisenet.deploy.int8.library import Layer
from mmseg_bisenet.deploy.int8.maps import Map, padded
from mmseg_bisenet.deploy.int8.memory import Memory
from mmseg_bisenet.deploy.int8.steps import (
    Convolution,
    Gate,
    Linear,
    Mean,
    Nearest,
    Other,
    Pool,
    Scaled,
    parts_of,
    shape_of,
)
from mmseg_bisenet.models.inference.fold import CONSTANT

if TYPE_CHECKING:
    from mmseg_bisenet.deploy.int8.network import Int8Network


class Run:
    """Computes one image after the other.

    Args:
        threads: that the kernels run in.
    """

    def __init__(self, network: 'Int8Network', threads: int) -> None:
        self._network, self._plan, self._threads = network, network.plan, threads
        self._maps: dict[Node, Map] = {}
        self._floats: dict[Node, Tensor] = {}
        self._kernels_floats: set[Node] = set()  # of convolutions: they stay where they are
        self._kept: list[Any] = []  # what layers point to
        self._dequantized: set[Node] = set()
        self._halos = [self._halo(of_image) for of_image in (False, True)]
        maps = [node for node in self._plan.stored if node not in network.inside]
        self._memory = Memory(self._plan, {node: self._whole(node) for node in maps}, self._halos[False])
        image = self._map(self._plan.image)
        self._pixels = Layer(height=image.height, width=image.width, in_row=3 * image.width)
        self._pixels.out, self._pixels.out_row = image.address(), image.row
        self._calls: list[Callable[[], Any]] = []
        for step in self._plan.steps:
            calls = self._of(step)
            self._calls += self._frames(step.output) + calls

    def __call__(self, image: Tensor) -> Tensor:
        """(H, W, 3) uint8 -> (1, num_classes, h, w) float32, which the next call overwrites."""
        image = image.contiguous()
        self._pixels.source = image.data_ptr()
        library.run('pixels', self._pixels, self._threads)
        for call in self._calls:
            call()
        return self._floats[self._plan.logits]

    def _of(self, step: Any) -> list[Callable[[], Any]]:
        if isinstance(step, Convolution):
            if step.source in self._network.inside:
                return []
            return [self._convolution(step), *(self._outputs(step.output) if step.gated else [])]
        if isinstance(step, Pool):
            layer = layers.from_map(self._map(step.source), step.kernel // 2, kernel=step.kernel, stride=step.stride)
            return [self._call('max_pool', layers.to_map(layer, self._map(step.output)))]
        if isinstance(step, Nearest):
            layer, arrays = layers.from_map(self._map(step.source), 0), layers.copied(step.output)
            layers.point(layer, arrays)
            return [self._call('nearest', layers.to_map(layer, self._map(step.output)), arrays)]
        if isinstance(step, Gate):
            return [*self._inputs(step.gate, step.summand), self._gate(step)]
        if isinstance(step, Mean):
            return [self._mean(step)]
        if isinstance(step, Linear):
            return [self._linear(step)]
        if isinstance(step, Scaled):
            return [self._scaled(step)]
        return self._other(step)

    def _frames(self, node: Node) -> list[Callable[[], None]]:
        """The call that prepares what is around a map which shares its memory, before it is first written."""
        node = self._whole(node)
        if node not in self._memory.shared:
            return []
        self._memory.shared.remove(node)
        out = self._maps[node]
        layer = Layer(source=out.start, in_row=out.row, in_pixel=out.pixel, height=out.height, width=out.width)
        layer.kernel, layer.zero, layer.tiles = out.halo, out.zero, out.rows
        return [self._call('frame', layer)]

    def _call(self, kernel: str, layer: Layer, *kept: Any) -> Callable[[], None]:
        self._kept += [layer, *kept]
        return partial(library.run, kernel, layer, self._threads)

    def _convolution(self, step: Convolution) -> Callable[[], None]:
        kernel = self._network.packed[step.output][0]
        source, inside = self._map(step.source), self._network.inside.get(step.output)
        size, (height, width) = step.weight.shape[-1], shape_of(step.output)[2:]
        layer = layers.from_map(source, size // 2, kernel=size, across=size, stride=step.stride)
        if step.source is self._plan.image:
            layer.across, layer.depth = 1, -(-3 * size // 4)
        self._set(layer, step)
        scores, kept = 0, []
        if inside is None:
            self._set_output(layer, step)
        else:
            layer.height, layer.width, layer.outputs = height, width, len(step.weight)
            classifier = Layer(depth=layer.outputs // 4)
            self._set(classifier, inside)
            self._set_output(classifier, inside)
            layer.classifier, kept = ctypes.addressof(classifier), [classifier]
            scores = layers.PIXELS * classifier.outputs
        if kernel == 'winograd':
            tiles = -(-height // 4) * -(-width // 4)
            layer.tiles = layers.tiles_of_block(tiles, self._threads)
            of_tile = layers.POINTS * source.stored + 4 * layers.FACTORS + 4 * scores
            self._give_scratch(layer, layer.tiles * of_tile + 4 * layers.GROUP * layers.POINTS * layers.COLUMNS)
        return self._call(kernel, layer, *kept)

    def _set(self, layer: Layer, step: Convolution) -> None:
        """What a convolution multiplies by and adds."""
        for name, value in self._network.packed[step.output][1].items():
            setattr(layer, name, value.ctypes.data if isinstance(value, np.ndarray) else value)
        layer.relu = step.relu
        if step.shortcut is not None:
            layers.add(layer, self._map(step.shortcut))
        if step.gated is not None:
            layer.gate = self._floats[step.gated].data_ptr()

    def _set_output(self, layer: Layer, step: Convolution) -> None:
        """Where its results go: a map of bytes, or floats."""
        if step.output in self._network.stored and not step.gated:
            layers.to_map(layer, self._map(step.output))
            return
        outputs = len(step.weight)
        result = torch.zeros(*shape_of(step.output)[2:], padded(outputs))
        self._kernels_floats.add(step.output)
        self._kept.append(result)
        self._floats[step.output] = result[..., :outputs].permute(2, 0, 1)[None]
        layer.height, layer.width, layer.outputs, layer.floats = *result.shape, 1
        layer.out, layer.out_row, layer.out_pixel = result.data_ptr(), 4 * result.stride(0), 4 * result.stride(1)

    def _gate(self, step: Gate) -> Callable[[], None]:
        source, out = self._map(step.source), self._map(step.output)
        large, small = shape_of(step.output)[1:], shape_of(step.gate)[2:]
        arrays = layers.rescaling(source, out) | dict(
            rows=layers.between(small[0], large[1], step.align_corners),
            columns=layers.between(small[1], large[2], step.align_corners),
        )
        layer = layers.to_map(layers.from_map(source, 0, small_width=small[1]), out)
        layers.point(layer, arrays)
        maps = {}
        for name, node in (('gate', step.gate), ('summand', step.summand)):
            if node in self._kernels_floats:
                setattr(layer, name, self._floats[node].data_ptr())
            elif node is not None:
                maps[node] = torch.zeros(*small, out.stored)
                setattr(layer, name, maps[node].data_ptr())
        self._give_scratch(layer, 2 * 4 * small[1] * out.stored)
        run = self._call('gate', layer, arrays)

        def call() -> None:
            for node, values in maps.items():
                values[..., : large[0]] = self._floats[node][0].permute(1, 2, 0)
            run()

        return call

    def _mean(self, step: Mean) -> Callable[[], None]:
        source = self._map(step.source)
        scale = layers.channels(source.scale / (source.height * source.width), source.stored)
        layer = layers.from_map(source, 0, height=source.height, width=source.width, scale=scale.ctypes.data)
        return self._call('mean', self._to_vector(layer, step.output), scale)

    def _linear(self, step: Linear) -> Callable[[], None]:
        layer = Layer(source=self._floats[step.source].data_ptr(), depth=step.weight.shape[1])
        layer.relu, layer.sigmoid = step.relu, step.sigmoid
        layers.point(layer, self._network.packed[step.output][1])
        return self._call('linear', self._to_vector(layer, step.output))

    def _to_vector(self, layer: Layer, node: Node) -> Layer:
        channels = shape_of(node)[1]
        result = torch.zeros(padded(channels))
        self._floats[node] = result[:channels].view(1, -1, 1, 1)
        layer.out, layer.outputs = result.data_ptr(), len(result)
        return layer

    def _scaled(self, step: Scaled) -> Callable[[], None]:
        source, out = self._map(step.source), self._map(step.output)
        layer, arrays = layers.to_map(layers.from_map(source, 0, more=step.more), out), layers.rescaling(source, out)
        if step.shortcut is not None:
            other = self._map(step.shortcut)
            arrays['shortcut_scale'] = layers.channels(other.scale / out.scale, out.stored)
            arrays['bias'] = arrays['bias'] - other.zero * arrays['shortcut_scale']
            layers.add(layer, other)
        layers.point(layer, arrays)
        for name, node in (('gate', step.factor), ('summand', step.summand)):
            if node is not None:
                setattr(layer, name, self._floats[node].data_ptr())
        return self._call('scaled', layer, arrays)

    def _other(self, step: Other) -> list[Callable[[], Any]]:
        node = step.output
        if self._joins(node):
            self._map(node)
            return []
        calls = self._inputs(*node.all_input_nodes)

        def value(argument: Node) -> Tensor:
            constant = self._plan.constants.get(argument)
            return self._floats[argument] if constant is None else constant

        def compute() -> None:
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), value)
            self._floats[node] = node.target(*args, **kwargs)  # type: ignore[operator]

        return [*calls, compute, *self._outputs(node)]

    def _outputs(self, node: Node) -> list[Callable[[], Any]]:
        """The call that stores floats in bytes, if a kernel reads them."""
        if node not in self._network.stored:
            return []
        target = self._map(node)
        inverse = torch.from_numpy(1 / target.scale).float().view(-1, 1, 1)
        to = torch.from_numpy(target.bytes).permute(2, 0, 1)
        return [lambda: to.copy_((self._floats[node][0] * inverse).add_(target.zero).round_().clamp_(0, 255))]

    def _inputs(self, *nodes: Node | None) -> list[Callable[[], Any]]:
        """Calls that give maps of bytes as floats, once each."""
        calls: list[Callable[[], Any]] = []
        for node in nodes:
            if node in self._network.stored and node not in self._dequantized and node is not None:
                self._dequantized.add(node)
                source = self._map(node)
                scale = torch.from_numpy(source.scale).float().view(-1, 1, 1)
                values = torch.from_numpy(source.bytes).permute(2, 0, 1)[None]
                calls.append(partial(self._dequantize, node, values, source.zero, scale))
        return calls

    def _dequantize(self, node: Node, values: Tensor, zero: int, scale: Tensor) -> None:
        floats = (values.float() - zero) * scale
        self._floats[node] = F.pad(floats, (0, 0, 0, 0, 0, 1), value=CONSTANT) if node is self._plan.image else floats

    def _halo(self, of_image: bool) -> int:
        """As many pixels as any kernel reads around the image, or around other maps."""
        steps = [step for step in self._plan.convolutions if (step.source is self._plan.image) == of_image]
        pools = [step.kernel for step in self._plan.steps if isinstance(step, Pool)]
        return max([1, *(size // 2 for size in (*(step.weight.shape[-1] for step in steps), *pools))])

    def _joins(self, node: Node) -> bool:
        return node in self._network.stored and self._plan.joins(node)

    def _map(self, node: Node) -> Map:
        if node not in self._maps:
            scale, zero = self._network.scales[node]
            _, channels, height, width = shape_of(node)
            shape = height, width, channels
            whole = self._joined(node)
            if node is self._plan.image:
                self._maps[node] = Map((height, width, 3), self._halos[True], zero, scale, stored=3)
            elif whole is None:
                self._maps[node] = Map(shape, self._halos[False], zero, scale, memory=self._memory.of(node))
            else:
                parts = parts_of(whole)
                offset = sum(shape_of(part)[1] for part in parts[: parts.index(node)])
                inside = self._map(whole)
                self._maps[node] = Map(shape, inside.halo, zero, scale, inside, offset)
        return self._maps[node]

    def _joined(self, node: Node) -> Node | None:
        """What the map of a value is a part of."""
        return next((user for user in node.users if self._joins(user)), None)

    def _whole(self, node: Node) -> Node:
        """The value whose map holds that of another."""
        whole = self._joined(node)
        return node if whole is None else self._whole(whole)

    def _give_scratch(self, layer: Layer, size: int) -> None:
        layer.scratch_bytes = -(-size // 64) * 64
        scratch = np.empty(self._threads * layer.scratch_bytes + 64, np.uint8)
        layer.scratch = -(-scratch.ctypes.data // 64) * 64
        self._kept.append(scratch)
