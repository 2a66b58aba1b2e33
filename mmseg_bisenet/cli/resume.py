"""What ``train --resume`` checks: the checkpoint is of this network and of this kind of training.

MMEngine takes the settings of the optimizer and of the schedule from the checkpoint, not from the config.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from mmseg_bisenet.checkpoints.fetching import fetch
from mmseg_bisenet.checkpoints.files import listed, read
from mmseg_bisenet.checkpoints.fit import mismatches
from mmseg_bisenet.errors import InputError

# Keys of a group of parameters that choose how it is computed, and change no result.
COMPUTED = {'foreach', 'fused', 'capturable', 'differentiable', 'params'}
# Keys of a scheduler: what it counts, and what it derives from its other arguments.
COUNTED = {'base_values', 'last_step', 'verbose', 'total_iters', 'anneal_func', 'param_name', 'by_epoch'}


def check_resumed(path: str, model: nn.Module) -> None:
    """Refuse to resume from a checkpoint of another network, or without the state of a training.

    Raises:
        InputError: the same, or it cannot be read.
    """
    checkpoint = read(fetch(path))
    inner: Any = model.module if is_model_wrapper(model) else model
    own = inner.state_dict()
    if text := listed(mismatches(checkpoint.state_dict, own)):
        raise InputError(f'--resume: checkpoint {path} is not of this config: {text}; give the config that trained it')
    if not checkpoint.resumable:
        raise InputError(
            f'--resume: checkpoint {path} has weights, but not the state of a training; start from it with '
            f'--from {path} instead'
        )


def check_state(path: str, checkpoint: Mapping[str, Any], runner: Runner) -> None:
    """Compare the state of a training with a runner that has not taken it yet, and warn of settings that it changes.

    Raises:
        InputError: the checkpoint has another kind of schedule, or an average of the weights that the runner lacks.
    """
    own, saved = (
        list(chain(*given.values())) if isinstance(given, dict) else given or []
        for given in (runner.param_schedulers, checkpoint.get('param_schedulers'))
    )
    # MMEngine loads the state of each scheduler into one of another kind, too, and leaves out surplus ones.
    if len(own) != len(saved) or any(set(a.state_dict()) != set(b) for a, b in zip(own, saved, strict=True)):
        raise InputError(
            f'--resume: checkpoint {path} has another schedule of the learning rate than param_scheduler; leave it '
            f'as it was, or start with --from {path} instead'
        )
    if 'ema_state_dict' in checkpoint and not any(isinstance(hook, EMAHook) for hook in runner.hooks):
        raise InputError(
            f'--resume: checkpoint {path} is of a training with --ema, which averages the weights; resume with --ema, '
            f'or start from the average with --from {path} instead'
        )
    kept = dict(chain(_of_optimizer(checkpoint.get('optimizer'), runner), _of_schedule(own, saved)))
    if kept:
        text = ', '.join(f'{name} {there} instead of {here}' for name, (there, here) in kept.items())
        print_log(
            f'--resume: the training keeps the settings of {path}: {text}; start with --from {path} to change them',
            'current',
            logging.WARNING,
        )
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        print_log(
            '--resume: in a training by epochs, the images are changed and ordered otherwise than without the '
            'interruption; a training by iterations goes on exactly',
            'current',
            logging.WARNING,
        )


def _of_optimizer(saved: Any, runner: Runner) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Settings of the optimizer that differ: name, value of the checkpoint and of the config."""
    groups = (saved or {}).get('param_groups') or []  # none if there are several optimizers
    for there, here in zip(groups, runner.optim_wrapper.param_groups if groups else [], strict=False):
        for key in sorted(there.keys() & here.keys() - COMPUTED):
            # A scheduler changes what has an initial value.
            if f'initial_{key}' not in there and there[key] != here[key]:
                yield key.removeprefix('initial_'), (there[key], here[key])


def _of_schedule(own: list, saved: list) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Settings of the schedulers that differ, as above."""
    for one, there in zip(own, saved, strict=True):
        here = one.state_dict()
        for key in sorted(key for key in there if key not in COUNTED and not key.startswith('_')):
            if there[key] != here[key]:
                yield f'{type(one).__name__}.{key}', (_shown(there[key]), _shown(here[key]))


def _shown(value: Any) -> Any:
    return sorted(value.elements()) if isinstance(value, Counter) else value
