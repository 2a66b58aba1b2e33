"""Images of any size, and sources, to results: the class for users.

    from mmseg_bisenet import Predictor

    result = Predictor('bisenetv2_camvid')('street.png')
    print(result.share())
    result.save('overlay.jpg')

It adds to the callable of :func:`mmseg_bisenet.deploy.load`: the choice of a runtime, reading, resizing to the
network's size and back, and results that draw and save themselves.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from mmseg_bisenet.errors import InputError, require_paths, require_texts
from mmseg_bisenet.predict.image import read_image, to_bgr
from mmseg_bisenet.predict.model import load_model
from mmseg_bisenet.predict.pipeline import Pipeline
from mmseg_bisenet.predict.result import Result
from mmseg_bisenet.predict.sources import Frame, find_sources
from mmseg_bisenet.predict.video import masked
from mmseg_bisenet.sizes import ASPECT, check_pixels, check_size, whole

if TYPE_CHECKING:
    from torch import Tensor

SHIPPED = 'bisenetv2_camvid'


class Predictor:
    """Images -> results.

    Args:
        model: a name of :func:`mmseg_bisenet.list_models`, the path of a config, or an exported file.
        checkpoint: weights; by default those of the model index.
        runtime: as in :func:`mmseg_bisenet.deploy.load`. By default that of the exported file, ``torch`` for a config,
            and for a name the first of :data:`mmseg_bisenet.predict.model.FASTEST` that is installed.
        precision: ``fp32`` (the default), ``bf16`` or ``fp16``; an exported file has its own, which may be ``int8``.
        height: of the network's input, in pixels; the width follows from the image. By default that of the test
            pipeline. An exported file of a fixed shape has its own, which images are resized to.
        device: ``cpu`` or ``cuda``; by default a GPU if PyTorch sees one. Exported files run on the CPU by default.
        channel_order: of arrays: ``bgr``, as OpenCV reads them, or ``rgb``.

    Attributes:
        classes, palette: names and RGB colours of the classes.
        runtime, precision: what runs the network.
        height: of the network's input.

    Raises:
        InputError: as :func:`mmseg_bisenet.deploy.load`; or a height that cannot be, or for a fixed shape.
    """

    def __init__(
        self,
        model: str | Path = SHIPPED,
        checkpoint: str | Path | None = None,
        *,
        runtime: str | None = None,
        precision: str | None = None,
        height: int | None = None,
        device: str | None = None,
        channel_order: str = 'bgr',
    ) -> None:
        require_texts(channel_order=channel_order)
        if channel_order not in ('bgr', 'rgb'):
            raise InputError(f'channel_order={channel_order!r} is not known; give bgr or rgb')
        if checkpoint is not None:
            require_paths(checkpoint=checkpoint)
        check_height(height)
        # In a thread that ends. OpenMP keeps a pool of threads for each thread that has computed, and with more of them
        # than cores it lets them sleep between two loops: whatever thread labels then takes a quarter longer.
        with ThreadPoolExecutor(1) as thread:
            self._segment = thread.submit(load_model, model, checkpoint, runtime, precision, device, height).result()
        self._segment.engine = self._engine = _Timed(self._segment.engine)
        self._rgb = channel_order == 'rgb'
        self.height = height or self._segment.shape[0]
        self.classes, self.palette = self._segment.classes, self._segment.palette
        self.runtime, self.precision = self._segment.runtime, self._segment.precision

    def __call__(self, image: 'str | Path | np.ndarray | Image.Image | Tensor') -> Result:
        """The result of one image, of the image's own size.

        Args:
            image: a path; an array (H, W, 3) uint8, BGR unless ``channel_order`` is ``rgb``; a picture of Pillow; or a
                tensor (3, H, W) uint8, RGB, as ``torchvision.io.read_image`` returns it. A path and a picture are
                turned upright by their EXIF orientation.

        Raises:
            InputError: the file cannot be read, or the image is of another type, shape or size.
        """
        if isinstance(image, str | Path):
            require_paths(image=image)
            if '://' in str(image) and not os.path.lexists(image):
                raise InputError(f'{masked(str(image))} is an address; give the path of a file, or stream the address')
            return self._result(read_image(image), Path(image).stem, path=Path(image).absolute())
        if isinstance(image, Image.Image):
            check_size('image', *image.size)
            return self._result(to_bgr(image))
        pixels, rgb = _array(image), self._rgb
        channels = 2
        if hasattr(image, 'permute'):
            channels, rgb = 0, True
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[channels] != 3 or 0 in pixels.shape:
            raise InputError(
                f'image of shape {pixels.shape} and type {pixels.dtype}: give an array (H, W, 3), or a tensor '
                '(3, H, W), of uint8'
            )
        pixels = np.moveaxis(pixels, channels, 2)[..., :: -1 if rgb else 1]
        check_size('image', *pixels.shape[1::-1])
        return self._result(np.ascontiguousarray(pixels))

    def stream(self, source: str | Path | int) -> Iterator[Result]:
        """Results of a source as they come; the next frames are read and labelled meanwhile.

        Args:
            source: an image, a folder, a glob, a video, a list (``.txt``), the number of a camera, or the address of a
                stream. Of a camera and a live stream, the newest frame is taken each time.

        Raises:
            InputError: the source cannot be read, or no further.
        """
        if isinstance(source, bool) or not isinstance(source, str | Path | int):
            raise InputError(f'stream reads a path, an address or the number of a camera, no {type(source).__name__}')
        stop = Event()
        try:
            pipeline = Pipeline(find_sources([source]), stop)
            for _, result in pipeline.results(self.label):
                yield result
            if pipeline.report.failures:
                raise InputError(pipeline.report.failures[0])
        finally:
            stop.set()

    def label(self, frame: Frame) -> Result:
        """The result of a frame; its ``times`` get ``network`` and ``labels``, which is resizing and argmax.

        On a GPU the network is still running when its call returns, so that only the sum of the two is right.
        """
        return self._result(frame.image, frame.name, frame.time, frame.times, frame.path)

    def _result(
        self,
        image: np.ndarray,
        name: str = 'image',
        seconds: float | None = None,
        times: dict | None = None,
        path: Path | None = None,
    ) -> Result:
        start = time.perf_counter()
        height, width = image.shape[:2]
        shape = self._segment.shape
        if self._segment.dynamic:
            shape = (self.height, max(1, round(self.height * width / height)))
            check_pixels(f'the input of the network for {name} at height {self.height}', *shape[::-1])
        resized = shape != (height, width)
        pixels = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA) if resized else image
        labels = self._segment(pixels)
        if resized:
            labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
        network = self._engine.last.seconds
        spent = dict(network=network * 1e3, labels=(time.perf_counter() - start - network) * 1e3)
        return Result(image, labels, self.classes, self.palette, name, seconds, (times or {}) | spent, path)


class _Timed:
    """An engine that notes how long its last call in a thread took."""

    def __init__(self, engine: Callable[[Any], Any]) -> None:
        self.engine, self.last = engine, threading.local()

    def __call__(self, images: Any) -> Any:
        start = time.perf_counter()
        output = self.engine(images)
        self.last.seconds = time.perf_counter() - start
        return output


def check_height(height: int | None) -> None:
    """Raises:
    InputError: it is no whole number, 0 or less, or too large for images of every shape.
    """
    if height is None:
        return
    try:
        height = whole(height)
    except TypeError as error:
        raise InputError(f'height={height!r}: give a whole number of pixels') from error
    if height < 1:
        raise InputError(f'--height {height}: give 1 or more')
    check_pixels(f'the narrowest input of the network at --height {height}', -(-height // ASPECT), height)


def _array(image: Any) -> np.ndarray:
    if not hasattr(image, 'dtype'):
        name = type(image).__name__
        raise InputError(f'image of type {name}: give a path, an array, a picture of Pillow or a tensor')
    try:
        return np.asarray(image.detach().cpu().resolve_neg() if hasattr(image, 'detach') else image)
    except (RuntimeError, TypeError) as error:  # on the meta device, sparse, of a type that NumPy lacks
        reason = str(error).partition('\n')[0]
        raise InputError(f'image: a tensor that holds no pixels ({reason}); give a dense one of uint8') from error
