"""The random transforms of the stock training pipelines, faster and with the same results.

Source: mmcv's ``RandomResize`` and ``RandomChoiceResize``, mmseg's ``RandomCrop`` and ``PhotoMetricDistortion``. Ours
draw the same random numbers from ``np.random`` in the same order. With the same seed, both give the same image, so all
distributions (scale, position, ``cat_max_ratio``, colours) are those of stock.

Deviations from stock:

- :class:`RandomResizedCrop` draws the crop first, and resizes only the part of the image inside the crop. Labels are
  equal; pixels differ by at most 1.
- :class:`PhotoMetricDistortion` uses look-up tables of 256 values, and converts to HSV once. Pixels are equal, unless
  both saturation and hue change. Stock then rounds to BGR between the two; ours does not.
"""

from typing import Any

import cv2
import mmcv
import mmseg.datasets.transforms as stock
import numpy as np
from mmcv.transforms import BaseTransform, RandomChoiceResize, RandomResize

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.registry import TRANSFORMS

# A resized region may be off by this share of a source pixel. Neighbouring pixels differ by at most 255, so a resized
# pixel is off by at most 2 * 255 / 1024 before it is rounded, which is less than one level.
SHIFT = 1 / 1024

# Every value of a uint8 channel. A table that is this object changes nothing.
LEVELS = np.arange(256, dtype=np.uint8)
LEVELS.flags.writeable = False


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Stock ``RandomResize`` or ``RandomChoiceResize`` with ``keep_ratio=True``, then stock ``RandomCrop``.

    Reads ``img`` (H, W, C) and ``seg_fields`` (each (H, W), uint8); changes both, and sets ``img_shape``, ``scale``,
    ``scale_factor``, ``keep_ratio`` and, with ``scales``, ``scale_idx``. An image smaller than the crop is not padded
    here; the data preprocessor pads it.

    Args:
        crop_size: (height, width) of the crop, or the side of a square.
        scale: (width, height) that the resized image must fit in, multiplied by a random ratio from ``ratio_range``. Or
            two such pairs without ``ratio_range``: the smallest and the largest scale.
        ratio_range: smallest and largest ratio.
        scales: (width, height) pairs to choose from, instead of ``scale``.
        cat_max_ratio: draw another crop, up to ten times, while one class covers this share of it or more.
        ignore_index: this id does not count for ``cat_max_ratio``.

    Raises:
        InputError: ``scale`` and ``scales`` are both given, or neither; a size is below 1, or a ratio out of its range.
    """

    def __init__(
        self,
        crop_size: int | tuple[int, int],
        scale: tuple | list | None = None,
        ratio_range: tuple[float, float] | None = None,
        *,
        scales: list[tuple[int, int]] | None = None,
        cat_max_ratio: float = 1.0,
        ignore_index: int = 255,
    ) -> None:
        if (scale is None) == (scales is None):
            raise InputError(
                'RandomResizedCrop: one of scale and scales is needed; '
                'give scale=(2048, 1024), ratio_range=(0.5, 2.0), or scales=[(1536, 768), (2048, 1024)]'
            )
        if scales is None:
            self.resize = RandomResize(scale, ratio_range, keep_ratio=True)
        else:
            self.resize = RandomChoiceResize(scales, keep_ratio=True)
        self.crop_size = (crop_size, crop_size) if isinstance(crop_size, int) else crop_size
        if not (len(self.crop_size) == 2 and min(self.crop_size) >= 1):
            raise InputError(f'RandomResizedCrop: crop_size is {crop_size}; give a height and a width, 1 or more')
        if ratio_range is not None and not 0 < ratio_range[0] <= ratio_range[1]:
            raise InputError(
                f'RandomResizedCrop: ratio_range is {ratio_range}; give two numbers above 0, the smaller first'
            )
        if not 0 < cat_max_ratio <= 1:
            raise InputError(f'RandomResizedCrop: cat_max_ratio is {cat_max_ratio}; give a share above 0, at most 1')
        self.cat_max_ratio = cat_max_ratio
        self.ignore_index = ignore_index

    def transform(self, results: dict) -> dict:
        if isinstance(self.resize, RandomResize):
            results['scale'] = self.resize._random_scale()
        else:
            results['scale'], results['scale_idx'] = self.resize._random_select()
        image = results['img']
        width, height = mmcv.rescale_size(image.shape[1::-1], results['scale'])
        fields = {
            key: mmcv.imrescale(results[key], results['scale'], interpolation='nearest', backend='cv2')
            for key in results.get('seg_fields', [])
        }
        rows, columns = self._place(height, width, fields.get('gt_seg_map'))
        results |= {key: field[rows, columns] for key, field in fields.items()}
        results['img'] = _resized_region(image, height, width, rows, columns)
        results['img_shape'] = results['img'].shape[:2]
        results['scale_factor'] = (width / image.shape[1], height / image.shape[0])
        results['keep_ratio'] = True
        return results

    def _place(self, height: int, width: int, label: Any) -> tuple[slice, slice]:
        """Choose the rows and columns of the crop in the resized image.

        ``label``: (H, W) uint8; it may be None if ``cat_max_ratio`` is 1.
        """
        if self.cat_max_ratio < 1:
            for _ in range(10):
                place = self._draw(height, width)
                if self._is_mixed(label[place]):
                    return place
        return self._draw(height, width)

    def _draw(self, height: int, width: int) -> tuple[slice, slice]:
        crop_height, crop_width = self.crop_size
        top = np.random.randint(0, max(height - crop_height, 0) + 1)
        left = np.random.randint(0, max(width - crop_width, 0) + 1)
        return slice(top, min(top + crop_height, height)), slice(left, min(left + crop_width, width))

    def _is_mixed(self, label: np.ndarray) -> bool:
        # Takes 0.3 ms at 1024x1024, np.bincount 1.3 ms and stock's np.unique 5.6 ms.
        counts = cv2.calcHist([label], [0], None, [256], [0, 256]).ravel().astype(np.int64)
        counts = np.delete(counts, self.ignore_index) if 0 <= self.ignore_index < 256 else counts
        return bool(counts.any() and counts.max() / counts.sum() < self.cat_max_ratio)


def _resized_region(image: np.ndarray, height: int, width: int, rows: slice, columns: slice) -> np.ndarray:
    """Compute ``cv2.resize(image, (width, height))[rows, columns]``, to one level, from only a part of the image.

    A warp could compute any region, but is slower than resizing the whole image: 3.1 ms for 1024x1024.
    """
    top, bottom, source_rows = _aligned(rows, height, image.shape[0])
    left, right, source_columns = _aligned(columns, width, image.shape[1])
    region = mmcv.imresize(image[source_rows, source_columns], (right - left, bottom - top), backend='cv2')
    return region[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def _aligned(wanted: slice, resized: int, source: int) -> tuple[int, int, slice]:
    """The shortest range around ``wanted`` whose ends are at edges of source pixels, and the range of those pixels.

    Resized alone, such a range gets the same sampling positions from ``cv2.resize`` as in the whole image.
    """
    edges = np.arange(resized + 1) * (source / resized)
    nearest = np.rint(edges).astype(int)
    aligned = np.flatnonzero(np.abs(edges - nearest) <= SHIFT)  # contains 0 and `resized`
    # The last half source pixel at each end lacks its neighbour, so the range is wider by a margin.
    margin = resized // source + 2
    start = aligned[aligned <= max(wanted.start - margin, 0)][-1]
    stop = aligned[aligned >= min(wanted.stop + margin, resized)][0]
    return int(start), int(stop), slice(nearest[start], nearest[stop])


@TRANSFORMS.register_module()
class PhotoMetricDistortion(stock.PhotoMetricDistortion):
    """Stock ``PhotoMetricDistortion``: changes brightness, contrast, saturation and hue, each with probability 0.5.

    Reads and sets ``img`` ((H, W, 3), BGR, uint8, 0 to 255; for any other dtype stock's code runs).
    """

    def transform(self, results: dict) -> dict:
        image = results['img']
        if image.dtype != np.uint8:
            return super().transform(results)
        if image.strides[1] < 0:  # a flipped view, which NumPy would copy for OpenCV in 3 ms; this takes 0.1 ms
            image = cv2.flip(image[:, ::-1], 1)
        table = self.brightness(LEVELS)
        contrast_first = np.random.randint(2)
        if contrast_first:
            table = self.contrast(table)
        saturation, hue = self._saturations(), self._hues()
        if saturation is not LEVELS or hue is not LEVELS:
            hsv = mmcv.bgr2hsv(_look_up(image, table))
            for channel, values in enumerate((hue, saturation)):
                if values is not LEVELS:
                    cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, channel), values), hsv, channel)
            image, table = mmcv.hsv2bgr(hsv), LEVELS
        if not contrast_first:
            table = self.contrast(table)
        results['img'] = _look_up(image, table)
        return results

    def _saturations(self) -> np.ndarray:
        """Draw the table of new saturations, (256,) uint8."""
        if np.random.randint(2):
            return self.convert(LEVELS, alpha=np.random.uniform(self.saturation_lower, self.saturation_upper))
        return LEVELS

    def _hues(self) -> np.ndarray:
        """Draw the table of new hues, (256,) uint8. OpenCV's hues are 0 to 179, in steps of two degrees."""
        if np.random.randint(2):
            return ((LEVELS.astype(int) + np.random.randint(-self.hue_delta, self.hue_delta)) % 180).astype(np.uint8)
        return LEVELS


def _look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    return image if table is LEVELS else cv2.LUT(image, table)
