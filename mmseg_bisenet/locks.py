"""One run at a time in a folder."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    from filelock import BaseFileLock

PATIENCE = 6  # seconds; data workers of a killed run hold its lock until they miss it, which takes up to 5


def lock(folder: str | Path, kind: str) -> 'BaseFileLock | None':
    """Keep other processes from the same kind of run in ``folder``, until the lock is released or this process ends.

    This process may take it again. A file ``.KIND.lock`` stays in the folder. Where the file system has no locks, a
    warning says so.

    Args:
        kind: of the run, ``train`` or ``test``.

    Raises:
        InputError: another process has the lock.
    """
    from filelock import FileLock, Timeout

    held = FileLock(Path(folder, f'.{kind}.lock'), is_singleton=True)
    try:
        held.acquire(timeout=PATIENCE)
    except Timeout as error:
        raise InputError(
            f'work dir {folder} is in use by another {kind}; wait until it ends, or name another --work-dir'
        ) from error
    except (OSError, NotImplementedError) as error:
        warnings.warn(f'{folder} cannot be locked ({error}): start no second {kind} there', stacklevel=2)
        return None
    return held
