"""The maps of one thread, and the calls that compute one image."""

import ctypes
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mmseg_bisenet.deploy.int8 import layers, library
from mmseg_bisenet.deploy.int8.library import Layer
from mmseg_bisenet.deploy.int8.maps import Map, aligned, padded
from mmseg_bisenet.deploy.int8.memory import Memory
from mmseg_bisenet.deploy.int8.steps import Bilinear, Convolution, Gate, Linear, Mean, Nearest, Pool, Scaled, Step

if TYPE_CHECKING:
    from mmseg_bisenet.deploy.int8.network import Int8Network


class Run:
    """Computes one image after the other.

    Args:
        threads: that the kernels run in.
    """

    def __init__(self, network: 'Int8Network', threads: int) -> None:
        self._network, self._plan, self._threads = network, network.plan, threads
        self._maps: dict[str, Map] = {}
        self._floats: dict[str, np.ndarray] = {}  # (H, W, C), or of a vector (C,); what fills up channels is left out
        self._kept: list[Any] = []  # what layers point to
        self._halos = [self._halo(of_image) for of_image in (False, True)]
        maps = [name for name in self._plan.stored if name not in network.inside]
        self._memory = Memory(self._plan, {name: self._whole(name) for name in maps}, self._halos[False])
        image = self._map(self._plan.image)
        self._pixels = Layer(height=image.height, width=image.width, in_row=3 * image.width)
        self._pixels.out, self._pixels.out_row = image.address(), image.row
        self._calls: list[Callable[[], Any]] = []
        for step in self._plan.steps:
            calls = self._of(step)
            self._calls += self._frames(step.output) + calls

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8, contiguous -> (num_classes, h, w) float32, which the next call overwrites."""
        self._pixels.source = image.ctypes.data
        library.run('pixels', self._pixels, self._threads)
        for call in self._calls:
            call()
        return self._floats[self._plan.logits].transpose(2, 0, 1)

    def _of(self, step: Step) -> list[Callable[[], Any]]:
        if isinstance(step, Convolution):
            if step.source in self._network.inside:
                return []
            return [self._convolution(step), *(self._in_bytes(step.output) if step.gated else [])]
        make: dict[type, Callable[[Any], Callable[[], None]]] = {
            Pool: self._pool,
            Nearest: self._nearest,
            Bilinear: self._bilinear,
            Gate: self._gate,
            Mean: self._mean,
            Linear: self._linear,
            Scaled: self._scaled,
        }
        return [make[type(step)](step)]

    def _frames(self, name: str) -> list[Callable[[], None]]:
        """The call that prepares what is around a map which shares its memory, before it is first written."""
        name = self._whole(name)
        if name not in self._memory.shared:
            return []
        self._memory.shared.remove(name)
        out = self._maps[name]
        layer = Layer(source=out.start, in_row=out.row, in_pixel=out.pixel, height=out.height, width=out.width)
        layer.kernel, layer.zero, layer.tiles = out.halo, out.zero, out.rows
        return [self._call('frame', layer)]

    def _call(self, kernel: str, layer: Layer, *kept: Any) -> Callable[[], None]:
        self._kept += [layer, *kept]
        return partial(library.run, kernel, layer, self._threads)

    def _convolution(self, step: Convolution) -> Callable[[], None]:
        kernel = self._network.packed[step.output][0]
        source, inside = self._map(step.source), self._network.inside.get(step.output)
        size, (_, height, width) = step.weight.shape[-1], self._plan.values[step.output].shape
        layer = layers.from_map(source, size // 2, kernel=size, across=size, stride=step.stride)
        if step.source == self._plan.image:
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
        layers.point(layer, self._network.packed[step.output][1])
        layer.relu = step.relu
        if step.shortcut is not None:
            layers.add(layer, self._map(step.shortcut))
        if step.gated is not None:
            layer.gate = self._floats[step.gated].ctypes.data

    def _set_output(self, layer: Layer, step: Convolution) -> None:
        """Where its results go: a map of bytes, or floats."""
        if step.output in self._network.stored and not step.gated:
            layers.to_map(layer, self._map(step.output))
            return
        outputs, height, width = self._plan.values[step.output].shape
        result = aligned((height, width, padded(outputs)), 'float32')
        self._floats[step.output] = result[..., :outputs]
        layer.height, layer.width, layer.outputs, layer.floats = *result.shape, 1
        layer.out, (layer.out_row, layer.out_pixel, _) = result.ctypes.data, result.strides

    def _pool(self, step: Pool) -> Callable[[], None]:
        layer = layers.from_map(self._map(step.source), step.kernel // 2, kernel=step.kernel, stride=step.stride)
        return self._call('max_pool', layers.to_map(layer, self._map(step.output)))

    def _nearest(self, step: Nearest) -> Callable[[], None]:
        layer = layers.to_map(layers.from_map(self._map(step.source), 0), self._map(step.output))
        layers.point(layer, dict(row_of=step.row_of, column_of=step.column_of))
        return self._call('nearest', layer)

    def _bilinear(self, step: Bilinear) -> Callable[[], None]:
        source, out = self._map(step.source), self._map(step.output)
        layer = layers.to_map(layers.from_map(source, 0), out)
        arrays = dict(
            rows=layers.between(source.height, out.height, step.resizing),
            columns=layers.between(source.width, out.width, step.resizing),
        )
        layers.point(layer, arrays)
        return self._call('bilinear', layer, arrays)

    def _gate(self, step: Gate) -> Callable[[], None]:
        source, out = self._map(step.source), self._map(step.output)
        _, *small = self._plan.values[step.gate].shape
        arrays = layers.rescaling(source, out) | dict(
            rows=layers.between(small[0], out.height, step.resizing),
            columns=layers.between(small[1], out.width, step.resizing),
            gate=self._floats[step.gate],
        )
        if step.summand is not None:
            arrays['summand'] = self._floats[step.summand]
        layer = layers.to_map(layers.from_map(source, 0, small_width=small[1]), out)
        layers.point(layer, arrays)
        self._give_scratch(layer, 2 * 4 * small[1] * out.stored)
        return self._call('gate', layer, arrays)

    def _mean(self, step: Mean) -> Callable[[], None]:
        source = self._map(step.source)
        scale = layers.channels(source.scale / (source.height * source.width), source.stored)
        layer = layers.from_map(source, 0, height=source.height, width=source.width, scale=scale.ctypes.data)
        return self._call('mean', self._to_vector(layer, step.output), scale)

    def _linear(self, step: Linear) -> Callable[[], None]:
        layer = Layer(source=self._floats[step.source].ctypes.data, depth=step.weight.shape[1])
        layer.relu, layer.sigmoid = step.relu, step.sigmoid
        layers.point(layer, self._network.packed[step.output][1])
        return self._call('linear', self._to_vector(layer, step.output))

    def _to_vector(self, layer: Layer, name: str) -> Layer:
        channels = self._plan.values[name].shape[0]
        result = aligned(padded(channels), 'float32')
        self._floats[name] = result[:channels]
        layer.out, layer.outputs = result.ctypes.data, len(result)
        return layer

    def _scaled(self, step: Scaled) -> Callable[[], None]:
        source, out = self._map(step.source), self._map(step.output)
        layer, arrays = layers.to_map(layers.from_map(source, 0, more=step.more), out), layers.rescaling(source, out)
        if step.shortcut is not None:
            other = self._map(step.shortcut)
            arrays['shortcut_scale'] = layers.channels(other.scale / out.scale, out.stored)
            arrays['bias'] = arrays['bias'] - other.zero * arrays['shortcut_scale']
            layers.add(layer, other)
        for key, name in (('gate', step.factor), ('summand', step.summand)):
            if name is not None:
                arrays[key] = self._floats[name]
        layers.point(layer, arrays)
        return self._call('scaled', layer, arrays)

    def _in_bytes(self, name: str) -> list[Callable[[], Any]]:
        """The call that stores floats in bytes, if a kernel reads them."""
        if name not in self._network.stored:
            return []
        floats, target = self._floats[name], self._map(name)

        def call() -> None:
            target.bytes[:] = np.rint(floats / target.scale + target.zero).clip(0, 255)

        return [call]

    def _halo(self, of_image: bool) -> int:
        """As many pixels as any kernel reads around the image, or around other maps."""
        steps = [step for step in self._plan.convolutions if (step.source == self._plan.image) == of_image]
        pools = [step.kernel for step in self._plan.steps if isinstance(step, Pool)]
        return max([1, *(size // 2 for size in (*(step.weight.shape[-1] for step in steps), *pools))])

    def _map(self, name: str) -> Map:
        if name not in self._maps:
            scale, zero = self._network.scales[name]
            channels, height, width = self._plan.values[name].shape
            shape = height, width, channels
            whole = self._plan.whole(name)
            if name == self._plan.image:
                self._maps[name] = Map((height, width, 3), self._halos[True], zero, scale, stored=3)
            elif whole is None:
                self._maps[name] = Map(shape, self._halos[False], zero, scale, memory=self._memory.of(name))
            else:
                parts = self._plan.values[whole].parts
                offset = sum(self._plan.values[part].shape[0] for part in parts[: parts.index(name)])
                inside = self._map(whole)
                self._maps[name] = Map(shape, inside.halo, zero, scale, inside, offset)
        return self._maps[name]

    def _whole(self, name: str) -> str:
        """The value whose map holds that of another."""
        whole = self._plan.whole(name)
        return name if whole is None else self._whole(whole)

    def _give_scratch(self, layer: Layer, size: int) -> None:
        layer.scratch_bytes = -(-size // 64) * 64
        scratch = aligned(self._threads * layer.scratch_bytes, 'uint8')
        layer.scratch = scratch.ctypes.data
        self._kept.append(scratch)
