"""The files that a folder or a glob names, each once, and the folders that cannot be searched.

Links to folders are followed, as data sets of MMSegmentation do. Python's ``glob`` follows a link to a folder above
itself 40 times, and says nothing of folders that it cannot read.
"""

import fnmatch
import glob
import os
from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

EVERYTHING = ('**', '*')  # the pattern of a folder


def find_files(root: Path, patterns: Sequence[str] = EVERYTHING) -> tuple[list[Path], dict[Path, str]]:
    """What lies below ``root`` and matches, sorted. Hidden names match only a pattern that starts with a dot.

    A file that several paths lead to, because folders are links, has the one without links, if there is one. Links to
    files are files of their own.

    Args:
        root: a folder.
        patterns: one for each level, as of ``glob``; ``**`` is any number of folders.

    Returns:
        The paths, folders among them; and what was not searched, with the reason as a line for the user.
    """
    left_out: dict[Path, str] = {}
    real = lru_cache(None)(os.path.realpath)
    once: dict[tuple[str, str], Path] = {}

    def order(path: Path) -> tuple[bool, Path]:
        return real(path.parent) != os.path.normpath(os.path.join(real(root), path.parent.relative_to(root))), path

    for path in sorted(_matches(root, patterns, left_out), key=order):
        once.setdefault((real(path.parent), path.name), path)
    return sorted(once.values()), left_out


def _matches(folder: Path, patterns: Sequence[str], left_out: dict[Path, str]) -> Iterator[Path]:
    first, rest = patterns[0], patterns[1:]
    if first == '**':
        while rest[:1] == ('**',):
            rest = rest[1:]
        for inner in _folders(folder, left_out):
            yield from _matches(inner, rest or ('*',), left_out)
        return
    if glob.has_magic(first):
        entries = [entry for entry in _entries(folder, left_out) if fnmatch.fnmatch(entry.name, first)]
        entries = [entry for entry in entries if not entry.name.startswith('.') or first.startswith('.')]
        found = [(Path(entry.path), _is_folder(entry)) for entry in entries]
    else:
        path = folder / first
        found = [(path, path.is_dir())] if os.path.lexists(path) else []
    for path, is_folder in found:
        if not rest:
            yield path
        elif is_folder:
            yield from _matches(path, rest, left_out)


def _folders(root: Path, left_out: dict[Path, str]) -> Iterator[Path]:
    """``root`` and all folders below; each once, those that links lead to last."""
    seen = set[str]()
    own, linked = deque([root]), deque[Path]()
    while own or linked:
        followed = not own
        folder = own.popleft() if own else linked.popleft()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        if followed and os.path.commonpath([real, os.path.realpath(root)]) == real:
            left_out[folder] = f'{folder} is a link to a folder above, which is not followed; give that folder instead'
            continue
        seen.add(real)
        yield folder
        for entry in sorted(_entries(folder, left_out), key=lambda entry: entry.name):
            if not entry.name.startswith('.') and _is_folder(entry):
                (linked if entry.is_symlink() else own).append(Path(entry.path))


def _entries(folder: Path, left_out: dict[Path, str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        left_out[folder] = f'folder {folder} cannot be read ({error.strerror}); make it readable, or move it elsewhere'
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except PermissionError:  # of a link in a folder that may be listed only; searching it says so
        return True
    except OSError:  # a link to itself
        return False
