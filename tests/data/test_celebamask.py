"""CelebAMask-HQ: the converter on a drawn set in the layout of the data set, flips, and each error."""

import os
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, TRANSFORMS
from PIL import Image, ImageDraw

from mmseg_bisenet.cli import main
from mmseg_bisenet.data.celebamask import PARTS, CelebAMaskHQDataset, convert_celebamask
from mmseg_bisenet.errors import InputError

SIDE = 64  # of a mask; images are twice as large
CLASSES = ('background', *PARTS)
# Boxes of the parts as seen in the image: the person's left is on the right. Later parts cover earlier ones.
BOXES = {
    'skin': (16, 8, 48, 56),
    'l_brow': (36, 18, 44, 20),
    'r_brow': (20, 18, 28, 20),
    'l_eye': (36, 22, 44, 26),
    'r_eye': (20, 22, 28, 26),
    'l_ear': (48, 24, 52, 36),
    'r_ear': (12, 24, 16, 36),
    'nose': (30, 26, 34, 36),
    'u_lip': (26, 42, 38, 44),
    'l_lip': (26, 45, 38, 48),
    'hair': (12, 0, 52, 12),
}
FACES = {0: 119614, 1: 162771, 2: 182638, 2001: 5}  # number here, and in CelebA: train, val, test, train


def box(name: str, shift: int = 0) -> tuple[int, ...]:
    left, top, right, bottom = BOXES[name]
    return left + shift, top, right + shift - 1, bottom - 1


