"""OpenVINO (2026.4) leaves the thread that compiles a network an alternate signal stack, and frees it later.

Python's handlers run on such a stack. The next signal that has one, of a data loader's worker that ends or of Ctrl-C,
then ends the process without a word.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Give this thread the signal stack back that it had before."""
    if os.name != 'posix':
        yield
        return
    libc = ctypes.CDLL(None)
    before = ctypes.create_string_buffer(64)  # a `stack_t`, which is 24 bytes
    libc.sigaltstack(None, before)
    try:
        yield
    finally:
        libc.sigaltstack(before, None)
