"""What the tests of the command share."""

import signal
from collections.abc import Callable

import pytest

from mmseg_bisenet.cli import ending, list_models, main


@pytest.fixture
def ends(monkeypatch, capsys) -> Callable:
    """Run a command that does ``work``: the exit status, and what it wrote to stderr."""

    def run(work: Callable, *options: str) -> tuple[int, str]:
        monkeypatch.setattr(list_models, 'run', lambda args: work())
        monkeypatch.setattr(ending, 'GRACE', 60)  # so that a slow machine does not end the tests
        before = [signal.getsignal(signum) for signum in ending.NAMES]
        status = main(['list', *options])
        assert [signal.getsignal(signum) for signum in ending.NAMES] == before
        return status, capsys.readouterr().err

    return run
