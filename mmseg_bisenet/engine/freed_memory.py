"""Memory that a step of training frees is kept for the next step."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # names in malloc.h


def keep_freed_memory() -> None:
    """Let glibc keep the memory that this process frees, for what it allocates next.

    By default it returns large blocks to the system, and the system clears the pages of each new one: a quarter of the
    time of a training step on CPUs. A process then holds its peak until it ends. Without glibc nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)
