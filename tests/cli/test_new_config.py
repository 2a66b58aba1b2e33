"""Own images: `new-config` checks a folder and writes a config, `train --from` uses it, `report` shows the result."""

import json
import os
import re
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from base import outline
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from mmseg_bisenet.checkpoints.files import read
from mmseg_bisenet.cli import main, options
from mmseg_bisenet.config import check as config_check
from mmseg_bisenet.data.own_folder import SPLITS
from mmseg_bisenet.model_index import find
from mmseg_bisenet.palette import distinct

CLASSES = ['road', 'traffic "light"', 'sky']
SIZE = (48, 64)


def draw(folder: Path, classes: int = 3, suffix: str = '.jpg') -> Path:
    """A folder of stripes: three images for training, one of them in a subfolder, and two for validation."""
    for split, names in zip(SPLITS, (['a', 'b', 'deep/c'], ['d', 'e']), strict=True):
        for name in names:
            ids = np.repeat(np.arange(SIZE[0]) * classes // SIZE[0], SIZE[1]).reshape(SIZE).astype(np.uint8)
            ids[:, 0] = 255
            photo = np.stack([80 * ids] * 3, axis=2)
            for path, pixels in ((f'images/{split}/{name}{suffix}', photo), (f'masks/{split}/{name}.png', ids)):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / path), pixels)
    return folder


@pytest.fixture(scope='module')
def drawn_once(tmp_path_factory) -> Path:
    return draw(tmp_path_factory.mktemp('own') / "my 'own' images")


