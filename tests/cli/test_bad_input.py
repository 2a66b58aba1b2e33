"""What a user gets wrong: one line that names it and the cure, status 2, and nothing that looks like a result."""

import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

NAME = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'


@pytest.fixture
def data(drawn, tmp_path):
    """A copy of the drawn streets, to be spoiled."""
    return shutil.copytree(drawn, tmp_path / 'data')


def fail(data, tmp_path, *arguments: str) -> str:
    """Run the command; the one line that it says."""
    done = subprocess.run(
        [sys.executable, '-m', 'mmseg_bisenet.cli', *arguments],
        env=os.environ | dict(MMSEG_BISENET_DATA=str(data)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr[-3000:]
    assert 'Traceback' not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith('mmseg-bisenet: error: ')]
    assert not list(tmp_path.rglob('*.pth'))
    return line


def train(data, tmp_path, *options: str, config: str = NAME) -> str:
    work_dir = ['--work-dir', str(tmp_path / 'work')]
    return fail(data, tmp_path, 'train', config, *work_dir, *(['--cfg-options', *options] if options else []))


def label(data, change):
    """Change each training label, so that whichever comes first is wrong."""
    for path in data.glob('miniscapes/gtFine/train/*/*_labelTrainIds.png'):
        cv2.imwrite(str(path), change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))


def test_no_data_folder(tmp_path):
    line = train(tmp_path / 'nowhere', tmp_path)
    assert f'{tmp_path}/nowhere/miniscapes/leftImg8bit/train does not exist' in line
    assert 'MMSEG_BISENET_DATA' in line and 'val_dataloader.dataset.data_root=DIR' in line
    assert not (tmp_path / 'work').exists()


def test_unreadable_image(data, tmp_path):
    for path in data.glob('miniscapes/leftImg8bit/train/*/*.png'):
        path.write_bytes(path.read_bytes()[:100])
    line = train(data, tmp_path)
    assert '_leftImg8bit.png' in line and 'not an image' in line


def test_label_of_another_size(data, tmp_path):
    label(data, lambda labels: labels[:32])
    line = train(data, tmp_path)
    assert '_labelTrainIds.png: the label is 128x32 and its image 128x64' in line


def test_label_outside_the_classes(data, tmp_path):
    label(data, lambda labels: np.full_like(labels, 33))
    line = train(data, tmp_path)
    assert '_labelTrainIds.png: the label has ids 33 outside the 19 classes' in line


def test_the_check_of_labels_follows_the_model(data, tmp_path):
    line = train(data, tmp_path, 'model.num_classes=5')
    assert 'outside the 5 classes' in line


def test_train_ids_that_were_not_made(data, tmp_path):
    for path in data.glob('miniscapes/gtFine/train/*/*_labelTrainIds.png'):
        path.unlink()
    line = train(data, tmp_path)
    assert '_labelTrainIds.png: the label cannot be read (no such file)' in line
    assert 'csCreateTrainIdLabelImgs' in line


def test_config_without_num_classes(data, tmp_path):
    line = train(data, tmp_path, 'model.num_classes=None')
    assert 'model.num_classes is missing; set it' in line


@pytest.mark.parametrize('name', ['no-such-config.py', f'typo/{NAME}.py', '**'])
def test_no_such_config(data, tmp_path, name):
    assert f'config {name} is neither a file nor the bare name of a config' in train(data, tmp_path, config=name)


def test_config_without_data(data, tmp_path):
    line = train(data, tmp_path, 'train_dataloader=None')
    assert 'the config has no train_dataloader.dataset' in line


def test_a_checkpoint_of_another_network(data, tmp_path):
    torch.save({'state_dict': {'backbone.conv1.weight': torch.zeros(1)}}, tmp_path / 'deeplab.ckpt')
    line = fail(data, tmp_path, 'test', NAME, str(tmp_path / 'deeplab.ckpt'), '--out', str(tmp_path / 'labels') + '/')
    assert 'deeplab.ckpt is not of this config' in line and '1 unexpected: backbone.conv1.weight' in line
    assert not list(tmp_path.glob('*labels*'))


def test_config_that_does_not_parse(data, tmp_path):
    (tmp_path / 'broken.py').write_text('model = dict(')
    line = train(data, tmp_path, config=str(tmp_path / 'broken.py'))
    assert 'broken.py cannot be read' in line


def test_a_config_base_is_no_config(data, tmp_path, configs):
    line = train(data, tmp_path, config=str(configs / '_base_/default_runtime.py'))
    assert 'default_runtime.py has no `model`' in line


def test_no_such_checkpoint(data, tmp_path):
    assert 'nowhere.pth does not exist' in fail(data, tmp_path, 'test', NAME, str(tmp_path / 'nowhere.pth'))


def test_a_checkpoint_that_mmengine_cannot_read(data, tmp_path):
    (tmp_path / 'some.safetensors').touch()
    line = fail(data, tmp_path, 'test', NAME, str(tmp_path / 'some.safetensors'))
    assert f'run: mmseg-bisenet convert {tmp_path}/some.safetensors NEW.pth' in line


def test_predictions_are_not_written_over_others(data, tmp_path):
    (tmp_path / 'some.pth').touch()
    (tmp_path / 'labels').mkdir()
    done = subprocess.run(
        [sys.executable, '-m', 'mmseg_bisenet.cli', 'test', NAME, tmp_path / 'some.pth', '--out', tmp_path / 'labels'],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert 'labels exists already' in done.stderr
