"""int8: what calibrates it, what stays float, and that pixels go in as they are."""

import json
import logging
import math
import os
import weakref
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch

import mmseg_bisenet
from mmseg_bisenet.deploy import load, quantize, verify
from mmseg_bisenet.deploy.backends.compile import Compile
from mmseg_bisenet.deploy.export import export
from mmseg_bisenet.deploy.int8 import library, ranges
from mmseg_bisenet.deploy.metadata import read_metadata
from mmseg_bisenet.deploy.network import DeployNetwork
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.miniscapes.scene import draw_scene

CONFIG = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'
SHAPE = (64, 128)


@pytest.fixture(scope='module')
def streets() -> list[np.ndarray]:
    return [draw_scene(seed, SHAPE)[0] for seed in range(10)]


@pytest.fixture(scope='module')
def segmentor(streets):
    """Random layers under a classifier that knows dark from bright: its labels are no ties."""
    torch.manual_seed(0)
    segmentor = mmseg_bisenet.get_model(CONFIG)
    network = DeployNetwork(segmentor)
    seen = []
    network.decode_head.conv_seg.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = np.stack(streets)
    network(torch.from_numpy(images))
    features = seen[0].permute(0, 2, 3, 1).flatten(0, 2)
    centred = features - features.mean(0)
    grey = torch.from_numpy(images).float().mean(-1)[:, None]
    grey = torch.nn.functional.interpolate(grey, (8, 16), mode='area').flatten()
    target = torch.tanh((grey - grey.median()) / 10)
    deviation = centred.std()
    ridge = centred.T @ centred + len(centred) * deviation**2 * torch.eye(features.shape[1])
    direction = torch.linalg.solve(ridge, centred.T @ target)
    head = segmentor.decode_head.conv_seg
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(-3)
        for label, sign in ((4, 1), (9, -1)):
            head.weight[label, :, 0, 0] = sign * direction
            head.bias[label] = -sign * features.mean(0) @ direction
    return segmentor


@pytest.fixture(scope='module')
def quantized(segmentor, streets, tmp_path_factory):
    pytest.importorskip('nncf')
    folder = tmp_path_factory.mktemp('int8')
    return export(segmentor, 'onnx', 'int8', SHAPE, folder, calibration=streets)


def test_int8_gives_the_labels_of_the_network(quantized, segmentor, streets):
    ort = pytest.importorskip('onnxruntime')
    images = streets[4][None]
    labels = ort.InferenceSession(quantized).run(None, dict(images=images))[0]
    wanted = DeployNetwork(segmentor)(torch.from_numpy(images))
    wanted = torch.nn.functional.interpolate(wanted, SHAPE, mode='bilinear').argmax(1).numpy()
    assert set(np.unique(wanted)) == {4, 9}
    assert (labels == wanted).mean() > 0.98
    assert read_metadata(quantized)['precision'] == 'int8'


def test_what_reads_the_image_stays_float(quantized):
    onnx = pytest.importorskip('onnx')
    nodes = onnx.load(quantized).graph.node
    made_by = {output: node.op_type for node in nodes for output in node.output}
    convolutions = [node for node in nodes if node.op_type == 'Conv']
    assert len(convolutions) > 20
    floating = {node.name for node in convolutions if made_by.get(node.input[1]) != 'DequantizeLinear'}
    assert floating == {'backbone.detail.detail_branch.0.0.conv/Conv', 'backbone.semantic.stage1.conv_first.conv/Conv'}


def test_named_modules_and_the_labels_stay_float(segmentor, streets, tmp_path):
    pytest.importorskip('nncf')
    ov = pytest.importorskip('openvino')
    path = export(
        segmentor, 'openvino', 'int8', SHAPE, tmp_path, calibration=streets, keep_float=['decode_head', 'backbone.d*l']
    )
    quantized, floating = set(), set()
    for op in ov.Core().read_model(path).get_ops():
        if op.get_type_name() in ('Convolution', 'GroupConvolution', 'MatMul'):
            kinds = quantized if op.input_value(0).get_node().get_type_name() == 'FakeQuantize' else floating
            kinds.add(op.get_friendly_name().removeprefix('backbone.').split('/')[0].split('.')[0])
    assert {'decode_head', 'detail', 'labels'} <= floating
    assert {'semantic', 'bga'} <= quantized
    assert not {'decode_head', 'detail'} & quantized


