"""``check-labels`` on synthetic scenes: its table against counts by hand, and its exit status."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmseg_bisenet.cli import main

NAME = 'bisenetv2_fcn_1xb8-400it_miniscapes-128x256'


@pytest.fixture
def data(drawn, tmp_path, monkeypatch) -> Path:
    """A copy of the synthetic scenes, for tests that damage files."""
    monkeypatch.setenv('MMSEG_BISENET_DATA', str(tmp_path / 'data'))
    return shutil.copytree(drawn, tmp_path / 'data') / 'miniscapes'


def labels(data: Path, split: str, kind: str = 'labelTrainIds') -> list[Path]:
    return sorted(data.glob(f'gtFine/{split}/*/*_{kind}.png'))


def check(tmp_path: Path, *options: str, name: str = NAME) -> int:
    work_dir = ['--work-dir', str(tmp_path / 'work'), '--workers', '1']
    return main(['check-labels', name, *work_dir, *(['--cfg-options', *options] if options else [])])


@pytest.mark.parametrize('name', [NAME, f'{NAME}_benchmark'])
def test_right_data_gives_a_table_and_pictures(data, tmp_path, capsys, name):
    assert check(tmp_path, name=name) == 0
    folder = tmp_path / 'work' / 'check_labels'
    out = capsys.readouterr().out
    assert 'train: 6 images, 0 without label; 0 labels without image; 0 files are wrong' in out
    # The test set of this config is the validation set, repeated five times.
    assert 'val-test: 3 images, 0 without label' in out
    assert f'all files are correct; table and pictures are in {folder}' in out
    assert {path.name for path in folder.iterdir()} == {
        *('problems.txt', 'classes.csv', 'train.png', 'val-test.png', '.written.json')
    }
    assert (folder / 'problems.txt').read_text() == ''
    with (folder / 'classes.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    for split, key in (('train', 'train'), ('val', 'val-test')):
        ids = np.stack([np.asarray(Image.open(path)) for path in labels(data, split)])
        mine = [row for row in rows if row['dataset'] == key]
        assert len(mine) == 19
        for index, row in enumerate(mine):
            assert int(row['pixels']) == (ids == index).sum()
            assert int(row['images']) == (ids == index).any(axis=(1, 2)).sum()
            assert float(row['pixel_share']) == (ids == index).sum() / (ids < 19).sum()
    never = [row['class'] for row in rows if row['images'] == '0']
    assert never == [line.strip().rpartition(' 0.0000 ')[0].strip() for line in out.splitlines() if 'never' in line]
    assert 0 < len(never) < 19


def test_wrong_files_are_listed_and_the_status_is_two(data, tmp_path, capsys):
    first, second, *_ = labels(data, 'train')
    first.write_bytes(b'')
    second.unlink()
    assert check(tmp_path) == 2
    out, err = capsys.readouterr()
    problems = tmp_path / 'work' / 'check_labels' / 'problems.txt'
    assert f'error: 2 files are wrong; fix those in {problems}, then run this again' in err
    assert 'train: 6 images, 1 without label; 0 labels without image; 2 files are wrong' in out
    assert f'    {first}: the label cannot be read (empty, cut short or not an image)' in out.splitlines()
    lines = problems.read_text().splitlines()
    assert [line.split(':')[0] for line in lines] == [str(first), str(second)]
    assert 'csCreateTrainIdLabelImgs' in lines[1]


def test_label_ids_are_recognised(data, tmp_path, capsys):
    """labelIds copied over labelTrainIds: 20 files are printed, all are in problems.txt."""
    for copy in range(8):
        for path in labels(data, 'train')[:3]:
            image = Path(str(path).replace('gtFine', 'leftImg8bit').replace('_labelTrainIds', ''))
            for source in (path, image):
                shutil.copy(source, source.with_name(f'{copy}{source.name}'))
    for path in labels(data, 'train'):
        Image.fromarray(np.full((64, 128), 26, np.uint8)).save(path)
    assert check(tmp_path) == 2
    out = capsys.readouterr().out
    assert '  30 x these look like Cityscapes labelIds instead of labelTrainIds: run ' in out
    assert sum('the label has ids 26 outside the 19 classes' in line for line in out.splitlines()) == 20
    assert len((tmp_path / 'work' / 'check_labels' / 'problems.txt').read_text().splitlines()) == 30


def test_a_suffix_that_no_image_has(data, tmp_path, capsys):
    assert check(tmp_path, 'train_dataloader.dataset.img_suffix=.jpg') == 2
    assert 'error: train_dataloader.dataset has no image: no file in ' in capsys.readouterr().err


def test_workers(data, tmp_path, capsys):
    assert main(['check-labels', NAME, '--workers', '0']) == 2
    assert '--workers is 0; give 1 or more' in capsys.readouterr().err


def test_what_a_user_put_beside_the_table_stays(data, tmp_path, capsys):
    assert check(tmp_path) == 0
    mine = tmp_path / 'work' / 'check_labels' / 'mine.txt'
    mine.write_text('mine')
    capsys.readouterr()
    assert check(tmp_path) == 2
    out, err = capsys.readouterr()
    assert f'error: {mine} is not as this command wrote it, and {mine.parent} would be replaced; move it' in err
    assert 'train: 6 images' not in out and mine.read_text() == 'mine'


def test_a_work_dir_that_cannot_be_written(data, tmp_path, capsys):
    (tmp_path / 'work').touch()
    assert check(tmp_path) == 2
    err = capsys.readouterr().err
    assert f'--work-dir {tmp_path}/work/check_labels: {tmp_path}/work is no folder; name another folder' in err
