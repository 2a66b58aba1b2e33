"""The benchmark of file formats: what its rows hold, and what it asks of the machine."""

import csv
import json
from subprocess import CompletedProcess

import pytest
from deploy.about import ABOUT, write_about

from benchmarks import formats, kinds
from mmseg_bisenet.deploy.backends.base import beside, write_beside

TIMES = dict(ncnn=iter(('30.25', '10.00', '20.50')), executorch=iter(('5.00', '7.00', '6.00')))
SUFFIXES = dict(ncnn='.param', executorch='.pte')


def write(format, folder):
    """A file of that format, without a network."""
    path = folder / f'net{SUFFIXES[format]}'
    parts = formats.FORMATS[format].parts(path)
    for part in parts:
        part.write_bytes(bytes(500_000))
    write_beside(parts, ABOUT | dict(format=format, versions={format: '1.2'}))
    write_about(path, json.loads(beside(path).read_text()))
    return path


def test_rows(tmp_path, monkeypatch, capsys):
    commands = []

    def call(format, *arguments):
        commands.append((arguments[0], format))
        if arguments[0] == 'verify':
            return CompletedProcess(
                arguments, 0, f'FILE: {format}\nlabels  ...\ntime    {next(TIMES[format])} ms an image'
            )
        log = '99.125% of the labels equal those of PyTorch in fp32, 100.000% except for ties'
        return CompletedProcess(arguments, 0, f'{write(format, tmp_path)}  1.0 MB\nrun it: ...', log)

    monkeypatch.setattr(formats, 'call', call)
    table = tmp_path / 'formats.csv'
    arguments = ['--files', 'ncnn:fp32', 'executorch:fp32', '--shape', '64', '96', '--rounds', '3', '--csv', str(table)]
    assert formats.main(arguments) == 0
    assert commands[:2] == [('export', 'ncnn'), ('export', 'executorch')]
    assert commands[2:] == 3 * [('verify', 'ncnn'), ('verify', 'executorch')]  # in turns
    assert '| ncnn | fp32 | ncnn 1.2 | 1.0 | 99.125 | 20.5 |' in capsys.readouterr().out
    with table.open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(row['format'], float(row['size_mb']), float(row['ms'])) for row in rows] == [
        ('ncnn', 1, 20.5),
        ('executorch', 0.5, 6),
    ]
    kind, _ = kinds.read(table)
    expected = 'python -m benchmarks.formats bisenetv2_camvid --shape 64 96 --rounds 3 --calibration 100'
    assert kinds.command(kind, rows) == expected


@pytest.mark.parametrize(
    ('arguments', 'problem'),
    [
        (['--rounds', '0'], '--rounds 0: give 1 or more'),
        (['--files', 'ncnn:int8'], '--files ncnn:int8: give FORMAT:PRECISION as onnx:fp32, '),
        (['--files', 'ncnn:fp32'], 'format ncnn: no environment .venv-ncnn; run: make test-extras'),
    ],
)
def test_what_is_wrong(arguments, problem, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(formats, 'ROOT', tmp_path)
    assert formats.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('benchmarks.formats: error: ') and problem in line


def test_a_command_that_fails():
    with pytest.raises(
        formats.InputError, match=r'^mmseg-bisenet verify of format onnx: exported file no.onnx does not'
    ):
        formats.call('onnx', 'verify', 'no.onnx')
