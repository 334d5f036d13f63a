"""What the pages' commands work on, made small: data, videos, result files, a tracker."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def make_sequences(path: Path) -> None:
    from lightvit_bench.data.demo_tracking import make_demo_sequences

    make_demo_sequences(path, sequences=2, frames=8, size=(160, 120))


def make_video(path: Path) -> None:
    from lightvit_bench.data.demo_tracking_scene import DemoScene
    from lightvit_bench.data.video import VideoWriter

    scene = DemoScene(0, "scale", shape="disc", frames=6, size=(640, 480))
    with VideoWriter(path, 30.0) as video:
        for i in range(6):
            video.write(scene.frame(i).image)


def make_distilled(path: Path) -> None:
    """In the layout of the authors' file of that name, with random weights."""
    import torch

    sys.path.append(str(ROOT / "tests/checkpoint"))
    try:
        import layouts
    finally:
        sys.path.pop()
    torch.save(layouts.dmae(), path)


def make_photographs(path: Path) -> None:
    """A folder with the photographs that scikit-image has, of sixteen 160 px pieces."""
    from PIL import Image

    from lightvit_bench.data.demo_ade import load_photographs

    path.mkdir(parents=True)
    for name, image in load_photographs()[:4]:
        for i in range(4):
            piece = image[40 * i : 40 * i + 160, 30 * i : 30 * i + 160]
            Image.fromarray(piece).save(path / f"{Path(name).stem}_{i}.jpg")


def make_mine(path: Path) -> None:
    """Two classes of three, and void, in the layout of docs/segmentation.md."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for i in range(count):
            mask = np.zeros((120, 160), np.uint8)
            mask[20:60, 10 + i : 70], mask[80:, 90:120], mask[0] = 1, 2, 255
            image = rng.integers(0, 60, (120, 160, 3)) + 60 * np.minimum(mask, 3)[..., None]
            for folder, name, picture in (("images", "jpg", image), ("annotations", "png", mask)):
                (path / folder / split).mkdir(parents=True, exist_ok=True)
                file = path / folder / split / f"{i}.{name}"
                Image.fromarray(picture.astype(np.uint8)).save(file)


def make_objects(path: Path) -> None:
    from lightvit_bench.data.demo_coco import make_demo_coco

    make_demo_coco(path, train=8, val=4, size=(96, 96))


def make_labels(path: Path) -> None:
    from lightvit_bench.data.demo_ade import make_demo_ade

    make_demo_ade(path, train=8, val=4, size=(96, 96))


def make_results(path: Path) -> None:
    """Two trackers' files for `make_sequences`, one nearer to the truth than the other."""
    from lightvit_bench.data.box_files import read_boxes, write_boxes

    sequences = path.parent / "data/demo/tracking"
    for file in sequences.rglob("groundtruth.txt"):
        for tracker, shift in (("ours", 1), ("theirs", 9)):
            boxes = read_boxes(file) + [shift, 0, 0, 0]
            write_boxes(path / tracker / f"{file.parent.name}.txt", boxes)


# What pages name and do not make themselves, made small.
MADE = {
    "data/demo/ADEChallengeData2016": make_labels,
    "data/demo/coco": make_objects,
    "data/demo/tracking": make_sequences,
    "data/mine": make_mine,
    "data/photographs": make_photographs,
    "mae_tiny_distill_400e.pth.tar": make_distilled,
    "results/ours theirs=results": make_results,
    "video.mp4": make_video,
}
# One that takes torch: made by the warm Python, of a network so small that it finds nothing.
TRACKER = "tracker.xml"
MAKE_TRACKER = """
import sys
from pathlib import Path
sys.path.append(sys.argv[1])
import tiny_export
class Here:
    def getbasetemp(self):
        return Path("tiny").resolve()
Path("tiny").mkdir()
tiny_export.tiny(Here(), "conv.xml").parent.rename(sys.argv[2])
"""
# What stands in Python blocks for a reader's own pictures and boxes.
STAND_INS = """
import numpy as np
frame = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
next_frame = frame
x, y, w, h = 310, 120, 80, 64
import torch
image = torch.rand(1, 3, 224, 224)
"""
