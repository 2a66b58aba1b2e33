"""Runtime ``executorch``: a program of ExecuTorch, ``.pte``, whose operators XNNPACK computes.

What XNNPACK does not have runs in ExecuTorch's own kernels: the conversion of pixels, the average pool, and labels.

Deviations:

- the bindings are imported directly: ``executorch.runtime`` imports the exporter too, which takes seconds;
- the number of threads is that of the first program in the process. ExecuTorch has one pool of threads, and programs
  that are loaded already would use freed memory if it were replaced.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmseg_bisenet.deploy.backends.base import Engine, Exported, FileBackend, default_threads, reading, write_beside
from mmseg_bisenet.deploy.packages import require_packages
from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    import torch

    from mmseg_bisenet.deploy.graph import Graph


class ExecuTorch(FileBackend):
    """ExecuTorch. Its bindings for Python take tensors, and are linked to PyTorch."""

    name = format = 'executorch'
    suffix = '.pte'
    precisions = ('fp32',)
    devices = ('cpu',)
    packages = ('executorch',)
    free_shapes = False

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._threads: int | None = None  # of the pool, once a program uses it

    def write(
        self, path: Path, graph: 'Graph', metadata: dict, images: Sequence[np.ndarray], keep_float: Sequence[str]
    ) -> None:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        from mmseg_bisenet.deploy.graph import contiguous, to_program

        program = to_program(contiguous(graph), tuple(metadata['shape']), dynamic=False)
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        path.write_bytes(lowered.to_executorch().buffer)
        write_beside([path], metadata)

    def open(
        self, exported: Exported, device: 'str | torch.device', throughput: bool = False, threads: int | None = None
    ) -> Engine:
        """Raises:
        InputError: also if ``threads`` is not the number that this process runs programs in.
        """
        import torch  # noqa: F401  the bindings need its libraries

        require_packages('executorch')
        from executorch.extension.pybindings import _C

        with self._lock:
            if self._threads is None:
                self._threads = threads or default_threads()
                if self._threads != _C._threadpool_get_thread_count():
                    _C._unsafe_reset_threadpool(self._threads)
        if threads not in (None, self._threads):
            raise InputError(
                f'threads={threads}: this process runs {self.name} in {self._threads}, as it was first loaded; leave '
                'threads out, or load in another process'
            )
        with reading(exported.path, self.name):
            method = _C._load_program(str(exported.path)).load_method('forward')
        lock = threading.Lock()  # a method serves one caller at a time

        def run(images: 'torch.Tensor') -> 'torch.Tensor':
            with lock:
                return method((images,))[0]

        return run
