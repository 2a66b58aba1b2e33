"""Boundary IoU: B. Cheng, R. Girshick, P. Dollar, A. C. Berg and A. Kirillov, "Boundary IoU: Improving Object-Centric
Image Segmentation Evaluation" (arXiv 2103.16562), section 4, for semantic segmentation.

The boundary of a class has the pixels of its mask at most d pixels from the mask's contour, where d is 2 % of the image
diagonal, and the image's border is a contour. As in the authors' code, distance is the larger of the two coordinates'.
Pixels of each class are added up over the data set before the division.

All classes are done at once: a pixel belongs to its class's boundary where the window of 2 d + 1 pixels around it
holds another id, that is where the window's least and greatest ids differ.

The paper says nothing about pixels without a truth. Here they are cut out of both truth and prediction, so that their
contour is in both boundaries, and the right prediction has 100 %.
"""

import cv2
import numpy as np

from mmseg_bisenet.evaluation.confusion import IDS

RATIO = 0.02


def count_boundary(truth: np.ndarray, prediction: np.ndarray, ignore_index: int) -> np.ndarray:
    """Intersection and union of the boundaries of truth and prediction, for each id.

    Args:
        truth: (H, W) uint8, ``ignore_index`` where there is none.
        prediction: (H, W) uint8.

    Returns:
        (2, 256) int64 pixels, zero for ``ignore_index``, which may be the id of a class.
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
    """Where a pixel belongs to the boundary of its class's mask; ids: (H, W) uint8 -> (H, W) bool."""
    distance = max(1, round(RATIO * np.hypot(*ids.shape)))
    window = np.ones((2 * distance + 1,) * 2, np.uint8)
    # One pixel around the image that is of no class makes a contour of its border.
    padded = cv2.copyMakeBorder(ids, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=ignore_index)
    return (cv2.erode(padded, window) != cv2.dilate(padded, window))[1:-1, 1:-1]
