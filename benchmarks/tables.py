"""Write the tables of the documentation, and ``results/README.md``, from the CSV files in ``results``.

No measured figure in the documentation is typed by hand. A page holds two lines around each table:

    <!-- results: FILE.csv:begin -->
    <!-- results: FILE.csv:end -->

``FILE.csv`` is the name of a file in ``results``. Several names, separated by spaces, make one table with a column for
each file, if they are files of ``mmseg-bisenet benchmark`` or of ``benchmarks.roofline``; a column is named after the
parts of the file name that differ. A file that does not exist is an error: write the page without a table.

Whatever is between the two lines is replaced.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import command, kinds
from benchmarks.kinds import Kind, Row, distinct
from benchmarks.markers import read, replace_between
from mmseg_bisenet.benchmark.tables import markdown
from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import write_text

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'results'
MARKER = re.compile(r'<!-- (results: \S+\.csv(?: \S+\.csv)*):begin -->')
SETTING = ('config', 'weights', 'height', 'width', 'machine', 'device', 'threads', 'torch', 'onnxruntime', 'openvino')
SETTING += ('tensorrt', 'tf32', 'cudnn_benchmark')
INDEX = """\
# Results

`python -m benchmarks.tables` writes this page from the CSV files. The last part of a file name is the
machine. A command is put together from what its file records: options that a file does not record are not shown, and a
file may hold the rows of several runs.

"""


def pages() -> list[Path]:
    """The pages of the documentation that have tables of results."""
    files = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
    return [file for file in files if MARKER.search(read(file))]


def renew(page: Path) -> None:
    """Replace every table of a Markdown file.

    Raises:
        InputError: the page is missing or lacks the end of a table; or a CSV file is missing or of no known benchmark.
    """
    for name in MARKER.findall(read(page)):
        try:
            text = table([RESULTS / file for file in name.split()[1:]])
        except InputError as error:
            raise InputError(f'{page}: {error}') from error
        replace_between(page, name, text)


def table(sources: Sequence[Path]) -> str:
    """The table of one CSV file or of several, and below it the setting in which they were measured.

    Raises:
        InputError: a file is missing or of no known benchmark; or the files cannot share a table.
    """
    if len(sources) > 1:
        return joined(sources)
    kind, rows = kinds.read(sources[0])
    cells = [[_cell(row[key], form) for key, (_, form) in kind.columns.items()] for row in rows]
    align = ''.join('r' if form else 'l' for _, form in kind.columns.values())
    header = [text.format(vs=kinds.baseline(rows)) for text, _ in kind.columns.values()]
    return f'{markdown(header, align, cells)}\n\n{_line(_setting(rows))}'


def joined(sources: Sequence[Path]) -> str:
    """One table with a column for each CSV file.

    Raises:
        InputError: a file is missing or of no known benchmark; or the files cannot share a table.
    """
    given = [kinds.read(source) for source in sources]
    kind = given[0][0]
    if kind.joined is None or any(other is not kind for other, _ in given):
        raise InputError(
            f'{", ".join(source.name for source in sources)} cannot share a table; name files of one benchmark, '
            'mmseg-bisenet benchmark or benchmarks.roofline'
        )
    for source, (_, rows) in zip(sources, given, strict=True):
        if 'none' in distinct(rows, 'vs'):
            raise InputError(f'{source.name} has no ratios; measure with a baseline (--vs)')
    labels = _labels(sources)
    files = [{tuple(row[key] for key in kind.joined.rows): row for row in rows} for _, rows in given]
    lines = []
    for names in _in_order([names for file in files for names in file]):
        found = [file.get(names) for file in files]
        cells = [_joined_cell(kind, row) if row else '-' for row in found]
        lowest = [min(float(row[key]) for row in found if row) for key in kind.joined.lowest]
        forms = [kind.columns[key][1] for key in kind.joined.lowest]
        lines.append([*names, *cells, *(f'{value:{form}}' for value, form in zip(lowest, forms, strict=True))])
    header = [kind.columns[key][0] for key in kind.joined.rows] + labels
    header += [f'lowest {kind.columns[key][0]}' for key in kind.joined.lowest]
    align = 'l' * len(kind.joined.rows) + 'r' * (len(header) - len(kind.joined.rows))
    settings = [_setting(rows) for _, rows in given]
    common = [entry for entry in settings[0] if all(entry in setting for setting in settings)]
    shared = _line(common)
    legend = kind.joined.legend.format(vs=kinds.baseline([row for _, rows in given for row in rows]))
    notes = [f'{legend}. {shared[:1].upper()}{shared[1:]}']
    for label, setting in zip(labels, settings, strict=True):
        told = re.split('[x, ]+', label)  # the size of the image, for example
        own = [(key, value) for key, value in setting if (key, value) not in common and value not in told]
        notes += [f'{label}: {_line(own)}'] if own else []
    return f'{markdown(header, align, lines)}\n\n' + '; '.join(notes)


def _labels(sources: Sequence[Path]) -> list[str]:
    """What tells the files apart: the parts of their names that differ."""
    names = [source.stem.split('_') for source in sources]
    if len({len(parts) for parts in names}) > 1:
        return [source.stem for source in sources]
    differ = [len(set(parts)) > 1 for parts in zip(*names, strict=True)]
    return [', '.join(part for part, keep in zip(parts, differ, strict=True) if keep) for parts in names]


def _in_order(names: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Each tuple once, sorted so that equal first parts are together; parts are ordered by their first appearance."""
    known = [list(dict.fromkeys(parts)) for parts in zip(*names, strict=True)]
    return sorted(set(names), key=lambda parts: [order.index(part) for order, part in zip(known, parts, strict=True)])


