"""Each part of compat acts exactly where the installed stack needs it, and changes nothing else.

The need is found out by trying: one probe runs in two fresh interpreters, without and with ``import mmseg_bisenet``.
"""

import importlib
import importlib.machinery
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from mmseg_bisenet import compat

ROOT = Path(__file__).parents[1]
OPS_PART = 'stand-in for mmcv.ops'
LOAD_PART = 'torch.load allow-list for training checkpoints'

PROBE = r"""
import json, sys, warnings
from pathlib import Path

warnings.simplefilter('ignore')
with_compat, folder = sys.argv[1] == 'with', Path(sys.argv[2])
seen = {}
if with_compat:
    import mmseg_bisenet
    from mmseg_bisenet import compat

    seen['early'] = [name for name in ('cv2', 'mmcv', 'mmseg') if name in sys.modules]


def attempt(name, call):
    try:
        seen[name] = call()
    except Exception as error:
        seen[name] = f'{type(error).__name__}: {error}'


def run(code):
    exec(code, {})


attempt('mmcv.cnn', lambda: run('import mmcv.cnn'))
attempt('mmseg.models', lambda: run('import mmseg.models'))
attempt('nms', lambda: run('from mmcv.ops import nms'))
attempt('submodule', lambda: run('import mmcv.ops.sync_bn'))
if with_compat:
    seen['stand-in'] = isinstance(getattr(sys.modules.get('mmcv.ops'), '__loader__', None), compat._OpsFinder)
    if seen['stand-in']:
        import mmcv.ops
        from mmcv.ops import point_sample, sigmoid_focal_loss

        seen['attribute'] = mmcv.ops is sys.modules['mmcv.ops']
        seen['dunder'] = hasattr(mmcv.ops, '__path__')
        attempt('point_sample', lambda: point_sample(1, 2))
        attempt('sigmoid_focal_loss', sigmoid_focal_loss)

import mmcv.utils.env
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.utils.dl_utils.misc import mmcv_full_available

attempt('collect_env', lambda: {k: v for k, v in mmcv.utils.env.collect_env().items() if k.startswith('MMCV')})
attempt('mmcv_full_available', mmcv_full_available)
attempt('revert_sync_batchnorm', lambda: type(revert_sync_batchnorm(torch.nn.SyncBatchNorm(3))).__name__)


def values(checkpoint):
    hub = checkpoint['message_hub']
    loss = hub['log_scalars']['train/loss']
    return {
        'weight': checkpoint['state_dict']['weight'].tolist(),
        'history': [column.tolist() for column in loss.data],
        'statistics': [float(loss.statistics(name)) for name in ('min', 'max', 'current', 'mean')],
        'info': {name: [type(value).__name__, value.item()] for name, value in hub['runtime_info'].items()},
    }


for file in sorted(folder.glob('*.pth')):
    attempt(f'torch.load {file.stem}', lambda: values(torch.load(file)))
load, seen['weights_only'] = torch.load, []


def recorded(*args, weights_only=None, **kwargs):
    seen['weights_only'].append(weights_only)
    return load(*args, weights_only=weights_only, **kwargs)


torch.load = recorded
for name, stem in (('mmengine', 'training'), ('mmengine, other NumPy', 'other_numpy')):
    attempt(name, lambda: values(CheckpointLoader.load_checkpoint(str(folder / f'{stem}.pth'), 'cpu', None)))
torch.load = load


def in_force():
    return {'finders': len(sys.meta_path), 'allowed': len(torch.serialization.get_safe_globals())}


seen |= in_force()
if with_compat:
    seen['acted'], seen['after'] = compat.apply(), in_force()
    seen['plain getattr'] = getattr in torch.serialization.get_safe_globals()
print(json.dumps(seen))
"""


class Reduced:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


MALICIOUS = {
    'getattr os': Reduced(getattr, Reduced(importlib.import_module, 'os'), 'system'),
    'os.system': Reduced(os.system, 'true'),
    'eval': Reduced(eval, '1'),
    'getattr ndarray': Reduced(getattr, np.ndarray, 'tofile'),
    'getattr tensor': Reduced(getattr, torch.Tensor, 'untyped_storage'),
    'getattr init': Reduced(getattr, HistoryBuffer, '__init__'),
    'getattr globals': Reduced(getattr, Reduced(getattr, HistoryBuffer, 'mean'), '__globals__'),
    'getattr register': Reduced(getattr, HistoryBuffer, 'register_statistics'),
}


def _training_checkpoint() -> dict:
    """What `Runner.save_checkpoint` writes, as far as it is more than tensors and text."""
    hub = MessageHub('compat')
    for value in (3.0, 1.0, 2.5):
        hub.update_scalar('train/loss', value, count=2)
    # The best score is float32 where mmseg's metrics computed it; hooks of users keep NumPy numbers too.
    hub.update_info_dict({'best_score': np.float32(75.25), 'mean': np.float64(0.1), 'step': np.int64(7)})
    return {'meta': {'iter': 3}, 'state_dict': {'weight': torch.arange(3.0)}, 'message_hub': hub.state_dict()}


