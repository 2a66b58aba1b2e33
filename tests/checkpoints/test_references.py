"""Converted networks that have no golden file give the outputs of functions written from the code of their source."""

import json
import pickle
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import paddle
from checkpoints.formula import image, logits, segmentor, tensor
from torch import Tensor, nn

from benchmarks.faces import reference
from mmseg_bisenet import model_index
from mmseg_bisenet.checkpoints import convert, read
from mmseg_bisenet.cli import main
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.zoo import get_model

STREETS = 'bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024'
FACES = 'bisenetv1_r18-d32-faceparsing_1xb16-ohem-80k_celebamask-512x512'


def recorded(weights: dict[str, Tensor]) -> Callable[[str, tuple[int, ...]], Tensor]:
    """Weights by the formula, which come into being where they are first used."""

    def get(name: str, shape: tuple[int, ...]) -> Tensor:
        formula = re.sub('_variance$', 'running_var', name)
        return weights.setdefault(name, tensor(formula, tuple(shape)))

    return get


def assert_heads_equal(model: nn.Module, x: Tensor, expected: list[Tensor]) -> None:
    features = model.backbone(x)
    heads = [model.decode_head, *model.auxiliary_head]
    assert len(heads) == len(expected)
    for head, want in zip(heads, expected, strict=True):
        torch.testing.assert_close(head(features), want, rtol=0, atol=1e-4)


# -- CoinCheung's early V1, and face parsing ---------------------------------------------------------------------------


@torch.no_grad()
def test_the_reference_is_the_network_of_the_golden_file(shared_data):
    folder = shared_data / 'checkpoints' / 'faceparsing'
    shapes = json.loads((folder / 'bisenetv1_r18_state_dict.json').read_text())
    weights = {}
    main_head, *_ = reference(recorded(weights), image(64, 128))
    assert {name: list(value.shape) for name, value in weights.items()} == shapes
    with np.load(folder / 'bisenetv1_r18_seed1_64x128.npz') as golden:
        np.testing.assert_allclose(main_head[0, :, ::4, ::4], golden['logits'], rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    ('options', 'source', 'config'),
    [
        (
            dict(spatial_path=True),
            'coincheung',
            'bisenetv1_r18-d32-coincheung-early_2xb8-ohem-80k_cityscapes-1024x1024',
        ),
        (dict(blocks=(3, 4, 6, 3)), 'faceparsing', FACES.replace('r18', 'r34')),
        (dict(classes=11), 'faceparsing', FACES),
    ],
    ids=['early', 'r34', '11 classes'],
)
def test_early_networks_and_all_their_heads(options, source, config, tmp_path):
    weights, x = {}, image(64, 96)
    expected = reference(recorded(weights), x, **options)
    torch.save({f'module.{key}': value for key, value in weights.items()}, tmp_path / 'in.pth')
    done = convert(tmp_path / 'in.pth', tmp_path / 'out.pth')
    assert (done.source, done.config.stem, done.dropped) == (source, config, ())
    converted = read(tmp_path / 'out.pth').state_dict
    model = segmentor(done.config, converted)  # strictly
    torch.testing.assert_close(logits(model, x), expected[0], rtol=0, atol=1e-4)
    features = model.backbone(x)
    for head, want in zip(model.auxiliary_head, expected[1:], strict=True):
        full = nn.functional.interpolate(head(features), x.shape[2:], mode='bilinear', align_corners=True)
        torch.testing.assert_close(full, want, rtol=0, atol=1e-4)
    # Nothing of theirs is changed, and our biases are zeros.
    ours = {value.numpy().tobytes() for value in converted.values()}
    assert all(value.numpy().tobytes() in ours for value in weights.values())
    assert not any(value.any() for key, value in converted.items() if key.endswith('conv_seg.bias'))


def test_another_number_of_faces_classes_is_told(tmp_path, capsys):
    weights = {}
    reference(recorded(weights), image(64, 64), classes=11)
    torch.save(weights, tmp_path / 'in.pth')
    assert main(['convert', str(tmp_path / 'in.pth'), str(tmp_path / 'out.pth')]) == 0
    out, err = capsys.readouterr()
    assert 'the config has 19 classes; use it with --cfg-options model.num_classes=11' in err
    assert 'normalises images as faceparsing does for CelebAMask-HQ' in err
    assert out.splitlines()[-1] == FACES


def test_face_files_under_other_configs(tmp_path):
    """Converted or not, they are refused in one line where the network or the classes are others."""
    weights = {}
    reference(recorded(weights), image(64, 64), classes=11)
    torch.save(weights, tmp_path / 'in.pth')
    convert(tmp_path / 'in.pth', tmp_path / 'out.pth')
    for config, file, problem in (
        (STREETS, 'out.pth', r'does not fit: \d+ missing: backbone\.spatial_path\.'),
        (STREETS, 'in.pth', r'does not fit: \d+ missing: .* unexpected: cp\.resnet'),
        (FACES, 'in.pth', r'does not fit: \d+ missing: .*; mmseg-bisenet convert reads those of other codebases, and'),
        (
            FACES,
            'out.pth',
            r'; name the config that it was trained with \(get_model with num_classes starts',
        ),
    ):
        with pytest.raises(InputError, match=problem) as caught:
            get_model(config, pretrained=tmp_path / file)
        assert '\n' not in str(caught.value)


