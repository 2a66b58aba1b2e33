"""Tables of Markdown files from the CSV files of the benchmarks: no figure is typed.

A table stands between ``<!-- FILE.csv:begin -->`` and ``<!-- FILE.csv:end -->``, or says that there is no such file.
"""

import csv
import re
from pathlib import Path

from mmseg_bisenet.benchmark import tables
from mmseg_bisenet.errors import InputError

MARKER = re.compile(r'<!-- (\S+\.csv):begin -->')
# By the figures that a benchmark writes: columns, their headers and formats.
KINDS = [
    {
        'runtime': ('runtime', ''),
        'precision': ('precision', ''),
        'p50_ms': ('ms', '.1f'),
        'fps': ('fps', '.1f'),
        'ratio': ('to stock', '.2f'),
        'same_labels': ('same labels, %', '.3f'),
        'peak_mb': ('peak, MB', '.0f'),
    },
    {
        'network': ('network', ''),
        'precision': ('precision', ''),
        'channels_last': ('channels last', ''),
        'compiled': ('compiled', ''),
        'batch': ('batch', ''),
        'images_s': ('images/s', '.2f'),
        'speed_ratio': ('to stock', '.2f'),
        'peak_mb': ('peak, MB', '.0f'),
        'memory_ratio': ('memory to stock', '.2f'),
    },
    {
        'segmentor': ('segmentor', ''),
        'ms': ('ms', '.0f'),
        'time_ratio': ('to stock', '.2f'),
        'peak_mb': ('peak, MB', '.0f'),
        'memory_ratio': ('memory to stock', '.2f'),
        'same_labels': ('same labels, %', '.4f'),
    },
    {
        'precision': ('precision', ''),
        'multiply_adds_g': ('G multiply-adds', '.1f'),
        'rate_g': ('G a second', '.0f'),
        'compute_floor_ms': ('floor, ms', '.1f'),
        'copy_gb_s': ('copy, GB/s', '.1f'),
        'memory_floor_ms': ('floor of the maps, ms', '.1f'),
    },
    {
        'batch': ('batch', ''),
        'gpus': ('GPUs', ''),
        'loader_images_s': ('images/s a data worker', '.1f'),
        'step_images_s': ('images/s a GPU trains', '.1f'),
        'workers_a_gpu': ('data workers a GPU', ''),
    },
    {'config': ('config', ''), 'seed': ('seed', ''), 'mIoU': ('mIoU', '.2f'), 'aAcc': ('aAcc', '.2f')},
]
SETTING = ('config', 'weights', 'height', 'width', 'machine', 'device', 'threads', 'torch', 'onnxruntime', 'openvino')
SETTING += ('tensorrt', 'tf32', 'cudnn_benchmark')


def renew(path: Path) -> list[str]:
    """Write every table of a Markdown file anew.

    Returns:
        The names of the CSV files that are not there.

    Raises:
        InputError: the file is missing or lacks the end of a table, or a CSV file is of no benchmark known here.
    """
    try:
        names = MARKER.findall(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise InputError(f'{path} cannot be read ({error.strerror}); run this in the checkout') from error
    missing = []
    for name in names:
        source = path.parent / name
        if not source.is_file():
            missing.append(name)
        tables.replace_between(path, name, table(source) if source.is_file() else 'Not measured.')
    return missing


def table(source: Path) -> str:
    """The table of a CSV file, and under it what its rows have in common."""
    with source.open(newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    kind = next((kind for kind in KINDS if rows and kind.keys() <= rows[0].keys()), None)
    if kind is None:
        raise InputError(f'{source} is of no benchmark known here; name one that mmseg-bisenet benchmark… wrote')
    cells = [[_cell(row[key], form) for key, (_, form) in kind.items()] for row in rows]
    align = ''.join('r' if form else 'l' for _, form in kind.values())
    common = [f'{key} {rows[0][key]}' for key in SETTING if rows[0].get(key) and len({row[key] for row in rows}) == 1]
    return f'{tables.markdown([header for header, _ in kind.values()], align, cells)}\n\n{", ".join(common)}'


def _cell(text: str, form: str) -> str:
    if form and text:
        return f'{float(text):{form}}'
    return {'True': 'yes', 'False': ''}.get(text, text)
