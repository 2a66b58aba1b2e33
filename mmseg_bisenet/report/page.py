"""The page: what ``mmseg_bisenet.SegmentationMetric`` wrote into ``WORK_DIR/evaluation``, for a person to look at."""

import json
import os
from pathlib import Path
from urllib.parse import quote

import jinja2
import numpy as np

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.report import curves, pictures

TABLE_CLASSES = 30  # a matrix of more is a picture
LARGEST = 15
KEYS = {
    *('config', 'checkpoint', 'created', 'versions', 'classes', 'palette', 'summary'),
    *('per_class', 'confusion', 'per_image', 'skipped', 'samples'),
}


def render(work_dir: Path, folder: Path) -> str:
    """The page of a work dir as HTML; it asks for no other file, and links the numbers as seen from ``folder``.

    Raises:
        InputError: there are no scores, or they are damaged. A picture that is missing is named in its place.
    """
    evaluation = work_dir / 'evaluation'
    scores = _load(evaluation / 'scores.json', work_dir)
    classes = scores['classes']
    # A data set may have no colours.
    palette = scores['palette'] or np.random.default_rng(0).integers(0, 256, (len(classes), 3)).tolist()
    samples = []
    for sample in scores['samples']:
        drawn, shown = pictures.of_sample(sample, evaluation, classes, palette)
        samples.append(sample | dict(name=Path(sample['img_path']).name, pictures=drawn, shown=sorted(shown)))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['number'] = lambda value, digits=2: '—' if value is None else f'{value:.{digits}f}'
    return environment.get_template('page.html.jinja').render(
        scores=scores,
        palette=palette,
        title=Path(scores['config'] or work_dir.resolve()).stem,
        most_pixels=max((row['pixels'] or 0 for row in scores['per_class']), default=0) or 1,
        confusion=_confusion(classes, np.array(scores['confusion'], np.int64)),
        charts=curves.charts(work_dir),
        plot=curves.PLOT,
        samples={kind: [sample for sample in samples if sample['kind'] == kind] for kind in ('best', 'worst')},
        links={
            name: quote(Path(os.path.relpath(evaluation / name, folder)).as_posix())
            for name in ('scores.json', 'per_class.csv', 'per_image.csv')
        },
    )


def _load(path: Path, work_dir: Path) -> dict:
    again = f'run mmseg-bisenet test CONFIG CHECKPOINT --work-dir {work_dir}'
    try:
        scores = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f'{path} is not there; {again} first') from error
    except OSError as error:
        raise InputError(f'{path} cannot be read ({error.strerror}); give yourself the right to read it') from error
    except ValueError as error:
        raise InputError(f'{path} is damaged ({error}); {again} again') from error
    missing = KEYS - set(scores if isinstance(scores, dict) else ())
    if missing:
        raise InputError(f'{path} is damaged (it lacks {", ".join(sorted(missing))}); {again} again')
    return scores


def _confusion(classes: list[str], counts: np.ndarray) -> dict:
    """What the page shows of the matrix: cells or a picture, and the largest confusions.

    Args:
        counts: (C, C) pixels, rows are truth.
    """
    share = counts / counts.sum(axis=1, keepdims=True).clip(1)
    wrong = counts - np.diag(counts.diagonal())
    pairs = np.column_stack(np.unravel_index(wrong.argsort(axis=None)[::-1][:LARGEST], wrong.shape))
    largest = [
        dict(
            truth=classes[i],
            prediction=classes[j],
            of_wrong=100 * wrong[i, j] / wrong.sum(),
            of_truth=100 * share[i, j],
        )
        for i, j in pairs
        if wrong[i, j]
    ]
    small = len(classes) <= TABLE_CLASSES
    rows = [
        (label, [_cell(classes, share, counts, i, j) for j in range(len(classes))]) for i, label in enumerate(classes)
    ]
    return dict(largest=largest, rows=rows if small else None, picture=None if small else pictures.of_confusion(share))


def _cell(classes: list[str], share: np.ndarray, counts: np.ndarray, i: int, j: int) -> dict:
    percent = 100 * share[i, j]
    return dict(
        text='' if not counts[i, j] else f'{percent:.0f}' if percent >= 99.95 else f'{percent:.1f}',
        depth=np.sqrt(share[i, j]),
        hit=i == j,
        title=f'{classes[i]} taken for {classes[j]}: {percent:.2f} %, {counts[i, j]:,} pixels',
    )
