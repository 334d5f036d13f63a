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
        self._shape: tuple[int, ...] | None = None

    def init(self, image: np.ndarray, box_xywh: Any) -> None:
        """Start, with the part of the box that lies in the frame.

        Raises as `Tracker.init`, and `BadDataError` where MIL cannot work: a box of less than 2
        pixels a side or 24 in all, for which OpenCV never returns, or one that leaves no room
        around it for samples of the background.
        """
        check_image(image)
        box = _whole_pixels(check_box(box_xywh, image), image)
        if min(box[2:]) < 2 or box[2] * box[3] < 24:
            raise BadDataError(
                f"a box of {box[2]} x {box[3]} pixels in the frame is too small for MIL.",
                needs="2 pixels a side, and 24 in all",
            )
        tracker = cv2.TrackerMIL.create()
        try:
            tracker.init(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), box)
        except cv2.error as error:
            raise _refused(box, image, error) from error
        self._tracker, self._shape = tracker, image.shape

    def update(self, image: np.ndarray) -> Result:
        """Where MIL sees the target."""
        if self._tracker is None:
            raise BadDataError("the tracker has no target yet.", do="tracker.init(image, box)")
        check_image(image)
        if image.shape != self._shape:
            raise BadDataError(
                f"a frame of {image.shape[1]} x {image.shape[0]} pixels follows frames of "
                f"{self._shape[1]} x {self._shape[0]}."
            )
        try:
            found, box = self._tracker.update(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        except cv2.error as error:
            raise _refused("the last box", image, error) from error
        return Result(tuple(map(float, box)), 1.0, bool(found))


def _whole_pixels(box: Box, image: np.ndarray) -> list[int]:
    """The part of a box that lies in the frame, in whole pixels."""
    starts, sizes = [], []
    for start, size, length in zip(box[:2], box[2:], image.shape[1::-1], strict=True):
        first, last = max(start, 0.0), min(start + size, length)
        sizes.append(min(round(last - first), length))
        starts.append(min(round(first), length - sizes[-1]))
    return starts + sizes


def _refused(box: Any, image: np.ndarray, error: cv2.error) -> BadDataError:
    return BadDataError(
        f"OpenCV's MIL cannot work with {box} in a frame of {image.shape[1]} x {image.shape[0]}.",
        because=str(error.err or error),
    )


BASELINES = {"mil": MilTracker, "unmoved": UnmovedTracker}


def baseline(name: str) -> MilTracker | UnmovedTracker:
    """The baseline of that name; `ConfigError` lists those there are."""
    if name not in BASELINES:
        raise ConfigError(f"there is no baseline {name!r}.", near=near_matches(name, BASELINES))
    return BASELINES[name]()
