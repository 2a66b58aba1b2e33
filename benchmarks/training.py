"""Training steps a second and their peak memory, against MMSegmentation's network and loss, on one device.

Batches are made up and lie on the device with their labels: neither the loader nor the way to the GPU is in it
(``scaling.py`` has the loader). A step is what MMEngine's runner does with a batch: pre-processing, forward pass with
losses, backward pass and optimizer, which is the config's for all ways. On a GPU cuDNN chooses its convolutions by
trying them, as both our and stock's ``default_runtime.py`` let the runner do (``cudnn_benchmark``).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from benchmarks.scaling import made_up, without_precision
from mmseg_bisenet.benchmark import latency
from mmseg_bisenet.benchmark.memory import peak_bytes
from mmseg_bisenet.benchmark.stock import stock

WRAPPERS = {
    'fp32': dict(type='OptimWrapper'),
    'tf32': dict(type='OptimWrapper'),
    'amp-fp16': dict(type='AmpOptimWrapper', dtype='float16'),
    'amp-bf16': dict(type='mmseg_bisenet.BFloat16OptimWrapper'),
}
STOCK_LOSS = dict(type='CrossEntropyLoss', _scope_='mmseg')


@dataclass(frozen=True)
class Way:
    """How a network is trained.

    Args:
        network: ``'stock'``, ``'ours'``, or ``'ours, stock loss'``, which keeps full-size logits.
        precision: ``'fp32'``, ``'tf32'`` (convolutions and products of a GPU), ``'amp-fp16'`` or ``'amp-bf16'``.
        channels_last: weights and maps lie in memory pixel by pixel.
        compiled: the backbone, as ``CompileHook`` does it.
    """

    network: str
    precision: str
    channels_last: bool = False
    compiled: bool = False


def ways(device: str, compiled: bool) -> list[Way]:
    """What is compared on a device: at each precision stock first."""
    found = []
    for precision in ('fp32', 'tf32', 'amp-fp16', 'amp-bf16') if device == 'cuda' else ('fp32', 'amp-bf16'):
        found += [Way('stock', precision), Way('ours, stock loss', precision), Way('ours', precision)]
        found += [Way('ours', precision, channels_last=True)]
        found += [Way('ours', precision, channels_last=True, compiled=True)] if compiled else []
    return found


def measure(
    model: dict, optimizer: dict, compared: list[Way], batch: int, crop: tuple[int, int], steps: int, device: str
) -> list[dict]:
    """A row for each way: median milliseconds of interleaved steps, images a second, peak memory above weights and
    batch, and both ratios to stock at the same precision.

    Args:
        model: of a config of ours.
        optimizer: the config's ``optim_wrapper``.
        compared: in this order; the first of a precision is what its ratios are to.
        batch: images a step.
        crop: height and width of the images, in pixels.
        steps: of each that are timed, after two that are not.
        device: ``'cpu'`` or ``'cuda'``.

    Raises:
        InputError: MMSegmentation has no such network.
    """
    with latency.cudnn_benchmark(device):
        works = [prepare(way, model, optimizer, batch, crop, device) for way in compared]
        times = [[] for _ in works]
        for _ in range(2 + steps):
            for work, clock in zip(works, times, strict=True):
                start = latency.now(device)
                work()
                clock.append(1000 * (latency.now(device) - start))
        del works
        rows = []
        for way, clock in zip(compared, times, strict=True):
            ms = median(clock[2:])
            peak = peak_bytes(prepare, way, model, optimizer, batch, crop, device, device=device)
            row = asdict(way) | dict(batch=batch, height=crop[0], width=crop[1])
            row |= dict(cudnn_benchmark=torch.backends.cudnn.benchmark if device == 'cuda' else '')
            row |= dict(ms=ms, images_s=1000 * batch / ms, peak_mb=peak / 1e6)
            base = next((other for other in rows if other['precision'] == way.precision), row)
            row |= dict(speed_ratio=row['images_s'] / base['images_s'], memory_ratio=row['peak_mb'] / base['peak_mb'])
            rows.append(row)
    return rows


def prepare(
    way: Way, model: dict, optimizer: dict, batch: int, crop: tuple[int, int], device: str
) -> Callable[[], None]:
    """Build a segmentor with random weights; what is returned trains it by one step."""
    init_default_scope('mmseg')
    # By default it would pad to the config's own crop.
    model = model | dict(data_preprocessor=model['data_preprocessor'] | dict(size=crop))
    network = revert_sync_batchnorm(MODELS.build(_cfg(way, model))).to(device).train()
    if way.compiled:
        network.backbone.compile()
    optim = build_optim_wrapper(network, without_precision(optimizer) | WRAPPERS[way.precision])
    data = made_up(batch, crop, network.num_classes)
    data = {key: [each.to(device) for each in given] for key, given in data.items()}

    def step() -> None:
        with latency.tf32(way.precision == 'tf32'), optim.optim_context(network):
            losses = network(**network.data_preprocessor(data, training=True), mode='loss')
            loss, _ = network.parse_losses(losses)
        with latency.tf32(way.precision == 'tf32'):
            optim.update_params(loss)

    return step


def _cfg(way: Way, model: dict) -> dict:
    if way.network == 'stock':
        return stock(model)
    cfg = model | dict(channels_last=way.channels_last)
    if way.network == 'ours, stock loss':
        cfg['decode_head'] = cfg['decode_head'] | dict(loss_decode=STOCK_LOSS)
        cfg['auxiliary_head'] = [head | dict(loss_decode=STOCK_LOSS) for head in cfg['auxiliary_head'] or ()]
    return cfg
