"""The kernels of int8 against plain PyTorch: odd sizes, rest channels, saturation, and any number of threads."""

import ctypes

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmseg_bisenet.deploy.int8 import library, packing
from mmseg_bisenet.deploy.int8.layers import between
from mmseg_bisenet.deploy.int8.library import Layer
from mmseg_bisenet.deploy.int8.maps import Map, padded
from mmseg_bisenet.deploy.int8.plan import copied
from mmseg_bisenet.errors import InputError

try:
    library.require()
    library._library()
except (InputError, RuntimeError) as error:
    pytest.skip(str(error), allow_module_level=True)

INPUT = torch.tensor(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
).double()
OUTPUT = torch.tensor([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]).double()


def random_map(channels: int, height: int, width: int, zero: int = 0, halo: int = 1) -> Map:
    found = Map((height, width, channels), halo, zero, np.ones(channels))
    found.bytes[:] = np.random.RandomState(channels).randint(0, 256, found.bytes.shape)
    return found


def numbers(source: Map) -> torch.Tensor:
    """(1, C, H, W) float64, less the zero."""
    return torch.from_numpy(source.bytes.astype(np.float64)).permute(2, 0, 1)[None] - source.zero


def to_bytes(values: torch.Tensor) -> np.ndarray:
    return values[0].permute(1, 2, 0).round().clamp(0, 255).numpy()


