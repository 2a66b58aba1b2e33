"""Read ``scores.json``, and find the first field that no test writes."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import check_input

KEYS = {
    *('config', 'checkpoint', 'created', 'versions', 'classes', 'palette', 'summary'),
    *('per_class', 'confusion', 'per_image', 'skipped', 'samples'),
}
ROUNDING = 0.01  # of a percentage
MOST_PIXELS = 2**53  # a cell of the confusion matrix


def read(path: Path, again: str) -> dict:
    """Read and check the scores.

    Args:
        again: the command that writes them.

    Raises:
        InputError: there are none, or they are damaged.
    """
    check_input(path)
    try:
        scores = json.loads(path.read_bytes(), parse_constant=_refuse)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f'{path} does not exist; {again} first') from error
    except OSError as error:
        raise InputError(f'{path} cannot be read ({error.strerror}); make it readable') from error
    except RecursionError as error:
        raise InputError(f'{path} is damaged (it is nested too deeply); {again} again') from error
    except ValueError as error:
        raise InputError(f'{path} is damaged ({error}); {again} again') from error
    if fault := _fault(scores):
        raise InputError(f'{path} is damaged ({fault}); {again} again')
    return scores


def _refuse(name: str) -> None:
    raise ValueError(f'{name} is no number of JSON')


def _fault(scores: Any) -> str:
    """The first field that cannot be, or ''."""
    missing = KEYS - set(scores if isinstance(scores, dict) else ())
    if missing:
        return f'it lacks {", ".join(sorted(missing))}'
    classes = scores['classes']
    if not _rows(classes, str) or not classes or len(set(classes)) < len(classes):
        return 'classes has to be a list of different names'
    count = len(classes)
    if scores['palette'] and not _table(scores['palette'], count, 3, 255):
        return f'palette has to be {count} colours of three integers from 0 to 255'
    if not _table(scores['confusion'], count, count, MOST_PIXELS):
        return f'confusion has to be {count} rows of {count} counts, none below 0'
    for key in ('config', 'checkpoint', 'created'):
        if not isinstance(scores[key], str | None):
            return f'{key} has to be text'
    if not isinstance(scores['versions'], dict):
        return 'versions has to be names with versions'
    summary = scores['summary']
    if not isinstance(summary, dict) or not summary or not all(map(_percent, summary.values())):
        return 'summary has to be names with percentages from 0 to 100'
    rows = scores['per_class']
    if not _rows(rows, dict) or [row.get('class') for row in rows] != classes:
        return 'per_class has to be a row for each of classes'
    for key, texts, numbers in (
        ('per_class', ('class',), ('IoU', 'Acc', 'pixels')),
        ('per_image', ('img_path',), ('mIoU', 'aAcc')),
        ('skipped', ('img_path', 'reason'), ()),
        ('samples', ('img_path', 'kind', 'truth', 'prediction'), ('mIoU', 'aAcc')),
    ):
        if not _rows(scores[key], dict):
            return f'{key} has to be a list of rows'
        for number, row in enumerate(scores[key]):
            for name in (*texts, *numbers, *(['boundary_IoU'] if 'boundary_IoU' in row else [])):
                if name in texts and not isinstance(row.get(name), str):
                    return f'{key}[{number}].{name} has to be text'
                if name not in texts and (name not in row or not _percent(row[name])):
                    return f'{key}[{number}].{name} has to be a percentage from 0 to 100'
    return _contradiction(scores)


def _contradiction(scores: dict) -> str:
    """The first score that is not that of the confusion matrix, or ''."""
    matrix = np.array(scores['confusion'], float)
    right, truth, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid='ignore'):
        own = dict(
            IoU=100 * right / (truth + predicted - right), Acc=100 * right / truth, pixels=100 * truth / truth.sum()
        )
        total = dict(aAcc=100 * right.sum() / matrix.sum(), mIoU=_mean(own['IoU']), mAcc=_mean(own['Acc']))
    for name, values in own.items():
        for number, (value, row) in enumerate(zip(values, scores['per_class'], strict=True)):
            if _differs(row[name], value):
                return f'per_class[{number}].{name} is {row[name]}, and {value:.4f} in confusion'
    for name, value in total.items():
        if name in scores['summary'] and _differs(scores['summary'][name], value):
            return f'summary.{name} is {scores["summary"][name]}, and {value:.4f} in confusion'
    return ''


def _mean(values: np.ndarray) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else math.nan


def _differs(score: float | None, value: float) -> bool:
    return not math.isnan(value) if score is None else not abs(score - value) <= ROUNDING


def _rows(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(row, kind) for row in value)


def _table(value: Any, rows: int, columns: int, most: int) -> bool:
    """Whether it is ``rows`` lists of ``columns`` integers from 0 to ``most``."""
    return (
        _rows(value, list)
        and len(value) == rows
        and all(len(row) == columns and all(type(cell) is int and 0 <= cell <= most for cell in row) for row in value)
    )


def _percent(value: Any) -> bool:
    """None: undefined, such as the IoU of a class that never occurs. Sums may round to a little more than 100."""
    return value is None or (type(value) in (int, float) and 0 <= value <= 100 + 1e-6)
