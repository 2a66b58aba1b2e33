"""A training that is killed and resumed gives exactly the same numbers as one without interruption."""

import itertools
import json
import os
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner
from processes import CONTEXT
from toy import SIZE, losses, toy

from mmseg_bisenet.checkpoints.files import read
from mmseg_bisenet.cli import main
from mmseg_bisenet.engine.sampler import ResumableSampler
from mmseg_bisenet.errors import InputError

WORKERS = dict(num_workers=2)


def trained(runner: Runner) -> Runner:
    runner.train()
    return runner


def state(runner: Runner) -> list[float]:
    """The losses of all iterations, then all weights of the last checkpoint, including EMA."""
    last = torch.load(f'{runner.work_dir}/iter_12.pth', weights_only=False)
    weights = last['state_dict'] | last.get('ema_state_dict', {})
    return [*losses(runner), *(number for value in weights.values() for number in value.flatten().tolist())]


WHOLE = {
    'SGD with momentum': dict(),
    'Adam and EMA': dict(
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01)),
        custom_hooks=[dict(type='EMAHook', update_buffers=True)],
    ),
    'accumulation': dict(
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=0.01), accumulative_counts=4)
    ),
    'a schedule': dict(param_scheduler=[dict(type='PolyLR', end=12, by_epoch=False)]),
    'evaluation': dict(scores={4: 1.0, 8: 2.0, 12: 3.0}),
    'a random seed': dict(randomness=dict(seed=None)),
    'a wrapper': dict(
        train_dataloader=dict(
            dataset=dict(type='RepeatDataset', times=3, dataset=dict(type='mmseg_bisenet.ToyDataset'))
        )
    ),
}


def test_a_seed_of_the_sampler_is_its_own(tmp_path):
    sampler = dict(type='mmseg_bisenet.ResumableSampler', seed=7)
    runner = trained(toy(tmp_path, max_iters=3, train_dataloader=dict(sampler=sampler)))
    expected = [int(draw) for draw in itertools.islice(ResumableSampler(range(SIZE), seed=7), 6)]
    assert [round(row[0] * SIZE) for rows in runner.model.fed for row in rows] == expected


@pytest.mark.parametrize('kind', WHOLE)
def test_resumed_equals_whole(tmp_path, kind):
    """Resume from an earlier checkpoint of the whole run."""
    whole = trained(toy(tmp_path, **WHOLE[kind]))
    (tmp_path / 'last_checkpoint').write_text(f'{tmp_path}/iter_8.pth')
    before = state(whole)
    torch.manual_seed(1)
    resumed = trained(toy(tmp_path, resume=True, **WHOLE[kind]))
    assert resumed.model.fed == whole.model.fed[8:]
    assert state(resumed) == before
    assert len(set(before)) == len(before)


@pytest.mark.parametrize('first', [{}, WORKERS], ids=['none first', 'two first'])
def test_the_number_of_workers_changes_nothing(tmp_path, first):
    whole = trained(toy(tmp_path / 'whole'))
    trained(toy(tmp_path / 'parts', max_iters=8, train_dataloader=first))
    second = {} if first else WORKERS
    assert state(trained(toy(tmp_path / 'parts', resume=True, train_dataloader=second))) == state(whole)


@pytest.mark.parametrize('workers', [{}, WORKERS], ids=['no worker', 'two workers'])
def test_resuming_reads_nothing_that_was_trained_on(tmp_path, workers):
    trained(toy(tmp_path, max_iters=8))
    loader = dict(workers, dataset=dict(type='mmseg_bisenet.ToyDataset', log=f'{tmp_path}/reads'))
    runner = trained(toy(tmp_path, resume=True, train_dataloader=loader))
    reads = [int(line) for line in (tmp_path / 'reads').read_text().split()]
    fed = [round(row[0] * SIZE) for rows in runner.model.fed for row in rows]
    draws = [int(draw) for draw in itertools.islice(ResumableSampler(range(SIZE), seed=3), 32)]
    assert fed == draws[16:24]
    if workers:  # each worker reads two batches in advance
        assert set(fed) <= set(reads) <= set(draws[16:32])
    else:
        assert reads == fed


