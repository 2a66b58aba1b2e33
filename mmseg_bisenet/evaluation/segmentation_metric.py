"""Scores of semantic segmentation, streamed into one confusion matrix.

It takes the place of MMSegmentation's ``IoUMetric``, and says the same in the log. Deviations from stock:

- Pixels are counted as integers, in a matrix. Stock adds float32 histograms, which lose pixels above 2**24 of a class,
  and finds which classes are taken for which nowhere.
- Nothing of an image is kept but a line of scores. Stock keeps four histograms of each until the end.
- Where the sampler gives a process a repeated image, to make all processes' shares equal, it is not counted. Results
  travel over the processes' own connection: stock's default wants a folder that all machines share.
- An id that is no class is an error, which names the image. Stock counts it as a wrong prediction, or not at all.
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

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.evaluation import confusion
from mmseg_bisenet.evaluation.boundary import count_boundary
from mmseg_bisenet.evaluation.confusion import IDS
from mmseg_bisenet.evaluation.predictions import PredictionFolder
from mmseg_bisenet.evaluation.samples import Extremes, best_and_worst
from mmseg_bisenet.registry import METRICS


@METRICS.register_module()
class SegmentationMetric(BaseMetric):
    """aAcc, mIoU, mAcc and FWIoU in percent; IoU and accuracy of each class as a table in the log.

    After :meth:`evaluate`, ``report`` has all of it in full precision, in every process; :meth:`_make_report` says
    what. For at most 256 classes, as MMSegmentation reads labels of 8 bits.

    Args:
        ignore_index: id of pixels without a truth, 0 to 255.
        boundary: adds boundary IoU, at 20 ms an image of 1024x2048.
        output_dir: new folder for the predicted labels.
        format_only: writes predictions and asks for no truth.
        keep_results: stock's test script sets it; predictions are always kept.
        prefix: of the names of scores, where several metrics are used.
        iou_metrics: what stock's configs set; ``['mIoU']`` only.

    Raises:
        InputError: ``output_dir`` exists, or is missing where it is all that is wanted; an id that is no class; a label
            of another size than the prediction.
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
        super().__init__(prefix=prefix)
        if list(iou_metrics) != ['mIoU']:
            raise InputError(
                f'SegmentationMetric: iou_metrics is {list(iou_metrics)}, and it has mIoU alone; remove the others, or '
                'set test_evaluator.type=IoUMetric'
            )
        if format_only and not output_dir:
            raise InputError('test_evaluator.format_only is set and nothing says where to; add --out DIR')
        self.ignore_index = ignore_index
        self.format_only = format_only
        self.folder = PredictionFolder(output_dir) if output_dir else None
        self.extremes = Extremes(0)
        self.with_boundary = boundary
        self._reset()

    def _reset(self) -> None:
        self.results.clear()  # a line for each image of this process
        self.held = None
        self.confusion = np.zeros((IDS, IDS), np.int64)
        self.boundary = np.zeros((2, IDS), np.int64)
        self.extremes = Extremes(self.extremes.count)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count a batch, all but its last image: whether that one is a repeat is known when there is no more."""
        for sample in data_samples:
            self._count_held()
            self.held = self._held(sample)

    def _held(self, sample: dict) -> dict:
        """What counts of a sample: the rest, such as logits, may go."""
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
                    'put LoadAnnotations after Resize in the pipeline, for a label is scored at its own size'
                )
        return held

    def evaluate(self, size: int) -> dict[str, float]:
        """Scores of all processes' images, rounded as stock rounds them; ``size``: number of images."""
        rank, world_size = get_dist_info()
        if len(self.results) * world_size + rank < size:
            self._count_held()
        for counts in (self.confusion, self.boundary):
            all_reduce(torch.from_numpy(counts))
        deals = zip_longest(*all_gather_object(self.results))
        rows = [row for deal in deals for row in deal if row is not None]
        samples = [sample for part in all_gather_object(self.extremes.samples) for sample in part]
        self.samples = best_and_worst(samples, self.extremes.count)
        metrics = self.compute_metrics(rows)
        self._reset()
        return {f'{self.prefix}/{key}' if self.prefix else key: value for key, value in metrics.items()}

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """``results``: a line for each image, in the data set's order."""
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
            self.folder.write(held['img_path'], prediction, classes, held.get('reduce_zero_label', False))
        self.results.append(row)

    def _count(self, img_path: str, truth: np.ndarray, prediction: np.ndarray, classes: int) -> dict[str, float]:
        """Add an image; its own scores."""
        counts = confusion.count(truth, prediction)
        counts[self.ignore_index] = 0
        own = counts[:classes, :classes]
        if own.sum() != counts.sum():
            i, j = (np.flatnonzero(counts.any(axis)[classes:]) + classes for axis in (1, 0))
            what, ids, cure = ('label', i, 'mend it') if i.size else ('prediction', j, 'set model.num_classes')
            raise InputError(
                f'{img_path}: the {what} has ids {", ".join(map(str, ids[:8]))} outside the {classes} classes of the '
                f'data set; {cure}'
            )
        self.confusion += counts
        if self.with_boundary:
            self.boundary += count_boundary(truth, prediction, self.ignore_index)
        scores = confusion.summary(own)
        return {key: scores[key] for key in ('mIoU', 'aAcc')}

    def _make_report(self, per_image: list[dict], skipped: list[dict]) -> dict:
        """All that was found, in the order of ``scores.json``; percent, NaN where there is no score."""
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
        """As stock has it."""
        table = PrettyTable()
        names = {'class': 'Class', 'IoU': 'IoU', 'Acc': 'Acc', 'boundary_IoU': 'Boundary IoU'}
        for key, name in names.items():
            values = [row[key] for row in self.report['per_class'] if key in row]
            if values:
                table.add_column(name, values if key == 'class' else np.round(values, 2))
        print_log('per class results:', 'current')
        print_log(f'\n{table.get_string()}', 'current')


def _labels(data: dict, what: str) -> np.ndarray:
    """(H, W) uint8 of a ``PixelData`` of (1, H, W) or (H, W)."""
    low, high = map(int, data['data'].aminmax())
    if low < 0 or high >= IDS:
        raise InputError(f'{what} has ids from {low} to {high}, which 8 bits do not hold; give ids of 0 to {IDS - 1}')
    labels = data['data'].to(torch.uint8).cpu().numpy()
    return labels.reshape(labels.shape[-2:])
