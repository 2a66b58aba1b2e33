"""Runtime ``compile``: the network of runtime ``torch`` through ``torch.compile``, for images of one shape.

Settings (https://docs.pytorch.org/docs/stable/generated/torch.compile.html):

- Freezing makes the weights constants, which Inductor then packs for the kernels of the processor.
- On CUDA the mode is ``reduce-overhead``, which records CUDA graphs: launching a hundred small kernels takes as long as
  running them. ``max-autotune`` compiles for minutes, and mostly finds cuDNN's convolutions to be the fastest.
"""

from collections.abc import Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from mmseg_bisenet.deploy.backends.base import Engine
from mmseg_bisenet.deploy.backends.torch import Torch
from mmseg_bisenet.deploy.packages import require_torch
from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    import torch

    from mmseg_bisenet.models import BiSeNetSegmentor


class Compile(Torch):
    """The same through ``torch.compile``, frozen."""

    name = 'compile'
    any_shape = False

    def require_build(self, precision: str, device: 'torch.device') -> None:
        super().require_build(precision, device)
        require_torch('runtime compile')
        require_compiler()

    def build(
        self,
        segmentor: 'BiSeNetSegmentor',
        precision: str,
        shape: tuple[int, int],
        device: 'torch.device',
        images: Sequence[np.ndarray],
    ) -> Engine:
        return compiled(super().build(segmentor, precision, shape, device, images), shape, device)


def compiled(network: Engine, shape: tuple[int, int], device: 'torch.device') -> Engine:
    """The network, compiled for one image of ``shape``; on CUDA only one thread may call it."""

    import torch

    def run(images: torch.Tensor) -> torch.Tensor:
        return network(images)

    # Dynamo counts recompilations by code object, and runs the ninth network of one code object eagerly without an
    # error. So each network has a code object of its own.
    run = FunctionType(run.__code__.replace(), run.__globals__, closure=run.__closure__)
    options: dict[str, Any] = {'triton.cudagraphs': True} if device.type == 'cuda' else {}
    function = torch.compile(run, dynamic=False, options=options)
    images = torch.zeros(1, *shape, 3, dtype=torch.uint8, device=device)
    # Dynamo reads this setting too, before `options` apply; the first call compiles.
    with torch._inductor.config.patch(freezing=True), torch.inference_mode():
        function(images)
    return function


def require_compiler() -> None:
    """Raises:
    InputError: Inductor finds no compiler for C++.
    """
    from torch._inductor import cpp_builder

    try:
        cpp_builder.get_cpp_compiler()
    except RuntimeError as error:
        raise InputError(
            'runtimes compile and pt2 need a compiler for C++, and none was found; install g++, or set CXX'
        ) from error
