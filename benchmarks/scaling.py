"""What limits training on many GPUs: loader, step and all-reduce as measured, and a model of what follows from them.

The model (:func:`expect`) has these parts and no more:

- Each GPU has the same batch, whatever their number, and takes the same time for a step.
- Gradients travel by ring all-reduce: each process sends ``2 (n - 1) / n`` of their bytes, in ``2 (n - 1)`` messages.
- They travel after the backward pass (the lower bound of the efficiency), or as soon as the backward pass starts and
  hidden by it as far as it lasts (the upper bound). DDP sends them in buckets while it goes on, and lies in between.

Not in it: SyncBN's two small messages for each norm layer and step, evaluation, and processes that wait for a slow one.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, barrier, get_rank, get_world_size, is_distributed
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmengine.utils.dl_utils import set_multi_processing
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_bisenet.benchmark import latency
from mmseg_bisenet.benchmark.tables import markdown

COUNTS = (1, 2, 4, 8, 16, 32, 64)
LATENCY = 1e-5  # seconds a message, where the network was not measured: an assumption, of the order of NCCL's


# -- the model ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """What a ring is made of: bytes a second on its slowest link, and seconds a message."""

    bandwidth: float
    latency: float = LATENCY

    def all_reduce(self, size: float, processes: int) -> float:
        """Seconds that a ring all-reduce of ``size`` bytes takes."""
        steps = 2 * (processes - 1)
        return steps / processes * size / self.bandwidth + steps * self.latency

    @classmethod
    def from_times(cls, size: int, processes: int, large: float, small: float) -> 'Network':
        """The inverse: from the seconds that ``size`` bytes take, and those of a message without content."""
        steps = 2 * (processes - 1)
        return cls(steps / processes * size / max(large - small, 1e-9), small / steps)


@dataclass(frozen=True)
class Step:
    """Seconds that one process takes for the parts of a training step, without any communication."""

    forward: float
    backward: float
    optimizer: float

    @property
    def total(self) -> float:
        return self.forward + self.backward + self.optimizer


@dataclass(frozen=True)
class Expectation:
    """Of ``gpus`` GPUs: seconds of the all-reduce, and bounds of the efficiency, in (0, 1]."""

    gpus: int
    all_reduce: float
    low: float
    high: float


def expect(step: Step, size: int, network: Network, gpus: int) -> Expectation:
    """The efficiency is the time of a step on one GPU over the time on ``gpus``; gradients are of ``size`` bytes."""
    travel = network.all_reduce(size, gpus)
    exposed = max(0.0, travel - step.backward)
    return Expectation(gpus, travel, step.total / (step.total + travel), step.total / (step.total + exposed))


def expect_all(measured: 'Measured', network: Network | None) -> list[Expectation]:
    """For each of ``COUNTS``; without a network, for one GPU."""
    counts = COUNTS if network else COUNTS[:1]
    network = network or Network(math.inf)
    return [expect(measured.step, measured.gradient_bytes, network, gpus) for gpus in counts]


def workers_needed(step_rate: float, loader_rate: float) -> int:
    """Data workers for one GPU, from images a second that it trains and that one worker loads."""
    return math.ceil(step_rate / loader_rate)


# -- measurements ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """What the processes of this run did at the same time, in seconds of the slowest; bytes; images a second.

    ``step`` is without communication, ``together`` with DDP, all-reduce included.
    """

    processes: int
    batch: int
    loader_rate: float | None
    step: Step
    gradient_bytes: int
    all_reduce: float | None
    network: Network | None
    together: float | None

    @property
    def step_rate(self) -> float:
        """Images a second of one process, alone."""
        return self.batch / self.step.total


def measure(cfg: Config, device: str, steps: int, load: bool) -> Measured:
    """Medians over ``steps`` batches, steps and all-reduces each, after some that are not counted.

    In fp32, on a made-up batch of the config's size and crop; every process calls it. ``load`` if the data exist.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    set_multi_processing(**cfg.env_cfg.get('mp_cfg', {}), distributed=is_distributed())
    loader_rate = loader(cfg, steps) if load and get_rank() == 0 else None
    barrier()
    batch = cfg.train_dataloader.batch_size
    data = made_up(batch, cfg.model.data_preprocessor.size, _classes(cfg))
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).to(device)  # alone, it must not wait for others
    size = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    if not is_distributed():
        ((*alone,),) = _steps(cfg, [model], data, device, steps)
        return Measured(1, batch, loader_rate, Step(*alone), size, None, None, None)
    options = dict(device_ids=None if device == 'cpu' else [torch.cuda.current_device()], broadcast_buffers=False)
    parallel = MODELS.build(cfg.model) if device == 'cuda' else revert_sync_batchnorm(MODELS.build(cfg.model))
    wrapped = MMDistributedDataParallel(parallel.to(device), **options)
    alone, together = _slowest(_steps(cfg, [model, wrapped], data, device, steps))
    large, small = _slowest([_travel(size, device, steps), _travel(4, device, 4 * steps)])
    network = Network.from_times(size, get_world_size(), large, small)
    return Measured(get_world_size(), batch, loader_rate, Step(*alone), size, large, network, sum(together))


def _classes(cfg: Config) -> int:
    # A stock segmentor has them in its heads.
    return cfg.model.get('num_classes') or cfg.model.decode_head.num_classes


def loader(cfg: Config, batches: int) -> float:
    """Images a second of one data worker, through the config's own data set, pipeline and sampler."""
    one = dict(num_workers=1, persistent_workers=False)
    iterator = iter(Runner.build_dataloader(cfg.train_dataloader | one, seed=0))
    clock = []
    for _ in range(4 + batches):  # the worker starts two ahead; later ones arrive as fast as it makes them
        next(iterator)
        clock.append(time.perf_counter())
    return cfg.train_dataloader.batch_size / float(np.median(np.diff(clock[3:])))


