"""The methods that the benchmark compares, each from one uint8 image to its full-size labels.

``stock`` is MMSegmentation's own segmentor with its own network and the same weights. Names with ``plain-`` are the
plain export (:mod:`mmseg_bisenet.benchmark.plain`). The others are the runtimes of this package
(:func:`mmseg_bisenet.deploy.load`). On a GPU all compute fp32 without TF32. The protocol determines what is timed:

- ``ours``: everything, from the pixels (H, W, 3) to the labels (H, W). Stock gets the pixels as its loader leaves them,
  channels first, and ends with its int64 labels. On a GPU pixels and labels are tensors there.
- ``stock``: what ``tools/analysis_tools/benchmark.py`` of MMSegmentation 1.2.2 times. Its data preprocessor runs before
  the clock starts, in training mode as in that script, and pads images to ``data_preprocessor.size``. The other methods
  have no such part, and are timed whole, without padding. Deviations: one image throughout, from a street or a file
  instead of a data set; and results for fewer than 200 images.
- ``paper``: what the paper of BiSeNetV2 timed: the image is resized to half its size, and the labels back to its size,
  both timed. The paper does not say how labels are resized; here by nearest neighbour.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F

from mmseg_bisenet.benchmark import latency, plain
from mmseg_bisenet.benchmark.latency import Method
from mmseg_bisenet.benchmark.stock import stock
from mmseg_bisenet.deploy import load, quantize
from mmseg_bisenet.deploy.backends import RUNTIMES, FileBackend
from mmseg_bisenet.deploy.export import export
from mmseg_bisenet.deploy.precision import tf32
from mmseg_bisenet.deploy.predictor import Predictor
from mmseg_bisenet.miniscapes import draw_scene
from mmseg_bisenet.zoo import get_model

PROTOCOLS = ('ours', 'stock', 'paper')
STREETS = 20  # drawn to calibrate int8


@dataclass(frozen=True)
class Job:
    """What all methods have in common; it can be pickled.

    Args:
        config: path of the config.
        checkpoint: path of the weights.
        image: (H, W, 3) uint8, BGR.
        protocol: one of ``PROTOCOLS``.
        device: ``'cpu'`` or ``'cuda'``.
        folder: for files that a method writes once for all processes.
        calibration: a folder of images for int8; '' for drawn streets.
    """

    config: str
    checkpoint: str
    image: np.ndarray
    protocol: str
    device: str
    folder: str
    calibration: str = ''

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the network's input."""
        height, width = self.image.shape[:2]
        return (height // 2, width // 2) if self.protocol == 'paper' else (height, width)

    def pixels(self) -> Tensor | np.ndarray:
        """The image as our methods take it: on a GPU a tensor there."""
        return torch.from_numpy(self.image).to(self.device) if self.device != 'cpu' else self.image


def prepare(job: Job, runtime: str, precision: str) -> Method:
    """Build a method. A file that it runs is exported if it does not exist yet.

    Raises:
        InputError: this machine cannot run it.
    """
    if runtime == 'stock':
        return _stock(job)
    pixels, separate = job.pixels(), None
    run: Callable[[Any], Any]
    if runtime in plain.PRECISIONS:
        run = _plain(job, runtime, precision)
    else:
        run = predictor = _deployed(job, runtime, precision)
        if job.protocol != 'paper' and _stops_at_logits(predictor, pixels):
            separate = partial(_own_stages, predictor, pixels, job.device)
    if job.protocol == 'paper':
        run = halved(run, job.shape)
    return Method(runtime, precision, run, lambda: pixels, separate)


def prepare_work(job: Job, runtime: str, precision: str) -> Callable[[], object]:
    """A run of the method, to count its memory."""
    method = prepare(job, runtime, precision)
    return tf32(False)(lambda: method.work(method.setup()))


# -- MMSegmentation ----------------------------------------------------------------------------------------------------


def reference(job: Job, device: str) -> EncoderDecoder:
    """MMSegmentation's own segmentor with the weights; ours if it has no such network (see :func:`has_stock`)."""
    model = Config.fromfile(job.config).model.to_dict()
    if has_stock(model):
        model = stock(model)
    return latency.build(Config(dict(model=model | dict(auxiliary_head=None))), job.checkpoint, device)


def has_stock(model: dict) -> bool:
    """Whether MMSegmentation has a network of the same weights."""
    kinds = []
    for cfg in (stock(model), model):
        network = latency.build(Config(dict(model=cfg | dict(auxiliary_head=None))), None, 'meta')
        kinds.append({key: value.shape for key, value in network.state_dict().items()})
    return kinds[0] == kinds[1]


def _stock(job: Job) -> Method:
    model = reference(job, job.device)
    pixels = job.pixels()
    if job.protocol == 'paper':
        return Method('stock', 'fp32', halved(lambda image: _test_step(model, _pack(image)), job.shape), lambda: pixels)
    # The loader's last step makes such a copy, with the channels first.
    setup = partial(_pack, torch.as_tensor(pixels).permute(2, 0, 1).contiguous().permute(1, 2, 0))
    if job.protocol == 'stock':
        run = partial(_predict, model, choose=False)
        return Method('stock', 'fp32', run, lambda: model.data_preprocessor(setup(), True))
    return Method('stock', 'fp32', partial(_test_step, model), setup, lambda: stages(model, setup(), job.device))


def _pack(image: Tensor | np.ndarray) -> dict:
    """(H, W, 3) -> what a data loader gives."""
    pixels = torch.as_tensor(image).permute(2, 0, 1).contiguous()
    size = tuple(pixels.shape[1:])
    return dict(inputs=[pixels], data_samples=[SegDataSample(metainfo=dict(img_shape=size, ori_shape=size))])


def _test_step(model: EncoderDecoder, data: dict) -> Tensor:
    with _as_tested():
        return model.test_step(data)[0].pred_sem_seg.data[0]


def _predict(model: EncoderDecoder, data: dict, choose: bool = True) -> Tensor:
    with _as_tested(choose):
        return model(data['inputs'], data['data_samples'], mode='predict')[0].pred_sem_seg.data[0]


@contextlib.contextmanager
def _as_tested(choose: bool = True) -> Iterator[None]:
    """Whether cuDNN measures its algorithms: MMSegmentation's configs let it, its benchmark script does not."""
    flag, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, choose
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.cudnn.benchmark = flag


def stages(model: EncoderDecoder, data: dict, device: str) -> tuple[float, float, float]:
    """Milliseconds of pre-processing, of the network up to its logits at 1/8, and from there to labels."""
    ends = []
    hook = model.decode_head.conv_seg.register_forward_hook(lambda *_: ends.append(latency.now(device)))
    start = latency.now(device)
    data = model.data_preprocessor(data)
    ready = latency.now(device)
    _predict(model, data)
    done = latency.now(device)
    hook.remove()
    return 1000 * (ready - start), 1000 * (ends[-1] - ready), 1000 * (done - ends[-1])


def halved(run: Callable[[Any], Any], shape: tuple[int, int]) -> Callable[[Any], Any]:
    """``run`` on the image (H, W, 3) resized to ``shape``, and its labels resized back to (H, W)."""

    def on_cpu(image: np.ndarray) -> np.ndarray:
        labels = np.asarray(run(cv2.resize(image, shape[::-1], interpolation=cv2.INTER_LINEAR))).astype(np.uint8)
        return cv2.resize(labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)

    def on_gpu(image: Tensor) -> Tensor:
        small = F.interpolate(image.permute(2, 0, 1)[None].float(), shape, mode='bilinear')
        labels = run((small[0] + 0.5).byte().permute(1, 2, 0).contiguous())  # rounded as OpenCV does
        return F.interpolate(labels[None, None].byte(), image.shape[:2])[0, 0]

    return lambda image: on_gpu(image) if isinstance(image, Tensor) else on_cpu(image)


# -- the others --------------------------------------------------------------------------------------------------------


def _plain(job: Job, runtime: str, precision: str) -> Callable[[np.ndarray], np.ndarray]:
    path, quantized = Path(job.folder, 'plain.onnx'), Path(job.folder, 'plain_int8.xml')
    if not path.exists():
        plain.export(reference(job, 'cpu'), job.shape, path)
    if precision == 'int8' and not quantized.exists():
        plain.quantize(path, calibration(job), quantized)
    return plain.RUN[runtime](quantized if precision == 'int8' else path, precision)


def _deployed(job: Job, runtime: str, precision: str) -> Predictor:
    backend = RUNTIMES[runtime]
    if not isinstance(backend, FileBackend):
        given = iter(calibration(job) if precision == 'int8' else ())  # an iterator keeps none of the images
        return load(job.config, job.checkpoint, runtime, precision, job.shape, job.device, calibration=given)
    folder = Path(job.folder, runtime, precision)
    if not folder.exists():
        segmentor = get_model(job.config, job.checkpoint, device=job.device)
        images = calibration(job) if precision == 'int8' else ()
        export(segmentor, backend.format, precision, job.shape, folder, output_kind='logits', calibration=images)
    (file,) = folder.glob(f'*{backend.suffix}')
    return load(file, device=job.device)


def calibration(job: Job) -> list[np.ndarray]:
    """Images (H, W, 3) to calibrate int8, ours and that of the plain export alike."""
    if job.calibration:
        return [*quantize.read_images(quantize.find_images(job.calibration), job.shape, quantize.ENOUGH)]
    return [draw_scene(seed, job.shape)[0] for seed in range(1, STREETS + 1)]


@torch.inference_mode()
def _stops_at_logits(predictor: Predictor, pixels: Tensor | np.ndarray) -> bool:
    return not str(predictor.engine(predictor.batch(pixels)).dtype).endswith('uint8')


def _own_stages(predictor: Predictor, pixels: Tensor | np.ndarray, device: str) -> tuple[float, float, float]:
    """As :func:`stages`; there is no pre-processing, because the network contains it."""
    images = predictor.batch(pixels)
    start = latency.now(device)
    with torch.inference_mode():
        logits = predictor.engine(images)
    ready = latency.now(device)
    predictor.labels(logits, pixels.shape[:2])
    return 0.0, 1000 * (ready - start), 1000 * (latency.now(device) - ready)
