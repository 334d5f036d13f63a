"""Following by the clock: which frames a tracker sees, and what becomes of those it does not.

The clock is a number that the tracker and the waiting move; only the thread that decodes is real.
"""

import threading
from dataclasses import dataclass

import numpy as np
import pytest

from lightvit_bench.errors import BadDataError
from lightvit_bench.tracking.watching.follow import Rows
from lightvit_bench.tracking.watching.live import Ahead, follow_live

BOX = (5.0, 6.0, 7.0, 8.0)


@dataclass(frozen=True)
class Told:
    box: tuple
    score: float
    found: bool


class Clock:
    def __init__(self):
        self.now, self.slept = 100.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


class Slow:
    """A tracker that says the frame's number, and needs so many seconds for a frame."""

    def __init__(self, clock, seconds, init=0.0):
        self.clock, self.seconds, self.init_seconds, self.seen = clock, seconds, init, []

    def init(self, image, box_xywh):
        self.seen.append(int(image[0, 0, 0]))
        self.clock.now += self.init_seconds

    def update(self, image):
        if image.shape != (48, 64, 3):
            raise BadDataError("frames of two sizes.")
        number = int(image[0, 0, 0])
        self.seen.append(number)
        needs = self.seconds(number) if callable(self.seconds) else self.seconds
        self.clock.now += needs
        return Told((float(number), 1.0, 2.0, 3.0), number / 100, number % 2 == 0)


class Inline:
    """A feed that decodes at once, when it is asked."""

    def __init__(self, frames, due, keep):
        self.frames, self.due, self.keep, self.next = frames, due, keep, None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def take(self):
        taken, due = [], self.due()
        while True:
            if self.next is None:
                self.next = next(self.frames, None)
            if self.next is None or (taken and self.next[0] > due):
                return taken
            if not self.keep:
                taken = [(number, None) for number, _ in taken]
            taken.append(self.next)
            self.next = None


def frames(count):
    for number in range(count):
        yield np.full((48, 64, 3), number, np.uint8)


def run(count, seconds, rate, init=0.0, **options):
    clock = Clock()
    tracker = Slow(clock, seconds, init)
    steps = []
    track = follow_live(
        frames(count), tracker, BOX, rate, clock=clock, sleep=clock.sleep, feed=Inline,
        on_frame=steps.append, **options,
    )  # fmt: skip
    return track, tracker, steps, clock


def test_a_tracker_that_keeps_up_sees_all_and_waits_for_each():
    track, tracker, steps, clock = run(6, 0.04, 20)
    assert tracker.seen == [0, 1, 2, 3, 4, 5] and not any(step.dropped for step in steps)
    np.testing.assert_allclose(clock.slept, [0.05, *[0.01] * 5])  # the last for a frame 6
    assert clock.now == pytest.approx(100 + 6 * 0.05)
    np.testing.assert_allclose(track.seconds, [0, *[0.04] * 5])


def test_a_late_tracker_takes_the_newest_and_the_rest_gets_the_box_before():
    """0.12 s a frame at 20 frames/s: frame 1 comes at 0.05 and is done at 0.17, when 3 is there."""
    track, tracker, steps, clock = run(10, 0.12, 20)
    assert tracker.seen == [0, 1, 3, 5, 8, 9]
    assert [step.index for step in steps] == list(range(10))
    assert [step.index for step in steps if step.dropped] == [2, 4, 6, 7]
    assert track.boxes[1:, 0].tolist() == [1, 1, 3, 3, 5, 5, 5, 8, 9]
    assert track.scores[4] == 0.03 and not track.found[4] and track.found[9] == (9 % 2 == 0)
    assert (track.seconds == 0).nonzero()[0].tolist() == [0, 2, 4, 6, 7]
    assert all((step.image[0, 0, 0] == step.index) for step in steps)


def test_images_of_dropped_frames_are_kept_for_who_draws_alone():
    _, tracker, steps, _ = run(10, 0.12, 20, keep=False)
    assert tracker.seen == [0, 1, 3, 5, 8, 9]
    assert [step.index for step in steps if step.image is None] == [2, 4, 6, 7]


def test_init_takes_its_time_and_choosing_a_box_does_not():
    clock = Clock()
    tracker = Slow(clock, 0.01, init=0.12)

    def choose(image):
        clock.now += 60
        return BOX

    follow_live(
        frames(6), tracker, choose, 20, clock=clock, sleep=clock.sleep, feed=Inline
    )  # fmt: skip
    assert tracker.seen == [0, 2, 3, 4, 5]


def test_drawing_counts():
    clock = Clock()
    tracker = Slow(clock, 0.01)

    def draw(step):
        clock.now += 0.06 if step.index == 1 else 0

    follow_live(
        frames(6), tracker, BOX, 20, clock=clock, sleep=clock.sleep, feed=Inline, on_frame=draw
    )  # fmt: skip
    assert tracker.seen == [0, 1, 2, 3, 4, 5], "0.07 s late by 0.02: frame 2 is still the newest"
    clock, tracker.seen = Clock(), []
    tracker.clock = clock
    follow_live(
        frames(6), tracker, BOX, 50, clock=clock, sleep=clock.sleep, feed=Inline, on_frame=draw
    )  # fmt: skip
    assert tracker.seen == [0, 1, 4, 5]


