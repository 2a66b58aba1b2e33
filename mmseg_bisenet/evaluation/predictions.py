"""Predicted labels as PNG files (``--out``), in a folder that appears when it is complete.

The stock ``IoUMetric`` writes the class ids of image ``a/x.jpg`` into ``OUT/x.png``. Deviations:

- Predictions of Cityscapes images have the official ids and names, all in one folder, ready for the test server. Stock
  needs another metric for that.
- Predictions of a data set with some of the classes of its files (``metainfo.classes``) have the ids of the files.
- Predictions of other images keep the subfolders, so ``a/x.jpg`` and ``b/x.jpg`` give two files. ``a/x.jpg`` and
  ``a/x.png`` would share one file, which is an error.

All processes of a test write into the same temporary folder. :mod:`mmseg_bisenet.files` does not fit, because it gives
each process its own.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mmengine.dist import barrier
from mmseg.datasets import CityscapesDataset

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.evaluation.samples import to_png
from mmseg_bisenet.files import check_output, partials

# The official id of each of the 19 classes, from cityscapesscripts.helpers.labels.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES = '_leftImg8bit'


class PredictionFolder:
    """Writes labels into a temporary folder, and renames it when all are written.

    Raises:
        InputError: ``folder`` exists already.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.partial = self.folder.with_name(f'.{self.folder.name}.partial')
        self.sources: dict[Path, str] = {}  # prediction: image
        self._check()
        shutil.rmtree(self.partial, ignore_errors=True)  # a leftover of a killed run
        partials.add(self.partial)
        barrier()

    def write(
        self,
        img_path: str,
        labels: np.ndarray,
        classes: Sequence[str],
        reduce_zero_label: bool,
        label_map: Mapping[int, int] | None = None,
    ) -> None:
        """Write the labels of an image, (H, W) uint8 class ids, as ids of the data set.

        Args:
            label_map: of the data set, if its classes are some of those in its files: id of the file to class id.

        Raises:
            InputError: the file cannot be written or belongs to another image, or the folder exists already.
        """
        if is_cityscapes(img_path, classes):
            labels = np.array(LABEL_IDS, np.uint8)[labels]
        else:
            if label_map:
                ids = np.arange(256, dtype=np.uint8)
                for of_file, of_class in label_map.items():
                    if of_class != 255:  # 255 is left out
                        ids[of_class] = of_file
                labels = ids[labels]
            if reduce_zero_label:  # the data set does this first
                labels = labels + np.uint8(1)
        self._check()
        path = self.partial / self._claim(img_path, classes)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(to_png(labels))
        except OSError as error:
            raise InputError(
                f'{path} cannot be written ({error.strerror}); make room, or name another folder'
            ) from error

    def finish(self, img_paths: Sequence[str], classes: Sequence[str]) -> None:
        """Rename the folder. Folders above all predictions are left out: ``data/val/a.png`` becomes ``a.png``.

        Each process must call this method, with the images of all processes.

        Raises:
            InputError: two images share a prediction.
        """
        barrier()
        places = [self._claim(img_path, classes).parent for img_path in img_paths]
        self.sources.clear()
        if places:
            try:
                Path(self.partial, os.path.commonpath(places)).rename(self.folder)
            except FileNotFoundError:
                return  # another process on this machine was faster
            shutil.rmtree(self.partial, ignore_errors=True)

    def _check(self) -> None:
        check_output(self.folder, folder=True, fix='name a new folder for predictions')

    def _claim(self, img_path: str, classes: Sequence[str]) -> Path:
        path = place(img_path, classes)
        other = self.sources.setdefault(path, img_path)
        if other != img_path:
            raise InputError(f'{other} and {img_path} share the prediction {path.name}; rename one of them')
        return path


def is_cityscapes(img_path: str, classes: Sequence[str]) -> bool:
    return CITYSCAPES in Path(img_path).name and tuple(classes) == CityscapesDataset.METAINFO['classes']


def place(img_path: str, classes: Sequence[str]) -> Path:
    """The path of an image's prediction in the folder."""
    path = Path(os.path.abspath(img_path)).with_suffix('.png')
    return Path(path.name) if is_cityscapes(img_path, classes) else path.relative_to(path.anchor)
