"""Sizes are refused before memory is taken for them."""

import numpy as np
import pytest

from mmseg_bisenet.cli import main
from mmseg_bisenet.deploy import load
from mmseg_bisenet.deploy.export import checked_shape
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.predict import Predictor
from mmseg_bisenet.sizes import check_pixels, check_size, height_and_width, whole

LIMIT = 'the limit is 64 megapixels: make it smaller'


def test_the_limits():
    check_pixels('a', 8000, 8000)
    check_size('a', 16_000, 1000)
    with pytest.raises(InputError, match=f'^a has 8000x8001 pixels; {LIMIT}$'):
        check_pixels('a', 8000, 8001)
    with pytest.raises(InputError, match=r'^a has 16001x1000 pixels; a side may be 16 times the other: crop it$'):
        check_size('a', 16_001, 1000)


def test_what_is_no_number():
    assert height_and_width((np.int64(64), 96)) == (64, 96) and whole(np.uint8(7)) == 7
    for shape in ((True, True), (64, False), (64.0, 96), (64,), 64, {64, 96}, 'ab', None):
        with pytest.raises(InputError, match=r'^shape=.*: give \(height, width\) in pixels$'):
            height_and_width(shape)
    for function in (checked_shape, lambda shape: load('bisenetv2_camvid', shape=shape)):
        for shape, text in (((True, True), 'True, True'), ((64,), '64,')):
            with pytest.raises(InputError, match=rf'^shape=\({text}\): give \(height, width\) in pixels$'):
                function(shape)
    with pytest.raises(InputError, match=r'^shape 63 64: give height and width, each from 64 to 16384 pixels$'):
        checked_shape((63, 64))


def test_functions(small_onnx):
    with pytest.raises(InputError, match=f'^shape has 100000x100000 pixels; {LIMIT}$'):
        load('bisenetv2_camvid', shape=(100_000, 100_000))
    with pytest.raises(InputError, match=f'^shape has 16000x16000 pixels; {LIMIT}$'):
        checked_shape((16_000, 16_000))
    with pytest.raises(InputError, match=f'the network for image at height 20000 has 40000x20000 pixels; {LIMIT}$'):
        Predictor(small_onnx, height=20_000)(np.zeros((10, 20, 3), np.uint8))


@pytest.mark.parametrize(
    'arguments',
    [
        ['benchmark', 'bisenetv2_camvid', '--shape', '100000', '100000'],
        ['export', 'bisenetv2_camvid', '--shape', '16000', '16000'],
        ['miniscapes', 'made', '--size', '100000', '100000'],
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f'00x{arguments[-1]} pixels; {LIMIT}')
    assert not list(tmp_path.iterdir())
