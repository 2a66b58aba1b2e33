"""Peak memory of known work."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed
from work import MB, breaks, holds

from mmseg_bisenet.benchmark import comparison, memory
from mmseg_bisenet.benchmark.latency import Method
from mmseg_bisenet.benchmark.memory import peak_bytes
from mmseg_bisenet.benchmark.methods import Job


def test_only_the_work_counts():
    # The kernel counts pages of a process in batches.
    assert 199 * MB < peak_bytes(holds, 100, 200) < 230 * MB


def test_work_that_fails_is_an_error():
    with pytest.raises(MemoryError, match='breaks'):
        peak_bytes(breaks)


class Gpu:
    """What a driver and PyTorch's allocator do, in megabytes; another program has 50 of its 1000."""

    def __init__(self) -> None:
        self.kept, self.cached, self.tensors = 50, 0, 0

    def take(self, megabytes: int) -> None:
        self.tensors += megabytes
        self.cached = max(self.cached, self.tensors)

    def leave(self, megabytes: int) -> None:
        self.tensors -= megabytes

    def synchronize(self) -> None:
        pass

    def empty_cache(self) -> None:
        self.cached = self.tensors

    def mem_get_info(self) -> tuple[int, int]:
        return (1000 - self.kept - self.cached) * MB, 1000 * MB


def test_the_peak_of_a_gpu_is_what_its_driver_has_no_longer_free(monkeypatch):
    gpu, sent = Gpu(), []
    monkeypatch.setattr(memory.torch, 'cuda', gpu)

    def prepare():
        gpu.take(100)  # weights
        gpu.take(300)  # only to build
        gpu.leave(300)
        gpu.kept += 30  # such as TensorRT's own

        def work():
            gpu.take(200)
            gpu.leave(200)

        return work

    memory._held_on_gpu(SimpleNamespace(send=sent.append), prepare, ())
    assert sent == [(100 + 30 + 200) * MB]


def test_a_gpu_is_counted_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setattr(memory, '_in_child', lambda measure, *others: measure)
    assert memory.held_bytes(breaks, device='cuda') is memory._held_on_gpu
    assert memory.held_bytes(breaks) is memory._held


def street() -> Job:
    return Job('', '', np.zeros((64, 64, 3), np.uint8), 'ours', 'cpu', '')


def test_any_other_failure_is_left_out_too(monkeypatch):
    """A compiler that fails, or memory that is full, costs no other method its row."""
    failures = dict(
        compile=BackendCompilerFailed('inductor', RuntimeError('C++ compile error\nand its output'), []),
        eager=torch.OutOfMemoryError('CUDA out of memory.\nTried'),
        openvino=MemoryError(),
    )

    def prepare(job, runtime, precision):
        def work(_):
            if runtime == 'eager':
                raise failures['eager']
            return np.zeros((2, 4), np.uint8)

        if runtime in ('compile', 'openvino'):
            raise failures[runtime]
        return Method(runtime, precision, work, lambda: None)

    def counted(prepare, modules, device):
        if prepare.args[1] == 'pt2':
            raise MemoryError('ended with status -9')
        return 3 * MB

    monkeypatch.setattr(comparison.methods, 'prepare', prepare)
    monkeypatch.setattr(comparison, 'held_bytes', counted)
    pairs = [(runtime, 'fp32') for runtime in ('stock', *failures, 'torch', 'pt2')]
    rows, left_out = comparison.compare(street(), pairs, 'stock', 1, 0)
    assert [(row['runtime'], row['peak_mb']) for row in rows] == [('stock', 3), ('torch', 3), ('pt2', '')]
    assert left_out == [
        'compile fp32 left out: C++ compile error',
        'eager fp32 left out: CUDA out of memory.',
        'openvino fp32 left out: MemoryError',
        'peak MB of pt2 fp32 left out: its process ended before that',
    ]
