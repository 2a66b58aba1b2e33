"""Forked processes: PyTorch's threads do not survive a fork, and a child that uses several waits for them forever.

So a child of a process that has loaded a network computes in one thread, as PyTorch's data workers do.
"""

import os
import sys
import warnings

_guarded = _forked = False


def guard() -> None:
    """Let processes that are forked from now on use one thread of PyTorch."""
    global _guarded
    if not _guarded and hasattr(os, 'register_at_fork'):  # not on Windows, which does not fork
        os.register_at_fork(after_in_child=_in_child)
    _guarded = True


def set_threads(threads: int) -> None:
    """Set the number of PyTorch's threads; in such a child it stays one, with a warning."""
    if _forked and threads > 1:
        warnings.warn(
            f'threads={threads}: this process was forked from one that has loaded a network, so PyTorch uses 1 thread; '
            "start processes with multiprocessing.get_context('spawn')",
            stacklevel=2,
        )
        return
    sys.modules['torch'].set_num_threads(threads)


def _in_child() -> None:
    global _forked
    torch = sys.modules.get('torch')
    if torch and torch.get_num_threads() > 1:
        _forked = True
        torch.set_num_threads(1)
