"""The caller's settings of PyTorch that would change what a network computes, switched off while ours is built or runs.

They are autocast, inference mode, the default dtype and the default device.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def own_settings() -> Iterator[None]:
    """For building: as if the caller had set nothing. The default dtype is that of the whole process."""
    torch = sys.modules.get('torch')
    if not torch:  # nothing can be set, and files run without it
        yield
        return
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(without_autocast())
        stack.enter_context(torch.inference_mode(False))
        if torch.empty(0).device.type != 'cpu':
            stack.enter_context(torch.device('cpu'))
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        yield


@contextmanager
def without_autocast() -> Iterator[None]:
    """For running: a network computes in its own precision."""
    import torch

    with torch.autocast('cpu', enabled=False), torch.autocast('cuda', enabled=False):
        yield
