"""MMEngine's ``IterBasedTrainLoop``, which goes on after ``--resume`` as if nobody had ended it.

Deviations from stock:

- It starts to read at the first batch that is still to be trained on. Upstream reads and discards every earlier one
  (mmengine#1520), and lets its workers read from the start before it knows of a checkpoint.
- The sampler's seed is the run's. A resumed run takes its seed from the checkpoint, after the sampler was built.
- Each sample and each step has random numbers of its own, derived from the seed: no random state has to be saved, and
  none depends on how long a worker has lived.
- An evaluation that is due and not in the checkpoint is done first: a run may end between the two.

With gradient accumulation, losses go on equally from a checkpoint of an iteration that ends an accumulation. MMEngine
warns of another one, whose partial sum is lost.
"""

import random
from typing import Any

import numpy as np
import torch
from mmengine import dist
from mmengine.runner import IterBasedTrainLoop, Runner, set_random_seed
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmseg_bisenet.engine.sampler import STEP, Draw, ResumableSampler, derive_seed
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.registry import DATASETS, LOOPS


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """Stock loop with stock arguments; ``dataloader`` is a config, with the sampler ``ResumableSampler``.

    Raises:
        InputError: another sampler, or a batch sampler.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: dict,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        seeded = dict(type='mmseg_bisenet.SeededDataset', dataset=dataloader['dataset'])
        loader = runner.build_dataloader(dict(dataloader, dataset=seeded), seed=runner.seed)
        if not isinstance(loader.sampler, ResumableSampler):
            raise InputError(
                f'train_dataloader: {type(loader.sampler).__name__} cannot be resumed by ResumableTrainLoop; set '
                'train_dataloader.sampler.type=mmseg_bisenet.ResumableSampler without a batch_sampler, or '
                'train_cfg.type=IterBasedTrainLoop'
            )
        # Upstream's constructor starts to read from what it is given; without workers, that reads nothing.
        super().__init__(runner, DataLoader(loader.dataset), max_iters, val_begin, val_interval, dynamic_intervals)
        self.dataloader = loader

    def run(self) -> nn.Module:
        """Train from the current iteration, 0 or a checkpoint's, to the last; the trained model."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.seed = self._shared_seed()
        self.dataloader.sampler.seed = self.seed
        self.dataloader.sampler.skip(self._iter * self.dataloader.batch_size)
        self._evaluate_if_due()
        batches = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._evaluate_if_due()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_iter(self, data_batch: dict) -> None:
        """One training step, with dropout of its own."""
        set_random_seed(derive_seed(self.seed, STEP, self._iter, dist.get_rank()))
        super().run_iter(data_batch)

    def _shared_seed(self) -> int:
        """The first process's: with ``randomness.diff_rank_seed`` each has another."""
        seed = torch.tensor(self.runner.seed)
        dist.broadcast(seed)
        return seed.item()

    def _evaluate_if_due(self) -> None:
        self._decide_current_val_interval()
        last = self._iter == self._max_iters
        due = self._iter >= self.val_begin and (last or self._iter % self.val_interval == 0)
        hub = self.runner.message_hub
        if self.runner.val_loop is not None and due and hub.get_info('evaluated_iter', 0) < self._iter:
            hub.update_info('evaluated_iter', self._iter)  # with the scores in the checkpoint that follows them
            self.runner.val_loop.run()


@DATASETS.register_module()
class SeededDataset(Dataset):
    """The data set of a config, whose sample depends on the :class:`Draw` alone.

    It is put around everything else, because wrappers such as ``RepeatDataset`` compute with the index.
    """

    def __init__(self, dataset: dict) -> None:
        self.dataset = DATASETS.build(dataset)
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()
        if hasattr(self.dataset, 'metainfo'):
            self.metainfo = self.dataset.metainfo

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> Any:
        random.seed(draw.seed)
        np.random.seed(draw.seed)
        torch.default_generator.manual_seed(draw.seed)  # `torch.manual_seed` looks for GPUs, 25 times as long
        return self.dataset[int(draw)]
