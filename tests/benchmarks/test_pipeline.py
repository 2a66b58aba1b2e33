"""The stock pipeline that is compared with ours, and the table of times."""

import csv
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

from benchmarks.pipeline import Cost, as_stock, main, measure
from mmseg_bisenet.errors import InputError

OURS = [
    dict(type='LoadImageFromFile', _scope_='mmseg_bisenet'),
    dict(type='LoadAnnotations', _scope_='mmseg_bisenet', num_classes=19, imdecode_backend='cv2'),
    dict(
        type='mmseg_bisenet.RandomResizedCrop',
        scale=(128, 64),
        ratio_range=(0.5, 2.0),
        crop_size=(48, 96),
        cat_max_ratio=0.75,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='mmseg_bisenet.PhotoMetricDistortion', hue_delta=9),
    dict(type='PackSegInputs'),
]
STOCK = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', imdecode_backend='cv2'),
    dict(type='RandomResize', scale=(128, 64), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(48, 96), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion', hue_delta=9),
    dict(type='PackSegInputs'),
]
NAME = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'


@pytest.fixture(autouse=True)
def threads():
    """A measurement sets one thread and does not restore the number."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    yield
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


def dataset(folder, **others) -> dict:
    return dict(
        type='CityscapesDataset',
        data_root=str(folder / 'miniscapes'),
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=OURS,
        **others,
    )


def test_ours_become_stock_and_stock_stays():
    assert as_stock(OURS) == STOCK
    assert as_stock(STOCK) == STOCK
    by_choice = dict(type='RandomResizedCrop', _scope_='mmseg_bisenet', scales=[(8, 4)], crop_size=4, ignore_index=7)
    assert as_stock([by_choice]) == [
        dict(type='RandomChoiceResize', scales=[(8, 4)], keep_ratio=True),
        dict(type='RandomCrop', crop_size=4, ignore_index=7),
    ]


def test_both_pipelines_make_the_same_sample(drawn):
    with DefaultScope.overwrite_default_scope('mmseg'):
        ours, stock = (DATASETS.build(dataset(drawn) | dict(pipeline=steps)) for steps in (OURS, as_stock(OURS)))
    for seed in range(10):
        samples = []
        for data in (ours, stock):
            np.random.seed(seed)
            samples.append(data[seed % len(data)])
        mine, stocks = (sample['data_samples'] for sample in samples)
        assert torch.equal(mine.gt_sem_seg.data, stocks.gt_sem_seg.data)
        assert mine.metainfo == stocks.metainfo
        apart = (samples[0]['inputs'].int() - samples[1]['inputs'].int()).abs()
        assert apart.float().mean() < 1


def test_a_cost_for_each_step_and_for_the_whole(drawn):
    wrapped = dict(type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[dataset(drawn)]))
    for given in (dataset(drawn), wrapped):
        costs = measure(given, images=2)
        assert [(cost.step, cost.stock) for cost in costs] == [
            ('LoadImageFromFile', 'LoadImageFromFile'),
            ('LoadAnnotations', 'LoadAnnotations'),
            ('RandomResizedCrop', 'RandomResize, RandomCrop'),
            ('RandomFlip', 'RandomFlip'),
            ('PhotoMetricDistortion', 'PhotoMetricDistortion'),
            ('PackSegInputs', 'PackSegInputs'),
            ('whole', 'whole'),
        ]
        assert min(cost.ours_ms for cost in costs) > 0 < min(cost.stock_ms for cost in costs)
    assert Cost('a', 'b, c', stock_ms=6.0, ours_ms=4.0).row() == dict(
        step='a', stock='b, c', stock_ms=6.0, ours_ms=4.0, ratio=1.5
    )


def test_a_data_set_without_images_is_named(drawn):
    with pytest.raises(InputError, match=rf'CityscapesDataset: no images in {drawn}/miniscapes; fix data_prefix or'):
        measure(dataset(drawn, img_suffix='.jpg'), images=1)


def test_the_command_writes_the_table(drawn, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    table = tmp_path / 'pipeline.csv'
    assert main([NAME, '--images', '1', '--csv', str(table)]) == 0
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [rows[0]['step'], rows[-1]['step']] == ['LoadImageFromFile', 'whole']
    assert {(row['config'], row['images']) for row in rows} == {(NAME, '1')}
    assert rows[-1]['ratio'] == f'{float(rows[-1]["ratio"])}'
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()][-2:] == ['whole', 'images/s']


@pytest.mark.parametrize('spoiled', ['images', 'image', 'folder'])
def test_what_is_wrong_is_one_line(spoiled, drawn, tmp_path, monkeypatch, capsys):
    data = shutil.copytree(drawn, tmp_path / 'data')
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(data))
    image = sorted((data / 'miniscapes' / 'leftImg8bit' / 'train').rglob('*.png'))[0]
    if spoiled == 'image':
        image.write_bytes(image.read_bytes()[:100])
    elif spoiled == 'folder':
        shutil.rmtree(data / 'miniscapes' / 'gtFine')
    assert main([NAME, '--images', '0' if spoiled == 'images' else '1']) == 2
    message = {
        'images': '--images must be 1 or more',
        'image': f'{image}: the image cannot be read (empty, cut short or not an image)',
        'folder': f'data folder {data}/miniscapes/gtFine/train does not exist',
    }[spoiled]
    assert capsys.readouterr().err.splitlines()[-1].startswith(f'benchmarks.pipeline: error: {message}')
