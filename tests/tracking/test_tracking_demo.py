"""The demo's videos: tracked, drawn, judged."""

import numpy as np
import pytest

from lightvit_bench.data.box_files import read_boxes, read_times
from lightvit_bench.data.frame_folder import open_folder
from lightvit_bench.data.video import open_source
from lightvit_bench.tracking.answers import ArrayMaps, FromMaps, Settings
from lightvit_bench.tracking.baselines import UnmovedTracker
from lightvit_bench.tracking.network import NetworkSpec
from lightvit_bench.tracking.watching.demo import track_demo


class Staying(FromMaps):
    """A model that always sees the target where it was, as large as it was."""

    spec = NetworkSpec("vit_test", template_size=32, search_size=64, eliminate=())
    settings = Settings()

    def embed(self, template):
        return None

    def maps(self, embedded, search, box_wh):
        score = np.zeros((4, 4), np.float32)
        score[2, 2] = 0.9
        size = np.broadcast_to(np.float32(box_wh)[:, None, None], (2, 4, 4))
        return ArrayMaps(score, size, np.zeros((2, 4, 4), np.float32))


def test_demo_leaves_videos_boxes_and_scores(tmp_path):
    done = track_demo(
        Staying(), tmp_path / "out", tmp_path / "data", sequences=2, frames=5, size=(160, 120)
    )
    assert [video.name for video in done.videos] == ["disc-1.mp4", "square-1.mp4"]
    for video in done.videos:
        frames = list(open_source(str(video)))
        assert len(frames) == 5 and frames[0].shape == (120, 160, 3)
        assert len(read_times(video.with_name(f"{video.stem}_time.txt"))) == 5
    truth = {one.name: one.annotation.boxes_xywh for one in open_folder(tmp_path / "data")}
    boxes = read_boxes(tmp_path / "out/disc-1.txt")
    assert boxes[0] == pytest.approx(truth["disc-1"][0])
    assert boxes[-1] == pytest.approx(boxes[0], abs=2)  # the model's target does not move
    assert done.scores.evaluated == done.unmoved.evaluated == 2
    assert done.scores.auc == pytest.approx(done.unmoved.auc, abs=12)
    assert done.unmoved.auc == pytest.approx(judged_by_hand(truth), abs=0.01)


def judged_by_hand(truth):
    """AUC of the first boxes for ever: LaSOT's overlap counts whole pixels."""
    curves = []
    for boxes in truth.values():
        tracker = UnmovedTracker()
        tracker.init(np.zeros((120, 160, 3), np.uint8), boxes[0])
        x, y, w, h = tracker.update(np.zeros((120, 160, 3), np.uint8)).box
        overlaps = []
        for a, b, c, d in boxes:
            across = max(0, min(x + w, a + c) - max(x, a))
            down = max(0, min(y + h, b + d) - max(y, b))
            overlaps.append(across * down / (w * h + c * d - across * down))
        curves.append([np.mean([o > k * 0.05 for o in overlaps]) for k in range(21)])
    return 100 * np.mean(curves)