def compute(name: str, source: Map, out: Map, /, threads: int = 2, padding: int = 1, **fields) -> np.ndarray:
    """What a kernel writes into ``out``; what is not written stays 7."""
    out.bytes[:] = 7
    layer = Layer(source=source.address(padding), in_row=source.row, in_pixel=source.pixel, depth=source.stored // 4)
    layer.zero, layer.height, layer.width, layer.outputs = source.zero, out.height, out.width, out.stored
    layer.out, layer.out_row, layer.out_pixel = out.address(), out.row, out.pixel
    kept = {key: np.ascontiguousarray(value) for key, value in fields.items() if isinstance(value, np.ndarray)}
    for key, value in fields.items():
        setattr(layer, key, kept[key].ctypes.data if key in kept else value)
    library.run(name, layer, threads)
    return out.bytes.copy()


def assert_rounded(got: np.ndarray, want: np.ndarray) -> None:
    """Equal, but for halves that float32 rounds to the other side."""
    difference = np.abs(got - want)
    assert difference.max() <= 1 and (difference > 0).mean() < 2e-3
    assert 0 < want.mean() < 255


def weights(outputs: int, inputs: int, kernel: int) -> np.ndarray:
    return np.random.RandomState(1).randn(outputs, inputs, kernel, kernel)


def whole(weight: np.ndarray, unit: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.rint(weight / unit[: len(weight), None, None, None]))


CASES = [  # inputs, outputs, kernel, stride, height, width, zero
    (16, 16, 3, 1, 5, 7, 0),
    (24, 32, 3, 2, 9, 13, 128),
    (48, 48, 1, 1, 6, 30, 0),
    (64, 144, 3, 1, 4, 11, 128),
    (8, 19, 1, 1, 3, 5, 0),
    (4, 64, 7, 2, 11, 15, 0),
]


@pytest.mark.parametrize('case', CASES, ids=str)
@pytest.mark.parametrize('with_shortcut', [False, True], ids=['alone', 'shortcut'])
def test_direct_is_the_convolution(case, with_shortcut):
    inputs, outputs, kernel, stride, height, width, zero = case
    source = random_map(inputs, height, width, zero, halo=kernel // 2 or 1)
    out = Map((-(-height // stride), -(-width // stride), outputs), 1, 0, np.ones(outputs))
    weight = weights(outputs, inputs, kernel)
    packed, unit, sums = packing.direct(weight, source.stored)
    exact = F.conv2d(numbers(source), whole(weight, unit), stride=stride, padding=kernel // 2)
    scale = np.full(out.stored, 60 / exact.std(), np.float32)
    bias = np.linspace(90, 130, out.stored, dtype=np.float32)
    want = exact * scale[0] + torch.from_numpy(bias)[:outputs, None, None]
    fields = dict(weight=packed, scale=scale, bias=bias - zero * np.float32(sums) * scale)
    if with_shortcut:
        other = random_map(outputs, out.height, out.width)
        fields |= dict(shortcut=other.address(), shortcut_row=other.row, shortcut_pixel=other.pixel)
        fields |= dict(shortcut_scale=np.full(out.stored, 0.25, np.float32))
        want = want + 0.25 * numbers(other)
    got = compute('direct', source, out, padding=kernel // 2, kernel=kernel, across=kernel, stride=stride, **fields)
    assert_rounded(got, to_bytes(want))


def image_map(height: int, width: int, halo: int) -> Map:
    found = Map((height, width, 3), halo, 0, np.ones(3), stored=3)
    found.bytes[:] = np.random.RandomState(width).randint(0, 256, found.bytes.shape)
    return found


def of_image(source: Map, weight: np.ndarray, stride: int) -> tuple[dict, torch.Tensor]:
    """Fields of the kernel, and the exact sums of its weights, in units of them."""
    packed, unit, starts, row_of, column_of = packing.of_image(weight, stride, (source.height, source.width))
    whole = torch.from_numpy(packing._rounded(weight[:, :3] / unit[: len(weight), None, None, None]))
    left = torch.from_numpy(weight / unit[: len(weight), None, None, None])
    constant = left[:, 3:] + packing.GREY * (left[:, :3] - whole).sum(1, keepdim=True)
    pixels = F.pad(numbers(source), (0, 0, 0, 0, 0, 1), value=1)
    exact = F.conv2d(pixels, torch.cat([whole, constant], 1), stride=stride, padding=weight.shape[-1] // 2)
    size = weight.shape[-1]
    fields = dict(weight=packed, starts=starts, row_of=row_of, column_of=column_of, stride=stride, padding=size // 2)
    return fields | dict(kernel=size, across=1, depth=-(-3 * size // 4)), exact


@pytest.mark.parametrize(
    'case',
    [(64, 7, 2, 12, 9), (19, 7, 2, 37, 50), (80, 3, 2, 11, 15), (16, 3, 1, 5, 29), (1, 1, 1, 4, 3), (32, 5, 3, 3, 4)],
    ids=str,
)
@pytest.mark.parametrize('threads', [1, 3])
def test_convolutions_of_an_image(case, threads):
    """Also where a kernel is larger than the image; the constant of the pixels is 0 around it."""
    outputs, size, stride, height, width = case
    source = image_map(height, width, size // 2)
    out = Map((-(-height // stride), -(-width // stride), outputs), 1, 0, np.ones(outputs))
    fields, exact = of_image(source, weights(outputs, 4, size), stride)
    scale = np.full(out.stored, 60 / exact.std(), np.float32)
    middle = np.float32(120 - exact.mean() * scale[0])
    fields |= dict(scale=scale, bias=np.full(out.stored, middle, np.float32))
    assert_rounded(compute('direct', source, out, threads, **fields), to_bytes(exact * scale[0] + float(middle)))


def test_results_of_an_image_beyond_a_byte_are_clipped():
    source, out = image_map(9, 7, 3), Map((5, 4, 16), 1, 0, np.ones(16))
    bias = np.float32([-3e9, 3e9, np.nan, 1e38] * 4)
    fields, _ = of_image(source, weights(16, 4, 7), 2)
    got = compute('direct', source, out, scale=np.full(16, 1e-4, np.float32), bias=bias, **fields)
    np.testing.assert_array_equal(got, np.broadcast_to([0, 255, 255, 255] * 4, got.shape))


def test_rounded_weights_of_an_image_keep_smooth_images():
    """A byte a weight: on neighbours that are alike the error is a small part of that of rounding each alone."""
    weight = weights(64, 3, 7)
    left = weight / (np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127)
    whole = packing._rounded(left)
    assert (whole == np.rint(whole)).all() and np.abs(whole).max() == 127
    rng = np.random.RandomState(0)
    smooth = torch.from_numpy(rng.randint(-128, 128, (1, 1, 40, 40)).astype(float)).repeat(1, 3, 1, 1)
    smooth = F.interpolate(smooth, scale_factor=4, mode='bilinear')

    def error(found: np.ndarray) -> float:
        return float(F.conv2d(smooth, torch.from_numpy(found - left)).square().mean().sqrt())

    assert error(whole) < 0.2 * error(np.rint(left))


@pytest.mark.parametrize('constant', [0, 1e7])
def test_weights_of_an_image_that_are_zero(constant):
    """A constant alone stays, however large it is."""
    weight = np.zeros((16, 4, 3, 3))
    weight[:, 3] = constant
    _, unit, starts, row_of, column_of = packing.of_image(weight, 1, (5, 5))
    for y, x, taps in ((2, 2, 9), (0, 2, 6), (2, 4, 6), (4, 0, 4)):
        of_place = starts.ravel()[row_of[y] + column_of[x] :][:16]
        np.testing.assert_allclose(of_place * unit, taps * constant, rtol=1e-6)


@pytest.mark.parametrize('sizes', [((5, 7), (10, 14)), ((5, 7), (13, 16)), ((9, 8), (4, 3)), ((1, 1), (3, 2))], ids=str)
@pytest.mark.parametrize('channels', [8, 80])
@pytest.mark.parametrize('threads', [1, 3])
def test_nearest_copies_the_pixels_that_pytorch_takes(sizes, channels, threads):
    graph = torch.fx.Graph()
    source = graph.placeholder('x')
    node = graph.call_function(torch.ops.aten.upsample_nearest2d.vec, (source, list(sizes[1]), None))
    source.meta['val'] = torch.empty(1, channels, *sizes[0])
    small, out = random_map(channels, *sizes[0]), Map((*sizes[1], channels), 1, 0, np.ones(channels))
    row_of, column_of = copied(node)
    got = compute('nearest', small, out, threads, padding=0, row_of=row_of, column_of=column_of)
    np.testing.assert_array_equal(got, to_bytes(F.interpolate(numbers(small), sizes[1])))


@pytest.mark.parametrize(
    'case', [(16, 1, 1, 7, 5, 0), (16, 6, 2, 9, 11, 128), (48, 1, 2, 4, 4, 0), (8, 3, 1, 3, 17, 0)], ids=str
)
def test_depthwise_is_the_convolution(case):
    inputs, multiple, stride, height, width, zero = case
    outputs = inputs * multiple
    source = random_map(inputs, height, width, zero)
    out = Map((-(-height // stride), -(-width // stride), outputs), 1, 128, np.ones(outputs))
    weight = weights(outputs, 1, 3)
    packed, unit, sums, order, first = packing.depthwise(weight, inputs)
    exact = F.conv2d(numbers(source), whole(weight, unit), stride=stride, padding=1, groups=inputs)
    scale = np.full(out.stored, 60 / exact.std(), np.float32)
    bias = 128 - zero * np.float32(sums) * scale
    got = compute(
        'depthwise', source, out, weight=packed, scale=scale, bias=bias, order=order, first=first, stride=stride
    )
    assert_rounded(got, to_bytes(exact * scale[0] + 128))


def run_winograd(
    source: Map,
    out: Map,
    weight: np.ndarray,
    scale: float,
    bias: np.ndarray,
    threads: int = 2,
    classifier: Layer | None = None,
    **more,
) -> np.ndarray:
    packed, unit, starts = packing.winograd(weight, source.stored)
    tiles = 12
    size = tiles * (36 * source.stored + 4 * 48) + 4 * 6 * 36 * 64
    size += tiles * 4 * 16 * (classifier.outputs if classifier else 0)
    scratch = np.empty(threads * size, np.uint8)
    if classifier:
        more['classifier'] = ctypes.addressof(classifier)
    fields = dict(weight=packed, units=np.float32(unit * scale), starts=starts, bias=bias, scratch=scratch)
    return compute('winograd', source, out, threads, tiles=tiles, scratch_bytes=size, **fields, **more)


def winograd(source: Map, weight: np.ndarray) -> torch.Tensor:
    """The convolution of what is quantized, without bias, (1, K, H, W) float64."""
    x = F.pad(numbers(source), (1, 1 + -source.width % 4, 1, 1 + -source.height % 4))
    patches = x.unfold(2, 6, 4).unfold(3, 6, 4)  # (1, C, H / 4, W / 4, 6, 6)
    patches = INPUT @ patches @ INPUT.T
    level = (127 * 32768 / patches.abs().amax(1, keepdim=True).clamp(min=128)).round()
    patches = ((patches * level + 2**14) / 2**15).floor().clamp(-128, 127) * (2**15 / level)
    taps = torch.from_numpy(packing.FILTER)
    filters = taps @ torch.from_numpy(weight) @ taps.T  # (K, C, 6, 6)
    unit = filters.abs().amax(1, keepdim=True) / 127
    products = torch.einsum('nchwpq,kcpq->nkhwpq', patches, (filters / unit).round() * unit)
    tiles = OUTPUT @ products @ OUTPUT.T
    return tiles.permute(0, 1, 2, 4, 3, 5).flatten(4, 5).flatten(2, 3)[:, :, : source.height, : source.width]


@pytest.mark.parametrize(
    'case', [(64, 64, 5, 9, 0), (64, 128, 8, 4, 128), (192, 64, 19, 30, 0), (64, 64, 1, 1, 0)], ids=str
)
def test_winograd_is_the_convolution_of_what_it_quantizes(case):
    inputs, outputs, height, width, zero = case
    source = random_map(inputs, height, width, zero)
    out = Map((height, width, outputs), 1, 0, np.ones(outputs))
    weight = weights(outputs, inputs, 3)
    exact = F.conv2d(numbers(source), torch.from_numpy(weight), padding=1)
    want, scale = winograd(source, weight), float(60 / exact.std())
    assert (want - exact).square().mean().sqrt() < 0.12 * exact.square().mean().sqrt()
    got = run_winograd(source, out, weight, scale, np.full(outputs, 120, np.float32))
    assert_rounded(got, to_bytes(want * scale + 120))
    other = random_map(outputs, height, width)
    fields = dict(shortcut=other.address(), shortcut_row=other.row, shortcut_pixel=other.pixel)
    fields |= dict(shortcut_scale=np.full(outputs, 0.5, np.float32))
    got = run_winograd(source, out, weight, scale, np.full(outputs, 60, np.float32), **fields)
    assert_rounded(got, to_bytes(want * scale + 60 + 0.5 * numbers(other)))


@pytest.mark.parametrize('classes', [1, 11, 19, 70, 150])
@pytest.mark.parametrize('threads', [1, 3])
def test_winograd_computes_the_classifier_too(classes, threads):
    source, weight, bias = random_map(64, 21, 34, 128), weights(128, 64, 3), np.full(128, 99, np.float32)
    features = Map((21, 34, 128), 1, 0, np.ones(128))
    run_winograd(source, features, weight, 0.01, bias)
    packed, unit, _ = packing.direct(weights(classes, 128, 1), 128)
    want = F.conv2d(numbers(features), whole(weights(classes, 128, 1), unit))[0].permute(1, 2, 0)
    want = want.numpy() * unit[:classes] + np.linspace(-9, 9, padded(classes))[:classes]
    scale, offset = np.float32(unit), np.linspace(-9, 9, padded(classes), dtype=np.float32)
    scores = np.full((21, 34, padded(classes)), np.nan, np.float32)
    classifier = Layer(out=scores.ctypes.data, out_row=scores.strides[0], out_pixel=scores.strides[1], floats=1)
    classifier.depth, classifier.outputs, classifier.height, classifier.width = 32, scores.shape[2], 21, 34
    classifier.weight, classifier.scale, classifier.bias = packed.ctypes.data, scale.ctypes.data, offset.ctypes.data
    got = run_winograd(source, features, weight, 0.01, bias, threads, classifier)
    assert (got == 7).all()  # the features are not stored
    np.testing.assert_allclose(scores[..., :classes], want, atol=1e-3)
    assert want.std() > 100


def test_winograd_loses_nothing_of_small_values():
    """Values up to 127 stay as they are, and a filter that copies has few levels."""
    source = random_map(32, 9, 6)
    source.bytes[:] %= 2
    out = Map((9, 6, 64), 1, 0, np.ones(64))
    weight = np.zeros((64, 32, 3, 3))
    weight[range(32), range(32), 1, 1] = weight[range(32, 64), range(32), 1, 1] = 1
    got = run_winograd(source, out, weight, 100, np.full(64, 20, np.float32))
    np.testing.assert_allclose(got, np.tile(source.bytes, 2) * 100.0 + 20, atol=2)


def test_results_beyond_a_byte_are_clipped():
    """And NaN is the largest, in both kernels."""
    bias = np.float32([-3e9, 3e9, np.nan, 1e38] * 16)
    source, out = random_map(64, 4, 4), Map((4, 4, 64), 1, 0, np.ones(64))
    packed, unit, _ = packing.direct(np.eye(64)[:, :, None, None], 64)
    fields = dict(weight=packed, scale=np.float32(unit), bias=bias, kernel=1, across=1, stride=1)
    got = compute('direct', source, out, padding=0, **fields)
    np.testing.assert_array_equal(got, np.broadcast_to([0, 255, 255, 255] * 16, got.shape))
    np.testing.assert_array_equal(run_winograd(source, out, weights(64, 64, 3), 0.01, bias), got)


def test_any_number_of_threads_gives_the_same():
    source, weight = random_map(64, 21, 34), weights(64, 64, 3)
    results = []
    for threads in (1, 2, 5):
        out = Map((21, 34, 64), 1, 0, np.ones(64))
        results.append(run_winograd(source, out, weight, 0.01, np.full(64, 99, np.float32), threads))
        packed, unit, _ = packing.direct(weight, 64)
        fields = dict(
            weight=packed, scale=np.float32(unit / 50), bias=np.full(64, 99, np.float32), kernel=3, across=3, stride=1
        )
        results.append(compute('direct', source, out, threads, **fields))
    for found in (results[2:4], results[4:]):
        np.testing.assert_array_equal(found, results[:2])


def test_nothing_is_written_around_a_map():
    source, out = random_map(32, 6, 7), Map((6, 7, 64), 2, 3, np.ones(64))
    run_winograd(source, out, weights(64, 32, 3), 0.01, np.full(64, 99, np.float32))
    around = np.ones((10, 12), bool)
    around[2:8, 2:9] = False
    around = out.buffer[: 10 * out.row].reshape(10, 12, 64)[around]
    assert (around == 3).all() and (out.bytes != 3).any()


def interpolated(small: torch.Tensor, size: tuple[int, int], resizing: str) -> torch.Tensor:
    if resizing == 'nearest':
        return F.interpolate(small, size)
    return F.interpolate(small, size, mode='bilinear', align_corners=resizing == 'corners')


@pytest.mark.parametrize('resizing', ['bilinear', 'corners'])
@pytest.mark.parametrize('case', [(24, 5, 7, 11, 15), (64, 10, 9, 7, 4), (8, 1, 2, 3, 8)], ids=str)
@pytest.mark.parametrize('threads', [1, 3])
def test_bilinear(case, resizing, threads):
    channels, height, width, *size = case
    source, out = random_map(channels, height, width), Map((*size, channels), 1, 0, np.ones(channels))
    arrays = dict(rows=between(height, size[0], resizing), columns=between(width, size[1], resizing))
    got = compute('bilinear', source, out, threads, padding=0, **arrays)
    want = interpolated(numbers(source), size, resizing)[0].permute(1, 2, 0).numpy()
    assert np.abs(got - want).max() < 0.5 + 1e-3


@pytest.mark.parametrize('resizing', ['bilinear', 'corners', 'nearest'])
@pytest.mark.parametrize('with_summand', [False, True])
def test_gate(resizing, with_summand):
    source, out = random_map(24, 9, 15, zero=128), Map((9, 15, 24), 1, 128, np.ones(24))
    gate, summand = torch.randn(2, 3, 5, 32)

    def resized(small: torch.Tensor) -> torch.Tensor:
        return interpolated(small.double().permute(2, 0, 1)[None, :24], (9, 15), resizing)

    want = 0.5 * numbers(source) * torch.sigmoid(3 * resized(gate)) + 128
    fields = dict(gate=(3 * gate).numpy(), small_width=5, scale=np.full(32, 0.5, np.float32))
    fields |= dict(bias=np.full(32, 128, np.float32), shortcut_scale=np.full(32, 20, np.float32))
    fields |= dict(rows=between(3, 9, resizing), columns=between(5, 15, resizing))
    if with_summand:
        want = want + 20 * resized(summand)
        fields |= dict(summand=summand.numpy())
    scratch = np.empty(2 * 2 * 4 * 5 * 32, np.uint8)
    got = compute('gate', source, out, padding=0, scratch=scratch, scratch_bytes=len(scratch) // 2, **fields)
    difference = np.abs(got - to_bytes(want))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.02  # its sigmoid is exact to 2^-14


@pytest.mark.parametrize('channels', [16, 48, 144])
@pytest.mark.parametrize('threads', [1, 3])
def test_mean(channels, threads):
    source, out = random_map(channels, 9, 14, zero=128), np.full(padded(channels), np.nan, np.float32)
    scale = np.linspace(0.1, 2, channels, dtype=np.float32)
    kept = Map((9, 14, channels), 1, 0, np.ones(channels))
    compute('mean', source, kept, threads, padding=0, out=out, scale=scale / (9 * 14))
    want = numbers(source).mean((2, 3))[0].numpy() * scale
    np.testing.assert_allclose(out[:channels], want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize('relu', [False, True])
@pytest.mark.parametrize('sigmoid', [False, True])
def test_linear(relu, sigmoid):
    x, weight, bias = np.random.RandomState(0).randn(37), weights(80, 37, 1)[..., 0, 0], np.linspace(-1, 1, 80)
    want = weight @ x + bias
    want = np.maximum(want, 0) if relu else want
    want = 1 / (1 + np.exp(-want)) if sigmoid else want
    out, arrays = np.full(80, np.nan, np.float32), [np.float32(x), np.ascontiguousarray(weight.T, np.float32)]
    layer = Layer(depth=37, outputs=80, relu=relu, sigmoid=sigmoid, out=out.ctypes.data)
    layer.source, layer.weight, arrays = arrays[0].ctypes.data, arrays[1].ctypes.data, [*arrays, np.float32(bias)]
    layer.bias = arrays[2].ctypes.data
    library.run('linear', layer, 2)
    np.testing.assert_allclose(out, want, atol=2e-4 if sigmoid else 1e-5)


@pytest.mark.parametrize('parts', ['factor', 'summand', 'factor summand', 'factor more', 'factor more summand'])
@pytest.mark.parametrize('threads', [1, 3])
def test_scaled(parts, threads):
    source, out = random_map(40, 9, 14, zero=128), Map((9, 14, 40), 1, 120, np.ones(40))
    factor, summand = np.random.RandomState(0).uniform(-1, 1, (2, 48)).astype(np.float32)
    fields = dict(scale=np.full(48, 0.47, np.float32), bias=np.full(48, 120, np.float32), more='more' in parts)
    fields |= dict(shortcut_scale=np.full(48, 60, np.float32))
    fields |= dict(gate=factor) if 'factor' in parts else {}
    fields |= dict(summand=summand) if 'summand' in parts else {}
    multiply = (factor if 'factor' in parts else 1) + ('more' in parts) * np.ones(48)
    add = 120 + 60 * summand * ('summand' in parts)
    got = compute('scaled', source, out, threads, padding=0, **fields)
    want = 0.47 * numbers(source)[0].permute(1, 2, 0).numpy() * multiply[:40] + add[:40]
    assert_rounded(got, want.round().clip(0, 255))
    if 'summand' not in parts:
        other = random_map(40, 9, 14)
        other.bytes[:] = other.bytes[::-1]
        fields |= dict(shortcut=other.address(), shortcut_row=other.row, shortcut_pixel=other.pixel)
        fields |= dict(shortcut_scale=np.full(48, 0.3, np.float32))
        got = compute('scaled', source, out, threads, padding=0, **fields)
        assert_rounded(got, (want + 0.3 * other.bytes).round().clip(0, 255))


def test_a_convolution_gates_other_results():
    source, out = random_map(64, 6, 9), Map((6, 9, 64), 1, 0, np.ones(64))
    packed, unit, _ = packing.direct(weights(64, 64, 1), 64)
    scale, bias = np.float32(unit / 100), np.linspace(-1, 1, 64, dtype=np.float32)
    exact = F.conv2d(numbers(source), whole(weights(64, 64, 1), unit))[0].permute(1, 2, 0).numpy() * scale + bias
    values, got = np.random.RandomState(0).randn(2, 6, 9, 64).astype(np.float32)
    fields = dict(out=got, out_row=4 * 9 * 64, out_pixel=4 * 64, floats=1, gate=values, kernel=1, across=1, stride=1)
    compute('direct', source, out, padding=0, weight=packed, scale=scale, bias=bias, **fields)
    np.testing.assert_allclose(got, values / (1 + np.exp(-exact)), atol=1e-3)


@pytest.mark.parametrize('channels', [24, 64, 80, 144])
def test_max_pool(channels):
    source, out = random_map(channels, 9, 14), Map((5, 7, channels), 1, 0, np.ones(channels))
    got = compute('max_pool', source, out, kernel=3, stride=2)
    np.testing.assert_array_equal(got, to_bytes(F.max_pool2d(numbers(source), 3, 2, 1)))


def test_pixels():
    image = np.random.RandomState(0).randint(0, 256, (5, 37, 3), np.uint8)
    out = Map((5, 37, 3), 3, 0, np.ones(3), stored=3)
    layer = Layer(source=image.ctypes.data, in_row=3 * 37, height=5, width=37)
    layer.out, layer.out_row = out.address(), out.row
    library.run('pixels', layer, 2)
    np.testing.assert_array_equal(out.bytes, image)
    assert out.buffer.sum() == image.sum()  # the padding


def test_stored_channels():
    assert [padded(channels) for channels in (1, 16, 17, 64)] == [16, 16, 32, 64]
