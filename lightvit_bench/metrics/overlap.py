"""Overlaps and distances of boxes (x, y, w, h), row by row; numpy only.

Two conventions live side by side and are never the same number. *Inclusive* counts pixels: a box
from pixel 3 to pixel 5 is 3 wide and its right edge is pixel 5 (x + w - 1), as OTB, LaSOT and
TrackingNet have it. *Continuous* measures lengths: the right edge is x + w, as GOT-10k has it.
"""

from __future__ import annotations

import numpy as np


def inclusive_iou(boxes_xywh: np.ndarray, truth_xywh: np.ndarray) -> np.ndarray:
    """Intersection over union by pixels: (N, 4) and (N, 4) -> (N,) float64.

    MATLAB's `min` and `max` look past NaN, and so does this: a box with an unknown side can have an
    overlap. Where the union is unknown or zero, the result is NaN or infinite, as a division is.
    """
    a, b = np.asarray(boxes_xywh, np.float64), np.asarray(truth_xywh, np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shared = np.ones(len(a))
        for side in (0, 1):
            end_a = a[:, side] + a[:, side + 2] - 1
            end_b = b[:, side] + b[:, side + 2] - 1
            length = np.fmin(end_a, end_b) - np.fmax(a[:, side], b[:, side]) + 1
            shared = shared * np.fmax(0, length)
        return shared / (a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - shared)


def inclusive_centres(boxes_xywh: np.ndarray) -> np.ndarray:
    """The middle pixel of each box, x + (w - 1) / 2 and y + (h - 1) / 2: (N, 4) -> (N, 2)."""
    boxes = np.asarray(boxes_xywh, np.float64)
    with np.errstate(invalid="ignore"):
        return boxes[:, :2] + (boxes[:, 2:] - 1) / 2


def continuous_iou(boxes_xywh: np.ndarray, truth_xywh: np.ndarray) -> np.ndarray:
    """Intersection over union by area: (N, 4) and (N, 4) -> (N,) float64, in 0..1.

    The smallest step of double precision is added to the union, as the GOT-10k toolkit does: two
    boxes without area have overlap 0.
    """
    a, b = np.asarray(boxes_xywh, np.float64), np.asarray(truth_xywh, np.float64)
    low = np.maximum(a[:, :2], b[:, :2])
    high = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=1)
    union = a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1) - shared
    return np.clip(shared / (union + np.finfo(np.float64).eps), 0, 1)


def bounded(boxes_xywh: np.ndarray, width: float, height: float) -> np.ndarray:
    """Boxes cut to a picture, as the GOT-10k toolkit cuts them: (N, 4) -> (N, 4).

    The corner is moved into the picture first and the size cut to what is left then: a box that
    begins 10 pixels left of the picture is moved by 10 pixels and keeps its width.
    """
    boxes = np.array(boxes_xywh, np.float64)
    for side, limit in ((0, width), (1, height)):
        boxes[:, side] = np.clip(boxes[:, side], 0, limit)
        boxes[:, side + 2] = np.clip(boxes[:, side + 2], 0, limit - boxes[:, side])
    return boxes


def counts_above(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How many of `values` (N,) are > each of the rising `thresholds` (T,): int64 (T,).

    NaN is above nothing.
    """
    known = values[~np.isnan(values)]
    passed = np.searchsorted(thresholds, known, side="left")  # thresholds below the value
    return len(known) - np.cumsum(np.bincount(passed, minlength=len(thresholds) + 1))[:-1]


def counts_within(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How many of `values` (N,) are <= each of the rising `thresholds` (T,): int64 (T,).

    NaN is within nothing.
    """
    first = np.searchsorted(thresholds, values[~np.isnan(values)], side="left")
    return np.cumsum(np.bincount(first, minlength=len(thresholds) + 1))[:-1]