def _as_other_numpy(file: Path, to: Path) -> None:
    """The same checkpoint, as the other side of NumPy 2 names its functions."""
    ours, other = b'numpy._core.', b'numpy.core.'
    if np.lib.NumpyVersion(np.__version__) < '2.0.0':
        ours, other = other, ours
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(to, 'w') as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith('/data.pkl'):
                assert ours in content
                content = content.replace(ours, other)
            target.writestr(name, content)


def _python(*args: str, path: Path = ROOT) -> dict:
    environment = {**os.environ, 'PYTHONPATH': str(path)}
    done = subprocess.run([sys.executable, *args], capture_output=True, text=True, env=environment, cwd=path)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope='module')
def probes(tmp_path_factory) -> tuple[dict, dict]:
    """What the probe saw without and with compat."""
    folder = tmp_path_factory.mktemp('checkpoints')
    torch.save(_training_checkpoint(), folder / 'training.pth')
    _as_other_numpy(folder / 'training.pth', folder / 'other_numpy.pth')
    for name, payload in MALICIOUS.items():
        torch.save({'state_dict': payload}, folder / f'malicious {name}.pth')
    return _python('-c', PROBE, 'without', str(folder)), _python('-c', PROBE, 'with', str(folder))


def test_mmseg_imports_with_a_stand_in_only_where_it_must(probes):
    without, with_compat = probes
    needed = without['mmseg.models'] is not None
    if needed:
        assert "No module named 'mmcv._ext'" in without['mmseg.models']
    assert with_compat['mmseg.models'] is None
    assert with_compat['stand-in'] is needed
    assert with_compat['acted'][OPS_PART] is needed
    assert with_compat['finders'] == without['finders'] + needed


def test_stand_in_ops_name_themselves_and_the_cure(probes):
    _, seen = probes
    for op in compat.STAND_IN_OPS:
        if seen['stand-in']:
            assert seen[op] == f'RuntimeError: mmcv.ops.{op} needs an mmcv with compiled ops, ' + (
                f'and this one has none; run: {compat.COMPILE_FIX}'
            )
            assert seen['attribute'] and not seen['dunder']
        else:
            assert op not in seen


def test_the_rest_of_mmcv_and_mmengine_sees_no_difference(probes):
    without, with_compat = probes
    for name in ('mmcv.cnn', 'nms', 'collect_env', 'mmcv_full_available', 'revert_sync_batchnorm'):
        assert with_compat[name] == without[name], name
    assert with_compat['mmcv.cnn'] is None
    assert with_compat['revert_sync_batchnorm'] == '_BatchNormXd'
    if not with_compat['mmcv_full_available']:
        assert with_compat['collect_env']['MMCV Compiler'] == 'n/a'
        assert with_compat['nms'] == "ModuleNotFoundError: No module named 'mmcv._ext'"
        assert with_compat['submodule'].startswith('ModuleNotFoundError')


def test_importing_the_package_imports_no_other_heavy_module(probes):
    assert probes[1]['early'] == []


def test_training_checkpoint_loads_with_equal_values(probes):
    without, with_compat = probes
    handled = isinstance(without['mmengine'], dict)  # by mmengine itself
    expected = {
        'weight': [0.0, 1.0, 2.0],
        'history': [[3.0, 1.0, 2.5], [2, 2, 2]],
        'statistics': [1.0, 3.0, 2.5, 6.5 / 6],
        'info': {'best_score': ['float32', 75.25], 'mean': ['float64', 0.1], 'step': ['int64', 7]},
    }
    assert with_compat['mmengine'] == with_compat['mmengine, other NumPy'] == expected
    # Where mmengine handles it, a refusal is followed by a load of anything.
    assert (False in without['weights_only']) is handled and False not in with_compat['weights_only']
    assert with_compat['acted'][LOAD_PART] is (torch.__version__ >= '2.6')
    for name in ('torch.load training', 'torch.load other_numpy'):
        if handled:
            assert with_compat[name] == without[name]
        else:
            assert without[name].startswith('UnpicklingError')
            assert with_compat[name] == expected


@pytest.mark.skipif(torch.__version__ < '2.6', reason='torch.load is unrestricted by default')
@pytest.mark.parametrize('name', MALICIOUS)
def test_malicious_checkpoint_is_refused(probes, name):
    for seen in probes:
        assert seen[f'torch.load malicious {name}'].startswith('UnpicklingError'), name
    # Beyond the allow-list, `getattr` is reached and refuses.
    if not isinstance(probes[0]['mmengine'], dict) and name in ('getattr ndarray', 'getattr init', 'getattr register'):
        assert 'is not allowed in a checkpoint' in seen[f'torch.load malicious {name}']


def test_second_apply_changes_nothing(probes):
    _, seen = probes
    assert seen['after'] == {name: seen[name] for name in seen['after']}
    assert not seen['plain getattr']


@pytest.mark.parametrize('name', compat.STATISTICS)
def test_statistics_are_those_of_history_buffer(name):
    assert compat._statistic(HistoryBuffer, name) is getattr(HistoryBuffer, name)
    assert set(HistoryBuffer([1], [1])._statistics_methods) == set(compat.STATISTICS)


