"""Fields of a config that contradict each other, checked before anything is built."""

from typing import Any

from mmengine.config import Config

from mmseg_bisenet.config_errors import dicts
from mmseg_bisenet.errors import InputError

# The scores of stock's IoUMetric for each of its `iou_metrics`.
OF_IOU = {
    'mIoU': {'aAcc', 'mIoU', 'mAcc'},
    'mDice': {'aAcc', 'mDice', 'mAcc'},
    'mFscore': {'aAcc', 'mFscore', 'mPrecision', 'mRecall'},
}


def check_together(cfg: Config) -> None:
    """Refuse fields that do not fit each other.

    Raises:
        InputError: it names a field.
    """
    _check_scores(cfg)
    _check_class_weights(cfg)
    preprocessor = cfg.get('model', {}).get('data_preprocessor') or {}
    if preprocessor.get('size') and preprocessor.get('size_divisor'):
        raise InputError('config: model.data_preprocessor has size and size_divisor; remove one of them')


def _check_scores(cfg: Config) -> None:
    """Refuse two metrics with scores of the same name, and a ``save_best`` that no metric computes."""
    for key in ('val_evaluator', 'test_evaluator'):
        found = cfg.get(key) or []
        metrics = list(found) if isinstance(found, list | tuple) else [found]
        known: set[str] = set()
        for number, metric in enumerate(metrics):
            own = _scores(metric) or set()
            if both := sorted(known & own):
                raise InputError(
                    f'config: {key}.{number} and another metric both compute {", ".join(both)}; '
                    'set the prefix of one of them'
                )
            known |= own
        if key == 'val_evaluator' and metrics and all(_scores(metric) is not None for metric in metrics):
            _check_best(cfg, known)


def _check_best(cfg: Config, scores: set[str]) -> None:
    best = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('save_best')
    for name in best if isinstance(best, list | tuple) else [best]:
        if name and name != 'auto' and name not in scores:
            raise InputError(
                f'config: default_hooks.checkpoint.save_best is {name!r}, and val_evaluator computes '
                f'{", ".join(sorted(scores)) or "no score"}; give one of its scores'
            )


def _scores(metric: Any) -> set[str] | None:
    """The names of a metric's scores, or None for a metric that is not known here."""
    kind = metric.get('type') if isinstance(metric, dict) else None
    name = str(getattr(kind, '__name__', kind)).rpartition('.')[2]
    if name not in ('SegmentationMetric', 'IoUMetric'):
        return None
    if metric.get('format_only'):
        return set()
    if name == 'IoUMetric':
        kinds = metric.get('iou_metrics', ['mIoU'])
        names = set().union(*(OF_IOU.get(one, set()) for one in ([kinds] if isinstance(kinds, str) else kinds)))
    else:
        names = {'aAcc', 'mIoU', 'mAcc', 'FWIoU', *(['boundary_mIoU'] if metric.get('boundary') else [])}
    prefix = metric.get('prefix')
    return {f'{prefix}/{one}' if prefix else one for one in names}


def _check_class_weights(cfg: Config) -> None:
    classes = cfg.get('model', {}).get('num_classes')
    for path, node in dicts('model', cfg.get('model')):
        weights = node.get('class_weight')  # or the path of a file
        if classes and classes > 2 and isinstance(weights, list | tuple) and len(weights) != classes:
            raise InputError(
                f'config: {path}.class_weight has {len(weights)} numbers, and model.num_classes is {classes}; give one '
                'for each class'
            )
