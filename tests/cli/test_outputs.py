"""What a command would write over is found before its work, and stays."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from full_disk import largest_file
from mmengine.config import Config

import mmseg_bisenet.zoo
from mmseg_bisenet.cli import main
from mmseg_bisenet.cli.launch import full_disk
from mmseg_bisenet.cli.runner import CheckedRunner
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.model_index import find_config
from mmseg_bisenet.own_results import EVALUATION

NAME = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'
V2 = 'bisenetv2_camvid'
OVERWRITE = 'exists already; name another'


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys) -> Callable:
    """Run a command in an empty folder: the one line of its refusal. Nothing there has changed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mmseg_bisenet.zoo, 'get_model', lambda *_, **__: pytest.fail('a network was built'))

    def contents() -> dict[str, bytes | None]:
        return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(tmp_path.rglob('*'))}

    def run(*arguments: str) -> str:
        before = contents()
        assert main(arguments) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith('note: ')]
        assert contents() == before
        return line.removeprefix('mmseg-bisenet: error: ')

    return run


@pytest.mark.parametrize('name', ['last_checkpoint', 'iter_4.pth', 'best_mIoU_iter_4.pth', 'curves.png'])
def test_a_training_is_not_started_over_another(refused, name):
    Path(name).write_text('mine')
    fix = 'continue it with --resume, or name another --work-dir'
    line = refused('train', NAME, '--work-dir', '.')
    assert line == f'{name} is of an earlier training, which would be overwritten; {fix}'
    assert 'data folder' in refused('train', NAME, '--work-dir', '.', '--resume')
    assert 'data folder' in refused('train', NAME, '--work-dir', 'other')


def test_checkpoints_in_another_folder_are_an_earlier_training_too(refused):
    Path('big/work').mkdir(parents=True)
    Path('big/work/iter_4.pth').write_text('mine')
    options = ['--work-dir', 'work', '--cfg-options', 'default_hooks.checkpoint.out_dir=big']
    assert refused('train', NAME, *options).startswith('big/work/iter_4.pth is of an earlier training')


@pytest.mark.parametrize('name', ['mine_7.pth', 'best_mIoU_mine_7.pth'])
def test_checkpoints_of_another_name_are_an_earlier_training_too(refused, name):
    Path(name).write_text('mine')
    template = ['--cfg-options', 'default_hooks.checkpoint.filename_tmpl=mine_{}.pth']
    assert refused('train', NAME, '--work-dir', '.', *template).startswith(f'{name} is of an earlier training')
    assert 'data folder' in refused('train', NAME, '--work-dir', 'other', *template)


@pytest.mark.parametrize('command', ['train', 'test'])
@pytest.mark.parametrize('field', ['visualizer.save_dir', 'visualizer.vis_backends.0.save_dir'])
def test_configs_and_scalars_of_a_user_stay(refused, command, field):
    """MMEngine's backends write `config.py` and `scalars.json`, whatever is there."""
    Path('mine').mkdir()
    Path('mine/config.py').write_text('mine')
    Path('some.pth').touch()
    arguments = [command, NAME, *(['some.pth'] if command == 'test' else []), '--work-dir', 'w', '--cfg-options']
    fix = f'name a new folder with {field}, or leave it out, or remove it'
    assert refused(*arguments, f'{field}=mine') == f'mine exists already; {fix}'
    assert refused(*arguments, f'{field}=.') == f'. exists already; {fix}'
    assert 'data folder' in refused(*arguments, f'{field}=new')
    where = f'{field}=w/{EVALUATION}/x'
    assert refused(*arguments, where).startswith(f'w/{EVALUATION}/x lies in w/{EVALUATION}, which is written as a')


def test_logs_of_another_training_stay(refused):
    Path('logs/w').mkdir(parents=True)
    Path('logs/w/20260101_000000.log').write_text('mine')
    line = refused('train', NAME, '--work-dir', 'w', '--cfg-options', 'default_hooks.logger.out_dir=logs')
    assert line.startswith('logs/w exists already; name a new folder with default_hooks.logger.out_dir')


@pytest.mark.parametrize(('command', 'loop'), [('train', 'val'), ('test', 'test')])
def test_results_that_a_metric_writes_to_a_file(refused, command, loop):
    Path('mine.pkl').write_text('mine')
    metrics = "[dict(type='mmseg_bisenet.SegmentationMetric'), dict(type='DumpResults', out_file_path='{}')]"
    arguments = [command, 'cfg.py', *(['mine.pkl'] if command == 'test' else []), '--work-dir', 'w']
    config = f'_base_ = {str(find_config(NAME))!r}\n{loop}_evaluator = {metrics}\n'
    Path('cfg.py').write_text(config.format('mine.pkl'))
    assert refused(*arguments) == f'mine.pkl exists already; name a new file with {loop}_evaluator.out_file_path'
    Path('cfg.py').write_text(config.format('new.pkl'))
    assert 'data folder' in refused(*arguments)


