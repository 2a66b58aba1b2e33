"""The HTML page of the results in ``WORK_DIR/evaluation``."""

import os
from pathlib import Path
from urllib.parse import quote

import jinja2
import numpy as np

from mmseg_bisenet.own_results import EVALUATION
from mmseg_bisenet.palette import colours_for
from mmseg_bisenet.report import curves, pictures
from mmseg_bisenet.report.scores import read

TABLE_CLASSES = 30  # with more classes, the confusion matrix is a picture
LARGEST = 15  # confusions in the list


def render(work_dir: Path, folder: Path) -> tuple[str, str]:
    """Render the page of a work dir as HTML. Everything but the links to the scores is embedded.

    If a picture is missing, the page says which.

    Args:
        work_dir: the work dir of a test.
        folder: the folder of the page; links are relative to it.

    Returns:
        The page; and what it leaves out of damaged logs, or ''.

    Raises:
        InputError: there are no scores, or they are damaged.
    """
    lines, damaged = curves.read(work_dir)
    return _render(_scores(work_dir), curves.charts(lines), damaged, work_dir, folder), damaged


def inputs(work_dir: Path) -> list[Path]:
    """The files that the page is made of and about: config, checkpoint, logs, and every image of the test.

    Raises:
        InputError: there are no scores, or they are damaged.
    """
    scores = _scores(work_dir)
    images = [row['img_path'] for rows in ('per_image', 'skipped', 'samples') for row in scores[rows]]
    names = [scores['config'], scores['checkpoint'], *images]
    return [Path(name) for name in names if name] + curves.logs(work_dir)


def _scores(work_dir: Path) -> dict:
    path = work_dir / EVALUATION / 'scores.json'
    return read(path, f'run mmseg-bisenet test CONFIG CHECKPOINT --work-dir {work_dir}')


def _render(scores: dict, charts: list[curves.Chart], damaged: str, work_dir: Path, folder: Path) -> str:
    evaluation = work_dir / EVALUATION
    classes = scores['classes']
    palette = colours_for(len(classes), scores['palette'])
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
        charts=charts,
        damaged=damaged,
        plot=curves.PLOT,
        samples={kind: [sample for sample in samples if sample['kind'] == kind] for kind in ('best', 'worst')},
        links={
            name: quote(os.fsencode(Path(os.path.relpath(evaluation / name, folder)).as_posix()))
            for name in ('scores.json', 'per_class.csv', 'per_image.csv')
        },
    )


def _confusion(classes: list[str], counts: np.ndarray) -> dict:
    """The confusion matrix as cells or as a picture, and its largest confusions.

    Args:
        counts: (C, C) pixels; rows are the truth.
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
        title=f'{classes[i]} predicted as {classes[j]}: {percent:.2f} %, {counts[i, j]:,} pixels',
    )
