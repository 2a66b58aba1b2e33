"""What only a GPU can show: `pytest -m gpu`. Without one each test is skipped with that reason.

`GPU_TESTS_DEVICE=cpu pytest -m gpu` runs them on a CPU, which shows that the tests themselves are right. Those that
need CUDA itself are skipped there.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

import mmseg_bisenet
from mmseg_bisenet.deploy.precision import tf32
from mmseg_bisenet.miniscapes import draw_scene
from mmseg_bisenet.models import BiSeNetSegmentor

DEVICE = os.environ.get('GPU_TESTS_DEVICE', 'cuda')
SHAPE = (256, 512) if DEVICE == 'cuda' else (64, 128)
IMAGES = 3


@pytest.fixture(scope='session')
def device() -> str:
    if DEVICE == 'cuda' and not torch.cuda.is_available():
        pytest.skip('no GPU')
    return DEVICE


@pytest.fixture
def cuda(device) -> None:
    if device == 'cpu':
        pytest.skip('needs CUDA itself')


@pytest.fixture(autouse=True)
def rounding(device) -> Iterator[None]:
    """`load` in fp32 switches TF32 off."""
    with tf32(False):
        yield


@pytest.fixture(scope='session')
def segmentor() -> BiSeNetSegmentor:
    """V2 with the shipped weights, on the CPU."""
    init_default_scope('mmseg')
    weights = Path(mmseg_bisenet.__file__).parent / 'weights/bisenetv2_camvid.safetensors'
    return mmseg_bisenet.get_model('bisenetv2_camvid', weights)


@pytest.fixture(scope='session')
def streets() -> np.ndarray:
    """(IMAGES, *SHAPE, 3) uint8."""
    return np.stack([draw_scene(seed, SHAPE)[0] for seed in range(IMAGES)])
