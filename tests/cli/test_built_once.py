"""A command builds each data set and network once, reads the checkpoint once, and hands them on to the Runner."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from base import randomise
from mmseg.datasets import CityscapesDataset

from mmseg_bisenet.checkpoints import Checkpoint, write
from mmseg_bisenet.cli import main
from mmseg_bisenet.model_index import find_config
from mmseg_bisenet.models import BiSeNetSegmentor
from mmseg_bisenet.zoo import get_model

NAME = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'
LOADERS = ['num_workers=0', 'persistent_workers=False']
TEST = [f'test_dataloader.{option}' for option in LOADERS]


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('checkpoint') / 'random.pth'
    write(path, Checkpoint(randomise(get_model(str(find_config(NAME)))).state_dict()))
    return path


@pytest.fixture
def counts(drawn, monkeypatch) -> Counter:
    """Counts data sets, data sets that read their files, networks, and reads of checkpoints."""
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    counts = Counter()

    def count(owner: object, name: str, what: str) -> None:
        original = getattr(owner, name)

        def counted(*args, **options):
            counts[what] += 1
            return original(*args, **options)

        monkeypatch.setattr(owner, name, counted)

    count(CityscapesDataset, '__init__', 'data sets')
    count(CityscapesDataset, 'load_data_list', 'lists of files')
    count(BiSeNetSegmentor, '__init__', 'networks')
    count(torch, 'load', 'checkpoints')
    return counts


@pytest.fixture
def twice(tmp_path, configs) -> str:
    """A config that tests on the validation images twice, by a wrapper."""
    path = tmp_path / 'twice.py'
    path.write_text(f"""
_base_ = '{configs}/bisenetv2/{NAME}.py'
test_dataloader = dict(dataset=dict(
    _delete_=True, type='ConcatDataset', datasets=[_base_.test_dataloader.dataset, _base_.test_dataloader.dataset]
))
""")
    return str(path)


@pytest.mark.parametrize('options', [[], ['--aug-test'], ['--keep-going'], ['--aug-test', '--keep-going', '--deploy']])
def test_test(counts, checkpoint, tmp_path, options):
    work_dir = ['--work-dir', str(tmp_path)]
    assert main(['test', NAME, str(checkpoint), *work_dir, *options, '--cfg-options', *TEST]) == 0
    assert counts == {'data sets': 1, 'lists of files': 1, 'networks': 1, 'checkpoints': 1}
    assert json.loads((tmp_path / 'evaluation/scores.json').read_text())['checkpoint'] == str(checkpoint)
    assert '<function' not in next(tmp_path.glob('*.py')).read_text()  # the config that is saved is as written


def test_data_sets_in_a_wrapper(counts, checkpoint, twice, tmp_path, drawn, capsys):
    work_dir = ['--work-dir', str(tmp_path)]
    assert main(['test', twice, str(checkpoint), *work_dir, '--cfg-options', *TEST]) == 0
    assert counts == {'data sets': 2, 'lists of files': 2, 'networks': 1, 'checkpoints': 1}
    images = json.loads((tmp_path / 'evaluation/scores.json').read_text())['per_image']
    assert len(images) == 2 * len(list(drawn.glob('miniscapes/leftImg8bit/val/*/*.png')))
    missing = 'test_dataloader.dataset.datasets.1.img_suffix=.jpg'
    assert main(['test', twice, str(checkpoint), *work_dir, '--cfg-options', missing]) == 2
    assert 'error: test_dataloader.dataset.datasets.1 has no image: no file in ' in capsys.readouterr().err


def test_train(counts, tmp_path):
    short = ['train_cfg.max_iters=1', 'train_cfg.val_interval=1', 'train_dataloader.batch_size=2']
    loaders = [f'{name}_dataloader.{option}' for name in ('train', 'val') for option in LOADERS]
    assert main(['train', NAME, '--work-dir', str(tmp_path), '--cfg-options', *short, *loaders]) == 0
    assert counts == {'data sets': 2, 'lists of files': 2, 'networks': 1}


def test_check_labels(counts, tmp_path):
    assert main(['check-labels', NAME, '--workers', '1', '--work-dir', str(tmp_path)]) == 0
    assert counts == {'data sets': 3, 'lists of files': 3}
