"""The callable that :func:`mmseg_bisenet.deploy.load` returns: checks images, runs them, makes labels from logits.

It runs engines of arrays, and needs no PyTorch (:mod:`~.tensor_predictor` has that of PyTorch's engines).
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, Union

import cv2
import numpy as np

from mmseg_bisenet.deploy.backends.base import SMALLEST, Backend, Engine, default_threads
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.palette import colours_for
from mmseg_bisenet.upsampling import upsample_argmax

if TYPE_CHECKING:
    from torch import Tensor

Images = TypeVar('Images', bound=Union[np.ndarray, 'Tensor'])


class Predictor:
    """An image -> its labels. Any number of threads may call it.

    On CUDA a runtime of any shape takes a batch as a whole. Otherwise images of a batch run one after the other: on a
    CPU a batch as a whole takes as long and more memory, and other runtimes were compiled for one image.

    Args:
        engine: images (N, H, W, 3) uint8, BGR -> logits, or labels in uint8.
        backend: that the engine is of.
        metadata: as :func:`mmseg_bisenet.deploy.metadata.read_metadata` returns them.
        channel_order: of the images, ``bgr`` or ``rgb``.
        threads: that make labels from logits.
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
        channel_order: str = 'bgr',
        threads: int | None = None,
        workers: int | None = None,
    ) -> None:
        self.runtime, self.precision = backend.name, metadata['precision']
        self.shape, self.dynamic = tuple(metadata['shape']), metadata['dynamic']
        self.classes, self.num_classes = tuple(metadata['classes']), metadata['num_classes']
        self.palette = colours_for(self.num_classes, metadata['palette'])
        self.engine, self.align_corners = engine, metadata['align_corners']
        self._channel_order, self._any_shape, self._in_openmp = channel_order, backend.any_shape, backend.in_openmp
        self._threads = threads or default_threads()
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
        parts = self._parts(self.batch(images))
        run = self._workers.map if self._workers and len(parts) > 1 else map
        labels = self._joined(list(run(self._run, parts)))
        return self._as(images, labels[0] if images.ndim == 3 else labels)

    def batch(self, images: Any) -> Any:
        """Images (H, W, 3) or (N, H, W, 3) as the engine takes them."""
        array = images.cpu().numpy() if _is_tensor(images) else images
        # A runtime may share its memory with the array, which may be read-only.
        array = np.require(array, requirements=['C', 'W']).reshape(-1, *images.shape[-3:])
        return reversed_channels(array) if self._channel_order == 'rgb' else array

    def labels(self, output: Any, size: Sequence[int]) -> Any:
        """What the engine gave, as labels (N, H, W) uint8 of that size (H, W), which a caller may keep and write."""
        if output.dtype == np.uint8:
            return output.copy()
        return upsample_argmax(output, size, self.align_corners, self._threads, self._in_openmp)

    def _parts(self, batch: Any) -> list:
        return [batch[i : i + 1] for i in range(len(batch))]

    def _run(self, batch: Any) -> Any:
        return self.labels(self.engine(batch), batch.shape[1:3])

    def _joined(self, parts: list) -> Any:
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _as(self, images: Images, labels: Any) -> Any:
        return sys.modules['torch'].from_numpy(labels).to(images.device) if _is_tensor(images) else labels

    def _check(self, images: Any) -> None:
        if not (isinstance(images, np.ndarray) or _is_tensor(images)):
            raise InputError(f'image of type {type(images).__name__}: give an array or a tensor, as cv2.imread does')
        if _is_tensor(images) and (images.is_meta or str(images.layout) != 'torch.strided'):
            raise InputError('image is a tensor of the meta device, or sparse; give one that holds its pixels')
        if str(images.dtype).removeprefix('torch.') != 'uint8':
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
            raise InputError(
                f'image of {size[0]}x{size[1]}: exported files take {SMALLEST} or more a side; enlarge it '
                '(predict: with --height)'
            )


def _is_tensor(images: Any) -> bool:
    return 'torch' in sys.modules and isinstance(images, sys.modules['torch'].Tensor)


def reversed_channels(images: np.ndarray) -> np.ndarray:
    """RGB (N, H, W, 3) as BGR. OpenCV is fifty times as fast as NumPy."""
    return cv2.cvtColor(images.reshape(-1, *images.shape[2:]), cv2.COLOR_RGB2BGR).reshape(images.shape)
