"""The extra `litert`: the shipped model as files of LiteRT. `make test-extras` runs it in an environment of its own."""

import cv2
import litert_torch  # noqa: F401, its imports change environment variables, as no test may
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from extras.shipped import SHAPE, check, export, labels_in_another_process, of_another_program

from mmseg_bisenet import get_model
from mmseg_bisenet.deploy import load
from mmseg_bisenet.deploy.network import DeployNetwork
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.miniscapes.scene import draw_scene

FLOAT = ('backbone.semantic.', 'backbone.bga.', 'backbone.detail.detail_branch.0.0.', 'decode_head.conv_seg.')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """The shipped model in each precision; int8 is calibrated on drawn streets."""
    folder = tmp_path_factory.mktemp('exported')
    (folder / 'streets').mkdir()
    for seed in range(12):
        cv2.imwrite(f'{folder}/streets/{seed}.png', draw_scene(seed, SHAPE)[0])
    kept = ['--calibration', f'{folder}/streets', '--keep-float', 'backbone.semantic', 'backbone.bga.*']
    options = dict(fp32=[], fp16=['--precision', 'fp16'], int8=['--precision', 'int8', *kept])
    return {name: export('litert', folder / name, *more) for name, more in options.items()}


@pytest.mark.parametrize(('precision', 'right'), [('fp32', 1), ('fp16', 0.999), ('int8', 0.98)])
def test_the_shipped_model_is_right(files, precision, right, capsys):
    check(files[precision], 'litert', precision, right, capsys)


@pytest.mark.parametrize(('precision', 'width'), [('fp32', 4), ('fp16', 2), ('int8', 1)])
def test_weights_take_the_bytes_of_their_precision(files, precision, width):
    """In int8 except for those that stay float: the layers that were named, the first and the last."""
    network = DeployNetwork(get_model('bisenetv2_camvid'))
    floats = FLOAT if precision == 'int8' else ()
    sizes = {name: weights.numel() for name, weights in network.named_parameters()}
    expected = sum(size * (4 if name.startswith(floats) else width) for name, size in sizes.items())
    assert 0 < files[precision].stat().st_size - expected < 4e5  # the rest is the graph


def test_it_runs_without_pytorch(files, tmp_path):
    assert not labels_in_another_process(files['fp32'], tmp_path)


def test_it_runs_without_this_package(files):
    """As docs/deploy.md shows."""
    image = draw_scene(0, SHAPE)[0]
    labels = Interpreter(str(files['fp32'])).get_signature_runner()(images=image[None])['labels'][0]
    np.testing.assert_array_equal(labels, load(files['fp32'])(image))


def test_a_file_of_another_program(files, tmp_path):
    with pytest.raises(InputError, match=r'\.tflite does not load in litert \(The model is not a valid Flatbuffer'):
        load(of_another_program(files['fp32'], tmp_path))
