"""The tools as a person runs them: what they print, write and refuse."""

import json
import os
import re
import subprocess
import sys

import cv2
import forked
import numpy as np
import pytest
import torch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def program(repo):
    """Run `tools/NAME ARGUMENTS...`; returns the finished process, its output as text."""

    def run(name, *arguments):
        return subprocess.run(
            [sys.executable, str(repo / "tools" / name), *map(str, arguments)],
            cwd=repo,
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run


@pytest.fixture(scope="session")
def tool(repo):
    """The same without the imports' seconds, where a test runs the tool as a program already."""

    def run(name, *arguments):
        return forked.run([repo / "tools" / name, *arguments], cwd=repo, timeout=600)

    return run


@pytest.fixture(scope="session")
def trained(program, tiny_config, tmp_path_factory):
    """A checkpoint of the tiny config after eight iterations."""
    work_dir = tmp_path_factory.mktemp("trained")
    done = program("train.py", tiny_config, "--work-dir", work_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "iteration 8/8" in done.stdout
    return work_dir / "iter_8.pth"


def fails(done, *needles):
    """The tool ended as a user's mistake does: code 2, no traceback, the message."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for needle in needles:
        assert needle in done.stderr


def test_test_writes_metrics_overlays_and_predictions(
    program, tiny_config, trained, demo_root, tmp_path
):
    out, show = tmp_path / "out", tmp_path / "show"
    done = program(
        "test.py", tiny_config, trained, "--work-dir", tmp_path, "--out", out, "--show-dir", show
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = dict(re.findall(r"(\w+) (\d+\.\d+)", done.stdout.splitlines()[-1]))
    assert set(printed) == {"aAcc", "mIoU", "mAcc"}

    names = sorted(p.stem for p in (demo_root / "images/validation").iterdir())
    assert sorted(p.stem for p in show.iterdir()) == names
    assert sorted(p.stem for p in out.iterdir()) == names
    overlay = cv2.imread(str(show / f"{names[0]}.png"))
    assert overlay.shape[1] == 3 * 96  # image, truth, prediction

    # the predictions are in the data set's own ids, and give the accuracy that was printed
    right = count = 0
    for name in names:
        prediction = cv2.imread(str(out / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        truth = cv2.imread(
            str(demo_root / f"annotations/validation/{name}.png"), cv2.IMREAD_UNCHANGED
        )
        assert prediction.shape == truth.shape and prediction.min() >= 1
        right += np.sum((prediction == truth) & (truth > 0))
        count += np.sum(truth > 0)
    assert float(printed["aAcc"]) == pytest.approx(100 * right / count, abs=0.006)


def test_predict_draws_a_picture(program, tiny_config, trained, demo_root, tmp_path):
    image = sorted((demo_root / "images/validation").iterdir())[0]
    out = tmp_path / "picture.png"
    done = program("predict.py", image, tiny_config, trained, "--out", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    shares = [float(x) for x in re.findall(r"([\d.]+)%", done.stdout)]
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert cv2.imread(str(out)).shape[1] == 2 * 96  # image, prediction


@pytest.mark.parametrize("shape", [(10, 10), (5, 70)])
def test_predict_takes_tiny_pictures(tool, tiny_config, trained, tmp_path, shape):
    picture, out = tmp_path / "tiny.png", tmp_path / "out.png"
    cv2.imwrite(str(picture), np.full((*shape, 3), 90, np.uint8))
    done = tool("predict.py", picture, tiny_config, trained, "--out", out)
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(out)).shape[1] == 2 * shape[1]


def test_predict_refuses(tool, tiny_config, trained, demo_root, tmp_path):
    text = tmp_path / "note.jpg"
    text.write_text("not a picture")
    fails(tool("predict.py", text, tiny_config, trained), "note.jpg")
    image = sorted((demo_root / "images/validation").iterdir())[0]
    half = tmp_path / "half.jpg"
    half.write_bytes(image.read_bytes()[:2000])
    fails(tool("predict.py", half, tiny_config, trained), "half.jpg", "truncated")
    fails(tool("predict.py", image, tiny_config, trained, "--device", "tpu"), "no device 'tpu'")
    fails(tool("predict.py", image, tiny_config, trained, "--out", "picture"), "ending")
    other = "configs/camvid/upernet_random_tiny.py"
    fails(tool("predict.py", image, other, trained), "does not fit", "reshaped")


def test_two_processes_train_and_test(repo, tiny_config, tmp_path):
    """torchrun with gloo, as dist_train.sh and dist_test.sh start it on a machine without GPUs."""
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}

    def run(script, *arguments, port):
        done = subprocess.run(
            [str(repo / "tools" / script), *map(str, arguments)],
            cwd=repo,
            env={**environment, "PORT": str(port), "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    port = 29511 + os.getpid() % 400
    run("dist_train.sh", tiny_config, 2, "--work-dir", tmp_path, port=port)
    checkpoint = tmp_path / "iter_8.pth"
    assert checkpoint.is_file()
    output = run("dist_test.sh", tiny_config, checkpoint, 2, "--work-dir", tmp_path, port=port + 1)
    assert output.count("mIoU") == 2  # each process has the scores of all images
    logs = [json.loads(p.read_text()) for p in tmp_path.glob("*/*.json")]
    assert any("mIoU" in log for log in logs)


@pytest.mark.parametrize(
    "arguments, needles",
    [
        (["configs/ade20k/upernet_dmae_tyni.py"], ["configs/ade20k/upernet_dmae_tiny.py"]),
        (
            [
                "configs/ade20k/upernet_dmae_tiny.py",
                "--cfg-options",
                "init=checkpoints/absent.safetensors",
            ],
            ["checkpoints/absent.safetensors", "convert_checkpoint.py", "init=random"],
        ),
        (
            ["configs/ade20k/upernet_random_tiny.py", "--cfg-options", "data_root=/absent"],
            ["ADE20K not found", "LIGHTVIT_DATA", "make demo"],
        ),
        (
            ["configs/ade20k/fpn_random_tiny.py", "--cfg-options", "model.backbone.preset=vit"],
            ["no encoder preset 'vit'", "vit_tiny_p16_h12"],
        ),
        (
            ["TINY", "--cfg-options", "model.backbone.drop_pth=0.1"],
            ["unexpected keyword argument 'drop_pth'", "spelling"],
        ),
        (["TINY", "--cfg-options", "load_from=TRAINED_ELSEWHERE"], ["backbone.encoder", "missing"]),
        (["TINY", "--cfg-options", "resume=True"], ["use: --resume"]),
        (["TINY", "--resume"], ["nothing to resume in", "--resume auto"]),
        (["--resume", "TINY"], ["only 'auto'", "config before --resume"]),
    ],
)
def test_train_refuses(tool, tiny_config, tmp_path, arguments, needles):
    elsewhere = tmp_path / "other.pth"
    torch.save({"state_dict": {"fc.weight": torch.ones(1)}}, elsewhere)
    stand_ins = {"TINY": str(tiny_config), "TRAINED_ELSEWHERE": str(elsewhere)}
    for stand_in, value in stand_ins.items():
        arguments = [argument.replace(stand_in, value) for argument in arguments]
    fails(tool("train.py", *arguments, "--work-dir", tmp_path), *needles)


def test_test_refuses_a_checkpoint_of_another_model(tool, tiny_config, trained, tmp_path):
    options = ["--cfg-options", "model.decode_head.channels=8"]
    done = tool("test.py", tiny_config, trained, "--work-dir", tmp_path, *options)
    fails(done, "does not fit the model", "decode_head.conv_seg.weight: (7, 16, 1, 1) in the file")


def test_test_names_the_newest_checkpoint(tool, tiny_config, trained):
    done = tool("test.py", tiny_config, "absent.pth", "--work-dir", trained.parent)
    fails(done, "no checkpoint absent.pth", "iter_8.pth")


def test_get_flops(program):
    done = program("get_flops.py", "configs/ade20k/fpn_dmae_tiny.py", "--shape", "512")
    assert done.returncode == 0, done.stderr
    assert re.search(r"backbone\s+10\.43 GMACs\s+6\.260 M", done.stdout)


def test_print_config(program):
    done = program(
        "print_config.py", "configs/ade20k/fpn_mae_tiny.py", "--cfg-options", "init=random"
    )
    assert done.returncode == 0, done.stderr
    assert "ReducingPyramid" in done.stdout and "init='random'" in done.stdout
