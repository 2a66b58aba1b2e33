"""Interleaving, percentiles and the comparison of labels, on a clock that the test winds."""

import numpy as np
import pytest
import torch

from mmseg_bisenet.benchmark import latency
from mmseg_bisenet.benchmark.latency import Method


class Clock:
    """Seconds; what is timed moves it by so many milliseconds."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time

    def move(self, milliseconds: float) -> None:
        self.time += milliseconds / 1000


def test_methods_take_turns_in_a_rotating_order():
    clock, order = Clock(), []

    def method(name: str, milliseconds: float) -> Method:
        def work(given: str) -> np.ndarray:
            order.append(given)
            clock.move(milliseconds * len(order))
            return np.zeros((1, 1), np.uint8)

        def setup() -> str:
            clock.move(1000)
            return name

        return Method(name, 'fp32', work, setup)

    times = latency.interleave([method('a', 1), method('b', 10), method('c', 100)], images=3, warmup=1, clock=clock)
    assert ''.join(order) == 'abcbcacababc'
    np.testing.assert_allclose(times, [[6, 8, 10], [40, 90, 110], [500, 700, 1200]])


def test_percentiles():
    figures = latency.statistics([*range(1, 101)])
    assert figures == pytest.approx(dict(p50_ms=50.5, p90_ms=90.1, p99_ms=99.01, mean_ms=50.5, fps=1000 / 50.5))
    figures = latency.statistics([1, 1, 10], mean=True)
    assert (figures['p50_ms'], figures['mean_ms'], figures['fps']) == (1, 4, 250)
    assert latency.statistics([1, 1, 10])['fps'] == 1000


def test_one_image_gives_figures():
    assert latency.statistics([4.0]) == dict(p50_ms=4, p90_ms=4, p99_ms=4, mean_ms=4, fps=250)


def test_a_method_agrees_with_itself():
    labels = torch.arange(12).reshape(3, 4)
    assert latency.same_labels(labels, labels) == 100
    assert latency.same_labels(labels.byte().numpy(), labels) == 100
    other = labels.clone()
    other[0] = 255
    assert latency.same_labels(other, labels.numpy()) == pytest.approx(100 * 8 / 12)
