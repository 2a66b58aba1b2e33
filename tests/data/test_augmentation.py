"""Our random transforms against the stock ones, from the same seeds: the same draws and the same result.

The numbers that are drawn are equal, one by one, so no distribution needs a test of its own.
"""

import cv2
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmengine.registry import DefaultScope

from mmseg_bisenet.data.augmentation import LEVELS, PhotoMetricDistortion, RandomResizedCrop
from mmseg_bisenet.errors import InputError

RANGE = dict(scale=(128, 64), ratio_range=(0.5, 2.0))
BETWEEN = dict(scale=[(100, 40), (200, 90)])
SCALES = dict(scales=[(96, 48), (128, 64), (160, 80), (192, 96), (224, 112), (256, 128)])


def scene(height: int, width: int, hard: bool = False) -> dict:
    """What the loaders hand on: a smooth image, or one of black and white dots, where a shift shows most."""
    image = np.random.randint(0, 2 if hard else 256, (height, width, 3)).astype(np.uint8) * (255 if hard else 1)
    if not hard:
        image = cv2.GaussianBlur(image, (0, 0), 2)
    label = cv2.resize(np.random.randint(0, 4, (4, 6), dtype=np.uint8), (width, height), interpolation=0)
    label[label == 3] = 255
    return dict(img=image, gt_seg_map=label, seg_fields=['gt_seg_map'], img_shape=(height, width))


def stock(*steps: dict) -> Compose:
    with DefaultScope.overwrite_default_scope('mmseg'):
        return Compose(list(steps))


def stock_crop(resize: dict, **crop) -> Compose:
    kind = 'RandomChoiceResize' if 'scales' in resize else 'RandomResize'
    return stock(dict(type=kind, keep_ratio=True, **resize), dict(type='RandomCrop', **crop))


def both(ours, theirs, results: dict, seed: int) -> tuple[dict, dict]:
    """The two results from one seed; each leaves the generator at the same place."""
    outcome = []
    for transform in (ours, theirs):
        np.random.seed(seed)
        given = {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in results.items()}
        outcome.append((transform(given), np.random.random()))
    (mine, next_mine), (stocks, next_stocks) = outcome
    assert next_mine == next_stocks
    return mine, stocks


def difference(mine: np.ndarray, stocks: np.ndarray) -> np.ndarray:
    assert mine.dtype == stocks.dtype == np.uint8
    return cv2.absdiff(np.ascontiguousarray(mine), np.ascontiguousarray(stocks))


@pytest.mark.parametrize('hard', [False, True])
@pytest.mark.parametrize('cat_max_ratio', [1.0, 0.75, 0.4])
@pytest.mark.parametrize('resize', [RANGE, BETWEEN, SCALES])
def test_a_crop_is_the_stock_crop(resize, cat_max_ratio, hard):
    crop = dict(crop_size=(48, 64), cat_max_ratio=cat_max_ratio)
    ours, theirs = RandomResizedCrop(**resize, **crop), stock_crop(resize, **crop)
    for seed in range(60):
        height, width = ((64, 128), (63, 131), (97, 61), (20, 33), (300, 260))[seed % 5]
        mine, stocks = both(ours, theirs, scene(height, width, hard), seed)
        assert mine.keys() == stocks.keys()
        np.testing.assert_array_equal(mine.pop('gt_seg_map'), stocks.pop('gt_seg_map'))
        assert difference(mine.pop('img'), stocks.pop('img')).max() <= 1
        assert mine == stocks  # scale, scale_factor, scale_idx, keep_ratio, img_shape, ...


