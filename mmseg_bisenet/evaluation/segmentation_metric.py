"""Scores of semantic segmentation from one confusion matrix.

Replaces MMSegmentation's ``IoUMetric`` and writes the same table to the log. Deviations from stock:

- Pixels are counted as integers in a confusion matrix. Stock adds float32 histograms, which lose pixels above 2**24 per
  class, and never records which classes are confused.
- Only a row of scores is kept for each image. Stock keeps four histograms for each image until the end.
- Images that the sampler repeats, so that all processes get equally many, are counted once. Results are exchanged over
  the connection of the processes. Stock's default needs a folder that all machines share.
- An id that is no class is an error that names the image. Stock counts it as a wrong prediction, or not at all.
- Predictions are written by :mod:`mmseg_bisenet.evaluation.predictions`.
"""

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
import torch
from mmengine.dist import all_gather_object, all_reduce, get_dist_info
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from prettytable import PrettyTable

from mmseg_bisenet.errors import InputError, require_flags, require_paths, short
from mmseg_bisenet.evaluation import confusion
from mmseg_bisenet.evaluation.boundary import count_boundary
from mmseg_bisenet.evaluation.confusion import IDS
from mmseg_bisenet.evaluation.predictions import PredictionFolder
from mmseg_bisenet.evaluation.samples import Extremes, best_and_worst
from mmseg_bisenet.registry import METRICS


