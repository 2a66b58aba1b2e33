"""Order, queues, errors and ends of the pipeline."""

import time
from threading import Event

import numpy as np
import pytest

from mmseg_bisenet.errors import InputError
from mmseg_bisenet.predict import Result
from mmseg_bisenet.predict.pipeline import QUEUE, STAGES, Pipeline
from mmseg_bisenet.predict.sources import Frame, Source

PIXELS = np.zeros((4, 6, 3), np.uint8)


class Counted(Source):
    """Frames with their number as time; an error after the last one, if there is one."""

    def __init__(self, name: str, count: int, error: str = '') -> None:
        super().__init__(name)
        self.number, self.error, self.read = count, error, 0

    def images(self):
        while self.read < self.number:
            self.read += 1
            yield PIXELS, self.read
        if self.error:
            raise InputError(self.error)


def label(frame: Frame) -> Result:
    return Result(frame.image, PIXELS[..., 0], ('sky',), [[0, 0, 0]], frame.name, frame.time, frame.times)


class Collected:
    """A sink that keeps names."""

    draws = 'overlay'

    def __init__(self, error: Exception | None = None) -> None:
        self.names, self.ended, self.error = [], [], error

    def __enter__(self) -> 'Collected':
        return self

    def __exit__(self, kind, *others) -> None:
        self.ended.append(kind)

    def takes(self, source: Source) -> bool:
        return source.name != 'left out'

    def write(self, result: Result, source: Source, picture: np.ndarray) -> None:
        assert picture.shape == (4, 6, 3) and result.name.startswith(source.name)
        if self.error:
            raise self.error
        self.names.append(result.name)


def test_all_frames_in_their_order():
    sink, seen = Collected(), []
    pipeline = Pipeline([Counted('a', 20), Counted('left out', 2), Counted('b', 3)], Event())
    report = pipeline.run(label, [sink], lambda report, result: seen.append(report.frames))
    assert sink.names == [f'a/{i:06}' for i in range(1, 21)] + [f'b/{i:06}' for i in range(1, 4)]
    assert seen == list(range(1, 26)) and (report.frames, report.dropped, report.failures) == (25, 0, [])
    assert sink.ended == [None]


def test_the_table_has_every_stage():
    def slow(frame: Frame) -> Result:
        result = label(frame)
        result.times.update(network=2.0, labels=1.0)
        return result

    report = Pipeline([Counted('a', 20)], Event()).run(slow, [Collected()], lambda *_: None)
    assert {stage: len(times) for stage, times in report.times.items()} == dict.fromkeys(STAGES, 20)
    lines = report.table().splitlines()
    assert lines[0].split() == ['ms', 'a', 'frame', 'p50', 'p99']
    assert [line.rsplit(maxsplit=2)[0] for line in lines[1:]] == list(STAGES)
    assert lines[2].split() == ['network', '2.00', '2.00']
    for times in zip(*report.times.values(), strict=True):
        assert all(time >= 0 for time in times) and times[-1] >= times[0]


def test_a_wrong_source_among_others_is_listed():
    sources = [Counted('none', 0, 'none is missing'), Counted('a', 2), Counted('cut', 1, 'cut is damaged'),
               Counted('b', 1)]  # fmt: skip
    sink = Collected()
    report = Pipeline(sources, Event()).run(label, [sink], lambda *_: None)
    assert sink.names == ['a/000001', 'a/000002', 'cut/000001', 'b/000001']
    assert report.failures == ['none is missing', 'cut is damaged']


def test_no_source_that_can_be_read():
    with pytest.raises(InputError, match=r'^x is missing \(and 1 others like it\)$'):
        Pipeline([Counted('x', 0, 'x is missing'), Counted('y', 0, 'y is missing')], Event())


def test_a_frame_that_cannot_be_labelled_is_listed():
    def refuse(frame: Frame) -> Result:
        if frame.time == 2:
            raise InputError('too small')
        return label(frame)

    sink = Collected()
    report = Pipeline([Counted('a', 3)], Event()).run(refuse, [sink], lambda *_: None)
    assert sink.names == ['a/000001', 'a/000003'] and report.failures == ['a/000002: too small']


def test_a_bug_in_a_thread_is_raised():
    def wrong(frame: Frame) -> Result:
        raise ZeroDivisionError

    sink = Collected()
    with pytest.raises(ZeroDivisionError):
        Pipeline([Counted('a', 3)], Event()).run(wrong, [sink], lambda *_: None)
    assert sink.ended == [ZeroDivisionError]


def test_an_output_that_cannot_be_written_ends_the_run():
    source, stop = Counted('a', 1000), Event()
    with pytest.raises(InputError, match='full'):
        Pipeline([source], stop).run(label, [Collected(InputError('full'))], lambda *_: None)
    assert stop.is_set() and source.read < 100


def test_reading_waits_for_writing():
    source = Counted('a', 1000)
    pipeline = Pipeline([source], Event())
    results = pipeline.results(label)
    for number in range(1, 50):
        next(results)
        # Two queues, what each thread holds, and the one that was taken.
        assert source.read <= number + 2 * QUEUE + 3


def test_stop_ends_the_run():
    source, stop, sink = Counted('a', 10**9), Event(), Collected()
    report = Pipeline([source], stop).run(label, [sink], lambda report, _: report.frames < 5 or stop.set())
    assert 5 <= report.frames < 5 + 2 * QUEUE + 5 and sink.ended == [None]
    assert sink.names == [f'a/{i:06}' for i in range(1, report.frames + 1)]


def test_a_live_source_drops_frames_for_newer_ones():
    source, written = Counted('a', 50), []
    source.live = True

    class Slow(Collected):
        def write(self, result, source, picture) -> None:
            written.append(result.time)
            time.sleep(0.02)

    report = Pipeline([source], Event()).run(label, [Slow()], lambda *_: None)
    assert written == sorted(set(written)) and written[-1] == 50
    assert report.frames == len(written) and report.dropped == 50 - len(written) > 0
