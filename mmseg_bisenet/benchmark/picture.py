"""Accuracy against speed of the methods that were compared."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter

from mmseg_bisenet.deploy.backends import BACKENDS
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import replacing

MARKERS = dict(fp32='o', fp16='^', bf16='s', int8='D')
COLOURS = dict(stock='black') | {backend.name: f'C{i}' for i, backend in enumerate(BACKENDS)}
TICKS = (50, 10, 5, 1, 0.5, 0.1, 0.05, 0.01, 0.005, 0.001, 0.0005, 0.0001)  # percent of the labels that differ


def draw(rows: Sequence[dict], title: str, path: str | Path, overwrite: bool = False) -> None:
    """A point for each row: images a second, and the share of labels equal to stock's in fp32, both on log scales.

    Args:
        rows: with ``runtime``, ``precision``, ``fps`` and ``same_labels`` in percent.
        title: of the picture.
        path: ``.png`` or another format of Matplotlib.
        overwrite: whether it may replace a file.

    Raises:
        InputError: the file cannot be written, or its name has no known ending.
    """
    figure = Figure(figsize=(9, 5.5), dpi=150, layout='constrained')
    axes = figure.add_subplot()
    differ = np.array([100 - row['same_labels'] for row in rows])
    # A log scale has no zero: "all equal" is drawn a step above the best of the others.
    top = min([0.01, *differ[differ > 0]]) / 3
    order = sorted(range(len(rows)), key=lambda i: rows[i]['runtime'].startswith('plain'))  # the hollow ones on top
    for i in order:
        row, value = rows[i], max(differ[i], top)
        axes.plot(row['fps'], value, **_style(row['runtime']), marker=MARKERS[row['precision']], alpha=0.8)
    entries = [
        Line2D([], [], **_style(name), marker=MARKERS['fp32'], label=name)
        for name in dict.fromkeys(row['runtime'] for row in rows)
    ]
    entries += [
        Line2D([], [], linestyle='', color='grey', marker=MARKERS[name], label=name)
        for name in MARKERS
        if any(row['precision'] == name for row in rows)
    ]
    figure.legend(handles=entries, loc='outside right upper', frameon=False)
    ticks = [tick for tick in TICKS if top * 1.5 < tick <= max(*differ, 0.1)]
    axes.set(xscale='log', yscale='log', xlabel='images a second, batch 1')
    axes.set_title(title, fontsize=10)
    axes.tick_params(axis='x', which='both', length=4)
    axes.set_ylabel("labels equal to stock's in fp32")
    axes.set_yticks([*ticks, top], [*(f'{100 - tick:g}%' for tick in ticks), 'all'], minor=False)
    axes.set_yticks([], minor=True)
    axes.invert_yaxis()
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_formatter('{x:g}')
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.5)))
    content = BytesIO()  # if Matplotlib writes to a full disk, its error may have no reason
    try:
        figure.savefig(content, format=Path(path).suffix[1:])
    except ValueError as error:
        raise InputError(f'--picture {path} cannot be written ({error}); name another file') from error
    with replacing(path, overwrite) as partial:
        partial.write_bytes(content.getvalue())


def _style(runtime: str) -> dict:
    """The plain export has the colour of its runtime, and is hollow."""
    name = runtime.removeprefix('plain-')
    fill = COLOURS[name] if name == runtime else 'none'
    return dict(color=COLOURS[name], markerfacecolor=fill, markersize=9, markeredgewidth=1.5, linestyle='')
