"""What is written: read back, whole or not at all, and never over a file of the user's."""

import json
import os
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from full_disk import largest_file
from predict.media import picture
from pycocotools import mask
from pycocotools.coco import COCO

from mmseg_bisenet import display
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.predict import Result
from mmseg_bisenet.predict.sinks import SINKS, Folder, Window, check_outputs
from mmseg_bisenet.predict.sources import ImageFile, VideoFile

STILL, MOVING = ImageFile(Path('a.png'), 'a'), VideoFile(Path('v.avi'), 'v')


def result(name: str = 'a', height: int = 32, width: int = 48, seed: int = 0, time: float | None = None) -> Result:
    labels = (picture(height, width, seed)[..., 0] // 90).astype(np.uint8)
    return Result(picture(height, width, seed), labels, ('sky', 'road', 'car'), [[255, 0, 0], [0, 255, 0], [0, 0, 255]],
                  name, time, dict(decode=1.0))  # fmt: skip


def write(kind: str, folder: Folder, *results: Result, source=STILL) -> None:
    with SINKS[kind](folder) as sink:
        for one in results:
            sink.write(one, source, getattr(one, sink.draws)() if sink.draws else None)


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """For a window, whose library a slow machine imports for long."""
    monkeypatch.setattr(display, 'SECONDS', 120)


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path / 'out', False, [])


def test_a_file_for_each_image(folder):
    one = result('deep/a')
    for kind in ('overlay', 'mask', 'labels', 'geojson'):
        write(kind, folder, one)
    out = folder.path / 'deep'
    assert sorted(path.name for path in out.iterdir()) == ['a.geojson', 'a.jpg', 'a_labels.png', 'a_mask.png']
    np.testing.assert_array_equal(cv2.imread(str(out / 'a_labels.png'), cv2.IMREAD_UNCHANGED), one.labels)
    np.testing.assert_array_equal(cv2.imread(str(out / 'a_mask.png')), one.mask())
    assert (out / 'a.jpg').read_bytes() == cv2.imencode('.jpg', one.overlay())[1].tobytes()
    assert json.loads((out / 'a.geojson').read_text()) == one.geojson()


@pytest.mark.parametrize('size', [(64, 96), (63, 95)])
def test_a_video_that_a_browser_plays(folder, size):
    times = [0.0, 0.1, 0.1, 0.5, 0.54]  # of a camera: uneven, and twice the same
    frames = [result(f'v/{i}', *size, seed=i, time=time) for i, time in enumerate(times)]
    frames[3] = result('v/3', 32, 48, seed=3, time=0.5)  # the stream changes its size
    write('video', folder, *frames, source=MOVING)
    with av.open(str(folder.path / 'v.mp4')) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ('h264', 'yuv420p')
        assert stream.codec_context.colorspace == 6  # SMPTE 170M, as the frames are converted
        read = list(container.decode(stream))
    assert [(frame.height, frame.width) for frame in read] == [(64, 96)] * 5
    assert [frame.time for frame in read] == pytest.approx(times, abs=1e-4)
    for frame, one in zip(read, frames, strict=True):
        if one.labels.shape == size:
            shown = frame.to_ndarray(format='bgr24')[: size[0], : size[1]]
            assert np.abs(shown.astype(int) - one.overlay()).mean() < 12
    assert os.listdir(folder.path) == ['v.mp4']


