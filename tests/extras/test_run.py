"""The extra `run` as pip installs it: exported files are loaded and verified, and no training stack comes along.

`make test-extras` runs this file in that environment, without the conftest of the other tests, which imports PyTorch.
"""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmseg_bisenet.deploy import load

SHAPE = (96, 128)


def call(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def file(tmp_path_factory) -> Path:
    """The shipped model, exported in the environment of `make env`."""
    folder = tmp_path_factory.mktemp('exported')
    call(os.environ['EXPORT_WITH'], 'export', 'bisenetv2_camvid', '--shape', *map(str, SHAPE), '--output', folder)
    (file,) = folder.glob('*.onnx')
    return file


def test_no_training_stack_is_installed():
    names = {distribution.name.lower() for distribution in importlib.metadata.distributions()}
    assert {'mmseg_bisenet', 'numpy', 'onnxruntime', 'opencv-python-headless', 'pyyaml'} <= names
    assert not names & {'torch', 'mmengine', 'mmcv', 'mmcv-lite', 'mmsegmentation', 'onnx', 'numba', 'opencv-python'}
    assert 'No broken requirements' in call(sys.executable, '-m', 'pip', 'check')
    assert 'no problem found' in call(Path(sys.executable).with_name('mmseg-bisenet'), 'env')


def test_a_file_is_verified_and_labels_images(file):
    lines = call(Path(sys.executable).with_name('mmseg-bisenet'), 'verify', file).splitlines()
    assert lines[0] == f'{file}: onnxruntime in fp32, 96x128'
    assert lines[1].startswith('labels  100.000% are those of PyTorch in fp32')
    segment = load(file)
    assert len(segment.classes) == 11
    images = np.random.default_rng(0).integers(0, 256, (2, *SHAPE, 3), np.uint8)
    labels = segment(images)
    assert labels.shape == (2, *SHAPE) and labels.dtype == np.uint8 and labels.max() < 11
    np.testing.assert_array_equal(labels[1], segment(images[1]))
    assert 'torch' not in sys.modules
