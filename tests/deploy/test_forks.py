"""A process that is forked after a network was used: PyTorch's threads are not in it, and it does not wait for them."""

import os
import signal
import time
import warnings
from collections.abc import Callable

import numpy as np
import pytest

from mmseg_bisenet.deploy import load

STREET = np.random.RandomState(0).randint(0, 256, (64, 128, 3), dtype=np.uint8)


def in_a_child(work: Callable[[], object]) -> int:
    """The exit status of a forked process: 0 if ``work`` is true. It is killed if it takes too long."""
    child = os.fork()
    if not child:
        status = 1
        try:
            status = int(not work())
        finally:
            os._exit(status)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize('runtime', ['eager', 'torch'])
def test_a_child_serves(small_segmentor, runtime):
    def load_and_label() -> bool:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            again = load(small_segmentor, runtime=runtime, shape=(64, 128), threads=2)
        said = [str(warning.message) for warning in caught if 'was forked from' in str(warning.message)]
        return said[0].startswith('threads=2: this process') and (again(STREET) == labels).all()

    segment = load(small_segmentor, runtime=runtime, shape=(64, 128), threads=2)
    labels = segment(STREET)
    assert in_a_child(lambda: (segment(STREET) == labels).all()) == 0
    assert in_a_child(load_and_label) == 0
