"""How long one image takes, from uint8 pixels to full-size labels, on a made-up image."""

import time
from dataclasses import asdict, dataclass

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn


@dataclass(frozen=True)
class Latency:
    """Milliseconds an image at batch 1, and frames a second.

    Pre-processing is the transfer to the device, channel order and normalisation; the network's time includes the
    upsampling of the logits and the argmax, and is all that MMSegmentation's own script times.
    """

    height: int
    width: int
    images: int
    preprocess_ms: float
    network_ms: float
    network_p90_ms: float
    total_ms: float

    @property
    def network_fps(self) -> float:
        return 1000 / self.network_ms

    @property
    def total_fps(self) -> float:
        return 1000 / self.total_ms

    def row(self) -> dict[str, float]:
        """All figures, for a line of CSV."""
        return asdict(self) | dict(network_fps=self.network_fps, total_fps=self.total_fps)


def build(cfg: Config, checkpoint: str | None, device: str) -> nn.Module:
    """The segmentor of ``cfg``, ready for prediction on one device."""
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    model = MODELS.build(cfg.model)
    if checkpoint:
        load_checkpoint(model, checkpoint, map_location='cpu', logger='silent')
    return revert_sync_batchnorm(model).eval().to(device)


@torch.no_grad()
def measure(model: nn.Module, height: int, width: int, images: int, warmup: int, device: str) -> Latency:
    """Medians over ``images`` timed runs, after ``warmup`` runs that are not counted."""
    pixels = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (3, height, width), dtype=np.uint8))
    meta = dict(img_shape=(height, width), ori_shape=(height, width))
    clock = []
    for _ in range(warmup + images):
        start = now(device)
        data = model.data_preprocessor(dict(inputs=[pixels], data_samples=[SegDataSample(metainfo=meta)]))
        ready = now(device)
        model(data['inputs'], data['data_samples'], mode='predict')
        clock.append((start, ready, now(device)))
    start, ready, end = np.array(clock[warmup:]).T * 1000
    return Latency(
        height,
        width,
        images,
        preprocess_ms=float(np.median(ready - start)),
        network_ms=float(np.median(end - ready)),
        network_p90_ms=float(np.percentile(end - ready, 90)),
        total_ms=float(np.median(end - start)),
    )


def now(device: str) -> float:
    """Seconds on a clock that only goes on when the device is done."""
    if device.startswith('cuda'):
        torch.cuda.synchronize()
    return time.perf_counter()
