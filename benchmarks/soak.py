"""Memory of a long training: what the process holds every 100 iterations, and how fast that grows.

A whole training of the demo's narrow V2 on drawn streets, in this process: data pipeline, loss, optimizer, logs,
pictures, a checkpoint and an evaluation every 100 iterations. The slope is that of a line through all points but the
first, when caches are still filling.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from benchmarks import command
from mmseg_bisenet.benchmark import machine
from mmseg_bisenet.benchmark.memory import resident_bytes
from mmseg_bisenet.benchmark.tables import markdown
from mmseg_bisenet.cli import launch, options, preflight
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.miniscapes import write_miniscapes

CONFIG = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'
SIZE = (64, 128)  # of the streets, and of a crop
EVERY = 100  # iterations
MB = 1e6


class ResidentMemory(Hook):
    """Notes the resident memory after each ``every`` iterations, in bytes."""

    priority = 'LOWEST'

    def __init__(self, every: int) -> None:
        self.every = every
        self.found: list[int] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: dict | None = None
    ) -> None:
        if self.every_n_train_iters(runner, self.every):
            self.found.append(resident_bytes())
            print(f'{runner.iter + 1:>6}  {self.found[-1] / MB:.1f} MB', file=sys.stderr, flush=True)


def soak(iterations: int, folder: Path, every: int = EVERY) -> list[int]:
    """Resident bytes after each ``every`` iterations of a training in ``folder``."""
    data = str(write_miniscapes(folder / 'miniscapes', train=16, val=4, size=SIZE))
    changes: dict[str, object] = {
        'scale': SIZE[::-1],
        'crop_size': SIZE,
        'train_cfg.max_iters': iterations,
        'train_cfg.val_interval': every,
        'default_hooks.checkpoint.interval': every,
        'train_dataloader.batch_size': 2,
    }
    for loader in ('train_dataloader', 'val_dataloader'):
        changes |= {
            f'{loader}.dataset.data_root': data,
            f'{loader}.num_workers': 0,  # in this process, so that their memory counts
            f'{loader}.persistent_workers': False,
        }
    cfg = options.load(argparse.Namespace(config=CONFIG, work_dir=str(folder / 'work'), cfg_options=changes))
    cfg.visualizer.name = str(folder)  # MMEngine keeps visualizers by name as long as the process lives
    runner = launch.build_runner(cfg, preflight.check_data(cfg, 'train_dataloader', 'val_dataloader'))
    memory = ResidentMemory(every)
    runner.register_hook(memory)
    runner.train()
    return memory.found


def slope(found: Sequence[int], every: int = EVERY) -> float:
    """Bytes per 1,000 iterations: the line of least squares through all points but the first."""
    return float(np.polyfit(np.arange(1, len(found)) * every / 1000, found[1:], 1)[0])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--iterations', type=int, default=1000, help='of the training (default: %(default)s)')


def measure(args: argparse.Namespace) -> list[dict]:
    if args.iterations < 3 * EVERY:
        raise InputError(f'--iterations {args.iterations}: give {3 * EVERY} or more, for a line through two points')
    with tempfile.TemporaryDirectory() as folder:
        found = soak(args.iterations, Path(folder))
    rows = [dict(iterations=number * EVERY, resident_mb=round(value / MB, 1)) for number, value in enumerate(found, 1)]
    growth = round(slope(found) / MB, 2)
    print(markdown(['iterations', 'resident MB'], 'rr', [[f'{x:,}' for x in row.values()] for row in rows]))
    print(f'slope: {growth:+} MB per 1,000 iterations')
    about = machine.describe(command.device())
    return [about | row | dict(slope_mb_per_1000=growth) for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    return command.benchmark('soak', __doc__ or '', add_arguments, measure, argv)


if __name__ == '__main__':
    sys.exit(main())
