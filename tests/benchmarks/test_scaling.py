"""The model of scaling against values worked out by hand, and the command in one process."""

import csv

import pytest
import torch
from base import build
from models.test_segmentor import read

from benchmarks.scaling import main
from benchmarks.scaling_model import COUNTS, Network, Step, expect, workers_needed
from benchmarks.steps import synthetic_batch

NAME = 'bisenetv2/bisenetv2_fcn_1xb8-400it_miniscapes-128x256.py'
# 100 MB at 10 GB/s take 10 ms, and each of them travels 2 (n - 1) / n times.
NETWORK = Network(bandwidth=10e9, latency=0)
SIZE = 100_000_000
STEP = Step(forward=0.030, backward=0.060, optimizer=0.010)


@pytest.mark.parametrize(('processes', 'milliseconds'), [(1, 0), (2, 10), (4, 15), (64, 19.6875)])
def test_a_ring(processes, milliseconds):
    assert NETWORK.all_reduce(SIZE, processes) * 1000 == pytest.approx(milliseconds, abs=1e-12)


def test_a_ring_with_latency():
    """Four processes: 6 messages of 1 ms, beside the 15 ms."""
    assert Network(10e9, 0.001).all_reduce(SIZE, 4) == pytest.approx(0.021)


def test_what_was_measured_is_expected_again():
    network = Network.from_times(SIZE, 4, large=0.021, small=0.006)
    assert (network.bandwidth, network.latency) == pytest.approx((10e9, 0.001))
    assert network.all_reduce(SIZE, 4) == pytest.approx(0.021)


def test_efficiency_where_the_backward_pass_hides_the_network():
    """100 ms a step and 15 ms of network: 100 / 115, or nothing lost."""
    four = expect(STEP, SIZE, NETWORK, 4)
    assert (four.gpus, four.all_reduce) == (4, pytest.approx(0.015))
    assert (four.low, four.high) == (pytest.approx(100 / 115), 1)


def test_efficiency_where_it_cannot():
    """A network ten times as slow: 150 ms, of which 60 are hidden."""
    four = expect(STEP, SIZE, Network(1e9, 0), 4)
    assert (four.low, four.high) == pytest.approx((100 / 250, 100 / 190))


def test_one_gpu_needs_no_network():
    one = expect(STEP, SIZE, NETWORK, 1)
    assert (one.all_reduce, one.low, one.high) == (0, 1, 1)


@pytest.mark.parametrize(('step_rate', 'loader_rate', 'workers'), [(40, 6.25, 7), (40, 10, 4), (1, 50, 1)])
def test_workers(step_rate, loader_rate, workers):
    assert workers_needed(step_rate, loader_rate) == workers


def test_a_synthetic_batch_fits_the_model():
    data = synthetic_batch(3, (32, 64), classes=5)
    assert [(image.shape, image.dtype) for image in data['inputs']] == [((3, 32, 64), torch.uint8)] * 3
    for sample in data['data_samples']:
        assert sample.gt_sem_seg.data.shape == (1, 32, 64)
        assert sample.gt_sem_seg.data.unique().tolist() == [0, 1, 2, 3, 4]


def run(configs, tmp_path, *arguments: str) -> list[dict[str, str]]:
    """The command on the demo's config, its crop and batch made smaller; the CSV that it wrote."""
    options = ['train_dataloader.batch_size=2', 'model.data_preprocessor.size=(32,64)']
    path = tmp_path / 'scaling.csv'
    command = [str(configs / NAME), '--steps', '1', '--csv', str(path), *arguments]
    assert main([*command, '--cfg-options', *options]) == 0
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def test_one_process_measures_no_network(configs, tmp_path, drawn, monkeypatch, capsys):
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    (row,) = run(configs, tmp_path)
    assert (row['gpus'], row['processes'], row['batch'], row['all_reduce_ms']) == ('1', '1', '2', '')
    assert float(row['step_images_s']) == pytest.approx(
        2000 / sum(float(row[f'{part}_ms']) for part in ('forward', 'backward', 'optimizer'))
    )
    needed = workers_needed(float(row['step_images_s']), float(row['loader_images_s']))
    assert int(row['workers_a_gpu']) == needed
    printed = capsys.readouterr().out
    assert '| all-reduce | none: one process |' in printed
    assert 'expected efficiency: give --bandwidth GB/s' in printed


def test_a_network_that_was_not_measured(configs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(tmp_path))
    rows = run(configs, tmp_path, '--bandwidth', '12.5')
    assert [int(row['gpus']) for row in rows] == list(COUNTS)
    for row in rows:
        size, gpus = int(row['gradient_bytes']), int(row['gpus'])
        travel = Network(12.5e9).all_reduce(size, gpus)
        assert float(row['expected_all_reduce_ms']) == pytest.approx(1000 * travel)
        assert float(row['efficiency_low']) <= float(row['efficiency_high']) <= 1
    model = build(read(str(configs / NAME), (32, 64)).model)
    assert size == 4 * sum(parameter.numel() for parameter in model.parameters())
    assert (rows[0]['loader_images_s'], rows[0]['workers_a_gpu']) == ('', '')
    assert (
        f'not measured: data folder {tmp_path}/miniscapes/leftImg8bit/train does not exist' in capsys.readouterr().out
    )


@pytest.mark.parametrize('arguments', [('--steps', '0'), ('--bandwidth', '0')])
def test_what_makes_no_sense(arguments, capsys):
    assert main(['some.py', *arguments]) == 2
    assert '--steps must be 1 or more, --bandwidth above 0' in capsys.readouterr().err
