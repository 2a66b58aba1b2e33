"""The curves of a training as SVG: loss, mIoU and learning rate, from the log of MMEngine.

The engine's ``draw_curves`` is not used, for two reasons. It needs the loss of every iteration from a message hub, and
the log has only averages over intervals. Its picture would stay white in dark mode, and its text small on a phone.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.ticker import Locator, LogLocator, MaxNLocator

PLOT = dict(left=44, right=378, top=10, bottom=190)  # the area of the curve, in an SVG of 400 x 220
MOST_POINTS = 600
SHOWN = ('loss', 'mIoU', 'lr')


@dataclass
class Chart:
    """A curve in SVG units. Ticks are (position, text)."""

    title: str
    summary: str
    points: list[tuple[float, float]]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    dots: list[tuple[float, float, str]]  # x, y, tooltip


def charts(lines: list[dict]) -> list[Chart]:
    """The charts of what :func:`read` gives; a chart without values is left out."""
    shown = []
    if len(loss := _series(lines, 'loss')):
        summary = f'{loss[0, 1]:.4g} at step {loss[0, 0]:.0f}, {loss[-1, 1]:.4g} at step {loss[-1, 0]:.0f}'
        log = bool(loss[:, 1].min() > 0)
        shown.append(_chart('loss, on a log scale' if log else 'loss', summary, loss, log))
    if len(miou := _series(lines, 'mIoU')):
        step, best = miou[miou[:, 1].argmax()]
        shown.append(_chart('mIoU of the evaluations, %', f'best {best:.2f} at step {step:.0f}', miou, dots=True))
    if len(rate := _series(lines, 'lr')):
        shown.append(_chart('learning rate', f'highest {rate[:, 1].max():.3g}', rate))
    return shown


def read(work_dir: Path) -> tuple[list[dict], str]:
    """Read the lines that MMEngine logged, each with its ``step``.

    Each later run, resumed or started again, replaces the lines from its first step on. Damaged lines are left out,
    such as the last one of a run that was killed.

    Returns:
        The lines; and how many were left out, with the first, or ''.
    """
    lines: list[dict] = []
    damaged = []
    for path in logs(work_dir):
        run = []
        for number, text in enumerate(path.read_text(errors='replace').splitlines(), 1):
            if line := _parse(text):
                run.append(line)
            else:
                damaged.append(f'line {number} of {path}')
        training = [line['step'] for line in run if 'loss' in line]
        if training:  # a test without training also logs its scores, at step 0
            lines = [line for line in lines if line['step'] < training[0]] + run
    told = f'damaged lines of logs are left out: {len(damaged)}, the first is {damaged[0]}' if damaged else ''
    return lines, told


def logs(work_dir: Path) -> list[Path]:
    """The logs of MMEngine, in the order of the dates in the names of their folders."""
    return [path for path in sorted(work_dir.glob('*/vis_data/scalars.json')) if path.is_file()]


def _parse(text: str) -> dict | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not isinstance(line.get('step'), int):
        return None
    numbers = [line.get(key, 0) for key in ('step', *SHOWN)]
    # Python reads integers of any length, and a chart has floats.
    whole = all(isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**53) for value in numbers)
    return line if whole else None


def _series(lines: list[dict], key: str) -> np.ndarray:
    """(N, 2) steps and finite values."""
    points = [(line['step'], line[key]) for line in lines if math.isfinite(line.get(key, math.nan))]
    return np.array(points, float).reshape(-1, 2)


def _chart(title: str, summary: str, values: np.ndarray, log: bool = False, dots: bool = False) -> Chart:
    locator = LogLocator(subs=(1, 2, 5)) if log else MaxNLocator(nbins=5)
    x, x_ticks = _axis(values[:, 0], MaxNLocator(nbins=5, integer=True), False, PLOT['left'], PLOT['right'], ',.0f')
    y, y_ticks = _axis(values[:, 1], locator, log, PLOT['bottom'], PLOT['top'], 'g')
    points = np.stack([x, y], axis=1)
    thin = [block.mean(axis=0) for block in np.array_split(points, min(len(points), MOST_POINTS))]
    told = [f'{value:.2f} at step {step:.0f}' for step, value in values]
    return Chart(
        title=title,
        summary=summary,
        points=[(float(x), float(y)) for x, y in thin],
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        dots=list(zip(x.tolist(), y.tolist(), told, strict=True)) if dots else [],
    )


def _axis(
    values: np.ndarray, locator: Locator, log: bool, start: float, end: float, form: str
) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Map the values to positions between ``start`` and ``end``; return the positions and the ticks."""
    scale = np.log10 if log else np.asarray
    low, high = values.min(), values.max()
    if low == high:  # a single evaluation, or a constant learning rate
        low, high = (low / 2, high * 2) if low > 0 else (low - 1, high + 1)
    position = lambda v: start + (end - start) * (scale(v) - scale(low)) / (scale(high) - scale(low))  # noqa: E731
    ticks = [tick for tick in locator.tick_values(low, high) if low <= tick <= high]
    return position(values), [(float(position(tick)), format(round(tick, 12), form)) for tick in ticks]
