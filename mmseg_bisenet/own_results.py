"""The folder of results that a command writes again each time, such as the scores of a test.

It replaces the folder of the last run, and nothing of the user's: it lists the checksum of each file that was written,
and a folder that holds anything else is refused.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_input, check_output, partial_path, remove, replacing

LIST = '.written.json'  # SHA-256 of each file that was written, by its name in the folder
EVALUATION = 'evaluation'  # the folder of scores in a work dir, which tests and trainings write and reports read


@contextmanager
def replacing_own(folder: str | Path) -> Iterator[Path]:
    """As :func:`mmseg_bisenet.files.replacing`, for a folder of results that replaces the one of the last run.

    Raises:
        InputError: as :func:`require_own`, or the system refuses to write.
    """
    folder = Path(folder)
    old = partial_path(folder, '.old')
    with replacing(folder) as partial:
        yield partial
        (partial / LIST).write_text(json.dumps(digests(partial)))
        require_own(folder)
        if folder.is_dir():
            os.replace(folder, old)  # removing takes longer
    remove(old)


def require_own(folder: str | Path) -> None:
    """Refuse a folder that holds anything but what :func:`replacing_own` wrote there.

    Raises:
        InputError: it names what else is there, or was changed since.
    """
    folder = Path(folder)
    if folder.is_symlink() or not folder.is_dir():
        return check_output(folder, folder=True)
    try:
        check_input(folder / LIST)
        written = dict(json.loads((folder / LIST).read_bytes()))
    except (OSError, ValueError, TypeError):
        written = {}
    for name, digest in digests(folder).items():
        if written.get(name, '') != digest:
            raise InputError(
                f'{folder / name} is not as this command wrote it, and {folder} would be replaced; move it, or name '
                'another --work-dir'
            )


def digests(folder: Path) -> dict[str, str | None]:
    """SHA-256 of each file but the list itself; None for what is no file, such as a link."""
    paths = (path for path in sorted(folder.rglob('*')) if path.is_symlink() or not path.is_dir())
    return {
        path.relative_to(folder).as_posix(): None
        if path.is_symlink() or not path.is_file()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path != folder / LIST
    }
