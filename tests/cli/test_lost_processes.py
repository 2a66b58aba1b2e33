"""A command whose data worker, or another process of its job, is lost says so in one line."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli.test_ending import DEBUG, fail
from torch.utils.data import DataLoader, Dataset

ROOT = Path(__file__).parents[2]
KILLED = 'DataLoader worker (pid 5) is killed by signal: Killed. '
PAIR = '[/w/third_party/gloo/gloo/transport/tcp/pair.cc:553] '
PEER = 'another process of this job has ended or hangs (gloo: {}); look at its output'
WORKER = 'a process that loads images was killed or crashed ({}); lower num_workers or batch_size'


class Batch:
    """Its sender is lost while it arrives."""

    def __init__(self, error: OSError | EOFError) -> None:
        self.error = error

    def __reduce__(self) -> tuple:
        return fail, (self.error,)


@pytest.mark.parametrize(
    'error, text',
    [
        (KILLED, WORKER.format('DataLoader worker (pid 5) is killed by signal: Killed')),
        (
            'DataLoader worker (pid(s) 5) exited unexpectedly',
            WORKER.format('DataLoader worker (pid(s) 5) exited unexpectedly'),
        ),
        (
            f'{PAIR}Connection closed by peer [127.0.0.1]:15241. This is typically caused by a crash.',
            PEER.format('Connection closed by peer [127.0.0.1]:15241'),
        ),
        (f'{PAIR}Timed out waiting 5ms for recv', PEER.format('Timed out waiting 5ms for recv')),
        (f'Gloo connectFullMesh failed with {PAIR}no error', PEER.format('no error')),
        (f'{PAIR}{"x" * 999}', PEER.format('x' * 200 + '…')),
        ('Pin memory thread exited unexpectedly', WORKER.format('Pin memory thread exited unexpectedly')),
        (f'{KILLED}{"x" * 999}', WORKER.format(f'{KILLED}{"x" * 999}'[:200] + '…')),
    ],
)
def test_a_lost_process_is_named(ends, error, text):
    assert ends(lambda: fail(RuntimeError(error))) == (1, f'mmseg-bisenet: error: {text}\n')


@pytest.mark.parametrize(
    'error, text',
    [
        (ConnectionResetError(104, 'Connection reset by peer'), '[Errno 104] Connection reset by peer'),
        (EOFError(), 'EOFError'),
        (FileNotFoundError(2, 'No such file or directory'), '[Errno 2] No such file or directory'),
    ],
)
def test_a_data_worker_lost_within_a_batch_is_named(ends, error, text):
    """PyTorch notices the connection before the worker has become one that ended."""
    batches = DataLoader([Batch(error)], num_workers=1, collate_fn=lambda batch: batch[0])
    assert ends(lambda: list(batches)) == (1, f'mmseg-bisenet: error: {WORKER.format(text)}\n')


def test_a_lost_worker_is_no_error_of_the_config(ends):
    def work() -> None:
        try:
            raise RuntimeError(KILLED)
        except:  # noqa: E722
            raise SyntaxError('Failed to format the config file, please check the syntax of: \na = 1')  # noqa: B904

    text = WORKER.format('DataLoader worker (pid 5) is killed by signal: Killed')
    assert ends(work) == (1, f'mmseg-bisenet: error: {text}\n')


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('kind', [EOFError, FileNotFoundError])
def test_an_error_of_an_image_is_no_lost_worker(ends, kind, workers):
    class Images(Dataset):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> None:
            raise kind('no more')

    text = f'mmseg-bisenet: error: {kind.__name__}: no more; {DEBUG}\n'
    assert ends(lambda: list(DataLoader(Images(), num_workers=workers))) == (1, text)


UNHEARD = """
import atexit, os, signal, sys, time
from torch.utils.data import DataLoader
from mmseg_bisenet.cli import list_models, script

workers, kept = [], []

def hear():
    os.kill(os.getpid(), signal.SIGCHLD)
    time.sleep(0.01)  # the handler runs

class Late(Exception):
    def __str__(self):
        while workers:
            os.kill(workers.pop(), signal.SIGKILL)  # nobody waits for it, so PyTorch finds it at each signal
        time.sleep(0.3)
        return 'first'

class Freed:
    def __del__(self):
        hear()

def work(args):
    freed, batches = Freed(), iter(DataLoader(range(8), num_workers=2))
    next(batches)
    workers.extend(worker.pid for worker in batches._workers)
    if KEPT:
        kept.append(batches)
    raise Late

atexit.register(hear)
list_models.run = work
sys.argv[1:] = ['list']
sys.exit(script())
"""


@pytest.mark.parametrize('kept', [False, True], ids=['freed with the error', 'freed at the end'])
def test_a_worker_that_ends_after_an_error_is_not_heard(kept):
    """While the error is explained, the loader freed, and the interpreter ended: each would be a traceback."""
    command = [sys.executable, '-c', UNHEARD.replace('KEPT', str(kept))]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (1, f'mmseg-bisenet: error: Late: first; {DEBUG}\n')


def test_workers_are_heard_again(ends):
    def raises(*args: object) -> None:
        raise RuntimeError(KILLED)

    before = signal.signal(signal.SIGCHLD, raises)
    try:
        assert ends(lambda: fail(KeyError('meta')))[0] == 1
        assert signal.getsignal(signal.SIGCHLD) is raises
    finally:
        signal.signal(signal.SIGCHLD, before)
