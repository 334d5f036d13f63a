"""The tools of pre-training that measure and draw: what they print, write and refuse.

What they refuse they say before anything is loaded, so most run in this process.
"""

import json
import os
import re
import runpy
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.openmmlab.model import build_model

SMALL = ["model.backbone.preset=vit_test", "model.backbone.img_size=64"]
FP32 = ("--methods", "mae", "--precision", "fp32", "--no-compile")


@pytest.fixture
def tool(repo, monkeypatch, capsys):
    """Run a tool in this process; returns its exit code, what it printed, and its complaints."""
    monkeypatch.delenv("LIGHTVIT_TRACEBACK", raising=False)

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(repo / "tools" / name), run_name="__main__")
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


def refused(result, *needles):
    """A user's mistake: code 2, and a message that holds the needles."""
    code, printed, complaint = result
    assert (code, printed) == (2, ""), complaint
    assert re.match(r"\w+Error: ", complaint), complaint
    for needle in needles:
        assert needle in complaint


@pytest.fixture
def work_dir(tmp_path):
    """A run's log of three lines."""
    return log(tmp_path / "run")


def log(folder, loss=1.0):
    file = folder / "20260101_000000/vis_data/scalars.json"
    file.parent.mkdir(parents=True)
    records = [dict(epoch=i / 10, iteration=i, loss_pixels=loss / i) for i in (1, 2, 3)]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.fixture
def checkpoint(repo, tmp_path):
    """A config and a checkpoint of its small model."""
    config = repo / "configs/pretrain/mae_tiny.py"
    model = build_model(load_config(str(config), SMALL))
    torch.save({"state_dict": model.state_dict(), "meta": {}}, tmp_path / "iter_1.pth")
    return config, tmp_path / "iter_1.pth"


@pytest.fixture
def image(tmp_path):
    cv2.imwrite(str(tmp_path / "image.png"), np.full((80, 90, 3), 90, np.uint8))
    return tmp_path / "image.png"


@pytest.mark.parametrize(
    "arguments, needles",
    [
        (("--batch", 0), ("--batch 1 or more, not 0",)),
        (("--batch", -2, "--turns", -1), ("--batch 1 or more", "--turns 1 or more, not -1")),
        (("--turns", 0), ("--turns 1 or more",)),
        (("--workers", -1), ("--workers 0 or more, not -1",)),
        (("--threads", 0), ("--threads 1 or more",)),
        (("--device", "cuda:99"), ("no device 'cuda:99'", "there is:", "cpu")),
        (("--device", "cuda:x"), ("no device 'cuda:x'",)),
        (("--device", "meta"), ("no device 'meta'",)),
        (("--device", ""), ("no device ''",)),
        (("--device", "cpu", "--precision", "fp16"), ("bf16 or fp32", "--precision")),
    ],
    ids=str,
)
def test_bench_refuses_what_it_cannot_measure(tool, arguments, needles):
    refused(tool("bench_pretrain.py", *FP32, *arguments), *needles)


