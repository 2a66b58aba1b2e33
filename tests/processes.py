"""Processes that start quickly: a server imports the packages once, and each process is a fork of it.

They start with clean state, unlike forks of the test process, and without seconds of imports, unlike spawned ones.
"""

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import unformatted  # noqa: F401
from ports import free_ports
from torch import multiprocessing

gc.freeze()  # a fork need not look at what the server has imported when MMEngine collects garbage

METHOD = 'forkserver'
CONTEXT = multiprocessing.get_context(METHOD)
CONTEXT.set_forkserver_preload(
    [
        'mmseg_bisenet',
        'mmengine.runner',
        'mmseg.apis',
        'mmseg_bisenet.data',
        'mmseg_bisenet.engine',
        'mmseg_bisenet.evaluation',
        'mmseg_bisenet.models',
    ]
)


def launch(processes: int, arguments: Sequence[str], folder: Path) -> tuple[int, str]:
    """Run ``mmseg-bisenet`` as ``torchrun`` does: the exit status of the job, and what it wrote to stderr."""
    folder.mkdir()
    environment = os.environ | dict(WORLD_SIZE=str(processes), MASTER_ADDR='127.0.0.1', OMP_NUM_THREADS='1')
    environment['MASTER_PORT'] = str(*free_ports(1))
    multiprocessing.start_processes(_command, (arguments, folder, environment), processes, start_method=METHOD)
    status = max(int((folder / f'{rank}.status').read_text()) for rank in range(processes))
    return status, ''.join((folder / f'{rank}.err').read_text() for rank in range(processes))


def _command(rank: int, arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
    from mmseg_bisenet.cli import main

    # The server has the environment of the first test that started it.
    os.environ.clear()
    os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
    with (folder / f'{rank}.err').open('w') as sys.stderr:
        (folder / f'{rank}.status').write_text(str(main(arguments)))
