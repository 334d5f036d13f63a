"""Records of tools/test.py: what they say of a test, and their scores computed again."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from lightvit_bench.bench.record import read_record, read_records
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError
from lightvit_bench.metrics.segmentation import confusion, scores
from lightvit_bench.openmmlab.recipe import config_sha256, recipe_of, trained_config
from lightvit_bench.openmmlab.recording import training_curves
from lightvit_bench.openmmlab.run import test as run_test
from lightvit_bench.openmmlab.run import train
from lightvit_bench.verification import verify_record


@pytest.fixture(scope="module")
def segmentor(tiny_config, tmp_path_factory):
    """A work dir of eight iterations with seed 5, logged at every other."""
    work = tmp_path_factory.mktemp("segmentor")
    options = ("randomness.seed=5", "default_hooks.logger.interval=2")
    train(str(tiny_config), work_dir=str(work), cfg_options=options)
    return work


def with_record(config, checkpoint, folder, *options, out=None):
    """Test with a record; the record and its file."""
    work = str(folder / "work")
    run_test(
        str(config),
        str(checkpoint),
        work_dir=work,
        out=out and str(out),
        record=str(folder / "records"),
        cfg_options=options,
    )
    (path,) = (folder / "records").glob("*.json")
    return read_record(path), path


@pytest.fixture(scope="module")
def tested(tiny_config, segmentor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tested")
    record, path = with_record(
        tiny_config, segmentor / "iter_8.pth", folder, out=folder / "predictions"
    )
    return record, path, folder


def test_the_record_of_a_segmentor(tested, tiny_config, segmentor, demo_root):
    record, path, folder = tested
    assert (record.task, record.model, record.origin) == ("segmentation", "tiny", "demo")
    assert (record.dataset, record.split) == ("demo pictures", "validation")
    assert re.fullmatch(r"demo-pictures-4-images-[0-9a-f]{8}@single-scale", record.protocol)
    assert (record.expected, record.evaluated) == (4, 4)
    assert record.seed == 5  # the training's, not the config's of the test
    assert record.checkpoint == ".../iter_8.pth" and len(record.checkpoint_sha256) == 64
    assert record.recipe.pretraining == "none" and record.recipe.head == "UPerNet"
    assert record.recipe.schedule == "8 iterations, batch 4, PolyLR to 8"
    assert record.recipe.crop == "64 x 64"
    assert record.recipe.test_mode == "single scale, windows of 64 x 64"
    assert record.size.input == "3 x 64 x 64" and record.size.macs > record.size.backbone_macs > 0
    assert record.size.parameters > record.size.backbone_parameters
    assert record.curves["loss"].x == (2.0, 4.0, 6.0, 8.0)
    assert record.predictions.files == record.truth.files == 4
    # unrounded, and from the pictures that were written
    matrix = 0
    for png in (folder / "predictions").iterdir():
        truth = cv2.imread(str(demo_root / "annotations/validation" / png.name), -1).astype(int)
        found = cv2.imread(str(png), -1).astype(int) - 1
        matrix = matrix + confusion(found, np.where(truth == 0, 255, truth - 1), 7)
    assert record.values["miou"] == pytest.approx(scores(matrix).miou, rel=1e-12)
    assert record.values["macc"] == pytest.approx(scores(matrix).macc, rel=1e-12)


def test_a_records_score_is_computed_again(tested, demo_root):
    record, path, folder = tested
    # files outside the project are named by their last part
    with pytest.raises(MissingDataError, match="(?s)outside.*--predictions PATH"):
        verify_record(path)
    places = dict(predictions=folder / "predictions", truth=demo_root / "annotations/validation")
    found = verify_record(path, **places)
    assert found.ok, found.lines()
    assert {one.metric: one.difference for one in found.checks} == pytest.approx(
        dict(miou=0, macc=0, aacc=0), abs=1e-9
    )
    assert found.lines()[-1].startswith("verified")


@pytest.mark.parametrize("which", ["predictions", "truth"])
def test_a_changed_picture_is_noticed(tested, demo_root, tmp_path, which):
    record, path, folder = tested
    places = dict(predictions=folder / "predictions", truth=demo_root / "annotations/validation")
    places[which] = shutil.copytree(places[which], tmp_path / "copy")
    picture = sorted(places[which].iterdir())[0]
    values = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED)
    values[:40] = 3
    cv2.imwrite(str(picture), values)
    found = verify_record(path, **places)
    assert not found.ok and any("not those of the record" in one for one in found.problems)
    assert any(abs(one.difference) > 1e-3 for one in found.checks)
    assert "DIFFERS" in "\n".join(found.lines()) and found.lines()[-1] == "NOT verified"
    picture.unlink()
    gone = verify_record(path, **places)
    assert not gone.ok and gone.problems


def test_other_pictures_beside_the_predictions_change_nothing(
    tiny_config, segmentor, demo_root, tmp_path
):
    out = tmp_path / "predictions"
    out.mkdir()
    cv2.imwrite(str(out / "another.png"), np.ones((9, 9), np.uint8))
    record, path = with_record(
        tiny_config, segmentor / "iter_8.pth", tmp_path, "test_dataloader.dataset.indices=3",
        out=out,
    )  # fmt: skip
    # the whole set's protocol, and fewer images than it has: shown, and not ranked
    assert (record.expected, record.evaluated, record.complete) == (4, 3, False)
    assert "4-images" in record.protocol
    found = verify_record(path, predictions=out, truth=demo_root / "annotations/validation")
    assert found.ok, found.lines()


def test_without_out_the_record_cannot_be_verified(tiny_config, segmentor, tmp_path, capsys):
    record, path = with_record(tiny_config, segmentor / "iter_8.pth", tmp_path)
    assert record.predictions is None and record.truth is None
    assert "cannot be verified" in capsys.readouterr().out
    with pytest.raises(BadDataError, match="(?s)kept no predictions.*--out"):
        verify_record(path)


def test_the_standard_classes_are_those_of_the_data_sets():
    from lightvit_bench.segmentation.datasets import ADE20K, CamVid
    from lightvit_bench.verification.protocols import Labels, names_sha256, picture_protocol

    ade = [f"ADE_val_{number:08d}" for number in range(1, 2001)]
    for kind, first, names, which in (
        (ADE20K, 1, ade, "ade20k-val"),
        (CamVid, 0, [str(n) for n in range(233)], "camvid-test"),
    ):
        classes = kind.METAINFO["classes"]
        labels = Labels(len(classes), names_sha256(classes), first, 255)
        protocol, _ = picture_protocol(kind.__name__, "test", names, labels)
        assert protocol == f"{which}@single-scale"


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    """As many pictures as CamVid's test set has, of two values."""
    root = tmp_path_factory.mktemp("camvid")
    for part in ("images", "annotations", "predictions"):
        (root / part / "test").mkdir(parents=True)
    picture, mask = np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), np.uint8)
    mask[:2] = 2
    for number in range(233):
        cv2.imwrite(str(root / f"images/test/{number:03d}.jpg"), picture)
        for part in ("annotations", "predictions"):
            cv2.imwrite(str(root / f"{part}/test/{number:03d}.png"), mask)
    return root