def test_a_crop_of_a_street_is_the_stock_crop(shared_data):
    image = cv2.imread(str(shared_data / 'street' / 'street_2048x1024.png'))
    label = cv2.resize(image[:, :, 0] // 32, (2048, 1024))
    results = dict(img=image, gt_seg_map=label, seg_fields=['gt_seg_map'])
    resize, crop = dict(scale=(2048, 1024), ratio_range=(0.5, 2.0)), dict(crop_size=1024, cat_max_ratio=0.75)
    ours, theirs = RandomResizedCrop(**resize, **crop), stock_crop(resize, **crop)
    for seed in range(6):
        mine, stocks = both(ours, theirs, results, seed)
        np.testing.assert_array_equal(mine['gt_seg_map'], stocks['gt_seg_map'])
        apart = difference(mine['img'], stocks['img'])
        assert apart.max() <= 1
        assert apart.mean() < 0.03


def test_ten_draws_at_most():
    """One class alone is never mixed: the eleventh crop is taken, unseen, as in stock."""
    resize, crop = RANGE, dict(crop_size=(16, 16), cat_max_ratio=0.75)
    results = scene(64, 128) | dict(gt_seg_map=np.zeros((64, 128), np.uint8))
    draws = []
    ours = RandomResizedCrop(**resize, **crop)
    ours._draw = lambda *size: draws.append(size) or RandomResizedCrop._draw(ours, *size)
    mine, stocks = both(ours, stock_crop(resize, **crop), results, 0)
    assert len(draws) == 11
    assert difference(mine['img'], stocks['img']).max() <= 1


def test_ignored_pixels_do_not_count():
    """Nine tenths ignored, and the rest two classes evenly: mixed; with another ignore_index, not."""
    label = np.full((10, 10), 255, np.uint8)
    label[0] = [0] * 5 + [1] * 5
    assert RandomResizedCrop(10, **RANGE, cat_max_ratio=0.75)._is_mixed(label)
    assert not RandomResizedCrop(10, **RANGE, cat_max_ratio=0.75, ignore_index=7)._is_mixed(label)
    assert not RandomResizedCrop(10, **RANGE, cat_max_ratio=0.75, ignore_index=1)._is_mixed(label)
    assert not RandomResizedCrop(10, **RANGE, cat_max_ratio=0.5)._is_mixed(label)
    assert not RandomResizedCrop(10, **RANGE, cat_max_ratio=0.75)._is_mixed(np.full((10, 10), 255, np.uint8))


def test_an_image_without_labels_is_cropped_too():
    results = dict(img=scene(64, 128)['img'])
    mine, stocks = both(RandomResizedCrop((48, 64), **RANGE), stock_crop(RANGE, crop_size=(48, 64)), results, 3)
    assert difference(mine.pop('img'), stocks.pop('img')).max() <= 1
    assert mine == stocks


@pytest.mark.parametrize('resize', [{}, RANGE | SCALES])
def test_one_of_scale_and_scales_is_needed(resize):
    with pytest.raises(InputError, match=r'RandomResizedCrop: one of scale and scales is needed; give scale=\(2048'):
        RandomResizedCrop((8, 8), **resize)


class Recorded(PhotoMetricDistortion):
    """Remembers whether saturation and hue were drawn."""

    def _saturations(self) -> np.ndarray:
        values = super()._saturations()
        self.changed = [values is not LEVELS]
        return values

    def _hues(self) -> np.ndarray:
        values = super()._hues()
        self.changed.append(values is not LEVELS)
        return values


ARGUMENTS = dict(brightness_delta=60, contrast_range=(0.2, 1.5), saturation_range=(0.1, 1.9), hue_delta=90)


@pytest.mark.parametrize('arguments', [{}, ARGUMENTS])
@pytest.mark.parametrize('flipped', [None, 0, 1, (0, 1)])
def test_colours_change_as_in_stock(arguments, flipped):
    """Equal, but where saturation and hue both change and stock rounds to BGR and back between them.

    That rounding is 3 levels at most, over all 2**24 colours, and 1.5 times as much under the strongest contrast.
    """
    ours, theirs = Recorded(**arguments), stock(dict(type='PhotoMetricDistortion', **arguments))
    image = np.random.randint(0, 256, (48, 64, 3), dtype=np.uint8)
    image = image if flipped is None else np.flip(image, flipped)
    seen = set()
    for seed in range(60):
        np.random.seed(seed)
        mine, next_mine = ours(dict(img=image))['img'], np.random.random()
        np.random.seed(seed)
        stocks, next_stocks = theirs(dict(img=image))['img'], np.random.random()
        assert next_mine == next_stocks
        apart = difference(mine, stocks)
        if all(ours.changed):
            assert apart.max() <= 5
            assert apart.mean() < 0.5
        else:
            np.testing.assert_array_equal(mine, stocks)
        seen.add(tuple(ours.changed))
    assert len(seen) == 4


def test_the_image_that_came_in_is_not_changed():
    image = np.random.randint(0, 256, (8, 8, 3), dtype=np.uint8)
    before = image.copy()
    for _ in range(30):
        PhotoMetricDistortion()(dict(img=image))
    np.testing.assert_array_equal(image, before)


def test_an_image_of_floats_goes_the_stock_way():
    image = np.random.randint(0, 256, (8, 8, 3)).astype(np.float32) / 256
    for seed in range(20):
        np.random.seed(seed)
        mine = PhotoMetricDistortion()(dict(img=image.copy()))['img']
        np.random.seed(seed)
        np.testing.assert_array_equal(mine, stock(dict(type='PhotoMetricDistortion'))(dict(img=image.copy()))['img'])


def test_a_config_names_them_by_scope():
    pipeline = stock(
        dict(type='mmseg_bisenet.RandomResizedCrop', **SCALES, crop_size=(48, 64)),
        dict(type='mmseg_bisenet.PhotoMetricDistortion'),
        dict(type='PhotoMetricDistortion'),
    )
    assert [type(transform) for transform in pipeline.transforms[:2]] == [RandomResizedCrop, PhotoMetricDistortion]
    assert type(pipeline.transforms[2]) is PhotoMetricDistortion.__base__


@pytest.mark.parametrize(
    'options',
    [dict(crop_size=(0, 64)), dict(crop_size=(-1, 5)), dict(ratio_range=(0, 1)), dict(ratio_range=(2, 1))]
    + [dict(cat_max_ratio=value) for value in (0, -1, 2)],
)
def test_sizes_and_ratios_that_cannot_be(options):
    (name,) = options
    with pytest.raises(InputError, match=rf'^RandomResizedCrop: {name} is .*; give '):
        RandomResizedCrop(**dict(crop_size=10, scale=(64, 64), ratio_range=(0.5, 2.0)) | options)
