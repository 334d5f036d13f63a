"""tools/export.py, as a person runs it: what it takes, what it refuses."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_export import H, W, tiny

from lightvit_bench.errors import BadDataError, CheckpointError, ConfigError, MissingDataError
from lightvit_bench.tracking.tracker import Tracker

ROOT = Path(__file__).resolve().parents[2]
CAMVID, LASOT = "configs/camvid/upernet_random_tiny.py", "configs/lasot/mast_dmae_tiny.py"


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["export.py", *map(str, words)])
    runpy.run_path(str(ROOT / "tools" / "export.py"), run_name="tool")["main"]()


@pytest.fixture
def weights(tmp_path_factory):
    return tiny(tmp_path_factory, "conv.safetensors")


@pytest.fixture
def sequences(tmp_path):
    """A sequence of noise: the tiny tracker's own answers are all that is compared."""
    import cv2

    folder = tmp_path / "videos" / "one"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(6):
        image = rng.integers(0, 255, (H, W, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{i + 1:08d}.png"), image)
    (folder / "groundtruth.txt").write_text("60,40,30,24\n" * 6)
    return tmp_path / "videos"


def test_a_tracker(weights, sequences, tmp_path, monkeypatch, capsys):
    out = tmp_path / "t.xml"
    run(monkeypatch, weights, out, "--sequences", sequences, "--batch", "any")
    said = capsys.readouterr().out
    assert "any number of targets" in said and "parity" in said and str(out) in said
    assert Tracker.from_file(out).model.spec.batch == 0
    with pytest.raises(CheckpointError, match="there already"):
        run(monkeypatch, weights, out, "--sequences", sequences)


@pytest.mark.parametrize("bound", ["nan", "-1", "0"])
def test_a_bound_that_is_none(weights, sequences, tmp_path, monkeypatch, bound):
    out = tmp_path / "t.onnx"
    with pytest.raises(ConfigError, match="a bound is a number above 0"):
        run(monkeypatch, weights, out, "--sequences", sequences, f"--bound={bound}")
    assert not out.exists()


def test_nothing_to_compare_is_not_taken_for_equal(sequences, tmp_path, monkeypatch):
    """A tracker that finds its target on no crop."""
    from tiny_export import network

    from lightvit_bench.tracking.answers import Settings
    from lightvit_bench.tracking.files import save_tracker

    unsure = tmp_path / "unsure.safetensors"
    save_tracker(unsure, network("conv"), recipe="tiny", settings=Settings(found_above=1.0))
    with pytest.raises(CheckpointError, match="on none of the [0-9]+ crops"):
        run(monkeypatch, unsure, tmp_path / "t.onnx", "--sequences", sequences)
    assert not (tmp_path / "t.onnx").exists()


@pytest.mark.parametrize(
    ("words", "kind", "says"),
    [
        (["shipped", "t.xml", "--size", "64"], ConfigError, "--size is not for trackers"),
        (["shipped", "t.xml", "--cfg-options", "a=3"], ConfigError, "--cfg-options is not for"),
        (["shipped", "t.xml", "--sequences", "nowhere"], MissingDataError, "--sequences FOLDER"),
        (["shipped", "t.onnx", "--precision", "bf16"], ConfigError, "no bf16"),
        ([LASOT, "shipped", "t.xml"], ConfigError, "says itself how it is built"),
        ([LASOT, "w.safetensors", "t.xml"], ConfigError, "says itself how it is built"),
        ([LASOT, "nowhere.pth", "t.xml"], (CheckpointError, BadDataError), "nowhere.pth"),
        ([CAMVID, "random", "e.onnx", "--batch", "4"], ConfigError, "--batch is not for"),
        ([CAMVID, "random", "e.onnx", "--bound", "1"], ConfigError, "--bound is not for"),
        ([CAMVID, "random", "e.onnx", "--precision", "int8"], ConfigError, "in fp32"),
    ],
)
def test_what_is_refused(words, kind, says, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = [str(tmp_path / word) if word[1:2] == "." else word for word in words]
    with pytest.raises(kind, match=says):
        run(monkeypatch, *words)
    assert not list(tmp_path.iterdir())
