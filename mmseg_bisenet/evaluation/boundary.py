"""Boundary IoU: B. Cheng, R. Girshick, P. Dollar, A. C. Berg and A. Kirillov, "Boundary IoU: Improving Object-Centric
Image Segmentation Evaluation" (arXiv 2103.16562), section 4, for semantic segmentation.

The boundary of a class consists of the pixels of its mask that are at most d pixels from the contour of the mask. d is
2 % of the image diagonal. The image border counts as a contour. As in the authors' code, the distance is the larger of
the horizontal and the vertical distance. Pixels of each class are summed over the data set before the division.

All classes are computed at once. A pixel belongs to the boundary of its class if the window of 2 d + 1 by 2 d + 1
pixels around it contains another id, that is, if the smallest and the largest id in the window differ.

The paper does not mention ignored pixels. Here they are cut out of both truth and prediction. Their contour is then
part of both boundaries, and a perfect prediction scores 100 %.
"""

import cv2
import numpy as np

from mmseg_bisenet.evaluation.confusion import IDS

RATIO = 0.02


def count_boundary(truth: np.ndarray, prediction: np.ndarray, ignore_index: int) -> np.ndarray:
    """Count the intersection and the union of the boundaries of truth and prediction, for each id.

    Args:
        truth: (H, W) uint8; ``ignore_index`` marks ignored pixels.
        prediction: (H, W) uint8.

    Returns:
        (2, 256) int64 pixels; zero for ``ignore_index``, even if it is the id of a class.
    """
    prediction = np.where(truth == ignore_index, np.uint8(ignore_index), prediction)
    of_truth, of_prediction = (boundary(ids, ignore_index) for ids in (truth, prediction))
    both = of_truth & of_prediction & (truth == prediction)
    intersection, a, b = (
        np.bincount(ids[where], minlength=IDS)
        for ids, where in ((truth, both), (truth, of_truth), (prediction, of_prediction))
    )
    counts = np.stack([intersection, a + b - intersection])
    counts[:, ignore_index] = 0
    return counts


def boundary(ids: np.ndarray, ignore_index: int) -> np.ndarray:
    """Mark the pixels on the boundary of the mask of their class; ids: (H, W) uint8 -> (H, W) bool."""
    distance = max(1, round(RATIO * np.hypot(*ids.shape)))
    window = np.ones((2 * distance + 1,) * 2, np.uint8)
    # A frame of ignored pixels makes the image border a contour.
    padded = cv2.copyMakeBorder(ids, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=ignore_index)
    return (cv2.erode(padded, window) != cv2.dilate(padded, window))[1:-1, 1:-1]
