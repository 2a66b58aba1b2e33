"""Runtime ``pt2``: a package of AOTInductor, machine code that PyTorch runs without the network's Python code.

Settings (https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html): freezing lays the weights out for the
kernels when the file is written.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmseg_bisenet.deploy.backends.base import Engine, Exported, FileBackend, reading, write_beside
from mmseg_bisenet.deploy.backends.compile import require_compiler
from mmseg_bisenet.deploy.forks import set_threads

if TYPE_CHECKING:
    import torch

    from mmseg_bisenet.deploy.graph import Graph


class AOTInductor(FileBackend):
    """AOTInductor. Writing a file needs a compiler for C++, running it does not."""

    name = format = 'pt2'
    suffix = '.pt2'
    precisions = ('fp32', 'bf16', 'fp16')
    traced_on_device = True

    def require_build(self, precision: str, device: 'torch.device') -> None:
        super().require_build(precision, device)
        require_compiler()
        self.require_machine(precision, device)

    def write(
        self, path: Path, graph: 'Graph', metadata: dict, images: Sequence[np.ndarray], keep_float: Sequence[str]
    ) -> None:
        import torch

        from mmseg_bisenet.deploy.graph import to_program

        program = to_program(graph, tuple(metadata['shape']), metadata['dynamic'])
        options = dict(freezing=True)
        torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=options)
        metadata['device'] = next(graph.parameters()).device.type
        write_beside([path], metadata)

    def open(
        self, exported: Exported, device: 'str | torch.device', throughput: bool = False, threads: int | None = None
    ) -> Engine:
        """On the current GPU if ``device`` has no index."""
        import torch

        if threads:
            set_threads(threads)
        index = torch.device(device).index
        place: dict[str, Any] = {} if index is None else dict(device_index=index)  # PyTorch 2.6 does not know it
        with reading(exported.path, self.name):
            package = torch._inductor.aoti_load_package(str(exported.path), **place)
        return lambda images: _first(package(images))


def _first(outputs: 'torch.Tensor | tuple[torch.Tensor, ...]') -> 'torch.Tensor':
    return outputs[0] if isinstance(outputs, tuple | list) else outputs
