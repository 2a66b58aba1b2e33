"""The counts against figures that are known, against hooks on the stock networks, and against themselves."""

import csv
import functools
import re

import pytest
import torch
from base import build
from models.test_segmentor import read
from torch import nn

from benchmarks import complexity
from mmseg_bisenet import model_index
from mmseg_bisenet.zoo import get_model

V2 = 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024'
R18 = 'bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024'
R50 = 'bisenetv1_r50-d32_4xb4-160k_cityscapes-1024x1024'
COCO = 'bisenetv1_r18-d32_4xb4-160k_coco-stuff164k-512x512'
# One model for each network with code of its own: no deeper ResNets, other weights or other recipes.
NAMES = [name for name in model_index.list_models() if not re.search('r50|r101|in1k|speed', name)]
NETWORKS = {complexity.network(name): name for name in reversed(NAMES)}.values()


@pytest.mark.parametrize(
    ('name', 'multiply_adds', 'parameters'), [(V2, 24.7, 3.36), (R18, 29.7, 13.28), (R50, 198.0, 56.9)]
)
def test_known_figures(name, multiply_adds, parameters):
    row = complexity.measure(get_model(name))
    assert row['multiply_adds_512x1024'] / 1e9 == pytest.approx(multiply_adds, abs=0.05)
    assert row['parameters'] / 1e6 == pytest.approx(parameters, abs=0.005 if parameters < 50 else 0.05)
    assert 3.99 < row['multiply_adds_1024x2048'] / row['multiply_adds_512x1024'] <= 4


@torch.no_grad()
def count_by_hooks(model: nn.Module, size: tuple[int, int], monkeypatch) -> tuple[int, int]:
    """Multiply-adds and activations, from the layers as they run."""
    totals = {'multiply-adds': 0, 'activations': 0}

    def convolution(layer, inputs, output):
        height, width = layer.kernel_size
        totals['multiply-adds'] += output.numel() * layer.in_channels // layer.groups * height * width
        totals['activations'] += output.numel()

    def norm(layer, inputs, output):
        totals['multiply-adds'] += 2 * output.numel()

    def pool(layer, inputs, output):
        totals['multiply-adds'] += inputs[0].numel()

    hooks = {nn.Conv2d: convolution, nn.BatchNorm2d: norm, nn.AdaptiveAvgPool2d: pool}
    for layer in model.modules():
        if type(layer) in hooks:
            layer.register_forward_hook(hooks[type(layer)])
    interpolate = nn.functional.interpolate

    def counted(x, *args, **options):
        output = interpolate(x, *args, **options)
        totals['multiply-adds'] += output.numel() * (1 if 'nearest' in (*args, *options.values()) else 4)
        return output

    monkeypatch.setattr(nn.functional, 'interpolate', counted)
    model(torch.zeros(1, 3, *size))
    return tuple(totals.values())


@pytest.mark.parametrize(('name', 'size'), [(V2, (64, 160)), (R18, (95, 127))])
def test_stock_costs_the_same(name, size, stock_configs, monkeypatch):
    stock = build(read(str(stock_configs / f'{name.partition("_")[0]}/{name}.py'), size).model).eval()
    ours = get_model(name)
    (expected,) = complexity.count(ours, [size])
    assert count_by_hooks(stock, size, monkeypatch) == expected
    inference = [p for key, p in stock.named_parameters() if not key.startswith('auxiliary_head.')]
    assert complexity.measure(ours)['parameters'] == sum(parameter.numel() for parameter in inference)


@pytest.mark.parametrize('name', NETWORKS)
def test_a_large_image_need_not_be_run(name):
    model = get_model(name)
    size = (512, 1024) if name in (V2, R18) else (96, 64)
    assert complexity.count(model, [size]) == [complexity._run(model, size)]


def test_a_network_whose_cost_is_not_linear_is_run():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1, stride=32)

        def forward(self, x):
            x = self.conv(x).flatten(2)
            return x.transpose(1, 2) @ x

    # 1x1 convolution: 8 pixels x 3 x 4; attention: 8 x 8 x 4.
    assert complexity.count(Attention().eval(), [(64, 128)]) == [(8 * 12 + 8 * 8 * 4, 8 * 4 + 8 * 8)]


def test_each_network_has_one_line_and_its_published_figures(monkeypatch):
    monkeypatch.setattr(model_index, 'list_models', lambda: [R18, COCO, V2])
    rows = complexity.measure_all()
    assert [(row['model'], row['classes']) for row in rows] == [(R18, 19), (COCO, 171), (COCO, 19), (V2, 19)]
    assert rows[1]['parameters'] - rows[2]['parameters'] == (171 - 19) * 257
    lines = complexity.tables(rows).splitlines()
    assert f'| [`bisenetv2_fcn`](../configs/bisenetv2/{V2}.py) | 3.36 M | 24.7 G | 98.9 G | 52.2 M | 208.6 M |' in lines
    assert sum(line.startswith('| [`') for line in lines) == 2
    published = [line.split(' | ')[:4] for line in lines if line.startswith('| `')]
    assert ['| `bisenetv1_r18-d32`', '360x640', '13.2 G', '10.8 G'] in published
    assert ['| `bisenetv2_fcn`', '1024x2048', '98.9 G', '98.4 G'] in published
    assert {line[0] for line in published} == {'| `bisenetv1_r18-d32`', '| `bisenetv2_fcn`'}


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(model_index, 'list_models', lambda: [V2])
    monkeypatch.setattr(complexity, 'measure_all', functools.cache(complexity.measure_all))
    page, results = tmp_path / 'README.md', tmp_path / 'results' / 'complexity.csv'
    monkeypatch.delenv('MMSEG_BISENET_DATA', raising=False)  # mmengine logs its use on stdout
    monkeypatch.setattr(complexity, 'PAGE', page)
    monkeypatch.setattr(complexity, 'CSV', results)
    page.write_text('# x\n')
    assert complexity.main(['--write']) == 2
    assert 'complexity:begin' in capsys.readouterr().err
    assert not results.exists()

    page.write_text('# x\n<!-- complexity:begin -->\n<!-- complexity:end -->\n')
    untouched = page.read_text()
    assert complexity.main([]) == 0
    text = capsys.readouterr().out.strip()
    assert page.read_text() == untouched and not results.exists()

    assert complexity.main(['--write']) == 0
    assert capsys.readouterr().out.strip() == text and text in page.read_text()
    with results.open(newline='') as file:
        (row,) = csv.DictReader(file)
    assert row == {key: str(value) for key, value in complexity.measure_all()[0].items()}
