"""If a training diverges, it ends with one line, and the good checkpoints stay."""

from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from toy import SIZE, toy

from mmseg_bisenet.errors import InputError

FIX = 'check these images and labels, lower optim_wrapper.optimizer.lr, or set optim_wrapper.clip_grad'


def refusal(runner) -> str:
    with pytest.raises(InputError) as caught:
        runner.train()
    return str(caught.value)


def batch(runner) -> str:
    return ', '.join(f'{round(row[0] * SIZE)}.png' for row in runner.model.fed[-1])


@pytest.mark.parametrize(('nan_at', 'saved'), [(1, None), (4, None), (5, 4), (8, 4), (12, 8)])
def test_nan_names_iteration_files_and_checkpoint(tmp_path, nan_at, saved):
    """Iterations 8 and 12 save a checkpoint."""
    runner = toy(tmp_path, model=dict(nan_at=nan_at), checkpoint=dict(max_keep_ckpts=1))
    last = f'{tmp_path}/iter_{saved}.pth' if saved else 'none'
    assert refusal(runner) == (
        f'iteration {nan_at} on {batch(runner)}: the loss is nan; the last good checkpoint is {last}; {FIX}'
    )
    assert [path.name for path in tmp_path.glob('*.pth')] == ([Path(last).name] if saved else [])


class Spoiler(Hook):
    """Makes the step of iteration 8 overflow."""

    def after_train_iter(self, runner, **others) -> None:
        if runner.iter + 1 == 8:
            next(runner.model.parameters()).data[0, 0] = torch.inf


def test_weights_that_a_step_spoiled_are_not_saved(tmp_path):
    runner = toy(tmp_path, custom_hooks=[dict(type='mmseg_bisenet.NonFiniteLossHook'), Spoiler()])
    assert refusal(runner) == (
        f'iteration 8 on {batch(runner)}: the optimizer step made weights NaN or infinite; '
        f'the last good checkpoint is {tmp_path}/iter_4.pth; {FIX}'
    )
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_4.pth']


def test_a_resumed_run_knows_the_checkpoint_it_came_from(tmp_path):
    toy(tmp_path, max_iters=8).train()
    assert f'is {tmp_path}/iter_8.pth' in refusal(toy(tmp_path, model=dict(nan_at=1), resume=True))