def test_a_module_that_is_not(segmentor, streets, tmp_path):
    pytest.importorskip('nncf')
    with pytest.raises(InputError, match=r'--keep-float decode_heads names no module of the network; they go from'):
        export(segmentor, 'onnx', 'int8', SHAPE, tmp_path, calibration=streets, keep_float=['decode_heads'])
    assert not list(tmp_path.iterdir())


def test_what_only_int8_uses_is_refused_without_it(segmentor, streets, tmp_path):
    with pytest.raises(InputError, match=r'^--calibration is for int8, and the precision is fp16; leave it out, or'):
        export(segmentor, 'onnx', 'fp16', SHAPE, tmp_path, calibration=iter(streets))
    with pytest.raises(InputError, match=r'^--keep-float is for int8, and the precision is fp32'):
        export(segmentor, 'onnx', 'fp32', SHAPE, tmp_path, calibration=[], keep_float=['decode_head'])
    with pytest.raises(InputError, match=r'^--calibration is for int8, and the precision is fp32'):
        load(segmentor, shape=SHAPE, calibration=streets)
    quantize.require_int8(['fp32', 'int8'], streets, ['decode_head'])
    assert not list(tmp_path.iterdir())


def test_what_a_segmentor_or_a_file_has_already_is_refused(segmentor, streets, tmp_path):
    with pytest.raises(InputError, match=r'^the segmentor has its weights; leave checkpoint a.pth out$'):
        load(segmentor, 'a.pth', shape=SHAPE)
    with pytest.raises(InputError, match=r'^exported file .*a.onnx has its ranges; leave calibration out$'):
        load(tmp_path / 'a.onnx', calibration=streets)


def test_arguments_of_a_wrong_type(segmentor, streets, tmp_path):
    types = 'give a name of the model index, the path of a config or of an exported file, or a segmentor'
    with pytest.raises(InputError, match=f'^model of type int: {types}$'):
        load(5)
    for arguments, text in (
        (dict(calibration=5), '--calibration is 5; give a list'),
        (dict(calibration=[5] * 10), r'int8: a calibration image is of type int; give arrays \(H, W, 3\) of uint8'),
        (
            dict(calibration=np.zeros((10, *SHAPE, 3))),
            r'int8: a calibration image is float64 \(64, 128, 3\), not uint8.*',
        ),
        (dict(calibration=streets, keep_float=5), '--keep-float is 5; give a list'),
        (dict(calibration=streets, dynamic='no'), "dynamic='no': give True or False"),
        (dict(calibration=streets, overwrite='no'), "overwrite='no': give True or False"),
    ):
        with pytest.raises(InputError, match=f'^{text}$'):
            export(segmentor, 'onnx', 'int8', SHAPE, tmp_path, **arguments)
    with pytest.raises(InputError, match=r'^--calibration is 5; give a list$'):
        load(segmentor, shape=SHAPE, calibration=5)
    with pytest.raises(InputError, match=r"^throughput='no': give True or False$"):
        load(segmentor, shape=SHAPE, throughput='no')
    with pytest.raises(InputError, match=r'^exported file .*a.onnx has its ranges; leave calibration out$'):
        load(tmp_path / 'a.onnx', calibration=5)
    assert not list(tmp_path.iterdir())


# -- our own kernels ---------------------------------------------------------------------------------------------------

INT8 = dict(runtime='compile', precision='int8', shape=SHAPE)


def kernels_run() -> bool:
    try:
        Compile().require_build('int8', torch.device('cpu'))
    except InputError:
        return False
    return True


needs_kernels = pytest.mark.skipif(not kernels_run(), reason='a CPU without AVX-512-VNNI, or no compiler')


@pytest.fixture(scope='module')
def in_int8(segmentor, streets):
    return load(segmentor, **INT8, calibration=streets)


