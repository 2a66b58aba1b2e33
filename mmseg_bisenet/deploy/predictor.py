"""The callable that :func:`mmseg_bisenet.deploy.load` returns: checks images, runs them, makes labels from logits."""

from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from mmseg_bisenet.deploy.backends.base import Backend, Engine
from mmseg_bisenet.deploy.graph import SMALLEST
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.models.inference.upsample_argmax import upsample_argmax

Images = TypeVar('Images', np.ndarray, Tensor)


class Predictor:
    """An image -> its labels. Any number of threads may call it.

    On CUDA a runtime of any shape takes a batch as a whole. Otherwise images of a batch run one after the other: on a
    CPU a batch as a whole takes as long and more memory, and other runtimes were compiled for one image.

    Args:
        engine: (N, H, W, 3) uint8 tensor, BGR, on ``device`` -> logits, or labels in uint8.
        backend: that the engine is of.
        metadata: as :func:`mmseg_bisenet.deploy.metadata.read_metadata` returns them.
        device: of the engine.
        channel_order: of the images, ``bgr`` or ``rgb``.
        workers: threads that run images of a batch at the same time; by default one image at a time.

    Attributes:
        runtime, precision: as in ``load``.
        shape: height and width of the images that it was made for.
        dynamic: whether it takes other shapes too.
        classes, palette, num_classes: names, RGB colours and number of the classes.
        engine, align_corners: what runs the network, and how its logits are upsampled.
    """

    def __init__(
        self,
        engine: Engine,
        backend: Backend,
        metadata: dict,
        device: torch.device,
        channel_order: str = 'bgr',
        workers: int | None = None,
    ) -> None:
        self.runtime, self.precision = backend.name, metadata['precision']
        self.shape, self.dynamic = tuple(metadata['shape']), metadata['dynamic']
        self.classes, self.palette = tuple(metadata['classes']), metadata['palette']
        self.num_classes = metadata['num_classes']
        self.engine, self.align_corners = engine, metadata['align_corners']
        self._device, self._channel_order = device, channel_order
        self._any_shape = backend.any_shape
        self._whole = device.type == 'cuda' and backend.any_shape
        self._workers = workers and ThreadPoolExecutor(workers, thread_name_prefix=self.runtime)

    def __call__(self, images: Images) -> Images:
        """Labels of an image or a batch.

        Args:
            images: (H, W, 3) or (N, H, W, 3), uint8, an array, or a tensor on any device.

        Returns:
            (H, W) or (N, H, W), uint8: an array or a tensor as ``images`` is, on the same device.

        Raises:
            InputError: images of another type or shape.
        """
        self._check(images)
        batch = _contiguous(images)
        if self._channel_order == 'rgb':
            batch = _reversed(batch)
        batch = batch.to(self._device)
        if self._whole or len(batch) == 1:
            labels = self._labels(batch)
        else:
            run = self._workers.map if self._workers else map
            labels = torch.cat(list(run(self._labels, batch.split(1))))
        labels = labels[0] if images.ndim == 3 else labels
        return labels.to(images.device) if isinstance(images, Tensor) else labels.cpu().numpy()

    def _labels(self, batch: Tensor) -> Tensor:
        with torch.inference_mode():
            output = self.engine(batch)
        # Outside of inference mode, so that a caller may write into the labels.
        if output.dtype == torch.uint8:
            return output.clone()
        return upsample_argmax(output, batch.shape[1:3], self.align_corners)

    def _check(self, images: np.ndarray | Tensor) -> None:
        if not isinstance(images, np.ndarray | Tensor):
            raise InputError(f'image of type {type(images).__name__}: give an array or a tensor, as cv2.imread does')
        if images.dtype not in (np.uint8, torch.uint8):
            raise InputError(f'image of dtype {images.dtype}: give uint8, 0 to 255; the network normalises')
        if images.ndim not in (3, 4) or images.shape[-1] != 3 or 0 in images.shape:
            raise InputError(f'image of shape {tuple(images.shape)}: give (H, W, 3), or a batch (N, H, W, 3)')
        size = tuple(images.shape[-3:-1])
        if not self.dynamic and size != self.shape:
            raise InputError(
                f'image of {size[0]}x{size[1]}: runtime {self.runtime} was made for {self.shape[0]}x{self.shape[1]}; '
                f'resize the image, load with shape={size}, or export with --dynamic'
            )
        if self.dynamic and not self._any_shape and min(size) < SMALLEST:
            raise InputError(f'image of {size[0]}x{size[1]}: exported files take {SMALLEST} or more a side; enlarge it')


def _contiguous(images: np.ndarray | Tensor) -> Tensor:
    """(N, H, W, 3), with the default strides of that shape, which ``torch.compile`` checks."""
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(np.require(images, requirements=['C', 'W']))  # PyTorch warns about read-only arrays
    return images.contiguous().view(-1).view(-1, *images.shape[-3:])


def _reversed(images: Tensor) -> Tensor:
    """RGB as BGR."""
    if images.device.type != 'cpu':
        return images.flip(-1)
    # OpenCV takes a fiftieth of the time.
    return torch.from_numpy(cv2.cvtColor(images.view(-1, *images.shape[2:]).numpy(), cv2.COLOR_RGB2BGR)).view(
        images.shape
    )
