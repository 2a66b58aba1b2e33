"""How the package writes a file or a folder: under a temporary name beside it, then renamed; and what it may replace.

A reader finds the old content or the new content, never a part of it, even if the process is killed midway. A file is
on the disk before it is renamed, so it is whole after a power failure too.

One rule protects the user's data, :func:`check_output`: a file that exists is replaced only if the caller is told to
overwrite, a folder never, an input of the same command never, and links are not followed. Nothing is remembered about
earlier runs. The one exception is a folder that a command writes again each time: :mod:`mmseg_bisenet.own_results`.
"""

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmseg_bisenet.errors import InputError, require_flags

MOST, LONGEST = 255, 200  # bytes of a name, for file systems and with room for what temporary names add
Identity = tuple[int, int]
partials: set[Path] = set()  # that this process is writing; what is here when it ends is removed


def check_input(path: str | Path) -> None:
    """Refuse what reading would wait for, and links that lead to no file.

    Raises:
        InputError: the path names a pipe, a socket, a device, or a symbolic link to nothing or to itself.
    """
    if os.path.islink(path) and not os.path.exists(path):
        raise InputError(f'{path} is a symbolic link that leads to nothing; fix it or remove it')
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise InputError(f'{path} is a pipe or a device; save what it gives to a file')


def identities(paths: Iterable[str | Path]) -> set[Identity]:
    """What tells files apart, whatever their names; paths of no file are left out."""
    found = set()
    for path in paths:
        with suppress(OSError, ValueError):
            found.add(_identity(path))
    return found


def check_output(
    path: str | Path,
    overwrite: bool = False,
    folder: bool = False,
    fix: str = 'name another',
    inputs: Collection[Identity] = (),
) -> None:
    """Refuse a place that must not be written. For use before the work; :func:`replacing` checks again.

    Args:
        path: of the file or the folder that will be written.
        overwrite: whether a file may be replaced.
        folder: whether a folder will be written. It may exist if it is empty.
        fix: what the user can do, for the message.
        inputs: files that the same command reads, as :func:`identities` gives them; none is ever replaced.

    Raises:
        InputError: ``path`` is a symbolic link, exists already, is an input, or is a folder, a pipe or a device
            instead of a file; or the system takes no such name.
    """
    require_flags(overwrite=overwrite)
    path = Path(path)
    if any(len(os.fsencode(part)) > MOST for part in path.parts):  # the system says so in existing folders only
        raise InputError(f'{path} cannot be written (File name too long); {fix}')
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):  # the second is said when it is written
        pass
    except (OSError, ValueError) as error:  # too long a name, or a link to itself above it
        raise InputError(f'{path} cannot be written ({getattr(error, "strerror", None) or error}); {fix}') from error
    if path.is_symlink():
        raise InputError(f'{path} is a symbolic link, which is not followed; {fix}')
    if folder and os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f'{path} exists already; {fix}, or remove it')
    if folder and path.is_dir() and (os.path.samefile(path, '.') or os.path.ismount(path)):
        raise InputError(f'{path} is the current folder, or where a disk is mounted, and cannot be replaced; {fix}')
    if not folder and path.is_dir():
        raise InputError(f'{path} is a folder; {fix}')
    if not folder and path.exists() and not path.is_file():  # a file would take its place, for all programs
        raise InputError(f'{path} is a pipe or a device; {fix}')
    if inputs and path.exists() and _identity(path) in inputs:
        raise InputError(f'{path} is an input of this command, and would be overwritten; {fix}')
    if not folder and os.path.lexists(path) and not overwrite:
        raise InputError(f'{path} exists already; {fix}, or give --overwrite (in Python overwrite=True)')


def _identity(path: str | Path) -> Identity:
    status = os.stat(path)
    return status.st_dev, status.st_ino


