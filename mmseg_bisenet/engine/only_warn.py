"""Errors that must not end a training."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.runner import Runner


@contextmanager
def only_warn(runner: Runner, what: str) -> Iterator[None]:
    """Log an error in drawing a picture (disk full, server gone) as a warning; training goes on."""
    try:
        yield
    except Exception as error:
        runner.logger.warning(f'{what} was not drawn at iteration {runner.iter}: {type(error).__name__}: {error}')
