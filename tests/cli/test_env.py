"""`mmseg-bisenet env`: each diagnosis on synthetic installations, then the command on the real one."""

import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from mmseg_bisenet import compat
from mmseg_bisenet.cli import env, main

ROOT = Path(__file__).parents[2]
COMPANIONS = {'torch': '2.13.0+cpu', 'numpy': '2.4.6', 'setuptools': '81.0.0', 'openxlab': '0.0.11'} | {
    'ftfy': '6.3.1',
    'regex': '2026.11.15',
    'opencv-python': '5.0.0.93',
}
UPSTREAM = COMPANIONS | {'mmengine': '0.10.7', 'mmcv-lite': '2.1.0', 'mmsegmentation': '1.2.2', 'openmim': '0.3.9'}
ONEDL = COMPANIONS | {
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmsegmentation': '1.4.2',
    'onedl-mim': '0.5.1',
}
NO_MMSEG = "ModuleNotFoundError: No module named 'mmseg'"
NO_TORCH = "ModuleNotFoundError: No module named 'torch'"
NO_MMCV = "ModuleNotFoundError: No module named 'mmcv'"
NO_GL = 'ImportError: libGL.so.1: cannot open shared object file: No such file or directory'
ABI = 'ImportError: /env/mmcv/_ext.cpython-311-x86_64-linux-gnu.so: undefined symbol: _ZN3c10'


@pytest.fixture
def here(monkeypatch) -> None:
    """The package was installed from HERE; test_install.py has the command itself."""
    monkeypatch.setattr(env, 'command', lambda extra: f'pip install "HERE[{extra}]"')


def without(installed: dict[str, str], *names: str) -> dict[str, str]:
    return {name: version for name, version in installed.items() if name not in names}


@pytest.mark.parametrize(
    'installed',
    [
        UPSTREAM,
        ONEDL,
        without(UPSTREAM, 'openmim'),
        without(UPSTREAM, 'mmcv-lite') | {'mmcv': '2.0.0rc4'},
        ONEDL | {'setuptools': '84.0.0'},
        # A stack that runs from a checkout.
        without(UPSTREAM, 'mmsegmentation'),
        COMPANIONS,
    ],
    ids=['upstream', 'onedl', 'no mim', 'old mmcv', 'onedl needs no pkg_resources', 'mmseg checkout', 'all checkouts'],
)
def test_sound_installation_has_no_problem(installed):
    assert env.diagnose(installed, {}) == []


CASES = {
    'nothing': (
        COMPANIONS,
        {'mmengine': "ModuleNotFoundError: No module named 'mmengine'", 'mmseg': NO_MMSEG},
        [
            'no MMSegmentation is installed: pip install "HERE[openmmlab]" for the upstream OpenMMLab stack, or '
            'pip install "HERE[onedl]" for the OneDL stack'
        ],
    ),
    'both, upstream has more': (
        UPSTREAM | {'onedl-mmcv': '2.3.6'},
        {},
        [
            'both stacks are installed',
            'pip uninstall -y mmengine mmcv-lite mmsegmentation openmim onedl-mmcv && pip install "HERE[openmmlab]"',
        ],
    ),
    'both, OneDL has more': (
        ONEDL | {'mmengine': '0.10.7'},
        {'mmseg': 'AttributeError: anything'},
        ['pip uninstall -y mmengine onedl-mmengine onedl-mmcv', '&& pip install "HERE[onedl]"'],
    ),
    'half of upstream': (
        without(UPSTREAM, 'mmcv-lite', 'mmsegmentation'),
        {'mmcv': NO_MMCV, 'mmseg': NO_MMSEG, 'mmseg.models': NO_MMSEG},
        ['half of the upstream OpenMMLab stack', '(mmcv, mmsegmentation)', 'pip install "HERE[openmmlab]"'],
    ),
    'half of OneDL': (
        without(ONEDL, 'onedl-mmcv'),
        {'mmcv': NO_MMCV, 'mmseg.models': NO_MMCV},
        ['half of the OneDL stack', '(onedl-mmcv)', 'pip install "HERE[onedl]"'],
    ),
    'mmcv too new': (
        without(UPSTREAM, 'mmcv-lite') | {'mmcv': '2.2.0'},
        {'mmseg': 'AssertionError: MMCV==2.2.0 is used but incompatible. Please install mmcv>=2.0.0rc4.'},
        ['refuses mmcv 2.2.0', 'pip uninstall -y mmcv && pip install "HERE[openmmlab]"'],
    ),
    'mmcv too old': (
        without(UPSTREAM, 'mmcv-lite') | {'mmcv-full': '1.7.2'},
        {},
        ['refuses mmcv-full 1.7.2', 'pip uninstall -y mmcv-full &&'],
    ),
    'two mmcv': (UPSTREAM | {'mmcv': '2.1.0'}, {}, ['share a folder', 'pip uninstall -y mmcv mmcv-lite &&']),
    'setuptools too new': (
        UPSTREAM | {'setuptools': '82.0.0'},
        {},
        ['pkg_resources', 'setuptools 82.0.0', 'pip install "setuptools>=77.0.3,<82"'],
    ),
    'no setuptools': (without(UPSTREAM, 'setuptools'), {}, ['pkg_resources', 'pip install "setuptools>=77.0.3,<82"']),
    'openxlab': (
        UPSTREAM | {'openxlab': '0.1.3', 'setuptools': '60.2.0'},
        {},
        ['openxlab 0.1.3', 'pip install "openxlab==0.0.11" "setuptools>=77.0.3,<82"'],
    ),
    'undeclared': (
        without(UPSTREAM, 'ftfy', 'regex'),
        {'mmseg.models': "ModuleNotFoundError: No module named 'ftfy'"},
        ['mmseg imports ftfy and regex', 'pip install ftfy regex'],
    ),
    'two wheels of OpenCV': (
        UPSTREAM | {'opencv-python-headless': '5.0.0.93'},
        {},
        ['share a folder', 'pip uninstall -y opencv-python opencv-python-headless && pip install opencv-python'],
    ),
    'files only, without OpenCV': (
        {'numpy': '2.4.6', 'onnxruntime': '1.31.1'},
        {'torch': NO_TORCH, 'cv2': "ModuleNotFoundError: No module named 'cv2'", 'mmseg': NO_MMSEG},
        ['import cv2 fails', 'pip install opencv-python'],
    ),
    'NumPy 2 under an old torch': (
        UPSTREAM | {'torch': '2.2.2'},
        {},
        ['torch 2.2.2', 'numpy is 2.4.6', 'pip install "torch>=2.3"'],
    ),
    'libGL': (
        UPSTREAM,
        {'cv2': NO_GL, 'mmcv': NO_GL, 'mmseg': NO_GL, 'mmseg.models': NO_GL},
        [
            f'import cv2 fails with "{NO_GL}"',
            'pip uninstall -y opencv-python && pip install opencv-python-headless',
        ],
    ),
    'compiled for another torch': (
        without(UPSTREAM, 'mmcv-lite') | {'mmcv': '2.1.0'},
        {'mmseg.models': ABI},
        [ABI, 'pip uninstall -y mmcv && pip install "HERE[openmmlab]"'],
    ),
    'compiled for another torch, OneDL': (
        ONEDL,
        {'mmseg.models': 'ImportError: undefined symbol'},
        ['import mmseg.models fails', 'pip install --force-reinstall --no-deps onedl-mmsegmentation==1.4.2'],
    ),
    'no opencv': (
        without(UPSTREAM, 'opencv-python'),
        {'cv2': "ModuleNotFoundError: No module named 'cv2'"},
        ['import cv2 fails', 'pip install opencv-python'],
    ),
    'no dependency': (
        ONEDL,
        {'mmengine': "ModuleNotFoundError: No module named 'addict'", 'mmcv': 'the same'},
        ['import mmengine fails', 'pip install addict'],
    ),
    'broken files': (
        UPSTREAM,
        {'mmengine': 'SyntaxError: invalid syntax'},
        ['"SyntaxError: invalid syntax"', 'pip install --force-reinstall --no-deps mmengine==0.10.7'],
    ),
}