def test_two_folders_for_pictures(refused):
    Path('some.pth').touch()
    options = ['--show-dir', 'a', '--work-dir', 'w', '--cfg-options', 'visualizer.vis_backends.0.save_dir=b']
    line = refused('test', NAME, 'some.pth', *options)
    field = 'visualizer.vis_backends.0.save_dir'
    assert line == f'--show-dir and {field} both name a folder for pictures; leave one of them out'


@pytest.mark.parametrize('command', ['train', 'test', 'check-labels'])
@pytest.mark.parametrize(
    'place, reason', [('file', 'is no folder'), ('loop', 'is no folder'), ('/proc/new', '/proc cannot be written (')]
)
def test_a_work_dir_that_cannot_be(refused, command, place, reason):
    Path('file').touch()
    Path('loop').symlink_to('loop')
    line = refused(command, NAME, *(['file'] if command == 'test' else []), '--work-dir', place)
    assert line.startswith(f'--work-dir {place}') and reason in line and line.endswith('; name another folder')


@pytest.mark.parametrize('name', ['scores.json', 'mine.txt'])
def test_results_that_no_test_wrote_stay(refused, name):
    Path(EVALUATION).mkdir()
    Path(EVALUATION, name).write_text('{}')
    Path('some.pth').touch()
    line = refused('test', NAME, 'some.pth', '--work-dir', '.')
    assert line.startswith(
        f'{EVALUATION}/{name} is not as this command wrote it, and {EVALUATION} would be replaced; move it'
    )


def test_pictures_of_another_test_stay(refused):
    Path('shown').mkdir()
    Path('shown/mine.png').touch()
    Path('some.pth').touch()
    line = refused('test', NAME, 'some.pth', '--show-dir', 'shown')
    assert line == 'shown exists already; name a new folder with --show-dir, or remove it'


@pytest.mark.parametrize('own', [True, False], ids=['config in the work dir', 'config elsewhere'])
def test_the_config_of_a_user_stays(tmp_path, own):
    Path(tmp_path, 'log').mkdir()
    path = tmp_path / 'mine.py' if own else shutil.copy(__file__, tmp_path / 'log' / 'mine.py')
    path.write_text('a = 1  # mine\n')
    runner = SimpleNamespace(cfg=Config.fromfile(path), work_dir=str(tmp_path), _log_dir=tmp_path / 'log')
    CheckedRunner.dump_config(runner)
    assert path.read_text() == 'a = 1  # mine\n'
    dumped = tmp_path / 'log' / 'mine.py' if own else tmp_path / 'mine.py'
    assert Config.fromfile(dumped).to_dict() == dict(a=1)


@pytest.mark.parametrize('format, suffix', [('onnx', 'onnx'), ('openvino', 'xml'), ('openvino', 'bin')])
def test_an_exported_file_stays_unless_told(refused, format, suffix, monkeypatch, capsys):
    Path(f'{find_config(V2).stem}_fp32_64x128.{suffix}').write_text('mine')
    options = ['export', V2, '--format', format, '--shape', '64', '128']
    assert f'.{suffix} {OVERWRITE} folder with --output, or give --overwrite' in refused(*options)

    def reached(*_, **__):
        raise InputError('reached')

    monkeypatch.setattr(mmseg_bisenet.zoo, 'get_model', reached)
    assert main([*options, '--overwrite']) == 2
    assert capsys.readouterr().err == 'mmseg-bisenet: error: reached\n'


@pytest.mark.parametrize('link', [False, True])
def test_a_file_stays_unless_told(refused, link):
    Path('there.csv').write_text('mine')
    Path('there.pth').write_text('mine')
    if link:
        for suffix in ('csv', 'pth'):
            Path(f'there.{suffix}').rename(f'mine.{suffix}')
            Path(f'there.{suffix}').symlink_to(f'mine.{suffix}')
    reason = 'is a symbolic link, which is not followed; name another' if link else f'{OVERWRITE}'
    for overwrite in ([], ['--overwrite'])[: 2 if link else 1]:
        assert f'there.csv {reason}' in refused('benchmark', V2, '--csv', 'there.csv', *overwrite)
        assert f'there.pth {reason}' in refused('convert', 'nowhere.pth', 'there.pth', *overwrite)
    if not link:
        assert 'nowhere.pth does not exist' in refused('convert', 'nowhere.pth', 'there.pth', '--overwrite')


