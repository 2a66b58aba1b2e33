"""The training benchmark compares like with like, and its ratios are to stock at the same precision."""

import csv
import importlib
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed

from benchmarks import training, turns
from benchmarks.training import Method
from mmseg_bisenet.cli import options

NAME = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'


@pytest.fixture
def cfg(configs):
    return Config.fromfile(configs / f'bisenetv2/{NAME}.py')


@pytest.fixture
def one_process(monkeypatch):
    monkeypatch.setattr(training, 'in_child', turns.in_process)


def test_each_precision_starts_with_stock():
    for device in ('cpu', 'cuda'):
        compared = training.methods(device, compiled=True)
        precisions = list(dict.fromkeys(method.precision for method in compared))
        for precision in precisions:
            first, *others = [method for method in compared if method.precision == precision]
            assert first == Method('stock', precision)
            assert 'stock' not in [method.network for method in others]
            assert sum(method.compiled for method in others) == 1
    assert not any(method.compiled for method in training.methods('cpu', compiled=False))


def test_all_methods_lose_the_same_from_the_same_weights(cfg, monkeypatch):
    """A step of each, with equal weights: losses and gradients agree, so that equal work is compared."""
    built, losses = [], []
    revert = training.revert_sync_batchnorm

    def remember(network):
        network = revert(network)
        if built:
            network.load_state_dict(built[0].state_dict())
        built.append(network)
        parse = network.parse_losses
        network.parse_losses = lambda values: (losses.append(parse(values)[0].item()), parse(values))[1]
        for head in (network.decode_head, *network.auxiliary_head):
            head.dropout = None
        return network

    monkeypatch.setattr(training, 'revert_sync_batchnorm', remember)
    model, optimizer = cfg.model.to_dict(), cfg.optim_wrapper.to_dict()
    compared = [each for each in training.methods('cpu', compiled=False) if each.network != 'stock, our loop'][:5]
    steps = [training.prepare(method, model, optimizer, 2, (64, 64), 'cpu') for method in compared]
    for step in steps:
        step()
    torch.testing.assert_close(losses[1:3], [losses[0]] * 2, rtol=1e-5, atol=0)
    # Other kernels round differently, which norms over eight pixels amplify; then bfloat16.
    torch.testing.assert_close(losses[3], losses[0], rtol=1e-3, atol=0)
    torch.testing.assert_close(losses[4], losses[0], rtol=2e-2, atol=0)
    for network in built[1:3]:
        for (name, theirs), (same, ours) in zip(built[0].named_parameters(), network.named_parameters(), strict=True):
            assert name == same
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_ratios_are_to_stock_at_the_same_precision(cfg, monkeypatch, one_process):
    seconds = iter(range(1000))
    durations = {'stock fp32': 8.0, 'ours fp32': 2.0, 'stock amp-bf16': 4.0, 'ours amp-bf16': 2.0}
    clock = [0.0]

    def prepare(method, *others):
        def step():
            next(seconds)
            clock[0] += durations[f'{method.network} {method.precision}']

        return step

    monkeypatch.setattr(training, 'prepare', prepare)
    monkeypatch.setattr(turns.latency, 'now', lambda device: clock[0])
    monkeypatch.setattr(
        training, 'peak_bytes', lambda prepare, method, *others, device: 4e6 if method.network == 'stock' else 1e6
    )
    compared = [Method(network, precision) for precision in ('fp32', 'amp-bf16') for network in ('stock', 'ours')]
    rows = training.measure({}, {}, compared, 4, (64, 64), 3, 'cpu')
    assert next(seconds) == 4 * (2 + 3)
    assert [row['images_s'] for row in rows] == [0.5, 2.0, 1.0, 2.0]
    assert [row['speed_ratio'] for row in rows] == [1, 4, 1, 2]
    assert [row['memory_ratio'] for row in rows] == [1, 0.25, 1, 0.25]