# -- PaddleSeg ---------------------------------------------------------------------------------------------------------

PADDLE = {
    'v2': (paddle.bisenetv2, 'bisenetv2_fcn-paddleseg_4xb4-160k_cityscapes-1024x1024'),
    'v1': (paddle.bisenetv1, 'bisenetv1_r18-d8-paddleseg_4xb4-ohem-160k_cityscapes-512x1024'),
}


def save_pdparams(weights: dict[str, Tensor], path: Path, protocol: int = 4) -> None:
    """As ``paddle.save`` writes a state dict."""
    content: dict[str, object] = {name: value.numpy() for name, value in weights.items()}
    content['StructuredToParameterName@@'] = {name: f'param_{i}.w_0' for i, name in enumerate(weights)}
    path.write_bytes(pickle.dumps(content, protocol))


@torch.no_grad()
@pytest.mark.parametrize('size', [(64, 96), (97, 65)])
@pytest.mark.parametrize('network', PADDLE)
def test_paddlesegs_networks_and_all_their_heads(network, size, tmp_path):
    run, config = PADDLE[network]
    weights, x = {}, image(*size)
    expected = run(recorded(weights), x, classes=19)
    save_pdparams(weights, tmp_path / 'model.pdparams')
    done = convert(tmp_path / 'model.pdparams', tmp_path / 'out.safetensors')
    assert (done.source, done.config.stem, done.dropped) == ('paddleseg', config, ())
    converted = read(tmp_path / 'out.safetensors').state_dict
    counters = {key: value.item() for key, value in converted.items() if key.endswith('.num_batches_tracked')}
    assert counters and not any(counters.values())
    assert_heads_equal(segmentor(done.config, converted), x, expected)


@torch.no_grad()
@pytest.mark.parametrize(
    'change', [dict(depthwise_act=True), dict(bga_act=True), dict(bga_pool_padding=True), 'padding']
)
def test_every_choice_of_paddlesegs_v2_counts(change, tmp_path):
    weights, x = {}, image(64, 96)
    expected = paddle.bisenetv2(recorded(weights), x, classes=19)[0]
    save_pdparams(weights, tmp_path / 'model.pdparams')
    done = convert(tmp_path / 'model.pdparams', tmp_path / 'out.pth')
    backbone = dict(conv_cfg=None) if change == 'padding' else change
    model = segmentor(done.config, read(tmp_path / 'out.pth').state_dict, **backbone)
    assert (model.decode_head(model.backbone(x)) - expected).abs().max() > 1e-2


@pytest.mark.parametrize('protocol', [2, 3, 4])
def test_every_pickle_protocol_of_paddle_is_read(protocol, tmp_path):
    weights = {'a.weight': torch.randn(2, 3), 'b._mean': torch.zeros(2), 'c': torch.tensor([1, 2])}
    save_pdparams(weights, tmp_path / 'model.pdparams', protocol)
    torch.testing.assert_close(read(tmp_path / 'model.pdparams').state_dict, weights, rtol=0, atol=0)


def test_the_configs_are_in_the_index():
    for name in (config for _, config in PADDLE.values()):
        assert name in model_index.entries()


class Reduced:
    """Pickles as a call."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


@pytest.mark.parametrize(
    ('content', 'problem'),
    [
        ({'a': Reduced(eval, '1')}, r'is refused: it names builtins\.eval, and only arrays are read'),
        ({'a': Reduced(partial, print)}, r'is refused: it names functools\.partial'),
        ({'a': Path('x')}, 'is refused: it names pathlib'),
        ({'a': np.float32(1)}, 'is refused: it names numpy'),
        ({'a': np.array([{}], dtype=object)}, 'holds no state dict of arrays'),
        ({'a': 'text'}, 'holds no state dict of arrays'),
        ([np.zeros(1)], 'holds no state dict of arrays'),
        ({'a': np.zeros(3)}, 'is no BiSeNet V1 or V2 of .*, faceparsing, paddleseg: its keys start with a'),
    ],
)
def test_pdparams_of_something_else(content, problem, tmp_path, capsys):
    (tmp_path / 'in.pdparams').write_bytes(pickle.dumps(content, 4))
    assert main(['convert', str(tmp_path / 'in.pdparams'), str(tmp_path / 'out.pth')]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(problem, line)
    assert [path.name for path in tmp_path.iterdir()] == ['in.pdparams']


@pytest.mark.parametrize('share', [0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize('suffix', ['.pdparams', '.pth'])
def test_a_truncated_file(share, suffix, tmp_path, capsys):
    path = tmp_path / f'in{suffix}'
    weights = {'conv_out.x': torch.zeros(1000)}
    if suffix == '.pth':
        torch.save(weights, path)
    else:
        save_pdparams(weights, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert main(['convert', str(path), str(tmp_path / 'out.pth')]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f'checkpoint {path} is damaged or no ' in line
    assert not (tmp_path / 'out.pth').exists()