def test_bench_without_a_gpu_says_so(tool, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    refused(tool("bench_pretrain.py", *FP32, "--device", "cuda"), "no device 'cuda'", "cpu")


@pytest.mark.slow
def test_bench_measures_a_small_run(repo, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), rng.integers(0, 256, (240, 260, 3), np.uint8))
    done = subprocess.run(
        [sys.executable, "tools/bench_pretrain.py", *FP32, "--batch", "2", "--turns", "1",
         "--data-root", str(tmp_path)],
        cwd=repo,
        env=dict(os.environ),
        capture_output=True,
        check=False,
        text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr

    def numbers(pattern):
        found = re.search(pattern, done.stdout)
        assert found, f"{pattern}\n{done.stdout}"
        return [float(text.replace(",", "")) for text in found.groups()]

    n = r"([\d.,]+)"
    assert numbers(rf"2 threads, batch {n}, fp32\n") == [2], "as asked for, and not compiled"
    work = numbers(rf"mae: {n} GMAC student and {n} teacher forward, {n} a step")
    assert work == [0.325, 0, 0.975]
    assert numbers(rf"differ from plain float32 by at most {n} %")[0] < 0.1
    rate, share = numbers(rf"model alone: {n} images/s, {n} % of the product rate")
    (products,) = numbers(rf"matrix products: {n} GMAC/s")
    assert share == pytest.approx(100 * rate * 0.975 / products, abs=1)
    plain, ratio, least, most = numbers(
        rf"plain: {n} images/s; the model is {n} times as fast \({n} to {n}\)"
    )
    half = 0.051  # rates are printed to a tenth, which is much of a slow machine's
    assert ratio == least == most
    assert (rate - half) / (plain + half) - 0.01 < ratio < (rate + half) / (plain - half) + 0.01
    assert numbers(rf"loader alone: {n} images/s \(0 workers\)")[0] > 0
    assert numbers(rf"loader and model: {n} images/s")[0] > 0


def test_reconstruct_writes_a_picture(tool, checkpoint, image, tmp_path):
    out, options = tmp_path / "new/folder/out.png", ("--cfg-options", *SMALL)
    code, printed, complaint = tool("reconstruct.py", *checkpoint, image, "--out", out, *options)
    assert code == 0, complaint
    assert printed.splitlines()[-1] == str(out) and cv2.imread(str(out)).shape[1] > 3 * 64


def test_reconstruct_refuses(tool, checkpoint, image, tmp_path):
    """An unknown kind of picture before the model is loaded; a folder that is none when writing."""
    for out in ("r.xyz", "pictures.png/r.txt"):
        result = tool("reconstruct.py", "absent.py", "absent.pth", image, "--out", out)
        refused(result, f"the ending of {out}", "--out x.png")
    arguments = (*checkpoint, image, "--out", image / "out.png", "--cfg-options", *SMALL)
    refused(tool("reconstruct.py", *arguments), str(image))
    assert sorted(os.listdir(tmp_path)) == ["image.png", "iter_1.pth"]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".PDF", ""])
def test_plot_losses_writes_a_picture(tool, work_dir, tmp_path, suffix):
    out = tmp_path / f"curves{suffix}"
    assert tool("plot_losses.py", out, work_dir) == (0, f"{out}\n", "")
    start = {".svg": b"<?xml", ".PDF": b"%PDF"}.get(suffix, b"\x89PNG")
    assert out.read_bytes().startswith(start)


def test_plot_losses_refuses(tool, work_dir, tmp_path):
    before = sorted(os.listdir(tmp_path))
    refused(tool("plot_losses.py", tmp_path / "x.xyz", work_dir), "x.xyz", "curves.png")
    refused(tool("plot_losses.py", tmp_path / "x.png", tmp_path / "none"), "none")
    log_file = next(work_dir.glob("*/vis_data/scalars.json"))
    refused(tool("plot_losses.py", log_file / "x.png", work_dir), str(log_file))
    log_file.write_text('{"iteration": 1, "epoch": 0.1}\n')
    refused(tool("plot_losses.py", tmp_path / "x.png", work_dir), "no loss to draw", "run")
    assert sorted(os.listdir(tmp_path)) == before


def test_runs_of_one_name_are_two_curves(tool, tmp_path):
    folders = [log(tmp_path / side / "run", loss) for side, loss in (("a", 1.0), ("b", 3.0))]
    assert tool("plot_losses.py", tmp_path / "x.svg", *folders)[0] == 0
    drawn = (tmp_path / "x.svg").read_text()
    assert all(f"<!-- {folder} -->" in drawn for folder in folders), "in the legend"


def test_packing_into_what_is_no_folder(tool, image):
    refused(tool("pack_images.py", image.parent, image / "pack", "--workers", 0), str(image))
    refused(tool("pack_images.py", image.parent, image.parent), "its own source")
    refused(tool("pack_images.py", image.parent, "out", "--workers", -1), "workers=-1")


@pytest.mark.parametrize("name", ["bench_pretrain.py", "reconstruct.py", "plot_losses.py"])
def test_help_does_not_wait_for_torch(repo, name):
    code = (
        f"import sys, runpy; sys.argv = [{name!r}, '--help']\n"
        f"try: runpy.run_path('tools/{name}', run_name='__main__')\n"
        "except SystemExit: sys.exit(bool({'torch', 'cv2', 'matplotlib'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout
