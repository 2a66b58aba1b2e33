"""The files of a test: scores, samples and predictions. Batch size and number of workers change nothing."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from base import build, randomise
from evaluation.test_segmentation_metric import assert_equal_to_the_official_script
from mmengine.config import Config
from mmseg.datasets import CityscapesDataset

from mmseg_bisenet.cli import main
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.evaluation.hook import EvaluationHook
from mmseg_bisenet.evaluation.predictions import LABEL_IDS, PredictionFolder
from mmseg_bisenet.evaluation.samples import Extremes, best_and_worst
from mmseg_bisenet.evaluation.segmentation_metric import SegmentationMetric
from mmseg_bisenet.pixels import read_pixels

NAME = 'bisenetv2/bisenetv2_fcn_1xb8-400it_miniscapes-128x256.py'


@pytest.fixture(scope='module')
def config(drawn, configs, tmp_path_factory) -> Path:
    """The config of the demo, on nine small scenes, with random weights beside it."""
    path = tmp_path_factory.mktemp('evaluation') / 'small.py'
    path.write_text(f"""
_base_ = '{configs}/{NAME}'
model = dict(auxiliary_head=None)
test_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root='{drawn}/miniscapes',
        data_prefix=dict(img_path='leftImg8bit', seg_map_path='gtFine'),
    ),
)
""")
    model = randomise(build(Config.fromfile(path).model)).eval()
    photos = [cv2.imread(str(photo)) for photo in drawn.glob('miniscapes/leftImg8bit/*/*/*.png')]
    data = model.data_preprocessor(dict(inputs=[torch.from_numpy(photo).permute(2, 0, 1) for photo in photos]))
    with torch.no_grad():  # so that several classes are predicted
        model.decode_head.conv_seg.bias -= model(data['inputs']).mean((0, 2, 3))
    torch.save(dict(state_dict=model.state_dict()), path.with_name('random.pth'))
    return path


def run(config: Path, work_dir: Path, *options: str, changes: tuple[str, ...] = ()) -> int:
    arguments = [config, config.with_name('random.pth'), '--work-dir', work_dir, *options]
    return main(['test', *map(str, arguments), *(['--cfg-options', *changes] if changes else [])])


def load(work_dir: Path) -> dict:
    return json.loads((work_dir / 'evaluation/scores.json').read_text())


def labels(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): cv2.imread(str(path), cv2.IMREAD_UNCHANGED).tobytes()
        for path in folder.rglob('*.png')
    }


@pytest.fixture(scope='module')
def one(config) -> Path:
    """A test with batch size 1 and without data workers."""
    folder = config.with_name('one')
    assert run(config, folder, '--out', str(folder / 'labels')) == 0
    return folder


def test_scores(one, config):
    scores = load(one)
    assert list(scores) == [
        *('config', 'checkpoint', 'created', 'versions', 'classes', 'palette', 'summary', 'per_class', 'confusion'),
        *('per_image', 'skipped', 'samples'),
    ]
    assert scores['config'] == str(config) and scores['checkpoint'] == str(config.with_name('random.pth'))
    assert tuple(scores['classes']) == CityscapesDataset.METAINFO['classes']
    assert scores['palette'] == CityscapesDataset.METAINFO['palette']
    assert scores['skipped'] == [] and len(scores['per_image']) == 9
    (log,) = one.glob('2*/*.json')
    logged = json.loads(log.read_text())
    assert {key: logged[key] for key in scores['summary']} == {
        key: round(value, 2) for key, value in scores['summary'].items()
    }
    per_class = {row['class']: row for row in scores['per_class']}
    assert per_class['train']['Acc'] is None  # it is not drawn
    assert sum(row['pixels'] for row in per_class.values()) == pytest.approx(100)


def test_equals_the_official_script(one, drawn):
    """On the predictions of the network."""
    truths = sorted(drawn.glob('miniscapes/gtFine/*/*/*_labelIds.png'))
    assert_equal_to_the_official_script(one / 'labels', truths, load(one))
    matrix = np.array(load(one)['confusion'])
    assert (matrix.sum(0) > 0).sum() > 5  # many classes, some of them correct
    assert np.trace(matrix) > 0


@pytest.mark.parametrize('table', ['per_class', 'per_image'])
def test_tables_say_what_json_says(one, table):
    with (one / f'evaluation/{table}.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    wanted = load(one)[table]
    assert rows == [{key: '' if value is None else str(value) for key, value in row.items()} for row in wanted]


def test_samples(one):
    """All nine images, because they are fewer than 12: the ids of truth and prediction, best first and worst first."""
    scores = load(one)
    ranks = {kind: [row for row in scores['samples'] if row['kind'] == kind] for kind in ('best', 'worst')}
    assert [len(rows) for rows in ranks.values()] == [5, 4]
    order = [row['mIoU'] for row in (*ranks['best'], *reversed(ranks['worst']))]
    assert order == sorted((row['mIoU'] for row in scores['per_image']), reverse=True)
    for row in scores['samples']:
        truth, prediction = (
            cv2.imread(str(one / 'evaluation' / row[name]), cv2.IMREAD_UNCHANGED) for name in ('truth', 'prediction')
        )
        source = row['img_path'].replace('leftImg8bit', 'gtFine', 1).replace('_leftImg8bit', '_gtFine_labelTrainIds')
        assert (truth == cv2.imread(source, cv2.IMREAD_UNCHANGED)).all()
        out = cv2.imread(str(one / 'labels' / Path(row['img_path']).name), cv2.IMREAD_UNCHANGED)
        assert (np.array(LABEL_IDS)[prediction] == out).all()
        assert row['aAcc'] == pytest.approx(100 * (prediction == truth)[truth != 255].mean())


@pytest.mark.parametrize(('batch', 'workers'), [(2, 2), (3, 0)])
def test_the_same_for_any_batch_size_and_workers(one, config, tmp_path, batch, workers):
    changes = (f'test_dataloader.batch_size={batch}', f'test_dataloader.num_workers={workers}')
    assert run(config, tmp_path, '--out', str(tmp_path / 'labels'), changes=changes) == 0
    assert labels(tmp_path / 'labels') == labels(one / 'labels')
    assert load(tmp_path) | dict(created=None) == load(one) | dict(created=None)


@pytest.fixture(scope='module')
def without_truth(config, drawn) -> tuple[str, ...]:
    """Options for the same images without labels."""
    root = config.with_name('photos')
    shutil.copytree(drawn / 'miniscapes/leftImg8bit', root / 'leftImg8bit')
    return f'test_dataloader.dataset.data_root={root}', 'test_evaluator.format_only=True'


def test_names_of_any_bytes(config, drawn, tmp_path, stack):
    """An image and a folder whose names are not UTF-8: scores, predictions, pictures and report are written."""
    for path in sorted(drawn.glob('miniscapes/*/val/kaltenmuehl/*_000000_*')):
        name = path.name.replace('kaltenmuehl', os.fsdecode(b'\xff'))
        target = tmp_path / 'data' / path.parts[-4] / 'val' / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    work_dir = tmp_path / 'work'
    changes = (f'test_dataloader.dataset.data_root={tmp_path}/data',)
    shown = tmp_path / os.fsdecode(b'o\xff\n')
    assert run(config, work_dir, '--out', str(tmp_path / 'out'), '--show-dir', str(shown), changes=changes) == 0
    (picture,) = shown.rglob('*.png')
    number = dict(openmmlab=0, onedl=1)[stack]  # the fork counts from 1
    assert os.fsencode(picture.name) == b'test_\xff_000000_000019_leftImg8bit.png_%d.png' % number
    assert read_pixels(picture).shape == (64, 256, 3)  # truth and prediction
    photo = b'leftImg8bit/val/\xff_000000_000019_leftImg8bit.png'
    assert photo in (work_dir / 'evaluation/per_image.csv').read_bytes()
    assert [os.fsencode(row['img_path']).endswith(photo) for row in load(work_dir)['per_image']] == [True]
    assert os.listdir(os.fsencode(tmp_path / 'out')) == [os.path.basename(photo)]
    assert main(['report', str(work_dir)]) == 0
    assert b'photo \xff_000000' in (work_dir / 'report.html').read_bytes()


def test_predictions_among_the_results_are_refused_before_the_test(config, tmp_path, capsys, monkeypatch):
    """``--out`` is refused even earlier (``tests/cli/test_outputs.py``)."""
    monkeypatch.setattr(SegmentationMetric, 'process', lambda *_: pytest.fail('an image was tested'))
    folder = tmp_path / 'evaluation/labels'
    assert run(config, tmp_path, changes=(f'test_evaluator.output_dir={folder}',)) == 2
    line = f'{folder} lies in {tmp_path}/evaluation, which is written as a whole; name another folder for predictions'
    assert capsys.readouterr().err.splitlines()[-1] == f'mmseg-bisenet: error: {line}'


def test_predictions_without_truth(one, config, without_truth, tmp_path):
    (tmp_path / '.evaluation.123.partial').mkdir()  # a leftover of a killed test
    assert run(config, tmp_path, '--out', str(tmp_path / 'labels'), changes=without_truth) == 0
    assert labels(tmp_path / 'labels') == labels(one / 'labels')
    assert not list(tmp_path.glob('*evaluation*'))


def test_predictions_without_truth_of_many_views(one, config, without_truth, tmp_path):
    two = 'test_dataloader.dataset.indices=2'
    for name, changes in (('with', (two,)), ('without', (two, *without_truth))):
        folders = ['--out', str(tmp_path / name), '--show-dir', str(tmp_path / f'shown_{name}')]
        assert run(config, tmp_path, '--aug-test', *folders, changes=changes) == 0
        assert len(list(tmp_path.glob(f'shown_{name}/**/*.png'))) == 2  # also the second time in one process
    found = labels(tmp_path / 'with')
    assert labels(tmp_path / 'without') == found
    assert len(found) == 2 and not found.items() & labels(one / 'labels').items()


def test_format_only_wants_a_folder(config, without_truth, tmp_path, capsys):
    assert run(config, tmp_path, changes=without_truth) == 2
    assert 'format_only is set without a folder to write to; add --out DIR' in capsys.readouterr().err


def test_a_test_that_fails_leaves_nothing_that_looks_complete(config, drawn, tmp_path):
    root = shutil.copytree(drawn / 'miniscapes', tmp_path / 'miniscapes')
    sorted(root.glob('leftImg8bit/*/*/*.png'))[-1].write_bytes(b'')
    changes = (f'test_dataloader.dataset.data_root={root}',)
    assert run(config, tmp_path / 'work', '--out', str(tmp_path / 'labels'), changes=changes) == 2
    assert not (tmp_path / 'work/evaluation').exists()
    assert not (tmp_path / 'labels').exists()


def write(folder: Path, *img_paths: str, reduce_zero_label: bool = False, label_map: dict | None = None) -> None:
    writer = PredictionFolder(folder)
    for i, img_path in enumerate(img_paths):
        writer.write(img_path, np.full((2, 3), i, np.uint8), ('a', 'b', 'c'), reduce_zero_label, label_map)
    writer.finish(img_paths, ('a', 'b', 'c'))


def test_images_of_the_same_name_are_two(tmp_path):
    write(tmp_path / 'out', 'data/val/a/x.jpg', 'data/val/b/x.jpg', 'data/val/y.png')
    assert labels(tmp_path / 'out') == {'a/x.png': b'\0' * 6, 'b/x.png': b'\1' * 6, 'y.png': b'\2' * 6}
    assert os.listdir(tmp_path) == ['out']


def test_images_that_share_a_prediction(tmp_path):
    """In one process, the error comes with the second image; with several, at the end."""
    with pytest.raises(InputError, match=r'^a/x\.jpg and a/x\.png share the prediction x\.png; rename one of them$'):
        write(tmp_path / 'out', 'a/x.jpg', 'a/x.png')
    writer = PredictionFolder(tmp_path / 'out')
    writer.write('a/x.jpg', np.zeros((2, 3), np.uint8), ('a',), False)
    with pytest.raises(InputError, match=r'^a/x\.jpg and a/x\.png share the prediction x\.png'):
        writer.finish(['a/x.jpg', 'a/x.png'], ('a',))
    assert not (tmp_path / 'out').exists()
    write(tmp_path / 'out', 'a/x.jpg', 'a/x.jpg', 'a/y.jpg')  # a repeated image is no conflict
    assert sorted(labels(tmp_path / 'out')) == ['x.png', 'y.png']


def test_zero_label_is_put_back(tmp_path):
    write(tmp_path / 'out', 'val/x.jpg', reduce_zero_label=True)
    assert labels(tmp_path / 'out') == {'x.png': b'\1' * 6}


@pytest.mark.parametrize(('reduce_zero_label', 'ids'), [(False, (4, 0, 2)), (True, (5, 1, 3))])
def test_a_choice_of_classes_is_put_back(tmp_path, reduce_zero_label, ids):
    chosen = {0: 1, 1: 255, 2: 2, 3: 255, 4: 0}  # classes 4, 0 and 2 of the files
    write(tmp_path / 'out', 'x.jpg', 'y.jpg', 'z.jpg', reduce_zero_label=reduce_zero_label, label_map=chosen)
    assert labels(tmp_path / 'out') == {f'{name}.png': bytes([i]) * 6 for name, i in zip('xyz', ids, strict=True)}


def test_predictions_of_a_run_that_was_cut_off_are_gone(tmp_path):
    PredictionFolder(tmp_path / 'out').write('val/old.jpg', np.zeros((2, 3), np.uint8), ('a',), False)
    write(tmp_path / 'out', 'val/x.jpg')
    assert list(labels(tmp_path / 'out')) == ['x.png']
    with pytest.raises(InputError, match='out exists already; name a new folder'):
        write(tmp_path / 'out', 'val/x.jpg')


@pytest.mark.parametrize('total', [0, 1, 2, 3, 4, 7, 30])
def test_extremes_are_those_of_all(total):
    """Ties are ordered by number. Only a few samples are kept."""
    mious = np.random.randint(0, 10, total).astype(float)
    blank = np.zeros((2, 2), np.uint8)
    kept, every = Extremes(2), Extremes(1000)
    for number, miou in enumerate(mious):
        for extremes in (kept, every):
            extremes.offer(dict(img_path='', mIoU=miou, aAcc=0.0), number, blank, blank)
    order = sorted(range(total), key=lambda number: (mious[number], number))
    chosen = best_and_worst(kept.samples, 2)
    assert len(kept.samples) == min(total, 4)
    assert [sample.number for sample in chosen['worst']] == order[: min(2, total // 2)]
    assert [sample.number for sample in chosen['best']] == order[total // 2 :][-2:][::-1]
    assert best_and_worst(every.samples, 2) == chosen


# -- in a training; tests/cli/test_new_config.py shows what one writes -------------------------------------------------


def test_a_training_does_not_start_over_results_of_others(tmp_path):
    (tmp_path / 'evaluation').mkdir()
    (tmp_path / 'evaluation/mine.txt').touch()
    runner = SimpleNamespace(work_dir=str(tmp_path), val_loop=None)
    EvaluationHook().before_train(runner)  # nothing will be written
    runner.val_loop = object()
    with pytest.raises(InputError, match=r'evaluation/mine\.txt is not as this command wrote it'):
        EvaluationHook().before_train(runner)


def test_a_training_goes_on_if_results_cannot_be_written(tmp_path):
    (tmp_path / 'evaluation').mkdir()
    (tmp_path / 'evaluation/mine.txt').touch()  # since it started
    metric, warnings = SegmentationMetric(), []
    metric.report, metric.samples = dict(per_class=[], per_image=[]), {}
    runner = SimpleNamespace(
        work_dir=str(tmp_path),
        iter=7,
        cfg=SimpleNamespace(filename=None),
        val_evaluator=SimpleNamespace(metrics=[metric]),
        logger=SimpleNamespace(warning=warnings.append),
    )
    EvaluationHook().after_val_epoch(runner)
    (text,) = warnings
    assert text.startswith(f'the results at iteration 7 are not written: {tmp_path}/evaluation/mine.txt is not as')
    assert {path.name for path in tmp_path.rglob('*')} == {'evaluation', 'mine.txt', '.test.lock'}
    shutil.rmtree(tmp_path / 'evaluation')
    EvaluationHook().after_val_epoch(runner)
    assert load(tmp_path)['checkpoint'] is None
    (tmp_path / 'iter_7.pth').touch()
    EvaluationHook().after_val_epoch(runner)
    assert load(tmp_path)['checkpoint'] == f'{tmp_path}/iter_7.pth'


def test_a_test_that_fails_leaves_no_predictions(config, tmp_path, monkeypatch):
    seen = []

    def fail(metric, results):
        seen.extend(tmp_path.glob('.*.partial'))
        raise InputError('no room')

    monkeypatch.setattr(SegmentationMetric, 'compute_metrics', fail)
    assert run(config, tmp_path / 'work', '--out', str(tmp_path / 'out')) == 2
    assert seen == [tmp_path / '.out.partial'] and not list(tmp_path.glob('.*')) and not (tmp_path / 'out').exists()


def test_a_process_that_fails_leaves_no_predictions(tmp_path):
    """As `mim test`, whose script knows nothing of the folder."""
    script = """
import numpy
from mmseg_bisenet.evaluation.predictions import PredictionFolder
PredictionFolder('out').write('a.jpg', numpy.zeros((2, 3), numpy.uint8), ('a',), False)
raise RuntimeError('in the middle')
"""
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]))
    command = [sys.executable, '-c', script]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 1 and 'in the middle' in ended.stderr and not list(tmp_path.iterdir())
