"""If writing a checkpoint fails, the earlier one stays, and a resumed run continues from it exactly."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.runner import find_latest_checkpoint
from toy import losses, toy

from mmseg_bisenet import locks
from mmseg_bisenet.checkpoints.files import read
from mmseg_bisenet.engine import checkpoint_hook
from mmseg_bisenet.engine.checkpoint_hook import is_whole
from mmseg_bisenet.errors import InputError


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob('*.pth*')}


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> list[float]:
    """The losses of a run without interruption."""
    runner = toy(tmp_path_factory.mktemp('whole'))
    runner.train()
    return losses(runner)


def resume(folder: Path, **changes) -> list[float]:
    runner = toy(folder, resume=True, **changes)
    runner.train()
    return losses(runner)


@pytest.fixture
def full_disk(monkeypatch):
    """The disk is full at the third checkpoint."""
    calls = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', fsync)


@pytest.mark.parametrize('keep', [1, -1])
def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path, full_disk, whole, keep):
    with pytest.raises(InputError) as caught:
        toy(tmp_path, checkpoint=dict(max_keep_ckpts=keep)).train()
    assert str(caught.value) == (
        f'{tmp_path}/iter_12.pth cannot be written (No space left on device); make room, then --resume'
    )
    assert files(tmp_path) == {'iter_8.pth'} | ({'iter_4.pth'} if keep == -1 else set())
    assert find_latest_checkpoint(tmp_path) == f'{tmp_path}/iter_8.pth' and is_whole(tmp_path / 'iter_8.pth')
    assert resume(tmp_path, checkpoint=dict(max_keep_ckpts=1)) == whole


def test_old_checkpoints_go_and_their_files_are_those_of_stock(tmp_path):
    toy(tmp_path / 'ours', checkpoint=dict(max_keep_ckpts=2)).train()
    toy(tmp_path / 'stock', checkpoint=dict(type='CheckpointHook', max_keep_ckpts=2)).train()
    assert files(tmp_path / 'ours') == files(tmp_path / 'stock') == {'iter_8.pth', 'iter_12.pth'}
    ours, stock = (read(tmp_path / name / 'iter_12.pth').state_dict for name in ('ours', 'stock'))
    assert ours.keys() == stock.keys()
    assert all(torch.equal(value, stock[key]) for key, value in ours.items())


def spoil(path: Path) -> None:
    """Flip one bit of a weight, like a disk error."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture
def scores():
    """mIoU in percent at each evaluation. Iteration 8 is the best."""
    return {4: 50.0, 8: 60.0, 12: 55.0}


def scored(folder: Path, scores: dict, **changes):
    return toy(folder, scores=scores, checkpoint=dict(max_keep_ckpts=1, save_best='mIoU'), **changes)


def test_the_best_is_kept_and_is_there_until_a_better_one_is(tmp_path, scores, monkeypatch):
    there = []
    put = checkpoint_hook.AtomicBackend.put

    def watched(self, obj, filepath):
        put(self, obj, filepath)
        there.append(files(tmp_path))

    monkeypatch.setattr(checkpoint_hook.AtomicBackend, 'put', watched)
    scored(tmp_path, scores).train()
    assert there == [
        {'iter_4.pth'},
        {'iter_4.pth', 'best_mIoU_iter_4.pth'},
        {'iter_4.pth', 'best_mIoU_iter_4.pth'},  # with its scores
        {'iter_4.pth', 'best_mIoU_iter_4.pth', 'iter_8.pth'},
        {'best_mIoU_iter_4.pth', 'iter_8.pth', 'best_mIoU_iter_8.pth'},
        {'best_mIoU_iter_4.pth', 'iter_8.pth', 'best_mIoU_iter_8.pth'},
        {'iter_8.pth', 'best_mIoU_iter_8.pth', 'iter_12.pth'},
        {'best_mIoU_iter_8.pth', 'iter_12.pth'},
    ]
    assert files(tmp_path) == {'best_mIoU_iter_8.pth', 'iter_12.pth'}


