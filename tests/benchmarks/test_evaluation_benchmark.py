"""The test step against the stock one: the same weights, the same labels."""

import csv

import pytest
import torch
from mmengine.config import Config
from processes import CONTEXT

from benchmarks import evaluation
from mmseg_bisenet.benchmark import memory
from mmseg_bisenet.errors import InputError

V2 = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'


@pytest.mark.parametrize('config', [f'bisenetv2/{V2}', 'bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024'])
def test_stock_is_stock_throughout(configs, config):
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    cfg = Config.fromfile(configs / f'{config}.py').model.to_dict()
    init_default_scope('mmseg')
    stock = MODELS.build(evaluation.stock(cfg))
    parts = [stock, stock.backbone, stock.decode_head, *stock.auxiliary_head]
    assert all(type(part).__module__.startswith('mmseg.') for part in parts)
    stock.load_state_dict(MODELS.build(cfg).state_dict(), strict=True)


def test_a_row_each(configs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory.multiprocessing, 'get_context', lambda _: CONTEXT)
    file = tmp_path / 'evaluation.csv'
    assert evaluation.main([V2, '--shape', '96', '160', '--repeats', '1', '--csv', str(file)]) == 0
    stock, ours = csv.DictReader(file.open())
    assert [stock['segmentor'], ours['segmentor']] == ['stock', 'ours']
    assert float(stock['time_ratio']) == float(stock['memory_ratio']) == 1
    assert float(ours['time_ratio']) == pytest.approx(float(ours['ms']) / float(stock['ms']))
    assert float(ours['same_labels']) == 100
    assert '| ours |' in capsys.readouterr().out


def test_what_has_no_counterpart(configs, capsys):
    assert evaluation.main([V2, '--repeats', '0']) == 2
    cfg = Config.fromfile(configs / 'bisenetv2/bisenetv2-l_fcn_4xb4-ohem-150k_cityscapes-1024x1024.py').model.to_dict()
    with pytest.raises(InputError, match='no network of the same weights'):
        evaluation.measure(cfg, None, 96, 160, 1, 'cpu')
    with pytest.raises(InputError, match=r'model\.type=EncoderDecoder: only'):
        evaluation.stock(dict(type='EncoderDecoder'))


def test_a_step_goes_from_pixels_to_labels(configs):
    cfg = Config.fromfile(configs / f'bisenetv2/{V2}.py').model.to_dict()
    labels = evaluation.prepare(cfg, 72, 104, 'cpu')()
    assert labels.shape == (1, 72, 104)
    assert labels.dtype == torch.int64
