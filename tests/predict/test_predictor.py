"""The class for users gives the labels of ``deploy.load``, whatever an image comes as."""

import copy

import cv2
import numpy as np
import pytest
import torch
from base import assert_nearly_same_labels
from mmengine.config import Config
from PIL import Image
from predict.media import picture, write_video

import mmseg_bisenet
from mmseg_bisenet import model_index
from mmseg_bisenet.deploy import load
from mmseg_bisenet.deploy.export import export
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.predict import Predictor, model
from mmseg_bisenet.predict.predictor import SHIPPED, check_height

PICTURE = picture(90, 160)
SHAPE = (64, 128)


@pytest.fixture(scope='module')
def predictor(small_onnx) -> Predictor:
    return Predictor(small_onnx, height=72)


@pytest.fixture(scope='module')
def fixed(small_segmentor, tmp_path_factory):
    """The same network for images of ``SHAPE`` only."""
    return export(small_segmentor, 'onnx', 'fp32', SHAPE, tmp_path_factory.mktemp('fixed'))


@pytest.fixture(scope='module')
def segment(small_onnx):
    return load(small_onnx)


def expected(segment, picture: np.ndarray, width: int, height: int) -> np.ndarray:
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(segment(small), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def test_it_is_at_the_top_of_the_package():
    assert mmseg_bisenet.Predictor is Predictor


def test_labels_are_those_of_load(predictor, segment):
    result = predictor(PICTURE)
    np.testing.assert_array_equal(result.labels, expected(segment, PICTURE, 128, 72))
    assert len(np.unique(result.labels)) > 1
    np.testing.assert_array_equal(result.image, PICTURE)
    assert result.classes == segment.classes and result.palette == segment.palette
    assert (predictor.runtime, predictor.precision, predictor.height) == ('onnxruntime', 'fp32', 72)
    assert set(result.times) == {'network', 'labels'} and min(result.times.values()) > 0


def test_every_kind_of_image_gives_the_same_labels(predictor, small_onnx, tmp_path):
    labels = predictor(PICTURE).labels
    cv2.imwrite(str(tmp_path / 'a.png'), PICTURE)
    rgb = np.ascontiguousarray(PICTURE[..., ::-1])
    for image in (
        tmp_path / 'a.png',
        str(tmp_path / 'a.png'),
        Image.fromarray(rgb),
        torch.tensor(rgb).permute(2, 0, 1),
    ):
        np.testing.assert_array_equal(predictor(image).labels, labels)
    assert predictor(tmp_path / 'a.png').name == 'a'
    with pytest.raises(InputError, match='is an input of this command, and would be overwritten'):
        predictor(tmp_path / 'a.png').save(tmp_path / 'a.png', overwrite=True)
    swapped = Predictor(small_onnx, height=72, channel_order='rgb')
    np.testing.assert_array_equal(swapped(rgb).labels, labels)
    np.testing.assert_array_equal(swapped(rgb).image, PICTURE)
    np.testing.assert_array_equal(swapped(tmp_path / 'a.png').labels, labels)


def test_the_image_of_a_relative_path_stays(predictor, tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), PICTURE)
    monkeypatch.chdir(tmp_path)
    results = [predictor('a.png'), *predictor.stream('a.png')]
    monkeypatch.chdir('/')
    for result in results:
        assert result.path == path
        with pytest.raises(InputError, match=r'a\.png is an input of this command, and would be overwritten'):
            result.save(path, 'labels', overwrite=True)
    np.testing.assert_array_equal(cv2.imread(str(path)), PICTURE)


def test_a_file_of_a_fixed_shape(fixed, small_segmentor):
    result = Predictor(fixed)(PICTURE)
    segment = load(small_segmentor, runtime='torch', shape=SHAPE)
    assert_nearly_same_labels(result.labels, expected(segment, PICTURE, *SHAPE[::-1]))
    with pytest.raises(InputError, match=r'height 72: .*\.onnx takes 64x128 only; leave it out, or export with'):
        Predictor(fixed, height=72)


def test_an_image_of_the_networks_size_is_not_resized(predictor, segment):
    image = picture(72, 128)
    np.testing.assert_array_equal(predictor(image).labels, segment(image))


def test_a_stream_of_results(predictor, segment, tmp_path):
    frames = [picture(90, 160, seed) for seed in range(7)]
    write_video(tmp_path / 'a.mp4', frames)
    results = list(predictor.stream(tmp_path / 'a.mp4'))
    assert [result.time for result in results] == pytest.approx([i / 10 for i in range(7)])
    for result, frame in zip(results, frames, strict=True):
        assert np.abs(result.image.astype(int) - frame).mean() < 4
        np.testing.assert_array_equal(result.labels, expected(segment, result.image, 128, 72))
    with pytest.raises(InputError, match=r'none\.png does not exist'):
        next(predictor.stream(tmp_path / 'none.png'))


