"""The variables of ``--launcher`` are checked before any work."""

import socket

import pytest
import torch
from ports import free_ports

from mmseg_bisenet.cli import main, rendezvous

MASTER = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT='1')
WHOLE = dict(
    pytorch=dict(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1'),
    slurm=dict(SLURM_PROCID='0', SLURM_LOCALID='0', SLURM_NTASKS='1', SLURM_NODELIST='n[1-2]'),
    mpi=dict(OMPI_COMM_WORLD_RANK='0', OMPI_COMM_WORLD_LOCAL_RANK='0', OMPI_COMM_WORLD_SIZE='1'),
)
STARTS = dict(
    pytorch='start it with torchrun or mim train --launcher pytorch',
    slurm='start it with srun',
    mpi='start it with mpirun of Open MPI',
)
RANK = 'an integer from 0 to {} - 1 = 0'
HOST = 'the host of the first process'


@pytest.fixture(autouse=True)
def whole(monkeypatch):
    """A right environment for every launcher."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.delenv('TORCHELASTIC_USE_AGENT_STORE', raising=False)
    for values in (*WHOLE.values(), MASTER, dict(MASTER_PORT=str(*free_ports(1)))):
        for name, value in values.items():
            monkeypatch.setenv(name, value)
    for launcher in WHOLE:
        rendezvous.check(launcher)


def refused(launcher: str, capsys, command: tuple[str, ...] = ('train', 'none.py')) -> str:
    assert main([*command, '--launcher', launcher]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ('launcher', 'name'),
    [
        *(('pytorch', name) for name in WHOLE['pytorch'] | MASTER),
        *(('slurm', name) for name in WHOLE['slurm'] if name != 'SLURM_LOCALID'),
        *(('mpi', name) for name in (*WHOLE['mpi'], 'MASTER_ADDR')),
    ],
)
@pytest.mark.parametrize('command', [('train', 'none.py'), ('test', 'none.py', 'none.pth')], ids=['train', 'test'])
def test_missing_variables_are_named(monkeypatch, capsys, command, launcher, name):
    monkeypatch.delenv(name)
    line = f'mmseg-bisenet: error: --launcher {launcher}: {name} is not set; {STARTS[launcher]}\n'
    assert refused(launcher, capsys, command) == line


@pytest.mark.parametrize(
    ('launcher', 'name', 'value', 'wanted'),
    [
        ('pytorch', 'RANK', '-1', RANK.format('WORLD_SIZE')),
        ('pytorch', 'RANK', '3', RANK.format('WORLD_SIZE')),
        ('pytorch', 'LOCAL_RANK', 'x', RANK.format('WORLD_SIZE')),
        ('pytorch', 'WORLD_SIZE', '0', 'an integer of at least 1'),
        ('pytorch', 'WORLD_SIZE', '', 'an integer of at least 1'),
        ('pytorch', 'MASTER_PORT', '0', 'an integer from 1 to 65535'),
        ('pytorch', 'MASTER_PORT', '65536', 'an integer from 1 to 65535'),
        ('pytorch', 'MASTER_ADDR', '', HOST),
        ('pytorch', 'MASTER_ADDR', 'a..b', f'{HOST}, and this one does not resolve'),
        ('slurm', 'SLURM_PROCID', '1', RANK.format('SLURM_NTASKS')),
        ('slurm', 'SLURM_LOCALID', 'x', RANK.format('SLURM_NTASKS')),
        ('slurm', 'SLURM_NTASKS', 'two', 'an integer of at least 1'),
        ('slurm', 'SLURM_NODELIST', '', 'the list of the nodes'),
        ('slurm', 'MASTER_PORT', '0', 'an integer from 1 to 65535'),
        ('slurm', 'MASTER_ADDR', 'a..b', f'{HOST}, and this one does not resolve'),
        ('mpi', 'OMPI_COMM_WORLD_RANK', '-1', RANK.format('OMPI_COMM_WORLD_SIZE')),
        ('mpi', 'OMPI_COMM_WORLD_LOCAL_RANK', '9', RANK.format('OMPI_COMM_WORLD_SIZE')),
        ('mpi', 'OMPI_COMM_WORLD_SIZE', '0', 'an integer of at least 1'),
        ('mpi', 'MASTER_PORT', 'x', 'an integer from 1 to 65535'),
    ],
)
def test_impossible_values_are_named(monkeypatch, capsys, launcher, name, value, wanted):
    monkeypatch.setenv(name, value)
    start = STARTS[launcher]
    line = f'mmseg-bisenet: error: --launcher {launcher}: {name}={value!r} has to be {wanted}; set it, or {start}\n'
    assert refused(launcher, capsys) == line


def test_what_mmengine_does_without(monkeypatch):
    monkeypatch.setattr(rendezvous, 'PORT', *free_ports(1))
    for name in ('SLURM_LOCALID', 'MASTER_PORT', 'MASTER_ADDR'):
        monkeypatch.delenv(name)
        rendezvous.check('slurm')
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    rendezvous.check('mpi')


@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_launchers_that_need_gpus(monkeypatch, capsys, launcher):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    line = f'--launcher {launcher} needs GPUs, and PyTorch sees none; on CPUs use --launcher pytorch'
    assert refused(launcher, capsys) == f'mmseg-bisenet: error: {line}\n'


def test_a_port_in_use_is_named_by_the_process_that_needs_it(monkeypatch, capsys):
    with socket.create_server(('127.0.0.1', 0)) as place:
        port = str(place.getsockname()[1])
        monkeypatch.setenv('MASTER_PORT', port)
        assert refused('pytorch', capsys) == (
            f'mmseg-bisenet: error: MASTER_PORT={port} cannot be used (Address already in use); set another one\n'
        )
        monkeypatch.setenv('TORCHELASTIC_USE_AGENT_STORE', 'True')  # torchrun serves it
        rendezvous.check('pytorch')
