"""Steps of a pipeline that a score or a loss does not allow for are refused, and those of stock's configs are taken."""

import copy

import pytest
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmseg.datasets.transforms import RandomCrop

from mmseg_bisenet.config import check as config_check
from mmseg_bisenet.config import pipelines as config_pipelines
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.model_index import find_config
from mmseg_bisenet.registry import TRANSFORMS

IMAGE, LABELS, PACK = (dict(type=name) for name in ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs'))
RESIZE = dict(type='Resize', scale=(64, 32), keep_ratio=True)
CROP = dict(type='RandomCrop', crop_size=(16, 16))
RANDOM = 'moves pixels or changes them at random, which no score allows for; remove it from the evaluation'
FLIPPED = 'flips labels, and predictions are flipped back before they are compared; put LoadAnnotations after it'
EARLY = 'changes the image before its labels are loaded, and they would not fit; put LoadAnnotations before it'


@TRANSFORMS.register_module(name='RandomTurn')
class Own(BaseTransform):
    """A user's, whatever its name."""

    def transform(self, results: dict) -> dict:
        return results


Own.__module__ = 'own'
OWN = dict(type='mmseg_bisenet.RandomTurn')


def flip(prob: object = 1.0, **more: object) -> dict:
    return dict(type='RandomFlip', prob=prob, **more)


def views(*groups: list[dict]) -> dict:
    return dict(type='TestTimeAug', transforms=list(groups))


def of(steps: list[dict], key: str = 'test_dataloader', **model: object) -> Config:
    dataset = dict(type='BaseSegDataset', pipeline=copy.deepcopy(steps))
    place = dict(tta_pipeline=dataset['pipeline']) if key == 'tta_pipeline' else {key: dict(dataset=dataset)}
    metric = dict(type='mmseg_bisenet.SegmentationMetric')
    return Config(dict(place, val_evaluator=metric, test_evaluator=metric, model=dict(data_preprocessor=model)))


def refused(cfg: Config) -> str:
    with pytest.raises(InputError) as caught:
        config_pipelines.check(cfg)
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize('key', ['val_dataloader', 'test_dataloader'])
@pytest.mark.parametrize(
    ('steps', 'number', 'text'),
    [
        ([IMAGE, LABELS, flip(), PACK], 2, FLIPPED),
        ([IMAGE, LABELS, flip(0.5), PACK], 2, RANDOM),
        ([IMAGE, flip(0.5), LABELS, PACK], 1, RANDOM),
        ([IMAGE, CROP, LABELS, PACK], 1, RANDOM),
        ([IMAGE, dict(type=RandomCrop, crop_size=(16, 16)), LABELS, PACK], 1, RANDOM),
        ([IMAGE, dict(type='RandomRotate', prob=1.0, degree=(90, 90)), LABELS, PACK], 1, RANDOM),
        ([IMAGE, dict(type='mmcv.Pad', size=(64, 64)), LABELS, PACK], 1, RANDOM),
        ([IMAGE, dict(type='mmcv.CenterCrop', crop_size=(16, 16)), LABELS, PACK], 1, RANDOM),
        ([IMAGE, dict(type='PhotoMetricDistortion'), LABELS, PACK], 1, RANDOM),
        ([IMAGE, dict(type='mmseg_bisenet.RandomNoise'), LABELS, PACK], 1, RANDOM),
        ([IMAGE, flip(direction='diagonal'), LABELS, PACK], 1, 'predictions are not flipped back diagonally; give '),
        ([IMAGE, flip(), LABELS, dict(PACK, meta_keys=('img_path',))], 3, 'meta_keys needs flip and flip_direction, '),
        ([IMAGE, LABELS, dict(PACK, meta_keys=())], 2, 'meta_keys needs img_path, by which scores name their images'),
        ([IMAGE, flip(2.0), LABELS, PACK], 1, 'prob is 2.0; give a number from 0 to 1, or a list of them whose sum'),
    ],
)
def test_steps_of_an_evaluation(steps, number, text, key):
    found = refused(of(steps, key))
    assert found.startswith(f'config: {key}.dataset.pipeline.{number} (') and text in found


def test_a_training_needs_packed_samples():
    text = 'config: train_dataloader.dataset.pipeline has no PackSegInputs; add it as the last step'
    assert refused(of([IMAGE, LABELS, CROP], 'train_dataloader')) == text
    config_pipelines.check(of([IMAGE, LABELS, OWN], 'train_dataloader'))  # which may do it


@pytest.mark.parametrize(
    ('steps', 'text'),
    [
        ([IMAGE, LABELS], 'has no PackSegInputs; add it as the last step'),
        ([IMAGE, PACK], 'loads no labels, which test_evaluator needs; add LoadAnnotations'),
        ([LABELS, PACK], 'loads no image; add LoadImageFromFile as its first step'),
    ],
)
def test_a_step_that_is_missing(steps, text):
    assert refused(of(steps)) == f'config: test_dataloader.dataset.pipeline {text}'
    assert refused(of([*steps, views([RESIZE])], 'tta_pipeline')) == f'config: tta_pipeline {text}'
    cfg = of([*steps, OWN])
    config_pipelines.check(cfg)  # which may do it
    cfg = of(steps)
    cfg.test_dataloader.dataset.type = dict  # a user's data set
    config_pipelines.check(cfg)


def test_no_labels_are_needed_for_results_only():
    cfg = of([IMAGE, PACK])
    cfg.test_evaluator.format_only = True
    config_pipelines.check(cfg)


@pytest.mark.parametrize(
    ('steps', 'at', 'text'),
    [
        (
            [IMAGE, views([dict(type='RandomRotate', prob=1.0, degree=90)], [LABELS], [PACK])],
            '1.transforms.0.0',
            RANDOM,
        ),
        ([IMAGE, views([CROP], [LABELS], [PACK])], '1.transforms.0.0', RANDOM),
        ([IMAGE, LABELS, views([flip(0.0), flip()], [PACK])], '2.transforms.0.1', FLIPPED),
        ([IMAGE, views([LABELS], [flip()], [PACK])], '1.transforms.1.0', FLIPPED),
        ([IMAGE, views([flip(direction='diagonal')], [LABELS], [PACK])], '1.transforms.0.0', 'not flipped back diagon'),
        (
            [IMAGE, views([views([LABELS])], [PACK])],
            '1.transforms.0.0',
            'is the second one; put all views in tta_pipeli',
        ),
        ([IMAGE, views([LABELS], [PACK]), views([RESIZE])], '2', 'is the second one; put all views in tta_pipeline.1'),
        ([IMAGE, LABELS, PACK], '', 'config: tta_pipeline has no TestTimeAug, which gives the views; add one'),
    ],
)
def test_views(steps, at, text):
    found = refused(of(steps, 'tta_pipeline'))
    assert text in found and (not at or found.startswith(f'config: tta_pipeline.{at} ('))


@pytest.mark.parametrize(
    'step',
    [
        *(flip(0.5), CROP, RESIZE, dict(type='RandomRotate', prob=0.5, degree=10)),
        dict(type='mmseg_bisenet.RandomResizedCrop', crop_size=(16, 16), scale=(64, 32)),
        dict(type='RandomApply', prob=0.5, transforms=[dict(type='mmcv.Pad', size=(64, 64))]),
    ],
    ids=lambda step: step['type'],
)
def test_labels_of_a_training_come_first(step):
    found = refused(of([IMAGE, step, LABELS, PACK], 'train_dataloader'))
    assert found.startswith('config: train_dataloader.dataset.pipeline.1') and found.endswith(EARLY)
    config_pipelines.check(of([IMAGE, LABELS, step, PACK], 'train_dataloader'))


@pytest.mark.parametrize('prob', [2, -1, float('inf'), '1', [0.7, 0.7], [0.5, -0.1]])
def test_probabilities(prob):
    found = refused(of([IMAGE, LABELS, flip(prob), PACK], 'train_dataloader'))
    assert found.startswith(
        f'config: train_dataloader.dataset.pipeline.2 (RandomFlip): prob is {prob!r}; give a number'
    )


def test_normalised_once():
    steps = [IMAGE, dict(type='mmcv.Normalize', mean=[0, 0, 0], std=[1, 1, 1]), LABELS, PACK]
    for key in ('train_dataloader', 'test_dataloader'):
        found = refused(of(steps, key, mean=[1, 2, 3], std=[1, 1, 1]))
        assert found.endswith('.1 (Normalize): model.data_preprocessor normalises images too; remove one of them')
        assert 'both swap red and blue; set to_rgb=False' in refused(of(steps, key, bgr_to_rgb=True))
        config_pipelines.check(of(steps, key))
    steps[1] = dict(steps[1], to_rgb=False)
    config_pipelines.check(of(steps, bgr_to_rgb=True))


@pytest.mark.parametrize(
    ('steps', 'key'),
    [
        ([IMAGE, RESIZE, LABELS, PACK], 'test_dataloader'),
        ([IMAGE, flip(), LABELS, PACK], 'test_dataloader'),
        ([IMAGE, LABELS, flip(0.0), flip(None), PACK], 'test_dataloader'),
        ([IMAGE, OWN, LABELS, OWN, PACK], 'test_dataloader'),
        ([IMAGE, OWN, LABELS, PACK], 'train_dataloader'),
        ([IMAGE, flip(0.0), dict(type='PhotoMetricDistortion'), LABELS, PACK], 'train_dataloader'),
        ([IMAGE, LABELS, flip([0.5, 0.5], direction=['horizontal', 'vertical']), PACK], 'train_dataloader'),
        ([IMAGE, views([RESIZE, RESIZE], [flip(0.0), flip(1.0)], [LABELS], [PACK])], 'tta_pipeline'),
        ([IMAGE, OWN], 'tta_pipeline'),
    ],
)
def test_what_fits(steps, key):
    config_pipelines.check(of(steps, key))


def test_inside_wrappers():
    cfg = of([IMAGE, CROP, LABELS, PACK])
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[cfg.test_dataloader.dataset])
    assert refused(cfg).startswith('config: test_dataloader.dataset.datasets.0.pipeline.1 (RandomCrop) ')


def test_with_the_other_checks():
    cfg = Config.fromfile(find_config('bisenetv2_fcn_1xb8-400it_miniscapes-128x256'))
    cfg.val_dataloader.dataset.pipeline.insert(1, dict(type='CenterCrop', crop_size=(16, 16)))
    with pytest.raises(InputError, match=r'^config: val_dataloader\.dataset\.pipeline\.1 \(CenterCrop\) moves pixels'):
        config_check.check(cfg)


def test_stock_configs_fit(stock_configs):
    """One of each method, for each data set."""
    paths = [path for path in sorted(stock_configs.glob('*/*.py')) if path.parent.name != '_base_']
    found = {(path.parent.name, path.stem.split('_')[-1]): path for path in paths if path.parent.name in STOCK}
    assert len(found) > 15
    for (_, data), path in found.items():
        if data != CROPPED:
            config_pipelines.check(Config.fromfile(path))


CROPPED = 'hsidrive-192x384'  # the fork's validation crops images at random, and not their labels
STOCK = {'bisenetv1', 'bisenetv2', 'pidnet', 'fcn', 'unet', 'segformer'}
