"""An exported tracker against PyTorch: boxes on the same crops, in pixels of the frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightvit_bench.tracking.answers import Model
from lightvit_bench.tracking.exporting.crops import FrameCrop


@dataclass(frozen=True)
class Parity:
    """How far boxes are from PyTorch's.

    Attributes:
        frames: how many were compared. found: those where PyTorch's score is one of a target found.
        max_px, mean_px: over the frames found, the largest of the differences in left, top, right
            and bottom edge, in pixels of the frame.
        score: largest difference in score, over all frames.
    """

    frames: int
    found: int
    max_px: float
    mean_px: float
    score: float

    def __str__(self) -> str:
        return (
            f"boxes differ from PyTorch's by {self.max_px:.4f} px at most, {self.mean_px:.4f} px "
            f"in the mean, over {self.found} crops with the target; scores by {self.score:.4f} "
            f"at most, over {self.frames}"
        )


def compare(model: Model, crops: Sequence[FrameCrop]) -> Parity:
    """Ask a model what PyTorch was asked."""
    embedded: dict[int, object] = {}
    differences, scores = [], []
    for crop in crops:
        key = id(crop.template)
        if key not in embedded:
            embedded[key] = model.embed(crop.template)
        box, score = model.find(embedded[key], crop.search, crop.box_wh)
        scores.append(abs(score - crop.answer.score))
        if crop.answer.score >= model.settings.found_above:
            edges = _edges(box) - _edges(crop.answer.box)
            differences.append(float(np.abs(edges).max() * crop.side))
    worst = [value if np.isfinite(value) else np.inf for value in differences]
    return Parity(
        len(crops),
        len(worst),
        max(worst, default=0.0),
        float(np.mean(worst)) if worst else 0.0,
        float(np.nan_to_num(scores, nan=np.inf).max()),
    )


def _edges(box: np.ndarray) -> np.ndarray:
    """Centre and size (4,) -> left, top, right, bottom."""
    cx, cy, w, h = np.asarray(box, np.float64)
    return np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
