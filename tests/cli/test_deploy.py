"""`test --deploy` scores as `test` does; `segment` writes what the network sees."""

import functools
import json
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from base import randomise
from mmengine.config import Config
from mmseg.datasets import CityscapesDataset
from mmseg.structures import SegDataSample
from ports import free_ports

from mmseg_bisenet.checkpoints import Checkpoint, write
from mmseg_bisenet.cli import main
from mmseg_bisenet.cli.test import use_exported
from mmseg_bisenet.deploy import load, metadata, segmentor
from mmseg_bisenet.deploy.int8 import library
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.miniscapes.scene import draw_scene
from mmseg_bisenet.model_index import find_config
from mmseg_bisenet.zoo import get_model

NAME = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'
DATA = 'test_dataloader.dataset.data_prefix'
OPTIONS = ['--cfg-options', f'{DATA}.img_path=leftImg8bit/train', f'{DATA}.seg_map_path=gtFine/train']
OPTIONS += ['test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False', 'load_from=nowhere.pth']


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp('checkpoint') / 'random.pth'
    write(path, Checkpoint(randomise(get_model(str(find_config(NAME)))).state_dict()))
    return path


@pytest.fixture(scope='module')
def scores(drawn, tmp_path_factory):
    """Scores of a test of a checkpoint or a file with options; each is run once."""

    @functools.cache
    def run(weights: Path, *options: str) -> dict:
        folder = tmp_path_factory.mktemp('test')
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv('MMSEG_BISENET_DATA', str(drawn))
            assert main(['test', NAME, str(weights), '--work-dir', str(folder), *options, *OPTIONS]) == 0
        found = json.loads((folder / 'evaluation' / 'scores.json').read_text())
        assert found['checkpoint'] == str(weights)
        return found['summary']

    return run


@pytest.mark.parametrize('views', [[], ['--aug-test']])
def test_scores_of_the_deployed_network(checkpoint, scores, views):
    plain = scores(checkpoint, *views)
    assert 0 < plain['mIoU'] < 100
    deployed = scores(checkpoint, *views, '--deploy')
    assert deployed.keys() == plain.keys()
    for name in ('aAcc', 'FWIoU'):  # one near tie is much of a rare class, and so of mIoU
        assert deployed[name] == pytest.approx(plain[name], abs=0.02)


@pytest.fixture(scope='module', params=[[], ['--dynamic']], ids=['one size', 'dynamic'])
def exported(request, checkpoint, tmp_path_factory) -> Path:
    pytest.importorskip('onnxruntime')
    folder = tmp_path_factory.mktemp('exported')
    arguments = ['--format', 'onnx', '--precision', 'fp32', '--shape', '128', '256', '--output', str(folder)]
    assert main(['export', NAME, str(checkpoint), *arguments, *request.param]) == 0
    (file,) = folder.glob('*.onnx')
    return file


def test_scores_of_an_exported_file(checkpoint, exported, scores):
    for name in ('aAcc', 'FWIoU'):  # as above
        assert scores(exported)[name] == pytest.approx(scores(checkpoint)[name], abs=0.02)


@pytest.mark.parametrize('exported', [[]], indirect=True)
def test_what_a_test_of_an_exported_file_refuses(drawn, exported, monkeypatch, capsys):
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    for option in ('model.test_cfg.mode=whole', 'test_cfg.fp16=True'):
        assert main(['test', NAME, str(exported), *OPTIONS, option]) == 2
        said = (
            f'--cfg-options {option.partition("=")[0]}: the network of {exported} is exported and cannot change; test'
        )
        err = capsys.readouterr().err
        assert said in err and 'note: --cfg-options load_from changes nothing in a test' in err
    (port,) = free_ports(1)
    for name, value in dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=1, MASTER_ADDR='127.0.0.1', MASTER_PORT=port).items():
        monkeypatch.setenv(name, str(value))
    for option in (['--aug-test'], ['--launcher', 'pytorch']):
        assert main(['test', NAME, str(exported), *option, *OPTIONS]) == 2
        assert f'{" ".join(option)} needs a checkpoint, and {exported} is exported' in capsys.readouterr().err
    monkeypatch.setattr(metadata, 'read_metadata', lambda path: dict(num_classes=7))
    assert main(['test', NAME, str(exported), *OPTIONS]) == 2
    assert 'has 7 classes, and the config 19' in capsys.readouterr().err
    others = dict(num_classes=19, classes=('pavement', *CityscapesDataset.METAINFO['classes'][1:]))
    monkeypatch.setattr(metadata, 'read_metadata', lambda path: others)
    assert main(['test', NAME, str(exported), *OPTIONS]) == 2
    assert f'class 0 of exported file {exported} is pavement, and road in the data set; give' in capsys.readouterr().err


def test_a_file_of_one_size_says_that_it_squeezes_images(monkeypatch):
    class File:
        dynamic, shape = False, (60, 120)

        def __call__(self, image: np.ndarray) -> np.ndarray:
            return image[..., 0]

    said = []
    monkeypatch.setattr(segmentor, 'load', lambda path: File())
    monkeypatch.setattr(segmentor, 'print_log', lambda text, *_: said.append(text))
    model = segmentor.ExportedSegmentor('some.onnx')
    for shape in ((60, 120), (30, 61), (90, 120), (90, 121)):
        (sample,) = model([torch.full((3, *shape), 7).byte()], [SegDataSample(metainfo=dict(ori_shape=shape))])
        assert sample.pred_sem_seg.data.shape == (1, *shape)
    images, labels, line = said
    assert images.startswith('images of 30x61 are resized to 60x120, because the file takes one shape only; scores can')
    assert labels.startswith('labels of 60x120 are resized to 30x61, because the file has no logits to resize; scores')
    assert line.startswith('images of 90x120 are squeezed to the 60x120 of some.onnx, which lowers the scores; export')


