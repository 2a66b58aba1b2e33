"""Ports of this machine that nothing else takes between the choice and the use.

A port that the system gave, to a socket that asked for any, can be given again to the next one that asks, such as one
of Gloo's, before a test uses it.
"""

import itertools
import os
import random
import socket

SHARE = 500  # ports a worker of pytest

# Below 32768 Linux gives none by itself (ip_local_port_range).
_FIRST = 20000 + int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0')[2:]) % 25 * SHARE
# In an order of its own, so that a second run of the tests on this machine takes others.
_PORTS = itertools.cycle(random.SystemRandom().sample(range(_FIRST, _FIRST + SHARE), SHARE))


def free_ports(count: int) -> list[int]:
    """That many ports on which nobody listens, other ones at each call."""
    ports: list[int] = []
    while len(ports) < count:
        port = next(_PORTS)
        with socket.socket() as place:
            try:
                place.bind(('127.0.0.1', port))
            except OSError:
                continue
        ports.append(port)
    return ports
