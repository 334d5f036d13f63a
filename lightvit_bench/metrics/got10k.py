"""GOT-10k's validation scores: AO, SR at 0.5 and at 0.75, in numpy alone.

The rule is the GOT-10k toolkit's (`ExperimentGOT10k.report` for the validation set), as read in its
source:

1. A result has one box a frame, as many as the annotation; other lengths are an error there too.
2. Frame 1 is given to the tracker and not judged: frames 2.. are.
3. Both boxes are cut to the picture where its size is known (`overlap.bounded`), and overlap by
   area, without the extra pixel that LaSOT counts (`overlap.continuous_iou`).
4. Frames whose `cover` label is 0 (the target is absent) are left out of everything, of the
   denominator too.
5. The frames of all sequences are pooled: AO is the mean of their overlaps, SR the share of them
   above a threshold. Long sequences weigh more.

The test set's scores come from the server alone; its truth is not public.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lightvit_bench.errors import BadDataError
from lightvit_bench.metrics.overlap import bounded, continuous_iou

PROTOCOL = "got10k-val@toolkit"


@dataclass(frozen=True)
class Got10kScores:
    """Scores in percent, over the pooled frames or over those of one sequence."""

    ao: float
    sr50: float
    sr75: float
    frames: int


def visible_overlaps(
    result: np.ndarray,
    truth: np.ndarray,
    visible: np.ndarray,
    size: tuple[float, float] | None = None,
    name: str = "the sequence",
) -> np.ndarray:
    """The overlaps of a sequence's judged frames: (M,) float64.

    `result`, `truth`: (N, 4) boxes; `visible`: (N,) bool, `cover` > 0; `size`: the picture's width
    and height in pixels.

    Raises:
        BadDataError: lengths differ, or a box of a judged frame is not finite.
    """
    result, truth = np.asarray(result, np.float64), np.asarray(truth, np.float64)
    if result.shape != truth.shape or truth.ndim != 2 or truth.shape[1:] != (4,):
        raise BadDataError(
            f"{name}: there has to be one box for each frame.",
            result=f"{len(result)} boxes",
            annotation=f"{len(truth)} frames",
        )
    visible = np.asarray(visible, bool)
    if visible.shape != truth.shape[:1]:
        raise BadDataError(f"{name}: {len(visible)} cover labels for {len(truth)} frames.")
    judged = visible.copy()
    judged[:1] = False
    for whose, boxes in (("result", result), ("annotation", truth)):
        bad = np.flatnonzero(judged & ~np.isfinite(boxes).all(axis=1))
        if len(bad):
            raise BadDataError(f"{name}: the {whose} of frame {bad[0] + 1} is not a finite box.")
    result, truth = result[judged], truth[judged]
    if size is not None:
        result, truth = bounded(result, *size), bounded(truth, *size)
    return continuous_iou(result, truth)


def scores(overlaps: Mapping[str, np.ndarray]) -> Got10kScores:
    """The scores over the pooled frames of sequences: name -> (M,) overlaps.

    Raises ValueError when there is no frame.
    """
    pooled = np.concatenate([*overlaps.values(), np.empty(0)])
    if not len(pooled):
        raise ValueError("no visible frame after the first: there is nothing to judge")
    return Got10kScores(
        ao=float(100 * pooled.mean()),
        sr50=float(100 * (pooled > 0.5).mean()),
        sr75=float(100 * (pooled > 0.75).mean()),
        frames=len(pooled),
    )
