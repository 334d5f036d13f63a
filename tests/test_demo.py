"""The demo end to end, with the encoder for tests."""

import csv
from pathlib import Path

import cv2
import pytest
import torch

from lightvit_bench import demo
from lightvit_bench.bench.record import read_record, read_records
from lightvit_bench.checkpoint import load_encoder, read_manifest
from lightvit_bench.demo import Configs, baseline, run_demo
from lightvit_bench.openmmlab.checkpoints import (
    latest_checkpoint,
    read_run_checkpoint,
    run_checkpoints,
)
from lightvit_bench.verification import verify_record
from lightvit_bench.vit import VisionTransformer


def fresh():
    """A weight of an encoder at another start."""
    torch.manual_seed(7)
    return VisionTransformer("vit_test").blocks[0].attn.qkv.weight


@pytest.mark.slow
def test_demo_leaves_a_score_a_baseline_and_pictures(
    tiny_config, tiny_detector, repo, tmp_path, capsys
):
    data, out = tmp_path / "data", tmp_path / "out"
    small = dict(backbone=dict(preset="vit_test", img_size=64), decoder=dict(width=16, heads=2))
    teacher, student = (tmp_path / f"{name}.py" for name in ("teacher", "student"))
    common = "train_dataloader=dict(num_workers=0, dataset=dict(crop_size=64))\n"
    common += "train_cfg=dict(max_epochs=3)\n"
    teacher.write_text(
        f"_base_ = {str(repo / 'configs/demo/mae_small.py')!r}\nmodel = {small!r}\n{common}"
    )
    small["distill"] = dict(teacher=small["backbone"], attention=[(3, 3)])
    student.write_text(
        f"_base_ = {str(repo / 'configs/demo/dmae_tiny.py')!r}\nmodel = {small!r}\n{common}"
    )
    configs = Configs(str(teacher), str(student), str(tiny_config), str(tiny_detector))
    videos = dict(sequences=1, frames=6, size=(160, 120))
    metrics = run_demo(out, data, configs, videos)
    printed = capsys.readouterr().out
    # each training starts from what the one before it left
    taught = read_manifest(out / "student/student.safetensors")
    assert taught.recipe == "dmae" and taught.parents[0].name == "teacher.safetensors"
    start = load_encoder(out / "student/student.safetensors").blocks[0].attn.qkv.weight
    segmentor = latest_checkpoint(out / tiny_config.stem)
    end = read_run_checkpoint(segmentor)["state_dict"]["backbone.encoder.blocks.0.attn.qkv.weight"]
    assert 0 < (start - end).abs().max() < 0.05 < (start - fresh()).abs().max()
    assert (out / "student/pictures/latest.jpg").is_file()
    assert f"{metrics['mIoU']:.1f}" in printed and f"{baseline(data).miou:.1f}" in printed
    assert str(tmp_path / "out/demo.png") in printed
    detector = latest_checkpoint(out / tiny_detector.stem)
    end = read_run_checkpoint(detector)["state_dict"]["backbone.encoder.blocks.0.attn.qkv.weight"]
    assert 0 < (start - end).abs().max() < 0.05
    assert f"{metrics['coco/bbox_mAP']:.1f}" in printed
    assert len(list((out / "objects").rglob("*.png"))) == 24
    assert metrics["AUC"] > 50 and f"{metrics['AUC']:.1f}" in printed
    assert (out / "tracking/disc-1.mp4").stat().st_size > 1000
    assert len((out / "tracking/disc-1.txt").read_text().splitlines()) == 6
    assert len(list((tmp_path / "out/overlays").glob("*.png"))) == 30
    assert cv2.imread(str(tmp_path / "out/demo.png")).shape[1] > 2 * 3 * 160
    # it ends with the page: its own records, which can be verified, beside the published rows
    page = out / "leaderboard/index.html"
    assert printed.rstrip().endswith(str(page.resolve()))
    records = read_records(out / "records")
    assert {one.task for one in records} == {"segmentation", "detection", "tracking"}
    assert {one.origin for one in records} == {"demo"}
    places = {  # predictions and truth, which lie outside of the project here
        "segmentation": (out / "labels", data / "annotations/validation"),
        "detection": (out / "objects.json", data.parent / "coco/annotations/instances_val2017.json"),
        "tracking": (out / "tracking", data.parent / "tracking"),
    }
    for path in (out / "records").iterdir():
        found = verify_record(path, *places[read_record(path).task])
        assert found.ok, found.lines()
    with open(out / "leaderboard/leaderboard.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len([row for row in rows if row["origin"] == "demo"]) == 3
    assert len([row for row in rows if row["origin"] == "published"]) > 100
    assert all(row["key"] in page.read_text() for row in rows)


def test_a_second_demo_clears_what_the_first_left_and_nothing_else(tmp_path, monkeypatch):
    """A pre-training refuses to start beside the checkpoints of another."""
    found = []

    def train(config, work_dir, cfg_options):
        found.append([path.name for path in run_checkpoints(work_dir)])
        (Path(work_dir) / "iter_7.pth").touch()
        (Path(work_dir) / "notes.txt").touch()

    monkeypatch.setattr(demo, "train", train)
    for _ in range(2):
        work_dir = demo._run("configs/demo/mae_small.py", tmp_path)
    assert found == [[], []] and (work_dir / "notes.txt").exists()
    (work_dir / demo.MARK).unlink()  # somebody's own run, in a folder of that name
    demo._run("configs/demo/mae_small.py", tmp_path)
    assert found[-1] == ["iter_7.pth"] and not (work_dir / demo.MARK).exists()


def test_baseline_is_what_the_commonest_class_scores(demo_root):
    """Of the generated data the photograph is commonest: its share is the accuracy."""
    total = right = 0
    for path in (demo_root / "annotations/validation").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        right += int((mask == 1).sum())
        total += mask.size
    assert baseline(demo_root).aacc == pytest.approx(100 * right / total)
