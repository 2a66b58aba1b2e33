"""Work in a process of its own is timed there, and tells what failed."""

import os
import time

import pytest
from processes import CONTEXT

from benchmarks import turns


@pytest.fixture(autouse=True)
def processes_that_start_quickly(monkeypatch):
    monkeypatch.setattr(turns.multiprocessing, 'get_context', lambda _: CONTEXT)


def sleeps(seconds: float, parent: int):
    if os.getpid() == parent:
        raise RuntimeError('in the same process')
    return lambda: time.sleep(seconds)


def fails(when: str):
    def work():
        raise RuntimeError('no memory\nfor this') if when == 'work' else MemoryError

    if when == 'preparation':
        raise RuntimeError('no compiler\nat all')
    if when == 'end':
        return lambda: os._exit(3)
    return work


def test_the_time_of_the_work_is_measured_elsewhere():
    with turns.in_child('cpu', sleeps, 0.02, os.getpid()) as run:
        assert run() >= 20
        assert run() >= 20


@pytest.mark.parametrize(
    ('when', 'error', 'message'),
    [
        ('preparation', RuntimeError, '^no compiler$'),
        ('work', RuntimeError, '^no memory$'),
        ('memory', RuntimeError, '^MemoryError$'),
        ('end', MemoryError, 'its process ended'),
    ],
)
def test_what_fails_there_is_raised_here(when, error, message):
    with pytest.raises(error, match=message), turns.in_child('cpu', fails, when) as run:
        run()
