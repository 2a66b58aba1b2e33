"""A training that takes milliseconds: one small layer with dropout, on images of random numbers."""

import itertools
import os
import random
import signal
from pathlib import Path

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmseg_bisenet.registry import DATASETS, MODELS

SIZE = 1000
names = map('toy{}'.format, itertools.count())


@DATASETS.register_module()
class ToyDataset(Dataset):
    """An image is its index, and a number from each random generator that a pipeline may use.

    Each index that is read is written to the file ``log``, because data workers are other processes.
    """

    metainfo = dict(classes=('a',))

    def __init__(self, log: str = os.devnull) -> None:
        self.log = log

    def full_init(self) -> None:
        """Called by wrappers."""

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> dict:
        with open(self.log, 'a') as log:
            log.write(f'{index}\n')
        inputs = torch.tensor([int(index) / SIZE, random.random(), np.random.rand(), torch.rand(())])
        return dict(inputs=inputs, data_samples=SegDataSample(metainfo=dict(img_path=f'{index}.png')))


@MODELS.register_module()
class ToyModel(BaseModel):
    """Records its inputs. In step ``nan_at`` the loss is NaN; in step ``kill_at`` the process is killed."""

    def __init__(self, nan_at: int | None = None, kill_at: int | None = None) -> None:
        super().__init__()
        self.linear, self.dropout = nn.Linear(4, 1), nn.Dropout(0.5)
        self.fed, self.nan_at, self.kill_at = [], nan_at, kill_at

    def forward(self, inputs: list[Tensor], data_samples: list, mode: str) -> dict[str, Tensor] | list:
        if mode != 'loss':
            return data_samples
        self.fed.append([row.tolist() for row in inputs])
        if len(self.fed) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        loss = self.linear(self.dropout(torch.stack(list(inputs)))).square().mean()
        return dict(loss=loss * (float('nan') if len(self.fed) == self.nan_at else 1))


class ToyMetric(BaseMetric):
    """Reports the mIoU that ``scores`` has for the number of iterations."""

    def __init__(self, scores: dict[int, float]) -> None:
        super().__init__()
        self.scores = scores

    def process(self, data_batch: dict, data_samples: list) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict[str, float]:
        return dict(mIoU=self.scores[len(MessageHub.get_current_instance().get_scalar('train/loss').data[0])])


def toy(
    work_dir: Path, max_iters: int = 12, model: dict | None = None, scores: dict | None = None, **changes
) -> Runner:
    """A runner with our loop, sampler and hooks, and batches of 2; ``changes`` are keys of a config.

    With ``scores`` it evaluates every 4 iterations.
    """
    hook = dict(type='mmseg_bisenet.AtomicCheckpointHook', by_epoch=False, interval=4)
    hook.update(changes.pop('checkpoint', {}))
    loader = dict(
        batch_size=2,
        num_workers=0,
        dataset=dict(type='mmseg_bisenet.ToyDataset'),
        sampler=dict(type='mmseg_bisenet.ResumableSampler'),
    )
    loader.update(changes.pop('train_dataloader', {}))
    config = dict(
        model=dict(type='mmseg_bisenet.ToyModel', **(model or {})),
        train_dataloader=loader,
        train_cfg=dict(type='mmseg_bisenet.ResumableTrainLoop', max_iters=max_iters),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3, momentum=0.9)),
        default_hooks=dict(checkpoint=hook, logger=dict(type='LoggerHook', interval=1)),
        custom_hooks=[dict(type='mmseg_bisenet.NonFiniteLossHook')],
        log_processor=dict(by_epoch=False),
        default_scope='mmseg',
        randomness=dict(seed=3),
        experiment_name=next(names),  # MMEngine keeps the logged values under this name
        log_level='WARNING',
    )
    if scores:
        config['train_cfg'].update(val_interval=4)
        validation = dict(loader, sampler=dict(type='DefaultSampler'), num_batch_per_epoch=1)
        config.update(val_cfg=dict(), val_dataloader=validation, val_evaluator=[ToyMetric(scores)])
    return Runner(work_dir=str(work_dir), **(config | changes))


def losses(runner: Runner) -> list[float]:
    return runner.message_hub.get_scalar('train/loss').data[0].tolist()
