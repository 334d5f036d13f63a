"""What a tracker is compared with."""

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
    scene = DemoScene(0, "scale", shape="disc", frames=8, size=(160, 120))
    frames = [scene.frame(i) for i in range(8)]
    tracker = baseline("mil")
    tracker.init(frames[0].image, frames[0].box_xywh)
    boxes = np.array([tracker.update(frame.image).box for frame in frames[1:]])
    x, y, w, h = frames[-1].box_xywh
    distance = np.hypot(*(boxes[-1, :2] + boxes[-1, 2:] / 2 - (x + w / 2, y + h / 2)))
    assert distance < max(w, h)


@pytest.mark.parametrize("name", ["mil", "unmoved"])
def test_baselines_refuse_what_the_tracker_refuses(name):
    tracker = baseline(name)
    with pytest.raises(BadDataError, match="no target yet"):
        tracker.update(np.zeros((60, 80, 3), np.uint8))
    with pytest.raises(BadDataError, match="outside the frame"):
        tracker.init(np.zeros((60, 80, 3), np.uint8), (90, 0, 10, 10))
    with pytest.raises(ConfigError, match="mil"):
        baseline("mill")