@contextmanager
def replacing(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path. The file or folder written there is renamed to ``path`` when the block ends.

    If the block raises, nothing is left.

    Raises:
        InputError: the system refuses to write, or :func:`check_output` refuses ``path``.
    """
    path = Path(path)
    with _partial(path) as partial:
        yield partial
        _rename(partial, path, overwrite)


@contextmanager
def scratch(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder on the same file system as ``path``, which is removed when the block ends.

    Raises:
        InputError: the system refuses to write.
    """
    with _partial(Path(path)) as folder:
        folder.mkdir()
        yield folder


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    partial = partial_path(path)
    partials.add(partial)
    try:
        if not path.parent.exists():  # if it is a file, writing raises 'Not a directory', mkdir 'File exists'
            path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
    except OSError as error:
        raise InputError(f'{path} cannot be written ({error.strerror or error}); name another place') from error
    finally:
        remove(partial)
        partials.discard(partial)


def partial_path(path: Path, kind: str = '') -> Path:
    """A hidden name beside ``path``, with the same ending, that another process does not take."""
    path = path if path.name else path.absolute()  # `.` has none
    name = path.name
    if len(os.fsencode(name)) > LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest() + name[-8:]
    return path.with_name(f'.{name}{kind}.{os.getpid()}.partial')


def move_all(folder: Path, target: Path, overwrite: bool) -> None:
    """Move the files in a folder of :func:`scratch` beside ``target``, one of them, which comes last.

    An earlier ``target`` is removed first, so at no time does a file lie beside parts of another.

    Raises:
        InputError: :func:`check_output` refuses one of the places.
    """
    parts = sorted(folder.iterdir(), key=lambda part: part.name == target.name)
    for part in parts:
        check_output(target.with_name(part.name), overwrite)
        _to_disk(part)  # a full disk is seen before anything is removed
    target.unlink(missing_ok=True)
    for part in parts:
        os.replace(part, target.with_name(part.name))


def _to_disk(file: Path) -> None:
    with file.open('rb+') as opened:
        os.fsync(opened.fileno())


def _rename(partial: Path, path: Path, overwrite: bool) -> None:
    if partial.is_file():
        _to_disk(partial)
    check_output(path, overwrite, partial.is_dir())
    if not (overwrite or partial.is_dir()):
        # A link replaces nothing, not even a file that appeared just now.
        with suppress(OSError):  # no hard links on this file system, or a file appeared
            os.link(partial, path)
            return
        check_output(path)
    os.replace(partial, path)  # never a folder that holds anything


def write_text(path: str | Path, text: str, overwrite: bool = False) -> None:
    """Write ``text`` in UTF-8 without translating line ends. File names in it keep their bytes, whatever they are.

    Raises:
        InputError: as :func:`replacing`.
    """
    with replacing(path, overwrite) as partial:
        partial.write_bytes(text.encode(errors='surrogateescape'))


def require_writable(option: str, folder: str | Path) -> None:
    """Check that a folder exists and can be written, or can be made. For use before the work.

    Args:
        option: of the command line that named it, for the message.

    Raises:
        InputError: it cannot.
    """
    folder = Path(folder)
    parent = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not parent.is_dir():
        raise InputError(f'{option} {folder}: {parent} is no folder; name another folder')
    try:
        tempfile.TemporaryFile(dir=parent).close()
    except OSError as error:
        raise InputError(
            f'{option} {folder}: {parent} cannot be written ({error.strerror}); name another folder'
        ) from error


def require_outside(path: str | Path, folder: str | Path, fix: str = 'name another') -> None:
    """Refuse a place in a folder that is written, and replaced, as a whole.

    Raises:
        InputError: ``path`` is ``folder``, or lies in it.
    """
    inner, outer = (Path(os.path.realpath(place)) for place in (path, folder))
    if outer in (inner, *inner.parents):
        raise InputError(f'{path} lies in {folder}, which is written as a whole; {fix}')


def cache_folder() -> Path:
    """Of this package, for the user: below XDG_CACHE_HOME or ``~/.cache``. It may not exist."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'mmseg_bisenet')


def made(folder: Path) -> bool:
    """Make the folder; false if it cannot be made or written, as in a home that is read-only."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return os.access(folder, os.W_OK)


def remove_leftovers(folder: str | Path, names: str) -> None:
    """Remove the temporary files and folders of killed processes.

    Args:
        folder: no other process may be writing into it.
        names: glob pattern of the final names, such as ``*.pth``.
    """
    for partial in Path(folder).glob(f'.{names}.*.partial'):
        remove(partial)


@atexit.register
def remove_partials() -> None:
    """Remove what this process is writing, because it is about to end without leaving its blocks."""
    for partial in list(partials):
        remove(partial)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
