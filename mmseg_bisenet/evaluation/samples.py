"""The best and the worst images of an evaluation. Memory does not grow with the number of images."""

from bisect import bisect
from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np


class Sample(NamedTuple):
    """An image with its scores in percent and its labels as PNG files of ids. Samples sort by mIoU, then by number."""

    mIoU: float
    number: int  # position of the image in the data set
    aAcc: float
    img_path: str
    truth: bytes
    prediction: bytes


class Extremes:
    """Keeps the ``count`` best and the ``count`` worst of all images that are passed to :meth:`offer`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.samples: list[Sample] = []  # sorted, the worst first

    def offer(self, row: dict, number: int, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Keep an image if it is among the best or the worst so far.

        Args:
            row: ``img_path``, ``mIoU`` and ``aAcc`` of the image.
            number: position of the image in the data set.
            truth, prediction: (H, W) uint8 ids.
        """
        place = bisect(self.samples, (row['mIoU'], number))
        full = len(self.samples) == 2 * self.count
        if np.isnan(row['mIoU']) or (full and place == self.count):
            return
        sample = Sample(row['mIoU'], number, row['aAcc'], row['img_path'], to_png(truth), to_png(prediction))
        self.samples.insert(place, sample)
        if full:
            self.samples.pop(self.count)


def best_and_worst(samples: Iterable[Sample], count: int) -> dict[str, list[Sample]]:
    """Choose ``count`` of each, starting with the very best and the very worst. No image is in both lists."""
    ordered = sorted(samples)
    worst = ordered[: min(count, len(ordered) // 2)]
    best = ordered[len(worst) :][-count:] if count else []
    return {'best': best[::-1], 'worst': worst}


def to_png(labels: np.ndarray) -> bytes:
    """(H, W) uint8 -> a PNG file."""
    # Labels have long runs of equal ids: run-length encoding is faster than the default, and the file no larger.
    return cv2.imencode('.png', labels, (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE))[1].tobytes()
