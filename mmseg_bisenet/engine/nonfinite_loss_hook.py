"""A training that diverges ends at once, and leaves its good checkpoints alone.

Each iteration is looked at, and a GPU does not wait for it: MMEngine's ``RuntimeInfoHook``, which does wait, has put
the loss among the logged numbers already.
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
    """Looks at the loss of each iteration, and at the weights before they are saved.

    With several processes each looks at its own loss, and the launcher ends the others.

    Raises:
        InputError: NaN or infinity. It names the iteration, the batch's files and the last good checkpoint.
    """

    def before_train(self, runner: Runner) -> None:
        self.batch, self.last_checkpoint = f'iteration {runner.iter}', runner.message_hub.get_info('last_ckpt')

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any], outputs: dict[str, torch.Tensor] | None = None
    ) -> None:
        files = ', '.join(str(sample.metainfo.get('img_path')) for sample in data_batch['data_samples'])
        self.batch = f'iteration {runner.iter + 1} on {files}'
        # `CheckpointHook` changes it before it saves.
        self.last_checkpoint = runner.message_hub.get_info('last_ckpt')
        loss = runner.message_hub.get_scalar('train/loss').current()
        if not math.isfinite(loss):
            self._stop(f'the loss is {loss}')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """A step with a finite loss can spoil the weights, and only the next loss would show it."""
        if not all(parameter.isfinite().all() for parameter in runner.model.parameters()):
            self._stop('its step made weights NaN or infinite')

    def _stop(self, problem: str) -> None:
        raise InputError(
            f'{self.batch}: {problem}; the last good checkpoint is {self.last_checkpoint or "none"}; look at these '
            'images and labels, lower optim_wrapper.optimizer.lr, or set optim_wrapper.clip_grad'
        )
