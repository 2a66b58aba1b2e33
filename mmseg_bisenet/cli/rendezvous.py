"""The environment variables of the processes of ``--launcher pytorch``, checked before the work.

PyTorch waits for ever for a process of an impossible rank, and for a host that does not exist.
"""

import os
import re
import socket

from mmseg_bisenet.errors import InputError, short

START = 'start it with torchrun or mim train --launcher pytorch'


def check() -> None:
    """Raises:
    InputError: a variable is missing or impossible, or the port of the first process is in use.
    """
    size = _integer('WORLD_SIZE', 1)
    rank = _integer('RANK', 0, size - 1, 'WORLD_SIZE - 1')
    _integer('LOCAL_RANK', 0, size - 1, 'WORLD_SIZE - 1')
    port = _integer('MASTER_PORT', 0, 65535)
    host = os.environ.get('MASTER_ADDR', '')
    try:
        if not host.strip():
            raise _wrong('MASTER_ADDR', 'the host of the process with RANK=0')
        socket.getaddrinfo(host, port)
    except (OSError, UnicodeError) as error:  # the second: a label of the name is empty or too long
        raise _wrong('MASTER_ADDR', 'the host of the process with RANK=0, and this one does not resolve') from error
    # torchrun may serve the port itself.
    if rank == 0 and os.environ.get('TORCHELASTIC_USE_AGENT_STORE') != 'True':
        try:
            socket.create_server(('', port)).close()
        except OSError as error:
            raise InputError(
                f'MASTER_PORT={port} cannot be used ({str(error.strerror).partition(" (")[0]}); set another one'
            ) from error


def _integer(name: str, least: int, most: int | None = None, meaning: str = '') -> int:
    text = os.environ.get(name, '')
    value = int(text) if re.fullmatch(r'-?[0-9]{1,9}', text) else None
    if value is None or value < least or (most is not None and value > most):
        upper = f'{meaning} = {most}' if meaning else most
        raise _wrong(name, f'an integer of at least {least}' if most is None else f'an integer from {least} to {upper}')
    return value


def _wrong(name: str, wanted: str) -> InputError:
    value = os.environ.get(name)
    if value is None:
        return InputError(f'--launcher pytorch: {name} is not set; {START}')
    return InputError(f'--launcher pytorch: {name}={short(value)!r} has to be {wanted}; set it, or {START}')
