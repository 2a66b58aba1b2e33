"""Runtime ``torch``: the network rewritten for inference (``DeployNetwork``), run by PyTorch.

Settings:

- On CUDA cuDNN measures its convolutions for each shape and takes the fastest (``torch.backends.cudnn.benchmark``;
  https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html).
- On a CPU convolutions are Winograd's if these are faster: in fp32, and in bf16 on a CPU without AMX, whose matrix
  instructions are faster still.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmseg_bisenet.deploy.backends.base import Backend, Engine
from mmseg_bisenet.deploy.precision import cpu_has_tiles

if TYPE_CHECKING:
    import torch

    from mmseg_bisenet.models import BiSeNetSegmentor


class Torch(Backend):
    """The network rewritten for inference, in PyTorch."""

    name = 'torch'
    precisions: tuple[str, ...] = ('fp32', 'bf16', 'fp16')
    any_shape = True

    def build(
        self,
        segmentor: 'BiSeNetSegmentor',
        precision: str,
        shape: tuple[int, int],
        device: 'torch.device',
        images: Sequence[np.ndarray],
    ) -> Engine:
        """Raises:
        InputError: the network cannot be rewritten.
        """
        import torch

        from mmseg_bisenet.deploy.network import DTYPES, DeployNetwork
        from mmseg_bisenet.deploy.winograd import layer

        if device.type == 'cuda':
            torch.backends.cudnn.benchmark = True
        network = DeployNetwork(segmentor).to(device)
        if device.type == 'cpu' and _is_winograd_faster(precision):
            layer.use_winograd(network)  # in float32, before weights are rounded
        return network.to(DTYPES[precision])


def _is_winograd_faster(precision: str) -> bool:
    """Whether a quarter of the products takes less time."""
    return precision == 'fp32' or (precision == 'bf16' and not cpu_has_tiles())
