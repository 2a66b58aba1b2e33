"""Runtime ``compile``: the network of runtime ``torch`` through ``torch.compile``, for images of one shape.

Settings (https://docs.pytorch.org/docs/stable/generated/torch.compile.html):

- Freezing makes the weights constants, which Inductor then packs for the kernels of the processor.
- On CUDA network and labels are one CUDA graph (:mod:`mmseg_bisenet.deploy.cuda_graph`). Mode ``max-autotune`` compiles
  for minutes, and mostly finds cuDNN's convolutions to be the fastest.
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

    from mmseg_bisenet.deploy.network import DeployNetwork
    from mmseg_bisenet.models import BiSeNetSegmentor


class Compile(Torch):
    """The same through ``torch.compile``, frozen; on CUDA as a CUDA graph that gives labels."""

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
        network: Any = super().build(segmentor, precision, shape, device, ())
        if device.type == 'cpu':
            _prepare(network)
        run = compiled(network, shape, device)
        if device.type == 'cpu':
            return run
        from mmseg_bisenet.deploy.cuda_graph import CudaGraph
        from mmseg_bisenet.models.inference.upsample_argmax import upsample_argmax

        align_corners = segmentor.align_corners

        def labels(images: 'torch.Tensor') -> 'torch.Tensor':
            return upsample_argmax(run(images), shape, align_corners)

        return CudaGraph(labels, _images(shape, device))


def _prepare(network: 'torch.nn.Module') -> None:
    """What makes Inductor's code for CPUs faster."""
    from mmseg_bisenet.deploy.max_pool import keep_max_pools
    from mmseg_bisenet.models.inference import tiling

    tiling.enable_compiled(network)
    keep_max_pools(network)


def compiled(network: 'DeployNetwork', shape: tuple[int, int], device: 'torch.device') -> Engine:
    """The network, compiled for one image of ``shape``."""
    import torch

    def run(pixels: torch.Tensor) -> torch.Tensor:
        return network.logits(pixels)

    # Dynamo counts recompilations by code object, and runs the ninth network of one code object eagerly without an
    # error. So each network has a code object of its own.
    run = FunctionType(run.__code__.replace(), run.__globals__, closure=run.__closure__)
    function = torch.compile(run, dynamic=False)
    # Dynamo reads this setting, so it cannot be one of the `options` of `torch.compile`. The first call compiles.
    with torch._inductor.config.patch(freezing=True), torch.inference_mode():
        function(_pixels(_images(shape, device)))
    return lambda images: function(_pixels(images))


def _images(shape: tuple[int, int], device: 'torch.device') -> 'torch.Tensor':
    """(1, *shape, 3), black."""
    import torch

    with torch.inference_mode(False):
        return torch.zeros(1, *shape, 3, dtype=torch.uint8, device=device)


def _pixels(images: 'torch.Tensor') -> 'torch.Tensor':
    """What is compiled takes images with their fourth channel: Inductor's code for a CPU adds it value by value.

    Not in inference mode: for tensors that were made in it Dynamo would compile again.
    """
    import torch

    from mmseg_bisenet.deploy.network import with_constant

    with torch.inference_mode(False):
        return with_constant(images)


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
