"""The metric agrees with stock and with the official Cityscapes script, and counts each image once."""

import json
import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official
from cityscapesscripts.helpers.labels import labels as official_labels
from mmseg.datasets import CityscapesDataset
from mmseg.evaluation import IoUMetric
from mmseg.evaluation.metrics import iou_metric

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.evaluation import SegmentationMetric, boundary, confusion, segmentation_metric
from mmseg_bisenet.evaluation.predictions import LABEL_IDS
from mmseg_bisenet.miniscapes.classes import train_ids

SHAPE = (48, 64)
CITYSCAPES = CityscapesDataset.METAINFO


def corrupt(truth: np.ndarray, classes: int, share: float = 0.3) -> np.ndarray:
    """Add blocks of other classes, so that there are boundaries."""
    height, width = truth.shape
    ids, wrong = (np.random.rand(height // 8 + 1, width // 8 + 1) for _ in range(2))
    blocks = [cv2.resize(noise, (width, height), interpolation=cv2.INTER_NEAREST) for noise in (ids, wrong)]
    guess = (blocks[0] * classes).astype(np.uint8)
    return np.where((blocks[1] < share) | (truth == 255), guess, truth)


def pairs(count: int, classes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Truth and prediction of images. The last class does not occur; the first rows of the first image are ignored."""
    truths = [corrupt(np.zeros(SHAPE, np.uint8), classes - 1, 1) for _ in range(count)]
    truths[0][:10] = 255
    return [(truth, corrupt(truth, classes - 1)) for truth in truths]


def sample(number: int, truth: np.ndarray, prediction: np.ndarray, folder: str = 'images') -> dict:
    """A sample as the evaluator passes it."""
    return dict(
        img_path=f'{folder}/{number}.png',
        gt_sem_seg=dict(data=torch.from_numpy(truth)[None]),
        pred_sem_seg=dict(data=torch.from_numpy(prediction)[None].long()),
    )


def metric(kind: type = SegmentationMetric, classes: int = 5, samples: int = 0, **options):
    made = kind(**options)
    made.dataset_meta = dict(classes=tuple(map(str, range(classes))), palette=[[0, 0, 0]] * classes)
    if samples:
        made.extremes.count = samples
    return made


def evaluate(made, images: list[dict], size: int | None = None) -> dict[str, float]:
    for image in images:
        made.process({}, [image])
    return made.evaluate(size or len(images))


@pytest.fixture(autouse=True)
def log(monkeypatch) -> list[str]:
    """The log lines, also those of stock."""
    lines = []
    for module in (segmentation_metric, iou_metric):
        monkeypatch.setattr(module, 'print_log', lambda message, *_, **__: lines.append(message))
    return lines


@pytest.mark.parametrize('classes', [3, 5, 171])
def test_equals_stock(classes, log):
    """Scores, their order, and the table in the log."""
    images = [sample(i, *pair) for i, pair in enumerate(pairs(4, classes))]
    ours, stock = (evaluate(metric(kind, classes), images) for kind in (SegmentationMetric, IoUMetric))
    assert ours.pop('FWIoU') > 0
    assert ours == {key: round(float(value), 2) for key, value in stock.items()}
    assert list(ours) == list(stock)
    assert len(log) == 4 and log[:2] == log[2:]


def test_full_precision_equals_stock_areas():
    data = pairs(4, 5)
    made = metric()
    evaluate(made, [sample(i, *pair) for i, pair in enumerate(data)])
    areas = [IoUMetric.intersect_and_union(*map(torch.from_numpy, pair[::-1]), 5, 255) for pair in data]
    right, union, _, truth = (sum(area).double().numpy() for area in zip(*areas, strict=True))
    right, union, truth = right[:4], union[:4], truth[:4]  # the last class does not occur
    for key, wanted in (('IoU', right / union), ('Acc', right / truth), ('pixels', truth / truth.sum())):
        found = [row[key] for row in made.report['per_class'][:4]]
        np.testing.assert_allclose(found, 100 * wanted, rtol=1e-12)
    weighted = (truth / truth.sum() * right / union).sum()
    assert made.report['summary']['FWIoU'] == pytest.approx(100 * weighted, rel=1e-12)
    assert np.sum(made.report['confusion']) == truth.sum()


def test_an_images_scores_are_those_of_it_alone():
    data = pairs(3, 5)
    made = metric()
    evaluate(made, [sample(i, *pair) for i, pair in enumerate(data)])
    for i, (row, pair) in enumerate(zip(made.report['per_image'], data, strict=True)):
        alone = metric()
        evaluate(alone, [sample(i, *pair)])
        assert row == {'img_path': f'images/{i}.png', **{key: alone.report['summary'][key] for key in ('mIoU', 'aAcc')}}


def test_ids_are_the_official_ones():
    assert LABEL_IDS == tuple(label.id for label in official_labels if label.trainId in range(19))


def assert_equal_to_the_official_script(folder: Path, truths: list[Path], report: dict) -> None:
    """Compare our scores with those that the official script computes from the files for the test server."""
    with pytest.MonkeyPatch.context() as patch:
        options = dict(predictionPath=str(folder), predictionWalk=None, evalInstLevelScore=False, JSONOutput=False)
        for name, value in (options | dict(quiet=True)).items():
            patch.setattr(official.args, name, value)
        predictions = [official.getPrediction(official.args, str(path)) for path in truths]
        judged = official.evaluateImgLists(predictions, [str(path) for path in truths], official.args)
    assert len(os.listdir(folder)) == len(truths) == 9
    assert report['summary']['mIoU'] == pytest.approx(100 * judged['averageScoreClasses'], abs=1e-6)
    found = {row['class']: math.nan if row['IoU'] is None else row['IoU'] for row in report['per_class']}
    wanted = {name: 100 * judged['classScores'][name] for name in found}
    assert found == pytest.approx(wanted, abs=1e-6, nan_ok=True)


def test_equals_the_official_script(drawn, tmp_path):
    """On synthetic scenes with predictions of all 19 classes, from the files for the test server."""
    truths = sorted(drawn.glob('miniscapes/gtFine/*/*/*_labelIds.png'))
    made = SegmentationMetric(output_dir=str(tmp_path / 'labels'))
    made.dataset_meta = CITYSCAPES
    images = []
    for path in truths:
        truth = train_ids(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        image = sample(0, truth, corrupt(truth, 19))
        images.append(image | dict(img_path=str(path).replace('gtFine', 'leftImg8bit').replace('_labelIds', '')))
    evaluate(made, images)
    assert_equal_to_the_official_script(tmp_path / 'labels', truths, made.report)
    assert not np.isnan([row['IoU'] for row in made.report['per_class']]).any()


@pytest.mark.parametrize('processes', [1, 2, 3, 4])
@pytest.mark.parametrize('size', [1, 5, 8])
@pytest.mark.parametrize('batch', [1, 3])
def test_processes_count_what_one_counts(size, processes, batch, monkeypatch):
    """Run each process separately on its images of stock's sampler, and combine the results by plain code."""
    images = [sample(i, *pair) for i, pair in enumerate(pairs(size, 5))]
    whole = metric(boundary=True, samples=2)
    wanted = evaluate(whole, images)
    total = -(-size // processes) * processes
    everyone = []
    for rank in range(processes):
        monkeypatch.setattr(segmentation_metric, 'get_dist_info', lambda rank=rank: (rank, processes))
        own = [images[i % size] for i in range(rank, total, processes)]
        everyone.append(metric(boundary=True, samples=2))
        for start in range(0, len(own), batch):
            everyone[-1].process({}, own[start : start + batch])

    gathered = []

    def all_reduce(counts):
        gathered.append(counts.numpy().copy())

    def all_gather_object(part):
        gathered.append(list(part))
        return [part]

    parts = []
    with monkeypatch.context() as patch:
        patch.setattr(segmentation_metric, 'all_reduce', all_reduce)
        patch.setattr(segmentation_metric, 'all_gather_object', all_gather_object)
        for rank, made in enumerate(everyone):
            patch.setattr(segmentation_metric, 'get_dist_info', lambda rank=rank: (rank, processes))
            gathered.clear()
            made.evaluate(size)
            parts.append(list(gathered))
    matrix, contours, rows, samples = zip(*parts, strict=True)
    last = metric(boundary=True, samples=2)
    sums, lists = iter([sum(matrix), sum(contours)]), iter([rows, samples])
    monkeypatch.setattr(segmentation_metric, 'all_reduce', lambda counts: counts.copy_(torch.from_numpy(next(sums))))
    monkeypatch.setattr(segmentation_metric, 'all_gather_object', lambda part: next(lists))
    assert last.evaluate(size) == wanted
    assert json.dumps(last.report) == json.dumps(whole.report)
    assert last.samples == whole.samples


def test_skipped_images_do_not_count(tmp_path):
    data = pairs(3, 5)
    images = [sample(i, *pair) for i, pair in enumerate(data)]
    skipped = dict(img_path='images/bad.png', reason='no image')
    made, wanted = metric(output_dir=str(tmp_path / 'labels')), metric()
    assert evaluate(made, [*images[:2], images[2] | dict(skipped=skipped), images[2]]) == evaluate(wanted, images)
    assert json.dumps(made.report) == json.dumps(wanted.report | dict(skipped=[skipped]))
    assert len(os.listdir(tmp_path / 'labels')) == 3


def test_each_evaluation_starts_anew():
    images = [sample(i, *pair) for i, pair in enumerate(pairs(3, 5))]
    made = metric(boundary=True)
    assert evaluate(made, images) == evaluate(made, images)


def test_ids_that_are_no_class():
    truth, prediction = pairs(1, 5)[0]
    for wrong, text in (
        (
            sample(7, truth, prediction + np.uint8(9)),
            'images/7.png: the prediction has ids 9, 10, 11, 12 outside the 5',
        ),
        (sample(7, np.full_like(truth, 200), prediction), 'images/7.png: the label has ids 200 outside the 5 classes'),
    ):
        with pytest.raises(InputError, match=text):
            evaluate(metric(), [wrong])


@pytest.mark.parametrize('wrong', [256 + 1, -1])
def test_ids_that_8_bits_do_not_hold(wrong, tmp_path):
    """As 8 bits, 257 would be class 1."""
    right = sample(7, *pairs(1, 5)[0])
    for key, what in (('pred_sem_seg', 'prediction'), ('gt_sem_seg', 'label')):
        data = right[key]['data'].long().clone()
        data[0, 20, 20] = wrong
        with pytest.raises(
            InputError, match=rf'^images/7\.png: the {what} has ids from .*{wrong}.*, but labels have 8 bits'
        ):
            evaluate(metric(), [right | {key: dict(data=data)}])
        if what == 'prediction':
            with pytest.raises(InputError, match='but labels have 8 bits; give ids from 0 to 255'):
                evaluate(metric(format_only=True, output_dir=str(tmp_path / 'out')), [right | {key: dict(data=data)}])


def test_a_label_of_another_size_than_the_prediction():
    truth, prediction = pairs(1, 5)[0]
    text = r'^images/7\.png: the label is 32x24 and the prediction 64x48 \(width x height\); put LoadAnnotations after'
    with pytest.raises(InputError, match=text):
        evaluate(metric(), [sample(7, truth[::2, ::2], prediction)])


def test_a_stock_configs_arguments():
    """Setting `test_evaluator.type` is enough to use ours."""
    images = [sample(0, *pairs(1, 5)[0])]
    assert evaluate(metric(iou_metrics=['mIoU']), images) == evaluate(metric(), images)
    with pytest.raises(InputError, match=r"iou_metrics is \['mIoU', 'mDice'\], but it computes only mIoU; remove"):
        metric(iou_metrics=['mIoU', 'mDice'])


def test_image_without_truth_has_no_score():
    made = metric()
    truth, prediction = pairs(1, 5)[0]
    scores = evaluate(made, [sample(0, np.full_like(truth, 255), prediction)])
    assert all(np.isnan(score) for score in scores.values())


def plain_boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """The pixels that an erosion by a square of ``distance`` removes. Outside the image, the mask is empty."""
    inside = np.pad(mask, distance)
    windows = np.lib.stride_tricks.sliding_window_view(inside, (2 * distance + 1,) * 2)
    return mask & ~windows.all((2, 3))


@pytest.mark.parametrize('shape', [(48, 64), (16, 200), (7, 9)])
def test_boundary_iou_class_by_class(shape):
    truth = corrupt(np.zeros(shape, np.uint8), 4, 1)
    prediction = corrupt(truth, 4)
    truth[:2, 3:] = 255
    distance = max(1, round(0.02 * np.hypot(*shape)))
    found = boundary.count_boundary(truth, prediction, 255)
    for label in range(5):
        a, b = (plain_boundary((ids == label) & (truth != 255), distance) for ids in (truth, prediction))
        assert found[:, label].tolist() == [(a & b).sum(), (a | b).sum()]


def test_boundary_iou_of_an_image():
    """A square of 40x40 in an image of 100x100, d = 3; the prediction is shifted by 3 pixels to the right."""
    truth, prediction = np.zeros((2, 100, 100), np.uint8)
    truth[20:60, 20:60] = prediction[20:60, 23:63] = 1
    made = metric(classes=2, boundary=True)
    evaluate(made, [sample(0, truth, prediction)])
    ring = 40 * 40 - 34 * 34
    both = 2 * 3 * 37  # only of the upper and the lower side
    assert made.report['per_class'][1]['boundary_IoU'] == pytest.approx(100 * both / (2 * ring - both))
    evaluate(made, [sample(0, truth, truth)])
    assert made.report['summary']['boundary_mIoU'] == 100


def test_an_ignored_class_has_no_boundary_iou():
    """Class 2 of 3 is ignored: its pixels do not count, neither in the truth nor in the prediction."""
    truth, prediction = np.zeros((2, 100, 100), np.uint8)
    truth[20:60, 20:60] = prediction[20:60, 20:60] = 1
    truth[70:] = 2
    prediction[:10] = 2
    made = metric(classes=3, boundary=True, ignore_index=2)
    evaluate(made, [sample(0, truth, prediction)])
    zero, one, two = (row['boundary_IoU'] for row in made.report['per_class'])
    assert one == 100 and 0 < zero < 100 and np.isnan(two)
    assert made.report['summary']['boundary_mIoU'] == (zero + one) / 2


def test_counts_are_exact_where_float32_is_not():
    """2**24 + 1 pixels of one class."""
    made = metric(classes=2)
    labels = np.zeros((4097, 4097), np.uint8)
    evaluate(made, [sample(0, labels, labels)])
    assert made.report['confusion'] == [[4097**2, 0], [0, 0]]
    assert confusion.summary(np.array([[4097**2, 1], [0, 0]]))['aAcc'] < 100


def test_samples_ignore_what_the_metric_ignores():
    """The ignored id is 255 in the samples, whatever it is in the data set."""
    truth = np.full(SHAPE, 4, np.uint8)
    truth[:10] = 1
    made = metric(ignore_index=4, samples=1)
    evaluate(made, [sample(0, truth, np.ones(SHAPE, np.uint8))])
    (best,) = (found for kind in made.samples.values() for found in kind)
    written = cv2.imdecode(np.frombuffer(best.truth, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(written, np.where(truth == 4, 255, truth))


def test_predictions_of_two_evaluations_do_not_mix(tmp_path):
    made = metric(output_dir=str(tmp_path / 'out'))
    pair = pairs(1, 5)[0]
    evaluate(made, [sample(0, *pair)])
    before = [path.read_bytes() for path in (tmp_path / 'out').rglob('*.png')]
    made.process({}, [sample(0, *pair)])
    with pytest.raises(InputError, match='out exists already; name a new folder for predictions, or remove it'):
        made.evaluate(1)
    assert [path.read_bytes() for path in (tmp_path / 'out').rglob('*.png')] == before


@pytest.mark.parametrize('data', [torch.full((1, 4, 6), 0.9), torch.zeros(1, 0, 6, dtype=torch.long)])
def test_ids_are_integers(data):
    right = torch.zeros(1, 4, 6, dtype=torch.long)
    for name, what in (('pred_sem_seg', 'the prediction'), ('gt_sem_seg', 'the label')):
        one = dict(img_path='a.png', pred_sem_seg=dict(data=right), gt_sem_seg=dict(data=right)) | {
            name: dict(data=data)
        }
        kind = str(data.dtype).removeprefix('torch.')
        with pytest.raises(InputError) as caught:
            metric().process({}, [one])
        assert str(caught.value) == f'a.png: {what} is {kind} {tuple(data.shape)}; give integers (H, W)'
