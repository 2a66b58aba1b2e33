"""A process that keeps freed memory gets no cleared pages from the system for its next block."""

import resource

import pytest
import torch
from processes import CONTEXT
from toy import toy

from mmseg_bisenet.engine import freed_memory, train_loop
from mmseg_bisenet.engine.freed_memory import keep_freed_memory

SIZE = 2**24  # float32 values: 64 MB, more than glibc ever keeps by default


def pages(connection, keep: bool) -> None:
    """Send the fewest pages that the system gave for one of ten blocks; each was freed before the next."""
    if keep:
        keep_freed_memory()
    counts = []
    for _ in range(10):  # small blocks between them may take the place of one
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(SIZE)
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    connection.send(min(counts))


def counted(keep: bool) -> int:
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=pages, args=(sender, keep))
    process.start()
    sender.close()
    count = receiver.recv()
    process.join()
    return count


def test_a_block_is_used_again():
    assert counted(keep=False) >= 32  # huge pages of 2 MB, or small ones
    assert counted(keep=True) < 16


@pytest.mark.parametrize(('device', 'kept'), [('cpu', 1), ('cuda', 0)])
def test_a_training_on_a_cpu_keeps_it(tmp_path, monkeypatch, device, kept):
    calls = []
    monkeypatch.setattr(train_loop, 'keep_freed_memory', lambda: calls.append(1))
    runner = toy(tmp_path)
    loop = runner.build_train_loop(runner._train_loop)  # before the device is another
    assert calls == []
    monkeypatch.setattr(train_loop, 'get_device', lambda: device)
    monkeypatch.setattr(runner, 'call_hook', lambda *_: 1 / 0)  # the first thing after it
    with pytest.raises(ZeroDivisionError):
        loop.run()
    assert len(calls) == kept


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(freed_memory.sys, 'platform', 'darwin')
    monkeypatch.setattr(freed_memory.ctypes, 'CDLL', lambda _: 1 / 0)
    keep_freed_memory()
    monkeypatch.setattr(freed_memory.sys, 'platform', 'linux')
    monkeypatch.setattr(freed_memory.ctypes, 'CDLL', lambda _: object())
    keep_freed_memory()
