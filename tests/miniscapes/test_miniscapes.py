"""miniscapes: the synthetic scenes, their labels, and the Cityscapes layout on disk."""

import hashlib
import itertools
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from cityscapesscripts.helpers.labels import id2label

import mmseg_bisenet  # noqa: F401  makes mmseg importable
from mmseg_bisenet import miniscapes
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.miniscapes import CLASSES, draw_scene, write, write_miniscapes

IDS = {id2label[i].name: i for i in range(34)}
SMALL = (128, 256)


@pytest.fixture(scope='module')
def scenes():
    """Twenty scenes at the size of the default data set."""
    return [draw_scene(seed) for seed in range(20)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A data set of 9 and 4 small scenes."""
    return write_miniscapes(tmp_path_factory.mktemp('data') / 'mini', train=9, val=4, size=SMALL, seed=3)


def pictures(root, pattern):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.glob(pattern))}


def test_shapes_and_types(scenes):
    photo, labels = scenes[0]
    assert photo.shape == (256, 512, 3) and photo.dtype == np.uint8
    assert labels.shape == (256, 512) and labels.dtype == np.uint8


def test_the_same_seed_gives_the_same_scene(scenes):
    photo, labels = draw_scene(7)
    assert np.array_equal(photo, scenes[7][0])
    assert np.array_equal(labels, scenes[7][1])


def test_other_seeds_give_other_scenes(scenes):
    layouts = {labels.tobytes() for _, labels in scenes}
    assert len(layouts) == len(scenes)
    for (_, first), (_, second) in itertools.pairwise(scenes):
        assert (first != second).mean() > 0.1


def test_labels_hold_the_ten_classes_and_void_only(scenes):
    allowed = {IDS[name] for name in CLASSES} | {0}
    assert len(CLASSES) == 10
    assert set(np.unique([labels for _, labels in scenes])) <= allowed
    assert np.mean([labels == 0 for _, labels in scenes]) < 0.02


def test_every_class_is_seen_often_and_large_enough(scenes):
    """A class that is small, or in few scenes, could not be learned."""
    share = {name: np.array([(labels == IDS[name]).mean() for _, labels in scenes]) for name in CLASSES}
    least = dict.fromkeys(CLASSES, 0.005) | {'road': 0.2, 'building': 0.1, 'sky': 0.03, 'vegetation': 0.03, 'car': 0.03}
    for name in CLASSES:
        assert share[name].mean() > least[name], name
        assert (share[name] > 0.0005).sum() >= 15, name


def test_photo_and_label_agree(scenes):
    """The colours under a label fit its class: compared with the road, the sky is bright and blue, leaves are green."""

    def mean(photo, labels, name):
        return photo[labels == IDS[name]].mean(0)

    brighter, bluer, greener = [], [], []
    for photo, labels in scenes:
        sky, road, leaves = (mean(photo, labels, name) for name in ('sky', 'road', 'vegetation'))
        brighter.append(sky.mean() - road.mean())
        bluer.append((sky[0] - sky[2]) - (road[0] - road[2]))
        greener.append((leaves[1] - leaves.mean()) - (road[1] - road.mean()))
    assert min(brighter) > 15
    assert np.mean(bluer) > 5
    assert np.mean(greener) > 5


def test_labels_follow_edges_of_the_photo(scenes):
    """Shifted labels fit the image worse: the colours under each label vary more."""

    def spread(photo, labels):
        total = 0.0
        for label in np.unique(labels):
            part = photo[labels == label].astype(np.float64)
            total += ((part - part.mean(0)) ** 2).sum()
        return total

    for photo, labels in scenes[:8]:
        here = spread(photo, labels)
        assert all(here < spread(photo, np.roll(labels, shift, axis)) for axis in (0, 1) for shift in (-12, 12))


def test_a_scene_keeps_its_layout_at_twice_the_size(scenes):
    for seed in (0, 5, 11):
        small, large = scenes[seed][1], draw_scene(seed, (512, 1024))[1]
        assert large.shape == (512, 1024)
        assert (large[::2, ::2] == small).mean() > 0.9


@pytest.mark.parametrize('size', [(64, 64), (65, 200), (300, 64), (64, 640)])
def test_any_size_from_64_can_be_drawn(size):
    photo, labels = draw_scene(1, size)
    assert photo.shape == (*size, 3)
    assert IDS['road'] in labels


def test_files_are_named_as_in_cityscapes(folder):
    towns = {}
    for split, count in (('train', 9), ('val', 4)):
        photos = sorted((folder / 'leftImg8bit' / split).glob('*/*_leftImg8bit.png'))
        assert len(photos) == count
        towns[split] = {path.parent.name for path in photos}
        for path in photos:
            stem = path.name.removesuffix('_leftImg8bit.png')
            town, sequence, frame = stem.split('_')
            assert town == path.parent.name and len(sequence) == 6 and len(frame) == 6
            for kind in ('labelIds', 'labelTrainIds', 'color'):
                assert (folder / 'gtFine' / split / town / f'{stem}_gtFine_{kind}.png').is_file()
    assert not towns['train'] & towns['val']
    assert len(list(folder.rglob('*.png'))) == 13 * 4


def test_train_ids_and_colours_follow_the_official_table(folder):
    for path in folder.rglob('*_labelIds.png'):
        labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        trained = cv2.imread(str(path).replace('labelIds', 'labelTrainIds'), cv2.IMREAD_UNCHANGED)
        colour = cv2.imread(str(path).replace('labelIds', 'color'), cv2.IMREAD_COLOR)[..., ::-1]
        assert labels.ndim == 2 and trained.ndim == 2
        official = [id2label[i] for i in range(34)]
        assert np.array_equal(trained, np.array([row.trainId for row in official], np.uint8)[labels])
        assert np.array_equal(colour, np.array([row.color for row in official], np.uint8)[labels])


def test_the_photo_on_disk_is_the_scene(folder):
    path = folder / 'leftImg8bit/val/kaltenmuehl/kaltenmuehl_000000_000019_leftImg8bit.png'
    photo, labels = draw_scene(write.scene_seed(3, 'val', 0), SMALL)
    assert np.array_equal(cv2.imread(str(path)), photo)
    truth = str(path).replace('leftImg8bit/', 'gtFine/').replace('_leftImg8bit', '_gtFine_labelIds')
    assert np.array_equal(cv2.imread(truth, cv2.IMREAD_UNCHANGED), labels)


def test_the_first_scenes_do_not_depend_on_the_count(folder, tmp_path):
    fewer = write_miniscapes(tmp_path / 'fewer', train=3, val=1, size=SMALL, seed=3)
    wanted, got = pictures(folder, '*/*/*/*.png'), pictures(fewer, '*/*/*/*.png')
    assert len(got) == 16
    assert all(wanted[name] == content for name, content in got.items())


def test_no_scene_is_in_both_splits(folder):
    train = set(pictures(folder, 'gtFine/train/*/*_labelIds.png').values())
    val = set(pictures(folder, 'gtFine/val/*/*_labelIds.png').values())
    assert len(train) == 9 and len(val) == 4 and not train & val


def test_other_seeds_give_other_data_sets(folder, tmp_path):
    other = write_miniscapes(tmp_path / 'other', train=1, val=0, size=SMALL, seed=4)
    name = 'gtFine/train/ahornstedt/ahornstedt_000000_000019_gtFine_labelIds.png'
    assert (other / name).read_bytes() != (folder / name).read_bytes()


def test_stock_mmsegmentation_reads_it(folder):
    from mmseg.datasets import CityscapesDataset

    for split, count in (('train', 9), ('val', 4)):
        data = CityscapesDataset(
            data_root=str(folder),
            data_prefix={'img_path': f'leftImg8bit/{split}', 'seg_map_path': f'gtFine/{split}'},
            pipeline=[],
        )
        assert len(data) == count
        for i in range(count):
            info = data.get_data_info(i)
            stem = info['img_path'].removesuffix('_leftImg8bit.png').replace('leftImg8bit', 'gtFine')
            assert info['seg_map_path'] == f'{stem}_gtFine_labelTrainIds.png'
            assert set(np.unique(cv2.imread(info['seg_map_path'], -1))) <= {*range(len(data.METAINFO['classes'])), 255}
        assert {data.METAINFO['classes'][id2label[IDS[name]].trainId] for name in CLASSES} == set(CLASSES)


def test_the_same_data_set_is_used_again(folder, monkeypatch):
    def refuse(*_):
        raise AssertionError('drawn again')

    monkeypatch.setattr(write, 'draw_scene', refuse)
    assert write_miniscapes(folder, train=9, val=4, size=SMALL, seed=3) == folder


@pytest.mark.parametrize('other', [{'train': 8}, {'val': 5}, {'seed': 2}, {'size': (64, 128)}])
def test_a_data_set_of_other_parameters_is_kept(folder, other):
    before = pictures(folder, '**/*.*')
    with pytest.raises(InputError, match='exists already; name another folder, or remove it') as caught:
        write_miniscapes(folder, **({'train': 9, 'val': 4, 'size': SMALL, 'seed': 3} | other))
    assert str(folder) in str(caught.value) and '\n' not in str(caught.value)
    assert pictures(folder, '**/*.*') == before


def test_files_of_a_user_are_kept(tmp_path):
    (tmp_path / 'holiday.jpg').write_text('sea')
    with pytest.raises(InputError, match='exists already; name another folder, or remove it'):
        write_miniscapes(tmp_path, train=1, val=0, size=SMALL)
    with pytest.raises(InputError, match=r'holiday\.jpg exists already; name another folder'):
        write_miniscapes(tmp_path / 'holiday.jpg', train=1, val=0, size=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ['holiday.jpg']


@pytest.mark.parametrize(('error', 'raised'), [(OSError, InputError), (KeyboardInterrupt, KeyboardInterrupt)])
def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch, error, raised):
    draw, done = write.draw_scene, []

    def fail(*arguments):
        done.append(list(tmp_path.rglob('*.png')))
        if len(done) == 3:
            raise error('in the middle')
        return draw(*arguments)

    monkeypatch.setattr(write, 'draw_scene', fail)
    with pytest.raises(raised, match='in the middle'):
        write_miniscapes(tmp_path / 'deep' / 'mini', train=4, val=1, size=SMALL)
    assert len(done[-1]) == 8  # two scenes were on disk
    assert not (tmp_path / 'deep' / 'mini').exists()
    assert list((tmp_path / 'deep').iterdir()) == []


def test_the_facts_are_written_last(tmp_path, monkeypatch):
    seen = []
    draw = write.draw_scene
    monkeypatch.setattr(write, 'draw_scene', lambda *a: (seen.extend(tmp_path.rglob(write.NAME)), draw(*a))[1])
    root = write_miniscapes(tmp_path / 'mini', train=1, val=1, size=(64, 128), seed=5)
    assert seen == []
    facts = json.loads((root / 'miniscapes.json').read_text())
    files = facts.pop('files')
    assert facts == {'version': write.VERSION, 'seed': 5, 'train': 1, 'val': 1, 'size': [64, 128]}
    assert {root / name for name in files} == {path for path in root.rglob('*.*') if path.name != 'miniscapes.json'}
    assert all(hashlib.sha256((root / name).read_bytes()).hexdigest() == digest for name, digest in files.items())


@pytest.fixture(scope='module')
def finished(tmp_path_factory) -> Path:
    return write_miniscapes(tmp_path_factory.mktemp('finished') / 'mini', train=1, val=1, size=SMALL)


@pytest.mark.parametrize('kind', ['leftImg8bit', 'labelIds', 'labelTrainIds', 'color'])
@pytest.mark.parametrize('damage', ['cut short', 'missing', 'a pipe'])
def test_a_damaged_data_set_is_not_called_finished(finished, tmp_path, kind, damage):
    root = Path(shutil.copytree(finished, tmp_path / 'mini'))
    path = next(root.rglob(f'*_{kind}.png'))
    content = path.read_bytes()
    path.unlink()
    if damage == 'cut short':
        path.write_bytes(content[:-20])
    elif damage == 'a pipe':
        os.mkfifo(path)
    state = 'is missing' if damage == 'missing' else 'is damaged'
    with pytest.raises(InputError, match=f'^{path} {state}; remove {root}, and the scenes are drawn again$'):
        write_miniscapes(root, train=1, val=1, size=SMALL)


def test_what_a_user_added_to_a_data_set_stays(finished, tmp_path):
    root = Path(shutil.copytree(finished, tmp_path / 'mini'))
    (root / 'notes.txt').write_text('mine')
    assert write_miniscapes(root, train=1, val=1, size=SMALL) == root
    facts = json.loads((root / 'miniscapes.json').read_text())
    (root / 'miniscapes.json').write_text(json.dumps(facts | dict(files=None)))  # as of an earlier version
    next(root.rglob('*_color.png')).unlink()
    assert write_miniscapes(root, train=1, val=1, size=SMALL) == root
    (root / 'miniscapes.json').unlink()
    os.mkfifo(root / 'miniscapes.json')
    with pytest.raises(InputError, match='exists already; name another folder'):
        write_miniscapes(root, train=1, val=1, size=SMALL)


def test_progress_goes_to_stderr(tmp_path, capsys):
    write_miniscapes(tmp_path / 'mini', train=2, val=1, size=(64, 64))
    out, err = capsys.readouterr()
    assert out == '' and '3/3' in err.splitlines()[-1]


@pytest.mark.parametrize(
    'wrong', [{'train': -1}, {'val': -2}, {'size': (0, 512)}, {'size': (256, -1)}, {'size': (256, 63)}, {'seed': -1}]
)
def test_wrong_arguments(tmp_path, wrong):
    with pytest.raises(InputError, match=f'^{next(iter(wrong))} ') as caught:
        write_miniscapes(tmp_path / 'mini', **wrong)
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'mini').exists()


def test_classes_are_exported():
    assert miniscapes.CLASSES[:3] == ('road', 'sidewalk', 'building')