def test_pixels_that_are_not_square_stay_so(folder):
    source = VideoFile(Path('v.avi'), 'v')
    source.pixel_aspect = Fraction(4, 3)
    write('video', folder, result('v/000001', time=0.0), source=source)
    with av.open(str(folder.path / 'v.mp4')) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize(
    'kinds, files, line',
    [
        (['labels'], ['drive/000001.png', 'drive.mp4'], 'outputs of drive/000001.png would lie in out/drive, which '
         'belongs to drive.mp4; give one at a time, each with its own --output'),
        (['mask', 'video'], ['drive.mp4', 'drive/more/a.mp4'], 'outputs of drive/more/a.mp4 would lie in out/drive, '),
        (['overlay', 'video'], ['b.mp4/a.png', 'b.mov'], 'outputs of b.mp4/a.png would lie in out/b.mp4, which '),
        (['video', 'json'], ['drive/a.mp4', 'drive.mp4'], ''),
        (['labels', 'json', 'coco'], ['drives/000001.png', 'drive.mp4', 'a.png', 'b.png'], ''),
    ],
)  # fmt: skip
@pytest.mark.parametrize('overwrite', [False, True])
def test_sources_whose_outputs_clash(tmp_path, monkeypatch, kinds, files, line, overwrite):
    monkeypatch.chdir(tmp_path)
    named = [(Path(name), str(Path(name).with_suffix(''))) for name in files]
    sources = [ImageFile(*one) if one[0].suffix == '.png' else VideoFile(*one) for one in named]
    folder = Folder(Path('out'), overwrite, [])
    sinks = [SINKS[kind](folder) for kind in kinds]
    with pytest.raises(InputError, match=f'^{line}') if line else nullcontext():
        check_outputs(folder, sinks, sources)


def test_a_file_for_each_video(folder):
    other = VideoFile(Path('other.avi'), os.fsdecode(b'a:\xdf'))
    with SINKS['video'](folder) as sink:
        for source in (MOVING, MOVING, other):
            one = result(time=0.0)
            sink.write(one, source, one.overlay())
    assert sorted(os.listdir(folder.path)) == [os.fsdecode(b'a:\xdf.mp4'), 'v.mp4']


def test_json(folder):
    frames = [result(f'v/{i}', seed=i, time=i / 10) for i in range(3)]
    write('json', folder, *frames)
    read = json.loads((folder.path / 'predictions.json').read_text())
    assert read['classes'] == ['sky', 'road', 'car'] and read['count'] == 3
    for entry, one in zip(read['frames'], frames, strict=True):
        assert entry == dict(name=one.name, height=32, width=48, time=one.time, share=one.share(), ms=dict(decode=1.0))


def test_coco_names_the_files_of_images(folder):
    photo = Result(**{**vars(result('a/b')), 'time': None, 'path': Path('/photos/a/b.JPG')})
    write('coco', folder, photo, result('a/c'))
    coco = COCO(str(folder.path / 'coco.json'))
    assert [image['file_name'] for image in coco.loadImgs(coco.getImgIds())] == ['a/b.JPG', 'a/c']


def test_coco_annotations_give_the_labels_back(folder, capsys):
    frames = [result(f'v/{i}', 32 + i, seed=i) for i in range(3)]
    write('coco', folder, *frames)
    coco = COCO(str(folder.path / 'coco.json'))
    for image, one in zip(coco.loadImgs(coco.getImgIds()), frames, strict=True):
        assert (image['file_name'], image['height'], image['width']) == (one.name, *one.labels.shape)
        labels = np.full_like(one.labels, 255)
        for annotation in coco.loadAnns(coco.getAnnIds(image['id'])):
            region = mask.decode(annotation['segmentation']).astype(bool)
            labels[region] = annotation['category_id']
            assert annotation['area'] == region.sum()
        np.testing.assert_array_equal(labels, one.labels)
    assert [category['name'] for category in coco.loadCats(coco.getCatIds())] == ['sky', 'road', 'car']


# -- what is not replaced ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind, name', [('labels', 'a_labels.png'), ('json', 'predictions.json'), ('video', 'v.mp4')])
def test_an_existing_file_stays(tmp_path, kind, name):
    (tmp_path / name).write_text('mine')
    one = result(time=0.0)
    with pytest.raises(InputError, match=f'{name} exists already; name another folder with --output, or give --over'):
        write(kind, Folder(tmp_path, False, []), one, source=MOVING)
    assert (tmp_path / name).read_text() == 'mine' and os.listdir(tmp_path) == [name]
    write(kind, Folder(tmp_path, True, []), one, source=MOVING)
    assert (tmp_path / name).read_bytes() != b'mine' and os.listdir(tmp_path) == [name]