@pytest.mark.parametrize(('installed', 'failures', 'texts'), CASES.values(), ids=CASES)
def test_problem_is_one_line_with_its_fix(here, installed, failures, texts):
    problems = env.diagnose(installed, failures)
    assert len(problems) == 1
    assert '\n' not in problems[0]
    for text in texts:
        assert text in problems[0]


def test_an_environment_that_only_runs_files_has_no_problem():
    failures = {'torch': NO_TORCH, 'mmengine': NO_MMSEG, 'mmcv': NO_MMCV, 'mmseg': NO_MMSEG, 'mmseg.models': NO_MMSEG}
    for runtime in env.runtimes():
        assert env.diagnose({'numpy': '2.4.6', 'opencv-python-headless': '5.0.0.93', runtime: '1'}, failures) == []


def test_independent_problems_are_all_told():
    installed = without(UPSTREAM, 'ftfy') | {'setuptools': '82.0.0', 'mmcv-lite': '2.2.0'}
    problems = env.diagnose(installed, {'cv2': NO_GL, 'mmseg': 'AssertionError: MMCV==2.2.0'})
    expected = ('refuses mmcv-lite 2.2.0', 'pkg_resources', 'imports ftfy', 'libGL')
    assert len(problems) == len(expected)
    for problem, text in zip(problems, expected, strict=True):
        assert text in problem


def test_editable_install_hides_the_configs_from_openmim_only():
    (problem,) = env.diagnose(UPSTREAM, {}, editable=True)
    assert 'editable' in problem and problem.endswith('pip uninstall -y mmseg_bisenet && pip install .')
    assert env.diagnose(ONEDL, {}, editable=True) == []


def test_failed_import_is_quoted_by_its_last_line(monkeypatch):
    def fail(module):
        if module == 'mmcv':
            raise AssertionError('first line\nlast line\n')

    monkeypatch.setattr(env.importlib, 'import_module', fail)
    assert env.try_imports() == {'mmcv': 'last line'}


def test_real_installation(capsys):
    status = main(['env'])
    printed = capsys.readouterr().out
    problems = env.diagnose(env.find_installed(), env.try_imports(), env.is_editable())
    assert status == bool(problems)
    for problem in problems:
        assert f'\n- {problem}\n' in printed
    assert ('no problem found' in printed) is not bool(problems)

    distributions = packages_distributions()
    for module in ('torch', 'numpy', 'mmengine', 'mmcv', 'mmseg', 'mim'):
        (name,) = set(distributions[module])
        version = env.find_installed()[name]
        assert version in printed
    line = 'OneDL' if 'onedl-mmsegmentation' in distributions['mmseg'] else 'upstream OpenMMLab'
    assert f'stack           {line}\n' in printed
    assert ('without compiled ops' in printed) is compat.mmcv_lacks_ops()
    for part, active in compat.apply().items():
        assert f'{part}: {"active" if active else "not active"}\n' in printed


def test_works_without_any_installed_package():
    code = 'from mmseg_bisenet.cli import main; raise SystemExit(main(["env"]))'
    command = [sys.executable, '-S', '-c', code]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 1, done.stderr
    assert 'torch           not installed' in done.stdout
    assert 'stack           none' in done.stdout
    assert '1 problem' in done.stdout and f'pip install "{ROOT}[openmmlab]"' in done.stdout
