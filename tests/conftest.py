"""What every test may use."""

import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# OpenMP threads that spin while they wait take the cores from whatever else runs, and a test becomes 15 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import numpy as np
import torch

import mmseg_bisenet  # noqa: F401, makes mmseg importable, which a test may import before it imports us
from mmseg_bisenet.deploy.backends.openvino import kept_signal_stack

pytest.register_assert_rewrite('base')


@pytest.fixture(autouse=True)
def seed() -> None:
    """Random weights are the same in every run."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True)
def signal_stack() -> Iterator[None]:
    """Tests that call OpenVINO themselves must not end the process at the next signal."""
    with kept_signal_stack():
        yield


class SharedData:
    """Data that is not in the repository; a test that wants a folder of it is skipped where there is none."""

    def __init__(self) -> None:
        beside = Path(__file__).resolve().parents[2] / 'shared'
        self.root = Path(os.environ.get('MMSEG_BISENET_DATA', beside))

    def __truediv__(self, name: str) -> Path:
        path = self.root / name
        if not path.exists():
            pytest.skip(f'no {path}: set MMSEG_BISENET_DATA to a folder that holds {name}')
        return path


@pytest.fixture(scope='session')
def shared_data() -> SharedData:
    """``shared_data / 'camvid'`` and so on."""
    return SharedData()


@pytest.fixture(scope='session')
def configs() -> Path:
    """Our configs."""
    return Path(__file__).resolve().parents[1] / 'configs'


@pytest.fixture(scope='session')
def stock_configs() -> Path:
    """The configs that the installed MMSegmentation ships."""
    import mmseg

    return Path(mmseg.__file__).parent / '.mim' / 'configs'


@pytest.fixture(scope='session')
def drawn(tmp_path_factory) -> Path:
    """A folder of data sets that holds a few small drawn streets, as MMSEG_BISENET_DATA names it."""
    from mmseg_bisenet.miniscapes import write_miniscapes

    folder = tmp_path_factory.mktemp('drawn')
    write_miniscapes(folder / 'miniscapes', train=6, val=3, size=(64, 128))
    return folder


@pytest.fixture(scope='session')
def stack() -> str:
    """Which line is installed: ``openmmlab`` or ``onedl``."""
    return 'onedl' if 'onedl-mmsegmentation' in importlib.metadata.packages_distributions()['mmseg'] else 'openmmlab'
