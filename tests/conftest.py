"""What every test may use."""

import gc
import importlib.metadata
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# OpenMP threads that spin while they wait take the cores from whatever else runs, and a test becomes 15 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import unformatted  # noqa: F401
from global_state import begin, kept

import mmseg_bisenet
from mmseg_bisenet.deploy import building  # noqa: F401, its imports change environment variables, as no test may
from mmseg_bisenet.deploy.backends.openvino import kept_signal_stack
from mmseg_bisenet.deploy.winograd import layer  # noqa: F401, the same

pytest.register_assert_rewrite('base')

# Examples are the same in every run, so that a failure is never luck. `--hypothesis-profile=long` draws many new ones.
settings.register_profile('same', derandomize=True, max_examples=25, deadline=None, database=None)
settings.register_profile('long', max_examples=3000, deadline=None, database=None, print_blob=True)
settings.load_profile('same')

SHARED = Path(os.environ.get('MMSEG_BISENET_DATA', Path(__file__).resolve().parents[2] / 'shared'))


def pytest_configure(config: pytest.Config) -> None:
    """Only the order is random: `global_state` seeds each test, and pytest-randomly would seed after it."""
    config.option.randomly_reset_seed = False


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The seed of the order, also where pytest is quiet."""
    if hasattr(config.option, 'randomly_seed'):
        terminalreporter.write_line(f'order of the tests: --randomly-seed={config.option.randomly_seed}')


@pytest.fixture(autouse=True, scope='module')
def global_state_of_the_file() -> Iterator[None]:
    """What the fixtures of a file leave does not reach the next file."""
    # MMEngine collects garbage with every data set. It need not look at what imports and earlier files have made.
    gc.collect()
    gc.freeze()
    with kept():
        yield


@pytest.fixture(autouse=True)
def global_state(global_state_of_the_file) -> Iterator[None]:
    """Each test starts with the same random state and leaves global state as it was; see global_state.py."""
    with kept(), pytest.MonkeyPatch.context() as patch:
        patch.delenv('MMSEG_BISENET_DATA', raising=False)  # MMEngine would say on stdout that it reads it
        begin()
        yield


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef) -> Any:
    """Fixtures that several tests share do not depend on which of them comes first."""
    if fixturedef.scope == 'function':
        return (yield)
    begin()
    with kept() if fixturedef.scope == 'session' else nullcontext():
        return (yield)


@pytest.fixture(autouse=True)
def signal_stack(global_state) -> Iterator[None]:
    """Tests that call OpenVINO themselves must not end the process at the next signal."""
    with kept_signal_stack():
        yield


class SharedData:
    """Data that is not in the repository; a test that wants a folder of it is skipped where there is none."""

    def __init__(self) -> None:
        self.root = SHARED

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


# -- a network that is exported in a second ----------------------------------------------------------------------------


@pytest.fixture(scope='session')
def small_segmentor() -> Any:
    """A small network of 11 classes, whose test pipeline resizes to 64x128."""
    from base import randomise
    from small import shrunk

    small = randomise(shrunk(mmseg_bisenet.get_model('bisenetv2_camvid', True)))
    next(step for step in small.cfg.test_dataloader.dataset.pipeline if step.type == 'Resize').scale = (128, 64)
    return small


@pytest.fixture(scope='session')
def small_onnx(small_segmentor, tmp_path_factory) -> Path:
    """The same network as a file for images of every size."""
    from mmseg_bisenet.deploy.export import export

    return export(small_segmentor, 'onnx', 'fp32', (64, 128), tmp_path_factory.mktemp('small'), dynamic=True)
