"""Tiled networks against the same networks on whole maps, which they compute when gradients are enabled."""

import copy
import pickle

import pytest
import torch
from base import build, images, narrow, randomise, replace_sync_bn
from mmengine.config import Config
from torch import nn

from mmseg_bisenet.models.inference import tiling

CONFIGS = {
    # stem, two blocks at 1/4, spatial path, fusion, head
    'bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024': [7, 2, 2, 7, 4, 4],
    # a stem of three convolutions, and three blocks
    'bisenetv1/bisenetv1_r101-d32-torchseg_4xb4-ohem-80k_cityscapes-1024x1024': [7, 2, 2, 2, 7, 4, 4],
    # no spatial path
    'bisenetv1/bisenetv1_r18-d32-faceparsing_1xb16-ohem-80k_celebamask-512x512': [7, 2, 2, 4, 4],
    # a dilated ResNet-D
    'bisenetv1/bisenetv1_r18-d8-paddleseg_4xb4-ohem-160k_cityscapes-512x1024': [7, 2, 2, 7, 4, 4],
    # adaptive padding depends on the size of the map, so only the head is tiled
    'bisenetv2/bisenetv2_fcn-paddleseg_4xb4-160k_cityscapes-1024x1024': [4],
    # stem, detail branch to 1/4 and to 1/8, head
    'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024': [7, 7, 4, 4],
}
BACKBONES = [
    dict(type='mmseg_bisenet.BiSeNetV1', backbone_cfg=dict(type='ResNet', depth=18)),
    dict(type='mmseg_bisenet.BiSeNetV2'),
]


@pytest.fixture
def cut(monkeypatch) -> list[int]:
    """The number of strips that each part was run in."""
    seen, in_strips = [], tiling.in_strips

    def spy(module, layers, x, *args, **options):
        calls = []
        result = in_strips(module, lambda x: calls.append(1) or layers(x), x, *args, **options)
        seen.append(len(calls))
        return result

    monkeypatch.setattr(tiling, 'in_strips', spy)
    return seen


def network(configs, name: str, norm_cfg: dict = dict(type='BN'), **options) -> nn.Module:
    cfg = Config.fromfile(configs / f'{name}.py').model
    replace_sync_bn(cfg, norm_cfg)
    if 'v1' in name:
        cfg.backbone = narrow(cfg.backbone)
        cfg.decode_head.in_channels = cfg.backbone.out_channels
    return randomise(build(dict(cfg, auxiliary_head=None, **options))).eval().double()


@pytest.mark.parametrize('config', CONFIGS)
@pytest.mark.parametrize('size', [(385, 47), (390, 32)])
@pytest.mark.parametrize('channels_last', [False, True])
def test_strips_give_the_whole(configs, cut, config, size, channels_last):
    model = network(configs, config, channels_last=channels_last)
    x = images(2, size).double()
    expected = model(x).detach()
    assert set(cut) == {1}
    cut.clear()
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)
    assert [strips for strips in cut if strips > 1] == CONFIGS[config]


