"""Work that is timed in turns with other work, in this process or in one of its own."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mmseg_bisenet.benchmark import latency
from mmseg_bisenet.benchmark.comparison import reason


@contextmanager
def in_process(device: str, prepare: Callable[..., Callable[[], object]], *args) -> Iterator[Callable[[], float]]:
    """A function that runs ``prepare(*args)()``, without the preparation, and returns its milliseconds."""
    work = prepare(*args)

    def run() -> float:
        start = latency.now(device)
        work()
        return 1000 * (latency.now(device) - start)

    yield run


@contextmanager
def in_child(device: str, prepare: Callable[..., Callable[[], object]], *args) -> Iterator[Callable[[], float]]:
    """The same in a process of its own, whose memory no other work uses. All arguments can be pickled.

    Raises:
        RuntimeError: what failed there.
        MemoryError: the process ended.
    """
    context = multiprocessing.get_context('spawn')
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, device, prepare, *args), daemon=True)
    process.start()
    there.close()

    def received() -> Any:
        try:
            answer = here.recv()
        except EOFError:
            raise MemoryError('its process ended, or ran out of memory') from None
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer

    def run() -> float:
        here.send(True)
        return received()

    try:
        received()
        yield run
    finally:
        here.close()
        process.join()


def _serve(connection, device: str, prepare: Callable[..., Callable[[], object]], *args) -> None:
    """Send None when all is prepared, then milliseconds for each request; instead of either, what failed."""
    try:
        with in_process(device, prepare, *args) as run:
            connection.send(None)
            with suppress(EOFError):  # the other side is gone
                while connection.recv():
                    ms = run()
                    time.sleep(latency.PAUSE)
                    connection.send(ms)
    except (RuntimeError, MemoryError) as error:
        connection.send(reason(error))