def _joined_cell(kind: Kind, row: Row) -> str:
    figures = {key: float(row[key]) for key, (_, form) in kind.columns.items() if form and row[key]}
    return kind.joined.cell.format(**figures)


def _setting(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Names and values of the settings that all rows share."""
    values = {key: distinct(rows, key) for key in SETTING}
    return [(key, found[0]) for key, found in values.items() if len(found) == 1 and found[0]]


def _line(setting: Sequence[tuple[str, str]]) -> str:
    return ', '.join(f'{key} {value}' for key, value in setting)


def _cell(text: str, form: str) -> str:
    if form and text:
        return f'{float(text):{form}}'
    return {'True': 'yes', 'False': ''}.get(text, text)


def index(folder: Path) -> str:
    """The page that lists the CSV files of a folder: config, machine and command of each.

    Raises:
        InputError: a file is of no known benchmark.
    """
    lines = []
    for source in sorted(folder.glob('*.csv')):
        kind, rows = kinds.read(source)
        machine = [*distinct(rows, 'machine'), *distinct(rows, 'device')]
        machine += [f'threads {threads}' for threads in distinct(rows, 'threads')]
        machine += [f'PyTorch {version}' for version in distinct(rows, 'torch')]
        configs = ', '.join(f'`{config}`' for config in distinct(rows, 'config')) or '-'
        name = f'[`{source.name}`]({source.name})'
        lines.append([name, configs, ', '.join(machine) or '-', f'`{kinds.command(kind, rows)}`'])
    return INDEX + markdown(['file', 'config', 'machine', 'command'], 'llll', lines) + '\n'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = 'pages to renew; by default README.md, docs/*.md and results/README.md'
    parser.add_argument('files', nargs='*', type=Path, metavar='FILE', help=text)


def run(args: argparse.Namespace) -> None:
    for page in args.files or pages():
        renew(page)
    if not args.files:
        write_text(RESULTS / 'README.md', index(RESULTS), overwrite=True)


def main(argv: Sequence[str] | None = None) -> int:
    return command.main('tables', __doc__, add_arguments, run, argv)


if __name__ == '__main__':
    sys.exit(main())