def evaluated(root, ignore=255, **options):
    """What would be recorded of a finished test on `camvid`."""
    from lightvit_bench.metrics.segmentation import scores
    from lightvit_bench.openmmlab.evaluated import evaluated_pictures
    from lightvit_bench.segmentation.datasets import CamVid
    from lightvit_bench.segmentation.metric import ExactIoU

    where = dict(img_path="images/test", seg_map_path="annotations/test")
    dataset = CamVid(data_root=str(root), data_prefix=where, pipeline=[], **options)
    metric = ExactIoU(iou_metrics=["mIoU"], ignore_index=ignore)
    metric.exact, metric.evaluated = scores(np.eye(2, dtype=int)), len(dataset)
    loop = SimpleNamespace(
        evaluator=SimpleNamespace(metrics=[metric]), dataloader=SimpleNamespace(dataset=dataset)
    )
    cfg = dict(test_dataloader=dict(dataset=dict(data_root=str(root))))
    return evaluated_pictures(
        SimpleNamespace(test_loop=loop), cfg, {}, str(root / "predictions/test")
    )


def test_what_is_scored_otherwise_has_another_protocol(camvid):
    whole, part = evaluated(camvid), evaluated(camvid, indices=3)
    assert whole.protocol == part.protocol == "camvid-test@single-scale"
    assert (part.expected, part.evaluated, whole.remarks) == (233, 3, ())
    assert evaluated(camvid, ignore=3).protocol == "camvid-test-ignore-3@single-scale"
    zero = evaluated(camvid, reduce_zero_label=True)
    assert zero.protocol == "camvid-test-first-1@single-scale"
    two = evaluated(camvid, metainfo=dict(classes=("sky", "building")))
    assert re.fullmatch("camvid-test-2-classes-[0-9a-f]{8}@single-scale", two.protocol)
    # masks still have the values of all classes: the score could not be computed again
    assert two.predictions is None and "chosen classes" in two.remarks[0]


