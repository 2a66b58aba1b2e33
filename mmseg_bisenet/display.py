"""Whether a window can be opened, tried in a process of its own: Qt ends the one that asks if there is no display."""

import subprocess
import sys

from mmseg_bisenet.errors import InputError

SECONDS = 20  # for a display that does not answer; importing the library takes one or two
# The same modules as here, not those of the current folder; and no core file if Qt ends the process.
BEFORE = """
import sys
sys.path[:] = sys.argv[1:]
if sys.platform != 'win32':
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
"""


def require_window(code: str, fix: str) -> None:
    """Refuse ``--show`` if no window can be opened.

    Args:
        code: Python that opens a window, and fails if there is none.
        fix: what the user can do instead.

    Raises:
        InputError: with the first line of the library, or the exception.
    """
    command = [sys.executable, '-c', BEFORE + code, *sys.path]
    try:
        tried = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise InputError(f'--show cannot open a window (no answer within {SECONDS} s); {fix}') from error
    if tried.returncode:
        lines = [line for line in tried.stderr.decode(errors='replace').splitlines() if line.strip()] or ['no reason']
        reason = lines[-1] if tried.returncode > 0 else lines[0]
        raise InputError(f'--show cannot open a window ({reason}); {fix}')