def test_a_file_of_our_kernels_in_each_command(drawn, checkpoint, tmp_path, monkeypatch, capsys):
    try:
        library.require()
    except InputError as error:
        pytest.skip(str(error))
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    (tmp_path / 'streets').mkdir()
    for seed in range(10):
        cv2.imwrite(str(tmp_path / 'streets' / f'{seed}.png'), draw_scene(seed, (64, 128))[0])
    arguments = [NAME, str(checkpoint), '--format', 'vnni', '--shape', '64', '128', '--output', str(tmp_path)]
    int8 = ['--precision', 'int8', '--calibration', str(tmp_path / 'streets')]
    assert main(['export', *arguments]) == 2
    assert "format vnni has no precision 'fp32'; choose int8, or fp32 in onnx, openvino, pt2" in capsys.readouterr().err
    assert main(['export', *arguments, *int8, '--keep-float', 'decode_head']) == 2
    assert 'format vnni has all convolutions in int8; leave --keep-float out' in capsys.readouterr().err
    assert main(['export', *arguments, *int8]) == 0
    file = tmp_path / f'{NAME}_int8_64x128.vnni'
    assert capsys.readouterr().out.startswith(f'{file}  ')
    assert main(['verify', str(file)]) == 0
    assert capsys.readouterr().out.startswith(f'{file}: vnni in int8, 64x128')
    image, out = tmp_path / 'streets' / '3.png', tmp_path / 'out'
    assert main(['predict', str(image), '--model', str(file), '--save', 'labels', '--output', str(out)]) == 0
    assert capsys.readouterr().out.startswith(f'{file}: runtime vnni, int8, height 64')
    labels = cv2.imread(str(next(out.iterdir())), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, load(file)(cv2.imread(str(image))))
    assert main(['test', NAME, str(file), '--work-dir', str(tmp_path / 'test'), *OPTIONS]) == 0
    found = json.loads((tmp_path / 'test' / 'evaluation' / 'scores.json').read_text())
    assert found['checkpoint'] == str(file) and 0 < found['summary']['aAcc'] < 100


@pytest.mark.parametrize(
    ('said', 'device'),
    [
        (dict(format='tensorrt'), 'cuda'),
        (dict(format='pt2', device='cuda'), 'cuda'),
        (dict(format='pt2', device='cpu'), 'cpu'),
        (dict(format='onnx'), 'cpu'),
        (dict(format='vnni'), 'cpu'),
    ],
)
def test_an_exported_file_runs_where_it_was_made_for(monkeypatch, said, device):
    monkeypatch.setattr(metadata, 'read_metadata', lambda path: dict(num_classes=19) | said)
    cfg = Config(dict(model=dict(num_classes=19), load_from='other.pth'))
    use_exported(cfg, Namespace(checkpoint='some.file', tta=False, deploy=False, launcher='none', cfg_options={}), {})
    assert cfg.model == dict(type='mmseg_bisenet.ExportedSegmentor', exported='some.file', device=device)
    assert cfg.load_from is None


def test_segment_writes_labels_and_a_picture(checkpoint, tmp_path, capsys):
    photo = np.random.RandomState(0).randint(0, 256, (96, 160, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'street.png'), photo)
    arguments = ['--model', NAME, '--checkpoint', str(checkpoint), '--height', '96', '--output', str(tmp_path / 'out')]
    assert main(['segment', str(tmp_path / 'street.png'), *arguments]) == 0
    labels = cv2.imread(str(tmp_path / 'out' / 'street_labels.png'), cv2.IMREAD_UNCHANGED)
    segment = load(find_config(NAME), checkpoint, runtime='torch', shape=(96, 160))
    assert np.array_equal(labels, segment(photo))
    picture = cv2.imread(str(tmp_path / 'out' / 'street.jpg'))
    assert picture.shape == photo.shape
    common = np.bincount(labels.ravel()).argmax()
    share = (labels == common).mean()
    assert f'street: {segment.classes[common]} {share:.0%}' in capsys.readouterr().out


def test_segment_refuses(checkpoint, tmp_path, capsys):
    arguments = ['--model', NAME, '--checkpoint', str(checkpoint), '--output', str(tmp_path / 'out')]
    assert main(['segment', str(tmp_path / 'none.png'), *arguments]) == 2
    assert 'none.png does not exist; give an image' in capsys.readouterr().err
    assert main(['segment', 'a/x.png', 'b/x.png', *arguments]) == 2
    assert 'a/x.png and b/x.png have the same name' in capsys.readouterr().err
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((8, 8, 3), np.uint8))
    out = ['--output', str(tmp_path / 'out')]
    assert main(['segment', str(tmp_path / 'a.png'), '--model', NAME, *out]) == 2
    assert 'has no weights in the model index' in capsys.readouterr().err
