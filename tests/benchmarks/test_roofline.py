"""The lower bounds follow from counts and rates."""

import csv

import pytest
import torch

import mmseg_bisenet
from benchmarks import roofline

NAME = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'


def test_lower_bounds(monkeypatch):
    monkeypatch.setattr(roofline, 'product_rate', lambda precision, *others: {'fp32': 1e11}.get(precision, 2e11))
    monkeypatch.setattr(roofline, 'copy_rate', lambda *others: 1e10)
    rows = {row['precision']: row for row in roofline.measure(mmseg_bisenet.get_model(NAME), 512, 1024, 'cpu')}
    # Multiply-adds at 512x1024 as in `complexity.csv`: 24.7 G.
    assert rows['fp32']['multiply_adds_g'] == pytest.approx(24.7, abs=0.1)
    assert rows['fp32']['compute_bound_ms'] == pytest.approx(10 * rows['fp32']['multiply_adds_g'])
    assert rows['bf16']['compute_bound_ms'] == pytest.approx(5 * rows['fp32']['multiply_adds_g'])
    assert rows['fp32']['memory_bound_ms'] == pytest.approx(4 * rows['int8']['memory_bound_ms'])


def test_the_rate_is_of_the_faster_product(monkeypatch):
    seconds = iter([0.5, 0.25, 0.125])
    monkeypatch.setattr(roofline, '_fastest', lambda work, device, repeats: (work(), next(seconds))[1])
    assert roofline.product_rate('fp32', 'cpu', 1) == 2048**3 / 0.25
    assert roofline.product_rate('int8', 'cpu', 1) == 2048**3 / 0.125


@pytest.mark.parametrize(('precision', 'rounds'), [('fp32', False), ('tf32', True), ('bf16', False)])
def test_only_tf32_rounds_and_what_was_set_is_restored(monkeypatch, precision, rounds):
    seen = []

    def flags() -> tuple[bool, bool]:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    monkeypatch.setattr(roofline, '_fastest', lambda *_: seen.append(flags()) or 1.0)
    before = flags()
    assert before == (True, False)  # PyTorch's own
    # On `meta` a product takes no time; the device represents everything but a CPU.
    assert roofline.product_rate(precision, 'meta', 1) == 8192**3
    assert seen == [(rounds, rounds)] * 2
    assert flags() == before


def test_a_gpu_has_a_row_for_tf32(monkeypatch):
    monkeypatch.setattr(roofline, 'product_rate', lambda *others: 1e12)
    monkeypatch.setattr(roofline, 'copy_rate', lambda *others: 1e12)
    rows = roofline.measure(mmseg_bisenet.get_model(NAME), 64, 64, 'cuda')
    assert [row['precision'] for row in rows] == ['fp32', 'tf32', 'bf16', 'fp16', 'int8']
    assert rows[1]['memory_bound_ms'] == rows[0]['memory_bound_ms'] == 2 * rows[2]['memory_bound_ms']


def test_a_gpu_is_waited_for_once_in_many_runs(monkeypatch):
    clock, runs = iter([0, 40, 0, 40, 0, 100, 0, 60]), []
    monkeypatch.setattr(roofline.latency, 'now', lambda device: next(clock))
    assert roofline._fastest(lambda: runs.append(1), 'cuda', 2) == 60 / roofline.MANY
    assert len(runs) == 4 * roofline.MANY


def test_the_fastest_run_counts_and_warm_up_does_not(monkeypatch):
    clock = iter([0, 1, 0, 1, 0, 8, 0, 4, 0, 6])
    monkeypatch.setattr(roofline.latency, 'now', lambda device: next(clock))
    assert roofline._fastest(lambda: torch.is_inference_mode_enabled() or pytest.fail(), 'cpu', 3) == 4


def test_the_command_writes_a_row_for_each_precision(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(roofline, 'product_rate', lambda *others: 1e11)
    monkeypatch.setattr(roofline, 'copy_rate', lambda *others: 1e10)
    path = tmp_path / 'roofline.csv'
    assert roofline.main([NAME, '--shape', '64', '64', '--csv', str(path)]) == 0
    assert '64x64: ' in capsys.readouterr().out
    with path.open() as file:
        assert [row['precision'] for row in csv.DictReader(file)] == ['fp32', 'bf16', 'int8']
    assert roofline.main([NAME, '--shape', '0', '64']) == 2
