"""What a tracker is compared with."""

import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightvit_bench.data.demo_tracking_scene import DemoScene
from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.tracking.baselines import baseline


def test_a_box_that_never_moves():
    image = np.zeros((60, 80, 3), np.uint8)
    tracker = baseline("unmoved")
    tracker.init(image, (1.5, 2, 30, 40))
    assert tracker.update(image).box == (1.5, 2, 30, 40)


def test_mil_follows_a_target():
    """It draws at random and loses the target now and then: once in four times is asked for."""
    scene = DemoScene(0, "scale", shape="disc", frames=8, size=(160, 120))
    frames = [scene.frame(i) for i in range(8)]
    x, y, w, h = frames[-1].box_xywh
    distances = []
    for _ in range(4):
        tracker = baseline("mil")
        tracker.init(frames[0].image, frames[0].box_xywh)
        box = [np.array(tracker.update(frame.image).box) for frame in frames[1:]][-1]
        distances.append(np.hypot(*(box[:2] + box[2:] / 2 - (x + w / 2, y + h / 2))))
        if distances[-1] < max(w, h):
            return
    pytest.fail(f"always lost: {distances}")


def blurred(height=96, width=128, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (9, 9), 0)


def in_a_process(code):
    """Run where a hang or a crash of OpenCV's costs no more than this test."""
    head = "import sys, numpy as np\nfrom lightvit_bench.tracking.baselines import baseline\n"
    head += f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    head += "from test_baselines import blurred\nfrom lightvit_bench.errors import BadDataError\n"
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr)


@pytest.mark.parametrize(
    "box, at",
    [
        ((-5, -5, 10, 10), (0, 0, 5, 5)),
        ((120, 90, 30, 30), (120, 90, 8, 6)),
        ((100.5, 0, 60, 20), (100, 0, 28, 20)),
        ((5, 5, 2, 20), None),
        ((5.5, 5.5, 20, 20), None),
    ],
)
def test_mil_takes_boxes_over_the_edge(box, at):
    """What lies outside is left out: MIL takes its samples from the frame."""
    in_a_process(f"""
        tracker = baseline("mil")
        tracker.init(blurred(), {box})
        for _ in range(3):
            result = tracker.update(blurred())
            x, y, w, h = result.box
            assert (w, h) == {at or box}[2:] and 0 <= x <= 128 - w and 0 <= y <= 96 - h
    """)


@pytest.mark.parametrize(
    "box", [(0, 0, 128, 96), (1, 1, 127, 95), (0, 0, 128, 50), (-300, -200, 500, 380)]
)
def test_mil_refuses_boxes_that_leave_no_room(box):
    in_a_process(f"""
        tracker = baseline("mil")
        for call in (lambda: tracker.init(blurred(), {box}), lambda: tracker.update(blurred())):
            try:
                call()
            except BadDataError as error:
                print(error)
            else:
                raise AssertionError("taken")
    """)


@pytest.mark.parametrize(
    "box", [(5, 5, 1, 1), (5, 5, 0.4, 0.4), (5, 5, 4, 4), (5, 5, 1, 80), (-10, 0, 11, 60)]
)
def test_mil_refuses_boxes_too_small_for_its_features(box):
    in_a_process(f"""
        tracker = baseline("mil")
        try:
            tracker.init(blurred(), {box})
        except BadDataError as error:
            assert "too small" in str(error)
        else:
            raise AssertionError("taken")
    """)


def test_mil_refuses_frames_of_another_size_and_goes_on():
    in_a_process("""
        tracker = baseline("mil")
        tracker.init(blurred(), (40, 30, 20, 20))
        for size in ((48, 64), (96, 127), (200, 300)):
            try:
                tracker.update(blurred(*size))
            except BadDataError as error:
                assert f"{size[1]} x {size[0]}" in str(error)
            else:
                raise AssertionError("taken")
        tracker.update(blurred())
    """)


def test_a_box_that_mil_refuses_leaves_the_target_it_had():
    in_a_process("""
        tracker = baseline("mil")
        tracker.init(blurred(), (40, 30, 20, 20))
        try:
            tracker.init(blurred(48, 64), (0, 0, 64, 48))
        except BadDataError:
            pass
        assert tracker.update(blurred()).box[2:] == (20, 20)
    """)


@pytest.mark.parametrize("name", ["mil", "unmoved"])
def test_baselines_refuse_what_the_tracker_refuses(name):
    tracker = baseline(name)
    with pytest.raises(BadDataError, match="no target yet"):
        tracker.update(np.zeros((60, 80, 3), np.uint8))
    with pytest.raises(BadDataError, match="outside the frame"):
        tracker.init(np.zeros((60, 80, 3), np.uint8), (90, 0, 10, 10))
    with pytest.raises(ConfigError, match="mil"):
        baseline("mill")
