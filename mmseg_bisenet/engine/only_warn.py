"""What may fail without ending a training."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.runner import Runner


@contextmanager
def only_warn(runner: Runner, what: str) -> Iterator[None]:
    """Pictures are not worth a training: whatever fails in drawing one (disk full, server gone) is logged, no more."""
    try:
        yield
    except Exception as error:
        runner.logger.warning(f'{what} was not drawn at iteration {runner.iter}: {type(error).__name__}: {error}')
