"""Arguments of a wrong type are refused in one line that names them, by every public function."""

from pathlib import Path

import numpy as np
import pytest
import torch

import mmseg_bisenet
from mmseg_bisenet import Predictor
from mmseg_bisenet.checkpoints import Checkpoint, convert, read, write
from mmseg_bisenet.deploy import load
from mmseg_bisenet.deploy.export import export
from mmseg_bisenet.deploy.metadata import read_metadata
from mmseg_bisenet.errors import InputError, require_flags
from mmseg_bisenet.evaluation import SegmentationMetric
from mmseg_bisenet.predict import Result

NO_TEXT = [1, 1.5, True, b'x', [], [None], {}, {'a': 1}, (1,), object(), np.zeros(3), torch.zeros(2)]
NO_PATH = [*NO_TEXT, '', 'a\0b']
NO_FLAG = [2, 1.5, 'x', '', b'x', [], {}, (1,), object(), np.zeros(3), np.zeros(1), torch.zeros(2), Path('x')]
NO_IMAGE = [*NO_PATH, None, 'x', Path('x'), np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8)]
RESULT = dict(
    image=np.zeros((4, 6, 3), np.uint8), labels=np.zeros((4, 6), np.uint8), classes=('a',), palette=[[0, 0, 0]]
)


def assert_each_is_refused(call, values, name: str, but=()) -> None:
    for value in values:
        if any(value is other for other in but):
            continue
        with pytest.raises(InputError) as caught:
            call(value)
        text = str(caught.value)
        assert name in text and '\n' not in text and len(text) < 400, text


def test_flags():
    require_flags(a=True, b=False, c=0, d=1, e=np.True_)
    assert_each_is_refused(lambda value: require_flags(some=value), [None, *NO_FLAG], 'some=')


def test_get_model():
    get_model, name = mmseg_bisenet.get_model, 'bisenetv2_camvid'
    assert_each_is_refused(get_model, NO_TEXT, 'model of type')
    assert_each_is_refused(lambda value: get_model(name, device=value), [*NO_TEXT, None, 'x', '', 'cpu:x'], 'device=')
    assert_each_is_refused(lambda value: get_model(name, boosters=value), NO_FLAG, 'boosters=')
    assert_each_is_refused(lambda value: get_model(name, value), NO_TEXT, 'pretrained=', but=[True])
    with pytest.raises(InputError, match="model 'none' is not in the model index"):
        get_model(Path('none'))
    assert_each_is_refused(mmseg_bisenet.list_models, NO_TEXT, 'pattern=')


def test_checkpoints(tmp_path):
    assert_each_is_refused(read, NO_PATH, 'path=')
    assert_each_is_refused(lambda value: write(value, Checkpoint({})), NO_PATH, 'path=')
    assert_each_is_refused(lambda value: write(tmp_path / 'a.pth', value), NO_TEXT, 'checkpoint=')
    assert_each_is_refused(lambda value: convert(value, tmp_path / 'a.pth'), NO_PATH, 'path=')
    assert_each_is_refused(lambda value: convert(tmp_path / 'a.pth', value), NO_PATH, 'target=')
    assert not any(tmp_path.iterdir())


