"""Ctrl-C and SIGTERM end every command within seconds: one line, status 130 or 143, and nothing half-written.

A signal raises :class:`Ended` in the main thread, so that each block that writes removes its partial file. If that does
not end the command within ``GRACE``, because the main thread is inside a library or something caught the exception, a
second thread removes partial files and workers, and ends the process.
"""

import io
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread, current_thread, local, main_thread
from types import FrameType
from typing import Any, NoReturn

from mmseg_bisenet.files import remove_partials

NAMES = {signal.SIGINT: 'Ctrl-C', signal.SIGTERM: 'SIGTERM'}
STATUSES: dict[int, int] = {
    signal.SIGINT: 130,
    signal.SIGTERM: 143,
}  # as a shell reports a program that this signal ended
CLOSED = 141  # as a shell reports a program that writes to a pipe which its reader has closed
GRACE = 2.0  # seconds
_before: dict[int, Callable | int | None] = {}  # the handlers that ours replace
_forking = local()


class Ended(KeyboardInterrupt):
    """Raised by SIGTERM too, because libraries let a KeyboardInterrupt pass."""


def line(signum: int) -> str:
    return f'mmseg-bisenet: ended by {NAMES[signal.Signals(signum)]}'


class Stdout(io.TextIOWrapper):
    """Standard output that remembers why it could not be written: argparse and logging do not pass that on."""

    fault: OSError | None = None

    @classmethod
    def install(cls) -> None:
        """Replace ``sys.stdout``, unless the process has none."""
        old = sys.stdout
        if isinstance(old, io.TextIOWrapper):
            sys.stdout = cls(old.buffer, old.encoding, old.errors, None, old.line_buffering, old.write_through)

    def write(self, text: str) -> int:
        with self._remembered():
            return super().write(text)

    def flush(self) -> None:
        with self._remembered():
            super().flush()

    @contextmanager
    def _remembered(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.fault = error
            raise


def flush() -> None:
    """Raises:
    OSError: standard output cannot be written, or could not at any time before.
    """
    if sys.stdout:  # None if the process was started without
        sys.stdout.flush()
    if fault := getattr(sys.stdout, 'fault', None):
        raise fault


def fault_of_stdout() -> tuple[str, int] | None:
    """The line and the status if standard output could not be written. It is not written to any more.

    The text is empty for a pipe that its reader has closed: programs end there without a word.
    """
    fault = getattr(sys.stdout, 'fault', None)
    if fault is None:
        return None
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter's end flushes too
    if isinstance(fault, BrokenPipeError):
        return '', CLOSED
    return f'mmseg-bisenet: error: standard output cannot be written ({fault.strerror}); send it to another place', 2


@contextmanager
def watched() -> Iterator[Callable[[], int]]:
    """Handle both signals until the block ends. Yields a function: the signal that came, or 0.

    Whatever ends the block after a signal is its consequence: libraries turn the exception into others. In other
    threads than the main one, which Python does not give signals to, nothing is handled.
    """
    came = [0]

    def handle(signum: int, frame: FrameType | None) -> None:
        if not came[0]:  # what ends the command is not interrupted again
            came[0] = signum
            raise Ended

    if current_thread() is not main_thread() or _before:
        yield lambda: came[0]
        return
    for signum in NAMES:
        if signal.getsignal(signum) not in (signal.SIG_IGN, None):  # as nohup and a shell's & want it
            _before[signum] = signal.signal(signum, handle)
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    Thread(target=_watch, args=(reader, handle), daemon=True, name='ending').start()
    try:
        yield lambda: came[0]
    finally:
        if came[0]:
            end_workers()
        signal.set_wakeup_fd(wakeup)
        _restore()
        writer.close()


def end_workers() -> None:
    """End the processes that this one started through multiprocessing, such as data workers."""
    workers = multiprocessing.active_children()
    with suppress(Exception):  # PyTorch raises in this thread that a worker has ended
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join(GRACE / 4)
    for worker in workers:
        with suppress(Exception):
            worker.kill()


def ignore_workers() -> Any:
    """PyTorch no longer raises in the main thread, wherever that is, that a data worker has ended.

    Returns:
        The handler until now.
    """
    if hasattr(signal, 'SIGCHLD') and current_thread() is main_thread():  # Windows has none
        return signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return None


@contextmanager
def workers_ignored() -> Iterator[None]:
    """``ignore_workers`` until the block ends."""
    handler = ignore_workers()
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGCHLD, handler)


def leave(status: int) -> NoReturn:
    """End the process without the end of the interpreter, which takes a second with PyTorch."""
    with suppress(OSError):  # of a pipe that is closed
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _watch(reader: socket.socket, handle: Callable) -> None:
    """Read the numbers of signals, which Python writes even while the main thread is inside a library."""
    with reader:
        while number := reader.recv(1):
            if signal.getsignal(number[0]) is not handle:
                continue  # the command ends by itself
            reader.settimeout(GRACE)
            with suppress(TimeoutError):
                while reader.recv(1):
                    pass
                return  # the block has ended
            print(line(number[0]), file=sys.stderr, flush=True)
            remove_partials()
            for worker in multiprocessing.active_children():
                worker.kill()
            os._exit(STATUSES[number[0]])


def _restore() -> None:
    for signum, handler in _before.items():
        signal.signal(signum, handler)
    _before.clear()


# -- workers: they handle signals as if there were no command, and do not wake the thread of their parent --------------


def _before_fork() -> None:
    """Hold signals back: one that comes to a child before its handlers are restored would wake our thread."""
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, NAMES)


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _after_fork_in_child() -> None:
    if _before:
        signal.set_wakeup_fd(-1)
        _restore()
    _after_fork()


if hasattr(os, 'register_at_fork'):  # not on Windows
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