@pytest.mark.parametrize('copied', [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize('config', CONFIGS)
def test_copies_and_deployed_networks_are_tiled(configs, cut, config, copied):
    model = copied(network(configs, config))
    model.switch_to_deploy()
    with torch.no_grad():
        model(torch.cat([images(1, (385, 47)), torch.ones(1, 1, 385, 47)], dim=1).double())
    assert [strips for strips in cut if strips > 1] == CONFIGS[config]


@pytest.mark.parametrize('cfg', BACKBONES)
def test_enable_changes_classes_and_nothing_else(cfg):
    plain = randomise(build(cfg))
    tiled = copy.deepcopy(plain)
    tiling.enable(tiled)
    tiling.enable(tiled)  # a second call changes nothing
    assert [name for name, _ in tiled.named_modules()] == [name for name, _ in plain.named_modules()]
    assert list(tiled.state_dict()) == list(plain.state_dict())
    classes = [(type(after), type(before)) for after, before in zip(tiled.modules(), plain.modules(), strict=True)]
    changed = [pair for pair in classes if pair[0] is not pair[1]]
    assert changed and all(after.__base__ is before for after, before in changed)
    x = images(2, (385, 47))
    torch.testing.assert_close(tiled(x), plain(x), rtol=0, atol=0)  # in training
    with torch.no_grad():
        torch.testing.assert_close(tiled.eval()(x), plain.eval()(x), rtol=1e-4, atol=1e-5)


def graphs(model: nn.Module, x: torch.Tensor) -> list[list[str]]:
    """The operations of each kind of graph."""
    found = []
    torch._dynamo.reset()
    torch.compile(model, backend=lambda graph, _: found.append(graph.graph) or graph, fullgraph=True)(x)
    found.append(torch.export.export(model, (x,)).graph)
    traced = torch.jit.trace(model, x, check_trace=False).inlined_graph
    operations = [[str(node.target) for node in graph.nodes if node.op == 'call_function'] for graph in found]
    operations[0] = [name for name in operations[0] if 'log_api_usage' not in name]  # of nn.Sequential's constructor
    return [*operations, [node.kind() for node in traced.nodes() if node.kind().startswith('aten::')]]


@pytest.mark.parametrize('cfg', BACKBONES)
@torch.no_grad()
def test_graphs_are_those_of_the_plain_network(cfg):
    model, x = randomise(build(cfg)).eval(), images(1, (385, 47))
    expected = graphs(model, x)
    assert len(expected) == 3 and all(expected)
    tiling.enable(model)
    assert graphs(model, x) == expected


def test_spans():
    down = nn.Sequential(nn.Conv2d(3, 4, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    assert tiling.span(down) == (4, 5)
    assert tiling.span(down, nn.Identity(), nn.Conv2d(4, 4, 3, padding=2, dilation=2)) == (4, 13)
    assert tiling.span(nn.Conv2d(4, 4, 1)) == tiling.span(nn.Identity()) == (1, 0)


def test_norms_of_the_whole_map_see_the_whole_map(configs, cut):
    model = network(configs, [*CONFIGS][-1], dict(type='GN', num_groups=2))
    assert any(isinstance(layer, nn.GroupNorm) for layer in model.modules())
    with torch.no_grad():
        model(images(1, (389, 32)).double())
    assert set(cut) == {1}


@pytest.mark.parametrize('cfg', BACKBONES)
@torch.no_grad()
def test_compiled_networks_cut_large_maps_if_asked_to(cfg, monkeypatch):
    model, x = tiling.enable(randomise(build(cfg)).eval()).double(), images(1, (391, 64)).double()
    with torch.enable_grad():
        expected = model(x)
    convolutions = []

    def run():
        torch._dynamo.reset()
        nodes = []
        outputs = torch.compile(
            model, backend=lambda graph, _: nodes.extend(graph.graph.nodes) or graph, fullgraph=True
        )(x)
        torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
        convolutions.append(sum('conv2d' in str(node.target) for node in nodes))

    monkeypatch.setattr(tiling, 'LARGE', 8 * 64 * 196 * 32 // 2)  # half of the first map
    run()
    tiling.enable_compiled(model)
    run()
    monkeypatch.setattr(tiling, 'LARGE', 2**24)
    run()
    assert convolutions[0] == convolutions[2] < convolutions[1] < 2 * convolutions[0]


def test_training_and_gradients_take_the_whole():
    seen, layer = [], nn.Conv2d(3, 4, 3, padding=1)
    for training, grad, calls in [(True, True, 1), (True, False, 1), (False, True, 1), (False, False, 2)]:
        seen.clear()
        with torch.set_grad_enabled(grad):
            tiling.in_strips(layer.train(training), lambda x: seen.append(1) or layer(x), images(1, (8, 8)), 1, 1, 4)
        assert len(seen) == calls


@pytest.mark.parametrize('height', range(30, 50))
@pytest.mark.parametrize('strides', [(2, 2, 1), (1, 2, 2), (2, 1, 1), (1, 1, 1), (2, 2, 2)])
@torch.no_grad()
def test_the_span_of_layers_is_enough(height, strides):
    """At every height, and so for every height of the last strip."""
    convs = [nn.Conv2d(1, 1, size, stride, size // 2) for size, stride in zip((7, 3, 5), strides, strict=True)]
    layers = nn.Sequential(*convs[:2], nn.MaxPool2d(3, 1, 1), convs[2]).double().eval()
    x = images(1, (height, 9), 1).double()
    in_strips = tiling.in_strips(layers, layers, x, *tiling.span(layers), rows=2)
    torch.testing.assert_close(in_strips, layers(x), rtol=1e-12, atol=1e-12)


def replaced(pool: nn.MaxPool2d) -> nn.MaxPool2d:
    pool = copy.deepcopy(pool)
    tiling.enable(pool)
    assert isinstance(pool, tiling.SeparableMaxPool2d)
    return pool


@pytest.mark.parametrize('size', [(1, 1), (1, 8), (2, 2), (7, 9), (8, 5), (33, 64)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_the_max_pool_of_stems_equals_pytorch(size, dtype, monkeypatch):
    pool = nn.MaxPool2d(3, stride=2, padding=1).eval()
    x = torch.randn(2, 3, *size, dtype=dtype)
    x[0, 0, 0, 0], x[-1, -1, -1, -1] = -float('inf'), float('nan')
    calls, halve = [], tiling._halve
    monkeypatch.setattr(tiling, '_halve', lambda *args: calls.append(args[1]) or halve(*args))
    before = x.clone()
    assert torch.equal(replaced(pool)(x).nan_to_num(7), pool(x).nan_to_num(7))
    assert calls == [2, 3] and torch.equal(x.nan_to_num(7), before.nan_to_num(7))


@pytest.mark.parametrize('options', [dict(kernel_size=2), dict(kernel_size=3), dict(kernel_size=3, stride=2)])
@torch.no_grad()
def test_other_max_pools_are_pytorchs(options):
    pool, x = nn.MaxPool2d(**options).eval(), torch.randn(1, 2, 9, 12)
    assert torch.equal(replaced(pool)(x), pool(x))


def test_the_max_pool_in_training_is_pytorchs():
    pool, x = nn.MaxPool2d(3, stride=2, padding=1), torch.randn(1, 2, 9, 12, requires_grad=True)
    replaced(pool)(x).sum().backward()
    gradient, x.grad = x.grad, None
    pool(x).sum().backward()
    assert torch.equal(x.grad, gradient)