def test_load_and_export(small_segmentor, tmp_path):
    for name in ('runtime', 'precision', 'channel_order'):
        assert_each_is_refused(lambda value, name=name: load(small_segmentor, **{name: value}), NO_TEXT, f'{name}=')
    assert_each_is_refused(lambda value: load(small_segmentor, device=value), NO_TEXT, 'device=')
    assert_each_is_refused(lambda value: load(small_segmentor, throughput=value), NO_FLAG, 'throughput=')
    assert_each_is_refused(lambda value: load(small_segmentor, shape=value), [*NO_TEXT, 'x'], 'shape=')
    assert_each_is_refused(lambda value: load(small_segmentor, value), NO_PATH, 'checkpoint', but=[True])
    assert_each_is_refused(load, NO_TEXT, 'model of type')
    with pytest.raises(InputError, match="runtime '' is not known"):
        load(small_segmentor, runtime='')
    arguments = dict(segmentor=small_segmentor, format='onnx', precision='fp32', shape=(64, 64), output=tmp_path)
    for name, values in {
        'segmentor': ['x', *NO_TEXT],
        'format': NO_TEXT,
        'precision': NO_TEXT,
        'output': NO_PATH,
        'dynamic': NO_FLAG,
        'overwrite': NO_FLAG,
        'output_kind': NO_TEXT,
        'shape': [*NO_TEXT, 'x'],
        'calibration': [1, 1.5, True, object()],
        'keep_float': [1, 1.5, True, object()],
    }.items():
        wanted = dict(calibration='--calibration', keep_float='--keep-float').get(name, name)
        assert_each_is_refused(lambda value, name=name: export(**(arguments | {name: value})), values, wanted)
    assert_each_is_refused(read_metadata, NO_PATH, 'path=')
    assert not any(tmp_path.iterdir())


def test_the_predictor():
    for name in ('runtime', 'precision', 'device', 'channel_order'):
        assert_each_is_refused(lambda value, name=name: Predictor(**{name: value}), NO_TEXT, f'{name}=')
    assert_each_is_refused(Predictor, NO_TEXT, 'model of type')
    assert_each_is_refused(lambda value: Predictor(checkpoint=value), NO_PATH, 'checkpoint=')
    assert_each_is_refused(lambda value: Predictor(height=value), ['x', 1.5, [], np.zeros(3)], 'height=')


def test_results(tmp_path):
    result = Result(**RESULT)
    for name in ('image', 'labels'):
        assert_each_is_refused(lambda value, name=name: Result(**(RESULT | {name: value})), NO_IMAGE, f'{name}=')
    for name in ('classes', 'palette'):
        values = [1, None, 'x', [None], {'a': 1}, (1,), object(), np.zeros(3), torch.zeros(2)]
        assert_each_is_refused(lambda value, name=name: Result(**(RESULT | {name: value})), values, f'{name}=')
    assert_each_is_refused(lambda value: Result(**RESULT, name=value), NO_TEXT, 'name=')
    assert_each_is_refused(lambda value: Result(**RESULT, path=value), NO_PATH, 'path=')
    with pytest.raises(InputError, match='labels have class 1, and there are 1; name them all'):
        Result(**(RESULT | dict(labels=np.ones((4, 6), np.uint8))))
    assert_each_is_refused(result.save, NO_PATH, 'path=')
    assert_each_is_refused(lambda value: result.save(tmp_path / 'a.png', value), [None, *NO_TEXT], 'kind ')
    assert_each_is_refused(lambda value: result.save(tmp_path / 'a.png', overwrite=value), NO_FLAG, 'overwrite=')
    assert_each_is_refused(lambda value: result.encoded(value, '.png'), [None, 'x', *NO_TEXT], 'kind ')
    assert_each_is_refused(lambda value: result.encoded('mask', value), [None, 'png', '.jpg', *NO_TEXT], 'suffix ')
    assert not any(tmp_path.iterdir())


def test_the_metric():
    for name in ('boundary', 'format_only', 'keep_results'):
        assert_each_is_refused(lambda value, name=name: SegmentationMetric(**{name: value}), NO_FLAG, f'{name}=')
    assert_each_is_refused(lambda value: SegmentationMetric(output_dir=value), NO_PATH, 'output_dir=')
    assert_each_is_refused(lambda value: SegmentationMetric(prefix=value), NO_TEXT, 'prefix=')
    assert_each_is_refused(lambda value: SegmentationMetric(value), [None, 'x', -1, 256, *NO_TEXT[1:]], 'ignore_index=')
    assert_each_is_refused(lambda value: SegmentationMetric(iou_metrics=value), [None, 'x', *NO_TEXT], 'iou_metrics is')
