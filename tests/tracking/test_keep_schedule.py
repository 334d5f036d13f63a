"""How much of the search region is kept, epoch by epoch."""

import math

import pytest

from lightvit_bench.tracking.training.schedule import KeepSchedule


def test_ostracks_numbers():
    keep = KeepSchedule()
    assert all(keep(epoch, 0.7) == 1 for epoch in range(21))
    assert all(keep(epoch, 0.7) == 0.7 for epoch in range(100, 301))
    assert keep(60, 0.7) == pytest.approx(0.85)  # halfway
    assert keep(40, 0.7) == pytest.approx(0.7 + 0.3 * (math.cos(math.pi / 4) + 1) / 2)
    values = [keep(epoch, 0.7) for epoch in range(20, 101)]
    assert all(a > b for a, b in zip(values[:-1], values[1:], strict=True))


def test_annealing_from_the_start():
    keep = KeepSchedule(begin=0, end=10)
    assert keep(0, 0.3) == 1 and keep(5, 0.3) == pytest.approx(0.65) and keep(10, 0.3) == 0.3


def test_a_step_without_a_slope():
    keep = KeepSchedule(begin=5, end=5)
    assert (keep(4, 0.5), keep(5, 0.5)) == (1.0, 0.5)
