"""The random changes of light and camera against values computed by hand, at the ends of their ranges."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmengine.registry import DefaultScope

from mmseg_bisenet.data.light import RandomBlur, RandomLight, RandomNoise, RandomShadow
from mmseg_bisenet.errors import InputError

CHANGES = [RandomLight, RandomShadow, RandomBlur, RandomNoise]


@pytest.fixture
def ends(monkeypatch):
    """Draws the lower or the upper end of each range instead of a number between them."""

    def draw(end: str) -> None:
        def drawn(low=None, high=None, size=None):
            value = 0.0 if low is None else low if end == 'low' else high  # without a range: whether to change it
            return value if size is None else np.full(size, value)

        monkeypatch.setattr(np.random, 'uniform', drawn)

    return draw


def changed(transform, image: np.ndarray) -> np.ndarray:
    return transform(dict(img=image))['img']


@pytest.mark.parametrize(
    ('end', 'value', 'expected'),
    [
        ('low', 64, 102),  # 255 * 0.8 * (64 / 255) ** 0.5 = 102.2
        ('high', 64, 20),  # 255 * 1.25 * (64 / 255) ** 2 = 20.08
        ('low', 255, 204),
        ('high', 255, 255),  # not 319
        ('high', 0, 0),
    ],
)
def test_light_is_a_power_and_a_gain(ends, end, value, expected):
    ends(end)
    image = np.full((4, 6, 3), value, np.uint8)
    np.testing.assert_array_equal(
        changed(RandomLight(gamma=2, gain=1.25, prob=1), image), np.full_like(image, expected)
    )


def test_each_channel_has_its_gain():
    np.random.seed(0)
    bgr = changed(RandomLight(gamma=1, gain=1.5, prob=1), np.full((2, 2, 3), 100, np.uint8))
    np.random.seed(0)
    np.random.uniform(), np.random.uniform(-1, 1)
    gains = 1.5 ** np.random.uniform(-1, 1, 3)
    assert len(set(bgr[0, 0])) == 3
    np.testing.assert_array_equal(bgr, np.broadcast_to(np.rint(100 * gains), (2, 2, 3)))


def test_a_shadow_darkens_its_inside_only():
    image = np.full((60, 80, 3), 200, np.uint8)
    whole = 0
    for seed in range(40):
        np.random.seed(seed)
        dark = changed(RandomShadow(darkness=(0.5, 0.5), prob=1), image)
        assert dark.min() >= 100 and dark.max() <= 200
        assert (dark == dark[:, :, :1]).all()
        whole += dark.min() == 100 and dark.max() == 200
    assert whole > 20  # both the full shadow and the full light


def test_a_shadow_over_all_is_a_factor(monkeypatch):
    around = np.array([[-9.0, -9], [9, -9], [9, 9], [-9, 9]])
    monkeypatch.setattr(np.random, 'uniform', lambda low=0.0, high=0.0, size=None: high if size is None else around)
    image = np.arange(0, 252, 4, dtype=np.uint8).reshape(3, 7, 3)
    dark = changed(RandomShadow(darkness=(0.1, 0.25), prob=1), image)
    np.testing.assert_array_equal(dark, image // 4 * 3)


@pytest.mark.parametrize(('end', 'sigma'), [('low', 0.5), ('high', 2.0)])
def test_blur_is_opencvs_with_the_sigma(ends, end, sigma):
    ends(end)
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    blurred = changed(RandomBlur(sigma=(0.5, 2.0), prob=1), image)
    np.testing.assert_array_equal(blurred, cv2.GaussianBlur(image, (0, 0), sigma))
    assert blurred.std() < image.std()


def test_noise_has_its_spread_and_stays_in_range():
    np.random.seed(0)
    grey = changed(RandomNoise(sigma=(5, 5), prob=1), np.full((200, 200, 3), 128, np.uint8)).astype(float)
    assert grey.mean() == pytest.approx(128, abs=0.1)
    assert grey.std() == pytest.approx(5, abs=0.1)  # rounding adds 1/12 to the variance
    assert np.corrcoef(grey[:, :, 0].ravel(), grey[:, :, 1].ravel())[0, 1] == pytest.approx(0, abs=0.02)
    white = changed(RandomNoise(sigma=(5, 5), prob=1), np.full((40, 40, 3), 255, np.uint8))
    assert white.min() > 225  # 256 would be 0


@pytest.mark.parametrize('kind', CHANGES)
def test_as_often_as_asked(kind):
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    np.random.seed(0)
    assert all((changed(kind(prob=0), image) == image).all() for _ in range(20))
    often = sum((changed(kind(prob=0.3), image) != image).any() for _ in range(400))
    assert 85 < often < 155  # 120, and 9 is a standard deviation; a shadow may miss the image


@pytest.mark.parametrize('kind', CHANGES)
def test_the_same_seed_gives_the_same_image_and_labels_stay(kind):
    """In a pipeline, after a flip, whose result is a view with negative strides."""
    rng = np.random.default_rng(0)
    image, label = rng.integers(0, 256, (16, 24, 3), dtype=np.uint8), rng.integers(0, 3, (16, 24), dtype=np.uint8)
    with DefaultScope.overwrite_default_scope('mmseg'):
        steps = Compose([dict(type='RandomFlip', prob=1.0), dict(type=f'mmseg_bisenet.{kind.__name__}', prob=1)])
    outcomes = []
    for _ in range(2):
        np.random.seed(1)
        outcomes.append(steps(dict(img=image.copy(), gt_seg_map=label.copy(), seg_fields=['gt_seg_map'])))
    np.testing.assert_array_equal(outcomes[0]['img'], outcomes[1]['img'])
    assert outcomes[0]['img'].dtype == np.uint8 and outcomes[0]['img'].shape == image.shape
    assert (outcomes[0]['img'] != image[:, ::-1]).any()
    np.testing.assert_array_equal(outcomes[0]['gt_seg_map'], label[:, ::-1])


@pytest.mark.parametrize('prob', [3, -1, float('nan'), '1'])
@pytest.mark.parametrize('kind', CHANGES)
def test_a_probability_that_cannot_be(kind, prob):
    with pytest.raises(InputError, match=rf'^{kind.__name__}: prob is {prob!r}; give a number from 0 to 1$'):
        kind(prob=prob)
