"""`train --resume` takes a checkpoint of this network and of this kind of training only, and says what it keeps."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.optim import LinearLR, MultiStepLR, PolyLR
from mmengine.runner import EpochBasedTrainLoop
from torch import nn

from mmseg_bisenet.cli import resume
from mmseg_bisenet.cli.resume import check_resumed, check_state
from mmseg_bisenet.errors import InputError


class Attack:
    def __reduce__(self):
        return print, ('attacked',)


META = dict(epoch=0, iter=4)
OWN = dict(weight=torch.ones(2, 2), bias=torch.ones(2))
CONTENTS = {
    'weights alone': (OWN, 'has weights, but not the state of a training; start from it with --from '),
    'published': (dict(state_dict=OWN, meta=META), 'has weights, but not the state of a training'),
    'no iteration': (dict(state_dict=OWN, meta={}, message_hub={}), 'has weights, but not the state of a training'),
    'no optimizer': (dict(state_dict=OWN, meta=META, message_hub={}), 'has weights, but not the state of a training'),
    'another network': (
        dict(state_dict=dict(a=torch.ones(1)), meta=META, message_hub={}),
        'not of this config: 2 miss',
    ),
    'NaN': (dict(state_dict=dict(OWN, bias=torch.tensor([0, torch.nan])), meta=META), '1 with NaN or infinite values'),
    'code': (dict(state_dict=OWN, meta=Attack()), 'is refused: it names print'),
}


@pytest.mark.parametrize('content', CONTENTS)
def test_what_cannot_be_resumed(tmp_path, content, capsys):
    saved, text = CONTENTS[content]
    torch.save(saved, tmp_path / 'a.pth')
    with pytest.raises(InputError, match=text) as caught:
        check_resumed(str(tmp_path / 'a.pth'), nn.Linear(2, 2))
    assert f'checkpoint {tmp_path / "a.pth"}' in str(caught.value) and '\n' not in str(caught.value)
    assert 'attacked' not in capsys.readouterr().out


def test_what_can(tmp_path):
    torch.save(dict(state_dict=OWN, meta=META, message_hub={}, optimizer={}), tmp_path / 'a.pth')
    check_resumed(str(tmp_path / 'a.pth'), nn.Linear(2, 2))


def training(schedulers: object = None, lr: float = 1, weight_decay: float = 0, end: int = 9) -> SimpleNamespace:
    """What `check_state` reads of a runner."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=lr, weight_decay=weight_decay)
    if schedulers is None:
        schedulers = [
            LinearLR(optimizer, begin=0, end=2, by_epoch=False),
            PolyLR(optimizer, begin=2, end=end, by_epoch=False),
        ]
    return SimpleNamespace(optim_wrapper=optimizer, param_schedulers=schedulers, hooks=[], train_loop=None)


def saved_of(runner: SimpleNamespace) -> dict:
    states = [one.state_dict() for one in runner.param_schedulers]
    return dict(optimizer=runner.optim_wrapper.state_dict(), param_schedulers=states)


@pytest.fixture
def said(monkeypatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(resume, 'print_log', lambda text, *_: lines.append(text))
    return lines


def test_a_schedule_is_that_of_the_checkpoint(said):
    runner = training()
    schedule, states = runner.param_schedulers, saved_of(runner)['param_schedulers']
    check_state('a.pth', dict(param_schedulers=states), runner)
    check_state('a.pth', dict(param_schedulers=dict(a=states[:1], b=states[1:])), runner)  # of two optimizers
    for given, saved in (
        (schedule, None),  # `save_param_scheduler=False`
        (None, states),
        (schedule[:1], states),
        (schedule, states[:1]),
        (schedule[::-1], states),
    ):
        runner.param_schedulers = given
        expected = r'^--resume: checkpoint a.pth has another schedule of the learning rate than param_scheduler; leave'
        with pytest.raises(InputError, match=expected):
            check_state('a.pth', dict(param_schedulers=saved), runner)
    assert not said


def test_settings_that_the_checkpoint_changes_are_said(said):
    before = training(lr=0.5, weight_decay=0.1)
    for _ in range(5):
        before.optim_wrapper.step()
        for scheduler in before.param_schedulers:
            scheduler.step()
    check_state(
        'a.pth', saved_of(before), training(lr=0.5, weight_decay=0.1)
    )  # what changes as it trains is no setting
    assert not said
    check_state('a.pth', saved_of(before), training(lr=2, weight_decay=0.25, end=20))
    assert said == [
        '--resume: the training keeps the settings of a.pth: lr 0.5 instead of 2, weight_decay 0.1 instead of 0.25, '
        'PolyLR.end 9 instead of 20; start with --from a.pth to change them'
    ]
    own, changed = training(), training()
    own.param_schedulers = [MultiStepLR(own.optim_wrapper, [3, 5, 5])]
    changed.param_schedulers = [MultiStepLR(changed.optim_wrapper, [4])]
    check_state('a.pth', saved_of(own), changed)
    assert 'MultiStepLR.milestones [3, 5, 5] instead of [4]' in said[1]


def test_an_average_is_resumed_as_one(said):
    runner = training()
    saved = dict(saved_of(runner), ema_state_dict=OWN)
    with pytest.raises(
        InputError, match=r'^--resume: checkpoint a.pth is of a training with --ema, which averages the'
    ):
        check_state('a.pth', saved, runner)
    runner.hooks = [EMAHook()]
    check_state('a.pth', saved, runner)
    check_state('a.pth', saved_of(runner), runner)  # the average starts at the checkpoint
    assert not said


def test_a_training_by_epochs_says_that_it_goes_on_otherwise(said):
    runner = training()
    runner.train_loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    check_state('a.pth', saved_of(runner), runner)
    (line,) = said
    assert line.startswith('--resume: in a training by epochs, the images are changed and ordered otherwise')
