"""Reading, the network and writing at the same time, in three threads with bounded queues between them.

Drawing and writing are done by the caller's thread, because windows and Ctrl-C belong to the main one.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

import numpy as np

from mmseg_bisenet.errors import InputError, line
from mmseg_bisenet.predict.result import Result
from mmseg_bisenet.predict.sinks.base import Sink
from mmseg_bisenet.predict.sources import Frame, Source

QUEUE = 4  # frames between two stages; it evens out their times
STAGES = ('decode', 'network', 'labels', 'draw', 'encode', 'glass to glass')
REMEMBERED = 10_000  # frames that the percentiles are of, the last ones
JOIN = 2.0  # seconds to wait for a thread that ends; it may wait for the network
POLL = 0.1  # seconds between two looks at `stop` while a queue is full or empty

Item = TypeVar('Item')


@dataclass
class Report:
    """What a run did.

    Args:
        frames: that were written.
        dropped: frames of live sources that were skipped for newer ones.
        failures: one line for each source that could not be read, or frame that could not be labelled.
        seconds: from the first frame to the end.
        times: milliseconds of the last frames by stage. ``glass to glass`` is from the beginning of reading a frame, or
            of the run, to the end of writing it, with the time that it waited.
    """

    frames: int = 0
    dropped: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0
    times: dict[str, deque[float]] = field(
        default_factory=lambda: {stage: deque(maxlen=REMEMBERED) for stage in STAGES}
    )

    def error(self) -> InputError:
        """The first failure, and how many more there are."""
        others = len(self.failures) - 1
        return InputError(self.failures[0] + (f' (and {others} others like it)' if others else ''))

    def table(self) -> str:
        """p50 and p99 of each stage, in milliseconds."""
        width = max(map(len, STAGES))
        lines = [f'{"ms a frame":{width}}  {"p50":>8}  {"p99":>8}']
        for stage, times in self.times.items():
            p50, p99 = np.percentile(times, [50, 99]) if times else (0, 0)
            lines.append(f'{stage:{width}}  {p50:8.2f}  {p99:8.2f}')
        return '\n'.join(lines)


class Pipeline:
    """Frames of sources, read ahead from the moment it is made.

    Args:
        sources: of the frames, one after the other.
        stop: when it is set, all threads end after their current frame.

    Raises:
        InputError: no source gives a frame.
    """

    def __init__(self, sources: Sequence[Source], stop: Event) -> None:
        self.report = Report()
        self._stop, self._threads = stop, list[Thread]()
        self._live = any(source.live for source in sources)
        self._queue = 1 if self._live else QUEUE
        frames = self._ahead(self._read(sources), newest=self._live)
        first = next(frames, None)
        if first is None and self.report.failures:
            raise self.report.error()
        self._frames = chain([first] if first else [], frames)

    def results(self, label: Callable[[Frame], Result]) -> Iterator[tuple[Frame, Result]]:
        """Results as they come.

        Args:
            label: called in a thread of its own; frames that it raises an ``InputError`` for are left out.
        """
        return self._ahead(self._label(label))

    def run(
        self, label: Callable[[Frame], Result], sinks: Sequence[Sink], progress: Callable[[Report, Result], None]
    ) -> Report:
        """Write the results to the sinks. A sink's error ends the run."""
        self._begin = time.perf_counter()
        try:
            with ExitStack() as stack:
                for sink in sinks:
                    stack.enter_context(sink)
                for frame, result in self.results(label):
                    self._write(frame, result, [sink for sink in sinks if sink.takes(frame.source)])
                    self.report.seconds = time.perf_counter() - self._begin
                    progress(self.report, result)
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(JOIN)
        self.report.seconds = time.perf_counter() - self._begin
        return self.report

    def _write(self, frame: Frame, result: Result, sinks: Sequence[Sink]) -> None:
        """Draw each picture once, and write; note the times of all stages."""
        start = time.perf_counter()
        pictures = {name: getattr(result, name)() for name in {sink.draws for sink in sinks} if name}
        drawn = time.perf_counter()
        result.times['draw'] = (drawn - start) * 1e3
        for sink in sinks:
            sink.write(result, frame.source, pictures.get(sink.draws))
        end = time.perf_counter()
        # Images are read while the network is loaded; that they waited for it tells nothing about its speed.
        waited = max(self._begin - frame.start - result.times.get('decode', 0) / 1e3, 0)
        last = {'encode': (end - drawn) * 1e3, 'glass to glass': (end - frame.start - waited) * 1e3}
        for stage, spent in (result.times | last).items():
            self.report.times[stage].append(spent)
        self.report.frames += 1

    def _read(self, sources: Iterable[Source]) -> Iterator[Frame]:
        for source in sources:
            try:
                yield from source.frames()
            except InputError as error:
                self.report.failures.append(line(error))

    def _label(self, label: Callable[[Frame], Result]) -> Iterator[tuple[Frame, Result]]:
        for frame in self._frames:
            try:
                yield frame, label(frame)
            except InputError as error:
                self.report.failures.append(f'{frame.name}: {line(error)}')

    def _ahead(self, items: Iterator[Item], newest: bool = False) -> Iterator[Item]:
        """The items, made in a thread of their own, ahead of whoever takes them.

        Args:
            newest: drop what waits when a newer one comes, instead of making that wait.
        """
        queue: Queue = Queue(self._queue)
        done, stop = object(), self._stop

        def put(item: object) -> None:
            while not stop.is_set():
                try:
                    return queue.put(item, timeout=POLL)
                except Full:
                    continue

        def fill() -> None:
            try:
                for item in items:
                    if newest and queue.full():
                        try:
                            queue.get_nowait()
                            self.report.dropped += 1
                        except Empty:  # it was taken meanwhile
                            pass
                    put(item)
                    if stop.is_set():
                        break
                put(done)
            except BaseException as error:
                put(_Raised(error))

        self._threads.append(Thread(target=fill, daemon=True))
        self._threads[-1].start()
        return self._taken(queue, done)

    def _taken(self, queue: Queue, done: object) -> Iterator:
        while True:
            try:
                item = queue.get(timeout=POLL)
            except Empty:
                if self._stop.is_set():
                    return
                continue
            if item is done:
                return
            if isinstance(item, _Raised):
                raise item.error
            yield item


@dataclass
class _Raised:
    """What a thread raised."""

    error: BaseException
