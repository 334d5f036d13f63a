"""A tracker on a person's computer: what its modules import, in a process of their own."""

import subprocess
import sys

import pytest

MM = ("mmengine", "mmcv", "mmdet", "mmseg")


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (
            "tracker, multi, baselines, watching.follow, watching.track_video, watching.draw, "
            "running.realtime, judging.judge, runtimes.load, runtimes.cache",
            ("torch", "timm", *MM),
        ),
        ("files, torch_model, published, exporting.write", MM),
    ],
)
def test_nothing_heavy_is_imported(modules, absent):
    program = (
        "import sys; "
        + "".join(f"import lightvit_bench.tracking.{name}; " for name in modules.split(", "))
        + f"print([name for name in {absent} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
