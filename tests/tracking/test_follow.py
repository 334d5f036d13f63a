"""The loop that follows a target: rows, times, ends of all kinds, and what is told meanwhile."""

import io
import os
import signal
from dataclasses import dataclass

import numpy as np
import pytest

from lightvit_bench.errors import BadDataError
from lightvit_bench.tracking.watching.follow import (
    Interrupts,
    Progress,
    Rows,
    Step,
    follow,
)


@dataclass(frozen=True)
class Told:
    box: tuple
    score: float
    found: bool


class Echo:
    """Says the frame's first pixel: x = its red, score = its green / 255, found = its blue > 0."""

    def __init__(self):
        self.given = None

    def init(self, image, box_xywh):
        self.given = (int(image[0, 0, 0]), box_xywh)

    def update(self, image):
        if image.shape[:2] != (48, 64):
            raise BadDataError("frames of two sizes.")
        red, green, blue = image[0, 0].tolist()
        return Told((float(red), 1.0, 2.0, 3.0), green / 255, blue > 0)


def frames(count, start=0):
    for k in range(start, count):
        yield np.full((48, 64, 3), (k, 255 if k % 2 else 51, k % 3), np.uint8)


BOX = (5.0, 6.0, 7.0, 8.0)


def ticking(*steps):
    """A clock on which each call is the next of `steps` later."""
    now, left = [0.0], list(steps)

    def clock():
        now[0] += left.pop(0)
        return now[0]

    return clock


def test_rows_are_the_given_box_and_then_what_the_tracker_says():
    tracker, steps = Echo(), []
    track = follow(frames(5), tracker, BOX, on_frame=steps.append)
    assert tracker.given == (0, BOX)
    np.testing.assert_array_equal(track.boxes, [BOX, *((k, 1, 2, 3) for k in (1, 2, 3, 4))])
    np.testing.assert_allclose(track.scores, [1, 1, 0.2, 1, 0.2])
    assert track.found.tolist() == [True, True, True, False, True]
    assert track.boxes.dtype == track.scores.dtype == track.seconds.dtype == np.float64
    assert [step.index for step in steps] == [0, 1, 2, 3, 4] and steps[0].fps is None


def test_times_are_the_trackers_alone():
    steps = []
    # begin and end of each call, and 100 s between calls, of whatever else happens
    clock = ticking(100, 2.0, 100, 0.5, 100, 0.25)
    track = follow(frames(3), Echo(), BOX, on_frame=steps.append, clock=clock)
    np.testing.assert_allclose(track.seconds, [2.0, 0.5, 0.25])
    assert [step.fps for step in steps] == [None, 2.0, pytest.approx(2 / 0.75)]


def test_start_and_end_are_frames_of_the_source():
    tracker = Echo()
    track = follow(frames(50), tracker, BOX, start=7, end=10)
    assert tracker.given[0] == 7
    assert track.boxes[:, 0].tolist() == [5, 8, 9]


def test_nothing_after_the_end_is_decoded():
    def broken():
        yield from frames(3)
        raise BadDataError("a broken frame.")

    assert len(follow(broken(), Echo(), BOX, end=3)) == 3


def test_no_frame_to_start_at_names_the_option():
    with pytest.raises(BadDataError, match=r"(?s)no frame to start at.*frames: +4.*--start 4"):
        follow(frames(4), Echo(), BOX, start=4)
    with pytest.raises(BadDataError, match="no frame"):
        follow(iter(()), Echo(), BOX)


def test_a_source_that_breaks_leaves_its_rows():
    def broken():
        yield from frames(3)
        raise BadDataError("frame 3 is broken.")

    rows = Rows()
    with pytest.raises(BadDataError, match="frame 3 is broken"):
        follow(broken(), Echo(), BOX, rows=rows)
    assert len(rows) == 3 and rows.track().boxes[2, 0] == 2


def test_a_frame_of_another_size_is_told_with_its_number():
    def mixed():
        yield from frames(4)
        yield np.zeros((10, 10, 3), np.uint8)

    rows = Rows()
    with pytest.raises(BadDataError, match=r"(?s)two sizes.*frame: +4 \(from 0\)"):
        follow(mixed(), Echo(), BOX, rows=rows)
    assert len(rows) == 4


def test_it_stops_when_told_to():
    seen = []
    track = follow(
        frames(100), Echo(), BOX, on_frame=lambda s: seen.append(s), stop=lambda: len(seen) == 6
    )
    assert len(track) == 6


def test_the_box_may_be_chosen_on_the_first_frame():
    asked = []

    def choose(image):
        asked.append(int(image[0, 0, 0]))
        return (1, 2, 3, 4)

    track = follow(frames(6), Echo(), choose, start=3)
    assert asked == [3] and track.boxes[0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "box, why",
    [
        ((np.nan, 1, 2, 3), "not finite"),
        ((1, 1, np.inf, 3), "not finite"),
        ((1, 1, 0, 3), "no size"),
        ((1, 1, 3, -2), "no size"),
        ((64, 1, 5, 5), "outside"),
        ((1, 48, 5, 5), "outside"),
        ((-5, 1, 5, 5), "outside"),
        ((1, -9, 5, 5), "outside"),
        ((1, 1, 257, 5), "far larger"),
        ((1, 2, 3), "four numbers"),
        (None, "four numbers"),
        ("1,2,3,4", "four numbers"),
    ],
)
def test_bad_boxes_are_refused_before_the_tracker_sees_them(box, why):
    for chosen in (box, lambda image: box):
        tracker = Echo()
        with pytest.raises(BadDataError, match=rf"(?s){why}.*frame: +1 \(from 0\)"):
            follow(frames(3), tracker, chosen, start=1)
        assert tracker.given is None


def test_a_box_over_the_edge_is_taken():
    for box in ((-4, -4, 5, 5), (63.5, 47.5, 50, 50)):
        assert follow(frames(2), Echo(), box).boxes[0].tolist() == list(box)


class Screen(io.StringIO):
    def __init__(self, live):
        super().__init__()
        self.live = live

    def isatty(self):
        return self.live


def steps(count):
    for k in range(count):
        yield Step(k, None, BOX, 0.5, k != 2, 20.0 if k else None)


def test_a_terminal_gets_one_line_that_is_renewed():
    out = Screen(live=True)
    progress = Progress(4, out, clock=ticking(*[1.0] * 50))
    for step in steps(4):
        progress(step)
    progress.close()
    text = out.getvalue()
    assert text.count("\n") == 1 and text.endswith("\n") and text.count("\r") == 4
    assert "frame 1/4  found" in text and "LOST" in text and "20.0 frames/s" in text
    assert "lost in 1" in text.split("\r")[-1]


def test_a_file_gets_a_line_now_and_then_and_the_last_one():
    out = Screen(live=False)
    progress = Progress(None, out, clock=ticking(*[1.0] * 50))
    for step in steps(13):
        progress(step)
    progress.close()
    lines = out.getvalue().splitlines()
    assert "\r" not in out.getvalue() and 2 <= len(lines) <= 5  # not one a frame
    assert lines[-1].startswith("frame 13 ")
    progress.close()
    assert out.getvalue().splitlines() == lines


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_between_frames_and_keeps_the_rows(number):
    before = signal.getsignal(number)
    with Interrupts() as stop:

        def on_frame(step):
            if step.index == 3:
                os.kill(os.getpid(), number)

        track = follow(frames(50), Echo(), BOX, on_frame=on_frame, stop=stop)
        assert stop.signal == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):  # the handler runs between instructions
                pass
    assert len(track) == 4 and signal.getsignal(number) == before
