"""How long something takes, frame by frame: the distribution, not one lucky run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightvit_bench.bench import checks
from lightvit_bench.errors import BadDataError, ConfigError

Frame = TypeVar("Frame")


@dataclass(frozen=True)
class Latency:
    """The distribution of a time, in milliseconds.

    Attributes:
        count: how many times were taken.
        p95, p99: percentiles, linearly interpolated between the two nearest times (numpy's
            default; type 7 of Hyndman and Fan, 1996). Of fewer than 100 times p99 lies between the
            two longest.
        least, most: the shortest and the longest.

    Raises:
        BadDataError: a value is no finite number, below 0, or they contradict one another.
    """

    count: int
    median: float
    mean: float
    p95: float
    p99: float
    least: float
    most: float

    def __post_init__(self):
        object.__setattr__(self, "count", checks.whole("count", self.count, 1))
        for name in ("median", "mean", "p95", "p99", "least", "most"):
            object.__setattr__(self, name, checks.number(name, getattr(self, name), 0))
        order = ("least", "median", "p95", "p99", "most")
        for lower, upper in zip(order, order[1:], strict=False):
            if getattr(self, lower) > getattr(self, upper):
                raise checks.wrong(upper, f"{lower} or more", getattr(self, upper))
        if not self.least <= self.mean <= self.most:
            raise checks.wrong("mean", "from least to most", self.mean)

    @classmethod
    def of(cls, seconds: ArrayLike) -> Latency:
        """The distribution of times in seconds, of any shape.

        Raises:
            BadDataError: there are none, or one is NaN, infinite or below 0.
        """
        milliseconds = np.asarray(seconds, dtype=np.float64).ravel() * 1e3
        if not milliseconds.size:
            raise BadDataError("there are no times to take a distribution of.")
        faulty = ~(np.isfinite(milliseconds) & (milliseconds >= 0))
        if faulty.any():
            first = int(faulty.argmax())
            raise BadDataError(
                f"time {first} of {milliseconds.size} is {milliseconds[first] / 1e3} s.",
                wanted="finite numbers of 0 or more",
            )
        median, p95, p99 = np.percentile(milliseconds, (50, 95, 99))
        least, most = milliseconds.min(), milliseconds.max()
        # Of equal times the sum's rounding may put the mean a digit outside.
        mean = min(max(milliseconds.mean(), least), most)
        return cls(milliseconds.size, median, mean, p95, p99, least, most)

    def as_dict(self) -> dict[str, int | float]:
        """The fields by name, as JSON has them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        return (
            f"{self.median:.2f} ms (p95 {self.p95:.2f}, p99 {self.p99:.2f}; "
            f"{self.least:.2f} to {self.most:.2f}, {self.count} times)"
        )


def timed(
    call: Callable[[Frame], Any],
    frames: Iterable[Frame],
    warm_up: int,
    clock: Callable[[], float] = time.perf_counter,
) -> NDArray[np.float64]:
    """The seconds that `call(frame)` takes, one a frame after the first `warm_up` (N,).

    Getting a frame from `frames` is not in the time: where decoding is to count, decode in `call`.
    Garbage is collected as ever, and what it costs stays in the times of the frames it hits.

    Raises:
        ConfigError: `warm_up` is below 0.
        BadDataError: there are no frames beyond the warm-up.
    """
    if warm_up < 0:
        raise ConfigError(f"the warm-up is of 0 frames or more, not {warm_up}.")
    seconds, seen = [], 0
    for frame in frames:
        began = clock()
        call(frame)
        took = clock() - began
        seen += 1
        if seen > warm_up:
            seconds.append(took)
    if not seconds:
        raise BadDataError(f"{seen} frames are too few: the first {warm_up} are the warm-up.")
    return np.array(seconds, dtype=np.float64)


def measure(
    call: Callable[[Frame], Any],
    frames: Iterable[Frame],
    warm_up: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """The distribution of what `timed` takes; its errors."""
    return Latency.of(timed(call, frames, warm_up, clock))
