import importlib.util
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.datasets import CityscapesDataset
from mmseg.structures import SegDataSample

from mmseg_bisenet.engine import ValidationPicturesHook
from mmseg_bisenet.engine.pictures_hook import side_by_side
from mmseg_bisenet.engine.vis_backend import AnyNameVisBackend
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.miniscapes.classes import train_ids

NAME = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'
PALETTE = np.array(CityscapesDataset.METAINFO['palette'], np.uint8)


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_a_negative_count():
    with pytest.raises(InputError, match=r'^ValidationPicturesHook: count=-1; give 0 or more$'):
        ValidationPicturesHook(-1)


def test_side_by_side():
    photo = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    truth = np.array([[0, 1, 255, 1], [1, 1, 0, 254]])
    prediction = np.array([[1, 1, 0, 0], [0, 0, 1, 1]])
    red, blue, black = (200, 0, 0), (0, 0, 200), (0, 0, 0)
    expected = np.array([
        [*photo[0], red, blue, black, blue, blue, blue, red, red],
        [*photo[1], blue, blue, red, black, red, red, blue, blue],
    ])  # fmt: skip
    np.testing.assert_array_equal(side_by_side(photo, truth, prediction, [red, blue]), expected)


def test_side_by_side_has_the_size_of_the_prediction():
    photo = np.full((6, 8, 3), 77, np.uint8)
    truth = np.array([[0, 255]])  # each label stays a label
    picture = side_by_side(photo, truth, np.zeros((2, 4), np.int64), [(9, 8, 7)])
    assert picture.shape == (2, 12, 3)
    assert (picture[:, :4] == 77).all()
    np.testing.assert_array_equal(picture[:, 4:8], np.array([[(9, 8, 7)] * 2 + [(0, 0, 0)] * 2] * 2))


def test_each_evaluation_of_a_training_is_shown(drawn, trained):
    (folder,) = trained.glob('*/vis_data/vis_image')
    photos = sorted((drawn / 'miniscapes/leftImg8bit/val').rglob('*.png'))
    chosen = [photos[0], photos[2]]  # spread evenly over three
    names = {f'val_{photo.stem}.png_{step}.png' for photo in chosen for step in (2, 4, 5)}
    assert {path.name for path in folder.glob('val_*')} == names
    for photo in chosen:
        labels = read(str(photo).replace('leftImg8bit', 'gtFine', 1).replace('_leftImg8bit', '_gtFine_labelIds'))
        truth = side_by_side(read(photo), train_ids(labels), np.zeros((64, 128), int), PALETTE[:, ::-1])[:, :256]
        for step in (2, 4, 5):
            picture = read(folder / f'val_{photo.stem}.png_{step}.png')
            np.testing.assert_array_equal(picture[:, :256], truth)
            assert set(map(tuple, picture[:, 256:].reshape(-1, 3))) <= set(map(tuple, PALETTE[:, ::-1]))


def test_images_of_one_name_have_a_picture_each():
    names = []
    runner = SimpleNamespace(
        visualizer=SimpleNamespace(add_image=lambda name, picture, step: names.append((name, step))),
        val_dataloader=SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(palette=PALETTE))),
    )
    labels = PixelData(data=torch.zeros(1, 4, 4, dtype=torch.long))
    paths = ['/a/x.png', '/b/x.png', '/a/x.jpg', '/a/y.png']
    samples = [SegDataSample(metainfo=dict(img_path=path)) for path in paths]
    for sample in samples:
        sample.gt_sem_seg = sample.pred_sem_seg = labels
    hook = ValidationPicturesHook()
    hook.wanted = {0, 1, 2, 3}
    for runner.iter in (2, 4):
        hook.before_val_epoch(runner)
        hook.after_val_iter(runner, 0, dict(inputs=torch.zeros(4, 3, 4, 4)), samples)
    each = ['val_x.png', 'val_b_x.png', 'val_a_x.png', 'val_y.png']
    assert names == [(name, step) for step in (2, 4) for name in each]


def test_a_backend_that_fails_costs_no_training(train, tmp_path, monkeypatch):
    def add_image(*arguments) -> None:
        raise OSError('disk full')

    monkeypatch.setattr(AnyNameVisBackend, 'add_image', add_image)
    train(tmp_path, 'default_hooks.pictures.count=4', 'train_cfg.max_iters=2')
    (log,) = tmp_path.glob('*/*.log')
    warnings = [line for line in log.read_text().splitlines() if 'disk full' in line]
    assert len(warnings) == 3 + 1, 'each of the three images, and the curves'
    assert '_leftImg8bit.png was not drawn at iteration 2: OSError: disk full' in warnings[0]
    assert (tmp_path / 'curves.png').is_file()


def test_only_the_main_process_draws(monkeypatch):
    monkeypatch.setattr('mmengine.dist.utils.is_main_process', lambda: False)
    hook = ValidationPicturesHook()
    hook.before_train(None)  # would use the runner
    hook.after_val_iter(None, 0)
    assert not hook.wanted


@pytest.mark.parametrize('installed', [True, False])
def test_tensorboard_is_on_where_installed(installed, configs, tmp_path, monkeypatch):
    stock = importlib.util.find_spec

    def find_spec(name: str, *others):
        return installed or None if name == 'tensorboard' else stock(name, *others)

    monkeypatch.setattr(importlib.util, 'find_spec', find_spec)
    cfg = Config.fromfile(configs / 'bisenetv2' / f'{NAME}.py')
    backends = ['LocalVisBackend', 'TensorboardVisBackend'][: 1 + installed]
    assert [backend.type for backend in cfg.visualizer.vis_backends] == backends
    cfg.dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').visualizer == cfg.visualizer
