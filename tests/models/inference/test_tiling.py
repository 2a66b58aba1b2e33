"""Networks by strips against the same networks whole, which they are where gradients are wanted."""

import pytest
import torch
from base import build, images, randomise
from mmengine.config import Config
from torch import nn

from mmseg_bisenet.models.inference import tiling

CONFIGS = {
    # stem, two blocks at 1/4, spatial path, fusion, head
    'bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024': [7, 2, 2, 7, 4, 4],
    # a stem of three convolutions, and three blocks
    'bisenetv1/bisenetv1_r101-d32-torchseg_4xb4-ohem-80k_cityscapes-1024x1024': [7, 2, 2, 2, 7, 4, 4],
    # stem, detail branch to 1/4 and to 1/8, head
    'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024': [7, 7, 4, 4],
}


@pytest.fixture
def cut(monkeypatch) -> list[int]:
    """How many strips each part was run in."""
    seen, by_strips = [], tiling.by_strips

    def spy(module, layers, x, *args, **options):
        calls = []
        result = by_strips(module, lambda x: calls.append(1) or layers(x), x, *args, **options)
        seen.append(len(calls))
        return result

    v1 = (f'bisenetv1.{part}' for part in ('spatial_path', 'context_path', 'feature_fusion'))
    for part in ('head', *v1, 'bisenetv2.detail_branch', 'bisenetv2.semantic_branch'):
        monkeypatch.setattr(f'mmseg_bisenet.models.{part}.by_strips', spy)
    return seen


def network(configs, name: str, old: str, new: str, **options) -> nn.Module:
    cfg = Config.fromstring(Config.fromfile(configs / f'{name}.py').pretty_text.replace(old, new), '.py').model
    return randomise(build(dict(cfg, auxiliary_head=None, **options))).eval().double()


@pytest.mark.parametrize('config', CONFIGS)
@pytest.mark.parametrize('size', [(385, 47), (390, 32)])
@pytest.mark.parametrize('channels_last', [False, True])
def test_strips_give_the_whole(configs, cut, config, size, channels_last):
    model = network(configs, config, 'SyncBN', 'BN', channels_last=channels_last)
    x = images(2, size).double()
    expected = model(x).detach()
    assert set(cut) == {1}
    cut.clear()
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)
    assert [strips for strips in cut if strips > 1] == CONFIGS[config]


def test_spans():
    down = nn.Sequential(nn.Conv2d(3, 4, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    assert tiling.span(down) == (4, 5)
    assert tiling.span(down, nn.Identity(), nn.Conv2d(4, 4, 3, padding=2, dilation=2)) == (4, 13)
    assert tiling.span(nn.Conv2d(4, 4, 1)) == tiling.span(nn.Identity()) == (1, 0)


def test_norms_of_the_whole_map_see_the_whole_map(configs, cut):
    groups = "requires_grad=True, type='SyncBN'", "num_groups=2, type='GN'"
    model = network(configs, [*CONFIGS][-1], *groups)
    assert any(isinstance(layer, nn.GroupNorm) for layer in model.modules())
    with torch.no_grad():
        model(images(1, (389, 32)).double())
    assert set(cut) == {1}


def test_training_and_gradients_take_the_whole():
    seen, layer = [], nn.Conv2d(3, 4, 3, padding=1)
    for training, grad, calls in [(True, True, 1), (True, False, 1), (False, True, 1), (False, False, 2)]:
        seen.clear()
        with torch.set_grad_enabled(grad):
            tiling.by_strips(layer.train(training), lambda x: seen.append(1) or layer(x), images(1, (8, 8)), 1, 1, 4)
        assert len(seen) == calls


@pytest.mark.parametrize('height', range(30, 50))
@pytest.mark.parametrize('strides', [(2, 2, 1), (1, 2, 2), (2, 1, 1), (1, 1, 1), (2, 2, 2)])
@torch.no_grad()
def test_the_span_of_layers_is_enough(height, strides):
    """At every height, and so at every place where the last strip may end."""
    convs = [nn.Conv2d(1, 1, size, stride, size // 2) for size, stride in zip((7, 3, 5), strides, strict=True)]
    layers = nn.Sequential(*convs[:2], nn.MaxPool2d(3, 1, 1), convs[2]).double().eval()
    x = images(1, (height, 9), 1).double()
    by_strips = tiling.by_strips(layers, layers, x, *tiling.span(layers), rows=2)
    torch.testing.assert_close(by_strips, layers(x), rtol=1e-12, atol=1e-12)
