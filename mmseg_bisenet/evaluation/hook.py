"""The results of a test or a training as files: JSON, CSV, and the labels of the best and the worst images."""

import csv
import json
import math
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mmcv
import mmengine
import mmseg
import torch
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner

import mmseg_bisenet
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.evaluation.segmentation_metric import SegmentationMetric
from mmseg_bisenet.files import remove_leftovers, require_outside
from mmseg_bisenet.locks import lock
from mmseg_bisenet.own_results import EVALUATION, replacing_own, require_own
from mmseg_bisenet.registry import HOOKS

if TYPE_CHECKING:
    from filelock import BaseFileLock


@HOOKS.register_module()
class EvaluationHook(Hook):
    """Write the results of the :class:`SegmentationMetric` of a test or a training into ``WORK_DIR/evaluation``.

    ``scores.json`` contains everything, ``per_class.csv`` and ``per_image.csv`` its tables, ``samples`` the truth and
    prediction of images as PNG files of ids. A test replaces the folder at its end, so a test that fails keeps the
    earlier one; a training does at each evaluation. A folder that holds anything else is refused before the start. If
    it cannot be written later, a training goes on, with a warning.

    Args:
        samples: number of images to keep of the best, and of the worst.
    """

    def __init__(self, samples: int = 6) -> None:
        self.samples = samples
        self.lock: BaseFileLock | None = None

    def before_train(self, runner: Runner) -> None:
        if is_main_process() and runner.val_loop is not None:
            require_own(Path(runner.work_dir, EVALUATION))
            with suppress(InputError), _locked(runner):  # a test may be running
                remove_leftovers(runner.work_dir, EVALUATION)

    def before_val(self, runner: Runner) -> None:
        self._keep_samples(runner.val_evaluator)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        saved = Path(runner.work_dir, f'iter_{runner.iter}.pth')
        if not is_main_process():
            return
        try:
            with _locked(runner):
                self._write(runner, runner.val_evaluator, str(saved) if saved.is_file() else None)
        except InputError as error:
            runner.logger.warning(f'the results at iteration {runner.iter} are not written: {error}')

    def before_test(self, runner: Runner) -> None:
        if is_main_process():
            folder = Path(runner.work_dir, EVALUATION)
            require_own(folder)
            for metric in _metrics(runner.test_evaluator):
                if metric.folder:
                    require_outside(metric.folder.folder, folder, 'name another folder for predictions')
            self.lock = lock(folder.parent, 'test')
            remove_leftovers(folder.parent, folder.name)
        self._keep_samples(runner.test_evaluator)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        # An ExportedSegmentor has `exported`.
        self._write(runner, runner.test_evaluator, runner._load_from or getattr(runner.model, 'exported', None))

    def _keep_samples(self, evaluator: Evaluator) -> None:
        for metric in _metrics(evaluator):
            metric.extremes.count = self.samples

    def _write(self, runner: Runner, evaluator: Evaluator, checkpoint: str | None) -> None:
        for metric in _metrics(evaluator):
            if is_main_process() and not metric.format_only:
                write(Path(runner.work_dir, EVALUATION), _about(runner, checkpoint), metric)

    def after_test(self, runner: Runner) -> None:
        if self.lock:
            self.lock.release()


@contextmanager
def _locked(runner: Runner) -> Iterator[None]:
    """As a test in the same work dir does."""
    held = lock(runner.work_dir, 'test')
    try:
        yield
    finally:
        if held:
            held.release()


def _metrics(evaluator: Evaluator) -> list[SegmentationMetric]:
    """The first :class:`SegmentationMetric`, if any: there is only one folder."""
    return [metric for metric in evaluator.metrics if isinstance(metric, SegmentationMetric)][:1]


def _about(runner: Runner, checkpoint: str | None) -> dict:
    modules = (mmseg_bisenet, mmseg, mmengine, mmcv, torch)
    return {
        'config': runner.cfg.filename,
        'checkpoint': checkpoint,
        'created': datetime.now().astimezone().isoformat(timespec='seconds'),
        'versions': {
            'python': platform.python_version(),
            **{module.__name__: str(module.__version__) for module in modules},
        },
    }


def write(folder: Path, about: dict, metric: SegmentationMetric) -> None:
    """Replace ``folder`` by the results of ``metric``.

    Raises:
        InputError: the folder cannot be written, or holds what no test wrote.
    """
    with replacing_own(folder) as partial:
        _write(partial, about, metric)


def _write(folder: Path, about: dict, metric: SegmentationMetric) -> None:
    (folder / 'samples').mkdir(parents=True)
    report = _without_nan(metric.report)
    report['samples'] = []
    for kind, samples in metric.samples.items():
        for i, sample in enumerate(samples):
            entry: dict[str, Any] = {
                'kind': kind,
                'img_path': sample.img_path,
                'mIoU': sample.mIoU,
                'aAcc': sample.aAcc,
            }
            for name in ('truth', 'prediction'):
                entry[name] = f'samples/{kind}_{i:02d}_{name}.png'
                (folder / entry[name]).write_bytes(getattr(sample, name))
            report['samples'].append(entry)
    for table in ('per_class', 'per_image'):
        _write_csv(folder / f'{table}.csv', report[table])
    (folder / 'scores.json').write_text(json.dumps(about | report, allow_nan=False) + '\n')


def _write_csv(path: Path, rows: list[dict]) -> None:
    with path.open('w', newline='', encoding='utf-8', errors='surrogateescape') as file:  # names of any bytes
        writer = csv.DictWriter(file, rows[0] if rows else (), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)


def _without_nan(value: Any) -> Any:
    """Replace NaN, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
