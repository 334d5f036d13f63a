"""TrackingNet's scores: success, precision and normalised precision, all areas; numpy alone.

The rule is that of the development kit's `metrics.py`, as read in its source. That the server runs
the same is its authors' word, and could not be checked: the test set's truth is not public.

1. All numbers, results and truth, are rounded to whole pixels (a half to the even one).
2. Frame 1 is replaced by the truth.
3. Overlaps count pixels (`overlap.inclusive_iou`), distances are between centres, the normalised
   ones divide by the true width and height.
4. 21 thresholds each: overlap > 0 .. 1, distance <= 0 .. 50 px, normalised <= 0 .. 0.5; every frame
   counts, and the curves of sequences are averaged.
5. Each score is the area under its curve by the trapezoid rule, over the range scaled to 0 .. 1.
   Precision is an area too, not LaSOT's value at 20 px, and P_norm not the value at 0.2.

The kit judges a missing sequence as boxes of zeros; here it is an error
(`tracking/judging/judge.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lightvit_bench.errors import BadDataError
from lightvit_bench.metrics.overlap import (
    counts_above,
    counts_within,
    inclusive_centres,
    inclusive_iou,
)

PROTOCOL = "trackingnet@devkit"
_STEPS = np.linspace(0, 1, 21)


@dataclass(frozen=True, eq=False)
class TrackingNetCurves:
    """Shares of frames (0 to 1) at the 21 thresholds of each kind."""

    success: np.ndarray
    precision: np.ndarray
    norm_precision: np.ndarray


@dataclass(frozen=True)
class TrackingNetScores:
    """Areas under the mean curves, in percent."""

    success: float
    precision: float
    norm_precision: float
    sequences: int


def sequence_curves(
    result: np.ndarray, truth: np.ndarray, name: str = "the sequence"
) -> TrackingNetCurves:
    """Judge one sequence: `result` and `truth` are (N, 4).

    Raises:
        BadDataError: the lengths differ.
    """
    result, truth = np.asarray(result, np.float64), np.asarray(truth, np.float64)
    if result.shape != truth.shape or truth.ndim != 2 or truth.shape[1:] != (4,) or not len(truth):
        raise BadDataError(
            f"{name}: there has to be one box for each frame.",
            result=f"{len(result)} boxes",
            annotation=f"{len(truth)} frames",
        )
    result, truth = np.round(result), np.round(truth)
    result[0] = truth[0]
    apart = inclusive_centres(result) - inclusive_centres(truth)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.sqrt((apart**2).sum(axis=1))
        normed = np.sqrt(((apart / truth[:, 2:]) ** 2).sum(axis=1))
    frames = len(truth)
    return TrackingNetCurves(
        success=counts_above(inclusive_iou(result, truth), _STEPS) / frames,
        precision=counts_within(distance, np.linspace(0, 50, 21)) / frames,
        norm_precision=counts_within(normed, np.linspace(0, 0.5, 21)) / frames,
    )


def scores(curves: Iterable[TrackingNetCurves]) -> TrackingNetScores:
    """The scores of a tracker over its sequences. Raises ValueError when there is none."""
    curves = list(curves)
    if not curves:
        raise ValueError("there is no sequence to judge")

    def area(kind: str) -> float:
        mean = np.mean([getattr(c, kind) for c in curves], axis=0)
        return float(100 * np.trapezoid(mean, _STEPS))

    return TrackingNetScores(
        area("success"), area("precision"), area("norm_precision"), len(curves)
    )