@pytest.mark.parametrize(
    ('owner', 'name'),
    [(os, 'system'), (HistoryBuffer, '__init__'), (HistoryBuffer([1], [1]), 'mean'), (np.ndarray, 'mean')],
)
def test_any_other_attribute_is_refused(owner, name):
    with pytest.raises(pickle.UnpicklingError, match='is not allowed in a checkpoint'):
        compat._statistic(owner, name)


# Synthetic stacks: an interpreter without site-packages (`-S`) sees these folders and nothing else.

UNGUARDED = 'import os\nfrom mmcv.ops import point_sample\n'
GUARDED = 'try:\n    from mmcv.ops import point_sample\nexcept ModuleNotFoundError:\n    point_sample = None\n'
LITE = {
    'mmcv/__init__.py': '',
    'mmcv/ops/__init__.py': 'import mmcv._ext\n',
    'mmseg/__init__.py': '',
    'mmseg/utils/__init__.py': '',
    'mmseg/utils/mask_classification.py': UNGUARDED,
}
EXTENSION = f'mmcv/_ext{importlib.machinery.EXTENSION_SUFFIXES[0]}'
UPSTREAM_ENGINE = {'mmengine/__init__.py': '', 'mmengine/runner/checkpoint.py': 'def load_checkpoint(): ...\n'}
REPORT = 'import json, mmseg_bisenet; print(json.dumps(mmseg_bisenet.compat.apply()))'


def _made_up(folder: Path, files: dict[str, str], code: str = REPORT) -> dict:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / 'mmseg_bisenet').mkdir()
    for name in ('__init__.py', 'compat.py'):
        (folder / 'mmseg_bisenet' / name).write_text((ROOT / 'mmseg_bisenet' / name).read_text())
    return _python('-S', '-c', code, path=folder)


@pytest.mark.parametrize(
    ('files', 'expected'),
    [
        ({}, False),
        (LITE, True),
        (LITE | {EXTENSION: ''}, False),
        (LITE | {'mmseg/utils/mask_classification.py': GUARDED}, False),
        ({name: text for name, text in LITE.items() if not name.startswith('mmcv/ops')}, True),
        ({name: text for name, text in LITE.items() if not name.startswith('mmcv')}, False),
        ({name: text for name, text in LITE.items() if not name.startswith('mmseg')}, False),
        # A package that breaks as it is imported: it is not.
        (LITE | {'mmcv/__init__.py': '1 / 0', 'mmseg/__init__.py': '1 / 0'}, True),
    ],
    ids=['nothing', 'lite', 'compiled', 'guarded', 'no ops folder', 'no mmcv', 'no mmseg', 'broken'],
)
def test_stand_in_on_made_up_stacks(tmp_path, files, expected):
    assert _made_up(tmp_path, files)[OPS_PART] is expected


def test_stand_in_leaves_imported_ops_alone(tmp_path):
    files = LITE | {'mmcv/ops/__init__.py': 'point_sample = 1'}
    code = f'import sys, mmcv.ops; ops = mmcv.ops; {REPORT}; assert sys.modules["mmcv.ops"] is ops'
    assert _made_up(tmp_path, files, code)[OPS_PART] is False


@pytest.mark.parametrize(
    'files',
    [
        UPSTREAM_ENGINE,
        UPSTREAM_ENGINE | {'torch.py': 'raise OSError("libcudart.so")'},
        UPSTREAM_ENGINE | {'torch.py': '__version__ = "2.5.1"'},
        UPSTREAM_ENGINE | {'torch.py': '__version__ = "2.6.0"', 'numpy.py': 'raise RuntimeError'},
        UPSTREAM_ENGINE | {'mmengine/runner/checkpoint.py': 'def get_torch_safe_globals(): ...\n', 'torch.py': '1 / 0'},
    ],
    ids=['no torch', 'broken torch', 'old torch', 'broken numpy', 'mmengine does it'],
)
def test_allow_list_on_made_up_stacks(tmp_path, files):
    assert _made_up(tmp_path, files)[LOAD_PART] is False


def test_pytorch_is_fixed_when_it_is_imported_and_not_before():
    code = (
        'import sys, json, importlib.util, mmseg_bisenet\n'
        'early = [name for name in ("torch", "numpy", "mmengine") if name in sys.modules]\n'
        'importlib.util.find_spec("torch")\n'  # somebody only asks whether it is there
        'import torch\n'
        'allowed = len(torch.serialization.get_safe_globals())\n'
        'waiting = [getattr(finder, "module", None) for finder in sys.meta_path]\n'
        'loader = type(torch.__spec__.loader).__name__\n'
        'mmseg_bisenet.compat.apply()\n'
        'again = len(torch.serialization.get_safe_globals())\n'
        'print(json.dumps(dict(early=early, allowed=allowed, again=again, waiting=waiting, loader=loader)))\n'
    )
    seen = _python('-c', code)
    assert seen['early'] == [] and seen['loader'] == 'SourceFileLoader' and 'torch' not in seen['waiting']
    assert seen['allowed'] == seen['again']
    assert (seen['allowed'] > 0) is (torch.__version__ >= '2.6')