def test_weights_that_state_no_seed_have_none():
    from lightvit_bench.openmmlab.recording import shared_fields

    cfg = dict(randomness=dict(seed=3), model={})
    for meta, seed in (({}, None), ({"seed": 7}, 7), ({"seed": "7"}, None)):
        assert shared_fields("x.py", cfg, Path("nowhere/x.pth"), meta)[0]["seed"] == seed


def test_seeds_share_a_config_and_another_start_does_not(tiny_config, segmentor):
    from lightvit_bench.openmmlab.checkpoints import read_run_checkpoint
    from lightvit_bench.openmmlab.config import load_config

    def digest(*options, trained=None):
        return config_sha256(load_config(tiny_config, options).to_dict(), trained)

    assert digest("randomness.seed=1", "work_dir=x") == digest("randomness.seed=2", "work_dir=y")
    assert digest() != digest("train_cfg.max_iters=9")
    meta = read_run_checkpoint(segmentor / "iter_8.pth")["meta"]
    trained = trained_config(meta)
    assert trained["model"]["backbone"]["init"] == "random"
    assert trained["model"]["backbone"]["preset"] == "vit_test"
    other = {**trained, "model": {**trained["model"], "backbone": {"init": "else.safetensors"}}}
    assert len({digest(), digest(trained=trained), digest(trained=other)}) == 3
    # what it started from is what the training says, whatever the config of the test has
    cfg = load_config(tiny_config, ["init=gone.safetensors"]).to_dict()
    assert recipe_of(cfg, trained, 3).pretraining == "none"
    assert recipe_of(cfg, trained, 3).schedule.startswith("3 of 8 iterations")
    assert recipe_of(cfg, None, None).pretraining is None


def test_a_config_in_a_checkpoint_is_read_and_not_run(tmp_path):
    mark = tmp_path / "ran"
    bad = f"model = dict(a=__import__('pathlib').Path({str(mark)!r}).touch())"
    assert trained_config({"cfg": bad}) is None and not mark.exists()
    assert trained_config({"cfg": "import os"}) is None
    assert trained_config({}) is None
    text = "a = dict(b=[1, -2.5, (3, None)], **{'c d': True})\n"
    assert trained_config({"cfg": text}) == {"a": {"b": [1, -2.5, [3, None]], "c d": True}}


def test_curves_of_a_resumed_training(tmp_path):
    for part, lines in (
        ("1", [dict(step=2, loss=5.0), dict(step=4, loss=4.0), dict(step=6, loss=3.0)]),
        ("2", [dict(step=4, loss=4.5), dict(step=4, mIoU=11.0), dict(step=8, loss=2.0)]),
    ):
        file = tmp_path / part / "vis_data/scalars.json"
        file.parent.mkdir(parents=True)
        file.write_text("".join(json.dumps(one) + "\n" for one in lines))
    curves, whole = training_curves(tmp_path, last=7)
    assert whole and curves["loss"].x == (2, 4) and curves["loss"].y == (5.0, 4.5)
    assert curves["validation_miou"].y == (11.0,)
    with file.open("a") as log:
        log.write('{"step": 9, "lo')  # killed while it wrote
    assert training_curves(tmp_path, last=9)[1]
    file.write_text("no json\n" + file.read_text())
    assert not training_curves(tmp_path, last=9)[1]
    assert training_curves(tmp_path, last=None) == ({}, True)


def test_a_folder_that_takes_no_record_is_told_before_the_test(
    tiny_config, segmentor, tmp_path, monkeypatch
):
    from mmengine.runner import Runner

    monkeypatch.setattr(Runner, "test", lambda self: pytest.fail("it was tested"))
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "below"):
        with pytest.raises(ConfigError, match="(?s)--record .*no record can be written"):
            run_test(str(tiny_config), str(segmentor / "iter_8.pth"), record=str(folder))
    with pytest.raises(ConfigError, match="no evaluator whose score"):
        run_test(
            str(tiny_config),
            str(segmentor / "iter_8.pth"),
            record=str(tmp_path / "records"),
            cfg_options=["test_evaluator.type=CityscapesMetric"],
        )