def made_up(batch: int, size: tuple[int, int], classes: int) -> dict:
    """uint8 images and labels of random pixels, as the data pipeline packs them."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(batch):
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, classes, (1, *size), generator=generator))
        samples.append(sample)
    pixels = torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, generator=generator)
    return dict(inputs=list(pixels), data_samples=samples)


def without_precision(optim_wrapper: dict) -> dict:
    """A config's optimizer and its rules, without what makes it mixed precision."""
    return {key: optim_wrapper[key] for key in ('optimizer', 'paramwise_cfg', 'constructor') if key in optim_wrapper}


def _steps(cfg: Config, models: Sequence[nn.Module], data: dict, device: str, steps: int) -> list[list[float]]:
    """Median seconds of forward pass with loss, of backward pass, and of the optimizer; for each model, in turns."""
    options = without_precision(cfg.optim_wrapper)
    optims = [build_optim_wrapper(model.train(), dict(type='OptimWrapper', **options)) for model in models]
    clock = []
    for _ in range(2 + steps):
        for model, optim in zip(models, optims, strict=True):
            module = getattr(model, 'module', model)
            barrier()
            clock.append([latency.now(device)])
            losses = model(**module.data_preprocessor(data, training=True), mode='loss')
            loss, _ = module.parse_losses(losses)
            clock[-1].append(latency.now(device))
            optim.backward(loss)
            clock[-1].append(latency.now(device))
            optim.step()
            optim.zero_grad()
            clock[-1].append(latency.now(device))
    seconds = np.diff(clock).reshape(2 + steps, len(models), 3)
    return np.median(seconds[2:], axis=0).tolist()


def _travel(size: int, device: str, times: int) -> float:
    """Median seconds of an all-reduce of ``size`` bytes."""
    content = torch.zeros(size // 4, device=device)
    clock = []
    for _ in range(2 + times):
        barrier()
        start = latency.now(device)
        all_reduce(content)
        clock.append(latency.now(device) - start)
    return float(np.median(clock[2:]))


def _slowest(seconds: list) -> list:
    """The largest of all processes, for each of the figures."""
    seconds = torch.tensor(seconds, dtype=torch.float64)
    all_reduce(seconds, 'max')
    return seconds.tolist()


# -- tables ------------------------------------------------------------------------------------------------------------


def measured_table(measured: Measured, no_loader: str = '') -> str:
    """A line for each part; ``no_loader`` says why that was not measured."""
    m, step = measured, measured.step
    lines = [
        ('loader, one worker', f'{m.loader_rate:.2f} images/s' if m.loader_rate else f'not measured: {no_loader}'),
        (f'step of one process, batch {m.batch}', f'{1000 * step.total:.1f} ms, {m.step_rate:.2f} images/s'),
        *(
            (f'— {part}', f'{1000 * getattr(step, key):.1f} ms')
            for part, key in (('forward and loss', 'forward'), ('backward', 'backward'), ('optimizer', 'optimizer'))
        ),
        ('gradients', f'{m.gradient_bytes / 1e6:.1f} MB'),
    ]
    if m.network:
        share = m.step.total / m.together
        lines += [
            (f'all-reduce of them, {m.processes} processes', f'{1000 * m.all_reduce:.1f} ms'),
            ('— as a ring', f'{m.network.bandwidth / 1e9:.3f} GB/s, {1e6 * m.network.latency:.0f} µs a message'),
            (f'step of {m.processes} processes together', f'{1000 * m.together:.1f} ms, efficiency {share:.1%}'),
        ]
    else:
        lines.append(('all-reduce', 'none: one process'))
    return markdown(['measured', ''], 'lr', lines)


def expected_table(measured: Measured, expectations: Sequence[Expectation]) -> str:
    """Bounds for each number of GPUs."""
    return markdown(
        ['GPUs (computed)', 'all-reduce', 'efficiency', 'images/s', 'data workers'],
        'rrrrr',
        (
            [
                e.gpus,
                f'{1000 * e.all_reduce:.1f} ms',
                f'{e.low:.1%} to {e.high:.1%}',
                f'{e.gpus * e.low * measured.step_rate:.4g} to {e.gpus * e.high * measured.step_rate:.4g}',
                workers * e.gpus if (workers := _workers(measured)) else '',
            ]
            for e in expectations
        ),
    )


def rows(measured: Measured, expectations: Sequence[Expectation]) -> list[dict[str, float | None]]:
    """A line of CSV for each number of GPUs; what was measured is the same in each."""
    m = measured
    common = dict(
        processes=m.processes,
        batch=m.batch,
        loader_images_s=m.loader_rate,
        forward_ms=1000 * m.step.forward,
        backward_ms=1000 * m.step.backward,
        optimizer_ms=1000 * m.step.optimizer,
        step_images_s=m.step_rate,
        gradient_bytes=m.gradient_bytes,
        all_reduce_ms=1000 * m.all_reduce if m.network else None,
        measured_efficiency=m.step.total / m.together if m.network else None,
    )
    return [
        common
        | dict(
            gpus=e.gpus,
            expected_all_reduce_ms=1000 * e.all_reduce,
            efficiency_low=e.low,
            efficiency_high=e.high,
            workers_a_gpu=_workers(m),
        )
        for e in expectations
    ]


def _workers(measured: Measured) -> int | None:
    return workers_needed(measured.step_rate, measured.loader_rate) if measured.loader_rate else None
