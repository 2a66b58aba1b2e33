"""``mmseg-bisenet export``: what it writes, and what it says."""

import pytest
import torch

import mmseg_bisenet
from mmseg_bisenet.cli import main
from mmseg_bisenet.deploy import export
from mmseg_bisenet.deploy.metadata import read_metadata
from mmseg_bisenet.errors import InputError

CONFIG = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory, configs):
    torch.manual_seed(0)
    model = mmseg_bisenet.get_model(str(configs / 'bisenetv2' / f'{CONFIG}.py'))
    path = tmp_path_factory.mktemp('weights') / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=model.dataset_meta)), path)
    return path


def call(checkpoint, *options) -> int:
    return main(['export', CONFIG, str(checkpoint), '--shape', '64', '128', *map(str, options)])


def test_it_writes_a_file_and_says_how_well_it_agrees(checkpoint, tmp_path, capsys):
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / f'{CONFIG}_fp32_64x128.bin').write_text('of OpenVINO')  # no part of what follows
    assert call(checkpoint, '--output', tmp_path / 'out', '--output-kind', 'logits') == 0
    out, err = capsys.readouterr()
    path = tmp_path / 'out' / f'{CONFIG}_fp32_64x128.onnx'
    first, second = out.splitlines()
    assert first == f'{path}  {path.stat().st_size / 1e6:.1f} MB'
    assert str(path) in second
    assert err.strip().endswith('% of the labels equal those of PyTorch in fp32, 100.000% except for ties')
    assert len(err.splitlines()) == 1  # nothing of what the packages print
    assert read_metadata(path)['config'] == CONFIG


@pytest.mark.parametrize('precision', ['fp16', 'fp32'])
def test_it_names_a_command_only_if_that_runs_the_file(checkpoint, tmp_path, capsys, monkeypatch, precision):
    def write(segmentor, format, precision, shape, output, **others):
        (tmp_path / 'net.onnx').touch()
        return tmp_path / 'net.onnx'

    monkeypatch.setattr(export, 'export', write)
    assert call(checkpoint, '--precision', precision, '--output', tmp_path) == 0
    command = '' if precision == 'fp16' else f'mmseg-bisenet predict IMAGE --model {tmp_path}/net.onnx, or '
    assert capsys.readouterr().out.splitlines()[1] == f'run it: {command}as docs/deploy.md shows'


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (['--precision', 'bf16'], 'format onnx has no precision'),
        (['--shape', '0', '128'], 'shape 0 128: give height and width, each from 64 to'),
        (['--shape', '-8', '128', '--precision', 'int8'], 'shape -8 128: give height and width'),
        (['--precision', 'int8', '--calibration', 'nowhere'], 'calibration folder nowhere does not exist'),
        (['--precision', 'int8'], 'train does not exist; for int8 give folders of images instead: --calibration DIR'),
        (['--keep-float', 'neck'], '--keep-float is for int8, and the precision is fp32; leave it out, or take int8'),
        (['--precision', 'fp16', '--calibration', '.'], '--calibration is for int8, and the precision is fp16; leave'),
        (['--output', __file__], 'test_export_cli.py is no folder; name another'),
    ],
)
def test_bad_input_is_one_line(checkpoint, tmp_path, capsys, monkeypatch, options, text):
    monkeypatch.chdir(tmp_path)
    assert call(checkpoint, *options) == 2
    err = capsys.readouterr().err
    assert text in err and len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_network(checkpoint, tmp_path, capsys):
    other = 'bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024'
    assert main(['export', other, str(checkpoint), '--output', str(tmp_path)]) == 2
    assert 'does not fit' in capsys.readouterr().err
    assert main(['export', CONFIG, str(tmp_path / 'none.pth'), '--output', str(tmp_path)]) == 2
    assert 'does not exist' in capsys.readouterr().err


def test_too_few_images_of_the_data_set(checkpoint, drawn, tmp_path, capsys, monkeypatch):
    pytest.importorskip('nncf')
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    assert call(checkpoint, '--precision', 'int8', '--output', tmp_path) == 2
    assert 'int8: 6 images to calibrate with' in capsys.readouterr().err
    both = ['--calibration', 'val', drawn / 'miniscapes/leftImg8bit/val']
    assert call(checkpoint, '--precision', 'int8', '--output', tmp_path, *both) == 2
    assert 'int8: 3 images to calibrate with' in capsys.readouterr().err  # the same ones
    assert call(checkpoint, '--precision', 'int8', '--output', tmp_path, *both, 'train') == 2
    assert 'int8: 9 images to calibrate with' in capsys.readouterr().err


def test_an_exported_file_is_no_checkpoint(tmp_path, capsys):
    (tmp_path / 'a.onnx').touch()
    assert main(['export', 'bisenetv2_camvid', str(tmp_path / 'a.onnx'), '--output', str(tmp_path)]) == 2
    assert f'{tmp_path}/a.onnx is an exported file already; give the checkpoint' in capsys.readouterr().err


def test_an_exported_file_is_no_config(tmp_path, capsys):
    (tmp_path / 'n.onnx').touch()
    reason = 'is a file, but no config, whose name ends in .py; an exported file is read by Predictor, by'
    assert main(['export', str(tmp_path / 'n.onnx'), '--shape', '96', '128']) == 2
    assert capsys.readouterr().err.startswith(f'mmseg-bisenet: error: {tmp_path}/n.onnx {reason}')
    with pytest.raises(InputError, match=f'^model {tmp_path}/n.onnx {reason}'):
        mmseg_bisenet.get_model(str(tmp_path / 'n.onnx'))