@pytest.fixture
def folder(drawn_once, tmp_path, monkeypatch) -> Path:
    """A copy of the images, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(drawn_once, tmp_path / drawn_once.name)


def new_config(folder: Path | str, *arguments: str, classes: list[str] = CLASSES) -> int:
    return main(['new-config', str(folder), *arguments, '--classes', *classes])


def load(path: Path | str) -> Config:
    """As commands load it; nothing in it is wrong or unread."""
    cfg = options.load(Namespace(config=str(path), cfg_options={}, work_dir=None))
    config_check.check(cfg)
    assert not config_check.unread(cfg)
    return cfg


def steps(cfg: Config, name: str) -> list:
    """The steps of that type of all pipelines that run."""
    loaders = (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)
    return [step for loader in loaders for step in loader.dataset.pipeline if step.type == name]


@pytest.mark.parametrize('place', ['images/train/loop.jpg', 'images/val/loop.jpg'])
def test_an_image_that_is_a_link_to_itself(folder, capsys, place):
    (folder / place).symlink_to('loop.jpg')
    assert new_config(folder) == 2
    reason = 'is a symbolic link that leads to nothing; fix it or remove it'
    assert capsys.readouterr().err == f'mmseg-bisenet: error: {folder / place} {reason}\n'
    assert not list(Path().glob('*.py'))


def test_a_folder_that_is_a_link_to_itself(folder, capsys):
    Path('loop').symlink_to('loop')
    assert new_config('loop') == 2
    assert 'loop is no folder; put images in images/train' in capsys.readouterr().err


@pytest.mark.parametrize(('model', 'heads'), [('v2', 5), ('v1', 3)])
def test_the_config(folder, capsys, model, heads):
    assert new_config(folder, '--output', 'mine.py', '--model', model) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == '3 images in train, 2 images in val: all masks are correct; wrote mine.py'
    assert out[2].startswith('mmseg-bisenet train mine.py --from bisenetv')
    assert out[3] == 'mmseg-bisenet report work_dirs/mine'
    assert find(out[2].split()[-1]).weights
    cfg = load('mine.py')
    for split, loader in (('train', cfg.train_dataloader), ('val', cfg.val_dataloader), ('val', cfg.test_dataloader)):
        assert loader.dataset.data_root == str(folder)
        assert loader.dataset.data_prefix == dict(img_path=f'images/{split}', seg_map_path=f'masks/{split}')
        assert loader.dataset.img_suffix == '.jpg'
        assert loader.dataset.metainfo == dict(classes=tuple(CLASSES), palette=tuple(distinct(3)))
    network = outline(cfg.model)
    classifiers = [network.decode_head.conv_seg, *(head.conv_seg for head in network.auxiliary_head)]
    assert [conv.out_channels for conv in classifiers] == [3] * heads
    assert [step.num_classes for step in steps(cfg, 'LoadAnnotations')] == [3] * 3
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters == 1000
    assert cfg.param_scheduler[0].end == cfg.param_scheduler[1].begin == 50
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=0.001, weight_decay=0.01)


def test_a_change_in_one_place_is_enough(folder):
    assert new_config(folder, '--output', 'mine.py') == 0
    text = Path('mine.py').read_text()
    assert len(text.splitlines()) < 32
    text = re.sub(r'data_root = .*?  #', "data_root = '/elsewhere'  #", text)
    text = text.replace('\n]\n', "\n    ('car', (1, 2, 3)),\n]\n", 1).replace("'.jpg'", "'.tif'")
    Path('mine.py').write_text(text.replace('iterations = 1000', 'iterations = 5'))
    cfg = load('mine.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.data_root == '/elsewhere' and loader.dataset.img_suffix == '.tif'
        assert loader.dataset.metainfo == dict(classes=(*CLASSES, 'car'), palette=(*distinct(3), (1, 2, 3)))
    assert outline(cfg.model).decode_head.conv_seg.out_channels == 4
    assert [step.num_classes for step in steps(cfg, 'LoadAnnotations')] == [4] * 3
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval, cfg.param_scheduler[1].end) == (5, 1, 5)


@pytest.mark.parametrize('iterations', [1, 2, 3, 1000])
def test_the_learning_rate_of_a_training_of_any_length(folder, iterations):
    assert new_config(folder, '--output', 'mine.py') == 0
    text = Path('mine.py').read_text().replace('iterations = 1000', f'iterations = {iterations}')
    Path('mine.py').write_text(text)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    schedulers = [PARAM_SCHEDULERS.build(dict(step, optimizer=optimizer)) for step in load('mine.py').param_scheduler]
    rates = []
    for _ in range(iterations):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert rates[0] == pytest.approx(0.1) and min(rates) > 0
    assert max(rates) <= 1 and (iterations < 1000 or rates[50] == pytest.approx(1, abs=0.02))


def test_stock_scripts_read_it(folder):
    """They leave the check of the masks at the number of the base, which lets every class pass."""
    assert new_config(folder, '--output', 'mine.py') == 0
    cfg = Config.fromfile('mine.py')
    assert cfg.model.num_classes == 3
    assert [step.num_classes for step in steps(cfg, 'LoadAnnotations')] == [256] * 3


def test_the_file_has_the_name_of_the_folder(folder, monkeypatch):
    assert new_config(folder.name) == 0
    assert load(f'{folder.name}.py').train_dataloader.dataset.data_root == str(folder)
    monkeypatch.chdir(folder)
    assert new_config('.') == 0
    assert Path(f'{folder.name}.py').read_text() == folder.with_name(f'{folder.name}.py').read_text()


def test_other_images(folder, capsys):
    """Upper case is a suffix of its own for the data set; files that are no images do not matter."""
    draw(Path('others'), suffix='.PNG')
    Path('others/images/train/notes.txt').touch()
    Path('others/images/train/.hidden.jpg').touch()
    assert new_config('others', classes=[*CLASSES, 'rare']) == 0
    captured = capsys.readouterr()
    assert load('others.py').train_dataloader.dataset.img_suffix == '.PNG'
    assert 'note: no training mask has class rare' in captured.err


def test_an_existing_file_stays_unless_told(folder, capsys):
    Path('mine.py').write_text('mine')
    assert new_config(folder, '--output', 'mine.py') == 2
    assert 'mine.py exists already; name another with --output, or give --overwrite' in capsys.readouterr().err
    assert Path('mine.py').read_text() == 'mine'
    assert new_config(folder, '--output', 'mine.py', '--overwrite') == 0
    load('mine.py')


# -- what is wrong -----------------------------------------------------------------------------------------------------


def no_split(folder: Path) -> None:
    shutil.rmtree(folder / 'images/val')


def no_masks(folder: Path) -> None:
    shutil.rmtree(folder / 'masks')


def no_image(folder: Path) -> None:
    for path in (folder / 'images/val').iterdir():
        path.rename(path.with_suffix('.txt'))


def two_suffixes(folder: Path) -> None:
    (folder / 'images/val/e.jpg').rename(folder / 'images/val/e.jpeg')


def masks_missing(folder: Path) -> None:
    for name in 'ab':
        (folder / f'masks/train/{name}.png').unlink()


def mask_without_image(folder: Path) -> None:
    (folder / 'images/val/e.jpg').unlink()


def wide_mask(folder: Path) -> None:
    cv2.imwrite(str(folder / 'masks/train/a.png'), np.zeros((48, 65), np.uint8))


def colour_masks(folder: Path) -> None:
    for path in folder.glob('masks/*/*.png'):
        cv2.imwrite(str(path), np.zeros((*SIZE, 3), np.uint8))


def jpeg_mask(folder: Path) -> None:
    cv2.imwrite(str(folder / 'mask.jpg'), np.zeros(SIZE, np.uint8))
    (folder / 'mask.jpg').rename(folder / 'masks/train/a.png')


def ids_beyond(folder: Path) -> None:
    cv2.imwrite(str(folder / 'masks/val/d.png'), np.full(SIZE, 7, np.uint8))


def white_masks(folder: Path) -> None:
    """Masks of 0 and 255, as drawing programs save them."""
    for path in folder.rglob('*.png'):
        cv2.imwrite(str(path), np.repeat(np.uint8([[0], [255]]), 24, axis=0).repeat(64, axis=1))


def damaged(folder: Path) -> None:
    (folder / 'images/train/a.jpg').write_bytes(b'words')


def pipe(folder: Path) -> None:
    os.mkfifo(folder / 'images/train/z.jpg')


LAYOUT = 'put images in images/train and images/val, and masks of the same names in masks/train and masks/val'
NEED = 'each image needs a PNG mask of its name and size, with one channel of ids from 0 to 2, or 255 to ignore'


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (no_split, f'DIR has no folder images/val; {LAYOUT}'),
        (no_masks, f'DIR has no folder masks/train; {LAYOUT}'),
        (no_image, f'DIR/images/val has no image; {LAYOUT}'),
        (two_suffixes, 'DIR/images has 4 .jpg and 1 .jpeg files; save all images in one format, with one suffix'),
        (
            masks_missing,
            f'DIR/masks/train/a.png: the label cannot be read (no such file) (and 1 more files are wrong); {NEED}',
        ),
        (mask_without_image, f'DIR/masks/val/e.png: the label has no image; {NEED}'),
        (wide_mask, f'DIR/masks/train/a.png: the label is 65x48 and its image 64x48 (width x height); {NEED}'),
        (
            colour_masks,
            'DIR/masks/train/a.png: the label has shape (48, 64, 3) instead of one channel of class ids (H, W) '
            f'(and 3 more files are wrong); {NEED}',
        ),
        (jpeg_mask, f'DIR/masks/train/a.png: the label is compressed as jpeg, which changes ids; {NEED}'),
        (
            ids_beyond,
            'DIR/masks/val/d.png: the label has ids 7 outside the 3 classes (0 to 2, 255 is ignored); ' + NEED,
        ),
        (
            white_masks,
            'DIR/masks/train has only class 0 (road); write the id of its class into each pixel (0, 1 and so on), '
            'because 255 is ignored',
        ),
        (pipe, 'DIR/images/train/z.jpg is a pipe or a device; save what it gives to a file'),
        (
            damaged,
            f'DIR/images/train/a.jpg: the image cannot be read (empty, cut short or not an image); {NEED}',
        ),
    ],
)
def test_a_folder_that_is_wrong(folder, refused, damage, message):
    damage(folder)
    assert refused(new_config, folder) == message.replace('DIR', str(folder))


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (['road', ' '], "' ' is no name; give a word for each class"),
        (['road', 'sky\n'], r"'sky\n' is no name; give a word for each class"),
        (['road', 'sky', 'Road '], "'road' and 'Road ' are the same name; give each class one of its own"),
        (['a', 'a', 'b'], "'a' and 'a' are the same name; give each class one of its own"),
        (['road', '{{ fileBasename }}'], "'{{ fileBasename }}' is no name; give a word for each class"),
        (['road,sky'], 'has 1 names; give 2 to 255, separated by spaces, such as background road'),
        ([f'c{i}' for i in range(256)], 'has 256 names; give 2 to 255, separated by spaces, such as background road'),
    ],
    ids=['empty', 'line end', 'clash', 'twice', 'of MMEngine', 'one', 'too many'],
)
def test_classes_that_are_wrong(folder, refused, classes, message):
    assert re.sub('^--classes:? ', '', refused(new_config, folder, classes=classes)) == message


def test_places_that_are_wrong(folder, refused):
    odd = folder.rename(folder.with_name('{{ x }}'))
    assert refused(new_config, odd) == f'{odd}: MMEngine replaces {{{{ in configs; rename the folder'
    odd.rename(folder)
    assert refused(new_config, 'nowhere') == f'nowhere is no folder; {LAYOUT} of a folder, and name that'
    line = refused(new_config, folder, '--output', 'mine.yaml')
    assert line == '--output mine.yaml does not end in .py; name a file that does'


@pytest.fixture
def refused(tmp_path, capsys) -> Callable:
    """Call what is refused: its one line. It wrote nothing."""

    def call(function: Callable, *arguments, **keywords) -> str:
        before = sorted(tmp_path.rglob('*'))
        assert function(*arguments, **keywords) == 2
        assert sorted(tmp_path.rglob('*')) == before
        captured = capsys.readouterr()
        (line,) = [line for line in captured.err.splitlines() if line.startswith('mmseg-bisenet: error: ')]
        assert not captured.out
        return line.removeprefix('mmseg-bisenet: error: ')

    return call


def test_many_classes_have_colours_that_differ():
    colours = np.array(distinct(20))
    distances = np.abs(colours[:, None] - colours).max(2) + 255 * np.eye(20)
    assert distances.min() > 20 and colours.max(1).min() > 100
    assert len(set(distinct(255))) == 255


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def trained(drawn_once, tmp_path_factory) -> Path:
    """The work dir of two steps that change no weight, from the shipped weights."""
    work = tmp_path_factory.mktemp('trained')
    assert new_config(drawn_once, '--output', str(work / 'mine.py')) == 0
    changes = ['crop_size=(32,32)', 'scale=(64,48)', 'train_cfg.max_iters=2', 'train_cfg.val_interval=1']
    changes += [
        'optim_wrapper.optimizer.lr=0',
        'optim_wrapper.optimizer.weight_decay=0',
        'train_dataloader.batch_size=2',
    ]
    changes += ['param_scheduler.0.end=1', 'param_scheduler.1.begin=1', 'param_scheduler.1.eta_min=0']
    for loader in ('train_dataloader', 'val_dataloader'):
        changes += [f'{loader}.num_workers=0', f'{loader}.persistent_workers=False']
    arguments = [str(work / 'mine.py'), '--from', 'bisenetv2_camvid', '--work-dir', str(work / 'run')]
    assert main(['train', *arguments, '--cfg-options', *changes, 'default_hooks.checkpoint.interval=2']) == 0
    return work / 'run'


def test_all_but_the_classifiers_are_taken(trained):
    shipped, saved = (read(path).state_dict for path in (find('bisenetv2_camvid').weights, trained / 'iter_2.pth'))
    same = [key for key in shipped if 'running_' not in key and 'num_batches' not in key and '.conv_seg.' not in key]
    torch.testing.assert_close(
        {key: saved[key] for key in same}, {key: shipped[key].float() for key in same}, rtol=0, atol=0
    )
    assert saved['decode_head.conv_seg.weight'].shape == (3, 1024, 1, 1)
    (log,) = trained.glob('2*/*.log')
    boosters = sum(key.startswith('auxiliary_head.') for key in saved)
    text = log.read_text()
    assert f'{len(saved) - boosters - 2} tensors are taken from {find("bisenetv2_camvid").weights}; ' in text
    assert f'{boosters + 2} start anew (2 of another number of classes: decode_head.conv_seg.weight, ' in text
    assert 'do not match exactly' not in text


def test_the_last_evaluation_is_reported(trained, capsys):
    scores = json.loads((trained / 'evaluation/scores.json').read_text())
    assert scores['checkpoint'] == str(trained / 'iter_2.pth')
    assert scores['classes'] == CLASSES and scores['palette'] == [list(colour) for colour in distinct(3)]
    (log,) = trained.glob('2*/vis_data/scalars.json')
    logged = [json.loads(line) for line in log.read_text().splitlines() if 'mIoU' in line]
    assert [line['step'] for line in logged] == [1, 2]
    assert round(scores['summary']['mIoU'], 2) == logged[-1]['mIoU'] > 0
    assert {Path(row['img_path']).name for row in scores['samples']} == {'d.jpg', 'e.jpg'}
    assert main(['report', str(trained)]) == 0
    page = (trained / 'report.html').read_text()
    assert 'traffic &#34;light&#34;' in page and 'iter_2.pth' in page and '<svg' in page
