"""Peak memory of a piece of work."""

import contextlib
import importlib
import multiprocessing
import re
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from mmseg_bisenet.errors import InputError

STATUS = Path('/proc/self/status')
CLEAR = Path('/proc/self/clear_refs')  # writing 5 resets the peak to what is resident now


def peak_bytes(prepare: Callable[..., Callable[[], object]], *args: object, device: str = 'cpu') -> int:
    """How much more memory ``prepare(*args)()`` takes at its peak than ``prepare(*args)`` left behind.

    On the CPU it runs in a process of its own, whose resident memory the system counts: ``prepare`` is a function of a
    module, and ``args`` can be pickled. On a GPU PyTorch's allocator counts it, in this process.
    """
    if device.startswith('cuda'):
        return _on_gpu(prepare(*args))
    return _in_child(_on_cpu, prepare, *args)


def held_bytes(prepare: Callable[[], Callable[[], object]], modules: Sequence[str] = (), device: str = 'cpu') -> int:
    """Peak memory of a process of its own while ``prepare()()`` runs, above what the process held before ``prepare()``.

    It includes weights and everything that stays allocated between two runs. On Linux, which can reset the count, it
    excludes what only building took. It excludes ``modules``, which are imported before if they are installed. On a GPU
    it is the memory that the driver reports as used: that includes CUDA graphs and TensorRT, which PyTorch's allocator
    does not count, and what other programs take meanwhile, but not the CUDA context of the process.
    """
    return _in_child(_held_on_gpu if device.startswith('cuda') else _held, prepare, modules)


def _in_child(measure: Callable, prepare: Callable, *args: object) -> int:
    receiver, sender = multiprocessing.get_context('spawn').Pipe(duplex=False)
    process = multiprocessing.get_context('spawn').Process(target=measure, args=(sender, prepare, *args))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise MemoryError(
            f'{getattr(prepare, "__name__", prepare)}{args} ended with status {process.exitcode} or ran out of memory'
        ) from None
    except KeyboardInterrupt:
        process.kill()
        raise
    finally:
        process.join()


def _on_gpu(work: Callable[[], object]) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _on_cpu(sender: Connection, prepare: Callable[..., Callable[[], object]], *args: object) -> None:
    work = prepare(*args)
    before = _high_water()
    work()
    sender.send(_high_water() - before)


def _held(sender: Connection, prepare: Callable[[], Callable[[], object]], modules: Sequence[str]) -> None:
    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    before = resident_bytes()
    work = prepare()
    work()  # the first run allocates what stays
    if CLEAR.exists():
        CLEAR.write_text('5')
    work()
    sender.send(_high_water() - before)


def _held_on_gpu(sender: Connection, prepare: Callable[[], Callable[[], object]], modules: Sequence[str]) -> None:
    before = _used()
    work = prepare()
    work()
    torch.cuda.empty_cache()  # frees what building took, and the first run to choose its convolutions
    work()  # the allocator keeps what it took from the driver, so the peak can still be read
    sender.send(_used() - before)


def _used() -> int:
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    return total - free


def resident_bytes(process: int | None = None) -> int:
    """What a process holds in memory, by default this one; where the system does not tell, this one's peak."""
    if not STATUS.exists():
        return _high_water()
    status = Path(f'/proc/{process}/status') if process else STATUS
    found: Any = re.search(r'VmRSS:\s*(\d+) kB', status.read_text())
    return 1024 * int(found[1])


def _high_water() -> int:
    if STATUS.exists():
        # `getrusage` would start at the peak of the parent process.
        found: Any = re.search(r'VmHWM:\s*(\d+) kB', STATUS.read_text())
        return 1024 * int(found[1])
    try:
        import resource
    except ImportError as error:
        raise InputError('peak memory cannot be measured on Windows; run this on Linux or macOS') from error
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
