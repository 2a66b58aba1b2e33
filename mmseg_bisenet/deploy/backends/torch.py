"""Runtime ``torch``: the network rewritten for inference (``DeployNetwork``), run by PyTorch.

Settings:

- On CUDA cuDNN measures its convolutions for each shape and takes the fastest (``torch.backends.cudnn.benchmark``;
  https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html).
- On a CPU convolutions are Winograd's if these are faster: in fp32 and int8, and in bf16 on a CPU without AMX, whose
  matrix instructions are faster still.
- int8 is of Winograd's convolutions only. The rest of the network computes in bf16 if the CPU has it, otherwise in
  fp32.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmseg_bisenet.deploy.backends.base import Backend, Engine
from mmseg_bisenet.deploy.precision import cpu_has, cpu_has_tiles
from mmseg_bisenet.errors import InputError

if TYPE_CHECKING:
    import torch

    from mmseg_bisenet.deploy.network import DeployNetwork
    from mmseg_bisenet.models import BiSeNetSegmentor


class Torch(Backend):
    """The network rewritten for inference, in PyTorch."""

    name = 'torch'
    precisions = ('fp32', 'bf16', 'fp16', 'int8')
    any_shape = True

    def require_build(self, precision: str, device: 'torch.device') -> None:
        from mmseg_bisenet.deploy.winograd import layer

        if precision == 'int8' and not (device.type == 'cpu' and _has_custom_operators() and layer.has_int8()):
            from mmseg_bisenet.deploy.backends import FORMATS  # the list imports this file

            others = [file.name for file in FORMATS.values() if 'int8' in file.precisions and 'cpu' in file.devices]
            raise InputError(
                f'runtime {self.name}: int8 needs a CPU with AVX-512-VNNI, Linux, Numba and PyTorch 2.4 or newer, and '
                f'one of these is missing here; choose {" or ".join(others)}'
            )

    def build(
        self,
        segmentor: 'BiSeNetSegmentor',
        precision: str,
        shape: tuple[int, int],
        device: 'torch.device',
        images: Sequence[np.ndarray],
    ) -> Engine:
        """Raises:
        InputError: the network cannot be rewritten, or in int8 loses too many labels.
        """
        import torch

        from mmseg_bisenet.deploy.network import DTYPES, DeployNetwork
        from mmseg_bisenet.deploy.winograd import layer

        if device.type == 'cuda':
            torch.backends.cudnn.benchmark = True
        network = DeployNetwork(segmentor).to(device)
        if device.type == 'cpu' and _is_winograd_faster(precision):
            layer.use_winograd(network)  # in float32, before weights are rounded
        return self._in_int8(network, images) if precision == 'int8' else network.to(DTYPES[precision])

    def _in_int8(self, network: 'DeployNetwork', images: Sequence[np.ndarray]) -> 'DeployNetwork':
        """The network with Winograd's products in int8, verified as exported files are.

        Raises:
            InputError: too few of its labels are those of float32.
        """
        import torch

        from mmseg_bisenet.deploy import verify
        from mmseg_bisenet.deploy.winograd import layer

        exact = copy.deepcopy(network)
        layer.use_int8(network, (torch.from_numpy(image)[None] for image in images))
        network = network.to(torch.bfloat16 if cpu_has('bf16') else torch.float32)
        fix = 'calibrate with other images, or take another precision'
        metadata = dict(precision='int8', output_kind='logits')
        batches = verify.batches(images, images[0].shape[:2])
        verify.require(self.on_arrays(network, 'cpu'), exact, batches, metadata, 'int8', fix)
        return network


def _is_winograd_faster(precision: str) -> bool:
    """Whether a quarter of the products takes less time; and whether this PyTorch can run them."""
    faster = precision in ('fp32', 'int8') or (precision == 'bf16' and not cpu_has_tiles())
    return faster and _has_custom_operators()


def _has_custom_operators() -> bool:
    import torch

    return hasattr(torch.library, 'custom_op')  # from PyTorch 2.4 on
