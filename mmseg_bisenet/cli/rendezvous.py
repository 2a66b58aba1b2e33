"""The environment variables of the processes of ``--launcher``, checked before the work.

PyTorch waits for ever for a process of an impossible rank, and for a host that does not exist.
"""

import os
import re
import socket

from mmseg_bisenet.errors import InputError, short

# What MMEngine reads: the number of processes, the rank, and the rank on the own host.
VARIABLES = dict(
    pytorch=('WORLD_SIZE', 'RANK', 'LOCAL_RANK'),
    slurm=('SLURM_NTASKS', 'SLURM_PROCID', 'SLURM_LOCALID'),
    mpi=('OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK'),
)
STARTS = dict(pytorch='torchrun or mim train --launcher pytorch', slurm='srun', mpi='mpirun of Open MPI')
PORT = 29500  # MMEngine's for slurm and mpi
HOST = 'the host of the first process'


def check(launcher: str) -> None:
    """Raises:
    InputError: the launcher needs GPUs, and there are none; a variable is missing or impossible; or the port of the
        first process is in use.
    """
    if launcher == 'none':
        return
    import torch  # --help does not need it

    if launcher != 'pytorch' and not torch.cuda.is_available():
        raise InputError(f'--launcher {launcher} needs GPUs, and PyTorch sees none; on CPUs use --launcher pytorch')
    processes, number, local = VARIABLES[launcher]
    size = _integer(launcher, processes, 1)
    rank = _integer(launcher, number, 0, size - 1, f'{processes} - 1')
    if launcher != 'slurm' or local in os.environ:  # MMEngine does without that of Slurm
        _integer(launcher, local, 0, size - 1, f'{processes} - 1')
    if launcher == 'slurm' and not os.environ.get('SLURM_NODELIST'):
        raise _wrong(launcher, 'SLURM_NODELIST', 'the list of the nodes')
    port = PORT
    if launcher == 'pytorch' or 'MASTER_PORT' in os.environ:
        port = _integer(launcher, 'MASTER_PORT', 1, 65535)
    if launcher != 'slurm' or 'MASTER_ADDR' in os.environ:  # by default MMEngine takes the first node
        _check_host(launcher, port)
    # torchrun may serve the port itself.
    if rank == 0 and os.environ.get('TORCHELASTIC_USE_AGENT_STORE') != 'True':
        try:
            socket.create_server(('', port)).close()
        except OSError as error:
            raise InputError(
                f'MASTER_PORT={port} cannot be used ({str(error.strerror).partition(" (")[0]}); set another one'
            ) from error


def _check_host(launcher: str, port: int) -> None:
    host = os.environ.get('MASTER_ADDR', '')
    if not host.strip():
        raise _wrong(launcher, 'MASTER_ADDR', HOST)
    try:
        socket.getaddrinfo(host, port)
    except (OSError, UnicodeError) as error:  # the second: a label of the name is empty or too long
        raise _wrong(launcher, 'MASTER_ADDR', f'{HOST}, and this one does not resolve') from error


def _integer(launcher: str, name: str, least: int, most: int | None = None, meaning: str = '') -> int:
    text = os.environ.get(name, '')
    value = int(text) if re.fullmatch(r'-?[0-9]{1,9}', text) else None
    if value is None or value < least or (most is not None and value > most):
        upper = f'{meaning} = {most}' if meaning else most
        wanted = f'an integer of at least {least}' if most is None else f'an integer from {least} to {upper}'
        raise _wrong(launcher, name, wanted)
    return value


def _wrong(launcher: str, name: str, wanted: str) -> InputError:
    value, start = os.environ.get(name), f'start it with {STARTS[launcher]}'
    if value is None:
        return InputError(f'--launcher {launcher}: {name} is not set; {start}')
    return InputError(f'--launcher {launcher}: {name}={short(value)!r} has to be {wanted}; set it, or {start}')