@pytest.mark.parametrize(
    'image, reason',
    [
        (np.zeros((64, 64), np.uint8), r'image of shape \(64, 64\) and type uint8: give an array \(H, W, 3\)'),
        (np.zeros((64, 64, 3), np.float32), r'image of shape \(64, 64, 3\) and type float32'),
        (torch.zeros(64, 64, 3, dtype=torch.uint8), r'image of shape \(64, 64, 3\)'),
        (np.zeros((1, 60_000, 3), np.uint8), 'image has 60000x1 pixels; a side may be 16 times the other'),
        (Image.new('RGB', (1, 60_000)), 'image has 1x60000 pixels; a side may be 16 times the other'),
        (np.zeros((64, 30, 3), np.uint8), 'image of 72x34: exported files take 64 or more a side; enlarge it'),
        (None, 'image of type NoneType: give a path, an array, a picture of Pillow or a tensor'),
        (torch.zeros(3, 64, 64, dtype=torch.uint8, device='meta'), 'image: a tensor that holds no pixels'),
        (torch.zeros(3, 64, 64, dtype=torch.uint8).to_sparse(), 'image: a tensor that holds no pixels'),
        (torch.zeros(3, 64, 64, requires_grad=True), r'image of shape \(3, 64, 64\) and type float32: give an array'),
    ],
)
def test_images_that_are_refused(predictor, image, reason):
    with pytest.raises(InputError, match=reason):
        predictor(image)


def test_arguments_that_are_refused(small_onnx):
    with pytest.raises(InputError, match='height 0: give 1 or more'):
        Predictor(small_onnx, height=0)
    for height in ('72', 72.0, [72], True):
        with pytest.raises(InputError, match=r'^height=.*: give a whole number of pixels$'):
            Predictor(small_onnx, height=height)
    with pytest.raises(InputError, match='narrowest input of the network at --height 32001 has 2001x32001 pixels'):
        Predictor(small_onnx, height=32001)
    check_height(32000)
    check_height(np.int64(72))
    with pytest.raises(InputError, match="channel_order='gbr' is not known; give bgr or rgb"):
        Predictor(small_onnx, channel_order='gbr')
    types = 'give a name of the model index, or the path of a config or of an exported file'
    for arguments, text in (
        ((None,), f'^model of type NoneType: {types}$'),
        ((5,), f'^model of type int: {types}$'),
        ((SHIPPED, 5), '^checkpoint=5: give a path$'),
    ):
        with pytest.raises(InputError, match=text):
            Predictor(*arguments, runtime='eager')


def test_a_height_for_a_network_of_one_size_is_refused_before_it_is_built(fixed, monkeypatch):
    with pytest.raises(InputError, match=rf'^height 72: {fixed} takes 64x128 only; leave it out, or export with --dyn'):
        Predictor(fixed, height=72)
    monkeypatch.setattr(model, '_segmentor', lambda *_: pytest.fail('the network was built'))
    for runtime in ('compile', 'litert'):
        with pytest.raises(
            InputError, match=f'^height 64: runtime {runtime} takes images of one size; leave it out, or'
        ):
            Predictor(SHIPPED, runtime=runtime, height=64)


# -- which runtime -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'device, packages, runtimes',
    [
        ('cpu', 'torch mmseg numba onnx onnxscript openvino onnxruntime', ['torch', 'openvino', 'onnxruntime']),
        (
            'cpu',
            'torch mmseg onnx onnxscript openvino onnxruntime',
            ['openvino', 'onnxruntime'],
        ),  # slower without numba
        ('cpu', 'torch mmseg onnx onnxscript onnxruntime', ['onnxruntime']),
        ('cpu', 'torch mmseg onnxruntime', ['torch']),  # nothing can be exported
        ('cpu', '', ['torch']),
        ('cuda', 'torch mmseg onnx onnxscript openvino', ['torch']),
    ],
)
def test_the_runtimes_that_are_installed(monkeypatch, device, packages, runtimes):
    monkeypatch.setattr(model, 'find_spec', lambda name: name in packages.split() or None)
    assert model.installed(device) == runtimes


