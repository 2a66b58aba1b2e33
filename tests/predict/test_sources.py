"""What a text names, and the frames of videos, streams and cameras."""

import os
import socket
import struct
import wave
from fractions import Fraction
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import av
import cv2
import numpy as np
import pytest
from predict.media import greys, picture, write_video

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.predict import video
from mmseg_bisenet.predict.pipeline import Pipeline
from mmseg_bisenet.predict.sources import Camera, ImageFile, Stream, VideoFile, find_sources


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory, with files whose content does not matter."""
    monkeypatch.chdir(tmp_path)
    for name in ('in/b.png', 'in/a.JPG', 'in/deep/a.jpg', 'in/v.mp4', 'in/notes.txt', 'in/.hidden.png', '3'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def named(*texts, **options) -> list[tuple[type, str]]:
    return [(type(source), source.name) for source in find_sources(texts, **options)]


def test_a_folder_keeps_its_structure(here):
    folder = [(ImageFile, 'a'), (ImageFile, 'b'), (ImageFile, 'deep/a'), (VideoFile, 'v')]
    assert named('in') == named(here / 'in') == folder
    assert named('in/**/*') == folder
    assert named('in/*/a.jpg') == [(ImageFile, 'deep/a')]


@pytest.mark.parametrize('text', ['ftp://host/a.mp4', 'file:///in/b.png', 's3://bucket/*.png'])
def test_schemes_that_are_not_read(here, text):
    known = 'rtsp, rtsps, rtmp, rtmps, http, https, udp, tcp, srt'
    with pytest.raises(InputError) as caught:
        find_sources([text])
    assert str(caught.value) == f'{text}: streams are read from {known}; give one of these, or a path'


def test_a_path_like_an_address(here):
    (here / 'ab:').mkdir()
    (here / 'ab:/c.png').touch()
    assert named('ab://c.png') == [(ImageFile, 'c')]


def test_the_outputs_of_an_earlier_run_are_no_sources(here):
    assert named('in', but=here / 'in/deep') == [(ImageFile, 'a'), (ImageFile, 'b'), (VideoFile, 'v')]
    assert len(named('in', but=here / 'in')) == len(named('in', but=here)) == 4


def test_what_a_folder_holds_besides_files_is_a_source_that_cannot_be_read(here):
    os.mkfifo('in/pipe.png')
    os.mkfifo('in/pipe.mp4')
    (here / 'in/gone.jpg').symlink_to('nowhere.jpg')
    (here / 'in/loop.png').symlink_to('loop.png')
    (here / 'in/folder.png').mkdir()
    sources = {source.name: source for source in find_sources(['in'], but=here / 'in/out')}
    assert sorted(sources) == ['a', 'b', 'deep/a', 'gone', 'loop', 'pipe.mp4', 'pipe.png', 'v']
    assert sources['pipe.mp4'].count() is None
    for name, reason in {
        'pipe.png': 'in/pipe.png is a pipe or a device; save what it gives to a file',
        'pipe.mp4': 'in/pipe.mp4 is a pipe or a device; save what it gives to a file',
        'gone': 'in/gone.jpg is a symbolic link that leads to nothing; fix it or remove it',
        'loop': 'in/loop.png is a symbolic link that leads to nothing; fix it or remove it',
    }.items():
        assert refusal(sources[name]) == reason


def test_linked_folders_are_searched_once(here, tmp_path_factory):
    other = tmp_path_factory.mktemp('other')
    (other / 'deep').mkdir()
    (other / 'deep/e.png').touch()
    (here / 'in/again').symlink_to('deep')
    (here / 'in/day2').symlink_to(other)
    (here / 'in/day3').symlink_to(other / 'deep')
    (other / 'back').symlink_to(here / 'in')
    for name in ('self', 'deep/self'):
        (here / 'in' / name).symlink_to('.')
    (here / 'in/c.png').symlink_to('b.png')  # a link to a file is a file of its own
    own = [(ImageFile, 'a'), (ImageFile, 'b'), (ImageFile, 'c')]
    linked = [(ImageFile, 'day2/deep/e'), (ImageFile, 'deep/a')]
    assert named('in') == named('in/**/*') == named('in/**') == [*own, *linked, (VideoFile, 'v')]
    assert named('in/**/**/*.png') == named('in/**/*.png') == [*own[1:], linked[0]]
    assert named('in/**/deep/*') == linked
    assert named('in/day2') == [(ImageFile, 'back/a'), *((kind, f'back/{name}') for kind, name in own[1:]),
                                (ImageFile, 'back/deep/a'), (VideoFile, 'back/v'), (ImageFile, 'deep/e')]  # fmt: skip
    assert named('in/again/*') == [(ImageFile, 'a')]
    assert named('in/aga*/*') == [(ImageFile, 'again/a')]
    assert named('in/*/a.jpg') == [(ImageFile, 'deep/a')]  # not again/a too
    assert named('in', but=other / 'deep') == [*own, (ImageFile, 'deep/a'), (VideoFile, 'v')]


def test_a_link_to_a_folder_above_is_listed(here):
    (here / 'in/deep/top').symlink_to(here)
    (here / 'in/deep/root').symlink_to('/')
    for text in ('in', 'in/**/*.jpg'):
        *_, first, second = find_sources([text])
        for source, name in [(first, 'root'), (second, 'top')]:
            assert refusal(source) == (
                f'in/deep/{name} is a link to a folder above, which is not followed; give that folder instead'
            )
            assert (source.name, str(source)) == (f'deep/{name}/', f'in/deep/{name}')


@pytest.fixture
def closed(here):
    """The folder ``in/deep`` cannot be listed, and ``in/listed`` not be entered, by this process."""
    (here / 'in/listed/inner').mkdir(parents=True)
    (here / 'in/open').mkdir()
    (here / 'in/open/o.png').touch()
    os.chmod(here / 'in/deep', 0o111)
    os.chmod(here / 'in/listed', 0o444)
    root = os.geteuid() == 0
    above = [folder for folder in here.parents if not folder.stat().st_mode & 0o001]
    for folder in above if root else ():
        folder.chmod(folder.stat().st_mode | 0o001)
    if root:
        here.chmod(0o755)
        os.seteuid(65534)
    yield
    if root:
        os.seteuid(0)
    for folder in ('in/deep', 'in/listed'):
        os.chmod(here / folder, 0o755)


@pytest.mark.parametrize('text', ['in', 'in/**/*', 'in/*/*'])
def test_folders_that_cannot_be_read_are_listed(here, closed, text):
    sources = find_sources([text])
    refusals = [refusal(source) for source in sources if source.name.endswith('/')]
    fix = 'cannot be read (Permission denied); make it readable, or move it elsewhere'
    inner = ['listed/inner'] if text != 'in/*/*' else []
    assert refusals == [f'folder in/{name} {fix}' for name in ('deep', *inner)]
    assert (ImageFile, 'open/o') in [(type(source), source.name) for source in sources]
    with pytest.raises(InputError) as caught:
        find_sources(['in/deep'])
    assert str(caught.value) == f'folder in/deep {fix}'
    assert named('in/deep/a.jpg') == [(ImageFile, 'a')]  # its name is known


def test_other_sources(here):
    assert named(0, '7') == [(Camera, 'camera0'), (Camera, 'camera7')]
    assert named('3') == [(ImageFile, '3')]  # because the file exists
    assert named('rtsp://10.0.0.1:554/live?user=me') == [(Stream, '10_0_0_1_554_live')]
    assert named('rtsp://me:se@cret@10.0.0.1/live@2') == [(Stream, '10_0_0_1_live_2')]
    (here / 'list.txt').write_bytes(b'\xef\xbb\xbfin/b.png\n\nhttp://host/cam \n 5\nin/deep\t\n' + b'\xff.png\n')
    assert named('list.txt') == [
        (ImageFile, 'b'),
        (Stream, 'host_cam'),
        (Camera, 'camera5'),
        (ImageFile, 'a'),
        (ImageFile, os.fsdecode(b'\xff')),
    ]


def test_files_of_one_name(here):
    (here / 'other').mkdir()
    (here / 'other/b.png').touch()
    with pytest.raises(
        InputError, match=r'^in/b.png and other/b.png have the same name; give the folder above them, or'
    ):
        find_sources(['in/b.png', 'other/b.png'])


def test_files_of_one_stem_keep_their_suffix(here):
    (here / 'in/b.jpg').touch()
    assert named('in') == [
        (ImageFile, 'a'), (ImageFile, 'b.jpg'), (ImageFile, 'b.png'), (ImageFile, 'deep/a'), (VideoFile, 'v')
    ]  # fmt: skip


@pytest.mark.parametrize(
    'texts, reason',
    [
        (['in/b.png', 'in/b.png'], 'in/b.png is given twice; give it once'),
        (['in/deep/a.jpg', 'in/deep'], 'in/deep/a.jpg is given twice; give it once'),
        (
            ['http://me:word@h/v.mp4', 'http://h/v.mp4?x=1'],
            r'^outputs of http://me:\*\*\*@h/v.mp4 and http://h/v.mp4\?x=1 would have the same name; give one at a ',
        ),
        (['0', '0'], '^outputs of camera0 and camera0 would have the same name; give one at a time, each with its own'),
        (['udp://127.0.0.1:99999'], '^udp://127.0.0.1:99999 has port 99999; give one of at most 65535'),
        (['rtsp://me:word@[::1]:65536/a'], r'^rtsp://me:\*\*\*@\[::1\]:65536/a has port 65536; give one'),
        (['none/*.png'], r'glob none/\*.png has no image and no video \(.* .jpg .*\); give another'),
        (['empty'], 'folder empty has no image and no video'),
        (['in/notes.txt'], 'list in/notes.txt is empty; write a path on each line'),
        (['utf16.txt'], 'list utf16.txt is no text in UTF-8; save it as UTF-8, with a path on each line'),
        (['wide.txt'], 'list wide.txt is no text in UTF-8'),
        (['binary.txt'], 'list binary.txt is no text in UTF-8'),
        (['-1'], '-1 is no number of a camera; give 0 or more'),
        (['ftp://me:secret@host/a.mp4'], r'^ftp://me:\*\*\*@host/a.mp4: streams are read from'),
        (['none.txt'], 'list none.txt cannot be read .No such file or directory.; give a file'),
    ],
)
def test_what_names_no_source(here, texts, reason):
    (here / 'empty').mkdir()
    (here / 'utf16.txt').write_text('in/b.png\n', encoding='utf-16-be')
    (here / 'wide.txt').write_text('\u4e00\u4e01', encoding='utf-16')
    (here / 'binary.txt').write_bytes(b'\x7fELF\x02\0\0in/b.png')
    with pytest.raises(InputError, match=reason):
        find_sources(texts)


@pytest.mark.parametrize('url', ['rtsp://me:99999@host:554/a', 'http://host:65535?a=:99999', 'http://host/a:99999'])
def test_ports_that_can_be(url):
    assert str(*find_sources([url])) == video.masked(url)


# -- videos ------------------------------------------------------------------------------------------------------------


def brightness(frames) -> list[int]:
    return [round(float(frame.image.mean()), -1) for frame in frames]


def refusal(source) -> str:
    with pytest.raises(InputError) as caught:
        list(source.frames())
    return str(caught.value)


def test_frames_of_a_video(tmp_path):
    (source,) = find_sources([write_video(tmp_path / 'a.mp4', greys(12), rate=10)])
    frames = list(source.frames())
    assert brightness(frames) == [10 + 10 * i for i in range(12)] and source.count() == 12
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(12)])
    assert [frame.name for frame in frames[:2]] == ['a/000001', 'a/000002']
    assert frames[0].image.shape == (64, 96, 3)


@pytest.mark.parametrize('angle', [90, 180, -90])
def test_a_rotated_video_is_shown_upright(tmp_path, angle):
    with av.open(str(tmp_path / 'a.mp4'), 'w') as container:
        stream = container.add_stream('libx264', options=dict(crf='1'))
        if not hasattr(stream, 'set_display_rotation'):
            pytest.skip('this PyAV writes no rotation')
        stream.height, stream.width, stream.pix_fmt = 64, 96, 'yuv444p'
        stream.set_display_rotation(angle)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(64, 96), format='bgr24')))
        container.mux(stream.encode())
    (frame,) = find_sources([tmp_path / 'a.mp4'])[0].frames()
    reader = cv2.VideoCapture(str(tmp_path / 'a.mp4'))
    expected = reader.read()[1]
    assert frame.image.shape == expected.shape == ((64, 96, 3) if angle == 180 else (96, 64, 3))
    assert np.abs(frame.image.astype(int) - expected).mean() < 3


@pytest.mark.parametrize(
    ('matrix', 'seen'),
    [
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((-1, 0, 0, -1), lambda image: image[::-1, ::-1]),
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((0, -1, 1, 0), lambda image: np.rot90(image)),
        ((0, -1, -1, 0), lambda image: np.rot90(image.transpose(1, 0, 2), 2)),
        ((2, 0, 0, 1), lambda image: image),
        ((0.7, 0.7, -0.7, 0.7), None),
        ((0, 0, 0, 0), None),
    ],
)
def test_the_display_matrix_turns_and_mirrors(tmp_path, matrix, seen):
    """The header of the track has the matrix of ISO 14496-12: x' = a x + c y, y' = b x + d y."""
    path = write_video(tmp_path / 'a.mp4', [picture(64, 96)])
    whole = path.read_bytes()
    (plain,) = find_sources([path])[0].frames()
    a, b, c, d = (int(value * 2**16) for value in matrix)
    start = whole.index(b'tkhd') + 44
    path.write_bytes(whole[:start] + struct.pack('>9i', a, b, 0, c, d, 0, 0, 0, 2**30) + whole[start + 36 :])
    source = VideoFile(path, 'a')
    if seen:
        (frame,) = source.frames()
        np.testing.assert_array_equal(frame.image, seen(plain.image))
        assert frame.image.flags.c_contiguous
    else:
        assert refusal(source) == f'{path} is turned by no multiple of 90 degrees; turn its frames, and save it again'


@pytest.mark.parametrize('angle, aspect', [(0, Fraction(4, 3)), (90, Fraction(3, 4)), (180, Fraction(4, 3))])
def test_the_shape_of_pixels(tmp_path, angle, aspect):
    (source,) = find_sources([write_video(tmp_path / 'v.mp4', greys(2), pixel_aspect=Fraction(4, 3), angle=angle)])
    assert len(list(source.frames())) == 2 and source.pixel_aspect == aspect
    square = VideoFile(write_video(tmp_path / 'square.mp4', greys(2)), 'square')
    assert len(list(square.frames())) == 2 and square.pixel_aspect == 1


def test_what_is_no_video(tmp_path):
    def source(content: bytes) -> VideoFile:
        (tmp_path / 'a.mp4').write_bytes(content)
        return VideoFile(tmp_path / 'a.mp4', 'a')

    assert f'{tmp_path}/a.mp4 cannot be read as a video (' in refusal(source(b''))
    assert f'{tmp_path}/a.mp4 cannot be read as a video (' in refusal(source(b'words' * 1000))
    assert source(b'').count() is None
    assert refusal(VideoFile(tmp_path / 'none.mp4', 'none')).startswith(f'{tmp_path}/none.mp4 does not exist; give')
    whole = write_video(tmp_path / 'whole.mkv', greys(20)).read_bytes()
    assert refusal(source(whole[:600])) == f'{tmp_path}/a.mp4 is cut off; copy it again'
    with wave.open(str(tmp_path / 'sound.mp4'), 'wb') as sound:
        sound.setparams((1, 2, 8000, 0, 'NONE', ''))
        sound.writeframes(bytes(2000))
    assert refusal(VideoFile(tmp_path / 'sound.mp4', 'a')) == f'{tmp_path}/sound.mp4 has no video; give another'


def test_a_playlist_opens_no_other_file(tmp_path):
    write_video(tmp_path / 'other.mp4', greys(3))
    playlist = tmp_path / 'list.mp4'
    playlist.write_text("ffconcat version 1.0\nfile 'other.mp4'\n")
    with pytest.raises(InputError, match=r'list\.mp4 cannot be read as a video '):
        list(video.video_frames(playlist))


def test_a_video_of_another_shape_than_is_read(tmp_path):
    path = write_video(tmp_path / 'a.mp4', [np.zeros((16, 512, 3), np.uint8)])
    assert refusal(VideoFile(path, 'a')) == f'{path} has 512x16 pixels; a side may be 16 times the other: crop it'


def test_times_and_sizes_of_videos_that_were_appended(tmp_path):
    first, again = (write_video(tmp_path / f'{name}.ts', greys(4)).read_bytes() for name in 'ab')
    other = write_video(tmp_path / 'c.ts', [np.zeros((32, 64, 3), np.uint8)] * 4).read_bytes()
    (tmp_path / 'd.ts').write_bytes(first + again)
    (source,) = find_sources([tmp_path / 'd.ts'])
    assert [frame.time for frame in source.frames()] == pytest.approx([i / 10 for i in range(8)])
    (tmp_path / 'e.ts').write_bytes(first + other)
    (source,) = find_sources([tmp_path / 'e.ts'])
    frames = source.frames()
    assert [next(frames).image.shape for _ in range(4)] == [(64, 96, 3)] * 4
    with pytest.raises(InputError, match=r'e.ts changes from 96x64 to 64x32 after frame 4; save it in one size$'):
        next(frames)


# -- streams and cameras -----------------------------------------------------------------------------------------------


@pytest.fixture
def url(tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None:
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


@pytest.fixture
def endless():
    """The address of a server that gives a JPEG, or three as MJPEG, states no length, and closes."""
    picture = cv2.imencode('.jpg', greys(1)[0])[1].tobytes()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_) -> None:
            pass

        def do_GET(self) -> None:
            one = self.path == '/jpg'
            self.send_response(200)
            self.send_header('Content-Type', 'image/jpeg' if one else 'multipart/x-mixed-replace; boundary=b')
            self.end_headers()
            part = b'--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n' % len(picture)
            self.wfile.write(picture if one else (part + picture + b'\r\n') * 3 + b'--b--\r\n')

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        Thread(target=server.serve_forever).start()
        yield f'HTTP://127.0.0.1:{server.server_port}'
        server.shutdown()


@pytest.mark.parametrize(('name', 'count'), [('jpg', 1), ('mjpeg', 3)])
def test_http_without_a_length_ends(endless, name, count, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(video.time, 'sleep', waits.append)
    (source,) = find_sources([f'{endless}/{name}'])
    assert source.live
    assert brightness(source.frames()) == [10] * count
    assert not waits


def test_a_stream_with_an_end(tmp_path, url):
    write_video(tmp_path / 'a.mp4', greys(12))
    (source,) = find_sources([f'{url}/a.mp4'])
    assert not source.live
    assert brightness(source.frames()) == [10 + 10 * i for i in range(12)]
    with pytest.raises(InputError, match=rf'stream {url}/none.mp4 cannot be opened \(.*\); check the address'):
        find_sources([f'{url}/none.mp4'])[0].live  # noqa: B018, which connects


def test_no_source_and_no_such_camera():
    with pytest.raises(InputError, match='a source is empty; give an image'):
        find_sources([''])
    (source,) = find_sources([str(10**20)])  # more than OpenCV's numbers
    assert isinstance(source, ImageFile)


def test_a_damaged_video_is_not_concealed(tmp_path):
    path = tmp_path / 'a.mp4'
    noise = np.random.default_rng(0)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, 'yuv420p'
        for _ in range(12):
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 256, (64, 96, 3), np.uint8), format='bgr24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    content = path.read_bytes()
    third = len(content) // 3
    path.write_bytes(content[:third] + bytes(third) + content[2 * third :])
    (source,) = find_sources([path])
    with pytest.raises(InputError, match=r'a.mp4 is damaged after frame \d; replace the file'):
        list(source.frames())


class Dropping:
    """A container of a live stream that fails, or ends, after three frames."""

    duration = None

    def __init__(self, path, ends: bool) -> None:
        self.ends, self.container = ends, av.open(str(path))
        self.streams, self.close = self.container.streams, self.container.close

    def decode(self, stream):
        for number, frame in enumerate(self.container.decode(stream)):
            if number == 3 and self.ends:
                return
            if number == 3:
                raise av.error.ConnectionResetError(104, 'Connection reset by peer')
            yield frame


@pytest.mark.parametrize(('ends', 'reason'), [(False, 'Connection reset by peer'), (True, 'it ended')])
def test_a_live_stream_is_opened_again(ends, reason, tmp_path, monkeypatch):
    path = write_video(tmp_path / 'a.mp4', greys(12))
    waits: list[float] = []
    answers = [Dropping(path, ends), InputError('refused'), InputError('refused'), Dropping(path, ends)]

    def connect(url: str):
        answer = answers.pop(0) if answers else InputError('refused')
        if isinstance(answer, InputError):
            raise answer
        return answer

    monkeypatch.setattr(video, 'connect', connect)
    monkeypatch.setattr(video.time, 'sleep', waits.append)
    source = Stream('rtsp://host/live')
    assert source.live
    frames = source.frames()
    assert brightness(next(frames) for _ in range(6)) == [10, 20, 30] * 2
    with pytest.raises(InputError, match=rf'stream rtsp://host/live failed \({reason}\), and 5 attempts'):
        next(frames)
    assert waits == [1, 2, 4, 1, 2, 4, 8, 16]


def test_a_live_stream_of_one_frame_is_not_opened_for_ever(tmp_path, monkeypatch):
    path = write_video(tmp_path / 'a.mp4', greys(1))
    waits: list[float] = []
    monkeypatch.setattr(video, 'connect', lambda url: Dropping(path, True))
    monkeypatch.setattr(video.time, 'sleep', waits.append)
    frames = Stream('rtsp://me:secret@host/live').frames()
    assert brightness(next(frames) for _ in range(6)) == [10] * 6
    with pytest.raises(InputError, match=r'^stream rtsp://me:\*\*\*@host/live failed \(it ended\), and 5 attempts'):
        next(frames)
    assert waits == [1, 2, 4, 8, 16]


@pytest.mark.parametrize(
    'url, expected',
    [
        ('rtsp://me:secret@host:554/live', 'rtsp://me:***@host:554/live'),
        ('rtsp://:se@cr:et@host/live', 'rtsp://:***@host/live'),
        ('rtsp://me@host:554/a@b', 'rtsp://me@host:554/a@b'),
        ('http://host:80/a@b', 'http://host:80/a@b'),
    ],
)
def test_a_password_is_masked(url, expected):
    assert video.masked(url) == expected


def test_a_server_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(video, 'TIMEOUT', 1.0)
    with socket.create_server(('127.0.0.1', 0)) as server:
        url = f'http://127.0.0.1:{server.getsockname()[1]}/v.mp4'
        with pytest.raises(InputError) as caught:
            video.connect(url)
    assert str(caught.value) == f'stream {url} cannot be opened (no answer within 1 s); check the address'


def test_a_password_is_not_in_an_error():
    with pytest.raises(InputError, match=r'^stream http://me:\*\*\*@127.0.0.1:9/live cannot be opened \('):
        video.connect('http://me:secret@127.0.0.1:9/live')


class FakeCamera:
    """Gives four images, and the next when it is told."""

    def __init__(self, number: int) -> None:
        self.number, self.images, self.taken = number, greys(4), Event()

    def isOpened(self) -> bool:
        return self.number == 0

    def read(self):
        if not self.images:
            self.taken.set()
            return False, None
        return True, self.images.pop(0)

    def release(self) -> None:
        pass


def test_a_camera(monkeypatch):
    monkeypatch.setattr(cv2, 'VideoCapture', FakeCamera)
    frames = Camera(0).frames()
    assert brightness(next(frames) for _ in range(4)) == [10, 20, 30, 40]
    with pytest.raises(InputError, match='camera 0 gives no images; connect it again'):
        next(frames)
    assert refusal(Camera(1)).startswith('camera 1 cannot be opened; connect it')


def test_the_newest_image_of_a_camera(monkeypatch):
    camera = FakeCamera(0)
    monkeypatch.setattr(cv2, 'VideoCapture', lambda number: camera)
    pipeline = Pipeline([Camera(0)], Event())
    assert camera.taken.wait(10)  # all four were read before the second is asked for
    seen = [frame for frame, _ in pipeline.results(lambda frame: frame)]
    # The first is the one that waits when the pipeline asks for it, the last the one that waits after all were read.
    assert brightness(seen) in ([10, 40], [20, 40], [30, 40], [40])
    assert pipeline.report.dropped == 4 - len(seen)
    assert pipeline.report.failures == ['camera 0 gives no images; connect it again']
