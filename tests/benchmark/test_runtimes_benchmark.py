"""The benchmark of runtimes: what each protocol times, which methods are compared, the figures, and the command."""

import csv
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from base import assert_nearly_same_labels
from full_disk import largest_file
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from test_latency import Clock
from torch import nn
from work import MB, holds

from mmseg_bisenet import install, model_index
from mmseg_bisenet.benchmark import comparison, latency, machine, methods, picture, plain
from mmseg_bisenet.benchmark.latency import Method
from mmseg_bisenet.benchmark.memory import held_bytes
from mmseg_bisenet.benchmark.methods import Job
from mmseg_bisenet.cli import benchmark, main
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.miniscapes import draw_scene

V2 = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'
V1 = 'bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024'
SIZE = (64, 128)


# -- protocols ---------------------------------------------------------------------------------------------------------


class FakeSegmentor(nn.Module):
    """3 ms of pre-processing, 20 of network, 5 to labels, which are the blue channel."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.trainings = clock, []
        self.decode_head = nn.Module()
        self.decode_head.conv_seg = nn.Identity()

    def data_preprocessor(self, data: dict, training: bool = False) -> dict:
        self.clock.move(3)
        self.trainings.append(training)
        return data

    def forward(self, inputs: list, data_samples: list, mode: str) -> list:
        assert mode == 'predict' and not torch.is_grad_enabled()
        self.clock.move(20)
        self.decode_head.conv_seg(inputs[0])
        self.clock.move(5)
        data_samples[0].pred_sem_seg = PixelData(data=inputs[0][:1].long())
        return data_samples

    def test_step(self, data: dict) -> list:
        return self(**self.data_preprocessor(data), mode='predict')


def fake_job(protocol: str) -> Job:
    return Job('', '', draw_scene(0, (128, 256))[0], protocol, 'cpu', '')


@pytest.mark.parametrize(('protocol', 'expected', 'training'), [('ours', 28, False), ('stock', 25, True)])
def test_what_is_timed(monkeypatch, protocol, expected, training):
    clock, job = Clock(), fake_job(protocol)
    model = FakeSegmentor(clock)
    monkeypatch.setattr(methods, 'reference', lambda *_: model)
    method = methods.prepare(job, 'stock', 'fp32')
    elapsed, labels = latency.lap(method, clock)
    assert elapsed == pytest.approx(expected)
    assert model.trainings == [training]
    np.testing.assert_array_equal(labels, job.image[..., 0])


def test_the_stages(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(methods, 'reference', lambda *_: FakeSegmentor(clock))
    monkeypatch.setattr(latency, 'now', lambda device: clock())
    assert methods.prepare(fake_job('ours'), 'stock', 'fp32').stages() == pytest.approx((3, 20, 5))


def test_the_paper_resizes_both_ways(monkeypatch):
    clock, job = Clock(), fake_job('paper')
    monkeypatch.setattr(methods, 'reference', lambda *_: FakeSegmentor(clock))
    elapsed, labels = latency.lap(methods.prepare(job, 'stock', 'fp32'), clock)
    assert job.shape == (64, 128)
    assert elapsed == pytest.approx(28)
    half = cv2.resize(job.image, (128, 64))[..., 0]
    np.testing.assert_array_equal(labels, half.repeat(2, axis=0).repeat(2, axis=1))
    on_gpu = methods.halved(lambda image: image[..., 0], job.shape)(torch.from_numpy(job.image))
    np.testing.assert_array_equal(on_gpu, labels)


# -- methods -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def job(configs, tmp_path) -> Job:
    """A job with the real network and random weights."""
    from mmengine.config import Config

    config = configs / 'bisenetv2' / f'{V2}.py'
    cfg = Config.fromfile(config)
    torch.save(dict(state_dict=latency.build(cfg, None, 'cpu').state_dict()), tmp_path / 'weights.pth')
    return Job(str(config), str(tmp_path / 'weights.pth'), draw_scene(0, SIZE)[0], 'ours', 'cpu', str(tmp_path))


def labels_of(job: Job, runtime: str, precision: str = 'fp32') -> np.ndarray:
    return np.asarray(latency.lap(methods.prepare(job, runtime, precision), lambda: 0)[1])


def test_every_method_has_the_labels_of_stock(job):
    model = methods.reference(job, 'cpu')
    assert type(model).__module__.startswith('mmseg.') and type(model.backbone).__module__.startswith('mmseg.')
    pixels = torch.from_numpy(job.image).permute(2, 0, 1).contiguous()
    sample = SegDataSample(metainfo=dict(img_shape=SIZE, ori_shape=SIZE))
    with torch.no_grad():
        expected = model.test_step(dict(inputs=[pixels], data_samples=[sample]))[0].pred_sem_seg.data[0].numpy()
    assert len(np.unique(expected)) > 1
    for runtime in ('stock', 'eager'):
        np.testing.assert_array_equal(labels_of(job, runtime), expected, err_msg=runtime)
    assert_nearly_same_labels(labels_of(job, 'torch'), expected)


def test_labels_are_compared_with_those_of_the_image_alone(job):
    """Protocol ``stock`` pads it to ``data_preprocessor.size``, and shrinks the labels of the whole."""
    found = comparison._expected(replace(job, protocol='stock'))
    np.testing.assert_array_equal(found, labels_of(job, 'eager'))


def test_the_plain_route_has_the_labels_of_stock(job):
    expected = labels_of(job, 'stock')
    for runtime, modules in plain.NEEDS.items():
        for name in modules:
            pytest.importorskip(name)
        labels = labels_of(job, runtime)
        assert labels.dtype == np.uint8
        assert_nearly_same_labels(labels, expected, runtime)


def without_the_plain_route(monkeypatch) -> None:
    monkeypatch.setattr(comparison, '_missing', lambda name, quantized: ['onnx'] if name in plain.NEEDS else [])


def test_which_methods_are_compared(monkeypatch):
    monkeypatch.setattr(comparison, '_missing', lambda name, quantized: [])
    pairs, left_out = comparison.choose(['openvino', 'eager'], ['fp32', 'int8'], 'stock', 'cpu')
    assert pairs == [
        ('stock', 'fp32'),
        ('plain-onnxruntime', 'fp32'),
        ('plain-openvino', 'fp32'),
        ('plain-openvino', 'int8'),
        ('openvino', 'fp32'),
        ('openvino', 'int8'),
        ('eager', 'fp32'),
    ]
    assert [line.split(':')[0] for line in left_out] == ['eager int8 left out']
    pairs, _ = comparison.choose(['torch', 'plain-openvino'], ['fp32'], 'none', 'cpu')
    assert pairs == [('torch', 'fp32'), ('plain-openvino', 'fp32')]
    without_the_plain_route(monkeypatch)
    pairs, left_out = comparison.choose(['torch'], ['fp32'], 'stock', 'cpu')
    assert pairs == [('stock', 'fp32'), ('torch', 'fp32')]
    assert left_out[0] == f'plain-onnxruntime fp32 left out: onnx not installed; run: {install.command("export")}'


def test_ratios_are_to_equal_precision(monkeypatch):
    clock = Clock()
    cost = {('stock', 'fp32'): 80, ('openvino', 'fp32'): 40, ('openvino', 'bf16'): 20, ('torch', 'bf16'): 10}
    label = {('torch', 'bf16'): 1}

    def prepare(job: Job, runtime: str, precision: str) -> Method:
        pair = runtime, precision
        labels = np.zeros((2, 4), np.uint8)
        labels[0, 0] = label.get(pair, 0)
        return Method(*pair, lambda _: clock.move(cost[pair]) or labels, lambda: None)

    monkeypatch.setattr(methods, 'prepare', prepare)
    monkeypatch.setattr(latency, 'now', lambda device: clock())
    monkeypatch.setattr(latency, 'PAUSE', 0)
    monkeypatch.setattr(comparison, 'held_bytes', lambda *_, **__: 3 * MB)
    rows, _ = comparison.compare(fake_job('ours'), list(cost), 'openvino', images=3, warmup=1)
    assert [(row['runtime'], row['precision']) for row in rows] == list(cost)
    assert [row['fps'] for row in rows] == pytest.approx([12.5, 25, 50, 100])
    assert [row['ratio'] for row in rows] == pytest.approx([0.5, 1, 1, 2])
    assert [row['same_labels'] for row in rows] == [100, 100, 100, 87.5]
    assert {row['peak_mb'] for row in rows} == {3}
    rows, left_out = comparison.compare(fake_job('ours'), list(cost), 'none', images=1, warmup=0)
    assert ({row['ratio'] for row in rows}, left_out) == ({''}, [])


def test_what_fails_as_it_is_prepared_is_left_out(monkeypatch):
    def prepare(job: Job, runtime: str, precision: str) -> Method:
        if precision == 'int8':
            raise InputError('too few labels')
        return Method(runtime, precision, lambda _: np.zeros((2, 4), np.uint8), lambda: None)

    monkeypatch.setattr(methods, 'prepare', prepare)
    monkeypatch.setattr(comparison, 'held_bytes', lambda *_, **__: 3 * MB)
    rows, left_out = comparison.compare(fake_job('ours'), [('openvino', 'int8'), ('openvino', 'fp32')], 'none', 1, 0)
    assert [row['precision'] for row in rows] == ['fp32']
    assert left_out == ['openvino int8 left out: too few labels']
    with pytest.raises(InputError, match='openvino int8 left out: too few labels'):
        comparison.compare(fake_job('ours'), [('openvino', 'int8')], 'none', 1, 0)


def test_what_is_held_counts_and_what_building_took_does_not():
    assert 300 * MB < held_bytes(partial(holds, 200, 100, building=300)) < 340 * MB


def test_the_memory_of_stock_with_the_shipped_weights(configs):
    """Its process reads `.safetensors` too."""
    config = configs / 'bisenetv2/bisenetv2_fcn_1xb8-5k_camvid-light-240x320.py'
    weights = configs.parent / 'mmseg_bisenet/weights/bisenetv2_camvid.safetensors'
    job = Job(str(config), str(weights), draw_scene(0, SIZE)[0], 'ours', 'cpu', '')
    assert held_bytes(partial(methods.prepare_work, job, 'stock', 'fp32')) > MB


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(comparison, 'held_bytes', lambda *_, **__: 3 * MB)
    without_the_plain_route(monkeypatch)
    table, drawing = tmp_path / 'new' / 'rows.csv', tmp_path / 'speed.png'
    (tmp_path / 'new').mkdir()
    arguments = ['benchmark', V2, '--shape', *map(str, SIZE), '--runtime', 'eager', 'torch', '--precision', 'fp32']
    arguments += ['int8', '--images', '2', '--warmup', '1', '--csv', str(table), '--picture', str(drawing)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    with table.open(newline='') as file:
        rows = list(csv.DictReader(file))
    ours = [row for row in rows if row['runtime'] in ('stock', 'eager', 'torch') and row['precision'] == 'fp32']
    assert [row['runtime'] for row in ours] == ['stock', 'eager', 'torch']
    for row in ours:
        setting = [row[key] for key in ('height', 'width', 'images', 'warmup', 'protocol', 'weights', 'config')]
        assert setting == ['64', '128', '2', '1', 'ours', 'random', V2]
        assert row['machine'] == machine.name('cpu')
        assert row['torch'] == torch.__version__
        assert float(row['same_labels']) == 100
        assert float(row['ratio']) == pytest.approx(float(row['fps']) / float(rows[0]['fps']))
        assert f'| {row["runtime"]} | fp32 | {float(row["p50_ms"]):.2f} |' in out
    assert 'eager int8 left out: ' in out
    assert machine.name('cpu') in out
    assert drawing.read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('protocol', ['stock', 'paper'])
def test_other_protocols(protocol, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(comparison, 'held_bytes', lambda *_, **__: 3 * MB)
    without_the_plain_route(monkeypatch)
    street, table = tmp_path / 'street.png', tmp_path / 'rows.csv'
    cv2.imwrite(str(street), draw_scene(1, (100, 200))[0])
    arguments = ['benchmark', V1, '--shape', '128', '256', '--images', '1', '--warmup', '0', '--csv', str(table)]
    arguments += ['--cfg-options', 'model.data_preprocessor.size=(128,256)']
    assert main([*arguments, '--protocol', protocol, '--image', str(street)]) == 0
    with table.open(newline='') as file:
        stock, rewritten = csv.DictReader(file)
    assert (stock['image'], stock['protocol']) == ('street.png', protocol)
    assert float(rewritten['same_labels']) > 99.9  # a tie may fall the other way
    assert dict(stock='pads to (128, 256)', paper='GTX 1080 Ti')[protocol] in capsys.readouterr().out


def test_a_network_that_stock_lacks(capsys, monkeypatch):
    monkeypatch.setattr(comparison, 'held_bytes', lambda *_, **__: 3 * MB)
    without_the_plain_route(monkeypatch)
    name = 'bisenetv1_x39-d32_4xb4-ohem-140k_cityscapes-1024x1024'
    assert main(['benchmark', name, '--shape', '64', '64', '--images', '1', '--warmup', '0']) == 0
    out = capsys.readouterr().out
    assert 'eager, our segmentor, replaces stock' in out
    assert '| eager | fp32 |' in out and '| stock |' not in out


def test_bad_input(tmp_path, capsys):
    (tmp_path / 'text.png').write_text('no image')
    torch.save(dict(state_dict=dict(weight=torch.zeros(1))), tmp_path / 'other.pth')
    for arguments, message in {
        ('--runtime', 'tflite'): '--runtime tflite is not known; choose from eager, torch',
        ('--precision', 'int4'): '--precision int4 is not known; choose from fp32',
        ('--vs', 'compile'): '--vs compile is not known; choose from stock, none, torch',
        ('--runtime', 'eager', '--precision', 'int8'): 'eager int8 left out: ',
        ('--shape', '32', '64'): '--shape 32 64: give 64 or more for both',
        ('--images', '0'): '--images 0 --warmup 5: give 1 or more images',
        ('--image', str(tmp_path / 'none.png')): 'none.png does not exist',
        ('--image', str(tmp_path)): f'--image {tmp_path} is a folder; give the path of a .png or .jpg file',
        ('--image', str(tmp_path / 'text.png')): 'text.png cannot be read',
        ('--calibration', str(tmp_path)): '--calibration is for int8, and the precision is fp32; leave it out',
        ('--precision', 'int8', '--calibration', str(tmp_path / 'none')): 'does not exist; give a folder of images',
        ('--csv', str(tmp_path)): f'{tmp_path} is a folder; name another with --csv',
        ('--csv', str(tmp_path / 'text.png' / 'x.csv')): 'is no folder; name another folder',
        ('--picture', str(tmp_path / 'x.doc')): 'give a name that ends in .png',
        (str(tmp_path / 'other.pth'),): 'is not of this config',
        (str(tmp_path / 'none.pth'),): 'does not exist',
    }.items():
        assert main(['benchmark', V2, *arguments]) == 2, arguments
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_the_benchmark_has_no_work_dir(capsys):
    with pytest.raises(SystemExit):
        main(['benchmark', V2, '--work-dir', 'w'])
    assert 'unrecognized arguments: --work-dir w' in capsys.readouterr().err


def test_a_missing_extra(capsys, monkeypatch):
    monkeypatch.setattr(comparison, '_missing', lambda name, quantized: ['openvino'] if name == 'openvino' else [])
    assert main(['benchmark', V2, '--runtime', 'openvino']) == 2
    expected = f'runtime openvino needs openvino, not installed; run: {install.command("export")}'
    assert expected in capsys.readouterr().err


def test_a_shape_that_the_network_cannot_take(monkeypatch):
    def prepare(*_) -> Method:
        raise RuntimeError('sizes differ\nat some place')

    monkeypatch.setattr(methods, 'prepare', prepare)
    with pytest.raises(InputError, match=r'--shape 128 256: the network cannot take it \(sizes differ\)$'):
        comparison.compare(fake_job('ours'), [], 'stock', 1, 0)


# -- picture and machine -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('suffix', ['png', 'pdf'])
def test_a_picture_on_a_full_disk(tmp_path, suffix):
    rows = [dict(runtime='stock', precision='fp32', fps=3.5, same_labels=100)]
    text = rf'^{tmp_path}/picture.{suffix} cannot be written \(File too large\)'
    with largest_file(2000), pytest.raises(InputError, match=text):
        picture.draw(rows, 'title', tmp_path / f'picture.{suffix}')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('last', [100, 40])
def test_the_picture(tmp_path, last):
    kinds = [('stock', 'fp32', 100), ('plain-openvino', 'bf16', 99.99), ('openvino', 'int8', last)]
    rows = [dict(runtime=name, precision=kind, fps=3.5, same_labels=same) for name, kind, same in kinds]
    picture.draw(rows, 'title', tmp_path / 'picture.png')
    assert cv2.imread(str(tmp_path / 'picture.png')).std() > 10
    with pytest.raises(InputError, match=r'picture.png exists already; name another, or give --overwrite'):
        picture.draw(rows, 'title', tmp_path / 'picture.png')
    with pytest.raises(InputError, match=r'none.png cannot be written \(Not a directory\)'):
        picture.draw(rows, 'title', tmp_path / 'picture.png' / 'none.png')
    picture.draw(rows, 'title', tmp_path / 'picture.png', overwrite=True)


def test_the_machine():
    setting = machine.describe('cpu')
    assert setting['machine'] == machine.name('cpu')
    assert setting['threads'] == torch.get_num_threads()
    assert setting['torch'] == torch.__version__
    assert 1 <= setting['cores']


def test_weights_in_the_package_are_taken_and_others_are_not_downloaded():
    shipped = model_index.find('bisenetv2_camvid')
    assert benchmark.shipped_weights(shipped.name) == str(shipped.weights)
    for name in (V2, 'configs/mine.py'):
        assert benchmark.shipped_weights(name) is None
