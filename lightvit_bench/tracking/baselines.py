"""What a tracker has to be better than: OpenCV's MIL, and a box that never moves.

They have the interface of `tracker.Tracker`, so that whatever runs and judges it runs them.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from lightvit_bench.errors import BadDataError, ConfigError, near_matches
from lightvit_bench.tracking.crops import Box
from lightvit_bench.tracking.tracker import Result, check_box, check_image


class UnmovedTracker:
    """The first box for ever."""

    def __init__(self):
        self._box: Box | None = None

    def init(self, image: np.ndarray, box_xywh: Any) -> None:
        """Take the box; raises as `Tracker.init`."""
        check_image(image)
        self._box = check_box(box_xywh, image)

    def update(self, image: np.ndarray) -> Result:
        """The same box."""
        if self._box is None:
            raise BadDataError("the tracker has no target yet.", do="tracker.init(image, box)")
        return Result(self._box, 1.0, True)


class MilTracker:
    """OpenCV's TrackerMIL (Babenko et al. 2009), the one that needs no file of weights.

    It tells no score and never says that a target is lost; boxes are whole pixels. It draws its
    features at random, and OpenCV's seed does not reach it: two runs differ.
    """

    def __init__(self):
        self._tracker: Any = None

    def init(self, image: np.ndarray, box_xywh: Any) -> None:
        """Start; raises as `Tracker.init`."""
        check_image(image)
        x, y, w, h = check_box(box_xywh, image)
        self._tracker = cv2.TrackerMIL.create()
        self._tracker.init(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [round(v) for v in (x, y, w, h)])

    def update(self, image: np.ndarray) -> Result:
        """Where MIL sees the target."""
        if self._tracker is None:
            raise BadDataError("the tracker has no target yet.", do="tracker.init(image, box)")
        check_image(image)
        found, box = self._tracker.update(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        return Result(tuple(map(float, box)), 1.0, bool(found))


BASELINES = {"mil": MilTracker, "unmoved": UnmovedTracker}


def baseline(name: str) -> MilTracker | UnmovedTracker:
    """The baseline of that name; `ConfigError` lists those there are."""
    if name not in BASELINES:
        raise ConfigError(f"there is no baseline {name!r}.", near=near_matches(name, BASELINES))
    return BASELINES[name]()
