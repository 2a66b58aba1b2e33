"""Fields of a config that contradict each other are refused, and those that another one switches off are named."""

import copy

import pytest
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler

from mmseg_bisenet.config import check as config_check
from mmseg_bisenet.config import rules as config_rules
from mmseg_bisenet.errors import InputError

EPOCHS = dict(train_cfg=dict(_delete_=True, by_epoch=True, max_epochs=1))
EPOCH_LOOP = dict(train_cfg=dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=1))
ITERATIONS = dict(train_cfg=dict(_delete_=True, by_epoch=False, max_iters=4))


class Own(InfiniteSampler):
    """Registered nowhere."""


def train_sampler(kind: object) -> dict:
    return dict(train_dataloader=dict(sampler=dict(type=kind)))


def schedule(*schedulers: dict) -> dict:
    return dict(param_scheduler=list(schedulers))


REFUSED = {
    'our endless sampler, by epochs': (
        EPOCHS,
        'train_dataloader.sampler.type is ResumableSampler, which never ends, and so a training by epochs would not; '
        'give DefaultSampler',
    ),
    'the type of a loop by epochs': (EPOCH_LOOP, 'train_dataloader.sampler.type is ResumableSampler, which never ends'),
    "MMEngine's": (EPOCHS | train_sampler('InfiniteSampler'), 'train_dataloader.sampler.type is InfiniteSampler'),
    'a class': (EPOCHS | train_sampler(Own), 'train_dataloader.sampler.type is Own, which never ends'),
    'a validation': (
        dict(val_dataloader=dict(sampler=dict(type='InfiniteSampler'))),
        'val_dataloader.sampler.type is InfiniteSampler, which never ends, and so a validation would not; give Def',
    ),
    'a test': (
        dict(test_dataloader=dict(sampler=dict(type='mmseg_bisenet.ResumableSampler'))),
        'test_dataloader.sampler.type is ResumableSampler, which never ends, and so a test would not; give Def',
    ),
    'a schedule by epoch': (
        schedule(dict(type='PolyLR', power=0.9)),
        'param_scheduler.0 counts epochs, and this training iterations, so PolyLR would change nothing; set '
        'param_scheduler.0.by_epoch=False',
    ),
    'the second schedule by epoch': (
        ITERATIONS | schedule(dict(type='LinearLR', by_epoch=False), dict(type='MultiStepLR', milestones=[2])),
        'param_scheduler.1 counts epochs, and this training iterations, so MultiStepLR would change nothing',
    ),
    'the one schedule by epoch': (dict(param_scheduler=dict(type='PolyLR')), 'param_scheduler counts epochs, and this'),
    'a frozen part and a smallest rate': (
        dict(optim_wrapper=dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0)))))
        | schedule(dict(type='PolyLR', eta_min=1e-4, by_epoch=False)),
        'param_scheduler.0.eta_min is 0.0001, to which PolyLR raises the rate of '
        'optim_wrapper.paramwise_cfg.custom_keys.backbone, whose lr_mult is 0; set param_scheduler.0.eta_min=0',
    ),
    'two sizes': (
        dict(test_pipeline=[dict(type='Resize', scale=(64, 32), scale_factor=0.5)]),
        'test_pipeline.0 has a scale, so scale_factor changes nothing; remove one',
    ),
    'a score that is not there': (
        dict(custom_hooks=[dict(type='EarlyStoppingHook', monitor='miou')]),
        "custom_hooks.0.monitor is 'miou', and val_evaluator computes FWIoU, aAcc, mAcc, mIoU, so it would never stop;",
    ),
    'two averages': (
        dict(custom_hooks=[dict(type='EMAHook'), dict(type='mmengine.EMAHook', ema_type='MomentumAnnealingEMA')]),
        'custom_hooks.1 averages the weights, and custom_hooks.0 does too; remove one of them',
    ),
    'a hook of ours twice': (
        dict(custom_hooks=[dict(type='EMAHook'), dict(type='mmseg_bisenet.EvaluationHook')]),
        'custom_hooks.1 is default_hooks.scores already; remove it',
    ),
    'nothing saved': (
        dict(default_hooks=dict(checkpoint=dict(interval=500, save_last=False, save_best=None))),
        'default_hooks.checkpoint.interval is 500, and the training ends at 400, so no checkpoint would be written; '
        'lower interval, or set save_last=True',
    ),
    'the worst is kept': (
        dict(default_hooks=dict(checkpoint=dict(save_best='mIoU', rule='less'))),
        "default_hooks.checkpoint.rule is 'less', and more is better for mIoU; set it to greater",
    ),
    'the best lowers the rate': (
        schedule(dict(type='ReduceOnPlateauLR', monitor='mIoU')),
        "param_scheduler.0.rule is 'less', and more is better for mIoU; set it to greater",
    ),
    'the worst ends the training': (
        dict(custom_hooks=[dict(type='EarlyStoppingHook', monitor='mIoU', rule='less')]),
        "custom_hooks.0.rule is 'less', and more is better for mIoU; set it to greater",
    ),
}
TAKEN = {
    'by epochs': EPOCHS | train_sampler('DefaultSampler') | schedule(dict(type='PolyLR')),
    'a warm-up by iteration, by epochs': EPOCHS
    | train_sampler('DefaultSampler')
    | schedule(dict(type='LinearLR', by_epoch=False), dict(type='PolyLR')),
    'epochs that are converted': schedule(dict(type='PolyLR', end=1, convert_to_iter_based=True)),
    'a plateau': schedule(dict(type='ReduceOnPlateauLR', monitor='mIoU', rule='greater')),
    'endless iterations': ITERATIONS | train_sampler('InfiniteSampler'),
    'checkpoints in two places': dict(custom_hooks=[dict(type='mmseg_bisenet.AtomicCheckpointHook', out_dir='b')]),
    'one average': dict(custom_hooks=[dict(type='EMAHook')]),
    'the best saved only': dict(default_hooks=dict(checkpoint=dict(interval=500, save_last=False, save_best='mIoU'))),
    'the last saved only': dict(default_hooks=dict(checkpoint=dict(interval=500, save_last=True, save_best=None))),
    'less of the loss': dict(custom_hooks=[dict(type='EarlyStoppingHook', monitor='loss', rule='less')]),
    'one size': dict(test_pipeline=[dict(type='Resize', scale_factor=0.5)]),
}