def test_start_and_end_are_frames_of_the_source():
    track, tracker, steps, _ = run(50, 0.12, 20, start=30, end=36)
    assert tracker.seen == [30, 31, 33, 35] and len(track) == 6
    assert [step.index for step in steps] == [30, 31, 32, 33, 34, 35]


def test_frames_that_come_by_themselves_are_not_waited_for():
    _, tracker, _, clock = run(5, 0.5, None)
    assert clock.slept == [] and tracker.seen == [0, 4]


def test_no_frame_to_start_at_names_the_option():
    with pytest.raises(BadDataError, match=r"(?s)no frame to start at.*frames: +3.*--start 7"):
        run(3, 0.1, 20, start=7)


def test_it_stops_when_told_to():
    seen = []
    clock = Clock()
    track = follow_live(
        frames(50), Slow(clock, 0.12), BOX, 20, clock=clock, sleep=clock.sleep, feed=Inline,
        on_frame=seen.append, stop=lambda: len(seen) >= 3,
    )  # fmt: skip
    assert len(track) == len(seen) == 4  # a dropped frame and the next one come together


def test_a_frame_that_is_refused_leaves_the_rows_before_it():
    def mixed():
        yield from frames(4)
        yield np.zeros((10, 10, 3), np.uint8)

    rows, clock = Rows(), Clock()
    with pytest.raises(BadDataError, match=r"(?s)two sizes.*frame: +4 \(from 0\)"):
        follow_live(
            mixed(), Slow(clock, 0.12), BOX, 20, clock=clock, sleep=clock.sleep, feed=Inline,
            rows=rows,
        )  # fmt: skip
    assert len(rows) == 4  # 0, 1, (2), 3


# ----------------------------------------------------------------------------- the real thread


class Gates:
    """Frames that come when they are let through; notes who asked for them."""

    def __init__(self, count):
        self.gates = [threading.Event() for _ in range(count)]
        self.asked = [threading.Event() for _ in range(count + 1)]
        self.thread = None

    def __iter__(self):
        for number, gate in enumerate(self.gates):
            self.thread = threading.current_thread()
            self.asked[number].set()
            assert gate.wait(20)
            yield number, np.full((4, 4, 3), number, np.uint8)
        self.asked[-1].set()

    def let(self, upto):
        """Let frames through, and wait until the next one is asked for: they are all there."""
        for gate in self.gates[:upto]:
            gate.set()
        assert self.asked[upto].wait(20)


@pytest.mark.parametrize("keep", [True, False])
def test_frames_are_decoded_while_nobody_takes_them(keep):
    source = Gates(5)
    with Ahead(iter(source), lambda: float("inf"), keep) as coming:
        source.let(1)
        assert [number for number, _ in coming.take()] == [0]
        source.let(4)  # while the tracker is busy
        taken = coming.take()
        assert [number for number, _ in taken] == [1, 2, 3]
        assert [image is not None for _, image in taken] == [keep, keep, True]
        assert taken[-1][1][0, 0, 0] == 3
        source.let(5)
        assert [number for number, _ in coming.take()] == [4]
        assert coming.take() == []
    assert source.thread is not threading.current_thread()


def test_what_is_decoded_ahead_is_not_given_before_its_time():
    now = [1]
    source = Gates(5)
    with Ahead(iter(source), lambda: now[0], False) as coming:
        source.let(5)
        taken = coming.take()
        assert [number for number, _ in taken] == [0, 1]
        assert taken[0][1] is None and taken[1][1] is not None
        now[0] = 3
        taken = coming.take()
        assert [number for number, _ in taken] == [2, 3] and taken[1][1] is not None
        assert [number for number, _ in coming.take()] == [4]  # one at least


def test_it_decodes_a_little_ahead_and_no_more():
    now, got, reached = [0], [], threading.Event()

    def source():
        for number in range(1000):
            got.append(number)
            if number == 9:
                reached.set()
            yield number, np.zeros((4, 4, 3), np.uint8)

    with Ahead(source(), lambda: now[0], True) as coming:
        assert reached.wait(20)  # 0 to 8 are held, 9 waits
        coming.take()
        assert got[-1] == 9
    assert len(got) == 10


def test_frames_that_wait_to_be_drawn_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("lightvit_bench.tracking.watching.live._MOST", 3 * 48)
    got, reached = [], threading.Event()

    def source():
        for number in range(1000):
            got.append(number)
            if number == 3:
                reached.set()
            yield number, np.zeros((4, 4, 3), np.uint8)

    with Ahead(source(), lambda: float("inf"), True) as coming:
        assert reached.wait(20)
        assert len(coming.take()) == 3
    assert len(got) < 1000


def test_an_error_of_the_source_comes_after_its_frames_and_the_thread_ends():
    def broken():
        yield 0, np.zeros((4, 4, 3), np.uint8)
        yield 1, np.zeros((4, 4, 3), np.uint8)
        raise BadDataError("frame 2 is broken.")

    coming = Ahead(broken(), lambda: float("inf"), True)
    with coming:
        coming._thread.join(20)
        assert [number for number, _ in coming.take()] == [0, 1]
        with pytest.raises(BadDataError, match="frame 2 is broken"):
            coming.take()
    assert not coming._thread.is_alive()
