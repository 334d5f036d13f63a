"""The clock that drops frames, against a simulation and against examples worked out by hand."""

import numpy as np
import pytest

from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.tracking.running.realtime import realtime_boxes, schedule, track_realtime
from lightvit_bench.tracking.watching.follow import follow


class Counting:
    """Says which frame it saw, and which it saw before: box (number, previous, 1, 1)."""

    def init(self, image, box_xywh):
        self.seen = [int(image[0, 0, 0])]

    def update(self, image):
        self.seen.append(int(image[0, 0, 0]))
        box = (float(self.seen[-1]), float(self.seen[-2]), 1.0, 1.0)
        return type("Told", (), dict(box=box, score=self.seen[-1] / 100, found=True))


def video(count):
    return [np.full((20, 30, 3), k, np.uint8) for k in range(count)]


BOX = (0.0, 0.0, 1.0, 1.0)


def simulated(seconds, fps, frames, patience):
    """The rule as a clock turned in small steps; durations are multiples of these."""
    tick = 1 / 64  # of a frame's time; exact in binary
    free_at, busy_with, done, processed = 0.0, None, [], []
    time = 0.0
    while not processed or processed[-1] < frames - 1 or busy_with is not None:
        if busy_with is not None and time >= free_at:
            done.append((free_at, busy_with))
            busy_with = None
        if busy_with is None:
            newest = min(int(time), frames - 1)
            if not processed or newest > processed[-1]:
                busy_with, free_at = newest, time + seconds[newest] * fps
                processed.append(newest)
                if free_at <= time:
                    done.append((free_at, busy_with))
                    busy_with = None
        time += tick
    judged = []
    for frame in range(frames):
        known = [j for end, j in done if end <= frame + patience and j <= frame]
        judged.append(processed.index(max(known)) if known else 0)
    return processed, judged


@pytest.mark.parametrize("patience", [0, 1])
@pytest.mark.parametrize("seed", range(20))
def test_schedule_is_the_simulations(seed, patience):
    rng = np.random.default_rng(seed)
    frames, fps = 40, 32.0
    slow = rng.choice([0.3, 1.0, 2.5])
    seconds = np.round(rng.gamma(2, slow / 2, frames) * 64) / 64 / fps
    plan = schedule(seconds, fps, frames, patience)
    processed, judged = simulated(seconds, fps, frames, patience)
    assert plan.processed.tolist() == processed
    assert plan.judged_by.tolist() == judged
    assert plan.dropped == frames - len(processed)


def test_by_hand():
    # 10 frames a second; init takes none; frame 1 takes 2.5 frames' time, frame 3 takes 1.2.
    seconds = [0, 0.25, 0.05, 0.12, 0.05, 0.05]
    plan = schedule(seconds, 10, 6)
    assert plan.processed.tolist() == [0, 1, 3, 4, 5]
    # frame 1 is ready at 3.5: too late for frames 1 (due 2) and 2 (due 3). Frame 3, begun at 3.5,
    # is ready at 4.7: too late for itself (due 4), which gets the box of frame 1. Frame 4, begun at
    # 4.7, is ready at 5.2: too late for itself (due 5), which gets that of frame 3.
    assert plan.processed[plan.judged_by].tolist() == [0, 0, 0, 1, 3, 5]
    assert plan.dropped == 1


def test_a_tracker_that_keeps_up_is_judged_as_offline():
    for seconds in (np.zeros(50), np.full(50, 1 / 30), np.full(50, 0.9 / 30)):
        plan = schedule(seconds, 30, 50)
        assert plan.dropped == 0
        np.testing.assert_array_equal(plan.judged_by, np.arange(50))


def test_streaming_perception_waits_for_nobody():
    assert schedule(np.zeros(9), 30, 9, patience=0).judged_by.tolist() == list(range(9))
    some = schedule(np.full(9, 0.01), 30, 9, patience=0)
    assert some.dropped == 0 and some.judged_by.tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7]


def test_three_times_too_slow_sees_every_third_frame():
    plan = schedule(np.full(300, 0.1), 30, 300)
    assert plan.processed.tolist() == [*range(0, 300, 3), 299]
    assert plan.processed[plan.judged_by][:8].tolist() == [0, 0, 0, 0, 0, 3, 3, 3]
    assert plan.dropped == 199


def test_init_takes_its_time_too():
    plan = schedule([0.5, *[0.0] * 9], 10, 10)
    assert plan.processed.tolist() == [0, 5, 6, 7, 8, 9]
    assert plan.judged_by.tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 4, 5]


def test_an_infinitely_fast_tracker_gives_its_offline_boxes():
    offline = follow(video(20), Counting(), BOX)
    for patience in (0, 1):
        live = track_realtime(video(20), Counting(), BOX, 30, patience=patience, clock=lambda: 0.0)
        assert live.dropped == 0
        np.testing.assert_array_equal(live.track.boxes, offline.boxes)
        np.testing.assert_array_equal(live.track.scores, offline.scores)


def test_live_the_tracker_sees_only_what_it_is_in_time_for():
    tracker = Counting()
    now = [0.0]

    def clock():  # each call 0.1 s later: an update takes 0.1 s
        now[0] += 0.1
        return now[0]

    live = track_realtime(video(12), tracker, BOX, 20, clock=clock)
    assert tracker.seen == [0, 2, 4, 6, 8, 10, 11]
    assert live.dropped == 5 and len(live.track) == 12
    numbers = live.track.boxes[:, 0].tolist()
    assert numbers == [0, 0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10]  # frame 2 is ready at 4, due for 3
    assert live.track.boxes[4].tolist() == [2, 0, 1, 1]  # frame 2, seen after frame 0
    np.testing.assert_allclose(live.track.seconds, [0.1, 0] * 5 + [0.1, 0.1])
    np.testing.assert_allclose(live.track.scores[3:5], 0.02)
    said = track_realtime(video(12), Counting(), BOX, 20, seconds=lambda k: 0.1)
    np.testing.assert_array_equal(said.track.boxes, live.track.boxes)


def test_boxes_go_where_the_schedule_says():
    plan = schedule([0, 0.25, 0.05, 0.12, 0.05, 0.05], 10, 6)
    boxes = np.arange(20.0).reshape(5, 4)
    np.testing.assert_array_equal(realtime_boxes(boxes, plan), boxes[[0, 0, 0, 1, 2, 4]])
    with pytest.raises(BadDataError, match="5 frames are processed"):
        realtime_boxes(np.zeros((6, 4)), plan)


def test_nonsense_is_refused():
    for fps in (0, -1, np.nan, np.inf):
        with pytest.raises(ConfigError, match="fps"):
            schedule(np.zeros(3), fps, 3)
    with pytest.raises(ConfigError, match="patience"):
        schedule(np.zeros(3), 30, 3, patience=-1)
    with pytest.raises(BadDataError, match="2 frames of 3"):
        schedule(np.zeros(2), 30, 3)
    for bad in (np.nan, -0.1, np.inf):
        with pytest.raises(BadDataError, match="time of frame 1"):
            schedule([0, bad, 0], 30, 3)
    with pytest.raises(BadDataError, match="without a frame"):
        track_realtime([], Counting(), BOX, 30)
    with pytest.raises(BadDataError, match="outside"):
        track_realtime(video(3), Counting(), (99, 99, 5, 5), 30)
