"""However a command ends, it says so in one line."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mmseg_bisenet.cli import ending
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import replacing

ROOT = Path(__file__).parents[2]
ENDED = {
    signal.SIGINT: (130, 'mmseg-bisenet: ended by Ctrl-C\n'),
    signal.SIGTERM: (143, 'mmseg-bisenet: ended by SIGTERM\n'),
}


@pytest.fixture(autouse=True)
def ctrl_c():
    """Python's own handler: processes that a shell starts in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize('signum', ENDED)
def test_a_signal_leaves_nothing_half_written(ends, tmp_path, signum):
    def work() -> None:
        with replacing(tmp_path / 'a') as partial:
            partial.write_text('half')
            os.kill(os.getpid(), signum)

    assert ends(work) == ENDED[signum]
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize('signum', ENDED)
def test_a_signal_that_a_library_turns_into_another_error(ends, signum):
    def work() -> None:
        try:
            os.kill(os.getpid(), signum)
        except:  # noqa: E722, as MMEngine does while it formats a config
            raise SyntaxError('Failed to format the config file, please check the syntax of: \na = 1') from None

    assert ends(work) == ENDED[signum]


def test_a_signal_while_another_is_handled(ends, tmp_path):
    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            (tmp_path / 'cleaned').touch()

    assert ends(work) == ENDED[signal.SIGTERM]
    assert os.listdir(tmp_path) == ['cleaned']


STUCK = """
import multiprocessing, signal, sys, time
from mmseg_bisenet.cli import ending, list_models, script
from mmseg_bisenet.files import replacing
ending.GRACE = 0.1
signal.signal(signal.SIGINT, signal.default_int_handler)

def work(args):
    with replacing('a') as partial:
        partial.mkdir()
        worker = multiprocessing.get_context('fork').Process(target=time.sleep, args=(100,))
        worker.start()
        print(worker.pid, flush=True)
        while True:
            try:
                time.sleep(100)
            except BaseException:
                pass

list_models.run = work
sys.argv[1:] = ['list']
script()
"""


@pytest.mark.parametrize('signum', ENDED)
def test_a_library_that_does_not_let_go(tmp_path, signum):
    """The command ends all the same, and its worker and its partial file with it."""
    with subprocess.Popen(
        [sys.executable, '-c', STUCK],
        cwd=tmp_path,
        env=os.environ | dict(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        worker = int(process.stdout.readline())
        assert os.listdir(tmp_path) == [f'.a.{process.pid}.partial']
        process.send_signal(signum)
        try:
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, err) == ENDED[signum]
    assert not os.listdir(tmp_path)
    assert not Path(f'/proc/{worker}/cwd').exists()  # a zombie has none


def test_a_forked_child_ends_by_itself():
    """SIGTERM to a worker does not reach the command, which shares what wakes its thread."""
    with ending.watched() as came:
        child = os.fork()
        if not child:
            signal.pause()
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        assert not came()


def test_ignored_signals_stay_ignored(ends):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup does
    try:
        assert ends(lambda: os.kill(os.getpid(), signal.SIGINT) or 0) == (0, '')
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_may_run_a_command(ends):
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(ends(lambda: 0)))
    thread.start()
    thread.join()
    assert statuses == [(0, '')]


DEBUG = 'run with --debug for the traceback'
CAUGHT = (
    'Caught it in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n'
    '  File "a.py", line 1, in f\n    g()\n    ^^^\n  File "b.py", line 2, in g\n    h()\n'
)


@pytest.mark.parametrize(
    'error, status, text',
    [
        (InputError('a is wrong; fix it'), 2, 'a is wrong; fix it'),
        (OSError(28, 'No space left on device'), 1, 'OSError: [Errno 28] No space left on device'),
        (OSError(28, 'Full', 'a.log'), 2, 'a.log cannot be read or written (Full); repair it, or name another'),
        (KeyError('meta'), 1, "KeyError: 'meta'"),
        (MemoryError(), 2, 'out of memory; free some, or take smaller images or a smaller batch'),
        (
            RuntimeError("can't allocate memory"),
            2,
            'out of memory; free some, or take smaller images or a smaller batch',
        ),
        (RuntimeError('two\n  lines'), 1, 'RuntimeError: two lines'),
        (RuntimeError('see the Traceback above'), 1, 'error: RuntimeError: see the Traceback above'),
        (RuntimeError(f'{CAUGHT}OSError: gone\n'), 1, 'error: OSError: gone'),
        (RuntimeError(f'{CAUGHT}ValueError: wrong:\n  row 5\nand 6\n'), 1, 'error: ValueError: wrong: row 5 and 6'),
        (ValueError('x' * 1000), 1, f'ValueError: {"x" * 488}'),
        (ModuleNotFoundError("No module named 'a'", name='a'), 1, "ModuleNotFoundError: No module named 'a'"),
    ],
)
def test_an_error_is_one_line(ends, error, status, text):
    found, err = ends(lambda: fail(error))
    assert found == status
    assert err.startswith('mmseg-bisenet: error: ') and err.count('\n') == 1
    assert err.endswith(f'{text}; {DEBUG}\n' if status == 1 else f'{text}\n')


def test_a_nul_byte_in_an_argument(ends):
    text = "'a\\x00b' contains a NUL byte, as no name of a file may; remove it"
    assert ends(lambda: pytest.fail('it ran'), 'a\0b') == (2, f'mmseg-bisenet: error: {text}\n')


@pytest.mark.parametrize('error', [InputError('a is wrong; fix it'), KeyError('meta')])
def test_debug_shows_the_traceback(ends, error):
    _, err = ends(lambda: fail(error), '--debug')
    assert err.startswith('Traceback (most recent call last):') and 'in fail' in err
    assert err.splitlines()[-1].startswith('mmseg-bisenet: error: ')


def test_names_of_any_bytes_are_printed(ends):
    assert ends(lambda: print('\udcff') or 0) == (0, '')


# -- standard output ---------------------------------------------------------------------------------------------------

COMMANDS = [['list'], ['--help'], ['list', '--help'], ['--version']]


def on(stdout: int, *command: str, unbuffered: str = '') -> tuple[int, str]:
    """Run a command whose standard output is that file: the exit status, and what it wrote to stderr."""
    environment = {**os.environ, 'PYTHONUNBUFFERED': unbuffered}
    arguments = [sys.executable, '-m', 'mmseg_bisenet.cli', *command]
    run = subprocess.run(arguments, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
    return run.returncode, run.stderr


@pytest.mark.parametrize('unbuffered', ['', '1'])
@pytest.mark.parametrize('command', COMMANDS, ids=' '.join)
def test_a_full_disk_at_standard_output(command, unbuffered):
    with open('/dev/full', 'w') as full:
        status, said = on(full.fileno(), *command, unbuffered=unbuffered)
    reason = 'standard output cannot be written (No space left on device); send it to another place'
    assert (status, said) == (2, f'mmseg-bisenet: error: {reason}\n')


@pytest.mark.parametrize('unbuffered', ['', '1'])
@pytest.mark.parametrize('command', COMMANDS, ids=' '.join)
def test_a_pipe_that_is_closed_at_standard_output(command, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert on(writer, *command, unbuffered=unbuffered) == (141, '')
    finally:
        os.close(writer)


def test_another_error_is_not_that_of_standard_output():
    with open('/dev/full', 'w') as full:
        status, said = on(full.fileno(), 'list', 'deeplab')
    assert (status, said) == (
        2,
        "mmseg-bisenet: error: no model matches 'deeplab'; mmseg-bisenet list shows all of them\n",
    )
