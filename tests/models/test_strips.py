"""Networks by strips against the same networks whole."""

import pytest
import torch
from base import build, images, randomise
from mmengine.config import Config

from mmseg_bisenet.models import strips

CONFIGS = [
    'bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024',
    'bisenetv1/bisenetv1_r101-d32-torchseg_4xb4-ohem-80k_cityscapes-1024x1024',  # a stem of three convolutions
    'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024',
]


@pytest.mark.parametrize('config', CONFIGS)
@pytest.mark.parametrize('size', [(161, 95), (128, 96), (130, 64)])
@pytest.mark.parametrize('channels_last', [False, True])
def test_strips_give_the_whole(configs, monkeypatch, config, size, channels_last):
    cfg = Config.fromstring(Config.fromfile(configs / f'{config}.py').pretty_text.replace('SyncBN', 'BN'), '.py').model
    model = randomise(build(dict(cfg, auxiliary_head=None, channels_last=channels_last))).eval().double()
    x, seen = images(2, size).double(), []
    with torch.no_grad():
        monkeypatch.setattr(strips, 'ROWS', 10**6)
        expected = model(x)
        monkeypatch.setattr(strips, 'ROWS', 16)
        empty = torch.empty
        monkeypatch.setattr(strips.torch, 'empty', lambda *args, **kwargs: seen.append(1) or empty(*args, **kwargs))
        torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)
    assert len(seen) == 3  # two branches and the head


def test_norms_of_the_whole_map_see_the_whole_map(configs, monkeypatch):
    text = Config.fromfile(configs / f'{CONFIGS[-1]}.py').pretty_text
    cfg = Config.fromstring(text.replace("requires_grad=True, type='SyncBN'", "num_groups=2, type='GN'"), '.py').model
    model, x = randomise(build(dict(cfg, auxiliary_head=None))).eval().double(), images(1, (128, 64)).double()
    assert any(isinstance(layer, torch.nn.GroupNorm) for layer in model.modules())
    with torch.no_grad():
        monkeypatch.setattr(strips, 'ROWS', 10**6)
        expected = model(x)
        monkeypatch.setattr(strips, 'ROWS', 16)
        assert torch.equal(model(x), expected)


def test_training_and_gradients_take_the_whole(monkeypatch):
    monkeypatch.setattr(strips, 'ROWS', 16)
    seen, layer = [], torch.nn.Conv2d(3, 4, 3, padding=1)
    for training, grad, calls in [(True, True, 1), (True, False, 1), (False, True, 1), (False, False, 2)]:
        seen.clear()
        with torch.set_grad_enabled(grad):
            strips.by_strips(layer.train(training), lambda x: seen.append(1) or layer(x), images(1, (8, 8)), 1, 1)
        assert len(seen) == calls