def draw_set(root: Path) -> Path:
    """A set of four faces; face 2 wears glasses, drawn over its eyes."""
    lines = ['idx   orig_idx   orig_file']
    for shift, (number, original) in enumerate(FACES.items()):
        lines.append(f'{number}     {original - 1}     {original:06d}.jpg')
        folder = root / 'CelebAMask-HQ-mask-anno' / str(number // 2000)
        folder.mkdir(parents=True, exist_ok=True)
        for part in BOXES:
            mask = Image.new('RGB', (SIDE, SIDE))
            ImageDraw.Draw(mask).rectangle(box(part, shift), (255, 255, 255))
            mask.save(folder / f'{number:05d}_{part}.png')
        photo = Image.new('RGB', (2 * SIDE, 2 * SIDE), (shift, 90, 160))
        ImageDraw.Draw(photo).rectangle([2 * x for x in box('skin', shift)], (200, 150, 120))
        (root / 'CelebA-HQ-img').mkdir(exist_ok=True)
        photo.save(root / 'CelebA-HQ-img' / f'{number}.jpg')
    glasses = Image.new('L', (SIDE, SIDE))
    ImageDraw.Draw(glasses).rectangle((20, 22, 46, 27), 255)
    glasses.save(root / 'CelebAMask-HQ-mask-anno' / '0' / '00002_eye_g.png')
    (root / 'CelebA-HQ-to-CelebA-mapping.txt').write_text('\n'.join(lines))
    return root


@pytest.fixture
def source(tmp_path) -> Path:
    return draw_set(tmp_path / 'CelebAMask-HQ')


@pytest.fixture(scope='module')
def converted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('faces')
    convert_celebamask(draw_set(folder / 'CelebAMask-HQ'), folder / 'celebamask')
    return folder


def label(converted: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(converted / 'celebamask' / 'labels' / f'{name}.png'))


def test_the_classes_are_those_of_the_code():
    assert ' '.join(CelebAMaskHQDataset.METAINFO['classes']) == (
        'background skin l_brow r_brow l_eye r_eye eye_g l_ear r_ear ear_r nose mouth u_lip l_lip neck neck_l cloth '
        'hair hat'
    )
    palette = CelebAMaskHQDataset.METAINFO['palette']
    assert len({tuple(colour) for colour in palette}) == len(palette) == 19


def test_the_command_draws_the_labels(source, tmp_path, capsys):
    target = tmp_path / 'celebamask'
    assert main(['convert-celebamask', str(source), str(target)]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(target) and '4 of 4 images' in err
    names = {split: sorted(path.stem for path in (target / 'labels' / split).iterdir()) for split in ('train', 'val')}
    assert names == dict(train=['0', '2001'], val=['1'])
    for path in (target / 'images').rglob('*.jpg'):
        assert path.read_bytes() == (source / 'CelebA-HQ-img' / path.name).read_bytes()


def test_parts_are_drawn_in_order_and_enlarged(converted):
    drawn = label(converted, 'train/0')
    expected = np.zeros((SIDE, SIDE), np.uint8)
    for part in CLASSES:
        if part in BOXES:
            left, top, right, bottom = BOXES[part]
            expected[top:bottom, left:right] = CLASSES.index(part)
    np.testing.assert_array_equal(drawn, expected.repeat(2, 0).repeat(2, 1))
    assert set(np.unique(expected)) == {0, *map(CLASSES.index, BOXES)}
    glasses = label(converted, 'test/2')
    assert set(np.unique(glasses[44:54, 40:92])) == {CLASSES.index('eye_g'), CLASSES.index('nose')}


@pytest.fixture(scope='module')
def cfg(converted, configs) -> Config:
    cfg = Config.fromfile(configs / 'bisenetv1/bisenetv1_r18-d32-faceparsing_1xb16-ohem-80k_celebamask-512x512.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(converted / 'celebamask')
    return cfg


def test_the_pipelines_of_the_config_read_it(cfg):
    with DefaultScope.overwrite_default_scope('mmseg'):
        train, val = (DATASETS.build(loader.dataset) for loader in (cfg.train_dataloader, cfg.val_dataloader))
    assert (len(train), len(val)) == (2, 1)
    np.random.seed(0)
    sample = train[0]
    assert max(sample['inputs'].shape[1:]) == 512 and sample['inputs'].shape[1:] == sample['data_samples'].img_shape
    sample = val[0]
    assert sample['inputs'].shape == (3, 512, 512)
    assert sample['data_samples'].ori_shape == (128, 128) == tuple(sample['data_samples'].gt_sem_seg.shape)


def test_a_flip_swaps_left_and_right(cfg, converted):
    (step,) = (step for step in cfg.train_pipeline if step.type == 'RandomFlip')
    with DefaultScope.overwrite_default_scope('mmseg'):
        flip = TRANSFORMS.build(dict(step, prob=1.0))
    drawn = label(converted, 'train/0')
    photo = np.asarray(Image.open(converted / 'celebamask' / 'images' / 'train' / '0.jpg'))
    result = flip(dict(img=photo.copy(), gt_seg_map=drawn.copy(), seg_fields=['gt_seg_map']))
    names = np.array(CLASSES)
    swapped = np.array(
        [
            name.replace('l_', 'r_', 1) if name in ('l_brow', 'l_eye', 'l_ear') else
            name.replace('r_', 'l_', 1) if name in ('r_brow', 'r_eye', 'r_ear') else name
            for name in CLASSES
        ]
    )  # fmt: skip
    np.testing.assert_array_equal(names[result['gt_seg_map']], swapped[drawn[:, ::-1]])
    np.testing.assert_array_equal(result['img'], photo[:, ::-1])
    # The face is symmetric, so its flipped labels are its own: the person's left eye is on the right again.
    np.testing.assert_array_equal(result['gt_seg_map'], drawn)
    assert not np.array_equal(drawn[:, ::-1], drawn)


def test_no_view_of_the_test_is_flipped(cfg):
    assert not [step for view in cfg.tta_pipeline[1].transforms for step in view if step.type == 'RandomFlip']


# -- errors ------------------------------------------------------------------------------------------------------------


def refused(source: Path, target: Path) -> str:
    """The one line that it refuses with; nothing is left behind."""
    before = sorted(os.listdir(target.parent))
    with pytest.raises(InputError) as caught:
        convert_celebamask(source, target)
    assert sorted(os.listdir(target.parent)) == before
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_the_target_is_never_overwritten(source, tmp_path):
    (tmp_path / 'there' / 'mine').mkdir(parents=True)
    assert refused(source, tmp_path / 'there').endswith('there exists already; name another folder, or remove it')


@pytest.mark.parametrize('gone', ['CelebA-HQ-img', 'CelebAMask-HQ-mask-anno', 'CelebA-HQ-to-CelebA-mapping.txt'])
def test_what_is_missing_is_named(source, tmp_path, gone):
    (source / gone).rename(tmp_path / 'away')
    assert refused(source, tmp_path / 'out').startswith(f'{source}: no {gone}; give the folder CelebAMask-HQ')


def test_a_folder_without_faces_is_named(source, tmp_path):
    for path in (source / 'CelebA-HQ-img').iterdir():
        path.unlink()
    assert 'CelebA-HQ-img: the folder contains no image such as 0.jpg' in refused(source, tmp_path / 'out')


def test_a_face_without_masks_is_named(source, tmp_path):
    for path in (source / 'CelebAMask-HQ-mask-anno' / '1').iterdir():
        path.unlink()
    line = refused(source, tmp_path / 'out')
    assert line.startswith(f'{source / "CelebA-HQ-img" / "2001.jpg"}: there is no mask such as ')
    assert line.endswith('02001_skin.png; add its masks')


@pytest.mark.parametrize('name', ['0/00001_ear_l.png', '1/00001_hat.png', '0/1_hat.png', 'hat.png', '0/00001_hat.jpg'])
def test_a_mask_of_an_unknown_part_or_place_is_named(source, tmp_path, name):
    folder = source / 'CelebAMask-HQ-mask-anno'
    (folder / '0' / '00001_skin.png').rename(folder / name)
    expected = f'{folder / name} is no mask of the data set, and would be left out; name it as {folder}/0/00000_skin'
    assert refused(source, tmp_path / 'out').startswith(expected)


def test_a_mask_that_is_a_link_to_nothing_is_named(source, tmp_path):
    path = source / 'CelebAMask-HQ-mask-anno' / '0' / '00001_skin.png'
    path.unlink()
    path.symlink_to('gone.png')
    assert refused(source, tmp_path / 'out').startswith(f'{path} is a symbolic link that leads to nothing')


def test_a_mask_of_another_size_is_named(source, tmp_path):
    path = source / 'CelebAMask-HQ-mask-anno' / '0' / '00001_nose.png'
    Image.new('L', (32, 64)).save(path)
    line = refused(source, tmp_path / 'out')
    assert line.startswith(f'{path}: the mask is 32x64 and ') and '00001_skin.png 64x64 (width x height)' in line


def test_an_image_of_another_size_is_named(source, tmp_path):
    Image.new('RGB', (100, 128)).save(source / 'CelebA-HQ-img' / '1.jpg')
    assert '00001_skin.png: the mask is 64x64 and the image 100x128 (width x height)' in refused(source, tmp_path / 'o')


@pytest.mark.parametrize('noise', [0, 60])
def test_a_mask_with_noise_is_drawn(source, tmp_path, noise):
    path = source / 'CelebAMask-HQ-mask-anno' / '0' / '00001_nose.png'
    mask = np.asarray(Image.open(path).convert('L')).astype(int)
    drawn = np.abs(mask - np.random.RandomState(0).randint(0, noise + 1, mask.shape)).astype(np.uint8)
    Image.fromarray(drawn).save(path)
    convert_celebamask(source, tmp_path / 'out')
    label = np.asarray(Image.open(tmp_path / 'out/labels/val/1.png'))
    np.testing.assert_array_equal(label[::2, ::2] == CLASSES.index('nose'), mask > 0)


@pytest.mark.parametrize(
    'values, shown', [((0, 1), '0, 1'), ((0, 127), '0, 127'), ((0, 128, 255), '0, 128, 255'), ((1,), '1'),
                      (range(0, 60, 9), '0, 9, 18, 27, 36, …')]
)  # fmt: skip
def test_a_mask_of_other_values_is_named(source, tmp_path, values, shown):
    path = source / 'CelebAMask-HQ-mask-anno' / '0' / '00001_hat.png'
    Image.fromarray(np.resize(np.array(values, np.uint8), (SIDE, SIDE))).save(path)
    expected = f'{path}: the mask has the values {shown}; give masks of 0 and 255, as in the data set'
    assert refused(source, tmp_path / 'out') == expected


@pytest.mark.parametrize('name', ['00.jpg', 'face.jpg', '3.png', '3.JPG', 'more/3.jpg', '\u0663.jpg'])
def test_an_image_of_another_name_is_named(source, tmp_path, name):
    images = source / 'CelebA-HQ-img'
    (images / 'more').mkdir()
    (images / '.hidden.jpg').touch()
    (images / name).write_bytes((images / '0.jpg').read_bytes())
    expected = f'{images / name} is no image of the data set, and would be left out; name it as {images}/0.jpg'
    assert refused(source, tmp_path / 'out') == expected


@pytest.mark.parametrize(
    'line', ['garbage', '7 8', 'x 8 000009.jpg', '7 8 nine.jpg', '7 8 000009.jpg more', '7 8 000009.png', '\ufffd']
)
def test_a_line_of_the_mapping_of_another_form_is_named(source, tmp_path, line):
    mapping = source / 'CelebA-HQ-to-CelebA-mapping.txt'
    mapping.write_bytes(mapping.read_bytes() + b'\n\n' + line.encode().replace(b'\xef\xbf\xbd', b'\xff'))
    expected = f'{mapping}: line 7 is not as "0 119613 119614.jpg"; download that file again'
    assert refused(source, tmp_path / 'out') == expected


def test_a_face_that_the_mapping_has_twice_is_named(source, tmp_path):
    mapping = source / 'CelebA-HQ-to-CelebA-mapping.txt'
    mapping.write_text(mapping.read_text() + '\n0 182638 182638.jpg')
    assert refused(source, tmp_path / 'out') == f'{mapping}: line 6 has face 0 again; download that file again'


def test_faces_without_an_image_are_counted(source, tmp_path, capsys):
    (source / 'CelebA-HQ-img' / '1.jpg').unlink()
    convert_celebamask(source, tmp_path / 'out')
    assert 'faces without an image are left out: 1, the first 1.jpg' in capsys.readouterr().err


def test_a_face_outside_the_mapping_is_named(source, tmp_path):
    mapping = source / 'CelebA-HQ-to-CelebA-mapping.txt'
    mapping.write_text(mapping.read_text().rpartition('\n')[0])
    assert f'2001.jpg: {mapping} has no line for it' in refused(source, tmp_path / 'out')
    mapping.write_text(mapping.read_text() + '\n2001 202600 202600.jpg')
    assert f'{mapping}: image 202600 is not of CelebA; download that file again' in refused(source, tmp_path / 'out')


@pytest.mark.parametrize('path', ['CelebA-HQ-img/1.jpg', 'CelebAMask-HQ-mask-anno/0/00001_hair.png'])
def test_an_unreadable_file_is_named(source, tmp_path, path):
    (source / path).write_bytes((source / path).read_bytes()[:60])
    assert refused(source, tmp_path / 'out').startswith(f'{source / path}: not a readable image')


@pytest.mark.parametrize(
    'path', ['CelebA-HQ-img/1.jpg', 'CelebAMask-HQ-mask-anno/0/00001_skin.png', 'CelebA-HQ-to-CelebA-mapping.txt']
)
def test_a_pipe_is_not_waited_for(source, tmp_path, path):
    (source / path).unlink()
    os.mkfifo(source / path)
    assert refused(source, tmp_path / 'out') == f'{source / path} is a pipe or a device; save what it gives to a file'
