"""Time and peak memory of our test step against MMSegmentation's, with the same weights, on one made-up image.

A test step is what ``mim test`` does with an image: uint8 pixels to full-size labels. Stock is its ``EncoderDecoder``
with its own backbone and heads.
"""

from collections.abc import Callable
from statistics import median

import torch
from mmengine.config import Config
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_bisenet.benchmark import latency
from mmseg_bisenet.benchmark.memory import peak_bytes
from mmseg_bisenet.benchmark.stock import stock
from mmseg_bisenet.errors import InputError


def measure(model: dict, checkpoint: str | None, height: int, width: int, repeats: int, device: str) -> list[dict]:
    """A row for stock and one for ours.

    Each has the median milliseconds of interleaved runs, the peak memory above image and weights, both ratios to stock,
    and the share of pixels whose label is stock's.

    Args:
        model: of a config of ours.
        checkpoint: weights; by default random ones.
        height, width: of the image, in pixels.
        repeats: runs of each that are timed.
        device: ``'cpu'`` or ``'cuda'``.

    Raises:
        InputError: MMSegmentation has no such network.
    """
    models = dict(stock=stock(model), ours=model | dict(auxiliary_head=None))
    networks = {name: latency.build(Config(dict(model=cfg)), checkpoint, device) for name, cfg in models.items()}
    try:
        networks['ours'].load_state_dict(networks['stock'].state_dict())
    except RuntimeError as error:
        raise InputError(NO_COUNTERPART.format(model['backbone'])) from error
    works = {name: step(network, height, width) for name, network in networks.items()}
    times = {name: [] for name in works}
    for _ in range(repeats + 1):
        labels = {}
        for name, work in works.items():
            start = latency.now(device)
            labels[name] = work()
            times[name].append(1000 * (latency.now(device) - start))
    del networks, works
    rows = []
    for name, cfg in models.items():
        peak = peak_bytes(prepare, cfg, height, width, device, device=device)
        agreement = 100 * (labels[name] == labels['stock']).double().mean().item()
        rows.append(dict(segmentor=name, ms=median(times[name][1:]), peak_mb=peak / 1e6, same_labels=agreement))
    for row in rows:
        row.update(time_ratio=row['ms'] / rows[0]['ms'], memory_ratio=row['peak_mb'] / max(rows[0]['peak_mb'], 1e-6))
    return rows


NO_COUNTERPART = (
    'MMSegmentation has no network of the same weights as {}; take a config without paper, torchseg, coincheung, x39 '
    'or l in its name, such as bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'
)


def prepare(model: dict, height: int, width: int, device: str) -> Callable[[], Tensor]:
    """Build a segmentor with random weights, ready for its first image."""
    return step(latency.build(Config(dict(model=model)), None, device), height, width)


def step(network: nn.Module, height: int, width: int) -> Callable[[], Tensor]:
    """What is returned predicts the labels, (1, H, W), of one made-up image."""
    pixels = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(0)).byte()

    @torch.no_grad()
    def work() -> Tensor:
        sample = SegDataSample(metainfo=dict(img_shape=(height, width), ori_shape=(height, width)))
        return network.test_step(dict(inputs=[pixels], data_samples=[sample]))[0].pred_sem_seg.data

    return work
