"""An exported tracker against PyTorch: boxes on the same crops, in pixels of the frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightvit_bench.errors import ConfigError
from lightvit_bench.tracking.answers import Model
from lightvit_bench.tracking.exporting.crops import FrameCrop


@dataclass(frozen=True)
class Parity:
    """How far boxes are from PyTorch's.

    Attributes:
        frames: how many were compared. found: those where PyTorch's score is one of a target found.
        max_px, mean_px: over the frames found, the largest of the differences in left, top, right
            and bottom edge, in pixels of the frame.
        overlap: over the frames found, the mean overlap (IoU) with PyTorch's boxes.
        score: largest difference in score, over all frames.
    """

    frames: int
    found: int
    max_px: float
    mean_px: float
    overlap: float
    score: float

    def __str__(self) -> str:
        return (
            f"boxes differ from PyTorch's by {self.max_px:.4f} px at most, {self.mean_px:.4f} px "
            f"in the mean, over {self.found} crops with the target (mean overlap "
            f"{self.overlap:.4f}); scores by {self.score:.4f} at most, over {self.frames}"
        )


@dataclass(frozen=True)
class Bounds:
    """How far boxes may be: what of `Parity` is checked. In rounded arithmetic two cells of nearly
    the same score change places now and then, which says little of the rest: hence `overlap`."""

    max_px: float = math.inf
    mean_px: float = math.inf
    overlap: float = 0.0  # at least
    score: float = 1.0

    def __post_init__(self):
        for name in ("max_px", "mean_px", "score"):
            if not getattr(self, name) > 0:  # NaN is not, either
                raise ConfigError(
                    f"a bound is a number above 0, not {getattr(self, name):g}.",
                    set="--bound PX, in pixels of the frame",
                )

    def excess(self, parity: Parity) -> float:
        """How many times the bounds; 1 or less is within them. Infinite where no box was compared
        or a number is none."""
        times = max(
            parity.max_px / self.max_px,
            parity.mean_px / self.mean_px,
            (1 - parity.overlap) / (1 - self.overlap),
            parity.score / self.score,
        )
        return times if parity.found and math.isfinite(times) else math.inf

    def __str__(self) -> str:
        if self.overlap:
            return f"a mean overlap of {self.overlap:g} or more"
        return f"{self.max_px:g} px at most, {self.mean_px:g} px in the mean"


def compare(model: Model, crops: Sequence[FrameCrop]) -> Parity:
    """Ask a model what PyTorch was asked."""
    embedded: dict[int, object] = {}
    differences, overlaps, scores = [], [], []
    for crop in crops:
        key = id(crop.template)
        if key not in embedded:
            embedded[key] = model.embed(crop.template)
        box, score = model.find(embedded[key], crop.search, crop.box_wh)
        scores.append(abs(score - crop.answer.score))
        if crop.answer.score >= model.settings.found_above:
            one, other = _edges(box), _edges(crop.answer.box)
            differences.append(float(np.abs(one - other).max() * crop.side))
            overlaps.append(_overlap(one, other))
    worst = [value if np.isfinite(value) else np.inf for value in differences]
    return Parity(
        len(crops),
        len(worst),
        max(worst, default=0.0),
        float(np.mean(worst)) if worst else 0.0,
        float(np.mean(overlaps)) if overlaps else 1.0,
        float(np.nan_to_num(scores, nan=np.inf).max()),
    )


def _edges(box: np.ndarray) -> np.ndarray:
    """Centre and size (4,) -> left, top, right, bottom."""
    cx, cy, w, h = np.asarray(box, np.float64)
    return np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes given by their edges; 0 where a number is none."""
    sides = np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0)
    both = sides.prod()
    union = (one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - both
    return float(both / union) if np.isfinite(both) and union > 0 else 0.0
