"""Generated text between two markers in a Markdown file."""

from pathlib import Path

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.files import write_text


def replace_between(path: str | Path, name: str, text: str) -> None:
    """Put ``text`` between the lines ``<!-- name:begin -->`` and ``<!-- name:end -->``, with a blank line around it.

    Raises:
        InputError: the file is missing, or does not have both markers once, in this order.
    """
    before, after = _around(Path(path), name)
    write_text(Path(path), f'{before}\n\n{text.strip()}\n\n{after}', overwrite=True)


def require_markers(path: str | Path, name: str) -> None:
    """Raise the error that :func:`replace_between` would raise, before any work is done."""
    _around(Path(path), name)


def read(path: Path) -> str:
    """The text of a file, with its line ends.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise InputError(f'{path} cannot be read ({error.strerror}); run this in the checkout') from error


def _around(path: Path, name: str) -> tuple[str, str]:
    """The text up to the end of the first marker, and the text from the start of the second."""
    begin, end = f'<!-- {name}:begin -->', f'<!-- {name}:end -->'
    text = read(path)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise InputError(
            f'{path} must have the lines {begin} and {end} once, in this order; add them where the text goes'
        )
    return text[: text.index(begin)] + begin, text[text.index(end) :]