def test_a_source_stays_even_with_overwrite(tmp_path):
    (tmp_path / 'a.jpg').write_text('mine')
    with pytest.raises(InputError, match=r'a.jpg is an input of this command, and would be overwritten; name another'):
        write('overlay', Folder(tmp_path, True, [tmp_path / 'a.jpg', tmp_path / 'none.jpg']), result())
    assert (tmp_path / 'a.jpg').read_text() == 'mine'


def test_links_are_not_followed(tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/a_labels.png').write_text('mine')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/a_labels.png').symlink_to('../mine/a_labels.png')
    (tmp_path / 'out/deep').symlink_to('../mine')
    folder = Folder(tmp_path / 'out', True, [])
    with pytest.raises(InputError, match=r'a_labels\.png is a symbolic link, which is not followed; name another'):
        write('labels', folder, result())
    assert (tmp_path / 'out/a_labels.png').is_symlink()
    with pytest.raises(InputError, match='out/deep is a symbolic link, which is not followed; name another folder'):
        write('labels', folder, result('deep/a'))
    assert (tmp_path / 'mine/a_labels.png').read_text() == 'mine' and len(os.listdir(tmp_path / 'mine')) == 1


@pytest.mark.parametrize('kind, name', [('labels', 'a_labels.png'), ('coco', 'coco.json'), ('video', 'v.mp4')])
def test_a_full_disk_leaves_nothing(folder, kind, name):
    frames = [result(height=128, width=256, seed=i, time=i / 10) for i in range(40)]
    with (
        largest_file(100),
        pytest.raises(InputError, match=rf'{name} cannot be written \(File too large\); name another'),
    ):
        write(kind, folder, *frames, source=MOVING)
    assert os.listdir(folder.path) == []


def test_an_error_leaves_no_half_file(folder):
    for kind in ('video', 'json'):
        with pytest.raises(RuntimeError), SINKS[kind](folder) as sink:
            one = result(time=0.0)
            sink.write(one, MOVING, one.overlay())
            raise RuntimeError
    assert os.listdir(folder.path) == []


def test_a_window_needs_a_display(folder, monkeypatch):
    monkeypatch.setattr('sys.platform', 'linux')
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match='--show needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set'):
        Window(folder, lambda: None)


@pytest.mark.parametrize(
    ('environment', 'reason'),
    [
        (dict(DISPLAY=':99'), 'qt.qpa.xcb: could not connect to display :99'),
        (dict(WAYLAND_DISPLAY='none'), 'qt.qpa.xcb: could not connect to display '),
        (dict(DISPLAY=':99', QT_QPA_PLATFORM='none'), 'qt.qpa.plugin: Could not find the Qt platform plugin "none" in'),
    ],
)
def test_a_display_that_does_not_answer(folder, monkeypatch, environment, reason):
    """Qt would end this process with SIGABRT."""
    for name in ('DISPLAY', 'WAYLAND_DISPLAY', 'QT_QPA_PLATFORM'):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as caught:
        Window(folder, lambda: None)
    assert str(caught.value).startswith(f'--show cannot open a window ({reason}')
    assert str(caught.value).endswith('); use --save')


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('The function is not implemented. Rebuild', 'this OpenCV is headless: install opencv-python instead'),
        ('no GTK', 'no GTK'),
    ],
)
def test_an_opencv_that_opens_no_window(folder, monkeypatch, tmp_path, text, reason):
    (tmp_path / 'cv2.py').write_text(
        'WINDOW_NORMAL = 0\n'
        'class error(Exception):\n'
        f'    err = {text!r}\n'
        'def namedWindow(name, flags):\n'
        '    raise error\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('DISPLAY', ':99')
    with pytest.raises(InputError) as caught:
        Window(folder, lambda: None)
    assert str(caught.value) == f'--show cannot open a window ({reason}); use --save'
