"""How the package writes a file or a folder: beside its place, flushed to the disk, then renamed.

A reader therefore finds the old content or the new one, never a part, even if the process or the machine stops midway.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmseg_bisenet.errors import InputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a path beside ``path``; what is written there, a file or a folder, takes its name when the block ends.

    A file replaces an earlier one. A folder must not exist yet. If the block raises, nothing is left.

    Raises:
        InputError: the system refuses to write, or the folder exists.
    """
    path = Path(path)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if partial.is_file():
            with partial.open('rb+') as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f'{path} cannot be written ({error.strerror or error}); name another place') from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        elif partial.exists():  # not if a folder above it is a file
            partial.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` in UTF-8 without translating line ends.

    Raises:
        InputError: the system refuses to write.
    """
    with replacing(path) as partial:
        partial.write_bytes(text.encode())
