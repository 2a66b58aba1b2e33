"""The kinds of CSV files in ``results``: which benchmark wrote them, by which command, and how a table shows them."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmseg_bisenet.errors import InputError

Row = dict[str, str]


@dataclass(frozen=True)
class Joined:
    """How one table shows several files of a kind: a line for each distinct ``rows``, a column for each file.

    Args:
        rows: columns of the files that name a line.
        cell: format of a cell, with the columns of the file as names.
        legend: what a cell shows, with ``{vs}`` as in a header.
        lowest: columns of the files that follow the cells; each is shown with its lowest value in all files.
    """

    rows: tuple[str, ...]
    cell: str
    legend: str
    lowest: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """The files of one benchmark.

    Args:
        columns: that a table shows: header and format of each, ``''`` for text. ``{vs}`` in a header is what the file
            compares with. A file belongs to the first kind whose columns it has.
        command: that writes such a file.
        options: arguments of the command, and the columns that hold their values; names of two columns are separated by
            a space. An argument without a dash is positional, and a column of True and False is a flag.
        joined: how several files share one table, if they can.
    """

    columns: dict[str, tuple[str, str]]
    command: str
    options: dict[str, str] = field(default_factory=dict)
    joined: Joined | None = None


def texts(*columns: str) -> dict[str, tuple[str, str]]:
    """Columns of text with their own names as headers."""
    return {column: (column, '') for column in columns}


KINDS = (
    Kind(
        {
            **texts('runtime', 'precision'),
            'p50_ms': ('ms', '.1f'),
            'fps': ('fps', '.1f'),
            'ratio': ('times as fast as {vs}', '.2f'),
            'same_labels': ('same labels, %', '.3f'),
            'peak_mb': ('peak, MB', '.0f'),
        },
        'mmseg-bisenet benchmark',
        {
            'config': 'config',
            'checkpoint': 'weights',
            '--shape': 'height width',
            '--runtime': 'runtime',
            '--precision': 'precision',
            '--vs': 'vs',
            '--images': 'images',
        },
        Joined(
            ('runtime', 'precision'),
            '{p50_ms:.1f} ({ratio:.2f})',
            'Milliseconds an image (times as fast as {vs})',
            ('same_labels',),
        ),
    ),
    Kind(
        {
            **texts('network', 'precision'),
            'channels_last': ('channels last', ''),
            **texts('compiled', 'batch'),
            'images_s': ('images/s', '.2f'),
            'speed_ratio': ('times as fast', '.2f'),
            'peak_mb': ('peak, MB', '.0f'),
            'memory_ratio': ('memory to stock', '.2f'),
        },
        'python -m benchmarks.training',
        {'config': 'config', '--batch': 'batch', '--shape': 'height width', '--compile': 'compiled'},
    ),
    Kind(
        {
            **texts('method', 'precision'),
            'p50_ms': ('ms', '.1f'),
            'fps': ('fps', '.1f'),
            'to_reference': ('to reference', '.2f'),
            'same_labels': ('same labels, %', '.3f'),
        },
        'python -m benchmarks.faces',
        {'--shape': 'height width', '--images': 'images'},
    ),
    Kind(
        {
            **texts('method', 'runtime', 'precision', 'height'),
            'fps': ('fps', '.1f'),
            'to_network': ('to network alone', '.2f'),
            'to_stock': ('to stock loop', '.2f'),
        },
        'python -m benchmarks.video IMAGES',
        {'--shape': 'height width', '--seconds': 'seconds', '--rounds': 'rounds'}
        | {'--runtime': 'runtime', '--precision': 'asked_precision'},
    ),
    Kind(
        {
            'clients': ('clients', '.0f'),
            'requests': ('requests', '.0f'),
            'answered': ('answered', '.0f'),
            'refused': ('refused', '.0f'),
            'lost': ('lost', '.0f'),
            'p50_s': ('p50, s', '.1f'),
            'p99_s': ('p99, s', '.1f'),
            'images_s': ('images/s', '.1f'),
            'before_mb': ('MB before', '.0f'),
            'after_mb': ('MB after', '.0f'),
        },
        'python -m benchmarks.web PHOTOGRAPH',
        {'--clients': 'clients', '--requests': 'requests'},
    ),
    Kind(
        {
            **texts('iterations'),
            'resident_mb': ('resident, MB', '.0f'),
            'slope_mb_per_1000': ('growth a 1,000, MB', '.1f'),
        },
        'python -m benchmarks.soak',
    ),
    Kind(
        {
            'format': ('`--format`', ''),
            **texts('precision', 'runtime'),
            'size_mb': ('file, MB', '.1f'),
            'same_labels': ('same labels, %', '.3f'),
            'ms': ('ms', '.1f'),
        },
        'python -m benchmarks.formats',
        {'model': 'model', '--shape': 'height width', '--rounds': 'rounds', '--calibration': 'calibration'},
    ),
    Kind(
        {
            **texts('clients', 'answered', 'refused', 'lost'),
            'p50_ms': ('p50, ms', '.0f'),
            'p99_ms': ('p99, ms', '.0f'),
            'images_s': ('images/s', '.1f'),
            'before_mb': ('memory before, MB', '.0f'),
            'after_mb': ('after, MB', '.0f'),
        },
        'python -m benchmarks.clients FILE',
        {'--clients': 'clients', '--requests': 'requests', '--shape': 'height width'},
    ),
    Kind(
        {
            **texts('method'),
            'labelled': ('images', ''),
            'same': ('files equal', ''),
            'seconds': ('with start, s', '.1f'),
            'images_s': ('images/s', '.1f'),
        },
        'python -m benchmarks.cluster FILE',
        {'--images': 'images', '--shape': 'height width', '--workers': 'workers'},
    ),
    Kind(
        {
            **texts('segmentor'),
            'ms': ('ms', '.0f'),
            'time_ratio': ('time to stock', '.2f'),
            'peak_mb': ('peak, MB', '.0f'),
            'memory_ratio': ('memory to stock', '.2f'),
            'same_labels': ('same labels, %', '.4f'),
        },
        'python -m benchmarks.evaluation',
        {'config': 'config', '--shape': 'height width'},
    ),
    Kind(
        {
            **texts('precision'),
            'multiply_adds_g': ('G multiply-adds', '.1f'),
            'rate_g': ('G a second', '.0f'),
            'compute_bound_ms': ('compute bound, ms', '.1f'),
            'copy_gb_s': ('copy, GB/s', '.1f'),
            'memory_bound_ms': ('memory bound, ms', '.1f'),
        },
        'python -m benchmarks.roofline',
        {'config': 'config', '--shape': 'height width'},
        Joined(('precision',), '{compute_bound_ms:.1f} / {memory_bound_ms:.1f}', 'Compute / memory bound, ms an image'),
    ),
    Kind(
        {
            **texts('loss'),
            'ms': ('ms', '.0f'),
            'time_ratio': ('time to stock', '.2f'),
            'peak_mb': ('peak, MB', '.0f'),
            'memory_ratio': ('memory to stock', '.2f'),
        },
        'python -m benchmarks.loss',
        {'--batch': 'batch', '--shape': 'height width', '--classes': 'classes', '--heads': 'heads'},
    ),
    Kind(
        {
            **texts('step'),
            'stock': ('stock transforms', ''),
            'stock_ms': ('stock, ms', '.1f'),
            'ours_ms': ('ours, ms', '.1f'),
            'ratio': ('times as fast', '.2f'),
        },
        'python -m benchmarks.pipeline',
        {'config': 'config', '--images': 'images'},
    ),
    Kind(
        {
            **texts('batch'),
            'gpus': ('GPUs', ''),
            'loader_images_s': ('images/s a data worker', '.1f'),
            'step_images_s': ('images/s a GPU trains', '.1f'),
            'workers_a_gpu': ('data workers a GPU', ''),
            'efficiency_low': ('efficiency at least', '.3f'),
            'efficiency_high': ('at most', '.3f'),
        },
        'python -m benchmarks.scaling',
        {'config': 'config'},
    ),
    Kind(
        {
            'changed': ('change', ''),
            'held_out': ('tested on', ''),
            **texts('iterations'),
            'core_minutes': ('core minutes', '.0f'),
            'mIoU': ('mIoU', '.2f'),
            **{name: (name, '.1f') for name in ('car', 'pole', 'signsymbol', 'fence', 'pedestrian', 'bicyclist')},
        },
        'python -m benchmarks.accuracy --leave-one-out',
        {'config': 'config', '--seeds': 'seed'},
    ),
    Kind(
        {'config': ('config', ''), 'seed': ('seed', ''), 'mIoU': ('mIoU', '.2f'), 'aAcc': ('aAcc', '.2f')},
        'python -m benchmarks.accuracy',
        {'config': 'config', '--seeds': 'seed'},
    ),
    Kind(
        {
            **texts('model', 'classes'),
            'parameters': ('parameters', ',.0f'),
            'multiply_adds_512x1024': ('multiply-adds, 512x1024', ',.0f'),
            'activations_512x1024': ('activations, 512x1024', ',.0f'),
        },
        'python -m benchmarks.complexity --write',
    ),
)


def read(source: Path) -> tuple[Kind, list[Row]]:
    """The kind and the rows of a CSV file.

    Raises:
        InputError: the file is missing, or no benchmark writes such a file.
    """
    try:
        with source.open(newline='', encoding='utf-8') as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f'{source} cannot be read ({error.strerror}); run its benchmark') from error
    kind = next((kind for kind in KINDS if rows and kind.columns.keys() <= rows[0].keys()), None)
    if kind is None:
        raise InputError(f'{source} is not the CSV file of a known benchmark; name a file that a benchmark wrote')
    return kind, rows


def baseline(rows: Sequence[Row]) -> str:
    """What the ratios of the rows are to; files without a column for it compare with stock."""
    return ' or '.join(distinct(rows, 'vs')) or 'stock'


def command(kind: Kind, rows: Sequence[Row]) -> str:
    """The command that wrote the rows, as far as they record its options."""
    words = [kind.command]
    for option, columns in kind.options.items():
        values = [value for column in columns.split() for value in distinct(rows, column)]
        # `benchmark` measures its baselines without being asked.
        values = [value for value in values if value not in ('', 'False', 'stock') and not value.startswith('plain-')]
        if values:
            words += [] if option.isalpha() else [option]
            words += [value for value in values if value != 'True']
    return ' '.join(words)


def distinct(rows: Sequence[Row], column: str) -> list[str]:
    """The different values of a column, in their order; none if the rows lack it."""
    return list(dict.fromkeys(row[column] for row in rows if column in row))