@needs_kernels
def test_compile_in_int8_gives_the_labels_of_the_network(in_int8, segmentor, streets):
    exact = load(segmentor, runtime='torch', shape=SHAPE)
    assert (in_int8.runtime, in_int8.precision, in_int8.dynamic) == ('compile', 'int8', False)
    images = np.stack(streets)
    agreement = np.mean(in_int8(images) == exact(images))
    assert 0.97 < agreement < 1  # `load` has verified 98 %, ties aside
    kinds = [kind for kind, _ in in_int8.engine.packed.values()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == dict(direct=25, winograd=14, depthwise=17, linear=1)


@needs_kernels
def test_load_keeps_nothing_that_only_building_needs(segmentor, streets, monkeypatch):
    """Neither the images nor the network in float32."""
    images, networks = [street.copy() for street in streets], []
    kept = [weakref.ref(image) for image in images]
    require = verify.require

    def noted(run, network, *others):
        networks.append(weakref.ref(network))
        require(run, network, *others)

    monkeypatch.setattr(verify, 'require', noted)
    given = iter(images)
    del images
    found = load(segmentor, **INT8, calibration=given)
    assert [ref() for ref in (*kept, *networks)] == [None] * (len(streets) + 1)
    assert found(streets[0]).shape == SHAPE


@needs_kernels
def test_ranges_are_saved_and_loaded_without_images(in_int8, segmentor, streets, tmp_path):
    path = tmp_path / 'ranges.json'
    in_int8.engine.ranges.save(path)
    with pytest.raises(InputError, match=r'ranges.json exists'):
        in_int8.engine.ranges.save(path)
    again = load(segmentor, **INT8, calibration=path)
    image = torch.from_numpy(streets[3])[None]
    assert torch.equal(in_int8.engine(image), again.engine(image))
    with pytest.raises(InputError, match=r'ranges.json has the ranges of other weights; calibrate these with images'):
        load(mmseg_bisenet.get_model(CONFIG), **INT8, calibration=path)
    found = in_int8.engine.ranges
    older = {name: value for name, value in found.largest.items() if name != 'relu_7'}
    other = tmp_path / 'older.json'
    ranges.Ranges(older, found.weights).save(other)
    with pytest.raises(InputError, match=r'older.json is not for shape .*: the range of relu_7 is missing'):
        load(segmentor, **INT8, calibration=other)
    with pytest.raises(InputError, match=r'runtime openvino in int8 takes no file of ranges; take compile'):
        load(segmentor, None, 'openvino', 'int8', SHAPE, calibration=path)
    path.write_text('[]')
    with pytest.raises(InputError, match=r'ranges.json cannot be read as ranges of int8; give one that segment.engine'):
        load(segmentor, **INT8, calibration=path)


@needs_kernels
def test_ranges_that_are_not_as_they_were_saved(in_int8, segmentor, tmp_path):
    path = tmp_path / 'ranges.json'
    in_int8.engine.ranges.save(path)
    whole = json.loads(path.read_text())
    layers = whole['largest']
    first, second = min(layers, key=layers.get), max(layers, key=layers.get)
    for largest in (
        layers | {first: layers[second], second: layers[first]},
        layers | {second: 1.5 * layers[second]},
        {name: value for name, value in layers.items() if name != first},
        layers | {first: -1.0},
        layers | {first: math.nan},
    ):
        path.write_text(json.dumps(whole | dict(largest=largest)))
        with pytest.raises(InputError, match=r'ranges.json is damaged, was edited, or is of another version'):
            load(segmentor, **INT8, calibration=path)
    for content in (b'', path.read_bytes()[:-40], b'\xff\xfe', b'[' * 100_000, b'{"checksum": 1}', b'null'):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r'ranges.json cannot be read as ranges of int8; give one that'):
            load(segmentor, **INT8, calibration=path)
    for key in whole:
        path.write_text(json.dumps({name: value for name, value in whole.items() if name != key}))
        with pytest.raises(InputError, match=r'ranges.json (cannot be read as ranges|is damaged, was edited)'):
            load(segmentor, **INT8, calibration=path)


@needs_kernels
def test_ranges_that_no_measurement_gives(in_int8, tmp_path):
    found = in_int8.engine.ranges
    name = next(iter(found.largest))
    for value in (-1.0, math.nan, math.inf, True, 'a', None):
        path = tmp_path / f'{value}.json'
        ranges.Ranges(found.largest | {name: value}, found.weights).save(path)
        with pytest.raises(InputError, match=rf'json: {name} is {value}; calibrate with images again'):
            ranges.Ranges.load(path)


@needs_kernels
def test_ranges_of_other_layers_or_of_a_pipe(in_int8, segmentor, tmp_path):
    found = in_int8.engine.ranges
    more = found.largest | dict(another=1.0)
    less = dict(list(found.largest.items())[1:])
    for number, largest in enumerate((more, less)):
        ranges.Ranges(largest, found.weights).save(tmp_path / f'{number}.json')
        with pytest.raises(InputError, match=r'json is not for shape .*: the range of .* is missing'):
            load(segmentor, **INT8, calibration=tmp_path / f'{number}.json')
    os.mkfifo(tmp_path / 'pipe.json')
    with pytest.raises(InputError, match=r'pipe.json is a pipe or a device; save what it gives to a file'):
        load(segmentor, **INT8, calibration=tmp_path / 'pipe.json')
    with pytest.raises(InputError, match='path=None: give a path'):
        found.save(None)