@pytest.fixture(scope="module")
def detector(tiny_detector, tmp_path_factory):
    work = tmp_path_factory.mktemp("detector")
    train(str(tiny_detector), work_dir=str(work), cfg_options=["train_cfg.max_iters=1"])
    return next(work.glob("*.pth"))


def test_the_record_of_a_detector(tiny_detector, detector, demo_coco, tmp_path):
    out = tmp_path / "results.json"
    record, path = with_record(tiny_detector, detector, tmp_path, out=out)
    assert (record.task, record.origin, record.split) == ("detection", "demo", "val2017")
    assert re.fullmatch(r"coco-4-images-[0-9a-f]{8}@coco-ap", record.protocol)
    assert (record.expected, record.evaluated) == (4, 4)
    assert record.recipe.head == "Mask R-CNN (ViTDet)" and record.recipe.pretraining == "none"
    assert {"box_ap", "box_ap50", "mask_ap", "mask_ap75"} <= set(record.values)
    truth = next((demo_coco / "annotations").glob("*val2017.json"))
    found = verify_record(path, predictions=out, truth=truth)
    assert found.ok, found.lines()
    assert len(found.checks) == 12

    results = json.loads(out.read_text())
    annotations = json.loads(truth.read_text())["annotations"]
    results += [
        {**{k: one[k] for k in ("image_id", "category_id", "bbox")}, "score": 1.0,
         "segmentation": results[0]["segmentation"]}
        for one in annotations
    ]  # fmt: skip
    out.write_text(json.dumps(results))
    found = verify_record(path, predictions=out, truth=truth)
    assert not found.ok and "not those of the record" in found.problems[0]
    box_ap = next(one for one in found.checks if one.metric == "box_ap")
    assert box_ap.recomputed > 90 > record.values["box_ap"]


def test_a_detector_over_a_part_of_the_images(tiny_detector, detector, demo_coco, tmp_path):
    out = tmp_path / "results.json"
    record, path = with_record(
        tiny_detector, detector, tmp_path, "test_dataloader.dataset.indices=2", out=out
    )
    assert (record.expected, record.evaluated) == (4, 2) and "coco-4-images" in record.protocol
    assert record.predictions.options == {"images": "0-1"}
    truth = next((demo_coco / "annotations").glob("*val2017.json"))
    assert verify_record(path, predictions=out, truth=truth).ok


@pytest.mark.slow
def test_the_tool_writes_a_record(repo, tiny_config, segmentor, tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, str(repo / "tools/test.py"), str(tiny_config)),
            *(str(segmentor / "iter_8.pth"), "--work-dir", str(tmp_path / "work")),
            *("--record", str(tmp_path / "records"), "--remark", "a toy", "--remark", "of eight"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = read_records(tmp_path / "records")
    printed = dict(re.findall(r"(\w+) (\d+\.\d+)", done.stdout.splitlines()[-1]))
    assert float(printed["mIoU"]) == pytest.approx(record.values["miou"], abs=0.01)
    assert record.remarks[:2] == ("a toy", "of eight")
    assert record.command.startswith("tools/test.py") and str(Path.home()) not in record.command


@pytest.mark.slow
def test_of_two_processes_the_first_writes(repo, tiny_config, segmentor, demo_root, tmp_path):
    """Three images on two processes: one is computed twice, and counts once."""
    out, records = tmp_path / "predictions", tmp_path / "records"
    arguments = (
        *(tiny_config, segmentor / "iter_8.pth", 2, "--work-dir", tmp_path / "work"),
        *("--record", records, "--out", out),
        *("--cfg-options", "test_dataloader.dataset.indices=3"),
    )
    done = subprocess.run(
        [str(repo / "tools/dist_test.sh"), *map(str, arguments)],
        cwd=repo,
        env={
            **os.environ,
            **dict(PYTHON=sys.executable, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES=""),
            "PORT": str(29911 + os.getpid() % 400),
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = read_records(records)
    assert (record.expected, record.evaluated) == (4, 3)
    (path,) = records.iterdir()
    found = verify_record(path, predictions=out, truth=demo_root / "annotations/validation")
    assert found.ok, found.lines()
