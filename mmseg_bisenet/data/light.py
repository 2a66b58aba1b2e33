"""Random changes of what differs between drives: the light, and the sharpness and noise of the camera.

Each transform reads and sets ``img`` ((H, W, 3), BGR, uint8) with probability ``prob``; labels stay. All draw from
``np.random``. Brightness, contrast, saturation and hue are those of :class:`PhotoMetricDistortion`.
"""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.registry import TRANSFORMS


class _Sometimes(BaseTransform):
    """Calls ``change`` with probability ``prob``.

    Raises:
        InputError: ``prob`` is no number from 0 to 1.
    """

    def __init__(self, prob: float) -> None:
        if not (isinstance(prob, int | float) and 0 <= prob <= 1):  # NaN is neither
            raise InputError(f'{type(self).__name__}: prob is {prob!r}; give a number from 0 to 1')
        self.prob = prob

    def transform(self, results: dict) -> dict:
        if np.random.uniform() < self.prob:
            results['img'] = self.change(np.ascontiguousarray(results['img']))
        return results

    def change(self, image: np.ndarray) -> np.ndarray:
        raise NotImplementedError


@TRANSFORMS.register_module()
class RandomLight(_Sometimes):
    """Dusk, glare and colour casts: ``255 * gain * (value / 255) ** gamma``, with another gain for each channel.

    Args:
        gamma: the exponent is between ``1 / gamma`` and ``gamma``, uniform in its logarithm.
        gain: the same for each gain.
        prob: probability of a change.
    """

    def __init__(self, gamma: float = 2.0, gain: float = 1.25, prob: float = 0.8) -> None:
        super().__init__(prob)
        self.gamma, self.gain = gamma, gain

    def change(self, image: np.ndarray) -> np.ndarray:
        gamma = self.gamma ** np.random.uniform(-1, 1)
        gains = self.gain ** np.random.uniform(-1, 1, 3)
        table = 255 * gains * (np.arange(256)[:, None] / 255) ** gamma  # (256, 3)
        return cv2.LUT(image, np.clip(table.round(), 0, 255).astype(np.uint8)[None])


@TRANSFORMS.register_module()
class RandomShadow(_Sometimes):
    """One darker area with four corners and a soft edge.

    Args:
        darkness: smallest and largest share of the light that is lost, 0 to 1.
        prob: probability of a shadow.
    """

    def __init__(self, darkness: tuple[float, float] = (0.2, 0.6), prob: float = 0.3) -> None:
        super().__init__(prob)
        self.darkness = darkness

    def change(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        corners = np.random.uniform(-0.25, 1.25, (4, 2)) * (width, height)
        inside = np.zeros((height, width), np.float32)
        cv2.fillConvexPoly(inside, cv2.convexHull(corners.astype(np.int32)), 1.0)
        soft = cv2.GaussianBlur(inside, (0, 0), np.random.uniform(1, 8))
        light = 1 - soft * np.random.uniform(*self.darkness)
        return (image * light[:, :, None]).round().astype(np.uint8)


@TRANSFORMS.register_module()
class RandomBlur(_Sometimes):
    """Gaussian blur.

    Args:
        sigma: smallest and largest standard deviation, in pixels.
        prob: probability of a blur.
    """

    def __init__(self, sigma: tuple[float, float] = (0.3, 1.5), prob: float = 0.3) -> None:
        super().__init__(prob)
        self.sigma = sigma

    def change(self, image: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(image, (0, 0), np.random.uniform(*self.sigma))


@TRANSFORMS.register_module()
class RandomNoise(_Sometimes):
    """Gaussian noise, independent for each pixel and channel.

    Args:
        sigma: smallest and largest standard deviation, in levels of 255.
        prob: probability of noise.
    """

    def __init__(self, sigma: tuple[float, float] = (1.0, 10.0), prob: float = 0.3) -> None:
        super().__init__(prob)
        self.sigma = sigma

    def change(self, image: np.ndarray) -> np.ndarray:
        noise = np.random.normal(0, np.random.uniform(*self.sigma), image.shape)
        return np.clip((image + noise).round(), 0, 255).astype(np.uint8)
