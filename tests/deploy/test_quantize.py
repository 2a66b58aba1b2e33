"""int8: what calibrates it, what stays float, and that pixels go in as they are."""

import json
import logging
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.numpy
import torch

import mmseg_bisenet
from mmseg_bisenet.deploy import load, quantize, verify
from mmseg_bisenet.deploy.backends import FORMATS
from mmseg_bisenet.deploy.backends.base import KEY
from mmseg_bisenet.deploy.export import export
from mmseg_bisenet.deploy.int8 import file, library, ranges
from mmseg_bisenet.deploy.metadata import UNSEALED, read_metadata, seal
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
    for format in ('onnx', 'openvino'):
        with pytest.raises(InputError, match=r'--keep-float leaves no convolution in int8; name fewer modules'):
            export(segmentor, format, 'int8', SHAPE, tmp_path, calibration=streets, keep_float=['*'])
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

INT8 = dict(runtime='vnni', precision='int8', shape=SHAPE)


def kernels_run() -> bool:
    try:
        library.require()
        library._library()
    except InputError:
        return False
    return True


needs_kernels = pytest.mark.skipif(not kernels_run(), reason='a CPU without AVX-512-VNNI, or no compiler')


@pytest.fixture(scope='module')
def vnni_file(segmentor, streets, tmp_path_factory) -> Path:
    return export(segmentor, 'vnni', 'int8', SHAPE, tmp_path_factory.mktemp('vnni'), calibration=streets)


@needs_kernels
def test_our_kernels_give_the_labels_of_the_network(vnni_file, segmentor, streets):
    in_int8, exact = load(vnni_file), load(segmentor, runtime='torch', shape=SHAPE)
    assert (in_int8.runtime, in_int8.precision, in_int8.dynamic) == ('vnni', 'int8', False)
    images = np.stack(streets)
    agreement = np.mean(in_int8(images) == exact(images))
    assert 0.97 < agreement < 1  # `export` has verified 98 %, ties aside
    kinds = [kind for kind, _ in in_int8.engine.packed.values()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == dict(direct=25, winograd=14, depthwise=17, linear=1)


@needs_kernels
def test_a_segmentor_in_our_kernels_gives_what_its_file_gives(vnni_file, segmentor, streets, monkeypatch):
    """And nothing stays that only building needs: neither the images nor the network in float32."""
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
    np.testing.assert_array_equal(found.engine(streets[3][None]), load(vnni_file).engine(streets[3][None]))


@needs_kernels
def test_several_images_and_threads_at_a_time(vnni_file, streets):
    in_int8 = load(vnni_file)
    one_by_one = np.stack([in_int8(image) for image in streets])
    np.testing.assert_array_equal(in_int8(np.stack(streets)), one_by_one)
    with ThreadPoolExecutor(3) as pool:
        np.testing.assert_array_equal(list(pool.map(in_int8, streets)), one_by_one)


@needs_kernels
def test_ranges_that_lose_the_labels_are_refused(segmentor, streets, monkeypatch, tmp_path):
    monkeypatch.setattr(ranges, '_quantile', lambda x: 1e-3 * float(x.abs().max()))
    share = r'int8_64x128\.vnni: \d+\.\d\d% of the labels are those of PyTorch in fp32, and 98\.00% are'
    with pytest.raises(InputError, match=rf'{share} needed; it was removed; calibrate with other images$'):
        export(segmentor, 'vnni', 'int8', SHAPE, tmp_path, calibration=streets)
    assert not list(tmp_path.iterdir())


def edited(path: Path, folder: Path, edit: Callable[[dict], None]) -> Path:
    """A file with another plan, and the checksum that belongs to it."""
    tensors, texts = safetensors.numpy.load_file(path), file.read_metadata(path)
    metadata = json.loads(texts[KEY]) | dict(checksum=UNSEALED)
    content = dict(plan=json.loads(tensors['plan'].tobytes()), metadata=metadata)
    edit(content)
    tensors['plan'] = np.frombuffer(json.dumps(content['plan']).encode(), np.uint8)
    target = folder / 'edited.vnni'
    safetensors.numpy.save_file(tensors, target, {KEY: json.dumps(content['metadata'])})
    seal(FORMATS['vnni'], target)
    return target


def gate(file: dict) -> dict:
    return next(step for step in file['plan']['steps'] if step['kind'] == 'Gate')


def joined(file: dict) -> str:
    return next(name for name, value in file['plan']['values'].items() if value['parts'])


@needs_kernels
@pytest.mark.parametrize(
    ('edit', 'text'),
    [
        (lambda file: file['plan'].update(version=2), 'version 2'),
        (lambda file: file['plan'].pop('steps'), "'steps'"),
        (lambda file: file['plan']['steps'][0].update(kind='Other'), "'Other'"),
        (lambda file: file['plan']['steps'][0].update(dilation=2), 'unexpected keyword argument'),
        (lambda file: file['plan']['steps'][3].update(source='nothing'), "'nothing'"),
        (lambda file: file['plan']['steps'].pop(), 'nothing gives conv2d'),
        (lambda file: file['plan']['steps'][-1].update(stride=2), 'does not fit what it reads'),
        (lambda file: file['plan']['steps'][-1].update(groups=8), 'does not fit what it reads'),
        (lambda file: gate(file).update(gate=gate(file)['source']), 'does not fit what it reads'),
        (lambda file: gate(file).update(resizing='bicubic'), 'does not fit what it reads'),
        (lambda file: file['plan'].update(image=file['plan']['logits']), 'is no image'),
        (lambda file: file['plan']['values'][joined(file)]['shape'].insert(0, 99), 'does not fit its parts'),
        (lambda file: file['metadata'].update(shape=[64, 256]), r'its network is for \[64, 128\] and 19 classes'),
        (
            lambda file: file['metadata'].update(num_classes=2, classes=['a', 'b'], palette=[]),
            r'its network is for \[64, 128\] and 19 classes, unlike its metadata',
        ),
    ],
)
def test_a_file_of_our_kernels_that_was_edited(vnni_file, tmp_path, edit, text):
    path = edited(vnni_file, tmp_path, edit)
    with pytest.raises(
        InputError, match=rf'edited.vnni does not load in vnni \(.*{text}.*\); it is damaged, or'
    ) as caught:
        load(path)
    assert '\n' not in str(caught.value)


@needs_kernels
def test_damaged_files_of_our_kernels(vnni_file, tmp_path):
    whole, path = vnni_file.read_bytes(), tmp_path / 'a.vnni'
    for content in (b'', b'12345678', whole[:1000], whole[:-1], whole[:5000] + b'x' + whole[5001:], whole + b'x'):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r'a.vnni is cut short or damaged; copy it again, or export it again$'):
            read_metadata(path)
    safetensors.numpy.save_file(dict(weight=np.zeros(3, np.float32)), path)
    with pytest.raises(InputError, match=r'a.vnni has no metadata of mmseg_bisenet: another program wrote it'):
        load(path)