def process(rank: int, folder: Path, changes: dict, apart: bool) -> None:
    torch.set_num_threads(1)
    os.environ['LOCAL_RANK'] = str(rank)
    torch.distributed.init_process_group('gloo', f'file://{folder}.meet', rank=rank, world_size=2)
    toy(
        folder / str(rank) if apart else folder,
        launcher='pytorch',
        cfg=dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)),
        randomness=dict(seed=7, diff_rank_seed=True),
        **changes,
    ).train()


def two_processes(folder: Path, apart: bool = False, **changes) -> list[int]:
    """Train on two processes, with a work dir each if ``apart``. Return their exit codes."""
    Path(f'{folder}.meet').unlink(missing_ok=True)
    processes = [CONTEXT.Process(target=process, args=(rank, folder, changes, apart)) for rank in range(2)]
    for one in processes:
        one.start()
    for one in processes:
        one.join(300)
        one.kill()  # if it hangs, or else nothing
        one.join()
    return [one.exitcode for one in processes]


def test_two_processes_killed_and_resumed(tmp_path):
    logged = dict(dataset=dict(type='mmseg_bisenet.ToyDataset', log=f'{tmp_path}/reads'))
    assert two_processes(tmp_path / 'whole', train_dataloader=logged) == [0, 0]
    reads = [int(line) for line in (tmp_path / 'reads').read_text().split()]
    assert set(reads) == {int(draw) for draw in itertools.islice(ResumableSampler(range(SIZE), seed=7), 48)}
    assert two_processes(tmp_path / 'parts', model=dict(kill_at=11)) == [-signal.SIGKILL] * 2
    assert (tmp_path / 'parts' / 'last_checkpoint').read_text().endswith('iter_8.pth')
    assert two_processes(tmp_path / 'parts', resume=True) == [0, 0]
    whole, parts = (read(tmp_path / name / 'iter_12.pth').state_dict for name in ('whole', 'parts'))
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())


def test_machines_that_see_different_checkpoints_do_not_resume(tmp_path):
    """The second process has no checkpoint, and would start at iteration 0."""
    assert two_processes(tmp_path / 'run', apart=True, max_iters=8) == [0, 0]
    assert two_processes(tmp_path / 'run', apart=True, resume=True) == [1, 1]
    assert {path.name for path in tmp_path.rglob('*.pth')} == {'iter_4.pth', 'iter_8.pth'}


def test_the_stock_loops_resume_our_sampler(tmp_path):
    """The upstream loop reads and discards earlier batches, that of the fork skips them. Both continue the same."""
    trained(toy(tmp_path, max_iters=8))
    runner = trained(toy(tmp_path, resume=True, train_cfg=dict(type='IterBasedTrainLoop', max_iters=12)))
    fed = [round(row[0] * SIZE) for rows in runner.model.fed for row in rows]
    assert fed == [int(draw) for draw in itertools.islice(ResumableSampler(range(SIZE), seed=3), 16, 24)]


def test_a_sampler_that_cannot_be_resumed_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        trained(toy(tmp_path, train_dataloader=dict(sampler=dict(type='InfiniteSampler'))))
    assert str(caught.value) == (
        'train_dataloader: InfiniteSampler cannot be resumed by ResumableTrainLoop; set '
        'train_dataloader.sampler.type=mmseg_bisenet.ResumableSampler without a batch_sampler, or '
        'train_cfg.type=IterBasedTrainLoop'
    )


CONFIG = """
_base_ = '{base}'
model = dict(data_preprocessor=dict(size=(64, 64)), decode_head=dict(dropout_ratio=0.3))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(128, 64), ratio_range=(0.75, 1.5), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(64, 64), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=2,
    num_workers={workers},
    persistent_workers={workers} > 0,
    sampler=dict(type='mmseg_bisenet.ResumableSampler'),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(num_workers=0, persistent_workers=False)
train_cfg = dict(type='mmseg_bisenet.ResumableTrainLoop', max_iters=12, val_interval=6)
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(type='mmseg_bisenet.AtomicCheckpointHook', interval=3, save_best='mIoU', max_keep_ckpts=1),
)
custom_hooks = [dict(type='EMAHook')]
"""