def test_an_evaluation_that_was_cut_off_is_done_first(tmp_path, scores):
    with pytest.raises(KeyError, match='8'):
        scored(tmp_path, {4: 50.0}).train()
    assert files(tmp_path) == {'best_mIoU_iter_4.pth', 'iter_8.pth'}
    runner = scored(tmp_path, scores, resume=True)
    runner.train()
    assert runner.message_hub.get_scalar('val/mIoU').data[0].tolist() == [50.0, 60.0, 55.0]
    assert files(tmp_path) == {'best_mIoU_iter_8.pth', 'iter_12.pth'}


def test_an_evaluation_that_is_in_the_checkpoint_is_not_repeated(tmp_path, scores):
    scored(tmp_path, scores, max_iters=8).train()
    runner = scored(tmp_path, {12: 55.0}, resume=True)  # would raise at 8
    runner.train()
    assert runner.message_hub.get_scalar('val/mIoU').data[0].tolist() == [50.0, 60.0, 55.0]


SPOILED = {
    'cut off': lambda path: path.write_bytes(path.read_bytes()[:-100]),
    'empty': lambda path: path.write_bytes(b''),
    'gone': Path.unlink,
    'binary': lambda path: path.write_bytes(b'\xff\xfe\x00\x80'),
    'a wrong bit': spoil,
    'a pipe': lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize('damage', SPOILED)
def test_a_damaged_checkpoint_is_passed_over(tmp_path, whole, damage):
    toy(tmp_path, max_iters=10).train()  # 4, 8 and the last
    SPOILED[damage](tmp_path / 'iter_10.pth')
    assert resume(tmp_path) == whole
    assert find_latest_checkpoint(tmp_path) == f'{tmp_path}/iter_12.pth'


def test_a_file_with_the_name_of_a_later_checkpoint_is_kept(tmp_path, whole):
    toy(tmp_path, max_iters=8).train()
    (tmp_path / 'iter_12.pth').write_text('mine')
    assert resume(tmp_path) == whole
    assert (tmp_path / 'iter_12.pth.damaged').read_text() == 'mine' and is_whole(tmp_path / 'iter_12.pth')


def test_another_batch_size_is_said(tmp_path, monkeypatch):
    toy(tmp_path, max_iters=8).train()
    for before, warns in ((None, False), (5, True)):
        runner, warnings = toy(tmp_path, resume=True), []
        monkeypatch.setattr(runner.logger, 'warning', warnings.append)
        if before:
            file = torch.load(tmp_path / 'iter_8.pth', weights_only=False)
            file['meta']['batch_size'] = before
            torch.save(file, tmp_path / 'iter_8.pth')
        runner.train()
        assert any('is of 5 images an iteration, and this run of' in text for text in warnings) == warns
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_8.pth'))


@pytest.mark.parametrize('damage', ['empty', 'gone', 'binary', 'a pipe'])
def test_the_name_of_the_last_checkpoint_is_found_again(tmp_path, whole, damage):
    toy(tmp_path, max_iters=8).train()
    SPOILED[damage](tmp_path / 'last_checkpoint')
    assert resume(tmp_path) == whole


def test_no_whole_checkpoint_is_said(tmp_path):
    toy(tmp_path, max_iters=4).train()
    SPOILED['cut off'](tmp_path / 'iter_4.pth')
    with pytest.raises(InputError) as caught:
        resume(tmp_path)
    assert str(caught.value) == (
        f'--resume: no checkpoint in {tmp_path} is whole, and last_checkpoint names {tmp_path}/iter_4.pth; start again '
        'without --resume, in another --work-dir'
    )


@pytest.mark.parametrize('out_dir', [False, True], ids=['work dir', 'out_dir'])
def test_a_copy_of_a_work_dir_resumes_from_its_own_checkpoint(tmp_path, whole, out_dir):
    def checkpoint(place: str) -> dict:
        return dict(checkpoint=dict(out_dir=str(tmp_path / place))) if out_dir else {}

    saved, copied = (tmp_path / 'big' / 'a', tmp_path / 'other' / 'b') if out_dir else (tmp_path / 'a', tmp_path / 'b')
    toy(tmp_path / 'a', max_iters=8, **checkpoint('big')).train()
    shutil.copytree(tmp_path / 'a', tmp_path / 'b')
    if out_dir:
        shutil.copytree(saved, copied)
    toy(tmp_path / 'a', resume=True, **checkpoint('big')).train()  # the original goes on
    saved.joinpath('iter_8.pth').write_bytes(saved.joinpath('iter_12.pth').read_bytes())  # which would be followed
    before = {path: path.read_bytes() for path in saved.iterdir() if path.is_file()}
    assert resume(tmp_path / 'b', **checkpoint('other')) == whole
    assert find_latest_checkpoint(tmp_path / 'b') == f'{copied}/iter_12.pth'
    assert {path: path.read_bytes() for path in saved.iterdir() if path.is_file()} == before


def test_a_copy_without_its_checkpoint(tmp_path):
    toy(tmp_path / 'a', max_iters=4).train()
    shutil.copytree(tmp_path / 'a', tmp_path / 'b', ignore=shutil.ignore_patterns('*.pth'))
    text = f'no checkpoint in {tmp_path}/b is whole, and last_checkpoint names {tmp_path}/a/iter_4.pth'
    with pytest.raises(InputError, match=text):
        resume(tmp_path / 'b')


@pytest.mark.parametrize('option', ['work_dir', 'default_hooks.checkpoint.out_dir'])
def test_a_folder_that_last_checkpoint_cannot_name(tmp_path, option):
    folder = tmp_path / os.fsdecode(b'\xff')
    places = (folder, {}) if option == 'work_dir' else (tmp_path, dict(out_dir=str(folder)))
    with pytest.raises(InputError, match=f'^{option} .*: its path is not UTF-8, as last_checkpoint is; name another$'):
        toy(places[0], max_iters=4, checkpoint=places[1]).train()
    assert not list(tmp_path.rglob('*.pth'))


def test_two_trainings_in_one_work_dir(tmp_path, monkeypatch):
    """The second is refused, and the file that the first is writing stays."""
    monkeypatch.setattr(locks, 'PATIENCE', 0)
    (tmp_path / '.iter_4.pth.123.partial').write_bytes(b'half')
    lock = f'held = filelock.FileLock({str(tmp_path / ".train.lock")!r}); held.acquire()'
    command = [sys.executable, '-c', f'import filelock; {lock}; print(flush=True); input()']
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b'\n'
        with pytest.raises(InputError, match=f'work dir {tmp_path} is in use by another train; wait until it ends, or'):
            toy(tmp_path, max_iters=1).train()
        assert files(tmp_path) == {'.iter_4.pth.123.partial'}
        other.kill()
    toy(tmp_path, max_iters=1).train()
    assert files(tmp_path) == {'iter_1.pth'} and not list(tmp_path.glob('*.partial'))


def test_leftovers_of_a_killed_write_are_removed(tmp_path):
    (tmp_path / '.iter_4.pth.123.partial').write_bytes(b'half')
    toy(tmp_path, max_iters=1).train()
    assert files(tmp_path) == {'iter_1.pth'} and [path.name for path in tmp_path.glob('.*')] == ['.train.lock']


def test_other_storage_is_refused(tmp_path):
    with pytest.raises(InputError, match='AtomicCheckpointHook writes to folders; use CheckpointHook'):
        toy(tmp_path, checkpoint=dict(out_dir='s3://bucket'))


def test_an_evaluation_without_a_checkpoint_saves_none(tmp_path):
    """Scores are added to the checkpoint of the same iteration only."""
    scores = dict.fromkeys(range(1, 13), 50.0)
    loop = dict(type='mmseg_bisenet.ResumableTrainLoop', max_iters=6, val_interval=1)
    toy(tmp_path, scores=scores, train_cfg=loop).train()
    assert files(tmp_path) == {'iter_4.pth', 'iter_6.pth'}


def test_the_work_dir_named_as_out_dir_is_the_work_dir(tmp_path, whole):
    out = dict(out_dir=str(tmp_path))
    toy(tmp_path, max_iters=8, checkpoint=out).train()
    (tmp_path / 'last_checkpoint').write_text('')
    assert resume(tmp_path, checkpoint=out) == whole
