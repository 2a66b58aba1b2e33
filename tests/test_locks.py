"""One run at a time in a work dir."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from mmseg_bisenet import locks
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.evaluation.hook import EvaluationHook

HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print('held', flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of a training."""
    command = [sys.executable, '-c', HOLD, str(tmp_path / '.train.lock')]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b'held\n'
        yield process
        process.kill()


def test_a_second_process_is_refused(tmp_path, monkeypatch, other):
    monkeypatch.setattr(locks, 'PATIENCE', 0)
    with pytest.raises(
        InputError, match=f'^work dir {tmp_path} is in use by another train; wait until it ends, or name'
    ):
        locks.lock(tmp_path, 'train')
    locks.lock(tmp_path, 'test').release()
    other.kill()
    other.wait()
    locks.lock(tmp_path, 'train').release()


def test_two_tests_in_one_work_dir(tmp_path, monkeypatch, other):
    monkeypatch.setattr(locks, 'PATIENCE', 0)
    (tmp_path / '.train.lock').rename(tmp_path / '.test.lock')
    (tmp_path / '.evaluation.123.partial').mkdir()
    runner = SimpleNamespace(work_dir=str(tmp_path), test_evaluator=SimpleNamespace(metrics=[]))
    with pytest.raises(InputError, match=f'^work dir {tmp_path} is in use by another test; wait until it ends, or'):
        EvaluationHook().before_test(runner)
    assert (tmp_path / '.evaluation.123.partial').exists()


def test_this_process_may_take_it_again(tmp_path):
    first, second = locks.lock(tmp_path, 'train'), locks.lock(tmp_path, 'train')
    assert first is second
    first.release()
    assert second.is_locked
    second.release()
    assert not first.is_locked


def test_a_file_system_without_locks(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.warns(UserWarning, match=r'file cannot be locked \(.*\): start no second train there'):
        assert locks.lock(tmp_path / 'file', 'train') is None
