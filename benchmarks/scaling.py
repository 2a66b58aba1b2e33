"""Measure data loader, training step and all-reduce, and compute what they allow on up to 64 GPUs.

``python -m benchmarks.scaling CONFIG`` measures one process. Under torchrun, with ``--launcher pytorch``, it measures
the all-reduce among the processes. ``scaling_model.py`` computes the efficiency on more GPUs.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, barrier, get_rank, get_world_size, init_dist, is_distributed, is_main_process
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from mmseg.registry import MODELS
from torch import nn

from benchmarks import command
from benchmarks.scaling_model import Expectation, Network, Step, expect_all, workers_needed
from benchmarks.steps import synthetic_batch, without_precision
from mmseg_bisenet.benchmark import latency, machine
from mmseg_bisenet.benchmark.tables import markdown
from mmseg_bisenet.cli import launch, options, preflight
from mmseg_bisenet.errors import InputError

# -- measurements ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Times in seconds, each that of the slowest process; sizes in bytes; rates in images a second.

    ``step`` is without communication. ``together`` is a step with DDP, all-reduce included. ``loader_rate`` is of one
    data worker, None without data. ``all_reduce``, ``network`` and ``together`` are None for one process.
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
        """Images a second of one process without communication."""
        return self.batch / self.step.total


def measure(cfg: Config, device: str, steps: int, load: bool) -> Measured:
    """Medians over ``steps`` batches, steps and all-reduces, after a few that are not counted; every process calls it.

    Everything runs in fp32, on a synthetic batch of the config's batch size and crop.

    Args:
        cfg: of the model and its training.
        device: ``'cpu'`` or ``'cuda'``.
        steps: that are timed.
        load: also measure the data loader; the data must exist.
    """
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    set_multi_processing(**cfg.env_cfg.get('mp_cfg', {}), distributed=is_distributed())
    loader_rate = loader(cfg, steps) if load and get_rank() == 0 else None
    barrier()
    batch = cfg.train_dataloader.batch_size
    data = synthetic_batch(batch, cfg.model.data_preprocessor.size, _classes(cfg))
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).to(device)  # without SyncBN it does not wait for others
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
    # A stock segmentor has num_classes in its heads only.
    return cfg.model.get('num_classes') or cfg.model.decode_head.num_classes


def loader(cfg: Config, batches: int) -> float:
    """Images a second of one data worker, with the config's own data set, pipeline and sampler."""
    one = dict(num_workers=1, persistent_workers=False)
    iterator = iter(Runner.build_dataloader(cfg.train_dataloader | one, seed=0))
    clock = []
    # The worker prepares the first two batches in advance; after them, one arrives whenever the worker finishes one.
    for _ in range(4 + batches):
        next(iterator)
        clock.append(time.perf_counter())
    return cfg.train_dataloader.batch_size / float(np.median(np.diff(clock[3:])))


def _steps(cfg: Config, models: Sequence[nn.Module], data: dict, device: str, steps: int) -> list[list[float]]:
    """Median seconds of forward pass with loss, backward pass and optimizer, for each model; the models take turns."""
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
    """The largest value over all processes, for each entry."""
    seconds = torch.tensor(seconds, dtype=torch.float64)
    all_reduce(seconds, 'max')
    return seconds.tolist()


# -- results -----------------------------------------------------------------------------------------------------------


def measured_table(measured: Measured, no_loader: str = '') -> str:
    """One line for each part; ``no_loader`` says why the loader was not measured."""
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
            (f'all-reduce of the gradients, {m.processes} processes', f'{1000 * m.all_reduce:.1f} ms'),
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
    """A row of the CSV file for each number of GPUs; the measured columns are the same in each."""
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


# -- command -----------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser)
    options.add_launcher(parser)
    parser.add_argument('--steps', type=int, default=10, help='timed steps (default: %(default)s)')
    parser.add_argument(
        '--bandwidth',
        type=float,
        metavar='GB/s',
        help='of the slowest link between GPUs, in 10^9 bytes a second; replaces the measured bandwidth in the model',
    )


def run(args: argparse.Namespace) -> list[dict] | None:
    if args.steps < 1 or (args.bandwidth is not None and args.bandwidth <= 0):
        raise InputError('--steps must be 1 or more, --bandwidth above 0')
    cfg = options.load(args)
    no_data = ''
    try:
        preflight.check_data(cfg, 'train_dataloader')
    except InputError as error:
        no_data = str(error)
    launch.launch(cfg, args.launcher)
    if args.launcher != 'none' and not is_distributed():
        init_dist(args.launcher, **cfg.env_cfg.dist_cfg)
    device = command.device()
    measured = measure(cfg, device, args.steps, load=not no_data)
    main_process = is_main_process()
    launch.leave()
    if not main_process:
        return None
    network = Network(args.bandwidth * 1e9) if args.bandwidth else measured.network
    expectations = expect_all(measured.step, measured.gradient_bytes, network)
    setting = dict(
        config=Path(args.config).stem,
        device=machine.name(device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        height=cfg.model.data_preprocessor.size[0],
        width=cfg.model.data_preprocessor.size[1],
    )
    print('{config}: {device}, {threads} threads a process, torch {torch}, fp32, {height}x{width}'.format(**setting))
    print(f'medians of {args.steps}\n\n{measured_table(measured, no_data)}\n')
    if network:
        source = 'given' if args.bandwidth else 'measured'
        print(f'expected with a ring of {network.bandwidth / 1e9:.3g} GB/s ({source}):\n')
        print(expected_table(measured, expectations))
    else:
        print('expected efficiency: give --bandwidth GB/s, or start 2 processes or more with --launcher pytorch')
    return [setting | row for row in rows(measured, expectations)]


def main(argv: Sequence[str] | None = None) -> int:
    return command.benchmark('scaling', __doc__, add_arguments, run, argv)


if __name__ == '__main__':
    sys.exit(main())
