"""MMEngine's ``IterBasedTrainLoop``. After ``--resume``, it continues as if it had never been interrupted.

Deviations from stock:

- A resumed run starts reading at its next batch. Upstream reads and discards every earlier batch (mmengine#1520), and
  its workers start reading from the beginning before the checkpoint is loaded.
- The sampler uses the seed of the run, unless the config gives it one. A resumed run has its seed from the checkpoint,
  which is loaded after the sampler is built.
- Each sample and each step has its own random numbers, derived from the seed. So no random state has to be saved, and
  nothing depends on the state of a data worker.
- On a CPU, memory that a step frees is kept for the next step.
- Before an evaluation, all processes take the running means of the first one, which are those of the checkpoint.
- If a run ends after it saved a checkpoint and before the evaluation that was due, the resumed run evaluates first.

With gradient accumulation, the losses are the same only if the checkpoint is of an iteration that ends an accumulation.
Otherwise the partial sum is lost, and MMEngine warns.
"""

import random
from typing import Any

import numpy as np
import torch
from mmengine import dist
from mmengine.device import get_device
from mmengine.runner import IterBasedTrainLoop, Runner, set_random_seed
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmseg_bisenet.engine.freed_memory import keep_freed_memory
from mmseg_bisenet.engine.sampler import STEP, Draw, ResumableSampler, derive_seed
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.registry import DATASETS, LOOPS


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """The stock loop with the stock arguments. ``dataloader`` is a config with the sampler ``ResumableSampler``.

    Raises:
        InputError: the config has another sampler, or a batch sampler.
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
        # Upstream's constructor starts the workers of its data loader. This one has none, so nothing is read.
        super().__init__(runner, DataLoader(loader.dataset), max_iters, val_begin, val_interval, dynamic_intervals)
        self.dataloader = loader
        self._sampler_has_seed = dataloader['sampler'].get('seed') is not None

    def run(self) -> nn.Module:
        """Train from the current iteration (0, or that of the checkpoint) to the last. Return the model."""
        if get_device() == 'cpu':
            keep_freed_memory()
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.seed = self._shared_seed()
        if not self._sampler_has_seed:
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
        """Train one step. Its random numbers, such as dropout, depend only on seed, iteration and rank."""
        set_random_seed(derive_seed(self.seed, STEP, self._iter, dist.get_rank()))
        super().run_iter(data_batch)

    def _shared_seed(self) -> int:
        """The seed of the first process. With ``randomness.diff_rank_seed`` the others have different ones."""
        seed = torch.tensor(self.runner.seed)
        dist.broadcast(seed)
        return int(seed.item())

    def _evaluate_if_due(self) -> None:
        self._decide_current_val_interval()
        last = self._iter == self._max_iters
        due = self._iter >= self.val_begin and (last or self._iter % self.val_interval == 0)
        hub = self.runner.message_hub
        if self.runner.val_loop is not None and due and hub.get_info('evaluated_iter', 0) < self._iter:
            hub.update_info('evaluated_iter', self._iter)  # saved together with the scores, in the next checkpoint
            share_buffers(self.runner.model)
            self.runner.val_loop.run()


def share_buffers(model: nn.Module) -> None:
    """Give all processes the first one's running means: its checkpoint has them, so its scores need them.

    SyncBN keeps them equal, but exists on GPUs only.
    """
    if dist.get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer)


@DATASETS.register_module()
class SeededDataset(Dataset):
    """A data set whose samples depend only on the :class:`Draw`.

    It is the outermost wrapper, because wrappers such as ``RepeatDataset`` compute with the index and would lose the
    seed.
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
        torch.default_generator.manual_seed(draw.seed)  # `torch.manual_seed` takes 25 times as long: it looks for GPUs
        return self.dataset[int(draw)]
