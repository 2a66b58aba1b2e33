"""Pictures and configs of a run: the files of stock, with names of any bytes."""

import os

import numpy as np
import pytest
from full_disk import largest_file
from mmengine.config import Config
from mmengine.visualization import LocalVisBackend

from mmseg_bisenet.engine.vis_backend import AnyNameVisBackend
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.pixels import read_pixels


def test_files_are_those_of_stock(tmp_path):
    picture = np.random.randint(0, 256, (5, 7, 3), np.uint8)
    (tmp_path / 'a.py').write_text("a = 1\nb = dict(c='ü')\n")
    for backend, name in ((LocalVisBackend, 'stock'), (AnyNameVisBackend, 'ours')):
        backend = backend(str(tmp_path / name))
        backend.add_config(Config.fromfile(tmp_path / 'a.py'))
        backend.add_image('val_a.png', picture, 3)
        backend.add_scalars(dict(loss=1.5), 4)
    names = ['config.py', 'scalars.json', 'vis_image/val_a.png_3.png']
    stock, ours = tmp_path / 'stock', tmp_path / 'ours'
    for folder in (stock, ours):
        assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*.*')) == names
    assert [(ours / name).read_bytes() for name in names] == [(stock / name).read_bytes() for name in names]
    np.testing.assert_array_equal(read_pixels(ours / names[2])[..., ::-1], picture)


def test_names_of_any_bytes(tmp_path):
    backend = AnyNameVisBackend(str(tmp_path / os.fsdecode(b'o\xff\n')))
    backend.add_image(os.fsdecode(b'\xfe'), np.full((2, 2, 3), 9, np.uint8))
    (picture,) = tmp_path.rglob('*.png')
    assert os.fsencode(picture.relative_to(tmp_path)) == b'o\xff\n/vis_image/\xfe_0.png'
    assert (read_pixels(picture) == 9).all()


def test_a_full_disk(tmp_path):
    backend = AnyNameVisBackend(str(tmp_path))
    text = rf'^{tmp_path}/config\.py cannot be written \(File too large'
    backend.add_config(Config(dict(a='x' * 200)))
    assert not list(tmp_path.iterdir())  # a test that fails before its first picture does not block the next
    with largest_file(100), pytest.raises(InputError, match=text):
        backend.add_scalars(dict(loss=1.5))


def test_no_folder_is_left_on_a_full_disk(tmp_path):
    (tmp_path / 'mine').mkdir()
    backend = AnyNameVisBackend(str(tmp_path / 'mine/new/vis_data'))
    backend.add_config(Config(dict(a='x' * 200)))
    with largest_file(100), pytest.raises(InputError, match='File too large'):
        backend.add_image('a', np.zeros((8, 8, 3), np.uint8))
    assert list(tmp_path.rglob('*')) == [tmp_path / 'mine']
