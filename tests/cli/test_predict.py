"""`predict` from the shell: first line, files, exit statuses, and what is checked before the model is built."""

import json
import os
import re
import signal
import sys
import time
from threading import Thread

import av
import cv2
import numpy as np
import pytest
from predict.media import greys, picture, write_video

from mmseg_bisenet.cli import main
from mmseg_bisenet.deploy import load
from mmseg_bisenet.predict import Predictor


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory: two images, one in a folder, and a video."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'in/deep').mkdir(parents=True)
    cv2.imwrite('in/a.png', picture(64, 128, 1))
    cv2.imwrite('in/deep/a.png', picture(80, 100, 2))
    write_video(tmp_path / 'in/v.mp4', greys(12))
    return tmp_path


def written(folder: str) -> list[str]:
    return sorted(f'{base}/{name}'.removeprefix(f'{folder}/') for base, _, names in os.walk(folder) for name in names)


def test_a_folder_of_images_and_videos(here, small_onnx, capsys):
    assert main(['predict', 'in', '--model', str(small_onnx)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f'{small_onnx}: runtime onnxruntime, fp32, height 64'
    assert re.fullmatch(r'a: (\w+ \d+%(, )?){4}', out[1]) and out[2].startswith('deep/a: ')
    assert re.fullmatch(r'frames: 14 in \d+\.\d\d s, \d+\.\d fps; written to predicted', out[3])
    assert [line.split()[0] for line in out[5:]] == ['decode', 'network', 'labels', 'draw', 'encode', 'glass']
    assert written('predicted') == ['a.jpg', 'a_labels.png', 'deep/a.jpg', 'deep/a_labels.png', 'v.mp4']
    labels = cv2.imread('predicted/a_labels.png', cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, load(small_onnx)(picture(64, 128, 1)))
    assert cv2.imread('predicted/deep/a_labels.png', cv2.IMREAD_UNCHANGED).shape == (80, 100)
    overlays = [result.overlay().mean() for result in Predictor(small_onnx).stream('in/v.mp4')]
    with av.open('predicted/v.mp4') as container:
        frames = [frame.to_ndarray(format='bgr24').mean() for frame in container.decode(video=0)]
    # yuv420p shifts the saturated colours of all frames by as much.
    assert np.diff(frames) == pytest.approx(np.diff(overlays), abs=1.5) and np.abs(np.diff(overlays)).min() > 2


def test_a_progress_bar_on_a_terminal(here, small_onnx, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)
    assert main(['predict', 'in', '--model', str(small_onnx)]) == 0
    out = capsys.readouterr().out
    assert '14/14' in out and re.search(r'\d fps, 0 dropped', out) and 'deep/a: ' not in out


def test_what_is_saved(here, small_onnx):
    assert (
        main(['predict', 'in/v.mp4', '--model', str(small_onnx), '--save', 'json', 'coco', 'mask', '--height', '72'])
        == 0
    )
    assert written('predicted') == ['coco.json', 'predictions.json', *(f'v/{i:06}_mask.png' for i in range(1, 13))]
    times = [frame['time'] for frame in json.load(open('predicted/predictions.json'))['frames']]
    assert times == pytest.approx([i / 10 for i in range(12)])
    assert len(json.load(open('predicted/coco.json'))['images']) == 12


def test_a_wrong_file_among_others(here, small_onnx, capsys):
    (here / 'in/b.jpg').write_bytes(b'words')
    os.mkfifo('in/c.png')
    (here / 'in/d.png').symlink_to('nowhere')
    assert main(['predict', 'in', '--model', str(small_onnx), '--save', 'labels']) == 1
    assert capsys.readouterr().err.splitlines() == [
        'mmseg-bisenet: error: in/b.jpg is no image of a format that is read; give a PNG or JPEG file',
        'mmseg-bisenet: error: in/c.png is a pipe or a device; save what it gives to a file',
        'mmseg-bisenet: error: in/d.png is a symbolic link that leads to nothing; fix it or remove it',
    ]
    assert len(written('predicted')) == 14


def test_a_folder_that_is_not_searched_among_others(here, small_onnx, capsys):
    cv2.imwrite('in/top.png', picture(64, 128, 3))
    (here / 'in/top').symlink_to('..')
    command = ['predict', 'in', '--model', str(small_onnx), '--save', 'labels', 'json']
    reason = 'in/top is a link to a folder above, which is not followed; give that folder instead'
    assert main(command) == 1
    assert capsys.readouterr().err == f'mmseg-bisenet: error: {reason}\n'
    assert {'a_labels.png', 'deep/a_labels.png', 'top_labels.png', 'predictions.json'} < set(written('predicted'))
    for path in ('in/a.png', 'in/top.png', 'in/deep/a.png', 'in/v.mp4'):
        (here / path).unlink()
    assert main([*command, '--overwrite']) == 2
    assert capsys.readouterr().err == f'mmseg-bisenet: error: {reason}\n'


@pytest.mark.parametrize(
    'arguments, reason',
    [
        (['none.png'], 'none.png does not exist; give an image'),
        (['in/a.png', '--height', '0'], '--height 0: give 1 or more'),
        (['in/a.png', '--output', 'in/a.png/out'], '--output in/a.png/out: '),
        (['in/a.png', '--save', 'video'], '--save video: no source is a video, a camera or a stream; save overlay'),
        (['in/a.png', '--model', 'none.onnx'], 'exported file none.onnx does not exist'),
        (['in/a.png', '--model', 'bisenetv2_camvit'], 'config bisenetv2_camvit is neither a file nor the name'),
        (['in/a.png', '--checkpoint', 'none.pth'], 'checkpoint none.pth does not exist'),
        (['in', '--output', 'old'], 'old/a_labels.png exists already; name another folder with --output, or give'),
        (['in', 'in/deep/a_mask.png', '--output', 'in/deep', '--save', 'mask', '--overwrite'],
         'in/deep/a_mask.png is an input of this command, and would be overwritten; name another folder'),
        (['in/a.png', '--height', '999999'], 'the narrowest input of the network at --height 999999 has 62500x999999'),
        (['file:///in/a.png'], 'file:///in/a.png: streams are read from rtsp, rtsps, rtmp, rtmps, http, https, udp'),
        (['http://127.0.0.1:9/live'], 'stream http://127.0.0.1:9/live cannot be opened (Connection refused); check'),
    ],
)  # fmt: skip
def test_what_is_checked_before_the_model_is_built(here, monkeypatch, capsys, arguments, reason):
    monkeypatch.setattr('mmseg_bisenet.predict.predictor.load_model', lambda *_: pytest.fail('the model was built'))
    (here / 'old').mkdir()
    (here / 'old/a_labels.png').write_text('mine')
    (here / 'in/deep/a.png').rename('in/deep/a_mask.png')
    before = written('.')
    assert main(['predict', *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'mmseg-bisenet: error: {reason}')
    assert written('.') == before and (here / 'old/a_labels.png').read_text() == 'mine'


@pytest.mark.parametrize('more', [[], ['--overwrite']])
def test_a_folder_beside_a_video_of_its_name(here, small_onnx, capsys, more):
    (here / 'in/v').mkdir()
    cv2.imwrite('in/v/000001.png', picture(64, 128, 3))
    assert main(['predict', 'in', '--model', str(small_onnx), '--save', 'labels', *more]) == 2
    assert capsys.readouterr().err == (
        'mmseg-bisenet: error: outputs of in/v/000001.png would lie in predicted/v, which belongs to in/v.mp4; give '
        'one at a time, each with its own --output\n'
    )
    assert not (here / 'predicted').exists()
    assert main(['predict', 'in', '--model', str(small_onnx), *more]) == 0  # a video gives no folder
    assert 'v/000001_labels.png' in written('predicted') and 'v.mp4' in written('predicted')


def test_a_current_folder_that_was_removed(here, small_onnx, capsys):
    (here / 'gone').mkdir()
    os.chdir(here / 'gone')
    (here / 'gone').rmdir()
    assert main(['predict', str(here / 'in/a.png'), '--model', str(small_onnx)]) == 2
    assert capsys.readouterr().err == 'mmseg-bisenet: error: the current folder was removed; change to another one\n'


def test_a_second_run_replaces_only_when_told(here, small_onnx, capsys):
    command = ['predict', 'in/a.png', '--model', str(small_onnx), '--save', 'labels']
    assert [main(command), main(command), main([*command, '--overwrite'])] == [0, 2, 0]
    assert 'predicted/a_labels.png exists already' in capsys.readouterr().err


def test_segment_is_an_earlier_name(here, small_onnx, capsys):
    assert main(['segment', 'in/a.png', '--model', str(small_onnx)]) == 0
    assert capsys.readouterr().out.startswith('note: segment is now called predict\n')
    assert written('segmented') == ['a.jpg', 'a_labels.png']


@pytest.mark.parametrize('signum, status, name', [(signal.SIGINT, 130, 'Ctrl-C'), (signal.SIGTERM, 143, 'SIGTERM')])
def test_a_signal_leaves_a_video_that_plays(tmp_path, small_onnx, capsys, signum, status, name):
    long, output = write_video(tmp_path / 'long.mp4', greys(20) * 100), tmp_path / 'out'

    def send() -> None:
        while not (output.is_dir() and os.listdir(output)):
            time.sleep(0.01)
        os.kill(os.getpid(), signum)

    Thread(target=send, daemon=True).start()
    assert main(['predict', str(long), '--model', str(small_onnx), '--output', str(output)]) == status
    out, err = capsys.readouterr()
    assert err == f'mmseg-bisenet: ended by {name}\n' and os.listdir(output) == ['long.mp4']
    with av.open(str(output / 'long.mp4')) as container:
        played = sum(1 for _ in container.decode(video=0))
    assert 0 < played < 2000 and f'frames: {played} in ' in out


def test_nothing_that_could_be_labelled(here, small_onnx, capsys):
    assert main(['predict', 'in', '--model', str(small_onnx), '--height', '9']) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('mmseg-bisenet: error: ') and line.endswith(' (and 13 others like it)')
    assert not os.path.exists('predicted')


def test_a_name_that_only_one_output_is_too_long_for(here, small_onnx, capsys):
    name = 'b' * 249
    os.rename('in/a.png', f'in/{name}.png')
    assert main(['predict', 'in', '--model', str(small_onnx)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'mmseg-bisenet: error: predicted/{name}_labels.png cannot be written (File name too long);')
    assert not os.path.exists('predicted')


def test_no_stdout(here, small_onnx, monkeypatch):
    monkeypatch.setattr(sys, 'stdout', None)
    assert main(['predict', 'in/a.png', '--model', str(small_onnx)]) == 0
    assert written('predicted') == ['a.jpg', 'a_labels.png']


def test_models_that_are_none(here, small_onnx, capsys):
    os.mkfifo('pipe.onnx')
    for name, reason in {
        'pipe.onnx': 'pipe.onnx is a pipe or a device; save what it gives to a file',
        'none.onnx': 'exported file none.onnx does not exist; write it with mmseg-bisenet export',
    }.items():
        assert main(['predict', 'in/a.png', '--model', name]) == 2
        assert capsys.readouterr().err == f'mmseg-bisenet: error: {reason}\n'
