"""The benchmark of losses computes each kind of loss, and writes a table."""

import csv

import pytest

from benchmarks import loss

MB = 10**6


def test_each_kind_computes_its_loss():
    setting = loss.Setting(batch=1, height=64, width=64, classes=5, heads=2)
    values = {kind: loss.prepare(kind, setting)().item() for kind in loss.KINDS}
    assert values['cross entropy'] == pytest.approx(values['stock cross entropy'], rel=1e-5)
    assert values['OHEM'] > values['cross entropy']


def test_table_and_csv(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loss, 'peak_bytes', lambda *_, **__: 2 * MB)  # a process for each
    file = tmp_path / 'loss.csv'
    assert loss.main(['--shape', '64', '64', '--batch', '1', '--repeats', '1', '--csv', str(file)]) == 0
    rows = list(csv.DictReader(file.open()))
    assert [row['loss'] for row in rows] == list(loss.KINDS)
    assert float(rows[0]['time_ratio']) == float(rows[2]['memory_ratio']) == 1
    assert all(float(row['peak_mb']) == 2 for row in rows)
    assert '| stock OHEM |' in capsys.readouterr().out
    assert loss.main(['--heads', '0']) == 2
