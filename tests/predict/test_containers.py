"""What a file is by its content, and videos that are cut off."""

import os
import re

import av
import pytest
from PIL import Image
from predict.media import greys, picture, write_video

from mmseg_bisenet.cli import main
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.predict.containers import is_cut_off, kind_of_video
from mmseg_bisenet.predict.image import read_image
from mmseg_bisenet.predict.video import video_frames

KINDS = {
    'a.mp4': ('libx264', {}, 'MP4'),
    'first.mp4': ('libx264', dict(movflags='faststart'), 'MP4'),
    'parts.mp4': ('libx264', dict(movflags='frag_keyframe+empty_moov'), 'MP4'),
    'a.mov': ('libx264', {}, 'MP4'),
    'a.mkv': ('libx264', {}, 'Matroska'),
    'live.mkv': ('libx264', dict(live='1'), 'Matroska'),
    'a.webm': ('libvpx', {}, 'Matroska'),
    'a.avi': ('mpeg4', {}, 'AVI'),
    'a.ts': ('libx264', {}, 'MPEG-TS'),
    'a.wmv': ('wmv2', {}, 'ASF'),
}


def written(path, codec, options):
    with av.open(str(path), 'w', options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 96, 'yuv420p'
        for seed in range(12):
            frame = av.VideoFrame.from_ndarray(picture(64, 96, seed), format='bgr24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


def line_after(caught, path) -> str:
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize('name', KINDS)
def test_a_video_that_is_cut_off_does_not_look_complete(tmp_path, name):
    codec, options, kind = KINDS[name]
    path = tmp_path / name
    content = written(path, codec, options)
    assert kind_of_video(content[:4096]) == kind
    assert not is_cut_off(path) and sum(1 for _ in video_frames(path)) == 12
    for share in (0.2, 0.5, 0.8, 0.95, 0.99):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InputError) as caught:
            list(video_frames(path))
        # A cut between two packets of MPEG-TS is known only by the frame before it.
        assert re.fullmatch(r' is (cut off( after frame \d+)?; copy it again|damaged .*)', line_after(caught, path))


def test_predict_says_where_a_video_is_cut_off(tmp_path, small_onnx, capfd):
    path = tmp_path / 'a.mkv'
    content = written(path, 'libx264', {})
    path.write_bytes(content[: len(content) // 2])
    out = tmp_path / 'out'
    assert main(['predict', str(path), '--model', str(small_onnx), '--output', str(out)]) == 1
    assert f'{path} is cut off after frame' in capfd.readouterr().err


def test_files_that_say_nothing_are_not_cut_off(tmp_path):
    for content in (b'', b'\0' * 16, b'words', b'RIFF\0\0\0\0AVI ', b'\0\0\0\1ftyp'):
        (tmp_path / 'a').write_bytes(content)
        assert not is_cut_off(tmp_path / 'a')
    os.mkfifo(tmp_path / 'pipe.mp4')
    with pytest.raises(InputError, match='is a pipe or a device'):
        list(video_frames(tmp_path / 'pipe.mp4'))


def test_an_image_with_the_name_of_a_video(tmp_path):
    for kind in ('PNG', 'JPEG', 'GIF', 'TIFF', 'BMP', 'WebP'):
        Image.fromarray(picture(20, 30)).save(tmp_path / 'a.mp4', kind)
        with pytest.raises(InputError, match=rf'a\.mp4 is an image \({kind}\) with the name of a video; rename it'):
            list(video_frames(tmp_path / 'a.mp4'))


@pytest.mark.parametrize('name', ['a.mp4', 'a.mkv', 'a.avi', 'a.ts'])
def test_a_video_with_the_name_of_an_image(tmp_path, name):
    codec, options, kind = KINDS[name]
    written(tmp_path / name, codec, options)
    os.rename(tmp_path / name, tmp_path / 'a.jpg')
    with pytest.raises(InputError, match=rf'a\.jpg is a video \({kind}\) with the name of an image; rename it'):
        read_image(tmp_path / 'a.jpg')


def test_a_video_that_is_given_as_an_image(tmp_path):
    write_video(tmp_path / 'b.mp4', greys(2))
    with pytest.raises(InputError) as caught:
        read_image(tmp_path / 'b.mp4')
    fix = 'label it with Predictor.stream, or with mmseg-bisenet predict'
    assert str(caught.value) == f'{tmp_path}/b.mp4 is a video (MP4); {fix}'
    (tmp_path / 'a.flv').write_bytes(b'FLV\x01\x05\0\0\0\t' + b'\0' * 100)
    with pytest.raises(InputError) as caught:
        read_image(tmp_path / 'a.flv')
    known = '.avi .m4v .mkv .mov .mp4 .mpeg .mpg .ts .webm .wmv'
    fix = f'whose name ends in none of {known}; rename it, or save it as one of these'
    assert str(caught.value) == f'{tmp_path}/a.flv is a video (FLV), {fix}'


def test_a_text_with_the_name_of_a_video(tmp_path):
    (tmp_path / 'a.mp4').write_text('words')
    with pytest.raises(InputError, match=r'a\.mp4 cannot be read as a video \(Invalid data'):
        list(video_frames(tmp_path / 'a.mp4'))
    assert len(list(video_frames(write_video(tmp_path / 'b.mp4', greys(2))))) == 2
