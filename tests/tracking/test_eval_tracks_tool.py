"""tools/eval_tracks.py as a person runs it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from lightvit_bench.data.box_files import write_boxes

NAMES = ("car-2", "car-10", "yoyo-1")


@pytest.fixture
def tool(repo):
    def run(*arguments, **environment):
        return subprocess.run(
            [sys.executable, str(repo / "tools/eval_tracks.py"), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(repo), **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture
def data(tmp_path):
    """Annotations of three sequences, two of them in the test set's list, and two trackers."""
    for i, name in enumerate(NAMES):
        rng = np.random.default_rng(i)
        truth = np.column_stack([rng.integers(20, 90, (25, 2)), rng.integers(20, 60, (25, 2))])
        write_boxes(tmp_path / f"anno/annos/{name}.txt", truth)
        for folder, flags in (("absent", [0] * 24 + [1]), ("attributes", [1] * 5 + [0] * 9)):
            file = tmp_path / "anno" / folder / f"{name}.txt"
            file.parent.mkdir(exist_ok=True)
            file.write_text(",".join(map(str, flags)))
        for tracker, shift in (("bad", 12), ("good", 2)):
            write_boxes(tmp_path / tracker / f"{name}.txt", truth + [shift, 0, 0, 0])
    return tmp_path


def fails(done, *needles):
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for needle in needles:
        assert needle in done.stderr


def test_trackers_are_judged_and_drawn(tool, data):
    out, record = data / "out", data / "scores.json"
    done = tool(
        "--annotations", data / "anno", data / "bad", f"Our Best={data / 'good'}",
        "--out", out, "--json", record,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("protocol   lasot-subset3-") and lines[0].endswith("@toolkit")
    assert lines[1] == "sequences  3 expected, 3 evaluated"
    head, first, second = (line.split() for line in lines[3:6])
    assert head == ["tracker", "AUC", "OP50", "OP75", "P", "P_norm"]
    assert first[:2] == ["Our", "Best"] and second[0] == "bad"
    assert float(first[2]) > float(second[1]) and second[4] == "96.00"  # 12 px, 24 of 25 frames
    assert sum(line.startswith(("IV ", "CM ")) for line in lines) == 2
    scores = json.loads(record.read_text())["trackers"]
    assert [s["tracker"] for s in scores] == ["Our Best", "bad"]
    assert scores[0]["auc"] == pytest.approx(float(first[2]), abs=0.005)
    assert len(scores[0]["per_sequence"]) == 3 and len(scores[0]["curves"]["precision"]) == 51
    assert {"success.svg", "norm_precision.png", "attributes.csv", "attributes.svg"} <= {
        file.name for file in out.iterdir()
    }


def test_subsets_and_valid_frames_have_other_ids(tool, data):
    protocols = set()
    (data / "two.txt").write_text("car-2\nyoyo-1\n")
    for options in ([], ["--sequences", data / "two.txt"], ["--valid-frames"]):
        done = tool("--annotations", data / "anno", data / "good", *options)
        assert done.returncode == 0, done.stderr
        protocols.add(done.stdout.splitlines()[0])
        expected = 2 if "--sequences" in options else 3
        assert f"{expected} expected, {expected} evaluated" in done.stdout
    assert len(protocols) == 3


def test_the_list_of_the_test_set_is_what_is_expected(tool, data):
    (data / "anno/testing_set.txt").write_text("car-2\ncar-10\n")
    fails(tool("--annotations", data / "anno", data / "good"), "1 too many", "yoyo-1")
    done = tool("--annotations", data / "anno", data / "good", "--all")
    assert "3 expected, 3 evaluated" in done.stdout, done.stderr


def test_what_is_wrong_is_told_and_nothing_is_written(tool, data):
    anno, good, bad = data / "anno", data / "good", data / "bad"
    (bad / "car-10.txt").unlink()
    out = ["--out", data / "out", "--json", data / "scores.json"]
    fails(tool("--annotations", anno, good, bad, *out), "1 missing", "car-10", "--sequences")
    fails(tool("--annotations", anno, good, f"good={bad}", *out), "two trackers", "NAME=")
    fails(tool("--annotations", data / "none", good, *out), "no annotations", str(data / "none"))
    fails(tool("--annotations", anno, good, "--sequences", data / "none.txt", *out), "none.txt")
    fails(tool("--annotations", anno, data / "nobody", *out), "nobody")
    with (good / "car-2.txt").open("a") as file:
        file.write("1,2,3\n")
    fails(tool("--annotations", anno, good, *out), "car-2.txt, line 26")
    fails(tool("--annotations", anno, good, "--submission", "kitti", data / "o.zip"), "'kitti'")
    fails(
        tool("--annotations", anno, good, "--submission", "got10k", data / "o.zip", "--all"),
        "--all does not go with --submission",
    )
    assert not (data / "out").exists() and not (data / "scores.json").exists()


def test_a_submission_needs_the_data_set(tool, data):
    for server in ("got10k", "trackingnet"):
        done = tool("--annotations", data, data / "good", "--submission", server, data / "o.zip")
        fails(done, "not found", "--annotations PATH", "LIGHTVIT_DATA")
        assert "--cfg-options" not in done.stderr and "--data-root" not in done.stderr
    fails(tool("--annotations", data, data / "good", "--format", "got10k"), "--annotations PATH")
    assert not (data / "o.zip").exists()


def test_help_is_instant_of_heavy_imports(repo):
    code = (
        "import sys, runpy; sys.argv = ['eval_tracks.py', '--help']\n"
        "try: runpy.run_path('tools/eval_tracks.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert 'numpy' not in sys.modules and 'matplotlib' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repo, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_data_is_looked_for_where_the_variable_says(tool, data):
    done = tool("--annotations", "data/anno", data / "good", LIGHTVIT_DATA=str(data))
    assert "3 expected, 3 evaluated" in done.stdout, done.stderr
    for other in (["--format", "got10k"], ["--submission", "trackingnet", data / "o.zip"]):
        done = tool("--annotations", "data/none", data / "good", *other, LIGHTVIT_DATA=str(data))
        fails(done, "not found", str(data / "none"))


def test_ones_own_sequences_are_judged_whatever_they_are_called(tool, tmp_path):
    """Boxes that count from 0, names with spaces, no flags."""
    truth = np.column_stack([np.zeros(20), np.arange(20), np.full((20, 2), 9)])
    for name in ("a b", "c"):
        write_boxes(tmp_path / f"own/{name}/groundtruth.txt", truth)
        write_boxes(tmp_path / f"ours/{name}.txt", truth)
    done = tool("--annotations", tmp_path / "own", tmp_path / "ours")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("protocol   sequences2-") and lines[0].endswith("@positive-size")
    assert lines[4].split() == ["ours", "95.24", "100.00", "100.00", "100.00", "100.00"]
    assert "40 visible frames have annotation values <= 0" in done.stdout
    (tmp_path / "one.txt").write_text("a b\n")
    done = tool(
        "--annotations", tmp_path / "own", tmp_path / "ours", "--sequences", tmp_path / "one.txt"
    )
    assert "1 expected, 1 evaluated" in done.stdout, done.stderr
    truth[7] = np.nan
    write_boxes(tmp_path / "own/c/groundtruth.txt", truth)
    fails(
        tool("--annotations", tmp_path / "own", tmp_path / "ours"),
        "c: the truth is unknown in 1 of 20", "frame 8", "--valid-frames", "--sequences",
    )  # fmt: skip
