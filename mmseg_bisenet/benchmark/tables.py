"""Results as Markdown tables and CSV files."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmseg_bisenet.files import write_text


def markdown(header: Sequence[str], align: str, rows: Iterable[Sequence[object]]) -> str:
    """A table; ``align`` has a letter for each column, ``l`` for left or ``r`` for right."""
    lines = [header, ['---:' if letter == 'r' else '---' for letter in align], *rows]
    return '\n'.join(f'| {" | ".join(map(str, line))} |' for line in lines)


def write_csv(path: str | Path, rows: Sequence[dict], overwrite: bool = False) -> None:
    """Write rows of the same keys, under a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue(), overwrite)
