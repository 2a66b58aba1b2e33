"""Results on disk: CSV files, and tables between two markers in a Markdown file."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import write_text


def markdown(header: Sequence[str], align: str, rows: Iterable[Sequence[object]]) -> str:
    """A table; ``align`` has a letter for each column, ``l`` for left or ``r`` for right."""
    lines = [header, ['---:' if letter == 'r' else '---' for letter in align], *rows]
    return '\n'.join(f'| {" | ".join(map(str, line))} |' for line in lines)


def replace_between(path: str | Path, name: str, text: str) -> None:
    """Put ``text`` between ``<!-- name:begin -->`` and ``<!-- name:end -->``, on lines of its own.

    Raises:
        InputError: the file is missing, or does not have both markers once, in this order.
    """
    before, after = _around(Path(path), name)
    write_text(path, f'{before}\n\n{text.strip()}\n\n{after}')


def require_markers(path: str | Path, name: str) -> None:
    """Raise what :func:`replace_between` would, before any work is done."""
    _around(Path(path), name)


def _around(path: Path, name: str) -> tuple[str, str]:
    """The file up to the end of the first marker, and from the start of the second."""
    begin, end = f'<!-- {name}:begin -->', f'<!-- {name}:end -->'
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise InputError(f'{path} cannot be read ({error.strerror}); run this in the checkout') from error
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise InputError(
            f'{path} must have the lines {begin} and {end} once, in this order; add them where the text goes'
        )
    return text[: text.index(begin)] + begin, text[text.index(end) :]


def write_csv(path: str | Path, rows: Sequence[dict]) -> None:
    """Write rows of the same keys, under a header; they replace an earlier file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
