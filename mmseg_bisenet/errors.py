"""The one exception for errors that the user can fix, and its text."""


class InputError(ValueError, AssertionError):
    """A wrong config, file or argument; an ``AssertionError`` too, because stock raises that for wrong arguments.

    The message is one line: the name of the thing, the problem, and the fix. The command line prints it without a
    traceback and exits with status 2. It takes a single string, so that PyTorch can raise it again in the main process
    when a data worker fails.
    """


def line(error: InputError) -> str:
    """The message in one line: the error of a data worker starts with the worker's traceback."""
    return str(error).strip().splitlines()[-1].removeprefix(f'{InputError.__module__}.{InputError.__qualname__}: ')


def require_flags(**flags: object) -> None:
    """Refuse arguments that are neither True nor False, such as texts, each of which would be true.

    Raises:
        InputError: it names the first.
    """
    for name, value in flags.items():
        if value not in (True, False):
            raise InputError(f'{name}={short(repr(value))}: give True or False')


def short(text: str, most: int = 100) -> str:
    """The start of a text that comes from a file or the environment, for a message."""
    return text if len(text) <= most else f'{text[:most]}…'
