"""The benchmark of faces: our labels are those of the reference, and its file is known."""

import csv

import pytest
import torch

from benchmarks import faces, kinds


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(faces.latency, 'PAUSE', 0)


def test_the_labels_are_those_of_the_reference(tmp_path, capsys):
    torch.save(faces.random_weights(), tmp_path / 'faces.pth')
    arguments = ['--checkpoint', str(tmp_path / 'faces.pth'), '--shape', '64', '96', '--images', '2', '--warmup', '0']
    csv_file = tmp_path / 'faces.csv'
    assert faces.main([*arguments, '--runtimes', 'torch:fp32', 'eager', '--csv', str(csv_file)]) == 0
    assert '| reference | fp32 |' in capsys.readouterr().out
    with csv_file.open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['method'] for row in rows] == ['reference', 'torch', 'eager']
    assert all(float(row['same_labels']) >= 99.9 for row in rows)  # near ties of random weights
    assert float(rows[0]['same_labels']) == 100
    assert float(rows[0]['to_reference']) == 1 and float(rows[1]['p50_ms']) > 0
    kind, _ = kinds.read(csv_file)
    assert kinds.command(kind, rows) == 'python -m benchmarks.faces --shape 64 96 --images 2'


@pytest.mark.parametrize(
    ('arguments', 'problem'),
    [(['--images', '0'], '--images 1 or more'), (['--runtimes', 'tflite'], 'tflite'), (['--shape', '8', '8'], '64 64')],
)
def test_wrong_options(arguments, problem, capsys):
    assert faces.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('benchmarks.faces: error: ') and problem in line
