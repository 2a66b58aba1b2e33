"""The runtimes, one file each. This list is the only one: everything else that names runtimes or formats reads it."""

from typing import TYPE_CHECKING

from mmseg_bisenet.deploy.backends.base import Backend, Exported, FileBackend
from mmseg_bisenet.deploy.backends.compile import Compile
from mmseg_bisenet.deploy.backends.eager import Eager
from mmseg_bisenet.deploy.backends.executorch import ExecuTorch
from mmseg_bisenet.deploy.backends.litert import LiteRT
from mmseg_bisenet.deploy.backends.ncnn import Ncnn
from mmseg_bisenet.deploy.backends.onnxruntime import ONNXRuntime
from mmseg_bisenet.deploy.backends.openvino import OpenVINO
from mmseg_bisenet.deploy.backends.pt2 import AOTInductor
from mmseg_bisenet.deploy.backends.tensorrt import TensorRT
from mmseg_bisenet.deploy.backends.torch import Torch
from mmseg_bisenet.deploy.backends.vnni import Vnni
from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ['BACKENDS', 'FORMATS', 'RUNTIMES', 'Backend', 'Exported', 'FileBackend', 'require']

BACKENDS = (
    Eager(),
    Torch(),
    Compile(),
    ONNXRuntime(),
    OpenVINO(),
    Vnni(),
    AOTInductor(),
    TensorRT(),
    LiteRT(),
    ExecuTorch(),
    Ncnn(),
)
RUNTIMES = {backend.name: backend for backend in BACKENDS}
FORMATS = {backend.format: backend for backend in BACKENDS if isinstance(backend, FileBackend)}


def require(runtime: str, precision: str, device: 'str | torch.device') -> Backend:
    """The runtime of that name, if it runs here in that precision on that device.

    Raises:
        InputError: no such runtime or precision, or a device or precision that this machine lacks.
    """
    if runtime not in RUNTIMES:
        raise InputError(f'runtime {runtime!r} is not known; choose one of {", ".join(RUNTIMES)}')
    backend = RUNTIMES[runtime]
    if precision not in backend.precisions:
        others = [other.name for other in BACKENDS if precision in other.precisions]
        fix = f'; {precision} is of {", ".join(others)}' if others else ''
        raise InputError(
            f'runtime {runtime} does not compute in {precision!r}; choose {" or ".join(backend.precisions)}{fix}'
        )
    backend.require_machine(precision, device)
    return backend
