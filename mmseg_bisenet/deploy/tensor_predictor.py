"""The callable of PyTorch's engines: as :class:`~.predictor.Predictor`, on tensors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmseg_bisenet.deploy.backends.base import Backend, Engine
from mmseg_bisenet.deploy.predictor import Images, Predictor, reversed_channels
from mmseg_bisenet.models.inference.upsample_argmax import upsample_argmax
from mmseg_bisenet.surroundings import without_autocast


class TensorPredictor(Predictor):
    """An image -> its labels, by an engine of tensors.

    Args:
        device: of the engine.
        others: as in :class:`~.predictor.Predictor`.
    """

    def __init__(self, engine: Engine, backend: Backend, metadata: dict, *others: Any, device: str) -> None:
        super().__init__(engine, backend, metadata, *others)
        self._device = torch.device(device)
        self._whole = self._device.type == 'cuda' and backend.any_shape

    def batch(self, images: np.ndarray | Tensor) -> Tensor:
        """Images (H, W, 3) or (N, H, W, 3) on the device, with the strides that ``torch.compile`` checks."""
        if isinstance(images, np.ndarray):
            images = torch.from_numpy(np.require(images, requirements=['C', 'W']))  # it warns about read-only arrays
        batch = images.contiguous().view(-1).view(-1, *images.shape[-3:])
        if self._channel_order == 'rgb':
            on_cpu = batch.device.type == 'cpu'
            batch = torch.from_numpy(reversed_channels(batch.numpy())) if on_cpu else batch.flip(-1)
        return batch.to(self._device)

    def labels(self, output: Tensor, size: Sequence[int]) -> Tensor:
        """As in :class:`~.predictor.Predictor`. Not in inference mode, so that a caller may write into the labels."""
        return output.clone() if output.dtype == torch.uint8 else upsample_argmax(output, size, self.align_corners)

    def _parts(self, batch: Tensor) -> list:
        return [batch] if self._whole else list(batch.split(1))

    def _run(self, batch: Tensor) -> Tensor:
        with without_autocast():
            with torch.inference_mode():
                output = self.engine(batch)
            return self.labels(output, batch.shape[1:3])

    def _joined(self, parts: list) -> Tensor:
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _as(self, images: Images, labels: Tensor) -> Any:
        return labels.cpu().numpy() if isinstance(images, np.ndarray) else labels.to(images.device)