def test_a_method_that_fails_costs_no_other_its_row(monkeypatch, capsys, one_process):
    """While it is built, in its second step, or while its memory is measured."""
    stock, built, trained, counted = (
        Method('stock', 'fp32'),
        Method('ours', 'fp32', channels_last=True),
        Method('ours', 'fp32'),
        Method('ours, stock loss', 'fp32'),
    )
    steps = []

    def prepare(method, *others):
        def step():
            steps.append(method)
            if method == trained and steps.count(method) == 2:
                raise torch.OutOfMemoryError('CUDA out of memory.\nTried')

        if method == built:
            raise BackendCompilerFailed('inductor', RuntimeError('no compiler'), [])
        return step

    def peak(prepare, method, *others, device):
        if method == counted:
            raise MemoryError
        return 2e6

    monkeypatch.setattr(training, 'prepare', prepare)
    monkeypatch.setattr(training, 'peak_bytes', peak)
    rows = training.measure({}, {}, [stock, built, trained, counted], 4, (64, 64), 1, 'cpu')
    assert [(row['network'], row['peak_mb'], row['memory_ratio']) for row in rows] == [
        ('stock', 2, 1),
        ('ours, stock loss', '', ''),
    ]
    assert all(row['speed_ratio'] > 0 for row in rows)
    assert capsys.readouterr().err.splitlines() == [
        'ours fp32 channels_last left out: no compiler',
        'ours fp32 left out: CUDA out of memory.',
        'peak memory of ours, stock loss fp32 left out: MemoryError',
    ]
    rows = training.measure({}, {}, [built, counted], 4, (64, 64), 1, 'cpu')
    assert [row['speed_ratio'] for row in rows] == ['']  # its base has no row
    assert training._cells(rows[0])[-3:] == ['', '', '']


class Times(nn.Module):
    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


def test_each_batch_size_is_compiled_for_itself(monkeypatch, one_process):
    """More compiled networks than Dynamo's limit, at two batch sizes; none falls back to eager mode."""
    before, shapes = torch._dynamo.utils.counters['stats']['unique_graphs'], []

    def backend(graph, inputs):
        shapes.append(tuple(inputs[-1].shape))
        return graph

    def prepare(method, model, optimizer, batch, crop, device):
        layer = Times(len(method.precision))
        layer.compile(dynamic=False, backend=backend)
        return lambda: layer(torch.ones(batch, 3, 3))

    monkeypatch.setattr(training, 'prepare', prepare)
    monkeypatch.setattr(training, 'peak_bytes', lambda *_, device: 1)
    compared = [Method('ours', precision, compiled=True) for precision in ('fp32', 'amp-bf16')]
    with torch._dynamo.config.patch(recompile_limit=2, fail_on_recompile_limit_hit=True):
        for batch in (2, 4):
            training.measure({}, {}, compared, batch, (64, 64), 1, 'cpu')
    assert shapes == [(2, 3, 3)] * 2 + [(4, 3, 3)] * 2
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] - before == 4


def test_the_compiled_backbone_takes_one_size(cfg, monkeypatch):
    options = []
    monkeypatch.setattr(nn.Module, 'compile', lambda self, **given: options.append(given))
    model, optimizer = cfg.model.to_dict(), cfg.optim_wrapper.to_dict()
    training.prepare(Method('ours', 'fp32', compiled=True), model, optimizer, 2, (64, 64), 'cpu')
    assert options == [dict(dynamic=False)]


def test_the_batch_lies_on_the_device_with_its_labels(cfg, monkeypatch):
    seen = []

    def build(config):
        network = MODELS.build(config)
        network.data_preprocessor.register_forward_pre_hook(lambda module, given: seen.append(given[0]) or stop())
        return network

    def stop():
        raise KeyboardInterrupt

    monkeypatch.setattr(training, 'MODELS', SimpleNamespace(build=build))
    step = training.prepare(
        Method('ours', 'fp32'), cfg.model.to_dict(), cfg.optim_wrapper.to_dict(), 2, (64, 64), 'meta'
    )
    with pytest.raises(KeyboardInterrupt):
        step()
    (data,) = seen
    assert {image.device.type for image in data['inputs']} == {'meta'}
    assert [sample.gt_sem_seg.data.device.type for sample in data['data_samples']] == ['meta', 'meta']


