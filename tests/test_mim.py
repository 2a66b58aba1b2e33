"""The wheel in an environment of its own, driven by mim as a user drives it.

Upstream's mim works on the wheel. The fork's looks in the wrong folder for a package with a console script, so there
the same is asked of ``mmseg-bisenet`` (docs/install.md, "mim on each stack"), and of mim with stock's scripts.
"""

import csv
import json
import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from cli.test_new_config import draw
from ports import free_ports
from processes import launch

from mmseg_bisenet import model_index
from mmseg_bisenet.cli import main

ROOT = Path(__file__).resolve().parents[1]
NAME = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256.py'
OPTIONS = [
    '--cfg-options',
    'randomness.seed=0',
    'optim_wrapper.optimizer.lr=0.0001',  # weights stay near their random start, and predictions vary
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    'default_hooks.checkpoint.interval=2',
    'default_hooks.logger.interval=1',
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'test_dataloader.num_workers=0',
    'test_dataloader.persistent_workers=False',
    'train_dataloader.dataset.pipeline.2.scale=(128,64)',
    'train_dataloader.dataset.pipeline.2.crop_size=(64,64)',
    'model.data_preprocessor.size=(64,64)',
]


class Environment:
    """A virtual environment with nothing but our wheel; the stack is looked up in the one that runs the tests."""

    def __init__(self, folder: Path, data: Path, stack: str) -> None:
        self.stack, self.folder, self.data = stack, folder, data
        source = folder / 'source'
        source.mkdir()
        for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'MANIFEST.in', 'model-index.yml'):
            shutil.copy(ROOT / name, source)
        for name in ('mmseg_bisenet', 'configs', 'tools'):
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__', '.mim'))
        run = dict(check=True, capture_output=True, text=True)
        pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
        subprocess.run([*pip, 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '-w', folder, source], **run)
        subprocess.run([sys.executable, '-m', 'venv', '--without-pip', folder / 'venv'], **run)
        self.python = folder / 'venv/bin/python'
        (wheel,) = folder.glob('*.whl')
        subprocess.run([*pip, '--python', self.python, 'install', '--quiet', '--no-deps', wheel], **run)
        (self.site,) = folder.glob('venv/lib/python*/site-packages')
        # MMEngine imports distutils. Python 3.12 has it from setuptools alone, by a line that only its own folder runs.
        stack = Path(sysconfig.get_path('purelib'))
        (self.site / 'stack.pth').write_text(f'{stack}\n{(stack / "distutils-precedence.pth").read_text()}')
        # It comes before the stack's yapf, and leaves configs as they are: see unformatted.py.
        api = self.site / 'yapf' / 'yapflib' / 'yapf_api.py'
        api.parent.mkdir(parents=True)
        api.write_text('def FormatCode(text, **options):\n    return text, False\n')
        (self.site / 'yapf' / '__init__.py').write_text("__version__ = '0.43.0'\n")

    def __call__(self, *arguments: str | Path, status: int = 0) -> str:
        """Run a command of the environment, away from the checkout; what it printed."""
        executable = [self.python, '-m', 'mim'] if arguments[0] == 'mim' else [self.folder / 'venv/bin' / arguments[0]]
        work = self.folder / 'work'
        work.mkdir(exist_ok=True)
        done = subprocess.run(
            [*executable, *arguments[1:]],
            cwd=work,
            env=os.environ | dict(MMSEG_BISENET_DATA=str(self.data), OMP_NUM_THREADS='1'),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == status, done.stdout[-3000:]
        return done.stdout

    def ours(self, command: str, config: str, *arguments: str | Path) -> str:
        """Our train or test, through mim where mim can."""
        if self.stack == 'openmmlab':
            return self('mim', command, 'mmseg_bisenet', config, *arguments)
        arguments = [argument for argument in arguments if argument != '--checkpoint']
        return self('mmseg-bisenet', command, config, *arguments)

    def stock(self, command: str, *arguments: str | Path) -> str:
        """MMSegmentation's own scripts, through mim."""
        package = dict(openmmlab='mmsegmentation', onedl='onedl-mmsegmentation')[self.stack]
        return self('mim', command, package, *arguments)


@pytest.fixture(scope='module')
def environment(tmp_path_factory, drawn, stack) -> Environment:
    return Environment(tmp_path_factory.mktemp('wheel'), drawn, stack)


@pytest.fixture(scope='module')
def checkpoint(environment, tmp_path_factory) -> Path:
    """Trained by a bare config name."""
    folder = tmp_path_factory.mktemp('ours')
    environment.ours('train', NAME, '--work-dir', folder, *OPTIONS)
    return folder / 'iter_2.pth'


def scores(folder: Path) -> dict:
    (file,) = folder.glob('2*/*.json')
    return {key: value for key, value in json.loads(file.read_text()).items() if 'time' not in key}


def test_the_wheel_holds_what_mim_looks_for(environment):
    mim = environment.site / 'mmseg_bisenet' / '.mim'
    packed = {path.relative_to(mim) for path in mim.rglob('*.*') if path.suffix != '.pyc'}
    wanted = {path.relative_to(ROOT) for name in ('configs', 'tools') for path in (ROOT / name).rglob('*.*')}
    assert packed == {path for path in wanted if path.suffix != '.pyc'} | {Path('model-index.yml')}
    assert (environment.site / 'mmseg_bisenet' / 'py.typed').is_file()


def test_a_config_for_own_images_needs_no_clone(environment, tmp_path):
    folder = draw(tmp_path / 'mine')
    code = (
        'import sys; from mmseg_bisenet.cli import main; main(sys.argv[1:]); from mmengine.config import Config; '
        'model = Config.fromfile("mine.py").model; print(model.backbone.type, model.num_classes)'
    )
    printed = environment('python', '-c', code, 'new-config', folder, '--classes', 'road', 'car', 'sky')
    assert printed.endswith('mmseg_bisenet.BiSeNetV2 3\n')


def test_train_by_bare_name(checkpoint):
    assert checkpoint.is_file()


def test_train_with_the_stock_script(environment, configs, tmp_path):
    log = environment.stock('train', configs / 'bisenetv2' / NAME, '--work-dir', tmp_path, *OPTIONS)
    assert (tmp_path / 'iter_2.pth').is_file()
    assert 'aux_3.loss_ce' in log


def test_every_way_to_evaluate_gives_the_same(
    environment, configs, stock_configs, checkpoint, drawn, tmp_path, monkeypatch
):
    """Ours and stock's, `--aug-test` and `--tta`, one process and two."""
    plain, aug_test, tta, stock, stock_tta, two = (tmp_path / name for name in 'abcdef')
    ours = [NAME, '--checkpoint', checkpoint]
    theirs = [configs / 'bisenetv2' / NAME, '--checkpoint', checkpoint]
    log = environment.ours('test', *ours, '--work-dir', plain, '--eval', 'mIoU', '--out', f'{tmp_path}/png/', *OPTIONS)
    assert 'note: --eval mIoU' in log
    assert len(list((tmp_path / 'png').glob('*.png'))) == 3
    environment.stock('test', *theirs, '--work-dir', stock, *OPTIONS)
    # The same scripts with other options, without seconds of imports.
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    for option, folder in (('--aug-test', aug_test), ('--tta', tta)):
        assert main(['test', NAME, str(checkpoint), '--work-dir', str(folder), option, *OPTIONS]) == 0
    arguments = [*theirs[:1], checkpoint, '--work-dir', stock_tta, '--tta', *OPTIONS]
    monkeypatch.setattr(sys, 'argv', ['test.py', *map(str, arguments)])
    monkeypatch.setenv('LOCAL_RANK', '0')  # stock's script would set it
    runpy.run_path(str(stock_configs.parent / 'tools' / 'test.py'), run_name='__main__')
    arguments = ['test', NAME, str(checkpoint), '--launcher', 'pytorch', '--work-dir', str(two), *OPTIONS]
    status, err = launch(2, arguments, tmp_path / 'logs')
    assert status == 0, err
    assert scores(plain) == scores(stock) == scores(two)
    assert scores(aug_test) == scores(tta) == scores(stock_tta) != scores(plain)
    assert 0 < scores(plain)['mIoU'] < 100


def test_two_processes_without_a_gpu(environment, tmp_path):
    job = ['--launcher', 'pytorch', '--work-dir', tmp_path]
    if environment.stack == 'openmmlab':
        port = ['--port', *map(str, free_ports(1))]  # mim's own may be taken
        log = environment.ours('train', NAME, *job, '--gpus', '2', *port, *OPTIONS)
    else:
        script = environment.site / 'mmseg_bisenet/.mim/tools/train.py'
        torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']
        log = environment('python', *torchrun, script, NAME, *job, *OPTIONS)
    assert 'SyncBN is replaced by BN' in log
    assert 'Distributed training: True' in log
    assert (tmp_path / 'iter_2.pth').is_file()


def test_the_drop_in_on_two_processes_without_a_gpu(configs, drawn, tmp_path, monkeypatch):
    """Its SyncBN is a default argument, which no config shows."""
    config = tmp_path / 'dropin.py'
    config.write_text(
        f"_base_ = '{configs}/bisenetv2/{NAME}'\n"
        "custom_imports = dict(imports=['mmseg_bisenet', 'mmseg_bisenet.dropin'], allow_failed_imports=False)\n"
        "model = dict(backbone=dict(_delete_=True, type='BiSeNetV2'))\n"
    )
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    arguments = ['train', str(config), '--launcher', 'pytorch', '--work-dir', str(tmp_path / 'work'), *OPTIONS]
    status, err = launch(2, arguments, tmp_path / 'logs')
    assert status == 0, err
    assert (tmp_path / 'work' / 'iter_2.pth').is_file()


def test_the_stock_benchmark_runs_and_ours_needs_no_data(environment, configs, checkpoint, tmp_path):
    log = environment.stock('run', 'benchmark', configs / 'bisenetv2' / NAME, checkpoint, '--work-dir', tmp_path)
    assert 'Average fps' in log
    arguments = [NAME, str(checkpoint), '--shape', '64', '128', '--images', '3', '--vs', 'none']
    arguments += ['--csv', str(tmp_path / 'fps.csv')]
    if environment.stack == 'openmmlab':
        environment('mim', 'run', 'mmseg_bisenet', 'benchmark', *arguments)
    else:
        environment('mmseg-bisenet', 'benchmark', *arguments)
    with (tmp_path / 'fps.csv').open(newline='') as file:
        (figures,) = csv.DictReader(file)
    assert (figures['runtime'], figures['height'], figures['width'], figures['images']) == ('torch', '64', '128', '3')
    assert float(figures['fps']) == pytest.approx(1000 / float(figures['p50_ms']))


def test_search_and_download(environment, tmp_path, stack):
    if stack == 'onedl':
        # The fork's mim has a folder for editable installs only; without one it names the folder that it looked in.
        assert 'model-index.yml' in environment('mim', 'search', 'mmseg_bisenet', status=1)
        return
    environment('mim', 'search', 'mmseg_bisenet', '--json', tmp_path / 'found.json')
    found = json.loads((tmp_path / 'found.json').read_text())
    assert list(found['config']) == model_index.list_models()
    name = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'
    assert (found['cityscapes/miou'][name], found['batch_size'][name]) == (73.21, 16)
    # Weights that are there already are not fetched again, so that this needs no network.
    (tmp_path / Path(found['weight'][name]).name).touch()
    environment('mim', 'download', 'mmseg_bisenet', '--config', name, '--dest', tmp_path)
    assert "type='mmseg_bisenet.BiSeNetV2'" in (tmp_path / f'{name}.py').read_text()
