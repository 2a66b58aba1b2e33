"""Floors follow from counts and rates."""

import csv

import pytest
import torch

import mmseg_bisenet
from mmseg_bisenet import cli
from mmseg_bisenet.benchmark import roofline

NAME = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'


def test_floors(monkeypatch):
    monkeypatch.setattr(roofline, 'product_rate', lambda precision, *others: {'fp32': 1e11}.get(precision, 2e11))
    monkeypatch.setattr(roofline, 'copy_rate', lambda *others: 1e10)
    rows = {row['precision']: row for row in roofline.measure(mmseg_bisenet.get_model(NAME), 512, 1024, 'cpu')}
    # Multiply-adds at 512x1024 as in `complexity.csv`: 24.7 G.
    assert rows['fp32']['multiply_adds_g'] == pytest.approx(24.7, abs=0.1)
    assert rows['fp32']['compute_floor_ms'] == pytest.approx(10 * rows['fp32']['multiply_adds_g'])
    assert rows['bf16']['compute_floor_ms'] == pytest.approx(5 * rows['fp32']['multiply_adds_g'])
    assert rows['fp32']['memory_floor_ms'] == pytest.approx(4 * rows['int8']['memory_floor_ms'])


def test_the_rate_is_of_the_faster_product(monkeypatch):
    seconds = iter([0.5, 0.25, 0.125])
    monkeypatch.setattr(roofline, '_fastest', lambda work, device, repeats: (work(), next(seconds))[1])
    assert roofline.product_rate('fp32', 'cpu', 1) == 2048**3 / 0.25
    assert roofline.product_rate('int8', 'cpu', 1) == 2048**3 / 0.125


def test_the_fastest_run_counts_and_warm_up_does_not(monkeypatch):
    clock = iter([0, 1, 0, 1, 0, 8, 0, 4, 0, 6])
    monkeypatch.setattr(roofline.latency, 'now', lambda device: next(clock))
    assert roofline._fastest(lambda: torch.is_inference_mode_enabled() or pytest.fail(), 'cpu', 3) == 4


def test_the_command_writes_a_row_for_each_precision(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(roofline, 'product_rate', lambda *others: 1e11)
    monkeypatch.setattr(roofline, 'copy_rate', lambda *others: 1e10)
    path = tmp_path / 'roofline.csv'
    assert cli.main(['benchmark-roofline', NAME, '--shape', '64', '64', '--csv', str(path)]) == 0
    assert '64x64: ' in capsys.readouterr().out
    with path.open() as file:
        assert [row['precision'] for row in csv.DictReader(file)] == ['fp32', 'bf16', 'int8']
    assert cli.main(['benchmark-roofline', NAME, '--shape', '0', '64']) == 2