@pytest.mark.parametrize(('device', 'chosen', 'written'), [('cuda', True, True), ('cpu', False, '')])
def test_cudnn_chooses_as_in_a_training(monkeypatch, one_process, device, chosen, written):
    seen = []
    monkeypatch.setattr(training, 'prepare', lambda *_: lambda: seen.append(torch.backends.cudnn.benchmark))
    monkeypatch.setattr(torch.backends.cudnn, 'benchmark', False)  # a runner of another test may have set it
    monkeypatch.setattr(turns.latency, 'now', lambda device: len(seen))
    monkeypatch.setattr(training, 'peak_bytes', lambda prepare, *others, device: prepare(*others)() or 1e6)
    assert not torch.backends.cudnn.benchmark
    rows = training.measure({}, {}, [Method('stock', 'fp32'), Method('ours', 'fp32')], 4, (64, 64), 1, device)
    assert seen == [chosen] * (2 * 3 + 2)  # steps, and one of each for its memory
    assert [row['cudnn_benchmark'] for row in rows] == [written, written]
    assert not torch.backends.cudnn.benchmark


def test_the_command_writes_a_row_for_each_method(tmp_path, capsys, monkeypatch, one_process):
    compared = [Method('stock', 'fp32'), Method('ours', 'fp32', channels_last=True)]
    monkeypatch.setattr(training, 'methods', lambda device, compiled: compared)
    monkeypatch.setattr(
        training, 'peak_bytes', lambda *args, device: 1000
    )  # each would start a process; tested elsewhere
    path = tmp_path / 'training.csv'
    arguments = [NAME, '--batch', '2', '--shape', '64', '64', '--steps', '1', '--csv', str(path)]
    assert training.main(arguments) == 0
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row['network'], row['channels_last']) for row in rows] == [('stock', 'False'), ('ours', 'True')]
    assert all(float(row['images_s']) > 0 and row['machine'] for row in rows)
    assert 'batch 2 of 64x64, 19 classes' in capsys.readouterr().out


def test_our_networks_keep_freed_memory_and_stock_does_not(cfg, monkeypatch):
    calls = []
    monkeypatch.setattr(training, 'keep_freed_memory', lambda: calls.append(1))
    monkeypatch.setattr(training, 'MODELS', SimpleNamespace(build=lambda _: 1 / 0))  # which comes after it
    counts = {}
    for device in ('cpu', 'meta'):
        for method in training.methods('cpu', compiled=False)[:4]:
            calls.clear()
            with pytest.raises(ZeroDivisionError):
                training.prepare(method, cfg.model.to_dict(), {}, 2, (64, 64), device)
            counts[method.network, device] = len(calls)
    assert {key for key, count in counts.items() if count} == {
        ('stock, our loop', 'cpu'),
        ('ours, stock loss', 'cpu'),
        ('ours', 'cpu'),
    }
    assert len(counts) == 8


def test_sizes_that_are_too_small_are_refused(capsys):
    for arguments, message in {
        ('--steps', '0'): '--shape and --steps must be 1 or more',
        ('--batch', '4', '1'): '--batch 1: batch norm over 1x1 maps needs 2 images or more',
    }.items():
        assert training.main([NAME, *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith(message)


@pytest.mark.parametrize('name', ['training', 'accuracy', 'roofline', 'evaluation', 'scaling'])
def test_a_table_that_cannot_be_written_is_refused_before_the_work(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(options, 'load', lambda args: pytest.fail('the work began'))
    (tmp_path / 'file').touch()
    for path, message in {
        tmp_path: 'is a folder; name another with --csv',
        tmp_path / 'file' / 'x.csv': 'is no folder; name',
    }.items():
        assert importlib.import_module(f'benchmarks.{name}').main([NAME, '--csv', str(path)]) == 2
        assert message in capsys.readouterr().err
