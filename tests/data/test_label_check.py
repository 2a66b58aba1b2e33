"""The check of a data set: counts against counts by hand, and each kind of wrong file."""

import math
import os
import re
import signal
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmseg.datasets import BaseSegDataset
from PIL import Image
from pngs import png

from mmseg_bisenet.data.label_check import LabelCheck, Report, draw, report, walk
from mmseg_bisenet.errors import InputError

CLASSES = ('road', 'sky', 'car')
PALETTE = [[128, 64, 128], [70, 130, 180], [0, 0, 142]]
OURS = [
    dict(type='LoadImageFromFile', _scope_='mmseg_bisenet'),
    dict(type='LoadAnnotations', _scope_='mmseg_bisenet', num_classes=3),
]
STOCK = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
# Rows of pixels: `never` has none of class 2, and `a` and `b` ignore some.
LABELS = dict(a=[[0, 0, 0, 0], [1, 1, 1, 255]], b=[[0, 0, 0, 0], [0, 0, 255, 255]])


@pytest.fixture
def root(tmp_path) -> Path:
    """Two images, ``a`` and ``b``, 4x2, with their labels."""
    (tmp_path / 'images').mkdir()
    (tmp_path / 'masks').mkdir()
    for name, label in LABELS.items():
        Image.fromarray(np.full((2, 4, 3), 90, np.uint8)).save(tmp_path / f'images/{name}.png')
        Image.fromarray(np.array(label, np.uint8)).save(tmp_path / f'masks/{name}.png')
    return tmp_path


def check(root: Path, pipeline: list = OURS, **others) -> LabelCheck:
    options = dict(img_suffix='.png', data_prefix=dict(img_path='images', seg_map_path='masks')) | others
    with DefaultScope.overwrite_default_scope('mmseg'):
        return LabelCheck(
            BaseSegDataset(
                metainfo=dict(classes=CLASSES, palette=PALETTE), data_root=str(root), pipeline=pipeline, **options
            )
        )


def walked(root: Path, pipeline: list = OURS, workers: int = 1, **others) -> Report:
    checked = check(root, pipeline, **others)
    return report(checked, walk(checked, workers))


@pytest.mark.parametrize('pipeline', [OURS, STOCK])
def test_pixels_and_images_are_counted(root, pipeline):
    result = walked(root, pipeline)
    assert (result.images, result.counted, result.ignored, result.problems) == (2, 2, 3, [])
    assert result.pixels.tolist() == [10, 3, 0]
    assert result.occurs.tolist() == [2, 1, 0]
    np.testing.assert_allclose(result.pixel_share, [10 / 13, 3 / 13, 0])
    np.testing.assert_allclose(result.image_share, [1, 0.5, 0])
    assert result.ignored_share == 3 / 16
    assert result.class_weight() == [round(1 / math.log(1.02 + share), 3) for share in (10 / 13, 3 / 13, 0)]


def test_counts_are_those_after_the_mapping_of_the_data_set(root):
    result = walked(root, reduce_zero_label=True)
    assert (result.pixels.tolist(), result.ignored) == ([3, 0, 0], 5)
    assert result.problems == [
        f'{root}/masks/b.png: every pixel is 255, which is ignored; label it, or leave the image out of the data set'
    ]


@pytest.mark.parametrize('pipeline', [OURS, STOCK])
def test_labels_without_any_class(root, pipeline):
    for path in (root / 'masks').iterdir():
        Image.fromarray(np.full((2, 4), 255, np.uint8)).save(path)
    result = walked(root, pipeline)
    assert (result.counted, len(result.problems)) == (0, 2)
    assert result.fixes() == [('label it, or leave the image out of the data set', 2)]


def test_pipes_are_listed(root):
    for name in ('images/a.png', 'masks/b.png'):
        (root / name).unlink()
        os.mkfifo(root / name)
    text = 'is a pipe or a device; save what it gives to a file'
    (root / 'list.txt').write_text('a\nb\n')
    found = walked(root, ann_file='list.txt')
    assert found.problems == [f'{root}/images/a.png {text}', f'{root}/masks/b.png {text}']


def test_workers_change_nothing(root):
    for i in range(10):
        (root / f'images/c{i}.png').write_bytes(b'' if i % 3 else (root / 'images/a.png').read_bytes())
    one, two = walked(root), walked(root, workers=2)
    assert len(one.problems) == 6 + 10  # empty images, and all without label
    assert one.problems == two.problems
    assert one.pixels.tolist() == two.pixels.tolist()


def photograph(path: Path, **options) -> None:
    Image.fromarray(np.random.randint(0, 256, (64, 96, 3), np.uint8)).save(path, **options)


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.bmp', '.webp', '.tif'])
@pytest.mark.parametrize('rest', [0.0, 0.02, 0.5, 0.97])
def test_a_cut_off_image_is_found(root, suffix, rest):
    for name in ('whole', 'cut'):
        photograph(root / f'images/{name}{suffix}')
        Image.fromarray(np.zeros((64, 96), np.uint8)).save(root / f'masks/{name}.png')
    cut = root / f'images/cut{suffix}'
    cut.write_bytes(cut.read_bytes()[: int(cut.stat().st_size * rest)])
    for other in (root / 'images').glob('?.png'):
        other.unlink()
        (root / 'masks' / other.name).unlink()
    result = walked(root, img_suffix=suffix)
    assert result.problems == [
        f'{cut}: the image cannot be read (empty, cut short or not an image); replace the file, or fix data_root, '
        'img_suffix and ann_file'
    ]
    assert (result.images, result.counted) == (2, 2)


