"""The memory of a training that is noted every few iterations, and the line through it."""

import pytest

from benchmarks import soak


def test_the_slope_is_that_of_the_points_after_the_first():
    assert soak.slope([0, 500, 510, 520, 530], every=100) == pytest.approx(100)
    assert soak.slope([900, 500, 500, 500], every=100) == pytest.approx(0, abs=1e-9)


def test_a_short_training(tmp_path):
    found = soak.soak(2, tmp_path, every=1)
    assert len(found) == 2 and min(found) > 100e6
    assert {path.name for path in (tmp_path / 'work').glob('*.pth')} >= {'iter_1.pth', 'iter_2.pth'}


def test_too_few_iterations(capsys):
    assert soak.main(['--iterations', '200']) == 2
    assert capsys.readouterr().err == (
        'benchmarks.soak: error: --iterations 200: give 300 or more, for a line through two points\n'
    )
