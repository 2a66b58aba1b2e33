"""If a job loses a process, it ends with an error on all its nodes, instead of waiting forever."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/bisenetv2/bisenetv2_fcn_1xb8-400it_miniscapes-128x256.py'
OPTIONS = [
    'train_cfg.max_iters=1000000',
    'train_cfg.val_interval=1000000',
    'default_hooks.logger.interval=1',
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=1',
    'crop_size=(64,64)',
]


class Job:
    """A training of hours on several nodes, which are all this machine."""

    def __init__(self, data: Path, folder: Path, nodes: int, processes: int) -> None:
        (port,) = free_ports(1)
        # The command that `mim train mmseg_bisenet CONFIG --launcher pytorch --gpus N --port P` runs on each node.
        command = [sys.executable, '-m', 'torch.distributed.launch', f'--nproc_per_node={processes}']
        command += [f'--master_port={port}', ROOT / 'tools/train.py', CONFIG, '--launcher', 'pytorch']
        command += ['--work-dir', folder, '--cfg-options', *OPTIONS]
        env = os.environ | dict(MMSEG_BISENET_DATA=str(data), PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
        env |= dict(PET_NNODES=str(nodes), PET_MASTER_ADDR='127.0.0.1')
        self.logs, self.launchers = [], []
        for node in range(nodes):
            self.logs.append(folder / f'{node}.log')
            with self.logs[node].open('w') as log:
                env['PET_NODE_RANK'] = str(node)
                self.launchers.append(
                    subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)
                )

    def wait_for_training(self) -> None:
        end = time.monotonic() + 600
        while 'Iter(train) [      2/' not in (log := self.logs[0].read_text()):
            assert all(launcher.poll() is None for launcher in self.launchers), log
            assert time.monotonic() < end, log
            time.sleep(0.2)

    def processes(self) -> list[int]:
        return [pid for launcher in self.launchers for pid in children(launcher.pid)]

    def close(self) -> None:
        left = self.processes()
        for launcher in self.launchers:
            launcher.kill()
            launcher.wait()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    return [int(child) for file in Path(f'/proc/{pid}/task').glob('*/children') for child in file.read_text().split()]


@pytest.fixture
def job(drawn, tmp_path) -> Iterator[Callable[[int, int], Job]]:
    jobs = []

    def start(nodes: int, processes: int) -> Job:
        jobs.append(Job(drawn, tmp_path, nodes, processes))
        jobs[-1].wait_for_training()
        return jobs[-1]

    yield start
    for each in jobs:
        each.close()


def test_a_killed_process_ends_the_job(job):
    killed = job(nodes=1, processes=2)
    os.kill(killed.processes()[1], signal.SIGKILL)
    assert killed.launchers[0].wait(300) == 1
    assert 'Signal 9 (SIGKILL) received by PID' in killed.logs[0].read_text()


def test_a_killed_data_worker_ends_the_job_on_every_node(job):
    """No launcher notices it, but its process raises, and the process on the other node loses the connection."""
    killed = job(nodes=2, processes=1)
    (worker,) = children(killed.processes()[1])
    os.kill(worker, signal.SIGKILL)
    assert [launcher.wait(300) for launcher in killed.launchers] == [1, 1]
    assert 'error: a process that loads images was killed or crashed (' in killed.logs[1].read_text()
    # The transport reads from a closed connection, or from one that was reset, or writes to it.
    lost = r'another process of this job has ended or hangs \(gloo: .*(Connection (closed|reset) by peer|Broken pipe)'
    assert re.search(lost, killed.logs[0].read_text())
