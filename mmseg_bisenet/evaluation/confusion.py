"""Scores from a confusion matrix: rows are truth, columns are predictions.

IoU, accuracy and their means are those of J. Long, E. Shelhamer and T. Darrell, "Fully Convolutional Networks for
Semantic Segmentation" (arXiv 1411.4038, section 5), as MMSegmentation and the official Cityscapes script have them.
"""

import numpy as np

IDS = 256  # that a label of 8 bits can hold


def count(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """How many pixels have each pair of ids; truth and prediction: (H, W) uint8 -> (256, 256) int64."""
    pairs = truth.astype(np.uint16) * IDS + prediction
    return np.bincount(pairs.ravel(), minlength=IDS * IDS).reshape(IDS, IDS)


def class_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """IoU, accuracy, and share of the truth's pixels of each class.

    Args:
        confusion: (C, C) pixels.

    Returns:
        ``IoU``, ``Acc`` and ``pixels``, (C,) percent each; NaN where a class is nowhere.
    """
    right, truth, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    return {
        'IoU': percent(right, truth + predicted - right),
        'Acc': percent(right, truth),
        'pixels': percent(truth, truth.sum()),
    }


def summary(confusion: np.ndarray) -> dict[str, float]:
    """Scores of all classes together, in percent; NaN where there is no pixel.

    ``aAcc``: share of right pixels. ``mIoU`` and ``mAcc``: means over the classes that have a score. ``FWIoU``: mean
    IoU, each class with the weight of its pixels in the truth.
    """
    scores = class_scores(confusion)
    return {
        'aAcc': float(percent(confusion.trace(), confusion.sum())),
        'mIoU': mean(scores['IoU']),
        'mAcc': mean(scores['Acc']),
        'FWIoU': float(np.nansum(scores['IoU'] * scores['pixels']) / 100) if confusion.any() else float('nan'),
    }


def percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """NaN where ``whole`` is 0."""
    with np.errstate(invalid='ignore'):
        return 100 * part / whole


def mean(scores: np.ndarray) -> float:
    """Mean of the scores that are there; NaN where none is."""
    there = scores[~np.isnan(scores)]
    return float(there.mean()) if there.size else float('nan')
