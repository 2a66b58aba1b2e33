"""The CUDA graph of a network on a CPU: a stand-in for PyTorch's records operators and runs them again."""

import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mmseg_bisenet.deploy import cuda_graph
from mmseg_bisenet.deploy.cuda_graph import WARM_UP, CudaGraph
from mmseg_bisenet.models.inference.upsample_argmax import reference

SIZE = (8, 16)


class Graph(TorchDispatchMode):
    """Records the operators that run inside of it; ``replay`` runs them on the same memory, as a CUDA graph does."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, result))
        return result

    @torch.inference_mode()  # a graph knows no such modes
    def replay(self) -> None:
        for function, args, kwargs, result in self.calls:
            again = function(*args, **kwargs)
            if isinstance(result, Tensor) and again.data_ptr() != result.data_ptr():
                result.copy_(again)


@pytest.fixture
def log(monkeypatch) -> list[str]:
    """What is asked of streams and events."""
    log: list[str] = []

    def stream(name: str) -> SimpleNamespace:
        return SimpleNamespace(
            wait_stream=lambda other: log.append(f'{name} waits for {other.name}'),
            wait_event=lambda event: log.append(f'{name} waits for the event'),
            name=name,
        )

    @contextmanager
    def graph(recorded, stream, capture_error_mode):
        assert (stream.name, capture_error_mode) == ('side', 'thread_local')
        with recorded:
            yield

    current, side = stream('current'), stream('side')
    monkeypatch.setattr(torch.cuda, 'CUDAGraph', Graph)
    monkeypatch.setattr(torch.cuda, 'graph', graph)
    monkeypatch.setattr(torch.cuda, 'Stream', lambda: side)
    monkeypatch.setattr(torch.cuda, 'stream', lambda stream: contextmanager(lambda: iter([None]))())
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda: current)
    monkeypatch.setattr(
        torch.cuda, 'Event', lambda: SimpleNamespace(record=lambda: log.append('the event is recorded'))
    )
    return log


def segment(images: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 -> labels (N, H, W): which channel is the largest at 1/2 of the size."""
    return reference(images[:, ::2, ::2].permute(0, 3, 1, 2).float(), images.shape[1:3])


def drawn(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, *SIZE, 3), dtype=torch.uint8, generator=generator)


@pytest.fixture
def graph(log) -> CudaGraph:
    graph = CudaGraph(segment, torch.zeros(1, *SIZE, 3, dtype=torch.uint8))
    log.clear()
    return graph


def test_labels_of_the_function_that_was_recorded_once(log):
    calls = []
    graph = CudaGraph(lambda images: calls.append(images) or segment(images), drawn(0))
    assert log == ['side waits for current', 'current waits for side']
    for seed in range(3):
        assert torch.equal(graph(drawn(seed)), segment(drawn(seed)))
    assert len(calls) == WARM_UP + 1
    assert all(images is calls[0] for images in calls)


def test_labels_may_be_kept(graph):
    """Labels of a call are none of the graph's memory, which the next call writes."""
    first = graph(drawn(1))
    graph(drawn(2))
    assert torch.equal(first, segment(drawn(1)))


def test_images_and_callers_of_inference_mode(graph):
    with torch.inference_mode():
        assert torch.equal(graph(drawn(1).clone()), segment(drawn(1)))
    assert torch.equal(graph(drawn(2)), segment(drawn(2)))


def test_streams_wait_for_each_other(graph, log):
    graph(drawn(1))
    assert log == ['current waits for the event', 'the event is recorded']


def test_threads_call_one_after_the_other(graph, monkeypatch):
    """Without the lock a thread would get the labels of another one's image."""
    barrier, running, most, wrong = threading.Barrier(4), [], [], []
    replay = graph._graph.replay

    def counted() -> None:
        running.append(1)
        most.append(len(running))
        replay()
        running.pop()

    monkeypatch.setattr(graph._graph, 'replay', counted)

    def work(seed: int) -> None:
        barrier.wait()
        wrong.extend(i for i in range(5) if not torch.equal(graph(drawn(seed)), segment(drawn(seed))))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (max(most), len(most), wrong) == (1, 20, [])


def test_one_graph_is_recorded_at_a_time(log):
    """PyTorch allows one recording in a process."""
    held = []
    CudaGraph(lambda images: held.append(cuda_graph.recording.locked()) or segment(images), drawn(0))
    assert held == [True] * (WARM_UP + 1)
    assert not cuda_graph.recording.locked()
