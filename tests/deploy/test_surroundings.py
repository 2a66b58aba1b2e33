"""The caller's settings of PyTorch, and files that change while they are read, change no labels."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import mmseg_bisenet
from mmseg_bisenet import Predictor
from mmseg_bisenet.deploy import load
from mmseg_bisenet.deploy.export import export
from mmseg_bisenet.miniscapes.scene import draw_scene
from mmseg_bisenet.surroundings import own_settings

SHAPE = (64, 128)
STREET = draw_scene(0, SHAPE)[0]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SETTINGS = {
    'autocast in bf16': lambda: torch.autocast('cpu', torch.bfloat16),
    'autocast in fp16': lambda: torch.autocast('cpu', torch.float16),
    'inference mode': torch.inference_mode,
    'float64': lambda: default_dtype(torch.float64),
    'bfloat16': lambda: default_dtype(torch.bfloat16),
    'meta': lambda: default_device('meta'),
    'in meta': lambda: torch.device('meta'),
    'deterministic': deterministic,
}


@pytest.fixture(params=SETTINGS)
def setting(request):
    return SETTINGS[request.param]


@pytest.fixture(scope='module')
def camvid():
    return mmseg_bisenet.get_model('bisenetv2_camvid', True)


@pytest.fixture(scope='module')
def untrained():
    return mmseg_bisenet.get_model('bisenetv2_camvid')


@pytest.mark.parametrize('pretrained', [False, True])
def test_a_model_is_the_same(setting, camvid, untrained, pretrained):
    expected = camvid if pretrained else untrained
    torch.manual_seed(0)  # as the tests' fixtures have it
    with setting():
        model = mmseg_bisenet.get_model('bisenetv2_camvid', pretrained)
    state = model.state_dict()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(state[name], tensor), name
    assert all(parameter.requires_grad and not parameter.is_inference() for parameter in model.parameters())


@pytest.fixture(scope='module', params=['eager', 'torch', 'openvino'])
def outside(request, small_segmentor, camvid) -> tuple:
    """A network and its runtime, and what was loaded without a setting."""
    arguments = camvid if request.param == 'torch' else small_segmentor, None, request.param
    return arguments, load(*arguments, 'fp32', SHAPE)


def test_labels_are_the_same(outside, setting):
    arguments, segment = outside
    labels = segment(STREET)
    with setting():
        within = load(*arguments, 'fp32', SHAPE)
        np.testing.assert_array_equal(within(STREET), labels)
        np.testing.assert_array_equal(segment(STREET), labels)
    np.testing.assert_array_equal(within(STREET), labels)


@pytest.fixture(scope='module')
def of_file(small_segmentor, tmp_path_factory) -> np.ndarray:
    """Labels of a file that was written without a setting."""
    return load(export(small_segmentor, 'onnx', 'fp32', SHAPE, tmp_path_factory.mktemp('outside')))(STREET)


def test_a_file_is_the_same(setting, small_segmentor, tmp_path, of_file):
    with setting():
        file = export(small_segmentor, 'onnx', 'fp32', SHAPE, tmp_path)
    np.testing.assert_array_equal(load(file)(STREET), of_file)


@pytest.fixture(scope='module')
def of_predictor() -> np.ndarray:
    return Predictor(runtime='torch', height=64)(STREET).labels


def test_the_class_for_users(setting, of_predictor):
    with setting():
        np.testing.assert_array_equal(Predictor(runtime='torch', height=64)(STREET).labels, of_predictor)


def test_the_settings_are_those_of_the_caller_afterwards():
    with torch.autocast('cpu', torch.bfloat16), default_dtype(torch.float64), torch.device('meta'):
        with pytest.raises(KeyError), own_settings():
            assert torch.ones(1).dtype is torch.float32 and torch.ones(1).device.type == 'cpu'
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32
            raise KeyError
        assert torch.ones(1).dtype is torch.float64 and torch.ones(1).device.type == 'meta'
        with torch.device('cpu'):
            ones = torch.ones(2, 2, dtype=torch.float32)
        assert (ones @ ones).dtype is torch.bfloat16


CUT = """
import sys, os, numpy as np, openvino
from mmseg_bisenet.deploy import load
file = sys.argv[1]
weights = file.replace('.xml', '.bin')
compiled = openvino.Core.compile_model
def cut(*args):
    os.truncate(weights, 16)
    return compiled(*args)
openvino.Core.compile_model = cut
segment = load(file)
np.save(sys.argv[2], segment(np.load(sys.argv[2])))
"""


def test_weights_of_openvino_that_are_cut_short_while_they_are_open(small_segmentor, tmp_path):
    """A file that is mapped into memory would end the process with SIGBUS."""
    file = export(small_segmentor, 'openvino', 'fp32', SHAPE, tmp_path)
    labels = load(file)(STREET)
    np.save(tmp_path / 'street.npy', STREET)
    done = subprocess.run([sys.executable, '-c', CUT, file, tmp_path / 'street.npy'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / 'street.npy'), labels)
