"""Distributions of times: against an oracle by hand, and what is refused."""

import dataclasses
import statistics

import numpy as np
import pytest

from lightvit_bench.bench.latency import Latency, measure, timed
from lightvit_bench.errors import BadDataError, ConfigError


def percentile(values, share):
    """Linear interpolation between the two nearest ranks, written out."""
    ranked = sorted(values)
    place = share * (len(ranked) - 1)
    lower = int(place)
    upper = min(lower + 1, len(ranked) - 1)
    return ranked[lower] + (place - lower) * (ranked[upper] - ranked[lower])


def test_a_distribution_is_that_of_a_slow_oracle():
    seconds = np.random.default_rng(0).gamma(2.0, 0.01, 317)
    found = Latency.of(seconds)
    ms = [1e3 * one for one in seconds]
    assert found.count == 317
    assert found.median == pytest.approx(statistics.median(ms), rel=1e-12)
    assert found.mean == pytest.approx(statistics.fmean(ms), rel=1e-12)
    assert found.p95 == pytest.approx(percentile(ms, 0.95), rel=1e-12)
    assert found.p99 == pytest.approx(percentile(ms, 0.99), rel=1e-12)
    assert (found.least, found.most) == (min(ms), max(ms))


def test_percentiles_are_interpolated():
    found = Latency.of([0.001 * i for i in range(101)])  # 0 to 100 ms: p is the p-th
    assert (found.median, found.p95, found.p99) == pytest.approx((50, 95, 99))
    assert Latency.of([0.0, 0.010]).p95 == pytest.approx(9.5)


def test_one_time_and_equal_times_are_distributions_too():
    for seconds in ([0.1], [0.1] * 7, np.full((3, 5), 1 / 3)):
        found = Latency.of(seconds)
        assert found.least == found.median == found.mean == found.p99 == found.most


@pytest.mark.parametrize(
    ("seconds", "needle"),
    [
        ([], "no times"),
        ([0.1, float("nan")], "time 1 of 2 is nan"),
        ([float("inf"), 0.1], "time 0 of 2 is inf"),
        ([0.1, 0.2, -0.001], "time 2 of 3 is -0.001"),
    ],
)
def test_what_is_no_time_is_refused(seconds, needle):
    with pytest.raises(BadDataError, match=needle):
        Latency.of(seconds)


def test_fields_are_plain_and_come_back_from_a_dict():
    found = Latency.of(np.array([0.01, 0.02, 0.04], dtype=np.float32))
    values = found.as_dict()
    assert {type(value) for value in values.values()} == {int, float}
    assert Latency(**values) == found


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"count": 0}, "count"),
        ({"count": 2.0}, "count"),
        ({"median": float("nan")}, "median"),
        ({"p95": True}, "p95"),
        ({"p99": 1.0}, "p99"),  # below p95
        ({"mean": 1e6}, "mean"),
        ({"least": -1}, "least"),
    ],
)
def test_values_that_contradict_one_another_are_refused(changes, field):
    good = Latency.of([0.01, 0.02, 0.04])
    with pytest.raises(BadDataError) as error:
        dataclasses.replace(good, **changes)
    assert error.value.details["field"] == [field]


class Clock:
    """A clock that the calls put forward."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_only_calls_are_timed_and_the_warm_up_is_left_out():
    clock, seen = Clock(), []

    def frames():
        for seconds in (5.0, 4.0, 0.1, 0.3, 0.2):
            clock.now += 1000  # getting a frame takes long, and is not in the times
            yield seconds

    def call(seconds):
        seen.append(seconds)
        clock.now += seconds

    assert timed(call, frames(), 2, clock) == pytest.approx([0.1, 0.3, 0.2])
    assert seen == [5.0, 4.0, 0.1, 0.3, 0.2]
    found = measure(call, frames(), 2, clock)
    assert (found.count, found.median) == (3, pytest.approx(200))


def test_too_few_frames_are_refused():
    with pytest.raises(BadDataError, match="3 frames are too few: the first 3"):
        measure(lambda frame: None, range(3), 3)
    with pytest.raises(ConfigError, match="0 frames or more"):
        measure(lambda frame: None, range(3), -1)
