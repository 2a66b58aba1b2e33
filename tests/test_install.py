"""The command for an extra repeats how the package was installed, and never names an address that was not used."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mmseg_bisenet import install

ROOT = Path(__file__).resolve().parents[1]
REQUIRES = """\
Requires-Dist: torch>=2.1
Requires-Dist: onnx; extra == "export"
Requires-Dist: openvino<2027,>=2024; python_version < "3.13" and extra == "export"
Requires-Dist: kornia-rs<0.3,>=0.2; extra == 'fast'
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Makes the package one that pip installed with this ``direct_url.json``."""

    def installed(**origin) -> None:
        info = tmp_path / 'site' / 'mmseg_bisenet-0.1.0.dist-info'
        info.mkdir(parents=True, exist_ok=True)
        (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: mmseg_bisenet\nVersion: 0.1.0\n{REQUIRES}')
        if origin:
            (info / 'direct_url.json').write_text(json.dumps(origin))
        distribution = importlib.metadata.PathDistribution(info)
        monkeypatch.setattr(importlib.metadata, 'distribution', lambda name: distribution)
        monkeypatch.setattr(install, 'ROOT', info.parent)

    return installed


@pytest.fixture
def checkout(tmp_path) -> Path:
    (tmp_path / 'my checkout').mkdir()
    (tmp_path / 'my checkout' / 'pyproject.toml').touch()
    return tmp_path / 'my checkout'


def test_a_checkout(checkout, installed, monkeypatch):
    installed()
    monkeypatch.setattr(install, 'ROOT', checkout)
    assert install.command('export') == f'pip install "{checkout}[export]"'


def test_an_editable_install_stays_editable(checkout, installed, monkeypatch):
    installed(url=checkout.as_uri(), dir_info=dict(editable=True))
    monkeypatch.setattr(install, 'ROOT', checkout)
    assert install.is_editable()
    assert install.command('export') == f'pip install -e "{checkout}[export]"'


def test_an_install_from_a_checkout(checkout, installed):
    installed(url=checkout.as_uri(), dir_info={})
    assert not install.is_editable()
    assert install.command('export') == f'pip install "{checkout}[export]"'


def test_a_wheel(tmp_path, installed):
    wheel = tmp_path / 'mmseg_bisenet-0.1.0-py3-none-any.whl'
    wheel.touch()
    installed(url=wheel.as_uri(), archive_info={})
    assert install.command('fast') == f'pip install "{wheel}[fast]"'
    wheel.unlink()
    assert install.command('fast') == 'pip install "kornia-rs<0.3,>=0.2"'


@pytest.mark.parametrize(
    ('origin', 'source'),
    [
        (dict(url='https://host/m.whl', archive_info={}), 'https://host/m.whl'),
        (dict(url='https://host/m.git', vcs_info=dict(vcs='git', commit_id='1a2b')), 'git+https://host/m.git@1a2b'),
        (
            dict(url='https://host/m.git', vcs_info=dict(vcs='git', commit_id='1a2b'), subdirectory='sub'),
            'git+https://host/m.git@1a2b#subdirectory=sub',
        ),
    ],
    ids=['archive', 'repository', 'subdirectory'],
)
def test_a_url(installed, origin, source):
    installed(**origin)
    assert install.command('export') == f'pip install "mmseg_bisenet[export] @ {source}"'


def test_an_index(installed):
    installed()
    assert install.command('export') == 'pip install "onnx" "openvino<2027,>=2024; python_version < \'3.13\'"'


def test_nothing_is_known(tmp_path, monkeypatch):
    def missing(name: str):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, 'distribution', missing)
    monkeypatch.setattr(install, 'ROOT', tmp_path)
    assert install.command('export') == 'reinstall mmseg_bisenet with its extra [export]'


# -- without the stack -------------------------------------------------------------------------------------------------

BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('mmengine', 'mmcv', 'mmseg', 'mim'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

sys.meta_path.insert(0, Blocked())
import mmseg_bisenet
"""


def run(code: str) -> subprocess.CompletedProcess:
    """Run the code in an interpreter that finds no stack."""
    return subprocess.run([sys.executable, '-c', BLOCK + code], cwd=ROOT, capture_output=True, text=True)


def test_models_are_listed_without_the_stack():
    files = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    names = [model['Name'] for file in files for model in yaml.safe_load((ROOT / file).read_text())['Models']]
    done = run('print(*mmseg_bisenet.list_models(), sep="\\n")')
    assert done.stdout.split() == names, done.stderr
    done = run('from mmseg_bisenet.cli import main; sys.exit(main(["list"]))')
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ['model', *names]


def test_what_needs_the_stack_says_how_to_get_it():
    done = run('mmseg_bisenet.get_model("bisenetv2_camvid")')
    last = done.stderr.splitlines()[-1]
    assert last == (
        f'ModuleNotFoundError: get_model needs mmengine, which is not installed; run: {install.command("openmmlab")}'
    )
    done = run('sys.modules["cv2"] = None; mmseg_bisenet.Predictor')
    last = done.stderr.splitlines()[-1]
    assert last == (
        f'ModuleNotFoundError: Predictor needs cv2, which is not installed; run: {install.command("openmmlab")}'
    )
    done = run('from mmseg_bisenet.cli import main; sys.exit(main(["train", "some.py"]))')
    assert done.returncode == 2
    assert done.stderr == (
        f'mmseg-bisenet: error: mmengine is not installed; run: {install.command("openmmlab")} '
        '(mmseg-bisenet env checks the installation)\n'
    )
