"""The benchmark of a video: all methods label and write all frames, and its file is known."""

import csv
from functools import partial

import cv2
import numpy as np
import pytest

from benchmarks import kinds, video


@pytest.fixture
def photos(tmp_path):
    (tmp_path / 'photos').mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
        cv2.imwrite(str(tmp_path / 'photos' / f'{number}.png'), pixels)
    return str(tmp_path / 'photos')


def test_a_row_for_each_method(tmp_path, photos, monkeypatch, capsys):
    counts = []

    def counted(work, *given):
        counts.append(work(*given))
        return counts[-1]

    for name in ('network_alone', 'predict', 'stock_loop'):
        monkeypatch.setattr(video, name, partial(counted, getattr(video, name)))
    csv_file = tmp_path / 'video.csv'
    options = ['--shape', '64', '96', '--seconds', '0.1', '--rounds', '1']
    assert video.main([photos, *options, '--runtime', 'eager', '--csv', str(csv_file)]) == 0
    assert counts[-3:] == [3, 3, 3]  # frames; the first call is the warm-up
    assert '| predict | eager | fp32 |' in capsys.readouterr().out
    with csv_file.open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(row['method'], row['runtime']) for row in rows] == [
        ('network alone', 'eager'),
        ('predict', 'eager'),
        ('stock loop', 'stock'),
    ]
    assert float(rows[0]['to_network']) == 1 and float(rows[2]['to_stock']) == 1
    assert kinds.command(*kinds.read(csv_file)) == (
        'python -m benchmarks.video IMAGES --shape 64 96 --seconds 0.1 --rounds 1 --runtime eager'
    )


def test_files_in_int8_in_turns(tmp_path, photos, monkeypatch, capsys):
    """Each file is exported once, with every image once; rows are told apart by the runtime."""
    exported = []

    def without_files(segmentor, format, precision, shape, folder, calibration):
        exported.append((format, precision, shape, len(calibration)))
        return dict(vnni='torch', openvino='eager')[format]

    predictor = video.Predictor
    monkeypatch.setattr(video, 'export', without_files)
    monkeypatch.setattr(video, 'Predictor', lambda runtime: predictor(runtime=runtime, height=64))
    csv_file = tmp_path / 'video.csv'
    options = ['--shape', '64', '96', '--seconds', '0.1', '--rounds', '1', '--precision', 'int8']
    assert video.main([photos, *options, '--runtime', 'vnni', 'openvino', '--csv', str(csv_file)]) == 0
    assert exported == [('vnni', 'int8', (64, 96), 2), ('openvino', 'int8', (64, 96), 2)]
    with csv_file.open(newline='') as file:
        rows = list(csv.DictReader(file))
    methods = [(method, runtime) for runtime in ('torch', 'eager') for method in ('network alone', 'predict')]
    assert [(row['method'], row['runtime']) for row in rows] == [*methods, ('stock loop', 'stock')]
    assert float(rows[0]['to_network']) == float(rows[2]['to_network']) == 1
    assert kinds.command(*kinds.read(csv_file)).endswith('--rounds 1 --runtime torch eager --precision int8')


def test_frames_repeat(photos):
    frames = video.read_frames(photos, (24, 32), 5)
    assert [frame.shape for frame in frames] == 5 * [(24, 32, 3)]
    np.testing.assert_array_equal(frames[0], frames[4])
    assert (frames[0] != frames[1]).any()


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        (['--shape', '65', '96'], 'even'),
        (['--rounds', '0'], '--rounds 1'),
        (['--runtime', 'tflite'], 'tflite'),
        (['--precision', 'int8'], 'needs --runtime, and None has no int8; choose from onnxruntime, openvino, vnni'),
        (['--precision', 'int8', '--runtime', 'pt2'], 'pt2 has no int8; choose from'),
        (['--precision', 'int8', '--runtime', 'openvino'], 'int8: 2 images to calibrate with'),
    ],
)
def test_wrong_video_options(photos, options, problem, capsys):
    assert video.main([photos, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('benchmarks.video: error: ') and problem in line


def test_a_folder_without_images(tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    assert video.main([str(tmp_path / 'empty')]) == 2
    assert 'no image' in capsys.readouterr().err