def test_our_kernels_where_they_cannot_run(segmentor, streets, monkeypatch, tmp_path):
    with pytest.raises(
        InputError, match=r"^runtime compile does not compute in 'int8'; .*int8 is of onnxruntime, .*vnni"
    ):
        load(segmentor, **INT8 | dict(runtime='compile'), calibration=streets)
    with pytest.raises(
        InputError, match=r"format vnni has no precision 'fp32'; choose int8, or fp32 in onnx, openvino, pt"
    ):
        export(segmentor, 'vnni', 'fp32', SHAPE, tmp_path)
    monkeypatch.setattr(library, 'cpu_flags', lambda: {'avx2'})
    lacking = (
        r'^runtime vnni needs Linux, a CPU with AVX-512-VNNI .* missing here; choose another, such as onnxruntime$'
    )
    for call in (
        lambda: load(segmentor, **INT8, calibration=streets),
        lambda: export(segmentor, 'vnni', 'int8', SHAPE, tmp_path, calibration=streets),
    ):
        with pytest.raises(InputError, match=lacking):
            call()
    monkeypatch.undo()
    monkeypatch.setenv('CXX', 'no-compiler')
    if kernels_run() or library.cpu_flags() >= library.INSTRUCTIONS:
        with pytest.raises(
            InputError, match=r'needs a compiler for C\+\+, and there is no no-compiler; install g\+\+, or s'
        ):
            load(segmentor, **INT8, calibration=streets)


@needs_kernels
def test_opening_a_file_where_the_kernels_cannot_run(vnni_file, monkeypatch):
    monkeypatch.setattr(library, 'cpu_flags', lambda: {'avx2'})
    with pytest.raises(InputError, match=r'^runtime vnni needs Linux, a CPU with AVX-512-VNNI'):
        load(vnni_file)


@needs_kernels
def test_a_compiler_that_fails(monkeypatch, tmp_path):
    compiler = tmp_path / 'c++'
    compiler.write_text('#!/bin/sh\necho "error: no such CPU" >&2\nexit 1\n')
    compiler.chmod(0o755)
    monkeypatch.setenv('CXX', str(compiler))
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


def test_a_text_is_no_list_of_modules():
    with pytest.raises(InputError, match=r"^--keep-float is 'decode_head'; give a list$"):
        quantize.require_int8('int8', keep_float='decode_head')


def test_linked_folders_are_searched_once(tmp_path, caplog):
    for name in ('streets/own', 'elsewhere'):
        (tmp_path / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / name / 'a.png'), np.zeros((20, 30, 3), np.uint8))
    (tmp_path / 'streets' / 'linked').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'streets' / 'own' / 'above').symlink_to(tmp_path)
    found = quantize.find_images(tmp_path / 'streets')
    assert [str(path.relative_to(tmp_path)) for path in found] == ['streets/linked/a.png', 'streets/own/a.png']
    assert 'own/above is a link to a folder above, which is not followed' in caplog.text


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
