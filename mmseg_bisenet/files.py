"""How the package writes a file or a folder: under a temporary name beside it, then renamed.

A reader finds the old content or the new content, never a part of it, even if the process is killed midway. A file is
on the disk before it is renamed, so it is whole after a power failure too.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmseg_bisenet.errors import InputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path. The file or folder written there is renamed to ``path`` when the block ends.

    A file replaces an existing file. A folder can replace an empty folder only. If the block raises, nothing is left.

    Raises:
        InputError: the system refuses to write, or the folder exists.
    """
    path = Path(path)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        if not path.parent.exists():  # if it is a file, writing raises 'Not a directory', mkdir 'File exists'
            path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if partial.is_file():
            with partial.open('rb+') as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f'{path} cannot be written ({error.strerror or error}); name another place') from error
    finally:
        _remove(partial)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` in UTF-8 without translating line ends.

    Raises:
        InputError: the system refuses to write.
    """
    with replacing(path) as partial:
        partial.write_bytes(text.encode())


def require_writable(option: str, folder: str | Path) -> None:
    """Check that a folder exists and can be written, or can be made. For use before the work.

    Args:
        option: of the command line that named it, for the message.

    Raises:
        InputError: it cannot.
    """
    parent = next(path for path in (Path(folder).absolute(), *Path(folder).absolute().parents) if path.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        reason = 'cannot be written' if parent.is_dir() else 'is no folder'
        raise InputError(f'{option} {folder}: {parent} {reason}; name another folder')


def remove_leftovers(folder: str | Path, names: str) -> None:
    """Remove the temporary files and folders of killed processes.

    Args:
        folder: no other process may be writing into it.
        names: glob pattern of the final names, such as ``*.pth``.
    """
    for partial in Path(folder).glob(f'.{names}.*.partial'):
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
