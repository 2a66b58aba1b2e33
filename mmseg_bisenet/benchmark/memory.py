"""Peak memory of a piece of work."""

import multiprocessing
import re
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from mmseg_bisenet.errors import InputError


def peak_bytes(prepare: Callable[..., Callable[[], object]], *args: object, device: str = 'cpu') -> int:
    """How much more memory ``prepare(*args)()`` takes at its peak than ``prepare(*args)`` left behind.

    On the CPU it runs in a process of its own, whose resident memory the system counts: ``prepare`` is a function of a
    module, and ``args`` can be pickled. On a GPU it is what PyTorch's allocator counts, in this process.
    """
    if device.startswith('cuda'):
        return _on_gpu(prepare(*args))
    receiver, sender = multiprocessing.get_context('spawn').Pipe(duplex=False)
    process = multiprocessing.get_context('spawn').Process(target=_on_cpu, args=(sender, prepare, *args))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise MemoryError(
            f'{prepare.__name__}{args} ended with status {process.exitcode} or ran out of memory'
        ) from None
    finally:
        process.join()


def _on_gpu(work: Callable[[], object]) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _on_cpu(sender, prepare: Callable[..., Callable[[], object]], *args: object) -> None:
    work = prepare(*args)
    before = _high_water()
    work()
    sender.send(_high_water() - before)


def _high_water() -> int:
    status = Path('/proc/self/status')
    if status.exists():
        # `getrusage` would start at what the parent had when it forked.
        return 1024 * int(re.search(r'VmHWM:\s*(\d+) kB', status.read_text())[1])
    try:
        import resource
    except ImportError as error:
        raise InputError('peak memory cannot be measured on Windows; run this on Linux or a Mac') from error
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