def changed(cfg: Config, changes: dict) -> Config:
    """Schedulers are replaced; the rest is merged, which takes `_delete_` out of what it gets."""
    changes = copy.deepcopy(changes)
    cfg.param_scheduler = changes.pop('param_scheduler', cfg.param_scheduler)
    cfg.merge_from_dict(changes)
    return cfg


@pytest.mark.parametrize('name', REFUSED)
def test_contradictions(name, cfg):
    changes, text = REFUSED[name]
    with pytest.raises(InputError) as caught:
        config_check.check(changed(cfg, changes))
    assert str(caught.value).startswith(f'config: {text}') and '\n' not in str(caught.value)


@pytest.mark.parametrize('name', TAKEN)
def test_what_fits(name, cfg):
    config_check.check(changed(cfg, TAKEN[name]))


@pytest.mark.parametrize(
    ('model', 'notes'),
    [
        (dict(), []),
        (
            dict(test_cfg=dict(mode='whole', crop_size=(64, 64), scales=(1.0,))),
            [
                'model.test_cfg.crop_size changes nothing, because mode is whole; slide, ssc, mscf read it',
                'model.test_cfg.scales changes nothing, because mode is whole; msf, mscf read it',
            ],
        ),
        (dict(test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(32, 32))), []),
        (dict(test_cfg=dict(mode='mscf', crop_size=(64, 64), stride=(32, 32), scales=(1.0,))), []),
        (
            dict(decode_head=dict(threshold=0.9)),
            ['model.decode_head.threshold changes nothing for 19 outputs; a head of one reads it'],
        ),
        (dict(num_classes=2, decode_head=dict(out_channels=1, threshold=0.3)), []),
        (dict(decode_head=dict(loss_decode=dict(type='mmseg_bisenet.OHEMCrossEntropyLoss', threshold=0.7))), []),
    ],
)
def test_notes(model, notes, cfg):
    cfg.merge_from_dict(dict(model=model))
    assert config_rules.notes(cfg) == notes


@pytest.mark.parametrize(('begin', 'notes'), [(400, []), (401, ['train_cfg.val_begin is 401, and the training ends'])])
def test_no_evaluation(begin, notes, cfg):
    cfg.train_cfg.val_begin = begin
    found = config_rules.notes(cfg)
    assert len(found) == len(notes) and all(map(str.startswith, found, notes))


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
        config_rules.check(of(evaluator, best))
        return
    with pytest.raises(InputError) as caught:
        config_rules.check(of(evaluator, best))
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ('weights', 'right'), [([1, 2, 3], True), ('weights.npy', True), (None, True), ([1, 2], False)]
)
def test_class_weights(weights, right):
    cfg = Config(dict(model=dict(num_classes=3, decode_head=dict(loss_decode=dict(class_weight=weights)))))
    if right:
        config_rules.check(cfg)
        return
    with pytest.raises(InputError, match=r'^config: model\.decode_head\.loss_decode\.class_weight has 2 numbers, and '):
        config_rules.check(cfg)


def test_two_sizes():
    with pytest.raises(InputError, match=r'^config: model.data_preprocessor has size and size_divisor; remove one of'):
        config_rules.check(Config(dict(model=dict(data_preprocessor=dict(size=(64, 64), size_divisor=32)))))