@needs_kernels
def test_several_images_and_threads_at_a_time(in_int8, streets):
    one_by_one = np.stack([in_int8(image) for image in streets])
    np.testing.assert_array_equal(in_int8(np.stack(streets)), one_by_one)
    with ThreadPoolExecutor(3) as pool:
        np.testing.assert_array_equal(list(pool.map(in_int8, streets)), one_by_one)


@needs_kernels
def test_ranges_that_lose_the_labels_are_refused(segmentor, streets, monkeypatch):
    measure = ranges.measure

    def small(plan, images):
        found = measure(plan, images)
        return ranges.Ranges({name: 1e-3 * value for name, value in found.largest.items()}, found.weights)

    monkeypatch.setattr(ranges, 'measure', small)
    with pytest.raises(
        InputError, match=r'compile in int8: \d+\.\d\d% of the labels are those of PyTorch in fp32, and 98\.00% are'
    ):
        load(segmentor, **INT8, calibration=streets)


def test_compile_in_int8_where_it_cannot_run(segmentor, streets, monkeypatch):
    with pytest.raises(InputError, match='int8: 0 images to calibrate with'):
        load(segmentor, **INT8)
    with pytest.raises(InputError, match=r'int8 runs on CPUs; give device='):
        Compile().require_build('int8', torch.device('cuda'))
    monkeypatch.setattr(library, 'cpu_flags', lambda: {'avx2'})
    with pytest.raises(
        InputError, match=r'runtime compile: int8 needs Linux and a CPU with AVX-512-VNNI .*; choose a ru'
    ):
        load(segmentor, **INT8, calibration=streets)


@needs_kernels
def test_a_compiler_that_fails(monkeypatch, tmp_path):
    compiler = tmp_path / 'c++'
    compiler.write_text('#!/bin/sh\necho "error: no such CPU" >&2\nexit 1\n')
    compiler.chmod(0o755)
    monkeypatch.setattr('torch._inductor.cpp_builder.get_cpp_compiler', lambda: str(compiler))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    with pytest.raises(InputError, match=r'does not compile the kernels of int8 \(error: no such CPU\); set CXX to g'):
        library._library.__wrapped__()
    assert list((tmp_path / 'cache' / 'mmseg_bisenet').iterdir()) == []


# -- images ------------------------------------------------------------------------------------------------------------


def test_too_few_and_few_images(streets, caplog):
    with pytest.raises(
        InputError, match=r'int8: 9 images to calibrate with, .* at least 10, better 100 to 300; give more'
    ):
        quantize.checked(streets[:9], SHAPE)
    with caplog.at_level(logging.WARNING):
        assert len(quantize.checked(streets, SHAPE)) == 10
    assert 'int8: 10 images to calibrate with; 100 to 300 are better' in caplog.text
    with pytest.raises(InputError, match=r'a calibration image is uint8 \(64, 128, 3\), not uint8 \(64, 64, 3\)'):
        quantize.checked(streets, (64, 64))
    with pytest.raises(InputError, match='int8: each calibration image has one colour only; give photographs'):
        quantize.checked([np.full((*SHAPE, 3), i, np.uint8) for i in range(10)], SHAPE)


def test_images_of_a_folder_at_even_distances(tmp_path):
    (tmp_path / 'town').mkdir()
    for i in range(9):
        cv2.imwrite(str(tmp_path / 'town' / f'{i}.png'), np.full((20, 30, 3), i, np.uint8))
    (tmp_path / 'notes.txt').write_text('')
    images = list(quantize.read_images(quantize.find_images(tmp_path), (8, 16), most=5))
    assert [image.max() for image in images] == [0, 2, 4, 6, 8]
    assert {image.shape for image in images} == {(8, 16, 3)}


def test_folders_that_give_no_image(tmp_path):
    with pytest.raises(
        InputError, match=r'calibration folder .*none does not exist; give a folder of images, or train'
    ):
        quantize.find_images(tmp_path / 'none')
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match=r'calibration folder .*file is no folder; give a folder of images'):
        quantize.find_images(tmp_path / 'file')
    with pytest.raises(InputError, match='has no image'):
        quantize.find_images(tmp_path)
    (tmp_path / 'a.png').write_text('no image')
    with pytest.raises(InputError, match=r'a.png cannot be read; repair it or remove it'):
        list(quantize.read_images(quantize.find_images(tmp_path), SHAPE))