def test_no_output_replaces_an_input(refused):
    exported = f'{find_config(V2).stem}_fp32_64x128.onnx'
    Path(exported).write_text('mine')
    Path('mine.pth').write_text('mine')
    Path('calibration').mkdir()
    for name in ('mine.png', 'calibration/mine.png'):
        cv2.imwrite(name, np.zeros((64, 64, 3), np.uint8))
    for path, *arguments in (
        ('mine.pth', 'convert', 'mine.pth', 'mine.pth'),
        (exported, 'export', V2, exported, '--shape', '64', '128'),
        ('mine.pth', 'benchmark', V2, 'mine.pth', '--csv', 'mine.pth'),
        ('mine.png', 'benchmark', V2, '--image', 'mine.png', '--picture', 'mine.png'),
        ('calibration/mine.png', 'benchmark', V2, '--precision', 'int8', '--calibration', 'calibration',
         '--csv', 'calibration/mine.png'),
    ):  # fmt: skip
        line = refused(*arguments, '--overwrite')
        assert f'{path} is an input of this command, and would be overwritten; name' in line


@pytest.mark.parametrize(
    'options, place',
    [
        (['--out', 'work/evaluation'], 'work/evaluation lies in work/evaluation'),
        (['--out', 'work/evaluation/labels'], 'work/evaluation/labels lies in work/evaluation'),
        (['--show-dir', 'work/evaluation/shown'], 'work/evaluation/shown lies in work/evaluation'),
        (['--out', 'work'], 'work lies in work'),
        (['--out', 'labels', '--show-dir', 'labels/shown'], 'labels/shown lies in labels'),
    ],
)
def test_folders_of_a_test_inside_another(refused, options, place):
    Path('some.pth').touch()
    line = refused('test', NAME, 'some.pth', '--work-dir', 'work', *options)
    assert line.startswith(f'{place}, which is written as a whole; name another folder with --')


def test_a_work_dir_that_last_checkpoint_cannot_name(refused):
    sys.stderr.reconfigure(errors='backslashreplace')  # as outside of pytest
    line = refused('train', NAME, '--work-dir', os.fsdecode(b'\xff'))
    assert line == r'--work-dir \udcff: its path is not UTF-8, as last_checkpoint is; name another'


@pytest.mark.parametrize('place', ['loop', 'loop/deep', 'file/deep', '/proc/new'])
def test_an_output_that_cannot_be(refused, place):
    Path('file').touch()
    Path('some.pth').touch()
    Path('loop').symlink_to('loop')
    for arguments in (
        ['export', V2, '--output', place],
        ['predict', 'file', '--output', place],
        ['test', NAME, 'some.pth', '--out', place],
        ['test', NAME, 'some.pth', '--show-dir', place],
        ['benchmark', V2, '--csv', f'{place}/a.csv'],
        ['miniscapes', place, '--train', '1', '--val', '0', '--size', '64', '64'],
    ):
        line = refused(*arguments)
        assert 'is no folder' in line or 'cannot be written' in line or 'is a symbolic link' in line


@pytest.mark.parametrize('place', ['.', '{here}'])
def test_the_current_folder_is_not_replaced(refused, place):
    place = place.format(here=os.getcwd())
    for arguments in (['miniscapes', place, '--train', '1'], ['export', V2, '--serve', place]):
        assert f'{place} is the current folder, or where a disk is mounted, and cannot be' in refused(*arguments)


def test_a_full_disk_leaves_no_scenes(refused):
    with largest_file(100):
        line = refused('miniscapes', 'scenes', '--train', '1', '--val', '0', '--size', '64', '64')
    assert line == 'scenes cannot be written (File too large); name another place'
    assert not os.listdir()


def test_a_full_disk_at_the_start_of_a_training(tmp_path):
    (tmp_path / 'mine.py').write_text(f'a = {"x" * 200!r}')
    runner = SimpleNamespace(cfg=Config.fromfile(tmp_path / 'mine.py'), work_dir=str(tmp_path / 'work'))
    text = rf'^{tmp_path}/work/mine\.py cannot be written \(File too large\)'
    with largest_file(100), pytest.raises(InputError, match=text):
        CheckedRunner.dump_config(runner)
    assert not os.listdir(tmp_path / 'work')


def test_a_full_disk_that_mmengine_meets(tmp_path):
    fix = 'make room there and in /dev/shm, or name another --work-dir'
    with pytest.raises(InputError, match=rf'^work cannot be written \(File too large\); {fix}$'), full_disk('work'):
        with largest_file(100):
            (tmp_path / 'log').write_text('x' * 200)
    with pytest.raises(FileNotFoundError), full_disk('work'):
        (tmp_path / 'none').read_text()
