"""Scores from a confusion matrix: rows are the truth, columns the predictions.

IoU, accuracy and their means are defined as in J. Long, E. Shelhamer and T. Darrell, "Fully Convolutional Networks for
Semantic Segmentation" (arXiv 1411.4038, section 5), and computed as in MMSegmentation and the Cityscapes scripts.
"""

import numpy as np

IDS = 256  # different ids in a label of 8 bits


def count(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Count the pixels of each pair of ids; truth and prediction: (H, W) uint8 -> (256, 256) int64."""
    pairs = truth.astype(np.uint16) * IDS + prediction
    return np.bincount(pairs.ravel(), minlength=IDS * IDS).reshape(IDS, IDS)


def class_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Compute IoU, accuracy and share of the labelled pixels for each class.

    Args:
        confusion: (C, C) pixels.

    Returns:
        ``IoU``, ``Acc`` and ``pixels``, each (C,) in percent; NaN for a class that does not occur.
    """
    right, truth, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    return {
        'IoU': percent(right, truth + predicted - right),
        'Acc': percent(right, truth),
        'pixels': percent(truth, truth.sum()),
    }


def summary(confusion: np.ndarray) -> dict[str, float]:
    """Compute the scores over all classes, in percent; NaN if there is no pixel.

    ``aAcc`` is the share of correct pixels. ``mIoU`` and ``mAcc`` are means over the classes that have a score.
    ``FWIoU`` is the mean IoU weighted by the pixels of each class in the truth.
    """
    scores = class_scores(confusion)
    return {
        'aAcc': float(percent(confusion.trace(), confusion.sum())),
        'mIoU': mean(scores['IoU']),
        'mAcc': mean(scores['Acc']),
        'FWIoU': float(np.nansum(scores['IoU'] * scores['pixels']) / 100) if confusion.any() else float('nan'),
    }


def percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide, times 100; NaN if ``whole`` is 0."""
    with np.errstate(invalid='ignore'):
        return 100 * part / whole


def mean(scores: np.ndarray) -> float:
    """Average the scores that are not NaN; NaN if there are none."""
    there = scores[~np.isnan(scores)]
    return float(there.mean()) if there.size else float('nan')
