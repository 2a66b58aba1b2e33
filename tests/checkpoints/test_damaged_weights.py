"""Weights that are damaged, or that no network can have, are refused wherever they enter."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from mmseg_bisenet.checkpoints import Checkpoint, convert, files, read, write
from mmseg_bisenet.checkpoints.fit import classifiers_of_others, mismatches
from mmseg_bisenet.cli import main
from mmseg_bisenet.deploy import load
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.model_index import find_config
from mmseg_bisenet.predict import Predictor
from mmseg_bisenet.zoo import get_model

NAME = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'
CONFIG = find_config(NAME)
WEIGHTS = Path(__file__).parents[2] / 'mmseg_bisenet/weights/bisenetv2_camvid.safetensors'
STATE = dict(weight=torch.arange(6.0).reshape(2, 3), running_var=torch.ones(3), num_batches_tracked=torch.tensor(7))


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    text = str(caught.value)
    assert '\n' not in text and text.startswith(f'checkpoint {path} ')
    return text.removeprefix(f'checkpoint {path} ')


def overwrite(path: Path, found: bytes, by: bytes) -> None:
    content = path.read_bytes()
    assert content.count(found) == 1 and len(found) == len(by)
    path.write_bytes(content.replace(found, by))


def test_files_of_other_formats(tmp_path):
    write(tmp_path / 'a.safetensors', Checkpoint(STATE))
    (tmp_path / 'a.safetensors').rename(tmp_path / 'a.pth')
    assert refusal(tmp_path / 'a.pth') == 'is a safetensors file; rename it to a.safetensors'
    for start in (b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff\xe0'):
        (tmp_path / 'b.pth').write_bytes(start + bytes(100))
        assert refusal(tmp_path / 'b.pth') == 'is an image; give a .pth or .safetensors file'
    (tmp_path / 'b.onnx').write_bytes(b'\x08' + bytes(100))
    assert refusal(tmp_path / 'b.onnx') == 'is of another format (.onnx); give a .pth or .safetensors file'


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    write(tmp_path / 'a.pth', Checkpoint(STATE))

    def forbidden(*_: object) -> bool:
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(files, 'is_zipfile', forbidden)  # the tests may run as root, who may read everything
    assert refusal(tmp_path / 'a.pth') == 'cannot be read: no permission; change its mode, or copy it'


# -- damage ------------------------------------------------------------------------------------------------------------


def test_zeros_inside_a_pth(tmp_path):
    path = tmp_path / 'a.pth'
    write(path, Checkpoint(STATE | dict(bias=torch.full((100,), 1.25))))
    assert torch.equal(read(path).state_dict['bias'], torch.full((100,), 1.25))
    values = torch.full((100,), 1.25).numpy().tobytes()
    overwrite(path, values, values[:200] + bytes(200))
    assert torch.load(path)['state_dict']['bias'][60] == 0  # PyTorch reads it as if it were right
    assert re.match(
        r'is damaged or no checkpoint \(ValueError: wrong checksum of \S+/data/\d\); get it again', refusal(path)
    )


@pytest.mark.parametrize(
    ('found', 'by'),
    [
        (np.float32([0, 1, 2]).tobytes(), np.float32([0, 1, 3]).tobytes()),
        (b'"weight":{"dtype":"F32"', b'"weight":{"dtype":"I32"'),
        (b'"shape":[2,3]', b'"shape":[3,2]'),
        (b'"weight"', b'"wight_"'),
        (b'pavement', b'pavemeat'),
        (b'crc32', b'brc32'),
        (b'"meta"', b'"mesa"'),
    ],
    ids=['value', 'type', 'shape', 'name', 'meta', 'key of the checksum', 'key of the meta'],
)
def test_a_bit_inside_a_safetensors(tmp_path, found, by):
    path = tmp_path / 'a.safetensors'
    write(path, Checkpoint(STATE, dict(source='pavement')))
    assert torch.equal(read(path).state_dict['weight'], STATE['weight'])
    overwrite(path, found, by)
    assert refusal(path) == 'is damaged or no safetensors file (ValueError: wrong checksum); get it again'


@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
@pytest.mark.parametrize(
    'state, meta, reason',
    [
        (dict(weight=torch.tensor([float('nan')])), {}, 'has weights that no network can have: 1 with NaN or infinite'),
        ({}, {}, 'has no weights; give another$'),
        (dict(weight=3), {}, 'a state dict has names and tensors; remove weight$'),
        (STATE, 'x', 'its meta is str; give a dict$'),
        (STATE, dict(x=Path('a')), r'its meta could not be read again \(.*\); give tensors, numbers and text$'),
        (STATE, dict(x=object()), r'its meta could not be read again \(.*\); give tensors, numbers and text$'),
        (STATE, dict(dataset_meta=dict(classes=['a', 'a'])), "its meta names the class 'a' more than once"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path, ending, state, meta, reason):
    with pytest.raises(InputError, match=rf'^checkpoint {tmp_path}/a{ending}:? {reason}'):
        write(tmp_path / f'a{ending}', Checkpoint(state, meta))
    assert not any(tmp_path.iterdir())


def test_a_safetensors_of_others_has_no_checksum(tmp_path):
    safetensors.torch.save_file(STATE, tmp_path / 'a.safetensors', {'format': 'pt'})
    assert torch.equal(read(tmp_path / 'a.safetensors').state_dict['weight'], STATE['weight'])


def test_the_weights_in_the_package_have_a_checksum(tmp_path):
    content = bytearray(WEIGHTS.read_bytes())
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], 'little')])
    assert len(json.loads(header['__metadata__']['meta'])['crc32']) == 8
    assert len(read(WEIGHTS).state_dict) > 100
    content[-1] ^= 1
    (tmp_path / 'a.safetensors').write_bytes(content)
    assert 'wrong checksum' in refusal(tmp_path / 'a.safetensors')


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('key', 'value', 'fault'),
    [
        ('weight', torch.tensor([1.0, float('nan')]), 'with NaN or infinite values'),
        ('weight', torch.tensor([1.0, float('-inf')]).half(), 'with NaN or infinite values'),
        ('weight', torch.tensor([1.0, 1e300], dtype=torch.float64), 'with NaN or infinite values'),
        ('weight', torch.empty(3, device='meta'), r'without values \(meta device\)'),
        ('weight', torch.eye(3).to_sparse(), 'sparse'),
        ('weight', torch.ones(3, dtype=torch.complex64), 'of type complex64'),
        ('weight', torch.ones(3).to(torch.float8_e5m2), 'of type float8_e5m2'),
        ('weight', torch.ones(1).expand(1 << 40), 'larger than what is stored'),
        ('bn.running_var', torch.tensor([1.0, -0.5]), 'with negative variances'),
    ],
    ids=['nan', 'inf', 'too large', 'meta', 'sparse', 'complex', 'float8', 'expanded', 'variance'],
)
def test_values_that_no_network_has(tmp_path, key, value, fault):
    torch.save({'state_dict': STATE | {key: value}}, tmp_path / 'a.pth')
    assert re.fullmatch(
        rf'has weights that no network can have: 1 {fault}: {key}; give others', refusal(tmp_path / 'a.pth')
    )


def test_negative_variances_of_paddle(tmp_path):
    import pickle

    with (tmp_path / 'a.pdparams').open('wb') as file:
        pickle.dump({'bn._variance': np.float32([-1]), 'bn._mean': np.float32([-1])}, file)
    assert '1 with negative variances: bn._variance' in refusal(tmp_path / 'a.pdparams')


def test_integers_do_not_fit():
    own = dict(weight=torch.ones(3), num_batches_tracked=torch.tensor(0))
    given = dict(weight=torch.ones(3, dtype=torch.int64), num_batches_tracked=torch.tensor(0.0))
    assert mismatches(own | dict(weight=torch.ones(3).half()), own)['of another type'] == []
    assert mismatches(given, own)['of another type'] == [
        'weight torch.int64 instead of torch.float32',
        'num_batches_tracked torch.float32 instead of torch.int64',
    ]


@pytest.mark.parametrize(
    ('shape', 'of_others'),
    [
        ((19, 64, 1, 1), False),
        ((7, 64, 1, 1), True),
        ((20, 64, 1, 1), True),
        ((7, 63, 1, 1), False),
        ((7, 65, 1, 1), False),
    ],
)
def test_a_classifier_of_other_classes_differs_in_nothing_else(shape, of_others):
    key = 'decode_head.conv_seg.weight'
    own, given = {key: torch.ones(19, 64, 1, 1)}, {key: torch.ones(shape)}
    assert classifiers_of_others(given, own) == [key] * of_others
    different = [] if shape == (19, 64, 1, 1) else [f'{key} {shape} instead of (19, 64, 1, 1)']
    assert mismatches(given, own)['of another shape'] == different
    assert mismatches(given, own, but=[key])['of another shape'] == []


# -- where weights enter -----------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def ours() -> dict[str, torch.Tensor]:
    return get_model(str(CONFIG)).state_dict()


@pytest.fixture(scope='module', params=['nan', 'integer'])
def wrong(request, ours, tmp_path_factory) -> tuple[Path, str]:
    """A checkpoint of the right keys and shapes, and what the error says."""
    key = 'decode_head.conv_seg.weight'
    value = torch.full_like(ours[key], float('nan')) if request.param == 'nan' else ours[key].long()
    path = tmp_path_factory.mktemp('wrong') / 'a.pth'
    torch.save(ours | {key: value}, path)
    return path, {'nan': f'1 with NaN or infinite values: {key}', 'integer': f'1 of another type: {key} torch.int64'}[
        request.param
    ]


def test_functions(wrong, tmp_path):
    path, text = wrong
    calls = [get_model, load, Predictor]
    for call in calls:
        with pytest.raises(InputError, match=re.escape(text)):
            call(str(CONFIG), path)


def test_what_is_damaged_is_not_converted(tmp_path):
    torch.save(dict(weight=torch.tensor([float('nan')])), tmp_path / 'a.pth')
    with pytest.raises(InputError, match='1 with NaN or infinite values: weight'):
        convert(tmp_path / 'a.pth', tmp_path / 'b.pth')
    assert [path.name for path in tmp_path.iterdir()] == ['a.pth']


@pytest.mark.parametrize('command', ['test', 'export', 'benchmark', 'predict', 'train'])
def test_commands(wrong, drawn, tmp_path, monkeypatch, capsys, command):
    path, text = wrong
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(drawn))
    monkeypatch.chdir(tmp_path)
    image = next(drawn.rglob('*_leftImg8bit.png'))
    arguments = {
        'test': [NAME, path],
        'export': [NAME, path],
        'benchmark': [NAME, path],
        'predict': [image, '--model', CONFIG, '--checkpoint', path],
        'train': [NAME, '--cfg-options', f'load_from={path}'],
    }[command]
    assert main([command, *map(str, arguments)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('mmseg-bisenet: error: ')]
    assert text in line and 'a.pth' in line
    assert not list(tmp_path.iterdir())


# -- meta --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('meta', 'text'),
    [
        (dict(dataset_meta=5), 'dataset_meta is int, not a dict'),
        (dict(dataset_meta=dict(classes=3)), 'has classes that are no list of names'),
        (dict(CLASSES=[1, 2]), 'has classes that are no list of names'),
        (dict(CLASSES=('a', 'b', 'a')), "names the class 'a' more than once"),
        (dict(dataset_meta=dict(classes=['a'], palette=[[1, 2]])), 'has a palette that is no list of (red, green'),
        (dict(dataset_meta=dict(classes=['a', 'b'], palette=[[1, 2, 3]])), 'has a palette that is no list of (red'),
        (dict(dataset_meta=dict(classes=['a'], palette=[[1, 2, 300]])), 'has a palette that is no list of (red, green'),
        (dict(dataset_meta=dict(palette=[[1], [2, 3]])), 'has a palette that is no list of (red, green'),
        (dict(dataset_meta=dict(palette=7)), 'has a palette that is no list of (red, green'),
    ],
)
def test_meta_that_is_odd(tmp_path, meta, text):
    torch.save({'state_dict': STATE, 'meta': meta}, tmp_path / 'a.pth')
    with pytest.raises(InputError) as caught:
        read(tmp_path / 'a.pth')
    assert str(caught.value).startswith(f'checkpoint {tmp_path / "a.pth"}: its meta {text}')


@pytest.mark.parametrize('palette', [None, [], [[0, 1, 255]], np.array([[0, 1, 2]])], ids=repr)
def test_meta_that_is_right(tmp_path, palette):
    torch.save({'state_dict': STATE, 'meta': dict(CLASSES=('a',), PALETTE=palette)}, tmp_path / 'a.pth')
    assert read(tmp_path / 'a.pth').dataset_meta['classes'] == ('a',)
