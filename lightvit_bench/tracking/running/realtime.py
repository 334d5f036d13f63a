"""Judging a tracker by a clock: frames arrive at a given rate, and those it is late for are lost.

The stream. Frame i arrives at i / fps seconds. The tracker is given the box on frame 0 at time 0;
`init` takes its time like any update. Whenever it is free it takes the newest frame that has
arrived and that it has not seen; frames in between it never sees. With none new it waits. Nothing
is skipped ahead: being late adds up.

What is judged. For frame i counts the box of the newest frame j <= i whose result is finished at
(i + patience) / fps; before the first one is, the given box.

* `patience=1`, the default, is the idea of the VOT challenge's real-time experiment: a box has to
  be there before the next frame comes. A tracker that keeps up with the stream gets its offline
  score to the last digit, so that the difference between the two scores is what dropped frames cost
  and nothing else: that is what is wanted beside an offline score. (VOT's toolkit is milder in two
  ways: a late result still counts for its own frame, and being late by less than an interval is
  forgotten.)
* `patience=0` is streaming perception's (Li, Wang and Ramanan, ECCV 2020): what is known when the
  frame arrives. Everyone who needs any time at all is then judged with boxes of earlier frames.

Decoding is not counted, and no one waits here: the stream's time is computed from the tracker's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.tracking.crops import Box
from lightvit_bench.tracking.tracker import check_box
from lightvit_bench.tracking.watching.follow import AnyTracker, Rows, Track

_NEAR = 1e-6  # of a frame's time: 3 x 0.1 s is no later than 0.3 s


@dataclass(frozen=True, eq=False)
class Schedule:
    """Which frames a tracker sees, and whose box counts for each.

    Attributes:
        processed: (K,) int, frames that the tracker takes, ascending, 0 first.
        judged_by: (N,) int, for each frame the entry of `processed` whose box counts.
    """

    processed: np.ndarray
    judged_by: np.ndarray

    @property
    def dropped(self) -> int:
        """How many frames the tracker never sees."""
        return len(self.judged_by) - len(self.processed)


@dataclass(frozen=True, eq=False)
class RealtimeTrack:
    """A track with the boxes that count, one row a frame, and how it came about.

    `track.seconds` is 0 for frames that were dropped; scores and found go with the boxes.
    """

    track: Track
    schedule: Schedule

    @property
    def dropped(self) -> int:
        return self.schedule.dropped


def schedule(
    seconds: Sequence[float] | np.ndarray | Callable[[int], float],
    fps: float,
    frames: int,
    patience: float = 1.0,
) -> Schedule:
    """The schedule of a stream of `frames` frames at `fps` a second.

    Args:
        seconds: what the tracker needs for a frame, as (frames,) numbers (the first is `init`'s; a
            `NAME_time.txt` of an offline run has them) or as a function of the frame's number,
            which is called once for each processed frame, in order.
        patience: in frames; see above.

    Raises:
        ConfigError: a rate or patience that is none. BadDataError: times that are none, or not one
            a frame.
    """
    if not (math.isfinite(fps) and fps > 0):
        raise ConfigError(f"a stream cannot have {fps} frames a second.", knob="fps, above 0")
    if not (math.isfinite(patience) and patience >= 0):
        raise ConfigError(f"patience is a number of frames, not {patience}.", knob="0 or 1")
    if frames < 1:
        raise BadDataError("a stream without a frame cannot be judged.")
    if callable(seconds):
        needs = seconds
    else:
        if len(seconds) != frames:
            raise BadDataError(f"there are times for {len(seconds)} frames of {frames}.")
        needs = seconds.__getitem__

    processed, finished = [], []  # frames, and when their results are there, in frames' time
    frame = 0
    while frame < frames:
        took = float(needs(frame))
        if not (math.isfinite(took) and took >= 0):
            raise BadDataError(f"the time of frame {frame} is {took} seconds.")
        begun = max(frame, finished[-1] if finished else 0)
        processed.append(frame)
        finished.append(begun + took * fps)
        arrived = min(math.floor(finished[-1] + _NEAR), frames - 1)
        frame = max(frame + 1, arrived)
    due = np.arange(frames) + patience + _NEAR
    in_time = np.searchsorted(np.array(finished), due, side="right") - 1
    not_ahead = np.searchsorted(np.array(processed), np.arange(frames), side="right") - 1
    judged_by = np.maximum(
        np.minimum(in_time, not_ahead), 0
    )  # the given box is there from the start
    return Schedule(np.array(processed), judged_by)


def realtime_boxes(boxes: np.ndarray, plan: Schedule) -> np.ndarray:
    """The boxes that count: (K, 4) boxes of the processed frames -> (N, 4), one a frame.

    The processed frames' boxes have to come from a run that saw only those: a tracker that is late
    looks for a target further away. Boxes of an offline run do not tell.
    """
    boxes = np.asarray(boxes, np.float64)
    if boxes.shape != (len(plan.processed), 4):
        raise BadDataError(f"{len(plan.processed)} frames are processed, boxes: {boxes.shape}.")
    return boxes[plan.judged_by]


def track_realtime(
    frames: Sequence[np.ndarray],
    tracker: AnyTracker,
    box: Box,
    fps: float,
    *,
    patience: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
    seconds: Callable[[int], float] | None = None,
) -> RealtimeTrack:
    """Run a tracker on a stream: it is given only the frames that it is in time for.

    Args:
        frames: the pictures, decoded when asked for (`Sequence.frames` of the data readers).
        clock: measures `init` and `update`.
        seconds: instead of measuring, what the tracker is said to need for a frame: another
            machine's times, or a constant.

    Raises:
        BadDataError: no frame, or a box that is not in the first one. ConfigError: as `schedule`.
    """
    if not len(frames):
        raise BadDataError("a stream without a frame cannot be judged.")
    rows = Rows()

    def run(index: int) -> float:
        image = frames[index]
        began = clock()
        if index == 0:
            told = (check_box(box, image), 1.0, True)
            tracker.init(image, told[0])
        else:
            result = tracker.update(image)
            told = (result.box, result.score, result.found)
        took = clock() - began if seconds is None else seconds(index)
        rows.add(*told, took)
        return took

    plan = schedule(run, fps, len(frames), patience)
    seen, pick = rows.track(), plan.judged_by
    took = np.zeros(len(frames))
    took[plan.processed] = seen.seconds
    return RealtimeTrack(
        Track(realtime_boxes(seen.boxes, plan), seen.scores[pick], seen.found[pick], took), plan
    )
