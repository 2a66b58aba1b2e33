"""Fields that contradict each other are refused before anything is built."""

import copy

import pytest
from mmengine.config import Config

from mmseg_bisenet.config_rules import check_together
from mmseg_bisenet.errors import InputError

OURS = dict(type='mmseg_bisenet.SegmentationMetric')
STOCK = dict(type='IoUMetric', iou_metrics=['mIoU', 'mFscore'])
TWICE = 'config: val_evaluator.1 and another metric both compute '


def of(evaluator, best=None) -> Config:
    return Config(dict(val_evaluator=copy.deepcopy(evaluator), default_hooks=dict(checkpoint=dict(save_best=best))))


@pytest.mark.parametrize(
    ('evaluator', 'best', 'text'),
    [
        (OURS, 'mIoU', None),
        (OURS, 'auto', None),
        (OURS, ['mIoU', 'aAcc'], None),
        (STOCK, 'mPrecision', None),
        (dict(type='IoUMetric', iou_metrics='mDice'), 'mDice', None),
        (dict(OURS, prefix='a'), 'a/mIoU', None),
        (dict(OURS, boundary=True), 'boundary_mIoU', None),
        (dict(type='Other'), 'anything', None),
        ([OURS, dict(OURS, prefix='a')], 'a/mIoU', None),
        (
            OURS,
            'mIuO',
            "save_best is 'mIuO', and val_evaluator computes FWIoU, aAcc, mAcc, mIoU; give one of its scores",
        ),
        (STOCK, 'boundary_mIoU', "save_best is 'boundary_mIoU', and val_evaluator computes "),
        (dict(OURS, prefix='a'), 'mIoU', "save_best is 'mIoU', and val_evaluator computes a/FWIoU, a/aAcc"),
        ([OURS, OURS], None, TWICE),
        ([OURS, STOCK], None, TWICE),
    ],
)
def test_scores(evaluator, best, text):
    if text is None:
        check_together(of(evaluator, best))
        return
    with pytest.raises(InputError) as caught:
        check_together(of(evaluator, best))
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ('weights', 'right'), [([1, 2, 3], True), ('weights.npy', True), (None, True), ([1, 2], False)]
)
def test_class_weights(weights, right):
    cfg = Config(dict(model=dict(num_classes=3, decode_head=dict(loss_decode=dict(class_weight=weights)))))
    if right:
        check_together(cfg)
        return
    with pytest.raises(InputError, match=r'^config: model\.decode_head\.loss_decode\.class_weight has 2 numbers, and '):
        check_together(cfg)


def test_two_sizes():
    with pytest.raises(InputError, match=r'^config: model.data_preprocessor has size and size_divisor; remove one of'):
        check_together(Config(dict(model=dict(data_preprocessor=dict(size=(64, 64), size_divisor=32)))))