def test_a_model_of_the_index_is_exported_once(small_segmentor, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(model, '_segmentor', lambda *_: small_segmentor)
    with caplog.at_level('INFO', 'mmseg_bisenet.predict'):
        first = Predictor('bisenetv2_camvid', runtime='onnxruntime')
        monkeypatch.setattr(model, '_segmentor', lambda *_: pytest.fail('the network was loaded'))
        second = Predictor('bisenetv2_camvid', runtime='onnxruntime')
    (message,) = [record.getMessage() for record in caplog.records if 'exporting' in record.getMessage()]
    assert message.startswith(f'exporting bisenetv2_camvid for onnxruntime once; the file is kept in {tmp_path}')
    assert first.height == second.height == 64  # that of the test pipeline
    np.testing.assert_array_equal(first(PICTURE).labels, second(PICTURE).labels)
    (folder,) = (tmp_path / 'mmseg_bisenet').iterdir()

    (cached,) = folder.glob('*.onnx')
    whole = cached.read_bytes()
    cached.write_bytes(whole[:-100])
    caplog.clear()
    monkeypatch.setattr(model, '_segmentor', lambda *_: small_segmentor)
    again = Predictor('bisenetv2_camvid', runtime='onnxruntime')
    assert 'cut short or damaged' in caplog.text and 'now it is exported again' in caplog.text
    np.testing.assert_array_equal(first(PICTURE).labels, again(PICTURE).labels)

    entry = model_index.find('bisenetv2_camvid')
    other = model_index.Entry(entry.name, entry.config, 'https://host/other.pth')
    monkeypatch.setattr(model_index, 'find', lambda name: other)
    assert model._cache('bisenetv2_camvid', 'onnxruntime_fp32_cpu').parent == folder.parent
    assert model._cache('bisenetv2_camvid', 'onnxruntime_fp32_cpu') != folder


def test_a_home_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    (tmp_path / 'file').touch()
    exported = []
    monkeypatch.setattr(model, '_export', lambda *arguments: exported.append(arguments[-1]) or tmp_path / 'a.onnx')
    monkeypatch.setattr('mmseg_bisenet.deploy.load', lambda path, device: path)
    assert model.load_model('bisenetv2_camvid', runtime='onnxruntime') == tmp_path / 'a.onnx'
    assert not exported[0].exists()  # it was a temporary folder


def test_a_config_with_a_checkpoint(small_segmentor, monkeypatch, tmp_path):
    """Nothing is cached for it, because nobody can tell when it changes."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    asked = []
    monkeypatch.setattr(model, '_segmentor', lambda *arguments: asked.append(arguments) or small_segmentor)
    through_torch = Predictor('config.py', 'weights.pth', height=72)
    through_onnx = Predictor('config.py', 'weights.pth', runtime='onnxruntime', height=72)
    assert asked == [('config.py', 'weights.pth')] * 2 and not list(tmp_path.iterdir())
    assert (through_torch.runtime, through_onnx.runtime) == ('torch', 'onnxruntime')
    assert_nearly_same_labels(through_torch(PICTURE).labels, through_onnx(PICTURE).labels)


RESIZE = dict(type='Resize', scale=(128, 64), keep_ratio=True)


def size_of(*pipelines: list[dict], **cfg) -> tuple[tuple[int, int], bool]:
    datasets = [dict(pipeline=pipeline) for pipeline in pipelines]
    dataset = datasets[0] if len(datasets) == 1 else dict(type='ConcatDataset', datasets=datasets)
    return model.tested_size(Config(dict(cfg, test_dataloader=dict(dataset=dataset))))


@pytest.mark.parametrize(
    ('step', 'text'),
    [
        (dict(type='LoadImageFromFile', color_type='grayscale'), "LoadImageFromFile(color_type='grayscale')"),
        (dict(type='mmseg_bisenet.PhotoMetricDistortion'), 'PhotoMetricDistortion()'),
        (dict(type='RandomFlip', prob=1.0), 'RandomFlip()'),
        (dict(type='Resize', scale_factor=0.5, keep_ratio=True), 'Resize(scale_factor=0.5)'),
        (dict(RESIZE, interpolation='nearest'), "Resize(interpolation='nearest')"),
        (dict(RESIZE, backend='pillow'), "Resize(backend='pillow')"),
    ],
)
def test_a_test_pipeline_that_does_more(step, text):
    with pytest.raises(InputError) as caught:
        size_of([step, RESIZE])
    assert str(caught.value) == f'config: its test pipeline has {text}, which predict does not apply; remove it'


@pytest.mark.parametrize(
    ('pipelines', 'text'),
    [
        ([[RESIZE, RESIZE]], 'its test pipeline has Resize(), which predict does not apply; remove it'),
        (
            [[dict(type='PackSegInputs')]],
            'its test pipeline has no Resize, and predict would not know the size; add one',
        ),
        (
            [[dict(type='Resize', scale=(0, 64))]],
            'Resize of its test pipeline has scale=(0, 64); give a width and a hei',
        ),
        ([[dict(type='Resize')]], 'Resize of its test pipeline has scale=None; give a width and a height'),
        (
            [[RESIZE], [dict(RESIZE, scale=(64, 64))]],
            'the data sets of test_dataloader have different pipelines; predict',
        ),
    ],
)
def test_sizes_that_predict_cannot_know(pipelines, text):
    with pytest.raises(InputError) as caught:
        size_of(*pipelines)
    assert str(caught.value).startswith(f'config: {text}')


def test_the_size_is_that_of_the_test():
    """Not that of the variable ``test_pipeline``, which ``--cfg-options`` and a config on top do not change."""
    other = [dict(type='Resize', scale=(999, 999))]
    assert size_of([RESIZE], test_pipeline=other) == ((64, 128), True)
    assert size_of([RESIZE], [RESIZE], test_pipeline=other) == ((64, 128), True)
    assert size_of([dict(RESIZE, scale=(64, 128))]) == ((64, 128), True)  # an edge, longer or shorter
    assert size_of([dict(type='Resize', scale=(64, 128))]) == ((128, 64), False)
    assert size_of([dict(type='Resize', scale=96)]) == ((96, 96), False)
    assert model.tested_size(Config(dict(test_pipeline=[RESIZE]))) == ((64, 128), True)


@pytest.mark.parametrize('runtime', ['torch', 'onnxruntime'])
def test_a_test_that_does_not_keep_the_shape(runtime, small_segmentor, monkeypatch):
    cfg = copy.deepcopy(small_segmentor.cfg)
    cfg.test_dataloader.dataset.pipeline = [dict(type='Resize', scale=(96, 64), keep_ratio=False)]
    monkeypatch.setattr(small_segmentor, 'cfg', cfg)
    monkeypatch.setattr(model, '_segmentor', lambda *arguments: small_segmentor)
    resized = Predictor('config.py', 'weights.pth', runtime=runtime)
    small = cv2.resize(PICTURE, (96, 64), interpolation=cv2.INTER_AREA)
    labels = cv2.resize(resized(small).labels, PICTURE.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    assert PICTURE.shape[1] / PICTURE.shape[0] != 96 / 64
    np.testing.assert_array_equal(resized(PICTURE).labels, labels)
    with pytest.raises(InputError, match=r'^height 72: the test pipeline resizes all images to 64x96 \(keep_ratio=Fal'):
        Predictor('config.py', 'weights.pth', runtime=runtime, height=72)


def test_what_a_stream_cannot_be(predictor):
    with pytest.raises(InputError, match=r'^stream reads a path, an address or the number of a camera, no ndarray$'):
        next(predictor.stream(PICTURE))
    with pytest.raises(InputError, match=r'number of a camera, no bool$'):
        next(predictor.stream(True))


def test_int8_needs_a_file_that_was_calibrated():
    with pytest.raises(InputError, match=r'^int8 needs images to calibrate with; write a file with mmseg'):
        Predictor('bisenetv2_camvid', precision='int8')
    with pytest.raises(InputError, match=r'^int8 needs images to calibrate with; write a file with mmseg'):
        Predictor('bisenetv2_camvid', runtime='vnni')


@pytest.mark.parametrize(
    'image, reason',
    [
        ('', r"^image='': give a path$"),
        ('a\0b.png', '^image=.*: give a path$'),
        (
            'http://me:secret@host/a.png',
            r'^http://me:\*\*\*@host/a.png is an address; give the path of a file, or',
        ),
        ('file:///a.png', r'^file:///a.png is an address; give the path of a file'),
    ],
)
def test_texts_that_are_no_path(predictor, image, reason):
    with pytest.raises(InputError, match=reason):
        predictor(image)


def test_a_tensor_with_the_negative_bit(predictor):
    pixels = torch.from_numpy(PICTURE).permute(2, 0, 1)
    negative = torch._neg_view(pixels)
    np.testing.assert_array_equal(predictor(negative).image, predictor(-pixels).image)


def test_a_file_that_is_no_model(small_onnx, tmp_path):
    (tmp_path / 'U.ONNX').write_bytes(small_onnx.read_bytes())
    with pytest.raises(InputError, match=r'U\.ONNX is a file, but no config, whose name ends in \.py; an exported'):
        Predictor(tmp_path / 'U.ONNX')