@METRICS.register_module()
class SegmentationMetric(BaseMetric):
    """aAcc, mIoU, mAcc and FWIoU in percent; IoU and accuracy of each class as a table in the log.

    After :meth:`evaluate`, every process has all results in full precision in ``report``; :meth:`_make_report` lists
    them. At most 256 classes, because MMSegmentation reads labels as 8 bits.

    Args:
        ignore_index: id of the pixels that do not count, 0 to 255.
        boundary: also compute boundary IoU, which takes 20 ms for an image of 1024x2048.
        output_dir: new folder for the predicted labels.
        format_only: only write predictions; no labels are needed.
        keep_results: accepted because stock's test script sets it. Predictions are always kept.
        prefix: prefix of the names of the scores, needed with several metrics.
        iou_metrics: accepted because stock's configs set it; only ``['mIoU']``.

    Raises:
        InputError: ``output_dir`` exists, or ``format_only`` is set without ``output_dir``; an id is no class; a label
            and its prediction differ in size.
    """

    def __init__(
        self,
        ignore_index: int = 255,
        boundary: bool = False,
        output_dir: str | None = None,
        format_only: bool = False,
        keep_results: bool = True,
        prefix: str | None = None,
        iou_metrics: Sequence[str] = ('mIoU',),
    ) -> None:
        if not (isinstance(prefix, str) or prefix is None):
            raise InputError(f'prefix={short(repr(prefix))}: give a text')
        super().__init__(prefix=prefix)
        require_flags(boundary=boundary, format_only=format_only, keep_results=keep_results)
        if type(ignore_index) is not int or not 0 <= ignore_index < IDS:
            raise InputError(f'ignore_index={short(repr(ignore_index))}: give an id from 0 to {IDS - 1}')
        if output_dir is not None:
            require_paths(output_dir=output_dir)
        if not isinstance(iou_metrics, list | tuple) or list(iou_metrics) != ['mIoU']:
            raise InputError(
                f'SegmentationMetric: iou_metrics is {short(repr(iou_metrics))}, but it computes only mIoU; remove the '
                'others, or set test_evaluator.type=IoUMetric'
            )
        if format_only and not output_dir:
            raise InputError('test_evaluator.format_only is set without a folder to write to; add --out DIR')
        self.ignore_index = ignore_index
        self.format_only = format_only
        self.folder = PredictionFolder(output_dir) if output_dir else None
        self.extremes = Extremes(0)
        self.with_boundary = boundary
        self._reset()

    def _reset(self) -> None:
        self.results.clear()  # a row for each image of this process
        self.held: dict | None = None
        self.confusion = np.zeros((IDS, IDS), np.int64)
        self.boundary = np.zeros((2, IDS), np.int64)
        self.extremes = Extremes(self.extremes.count)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count a batch, except its last image, which may be a repeat. Only :meth:`evaluate` knows if it is one."""
        for sample in data_samples:
            self._count_held()
            self.held = self._held(sample)

    def _held(self, sample: dict) -> dict:
        """The parts of a sample that are counted later, so that the others, such as logits, can be freed."""
        if 'skipped' in sample:
            return {'skipped': sample['skipped']}
        held = {key: sample[key] for key in ('img_path', 'reduce_zero_label') if key in sample}
        held['prediction'] = _labels(sample['pred_sem_seg'], f'{sample["img_path"]}: the prediction')
        if not self.format_only:
            held['truth'] = _labels(sample['gt_sem_seg'], f'{sample["img_path"]}: the label')
            sizes = [f'{held[name].shape[1]}x{held[name].shape[0]}' for name in ('truth', 'prediction')]
            if sizes[0] != sizes[1]:
                raise InputError(
                    f'{sample["img_path"]}: the label is {sizes[0]} and the prediction {sizes[1]} (width x height); '
                    'put LoadAnnotations after Resize in the pipeline, because labels are scored at their own size'
                )
        return held

    def evaluate(self, size: int) -> dict[str, float]:
        """Return the scores over the ``size`` images of all processes, rounded as in stock."""
        rank, world_size = get_dist_info()
        if len(self.results) * world_size + rank < size:
            self._count_held()
        for counts in (self.confusion, self.boundary):
            all_reduce(torch.from_numpy(counts))
        in_turn = zip_longest(*all_gather_object(self.results))
        rows = [row for turn in in_turn for row in turn if row is not None]
        samples = [sample for part in all_gather_object(self.extremes.samples) for sample in part]
        self.samples = best_and_worst(samples, self.extremes.count)
        metrics = self.compute_metrics(rows)
        self._reset()
        return {f'{self.prefix}/{key}' if self.prefix else key: value for key, value in metrics.items()}

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """``results``: a row for each image, in the order of the data set."""
        scored = [row for row in results if 'reason' not in row]
        if self.folder:
            self.folder.finish([row['img_path'] for row in scored], self.dataset_meta['classes'])
            print_log(f'predictions are in {self.folder.folder}', 'current')
        self.report = self._make_report(scored, [row for row in results if 'reason' in row])
        if self.format_only:
            return {}
        self._log_table()
        return {key: round(value, 2) for key, value in self.report['summary'].items()}

    def _count_held(self) -> None:
        held, self.held = self.held, None
        if held is None:
            return
        if 'skipped' in held:
            self.results.append(held['skipped'])
            return
        classes, row, prediction = self.dataset_meta['classes'], {'img_path': held['img_path']}, held['prediction']
        if not self.format_only:
            row |= self._count(held['img_path'], held['truth'], prediction, len(classes))
            rank, world_size = get_dist_info()
            truth = np.where(held['truth'] == self.ignore_index, np.uint8(255), held['truth'])
            self.extremes.offer(row, len(self.results) * world_size + rank, truth, prediction)
        if self.folder:
            reduced, label_map = held.get('reduce_zero_label', False), self.dataset_meta.get('label_map')
            self.folder.write(held['img_path'], prediction, classes, reduced, label_map)
        self.results.append(row)

    def _count(self, img_path: str, truth: np.ndarray, prediction: np.ndarray, classes: int) -> dict[str, float]:
        """Add an image to the counts, and return its own scores."""
        counts = confusion.count(truth, prediction)
        counts[self.ignore_index] = 0
        own = counts[:classes, :classes]
        if own.sum() != counts.sum():
            i, j = (np.flatnonzero(np.any(counts, axis)[classes:]) + classes for axis in (1, 0))
            what, ids, fix = ('label', i, 'fix it') if i.size else ('prediction', j, 'set model.num_classes')
            raise InputError(
                f'{img_path}: the {what} has ids {", ".join(map(str, ids[:8]))} outside the {classes} classes of the '
                f'data set; {fix}'
            )
        self.confusion += counts
        if self.with_boundary:
            self.boundary += count_boundary(truth, prediction, self.ignore_index)
        scores = confusion.summary(own)
        return {key: scores[key] for key in ('mIoU', 'aAcc')}

    def _make_report(self, per_image: list[dict], skipped: list[dict]) -> dict:
        """All results, in the order of ``scores.json``. Scores are percent, NaN if there is none."""
        classes = self.dataset_meta['classes']
        n = len(classes)
        matrix = self.confusion[:n, :n].copy()
        columns, summary = confusion.class_scores(matrix), confusion.summary(matrix)
        if self.with_boundary:
            columns['boundary_IoU'] = confusion.percent(*self.boundary[:, :n])
            summary['boundary_mIoU'] = confusion.mean(columns['boundary_IoU'])
        rows = [dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True)]
        return {
            'classes': list(classes),
            'palette': [list(colour) for colour in self.dataset_meta.get('palette') or ()],
            'summary': summary,
            'per_class': [{'class': name, **row} for name, row in zip(classes, rows, strict=True)],
            'confusion': matrix.tolist(),
            'per_image': per_image,
            'skipped': skipped,
        }

    def _log_table(self) -> None:
        """Log the table of stock."""
        table = PrettyTable()
        names = {'class': 'Class', 'IoU': 'IoU', 'Acc': 'Acc', 'boundary_IoU': 'Boundary IoU'}
        for key, name in names.items():
            values = [row[key] for row in self.report['per_class'] if key in row]
            if values:
                table.add_column(name, values if key == 'class' else list(np.round(values, 2)))
        print_log('per class results:', 'current')
        print_log(f'\n{table.get_string()}', 'current')


def _labels(data: dict, what: str) -> np.ndarray:
    """The ids of a ``PixelData``, (1, H, W) or (H, W) -> (H, W) uint8."""
    ids = data['data']
    if ids.is_floating_point() or ids.is_complex() or not ids.numel():
        raise InputError(f'{what} is {str(ids.dtype).removeprefix("torch.")} {tuple(ids.shape)}; give integers (H, W)')
    low, high = map(int, ids.aminmax())
    if low < 0 or high >= IDS:
        raise InputError(f'{what} has ids from {low} to {high}, but labels have 8 bits; give ids from 0 to {IDS - 1}')
    labels = ids.to(torch.uint8).cpu().numpy()
    return labels.reshape(labels.shape[-2:])
