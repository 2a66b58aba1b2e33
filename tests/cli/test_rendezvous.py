"""The variables of ``--launcher pytorch`` are checked before any work."""

import socket

import pytest

from mmseg_bisenet.cli import main, rendezvous

WHOLE = dict(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT='0')
START = 'start it with torchrun or mim train --launcher pytorch'


@pytest.fixture
def whole(monkeypatch):
    """A right environment."""
    monkeypatch.delenv('TORCHELASTIC_USE_AGENT_STORE', raising=False)
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)
    rendezvous.check()


@pytest.mark.parametrize('command', [['train', 'none.py'], ['test', 'none.py', 'none.pth']])
@pytest.mark.parametrize('name', WHOLE)
def test_missing_variables_are_named(whole, monkeypatch, capsys, command, name):
    monkeypatch.delenv(name)
    assert main([*command, '--launcher', 'pytorch']) == 2
    assert capsys.readouterr().err == f'mmseg-bisenet: error: --launcher pytorch: {name} is not set; {START}\n'


@pytest.mark.parametrize(
    'name, value, wanted',
    [
        ('RANK', '-1', 'an integer from 0 to WORLD_SIZE - 1 = 0'),
        ('RANK', '3', 'an integer from 0 to WORLD_SIZE - 1 = 0'),
        ('LOCAL_RANK', 'x', 'an integer from 0 to WORLD_SIZE - 1 = 0'),
        ('WORLD_SIZE', '0', 'an integer of at least 1'),
        ('WORLD_SIZE', '', 'an integer of at least 1'),
        ('MASTER_PORT', '65536', 'an integer from 0 to 65535'),
        ('MASTER_ADDR', '', 'the host of the process with RANK=0'),
        ('MASTER_ADDR', 'a..b', 'the host of the process with RANK=0, and this one does not resolve'),
    ],
)
def test_impossible_values_are_named(whole, monkeypatch, capsys, name, value, wanted):
    monkeypatch.setenv(name, value)
    assert main(['train', 'none.py', '--launcher', 'pytorch']) == 2
    assert capsys.readouterr().err == (
        f'mmseg-bisenet: error: --launcher pytorch: {name}={value!r} has to be {wanted}; set it, or {START}\n'
    )


def test_a_port_in_use_is_named_by_the_process_that_needs_it(whole, monkeypatch, capsys):
    with socket.create_server(('127.0.0.1', 0)) as place:
        port = str(place.getsockname()[1])
        monkeypatch.setenv('MASTER_PORT', port)
        assert main(['train', 'none.py', '--launcher', 'pytorch']) == 2
        assert capsys.readouterr().err == (
            f'mmseg-bisenet: error: MASTER_PORT={port} cannot be used (Address already in use); set another one\n'
        )
        monkeypatch.setenv('TORCHELASTIC_USE_AGENT_STORE', 'True')  # torchrun serves it
        rendezvous.check()
