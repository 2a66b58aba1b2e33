"""The random transforms of the stock train pipelines, for less: the same draws, the same crops, the same colours.

Source: mmcv's ``RandomResize`` and ``RandomChoiceResize``, mmseg's ``RandomCrop`` and ``PhotoMetricDistortion``. Ours
take their numbers from ``np.random`` in the order of stock: from one seed both make the same image, so that every
distribution (scale, position, ``cat_max_ratio``, colours) is the stock one.

Deviations from stock:

- :class:`RandomResizedCrop` draws the crop first, and resizes only the part of the image that the crop shows. Labels
  are equal; pixels differ by 1 at most.
- :class:`PhotoMetricDistortion` works with tables of 256 values, and goes to HSV once. Pixels are equal, save where
  both saturation and hue change: there stock rounds to BGR between the two, and we do not.
"""

import cv2
import mmcv
import mmseg.datasets.transforms as stock
import numpy as np
from mmcv.transforms import BaseTransform, RandomChoiceResize, RandomResize

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.registry import TRANSFORMS

# By how much of a source pixel a resized region may lie beside its place. Neighbours differ by 255 at most, and so a
# pixel by 2 * 255 / 1024 before it is rounded: less than one level.
SHIFT = 1 / 1024

# Every value of a uint8 channel. Through this very array a table says that it changes nothing.
LEVELS = np.arange(256, dtype=np.uint8)
LEVELS.flags.writeable = False


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Stock ``RandomResize`` or ``RandomChoiceResize`` with ``keep_ratio=True``, then stock ``RandomCrop``.

    Reads ``img`` (H, W, C) and ``seg_fields`` (each (H, W), uint8); changes both, and sets ``img_shape``, ``scale``,
    ``scale_factor``, ``keep_ratio`` and, with ``scales``, ``scale_idx``. An image smaller than the crop stays so: the
    data preprocessor pads it.

    Args:
        crop_size: (height, width) of the crop, or the side of a square.
        scale: (width, height) to fit the image in, times a number from ``ratio_range``; or two such pairs, the smallest
            and the largest, without ``ratio_range``.
        ratio_range: smallest and largest ratio.
        scales: in place of ``scale``, (width, height) pairs to choose from.
        cat_max_ratio: draw again, ten times at most, while one class has this share of the crop or more.
        ignore_index: the id that does not count for ``cat_max_ratio``.

    Raises:
        InputError: ``scale`` and ``scales`` are both given, or neither.
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

    def _place(self, height: int, width: int, label: np.ndarray | None) -> tuple[slice, slice]:
        """Rows and columns of the crop in the resized image."""
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
        # 0.3 ms at 1024x1024, where np.bincount takes 1.3 ms and stock's np.unique 5.6 ms.
        counts = cv2.calcHist([label], [0], None, [256], [0, 256]).ravel().astype(np.int64)
        counts = np.delete(counts, self.ignore_index) if 0 <= self.ignore_index < 256 else counts
        return counts.any() and counts.max() / counts.sum() < self.cat_max_ratio


def _resized_region(image: np.ndarray, height: int, width: int, rows: slice, columns: slice) -> np.ndarray:
    """``cv2.resize(image, (width, height))[rows, columns]``, to one level, from as little of the image as gives it.

    A warp would do it for any region, but takes longer than to resize the whole image: 3.1 ms for 1024x1024.
    """
    top, bottom, source_rows = _aligned(rows, height, image.shape[0])
    left, right, source_columns = _aligned(columns, width, image.shape[1])
    region = mmcv.imresize(image[source_rows, source_columns], (right - left, bottom - top), backend='cv2')
    return region[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def _aligned(wanted: slice, resized: int, source: int) -> tuple[int, int, slice]:
    """The shortest stretch around ``wanted`` whose ends meet the edges of source pixels, and those pixels.

    There, the centres that ``cv2.resize`` gives the pixels of the stretch are those that they have in the whole image.
    """
    edges = np.arange(resized + 1) * (source / resized)
    nearest = np.rint(edges).astype(int)
    aligned = np.flatnonzero(np.abs(edges - nearest) <= SHIFT)  # has 0 and `resized`
    # At its ends, half a source pixel of the stretch lacks the neighbour.
    margin = resized // source + 2
    start = aligned[aligned <= max(wanted.start - margin, 0)][-1]
    stop = aligned[aligned >= min(wanted.stop + margin, resized)][0]
    return int(start), int(stop), slice(nearest[start], nearest[stop])


@TRANSFORMS.register_module()
class PhotoMetricDistortion(stock.PhotoMetricDistortion):
    """Stock ``PhotoMetricDistortion``, same arguments: brightness, contrast, saturation and hue, each half of the time.

    Reads and sets ``img`` ((H, W, 3), BGR, uint8, 0 to 255; any other dtype goes the stock way).
    """

    def transform(self, results: dict) -> dict:
        image = results['img']
        if image.dtype != np.uint8:
            return super().transform(results)
        if image.strides[1] < 0:  # a flipped view, which OpenCV would have NumPy copy: 3 ms in place of 0.1
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
        """The new value of each saturation, (256,) uint8."""
        if np.random.randint(2):
            return self.convert(LEVELS, alpha=np.random.uniform(self.saturation_lower, self.saturation_upper))
        return LEVELS

    def _hues(self) -> np.ndarray:
        """The new value of each hue, (256,) uint8; a hue is 0 to 179, in steps of two degrees."""
        if np.random.randint(2):
            return ((LEVELS.astype(int) + np.random.randint(-self.hue_delta, self.hue_delta)) % 180).astype(np.uint8)
        return LEVELS


def _look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    return image if table is LEVELS else cv2.LUT(image, table)
