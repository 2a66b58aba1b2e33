"""Image files are read and written whatever the bytes of their names."""

import os

import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg_bisenet.deploy import quantize
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.pixels import read_pixels, write_pixels


def test_a_name_that_is_not_utf_8(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (4, 6, 3), dtype=np.uint8)
    path = tmp_path / os.fsdecode(b'\xff.png')
    write_pixels(path, pixels)
    assert os.listdir(os.fsencode(tmp_path)) == [b'\xff.png']
    np.testing.assert_array_equal(read_pixels(path), pixels)
    assert read_pixels(path, cv2.IMREAD_GRAYSCALE).shape == (4, 6)
    (calibration,) = quantize.read_images(quantize.find_images(tmp_path), (4, 6))
    np.testing.assert_array_equal(calibration, pixels)


@pytest.mark.parametrize('content', [b'', b'text'])
def test_what_is_no_image(tmp_path, content):
    (tmp_path / 'a.png').write_bytes(content)
    assert read_pixels(tmp_path / 'a.png') is None
    with pytest.raises(FileNotFoundError):
        read_pixels(tmp_path / 'b.png')


def test_what_decoders_read_differently_is_refused(tmp_path):
    pages = [Image.fromarray(np.full((4, 6, 3), value, np.uint8)) for value in (0, 255)]
    pages[0].save(tmp_path / 'a.tif', save_all=True, append_images=pages[1:])
    fault = r'a.tif has 2 frames or pages; save it as a video, or as single images$'
    with pytest.raises(InputError, match=fault):
        read_pixels(tmp_path / 'a.tif')
    with pytest.raises(InputError, match=fault):
        list(quantize.read_images(quantize.find_images(tmp_path), (4, 6)))
