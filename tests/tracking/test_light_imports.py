"""A tracker on a person's computer: what its modules import, in a process of their own."""

import subprocess
import sys

import pytest

MM = ("mmengine", "mmcv", "mmdet", "mmseg")


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("tracker, baselines, follow, realtime, draw, judge", ("torch", "timm", *MM)),
        ("files, torch_model, track_video, published", MM),
    ],
)
def test_nothing_heavy_is_imported(modules, absent):
    program = (
        f"import sys; from lightvit_bench.tracking import {modules}; "
        f"print([name for name in {absent} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
