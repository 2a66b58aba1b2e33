"""CamVid: the data set against an independent count, the converter's round trip, and each of its errors."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS
from PIL import Image

from mmseg_bisenet.cli import main
from mmseg_bisenet.data import camvid
from mmseg_bisenet.data.camvid import CamVidDataset, convert_camvid
from mmseg_bisenet.errors import InputError

DRIVES = Path(__file__).parents[2] / 'configs/bisenetv2/bisenetv2_fcn_1xb8-1k_camvid-drives-240x320.py'
PIPELINE = [
    dict(type='LoadImageFromFile', _scope_='mmseg_bisenet'),
    dict(type='LoadAnnotations', _scope_='mmseg_bisenet', num_classes=11),
]


def build(root: Path, split: str, *, folders: dict[str, str] | None = None, **kwargs) -> CamVidDataset:
    """The data set as a config with default_scope='mmseg' builds it."""
    cfg = dict(
        type='mmseg_bisenet.CamVidDataset',
        data_root=str(root),
        data_prefix=folders or dict(img_path=f'images/{split}', seg_map_path=f'labels/{split}'),
        pipeline=PIPELINE,
        **kwargs,
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build(cfg)


def save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def segnet(tmp_path: Path) -> Path:
    """An original release of three splits, two images each of 8x6, every id from 0 to 11 in each label."""
    rng = np.random.default_rng(0)
    source = tmp_path / 'SegNet'
    for split in ('train', 'val', 'test'):
        for name in ('0001TP_1.png', '0001TP_2.png'):
            save(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), source / split / name)
            ids = np.arange(48, dtype=np.uint8) % 12
            save(rng.permutation(ids).reshape(6, 8), source / f'{split}annot' / name)
    return source


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file())


def refused(source: Path, target: Path) -> str:
    """The one line convert_camvid refuses with; nothing is left behind."""
    before = sorted(os.listdir(target.parent))
    with pytest.raises(InputError) as caught:
        convert_camvid(source, target)
    assert sorted(os.listdir(target.parent)) == before
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_the_classes_and_colours_are_those_of_the_release():
    colours = dict(zip(CamVidDataset.METAINFO['classes'], CamVidDataset.METAINFO['palette'], strict=True))
    assert list(colours) == ('sky building pole road pavement tree signsymbol fence car pedestrian bicyclist'.split())
    assert colours['road'] == [128, 64, 128]
    assert colours['pavement'] == [60, 40, 222]
    assert colours['bicyclist'] == [0, 128, 192]
    assert len({tuple(colour) for colour in colours.values()}) == 11


@pytest.mark.parametrize(('split', 'number'), [('train', 367), ('val', 101)])
def test_shared_camvid_is_read_whole(shared_data, split, number):
    dataset = build(shared_data / 'camvid', split)
    assert len(dataset) == number
    assert dataset.ignore_index == 255
    names = [Path(dataset.get_data_info(i)['img_path']).stem for i in range(number)]
    assert names == sorted(path.stem for path in (shared_data / 'camvid' / 'labels' / split).iterdir())


@pytest.mark.parametrize(('prefixes', 'number'), [(['0016E5_'], 305), (['0001TP_', '0006R0_'], 163)])
def test_drives_of_both_folders(shared_data, prefixes, number):
    """468 labelled images: 204 of 0016E5 in train and 101 in val, 62 of 0001TP, 101 of 0006R0."""
    folders = dict(img_path='images', seg_map_path='labels')
    dataset = build(shared_data / 'camvid', 'train', prefixes=prefixes, folders=folders)
    assert len(dataset) == number
    infos = [dataset.get_data_info(i) for i in range(number)]
    assert {Path(info['img_path']).name[:7] for info in infos} == set(prefixes)
    assert {Path(info['img_path']).parent.name for info in infos} == ({'train', 'val'} if number == 305 else {'train'})
    for info in infos:
        image, label = (Path(info[key]) for key in ('img_path', 'seg_map_path'))
        assert (image.stem, image.parent.name) == (label.stem, label.parent.name)
    assert dataset[number - 1]['gt_seg_map'].shape == (360, 480)


def test_test_images_are_never_of_a_drive(segnet, tmp_path):
    """The drive 0001TP is in the training and in the test images of CamVid."""
    convert_camvid(segnet, tmp_path / 'camvid')
    folders = dict(img_path='images', seg_map_path='labels')
    dataset = build(tmp_path / 'camvid', 'train', prefixes=['0001TP_1'], folders=folders)
    root = tmp_path / 'camvid' / 'images'
    assert [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))] == [
        str(root / 'train' / '0001TP_1.png'),
        str(root / 'val' / '0001TP_1.png'),
    ]


def test_a_prefix_without_images_is_named(segnet, tmp_path):
    convert_camvid(segnet, tmp_path / 'camvid')
    with pytest.raises(InputError) as caught:
        build(tmp_path / 'camvid', 'train', prefixes=['0001TP_', '0006R0_'])
    assert str(caught.value) == (
        f'{tmp_path}/camvid/images/train: no image has a name that starts with 0006R0_; set prefixes to some of 0001TP_'
    )


def test_class_frequencies_are_those_of_the_files(shared_data):
    dataset = build(shared_data / 'camvid', 'val')
    for index in (0, 50, 100):
        sample = dataset[index]
        path = shared_data / 'camvid' / 'labels' / 'val' / Path(sample['img_path']).with_suffix('.png').name
        pixels = list(Image.open(path).tobytes())
        for value in [*range(11), 255]:
            assert np.count_nonzero(sample['gt_seg_map'] == value) == pixels.count(value)
        assert sample['img'].shape == (360, 480, 3)


def test_the_image_is_bgr(segnet, tmp_path):
    convert_camvid(segnet, tmp_path / 'camvid')
    sample = build(tmp_path / 'camvid', 'train')[0]
    rgb = np.asarray(Image.open(segnet / 'train' / '0001TP_1.png'))
    np.testing.assert_array_equal(sample['img'], rgb[:, :, ::-1])


def test_the_converter_changes_the_void_and_nothing_else(segnet, tmp_path, capfd):
    target = tmp_path / 'camvid'
    assert convert_camvid(segnet, target) == {'train': 2, 'val': 2, 'test': 2}

    names = [f'{split}/0001TP_{i}.png' for split in ('test', 'train', 'val') for i in (1, 2)]
    assert files(target) == [f'{kind}/{name}' for kind in ('images', 'labels') for name in names]
    for name in names:
        split, base = name.split('/')
        assert (target / 'images' / name).read_bytes() == (segnet / name).read_bytes()
        old = np.asarray(Image.open(segnet / f'{split}annot' / base))
        label = Image.open(target / 'labels' / name)
        new = np.asarray(label)
        assert label.mode == 'L'
        assert np.array_equal(new == 255, old == 11) and np.count_nonzero(old == 11) == 4
        np.testing.assert_array_equal(new[old != 11], old[old != 11])

    out, err = capfd.readouterr()
    assert out == ''
    assert 'train: 2 of 2 images' in err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith('.')] == []


def test_converted_photographs_give_the_labels_they_came_from(shared_data, tmp_path):
    names = sorted(path.stem for path in (shared_data / 'camvid' / 'images' / 'val').iterdir())[:2]
    labels = {}
    for name in names:
        photograph = np.asarray(Image.open(shared_data / 'camvid' / 'images' / 'val' / f'{name}.jpg'))
        labels[name] = np.asarray(Image.open(shared_data / 'camvid' / 'labels' / 'val' / f'{name}.png'))
        assert 255 in labels[name]
        save(photograph, tmp_path / 'SegNet' / 'train' / f'{name}.png')
        original = np.where(labels[name] == 255, 11, labels[name]).astype(np.uint8)
        save(original, tmp_path / 'SegNet' / 'trainannot' / f'{name}.png')

    assert convert_camvid(tmp_path / 'SegNet', tmp_path / 'camvid') == {'train': 2}
    dataset = build(tmp_path / 'camvid', 'train')
    assert len(dataset) == 2
    for sample in dataset:
        np.testing.assert_array_equal(sample['gt_seg_map'], labels[Path(sample['img_path']).stem])


def test_both_suffixes_are_found_without_an_option(tmp_path):
    image, label = np.zeros((6, 8, 3), np.uint8), np.zeros((6, 8), np.uint8)
    for split, suffix in (('train', '.jpg'), ('val', '.png')):
        save(image, tmp_path / 'images' / split / f'a{suffix}')
        save(label, tmp_path / 'labels' / split / 'a.png')
        assert Path(build(tmp_path, split)[0]['img_path']).name == f'a{suffix}'


def test_a_folder_of_both_suffixes_needs_the_option(tmp_path):
    image, label = np.zeros((6, 8, 3), np.uint8), np.zeros((6, 8), np.uint8)
    for name in ('a.jpg', 'b.png'):
        save(image, tmp_path / 'images' / 'train' / name)
    save(label, tmp_path / 'labels' / 'train' / 'a.png')
    with pytest.raises(InputError, match=r'images/train: the folder contains both .* set img_suffix'):
        build(tmp_path, 'train')
    assert len(build(tmp_path, 'train', img_suffix='.jpg')) == 1


def test_a_missing_or_empty_image_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r'images/train: no such folder; set data_root'):
        build(tmp_path, 'train')
    (tmp_path / 'images' / 'train').mkdir(parents=True)
    with pytest.raises(InputError, match=r'images/train: the folder contains no \.png or \.jpg image'):
        build(tmp_path, 'train')


def test_an_unknown_argument_is_not_swallowed(tmp_path):
    with pytest.raises(TypeError, match='image_suffix'):
        build(tmp_path, 'train', image_suffix='.png')


@pytest.mark.parametrize('name', ['train/0001TP_2.png', 'trainannot/0001TP_1.png'])
def test_a_pipe_is_not_waited_for(segnet, tmp_path, name):
    (segnet / name).unlink()
    os.mkfifo(segnet / name)
    line = refused(segnet, tmp_path / 'camvid')
    assert line == f'{segnet / name} is a pipe or a device; save what it gives to a file'


@pytest.mark.parametrize('kind', ['folder', 'file', 'dangling link'])
def test_the_target_is_never_overwritten(segnet, tmp_path, kind):
    target = tmp_path / 'camvid'
    {
        'folder': lambda: (target / 'mine').mkdir(parents=True),
        'file': lambda: target.write_text('mine'),
        'dangling link': lambda: target.symlink_to('gone'),
    }[kind]()
    message = refused(segnet, target)
    reason = 'is a symbolic link, which is not followed' if kind == 'dangling link' else 'exists already'
    assert message == f'{target} {reason}; name another folder' + (', or remove it' if kind != 'dangling link' else '')
    if kind == 'file':
        assert target.read_text() == 'mine'


def test_missing_folders_are_named(segnet, tmp_path):
    (segnet / 'valannot').rename(tmp_path / 'away')
    assert refused(segnet, tmp_path / 'camvid').startswith(f'{segnet}: no folder valannot; give the CamVid folder')
    (segnet / 'val').rename(tmp_path / 'away too')
    assert convert_camvid(segnet, tmp_path / 'camvid') == {'train': 2, 'test': 2}
    message = refused(tmp_path / 'nowhere', tmp_path / 'other')
    assert message.startswith(f'{tmp_path / "nowhere"}: no folder train and no folder trainannot;')


def test_a_folder_without_png_is_named(tmp_path):
    for folder in ('train', 'trainannot'):
        (tmp_path / 'SegNet' / folder).mkdir(parents=True)
    message = refused(tmp_path / 'SegNet', tmp_path / 'camvid')
    assert message.startswith(f'{tmp_path / "SegNet" / "train"}: the folder contains no .png image')


@pytest.mark.parametrize(
    ('lone', 'partner', 'wanted'),
    [('val', 'valannot', 'label'), ('valannot', 'val', 'image')],
)
def test_a_lone_file_is_named(segnet, tmp_path, lone, partner, wanted):
    (segnet / partner / '0001TP_2.png').unlink()
    message = refused(segnet, tmp_path / 'camvid')
    assert message == (
        f'{segnet / lone / "0001TP_2.png"}: there is no {wanted} {segnet / partner / "0001TP_2.png"}; '
        'add it, or remove this file'
    )


@pytest.mark.parametrize('folder', ['test', 'testannot'])
@pytest.mark.parametrize('damage', ['empty', 'garbage', 'cut short'])
def test_an_unreadable_file_is_named(segnet, tmp_path, folder, damage):
    path = segnet / folder / '0001TP_2.png'
    content = path.read_bytes()
    path.write_bytes({'empty': b'', 'garbage': b'not a PNG', 'cut short': content[: len(content) // 2]}[damage])
    message = refused(segnet, tmp_path / 'camvid')
    assert message.startswith(f'{path}: not a readable image') and message.endswith('download the file again')


@pytest.mark.parametrize(
    ('label', 'problem'),
    [
        (
            np.zeros((8, 6), np.uint8),
            r'the label is 6x8 and its image 8x6 \(width x height\); give the label of this image',
        ),
        (np.zeros((6, 8, 3), np.uint8), 'the label has 3 channels instead of 1; give the class ids'),
        (
            np.full((6, 8), 12, np.uint8),
            'the label has ids 12, expected 0 to 11; give the labels of the SegNet tutorial',
        ),
        (np.full((6, 8), 256, np.uint16), 'the label has ids 256, expected 0 to 11'),
        (
            np.arange(48, dtype=np.uint8).reshape(6, 8),
            r'the label has ids 12, 13, 14, 15, 16, 17, 18, 19, \.\.\., expected',
        ),
    ],
)
def test_a_wrong_label_is_named(segnet, tmp_path, label, problem):
    path = segnet / 'testannot' / '0001TP_2.png'  # the last file: all others have been written
    save(label, path)
    message = refused(segnet, tmp_path / 'camvid')
    with pytest.raises(AssertionError, match=f'{path}: {problem}'):
        raise AssertionError(message)


def test_an_interrupted_conversion_leaves_nothing(segnet, tmp_path, monkeypatch):
    calls = []

    def interrupt_at_the_third(image: Path, label: Path):
        calls.append(image)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return checked(image, label)

    checked = camvid._checked
    monkeypatch.setattr(camvid, '_checked', interrupt_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        convert_camvid(segnet, tmp_path / 'camvid')
    assert os.listdir(tmp_path) == ['SegNet']


def test_a_target_that_cannot_be_written_is_named(segnet, tmp_path):
    (tmp_path / 'file').write_text('')
    target = tmp_path / 'file' / 'camvid'
    with pytest.raises(InputError) as caught:
        convert_camvid(segnet, target)
    assert str(caught.value) == f'{target} cannot be written (Not a directory); name another place'


def test_the_command_tests_the_drive_that_is_left_out(segnet, tmp_path, monkeypatch):
    for split, drive in (('train', '0006R0'), ('val', '0016E5'), ('test', '0016E5')):
        for folder in (split, f'{split}annot'):
            (segnet / folder / '0001TP_2.png').rename(segnet / folder / f'{drive}_2.png')
    convert_camvid(segnet, tmp_path / 'camvid')
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(tmp_path))
    weights = Path(camvid.__file__).parents[1] / 'weights' / 'bisenetv2_camvid.safetensors'
    loader = ['test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False', 'scale=(64,48)']
    for prefix, names in (('', ['val/0016E5_2']), ('0001TP_', ['train/0001TP_1', 'val/0001TP_1'])):
        drive = [f'test_dataloader.dataset.prefixes=[{prefix}]'] if prefix else []
        options = ['--work-dir', str(tmp_path / 'work'), '--cfg-options', *loader, *drive]
        assert main(['test', str(DRIVES), str(weights), *options]) == 0
        scores = json.loads((tmp_path / 'work' / 'evaluation' / 'scores.json').read_text())
        tested = [Path(row['img_path']).relative_to(tmp_path / 'camvid' / 'images') for row in scores['per_image']]
        assert [path.with_suffix('').as_posix() for path in tested] == names
        assert sum(map(sum, scores['confusion'])) == len(names) * 44  # 48 pixels, 4 of them void
