"""Check every file of a data set, and count how often each class occurs.

A label is read by the :class:`LoadAnnotations` of the data set, or by ours if it is the stock one. A label that it
refuses is wrong. Images are not decoded if possible. For a PNG the checksums are enough (0.5 ms at 2048x1024; decoding
takes 45 ms). Any other format is decoded at the smallest size that its decoder offers, for JPEG one eighth (2.6 ms
instead of 4.4 ms). A JPEG with wrong bytes in the middle is not found: decoders read it without an error, with stripes
of wrong colours.

The class weights are those of ENet: 1 / ln(1.02 + share of pixels) (Paszke, Chaurasia, Kim and Culurciello, "ENet: A
Deep Neural Network Architecture for Real-Time Semantic Segmentation", arXiv 1606.02147, section 5).
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import mmcv.transforms
import mmengine.fileio
import mmseg.datasets.transforms as stock
import numpy as np
from mmseg.datasets import BaseSegDataset
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from mmseg_bisenet.data.transforms import LoadAnnotations
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_input
from mmseg_bisenet.photographs import fault, is_whole_png, orientation


@dataclass
class Finding:
    """The result for one image and its label."""

    problems: list[str] = field(default_factory=list)
    no_label: bool = False
    pixels: np.ndarray | None = None  # (256,) per id, after the data set's mapping; None if the label is wrong


@dataclass
class Report:
    """The result for a data set.

    ``problems`` has a line for each wrong file: the file, the problem, the fix. ``pixels`` and ``occurs``, both
    (num_classes,), are the pixels of each class and the images in which it occurs. Only correct labels count.
    """

    classes: tuple[str, ...]
    palette: list[list[int]]
    images: int
    without_label: int = 0
    without_image: int = 0
    counted: int = 0
    ignored: int = 0
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pixels = np.zeros(len(self.classes), np.int64)
        self.occurs = np.zeros(len(self.classes), np.int64)

    @property
    def pixel_share(self) -> np.ndarray:
        """(num_classes,) share of the labelled pixels."""
        return self.pixels / max(self.pixels.sum(), 1)

    @property
    def image_share(self) -> np.ndarray:
        """(num_classes,) share of the images with a correct label."""
        return self.occurs / max(self.counted, 1)

    @property
    def ignored_share(self) -> float:
        return self.ignored / max(self.ignored + int(self.pixels.sum()), 1)

    def class_weight(self) -> list[float]:
        """The weights of ENet, for ``loss_decode=dict(..., class_weight=[...])``."""
        return (1 / np.log(1.02 + self.pixel_share)).round(3).tolist()

    def fixes(self) -> list[tuple[str, int]]:
        """The fixes of all problems, each with its number of files, the most frequent first."""
        return Counter(line.rpartition('; ')[2] for line in self.problems).most_common()

    def add(self, finding: Finding) -> None:
        self.problems += finding.problems
        self.without_label += finding.no_label
        if finding.pixels is not None:
            pixels = finding.pixels[: len(self.classes)]
            self.pixels += pixels
            self.occurs += pixels > 0
            self.ignored += int(finding.pixels.sum() - pixels.sum())
            self.counted += 1


class LabelCheck(Dataset[Finding]):
    """A map-style data set of :class:`Finding`, one for each image.

    Args:
        dataset: the data set to check, with the loading transforms of its pipeline.

    Raises:
        InputError: the data set has no classes, or another number of classes than its ``LoadAnnotations``.
    """

    def __init__(self, dataset: BaseSegDataset) -> None:
        self.dataset = dataset
        self.classes = tuple(dataset.metainfo.get('classes', ()))
        if not self.classes:
            raise InputError(f'{type(dataset).__name__} has no classes; name them, as in metainfo=dict(classes=(...))')
        loaders = dataset.pipeline.transforms
        image = next((step for step in loaders if isinstance(step, mmcv.transforms.LoadImageFromFile)), None)
        self.image_backend = image.backend_args if image else None
        self.load_label = next((step for step in loaders if isinstance(step, stock.LoadAnnotations)), None)
        if self.load_label and not isinstance(self.load_label, LoadAnnotations):
            self.load_label = LoadAnnotations(
                num_classes=len(self.classes),
                ignore_index=dataset.ignore_index,
                reduce_zero_label=self.load_label.reduce_zero_label,
                backend_args=self.load_label.backend_args,
                imdecode_backend=self.load_label.imdecode_backend,
            )
        if self.load_label and self.load_label.num_classes != len(self.classes):
            raise InputError(
                f'num_classes is {self.load_label.num_classes} and {type(dataset).__name__} has {len(self.classes)} '
                'classes; make model.num_classes and the metainfo of the data set agree'
            )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Finding:
        sample, finding = self.dataset.get_data_info(index), Finding()
        try:
            sample['ori_shape'] = self._image_size(sample['img_path'])
        except InputError as error:
            finding.problems.append(str(error))
        if self.load_label:
            try:
                self.load_label(sample)
                pixels = np.bincount(sample['gt_seg_map'].ravel(), minlength=256)
                if not pixels[: len(self.classes)].any():
                    raise InputError(
                        f'{sample["seg_map_path"]}: every pixel is {self.load_label.ignore_index}, which is ignored; '
                        'label it, or leave the image out of the data set'
                    )
                finding.pixels = pixels
            except InputError as error:
                finding.problems.append(str(error))
                finding.no_label = isinstance(error.__cause__, FileNotFoundError)
        return finding

    def labels_without_image(self) -> Iterator[str]:
        """Label files without an image, sorted. None if ``ann_file`` or ``indices`` selects the images."""
        folder = self.dataset.data_prefix.get('seg_map_path')
        if not (self.load_label and folder) or self.dataset.ann_file or self.dataset._indices is not None:
            return
        taken = {os.path.normpath(self.dataset.get_data_info(i)['seg_map_path']) for i in range(len(self))}
        names = mmengine.fileio.list_dir_or_file(
            folder,
            list_dir=False,
            suffix=self.dataset.seg_map_suffix,
            recursive=True,
            backend_args=self.dataset.backend_args,
        )
        yield from sorted({os.path.normpath(os.path.join(folder, name)) for name in names} - taken)

    def _image_size(self, path: str) -> tuple[int, int]:
        """Check that an image is complete, and return its (H, W). Like OpenCV, this applies the EXIF orientation."""
        check_input(path)
        try:
            content = mmengine.fileio.get(path, backend_args=self.image_backend)
            if wrong := fault(content):
                raise InputError(f'{path}: the image {wrong}')
            with Image.open(BytesIO(content)) as image:
                width, height = image.size
                turned = orientation(image) >= 5
                if image.format == 'PNG':
                    image.verify()
                    if not is_whole_png(content):
                        raise InputError(f'{path}: the image lacks some of its pixels; replace the file')
                else:
                    image.draft('L', (1, 1))
                    image.load()
        except InputError:
            raise
        except Exception as error:  # a storage backend and each decoder of Pillow raise their own
            reason = 'no such file' if isinstance(error, FileNotFoundError) else 'empty, cut short or not an image'
            raise InputError(
                f'{path}: the image cannot be read ({reason}); replace the file, or fix data_root, '
                'img_suffix and ann_file'
            ) from error
        return (width, height) if turned else (height, width)


def walk(check: LabelCheck, workers: int) -> Iterator[Finding]:
    """Yield the findings in the order of the data set, computed by ``workers`` processes.

    Raises:
        InputError: a process was killed.
    """
    findings = DataLoader(check, batch_size=None, num_workers=min(workers, len(check)), collate_fn=_as_it_is)
    try:
        yield from findings
    except RuntimeError as error:
        if 'DataLoader worker' not in str(error):
            raise
        raise InputError('a worker was killed, probably because memory ran out; give fewer --workers') from error


def _as_it_is(finding: Any) -> Any:
    return finding


def report(check: LabelCheck, findings: Iterable[Finding]) -> Report:
    """Sum up the findings of :func:`walk`, and add the labels without an image."""
    result = Report(check.classes, check.dataset.metainfo['palette'], images=len(check))
    for finding in findings:
        result.add(finding)
    for path in check.labels_without_image():
        result.problems.append(f'{path}: the label has no image; add the image, or remove the label')
        result.without_image += 1
    return result


def draw(result: Report, title: str, path: Path) -> None:
    """Draw a PNG: a row for each class, a bar for its share of pixels, a dot for its share of images, on a log axis."""
    from matplotlib.figure import Figure

    rows = np.arange(len(result.classes))
    figure = Figure(figsize=(8, 1.2 + 0.2 * len(rows)), layout='constrained')
    axes = figure.add_subplot(title=title, xscale='log', xlabel='share', ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(rows, result.classes, fontsize=8)
    pixel_share, image_share = (
        np.where(share > 0, share, np.nan) for share in (result.pixel_share, result.image_share)
    )
    colours = np.array(result.palette) / 255
    axes.barh(rows, pixel_share, color=colours, edgecolor='0.4', linewidth=0.5, label='of pixels')
    axes.plot(image_share, rows, 'o', color='white', markeredgecolor='black', markersize=4, label='of images')
    left = 0.5 * np.nanmin(pixel_share) if result.pixels.any() else 1e-3
    axes.set_xlim(left, 1.2)
    for row in np.flatnonzero(result.pixels == 0).tolist():
        axes.text(left, row, ' never', va='center', fontsize=8, color='red')
    axes.grid(axis='x', linewidth=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc='outside lower right', ncols=2, fontsize=8)
    figure.savefig(path, format='png', dpi=120)