def test_images_that_a_test_would_refuse_are_found(root):
    pages = [Image.fromarray(np.zeros((64, 96, 3), np.uint8))] * 2
    pages[0].save(root / 'images/pages.png', save_all=True, append_images=[Image.fromarray(255 - np.asarray(pages[1]))])
    Image.fromarray(np.zeros((64, 96), np.uint16)).save(root / 'images/wide.png', 'TIFF')
    for name in ('pages', 'short', 'wide'):
        Image.fromarray(np.zeros((64, 96), np.uint8)).save(root / f'masks/{name}.png')
    (root / 'images/short.png').write_bytes(png(64, 96, colour=0, data=bytes(63 * (1 + 96))))
    problems = [line for line in walked(root).problems if re.search('pages|short|wide', line)]
    assert problems == [
        f'{root}/images/pages.png: the image has 2 frames or pages; save it as a video, or as single images',
        f'{root}/images/short.png: the image lacks some of its pixels; replace the file',
        f'{root}/images/wide.png: the image is a TIFF with bits a sample 16; save it as PNG, or as TIFF in RGB or grey '
        'with 8 bits',
    ]


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp'])
@pytest.mark.parametrize('orientation', [3, 6])
def test_a_photograph_is_as_large_as_opencv_loads_it(root, suffix, orientation):
    """A telephone that was turned writes the pixels as they came, and the turn into EXIF."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = root / f'images/turned{suffix}'
    photograph(path, exif=exif)
    shape = mmcv.imread(str(path)).shape[:2]
    Image.fromarray(np.zeros(shape, np.uint8)).save(root / 'masks/turned.png')
    result = walked(root, img_suffix=suffix)
    assert not any('turned' in line for line in result.problems)
    assert result.counted == (3 if suffix == '.png' else 1)


@pytest.mark.parametrize('pipeline', [OURS, STOCK])
def test_every_wrong_label_is_named_and_the_right_ones_count(root, pipeline):
    def label(name: str, ids: np.ndarray) -> None:
        Image.fromarray(np.full((2, 4, 3), 90, np.uint8)).save(root / f'images/{name}.png')
        assert cv2.imwrite(str(root / f'masks/{name}.png'), ids)

    label('c', np.zeros((2, 4, 3), np.uint8))
    label('d', np.full((2, 4), 3, np.uint8))
    label('e', np.full((2, 4), 256, np.uint16))
    label('f', np.zeros((4, 2), np.uint8))
    label('g', np.zeros((2, 4), np.uint8))
    (root / 'masks/g.png').write_bytes((root / 'masks/g.png').read_bytes()[:45])
    label('h', np.zeros((2, 4), np.uint8))
    (root / 'masks/h.png').unlink()
    (root / 'masks/deeper').mkdir()
    (root / 'masks/deeper/lone.png').write_bytes(b'')
    result = walked(root, pipeline)
    lines = [line.removeprefix(f'{root}/masks/') for line in result.problems]
    expected = [
        'c.png: the label has shape (2, 4, 3) instead of one channel',
        'd.png: the label has ids 3 outside the 3 classes',
        'e.png: the label has ids 256 outside the 3 classes',
        'f.png: the label is 2x4 and its image 4x2',
        'g.png: the label cannot be read (empty, cut short or not an image)',
        'h.png: the label cannot be read (no such file)',
        'deeper/lone.png: the label has no image',
    ]
    assert [line[: len(start)] for line, start in zip(lines, expected, strict=True)] == expected
    assert (result.images, result.without_label, result.without_image, result.counted) == (8, 1, 1, 2)
    assert result.pixels.tolist() == [10, 3, 0]
    assert result.fixes()[0] == ('fix the label, or set num_classes and ignore_index to the ids of the labels', 2)
    assert sum(count for _, count in result.fixes()) == 7


@pytest.mark.parametrize('choice', [dict(ann_file='names.txt'), dict(indices=1)])
def test_a_choice_of_images_leaves_labels_over(root, choice):
    (root / 'names.txt').write_text('a\n')
    result = walked(root, **choice)
    assert (result.images, result.without_image, result.problems) == (1, 0, [])


def test_images_without_any_labels_are_checked(root):
    (root / 'images/b.png').write_bytes(b'')
    result = walked(root, [OURS[0]])
    assert (result.counted, result.without_label, len(result.problems)) == (0, 0, 1)


def test_another_number_of_classes(root):
    with pytest.raises(InputError, match='num_classes is 7 and BaseSegDataset has 3 classes; make'):
        check(root, [OURS[0], dict(OURS[1], num_classes=7)])


def test_no_classes(root):
    dataset = BaseSegDataset(data_root=str(root), data_prefix=dict(img_path='images'), img_suffix='.png')
    with pytest.raises(InputError, match='BaseSegDataset has no classes; name them'):
        LabelCheck(dataset)


def test_a_killed_worker_ends_the_walk(root, monkeypatch):
    monkeypatch.setattr(LabelCheck, '_image_size', lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(InputError, match='a worker was killed, probably because memory ran out; give fewer --workers'):
        walked(root)


def test_the_picture_has_the_colours_of_the_classes_that_occur(root, tmp_path):
    draw(walked(root), 'title', tmp_path / 'picture.png')
    colours = {colour for _, colour in Image.open(tmp_path / 'picture.png').convert('RGB').getcolors(1 << 24)}
    assert [tuple(colour) in colours for colour in PALETTE] == [True, True, False]
