"""The extra `ncnn`: the shipped model as a file of ncnn. `make test-extras` runs this in an environment of its own."""

import cv2
import ncnn
import numpy as np
import pytest
from extras.shipped import SHAPE, check, export, labels_in_another_process, of_another_program

from mmseg_bisenet.deploy import load
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.miniscapes.scene import draw_scene
from mmseg_bisenet.predict.model import load_model


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    return export('ncnn', tmp_path_factory.mktemp('exported'))


def test_the_shipped_model_is_right(file, capsys):
    check(file, 'ncnn', 'fp32', 1, capsys)
    assert {part.suffix for part in file.parent.iterdir()} == {'.param', '.bin', '.json'}


def test_it_runs_without_pytorch(file, tmp_path):
    assert not labels_in_another_process(file, tmp_path)


def test_predict_exports_for_one_shape(tmp_path, monkeypatch):
    """That of the config's test pipeline: ncnn's files have no free shape."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    segment = load_model('bisenetv2_camvid', runtime='ncnn')
    assert (segment.runtime, segment.shape, segment.dynamic) == ('ncnn', (360, 480), False)
    image = draw_scene(1, (360, 480))[0]
    assert (segment(image) == load('bisenetv2_camvid', runtime='torch', shape=(360, 480))(image)).mean() > 0.9999


def test_it_runs_without_this_package(file):
    """As docs/deploy.md shows."""
    image = draw_scene(0, SHAPE)[0]
    network = ncnn.Net()
    network.load_param(str(file))
    network.load_model(f'{file}.bin')
    extractor = network.create_extractor()
    extractor.input('in0', ncnn.Mat.from_pixels(image, ncnn.Mat.PixelType.PIXEL_BGR, SHAPE[1], SHAPE[0]))
    logits = np.array(extractor.extract('out0')[1])
    assert logits.shape == (11, 12, 16)
    labels = np.argmax([cv2.resize(plane, SHAPE[::-1]) for plane in logits], axis=0)
    assert (labels == load(file)(image)).mean() > 0.99  # ncnn stores in fp16 by default


def test_a_file_of_another_program(file, tmp_path):
    with pytest.raises(InputError, match=r'\.param does not load in ncnn [\d.]+; it is damaged, or of a newer version'):
        load(of_another_program(file, tmp_path))
