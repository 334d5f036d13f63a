"""Exported trackers where neither PyTorch nor OpenMMLab can be imported."""

import json
import subprocess
import sys

import numpy as np
import pytest
from tiny_export import BOX, tiny, video

from lightvit_bench.tracking.tracker import Tracker

PROGRAM = """
import importlib.abc, json, sys
import numpy as np

FORBIDDEN = {"torch", "torchvision", "timm", "mmengine", "mmcv", "mmdet", "mmseg"}


class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise ImportError(f"{name} must not be imported")


sys.meta_path.insert(0, Refuse())
for name in FORBIDDEN:  # the finder works
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(f"{name} was imported")
before = set(sys.modules)

path, frames, box, kind = sys.argv[1], np.load(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4]
if kind == "one":
    from lightvit_bench.tracking.tracker import Tracker

    tracker = Tracker.from_file(path, threads=1, precision="fp32")
    tracker.init(frames[0], box)
    found = [tracker.update(image) for image in frames[1:]]
else:
    from lightvit_bench.tracking.multi import MultiTracker

    tracker = MultiTracker.from_file(path, threads=1, precision="fp32")
    numbers = [tracker.add(frames[0], box) for _ in range(2)]
    found = [tracker.update(image)[numbers[1]] for image in frames[1:]]
names = {name.partition(".")[0] for name in set(sys.modules) - before}
third = sorted(
    name
    for name in names - sys.stdlib_module_names
    if "site-packages" in (getattr(sys.modules.get(name), "__file__", None) or "")
)
print(json.dumps({"boxes": [one.box for one in found], "third": third}))
"""


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "frames.npy"
    np.save(path, np.stack(video(6)))
    return path


def without_torch(*arguments):
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # nor a warning that something is missing
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["one", "many"])
@pytest.mark.parametrize(
    ("name", "runtime"), [("conv.xml", "openvino"), ("pruned-any.onnx", "onnxruntime")]
)
def test_tracking_without_torch(tmp_path_factory, frames, name, runtime, kind):
    path = tiny(tmp_path_factory, name)
    made = without_torch(path, frames, json.dumps(BOX), kind)
    weights = tiny(tmp_path_factory, name.partition(".")[0].partition("-")[0] + ".safetensors")
    expected = Tracker.from_file(weights)
    expected.init(video(6)[0], BOX)
    for box, image in zip(made["boxes"], video(6)[1:], strict=True):
        assert box == pytest.approx(expected.update(image).box, abs=0.05)
    # packaging comes with OpenVINO, which imports it; the last is the package under test.
    assert set(made["third"]) <= {"numpy", "cv2", runtime, "packaging", "lightvit_bench"}
    assert {"cv2", runtime} <= set(made["third"])


def test_weights_need_torch(tmp_path_factory, frames):
    """And say so, where the package is there and cannot be imported."""
    path = tiny(tmp_path_factory, "conv.safetensors")
    command = [sys.executable, "-c", PROGRAM, str(path), str(frames), json.dumps(BOX), "one"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0 and "torch" in done.stderr
