"""End a training that diverges at once, before it overwrites good checkpoints.

The loss of each iteration is checked. This adds no synchronisation with the GPU, because MMEngine's ``RuntimeInfoHook``
has copied the loss to the CPU already, for the log.
"""

import math
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.registry import HOOKS


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Check the loss of each iteration, and the weights before they are saved.

    Each process checks its own loss. If one fails, the launcher ends the others.

    Raises:
        InputError: NaN or infinity. The message names the iteration, the files of the batch and the last good
            checkpoint.
    """

    def before_train(self, runner: Runner) -> None:
        self.batch, self.last_checkpoint = f'iteration {runner.iter}', runner.message_hub.get_info('last_ckpt')

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any], outputs: dict[str, torch.Tensor] | None = None
    ) -> None:
        files = ', '.join(str(sample.metainfo.get('img_path')) for sample in data_batch['data_samples'])
        self.batch = f'iteration {runner.iter + 1} on {files}'
        # Read here, because `CheckpointHook` changes it before it saves.
        self.last_checkpoint = runner.message_hub.get_info('last_ckpt')
        loss = runner.message_hub.get_scalar('train/loss').current()
        if not math.isfinite(loss):
            self._stop(f'the loss is {loss}')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Check the weights: after a finite loss, the step can still overflow, and only the next loss would show it."""
        if not all(parameter.isfinite().all() for parameter in runner.model.parameters()):
            self._stop('the optimizer step made weights NaN or infinite')

    def _stop(self, problem: str) -> None:
        raise InputError(
            f'{self.batch}: {problem}; the last good checkpoint is {self.last_checkpoint or "none"}; check these '
            'images and labels, lower optim_wrapper.optimizer.lr, or set optim_wrapper.clip_grad'
        )
