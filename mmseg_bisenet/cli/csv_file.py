"""``--csv FILE`` of the benchmarks."""

from pathlib import Path

from mmseg_bisenet.cli.config import require_writable
from mmseg_bisenet.errors import InputError


def require_csv(path: str | None) -> None:
    """Refuse a file that cannot be written, before the work rather than after it."""
    if not path:
        return
    if Path(path).is_dir():
        raise InputError(f'--csv {path} is a folder; name a file')
    require_writable('--csv', str(Path(path).parent))
