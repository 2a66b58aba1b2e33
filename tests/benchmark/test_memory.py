"""Peak memory of known work, and the table of losses."""

import csv

import pytest
import torch

from mmseg_bisenet.benchmark import loss
from mmseg_bisenet.benchmark.memory import peak_bytes
from mmseg_bisenet.cli import main

MB = 10**6


def holds(kept: int, passing: int):
    """Keeps one tensor, and what is returned makes another one, of so many megabytes, for a moment."""
    tensor = torch.ones(kept * MB // 4)
    return lambda: torch.ones(passing * MB // 4).sum() + tensor[0]


def test_only_the_work_counts():
    assert 200 * MB < peak_bytes(holds, 100, 200) < 230 * MB


def breaks():
    raise RuntimeError('broken')


def test_work_that_fails_is_an_error():
    with pytest.raises(MemoryError, match='breaks'):
        peak_bytes(breaks)


def test_each_kind_computes_its_loss():
    setting = loss.Setting(batch=1, height=64, width=64, classes=5, heads=2)
    values = {kind: loss.prepare(kind, setting)().item() for kind in loss.KINDS}
    assert values['cross entropy'] == pytest.approx(values['stock cross entropy'], rel=1e-5)
    assert values['OHEM'] > values['cross entropy']


def test_table_and_csv(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loss, 'peak_bytes', lambda *_, **__: 2 * MB)  # a process for each
    file = tmp_path / 'loss.csv'
    assert main(['benchmark-loss', '--shape', '64', '64', '--batch', '1', '--repeats', '1', '--csv', str(file)]) == 0
    rows = list(csv.DictReader(file.open()))
    assert [row['loss'] for row in rows] == list(loss.KINDS)
    assert float(rows[0]['time_ratio']) == float(rows[2]['memory_ratio']) == 1
    assert all(float(row['peak_mb']) == 2 for row in rows)
    assert '| stock OHEM |' in capsys.readouterr().out
    assert main(['benchmark-loss', '--heads', '0']) == 2
