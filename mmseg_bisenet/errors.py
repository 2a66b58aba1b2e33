"""The one exception for errors that the user can fix, and its text."""

import os
import re
import traceback


class InputError(ValueError, AssertionError):
    """A wrong config, file or argument; an ``AssertionError`` too, because stock raises that for wrong arguments.

    The message is one line: the name of the thing, the problem, and the fix. The command line prints it without a
    traceback and exits with status 2. It takes a single string, so that PyTorch can raise it again in the main process
    when a data worker fails.
    """


def line(error: InputError) -> str:
    """The message in one line: the error of a data worker starts with the worker's traceback."""
    return str(error).strip().splitlines()[-1].removeprefix(f'{InputError.__module__}.{InputError.__qualname__}: ')


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory is what was missing; PyTorch says so in the text of a RuntimeError."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))


def lost_process(error: BaseException) -> str | None:
    """One line if a process that this one works with has ended: a data worker, or another process of the job."""
    text = ' '.join(str(error).split())
    # PyTorch says so in three ways. If the worker ends while it sends a batch, what comes is the end of a connection.
    said = re.search(r'DataLoader worker \(pid|Pin memory thread exited', text)
    receives = any(frame.f_code.co_name == '_try_get_data' for frame, _ in traceback.walk_tb(error.__traceback__))
    if said or (receives and isinstance(error, EOFError | ConnectionError | FileNotFoundError)):
        reason = short(text.rstrip('.') or type(error).__name__, 200)
        return f'a process that loads images was killed or crashed ({reason}); lower num_workers or batch_size'
    if found := re.search(r'\[\S+/gloo/\S+] (.+?)(\. |$)', text):
        return f'another process of this job has ended or hangs (gloo: {short(found[1], 200)}); look at its output'
    return None


def require_flags(**flags: object) -> None:
    """Refuse arguments that are neither True nor False, such as texts, each of which would be true.

    Raises:
        InputError: it names the first.
    """
    for name, value in flags.items():
        is_flag = isinstance(value, int) or type(value).__name__ in ('bool', 'bool_')  # NumPy's
        if not is_flag or value not in (True, False):
            raise InputError(f'{name}={short(repr(value))}: give True or False')


def require_paths(**paths: object) -> None:
    """Refuse arguments that name no file or folder.

    Raises:
        InputError: it names the first that is neither a text nor a path, or is empty.
    """
    for name, value in paths.items():
        if not isinstance(value, str | os.PathLike) or not str(value) or '\0' in str(value):
            raise InputError(f'{name}={short(repr(value))}: give a path')


def require_texts(**texts: object) -> None:
    """Refuse arguments that are neither a text nor None.

    Raises:
        InputError: it names the first.
    """
    for name, value in texts.items():
        if not isinstance(value, str | None):
            raise InputError(f'{name}={short(repr(value))}: give a text')


def short(text: str, most: int = 100) -> str:
    """The start of a text that comes from a file or the environment, for a message."""
    return text if len(text) <= most else f'{text[:most]}…'
