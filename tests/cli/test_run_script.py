"""``mmseg-bisenet run``: finds stock's scripts, starts them as Python would, and takes 0.x's spellings of test.py."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from mmseg_bisenet.cli import main
from mmseg_bisenet.cli.run import find, today

CONFIG = 'bisenetv2/bisenetv2_fcn_1xb8-400it_miniscapes-128x256.py'


@pytest.fixture(scope='module')
def stock_tools(stock_configs) -> Path:
    return stock_configs.parent / 'tools'


@pytest.mark.parametrize(
    ('name', 'script'),
    [
        ('print_config', 'misc/print_config.py'),
        ('print_config.py', 'misc/print_config.py'),
        ('test', 'test.py'),
        ('analysis_tools/benchmark', 'analysis_tools/benchmark.py'),
        ('tools/misc/browse_dataset.py', 'misc/browse_dataset.py'),
    ],
)
def test_finds_a_script_by_name(name, script, stock_tools):
    assert find(name) == stock_tools / script


def fails(script: str, capsys) -> str:
    assert main(['run', script]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix('mmseg-bisenet: error: ')


def test_a_wrong_name_is_refused(capsys, tmp_path, monkeypatch):
    assert fails('browse_dataset', capsys) == (
        'script browse_dataset is the name of 2 scripts; write analysis_tools/browse_dataset or misc/browse_dataset'
    )
    assert fails('print_confi', capsys).startswith(
        'script print_confi is neither a file nor a script that MMSegmentation installs; the nearest names are '
        'print_config, '
    )
    monkeypatch.chdir(tmp_path)
    Path('dist_test.sh').touch()
    assert fails('dist_test.sh', capsys) == 'script dist_test.sh is no Python file; give one that ends in .py'
    os.mkfifo('pipe.py')
    assert fails('pipe.py', capsys) == 'pipe.py is a pipe or a device; save what it gives to a file'


SCRIPT = """
import sys
import beside

if __name__ == '__main__':
    print(__file__, sys.argv, beside.__name__)
    sys.exit(3 if 'fail' in sys.argv else None)
"""


@pytest.mark.parametrize('arguments', [[], ['--help'], ['a.py', '--aug-test', '--eval', 'mIoU', '-h', 'fail']])
def test_a_script_is_started_as_python_starts_it(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path('demo').mkdir()
    Path('demo/beside.py').touch()
    script = Path('demo/image_demo.py').resolve()
    script.write_text(SCRIPT)
    before = list(sys.argv), list(sys.path)
    with pytest.raises(SystemExit) as end:
        main(['run', 'demo/image_demo.py', *arguments])
    assert end.value.code == (3 if 'fail' in arguments else None)
    assert capsys.readouterr().out == f'{script} {[str(script), *arguments]} beside\n'
    assert (sys.argv, sys.path) == before
    del sys.modules['beside']


def test_a_package_that_only_the_script_needs(tmp_path, capsys):
    script = tmp_path / 'plots.py'
    script.write_text('import no_such_package')
    assert fails(str(script), capsys) == ('plots.py needs no_such_package, which is not installed; install it with pip')


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('c.py w.pth', 'c.py w.pth'),
        ('c.py w.pth --eval mIoU', 'c.py w.pth'),
        ('c.py w.pth --aug-test --eval mIoU mFscore --out o', 'c.py w.pth --tta --out o'),
        ('c.py w.pth --eval=mIoU --launcher none', 'c.py w.pth --launcher none'),
        ('--eval mIoU -- c.py w.pth', '-- c.py w.pth'),
    ],
)
def test_arguments_of_0x(old, new):
    assert today(old.split()) == new.split()


def test_print_config_prints_ours(configs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # the script writes example.py
    assert main(['run', 'print_config', str(configs / CONFIG), '--cfg-options', 'model.num_classes=5']) == 0
    printed = capsys.readouterr().out
    assert "type='mmseg_bisenet.BiSeNetSegmentor'" in printed
    assert '    num_classes=5,\n' in printed


@pytest.fixture
def small(configs, drawn, tmp_path, monkeypatch) -> None:
    """``small.py`` and ``small.pth`` in the working directory: a narrow network and three images, in two views."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    monkeypatch.setenv('LOCAL_RANK', '0')  # stock's script sets it
    monkeypatch.setattr(Config, 'pretty_text', '')  # half of the time, for a log that nobody reads
    Path('small.py').write_text(
        f"_base_ = '{configs / CONFIG}'\n"
        'model = dict(backbone=dict(detail_channels=(8, 8, 8), bga_channels=8), auxiliary_head=None,\n'
        '             decode_head=dict(in_channels=8, channels=8))\n'
        'test_dataloader = dict(num_workers=0, persistent_workers=False)\n'
        "resize = dict(type='Resize', scale_factor=0.5, keep_ratio=True)\n"
        "tta_pipeline = [_base_.load_image, dict(type='TestTimeAug', transforms=[[resize], _base_.tta_flips,\n"
        '    [dict(type="LoadAnnotations")], [_base_.pack]])]\n'
    )
    torch.save(MODELS.build(Config.fromfile('small.py').model).state_dict(), 'small.pth')


def pictures(folder: str) -> int:
    return len({path.name for path in Path(folder).rglob('*.png')})


def test_stocks_test_tests_ours_as_in_0x(small, capsys):
    line = 'small.py small.pth --aug-test --eval mIoU --show-dir pictures --work-dir work'
    assert main(['run', 'test', *line.split()]) == 0
    printed = capsys.readouterr()
    assert 'mIoU: ' in printed.out + printed.err
    assert pictures('pictures') == 3


def test_our_test_draws_every_image_of_any_config(small, drawn):
    """Also of images that have one name, in three folders."""
    for kind, ending in [('leftImg8bit', 'leftImg8bit'), ('gtFine', 'gtFine_labelTrainIds')]:
        for city, path in zip('abc', sorted((drawn / f'miniscapes/{kind}/val').rglob(f'*_{ending}.png')), strict=True):
            Path(f'data/{kind}/val/{city}').mkdir(parents=True)
            shutil.copy(path, f'data/{kind}/val/{city}/x_{ending}.png')
    line = (
        'small.py small.pth --show-dir pictures --work-dir work --cfg-options default_hooks.visualization.interval=50 '
        'test_dataloader.dataset.data_root=data'
    )
    assert main(['test', *line.split()]) == 0
    names = {path.name.rpartition('_')[0] for path in Path('pictures').rglob('*.png')}  # without the number
    assert names == {f'test_{folder}x_leftImg8bit.png' for folder in ('', 'b_', 'c_')}
