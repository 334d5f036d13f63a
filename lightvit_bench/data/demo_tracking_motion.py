"""How the actors of the demo videos move: smooth functions of time, drawn from a generator.

Lengths are pixels, times are frames (fractions allowed: the shutter is open for a while). Speeds
are those of 30 frames a second and pictures of 480 lines, and grow with the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Point = np.ndarray  # (2,) float64: x, y


@dataclass(frozen=True)
class Pose:
    """Where a sprite stands: `matrix` (2, 3) maps its own coordinates to the picture's.

    A sprite's coordinates have their origin in its middle and are in units of half its longer side.
    """

    matrix: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        """(N, 2) points of the sprite -> (N, 2) points of the picture."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def invert(self, points: np.ndarray) -> np.ndarray:
        """(N, 2) points of the picture -> (N, 2) points of the sprite."""
        return (points - self.matrix[:, 2]) @ np.linalg.inv(self.matrix[:, :2]).T


def pose(centre: Point, radius: float, angle: float = 0.0, squeeze: float = 1.0) -> Pose:
    """A sprite at `centre`, `radius` large, squeezed along its own x, then turned by `angle`."""
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]]) * radius
    return Pose(np.column_stack([turn * [squeeze, 1.0], centre]))


@dataclass(frozen=True)
class Wave:
    """A sum of sines: `level + sum(swing * sin(2 pi t / period + phase))`."""

    level: float
    swings: tuple[float, ...] = ()
    periods: tuple[float, ...] = ()
    phases: tuple[float, ...] = ()

    def __call__(self, t: float) -> float:
        value = self.level
        for swing, period, phase in zip(self.swings, self.periods, self.phases, strict=True):
            value += swing * np.sin(2 * np.pi * t / period + phase)
        return float(value)


def wave(
    rng: np.random.Generator, level: float, *swings_periods: tuple[float, tuple[float, float]]
) -> Wave:
    """A wave around `level`; each part is a swing and the range that its period is drawn from."""
    return Wave(
        level,
        tuple(swing for swing, _ in swings_periods),
        tuple(rng.uniform(*period) for _, period in swings_periods),
        tuple(rng.uniform(0, 2 * np.pi) for _ in swings_periods),
    )


@dataclass(frozen=True)
class Bump:
    """Rises smoothly from 0 to 1, stays, and falls: zero outside `middle` +- `half`.

    `flat` is the share of the time at 1.
    """

    middle: float
    half: float
    flat: float = 0.3

    def __call__(self, t: float) -> float:
        away = abs(t - self.middle) / self.half
        ramp = np.clip((1 - away) / (1 - self.flat), 0, 1)
        return float(ramp * ramp * (3 - 2 * ramp))


def moments(frames: int, events: int = 1, every: int = 160) -> tuple[tuple[float, ...], float]:
    """When things happen in a video, and the half width of the time that each may take.

    `events` of them in every `every` frames, none at the very start: trackers see the target first.
    """
    count = events * max(1, round(frames / every))
    first, last = 0.12 * frames, 0.97 * frames
    half = (last - first) / count / 2
    return tuple(first + half * (2 * k + 1) for k in range(count)), min(half, 38.0)
