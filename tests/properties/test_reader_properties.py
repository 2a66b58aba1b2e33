"""Damaged files: a reader gives one line, or exactly what was written; never another error, and never other values."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from small import shrunk
from torch import Tensor

import mmseg_bisenet
from mmseg_bisenet.checkpoints import Checkpoint, read, write
from mmseg_bisenet.deploy import metadata
from mmseg_bisenet.deploy.export import export
from mmseg_bisenet.errors import InputError, line
from mmseg_bisenet.predict.image import read_image

META = dict(classes=['road', 'sky'], palette=[[1, 2, 3], [4, 5, 6]])


@st.composite
def damages(draw):
    """A function of bytes to bytes: some are changed, removed, repeated or set to zero."""
    kind = draw(st.sampled_from(['flip', 'cut', 'remove', 'insert', 'zero']))
    places = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4))
    bits, length = draw(st.integers(1, 255)), draw(st.integers(1, 300))

    def damage(content: bytes) -> bytes:
        changed = bytearray(content)
        for place in places:
            start = int(place * len(changed))
            if kind == 'flip' and changed:
                changed[start] ^= bits
            elif kind == 'cut':
                del changed[start:]
            elif kind == 'remove':
                del changed[start : start + length]
            elif kind == 'insert':
                changed[start:start] = bytes([bits]) * length
            else:
                changed[start : start + length] = bytes(len(changed[start : start + length]))
        return bytes(changed)

    return damage


def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        'conv.weight': torch.randn(4, 3, 3, 3, generator=generator),
        'norm.running_var': torch.rand(4, generator=generator) + 0.1,
        'norm.num_batches_tracked': torch.tensor(7),
    }


def assert_line(error: InputError) -> None:
    assert '\n' not in line(error) and line(error)


def assert_unchanged(found: Checkpoint) -> None:
    assert found.state_dict.keys() == weights().keys()
    for name, value in weights().items():
        assert torch.equal(found.state_dict[name], value)
    assert list(found.meta.get('classes', META['classes'])) == META['classes']


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp('checkpoints')
    torch.save(dict(state_dict=weights(), meta=META), folder / 'a.pth')
    write(folder / 'a.safetensors', Checkpoint(weights(), META))
    return {file.suffix: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@given(damage=damages())
def test_checkpoints(checkpoints, tmp_path_factory, suffix, damage):
    file = tmp_path_factory.getbasetemp() / f'damaged{suffix}'
    file.write_bytes(damage(checkpoints[suffix]))
    try:
        found = read(file)
    except InputError as error:
        assert_line(error)
    else:
        assert_unchanged(found)


@given(damage=damages())
def test_safetensors_of_others(tmp_path_factory, damage):
    """They have no checksum: other values cannot be told, but for those that no network has."""
    file = tmp_path_factory.getbasetemp() / 'theirs.safetensors'
    save_file(weights(), file)
    file.write_bytes(damage(file.read_bytes()))
    try:
        found = read(file).state_dict
    except InputError as error:
        assert_line(error)
    else:
        assert all(value.isfinite().all() for value in found.values())


@pytest.fixture(scope='module')
def exported(tmp_path_factory) -> tuple[Path, bytes]:
    segmentor = shrunk(mmseg_bisenet.get_model('bisenetv2_camvid', pretrained=True))
    path = export(segmentor, 'onnx', 'fp32', (64, 64), tmp_path_factory.mktemp('exported'))
    return path, path.read_bytes()


@given(damage=damages())
def test_exported_files(exported, damage):
    path, content = exported
    path.write_bytes(content)
    whole = metadata.read(path)
    path.write_bytes(damage(content))
    try:
        found = metadata.read(path)
    except InputError as error:
        assert_line(error)
    else:
        assert json.dumps(found.metadata, sort_keys=True) == json.dumps(whole.metadata, sort_keys=True)
        assert path.read_bytes() == content


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.bmp', '.webp', '.tif'])
@given(damage=damages())
def test_images(tmp_path_factory, suffix, damage):
    pixels = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), (40, 30))
    file = tmp_path_factory.getbasetemp() / f'photo{suffix}'
    Image.fromarray(pixels).save(file)
    content = file.read_bytes()
    whole = read_image(file)
    file.write_bytes(damage(content))
    try:
        found = read_image(file)
    except InputError as error:
        assert_line(error)
    else:
        assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3
        if suffix == '.png':  # its pixels have a checksum
            np.testing.assert_array_equal(found, whole)