def command_line(arguments: list[str], data: Path, output: Path) -> None:
    """``mmseg-bisenet ARGUMENTS`` as a process of its own: the leader of a session, with its output in a file."""
    os.setsid()
    with output.open('w') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ['MMSEG_BISENET_DATA'] = str(data)
    torch.set_num_threads(1)
    sys.exit(main(arguments))


class Training:
    """``mmseg-bisenet train`` on synthetic scenes, with dropout, AdamW, EMA, warm-up and evaluation."""

    def __init__(self, folder: Path, data: Path, configs: Path, workers: int) -> None:
        self.work_dir, config = folder / 'work', folder / 'config.py'
        base = configs / 'bisenetv2' / 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256.py'
        config.write_text(CONFIG.format(base=base, workers=workers))
        self.command = ['train', str(config), '--work-dir', str(self.work_dir)]
        self.data, self.output = data, folder / 'output'

    def start(self, *options: str) -> BaseProcess:
        started = CONTEXT.Process(target=command_line, args=([*self.command, *options], self.data, self.output))
        started.start()
        return started

    def finish(self, *options: str) -> None:
        started = self.start(*options)
        started.join()
        assert started.exitcode == 0, self.output.read_text()[-3000:]

    def kill_after(self, steps: int) -> None:
        """Kill the process and its data workers as soon as the log has that many steps."""
        started = self.start()
        while started.is_alive() and max(self.log('loss'), default=0) < steps:
            time.sleep(0.01)
        os.killpg(started.pid, signal.SIGKILL)
        started.join()
        assert started.exitcode == -signal.SIGKILL, self.output.read_text()[-3000:]

    def log(self, key: str) -> dict[int, dict]:
        """The last log entry of each step that has ``key``, without the times."""
        steps = {}
        for file in sorted(self.work_dir.glob('*/vis_data/2*.json')):
            for line in file.read_text().splitlines():
                entry = json.loads(line) if line.endswith('}') else {}  # a line may be incomplete
                if key in entry:
                    steps[entry['step']] = {name: value for name, value in entry.items() if 'time' not in name}
        return steps


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory, drawn, configs) -> Training:
    training = Training(tmp_path_factory.mktemp('undisturbed'), drawn, configs, workers=0)
    training.finish('--resume')  # of nothing
    assert f'--resume found no checkpoint in {training.work_dir}: the training starts' in training.output.read_text()
    return training


@pytest.mark.parametrize('workers', [0, 2])
def test_killed_and_resumed_from_the_command_line(tmp_path, drawn, configs, undisturbed, workers):
    training = Training(tmp_path, drawn, configs, workers)
    training.kill_after(8)
    before = training.log('loss')
    assert before and all(undisturbed.log('loss')[step] == entry for step, entry in before.items())
    training.finish('--resume')
    assert list(undisturbed.log('loss')) == list(range(1, 13))
    for key in ('loss', 'mIoU'):
        assert training.log(key) == undisturbed.log(key)
    killed, whole = (torch.load(one.work_dir / 'iter_12.pth', weights_only=False) for one in (training, undisturbed))
    for name in ('state_dict', 'ema_state_dict'):
        assert all(torch.equal(value, killed[name][key]) for key, value in whole[name].items())
    assert killed['optimizer']['state'].keys() == whole['optimizer']['state'].keys()
    for key, moments in whole['optimizer']['state'].items():
        assert all(torch.equal(moments[name], killed['optimizer']['state'][key][name]) for name in moments)
    assert {path.name for path in training.work_dir.glob('*.pth')} == {
        path.name for path in undisturbed.work_dir.glob('*.pth')
    }


def test_a_finished_training_says_that_nothing_was_left(undisturbed):
    undisturbed.finish('--resume')
    assert undisturbed.output.read_text().splitlines()[-1] == (
        'note: iter_12.pth has 12 of 12 iterations; nothing was trained'
    )
