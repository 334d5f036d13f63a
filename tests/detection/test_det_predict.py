"""A detector on one picture and on a test set: what is found, drawn, written and refused."""

from __future__ import annotations

import importlib.util
import json
import re
import sys

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from small_coco import CLASSES, META, SIZES, make_small_coco

import lightvit_bench.registry  # noqa: F401
from lightvit_bench.detection.predict import predict_objects
from lightvit_bench.errors import BadDataError, CheckpointError, ConfigError
from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.openmmlab.model import build_model
from lightvit_bench.openmmlab.run import test as run_test


@pytest.fixture(scope="module")
def detector(repo, tmp_path_factory):
    """(config, checkpoint, data root) of an untrained Mask R-CNN of 3 classes at 96 px."""
    root = tmp_path_factory.mktemp("detector")
    make_small_coco(root / "coco")
    config = root / "tiny.py"
    config.write_text(
        f"""
_base_ = {str(repo / "configs/coco/mask_rcnn_random_tiny.py")!r}
norm_cfg = dict(type="LN2d", eps=1e-6)
model = dict(
    data_preprocessor=dict(pad_size_divisor=96),
    backbone=dict(preset="vit_test", out_blocks=(2,), window=3, global_blocks=(2,),
                  rel_pos_size=96, checkpointing=False),
    neck=dict(in_channels=32, out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, conv_out_channels=16, fc_out_channels=16, num_classes=3),
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(in_channels=16, conv_out_channels=16, num_classes=3),
    ),
    test_cfg=dict(rpn=dict(nms_pre=50, max_per_img=20), rcnn=dict(score_thr=0.05)),
)
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(96, 96), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackDetInputs"),
]
metainfo = dict(classes={META["classes"]!r}, palette={META["palette"]!r})
data = dict(data_root={str(root / "coco")!r}, metainfo=metainfo, pipeline=test_pipeline)
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=data)
test_dataloader = val_dataloader
"""
    )
    torch.manual_seed(0)
    model = build_model(load_config(config))
    checkpoint = root / "iter_1.pth"
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=META)), checkpoint)
    return config, checkpoint, root / "coco"


@pytest.fixture
def picture(tmp_path):
    """A picture six times as large as what the detector sees of it."""
    path = tmp_path / "street.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC))
    return path


def call_tool(repo, monkeypatch, *arguments) -> None:
    """`tools/predict.py ARGUMENTS` in this process."""
    spec = importlib.util.spec_from_file_location("predict_tool", repo / "tools/predict.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, arguments)])
    module.main()


def test_objects_are_in_the_pictures_pixels_and_drawn(detector, picture, tmp_path):
    config, checkpoint, _ = detector
    out = tmp_path / "new" / "found.png"
    found = predict_objects(picture, str(config), str(checkpoint), out, threshold=0.0)
    assert len(found) > 5
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True) and 0 < scores[-1] < 1
    boxes = np.array([one.box for one in found])
    assert boxes.min() >= 0 and (boxes[:, 2] <= 640).all() and (boxes[:, 3] <= 480).all()
    assert boxes[:, 2].max() > 400 and boxes[:, 3].max() > 300  # not in the 96 x 72 px it saw
    assert {one.name for one in found} <= set(CLASSES)
    assert all(one.mask.shape == (480, 640) and one.mask.dtype == bool for one in found)
    drawn = cv2.imread(str(out))
    assert drawn.shape == (480, 640, 3)
    assert (np.abs(drawn.astype(int) - cv2.imread(str(picture))) > 30).mean() > 0.01

    half = float(np.median(scores))
    fewer = predict_objects(picture, str(config), str(checkpoint), out, threshold=half)
    assert [one.score for one in fewer] == [score for score in scores if score >= half]
    assert len(fewer) < len(found)


def test_the_tool_prints_a_line_an_object(detector, picture, tmp_path, repo, monkeypatch, capsys):
    config, checkpoint, _ = detector
    out = tmp_path / "found.png"
    arguments = (picture, config, checkpoint, "--out", out, "--device", "cpu")
    call_tool(repo, monkeypatch, *arguments, "--threshold", "0.2")
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == str(out) and out.exists()
    found = predict_objects(picture, str(config), str(checkpoint), out, threshold=0.2)
    assert len(lines) == len(found) > 0
    for line, one in zip(lines, found, strict=True):
        assert re.fullmatch(rf"0\.\d\d  {one.name} *  [\d.]+ [\d.]+ [\d.]+ [\d.]+", line), line
        assert [float(x) for x in line.split()[2:]] == pytest.approx(one.box, abs=0.051)
    call_tool(repo, monkeypatch, *arguments, "--threshold", "1")
    assert capsys.readouterr().out.splitlines()[0] == "no object with a score of 1 or more"


def test_refusals(detector, picture, tmp_path, repo, monkeypatch):
    config, checkpoint, _ = map(str, detector)
    out = tmp_path / "found.png"
    note = tmp_path / "note.jpg"
    note.write_text("not a picture")
    with pytest.raises(BadDataError, match="note.jpg"):
        predict_objects(note, config, checkpoint, out)
    half = tmp_path / "half.jpg"
    half.write_bytes(picture.read_bytes()[:3000])
    with pytest.raises(BadDataError, match="truncated"):
        predict_objects(half, config, checkpoint, out)
    with pytest.raises(ConfigError, match="ending"):
        predict_objects(picture, config, checkpoint, tmp_path / "found")
    with pytest.raises(ConfigError, match="is a folder(?s:.*)x.png"):
        predict_objects(picture, config, "absent.pth", tmp_path)
    with pytest.raises(ConfigError, match="note.jpg is a file, not a folder"):
        predict_objects(picture, config, "absent.pth", note / "deep" / "found.png")
    with pytest.raises(ConfigError, match="no device 'tpu'"):
        predict_objects(picture, config, checkpoint, out, device="tpu")
    with pytest.raises(ConfigError, match="between 0 and 1"):
        predict_objects(picture, config, checkpoint, out, threshold=30)
    with pytest.raises(CheckpointError, match="does not fit"):
        wider = ["model.roi_head.mask_head.conv_out_channels=24"]
        predict_objects(picture, config, checkpoint, out, cfg_options=wider)
    content = torch.load(checkpoint, weights_only=True)
    unnamed = tmp_path / "unnamed.pth"
    torch.save(dict(content, meta={}), unnamed)
    with pytest.raises(CheckpointError, match="does not name its classes"):
        predict_objects(picture, config, str(unnamed), out)
    segmentation = repo / "configs/camvid/upernet_random_tiny.py"
    with pytest.raises(ConfigError, match="--threshold is for detectors"):
        call_tool(repo, monkeypatch, picture, segmentation, "x.pth", "--threshold", "0.5")
    assert not out.exists()


@pytest.mark.parametrize("kind, shape", [("color", (640, 480)), (None, (480, 640))])
def test_a_picture_is_turned_as_the_pipeline_turns_it(detector, picture, tmp_path, kind, shape):
    config, checkpoint, _ = map(str, detector)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter
    Image.open(picture).save(picture, exif=exif)
    kind = kind or "color_ignore_orientation"
    options = [f"test_dataloader.dataset.pipeline.0.color_type={kind}"]
    out = tmp_path / "found.png"
    found = predict_objects(picture, config, checkpoint, out, threshold=0, cfg_options=options)
    assert found[0].mask.shape == shape and cv2.imread(str(out)).shape[:2] == shape


def test_a_misspelt_entry_of_a_model_is_explained(detector, picture, tmp_path):
    config, checkpoint, _ = map(str, detector)
    for option, what in (("bogus=1", "spelling of the entry"), ("type=FPM", "of the type")):
        with pytest.raises(ConfigError, match=what):
            options = [f"model.neck.{option}"]
            predict_objects(picture, config, checkpoint, tmp_path / "x.png", cfg_options=options)


@pytest.mark.slow
def test_a_test_set_without_annotations_is_written(detector, tmp_path, monkeypatch):
    config, checkpoint, root = detector
    monkeypatch.setenv("LIGHTVIT_CACHE", str(tmp_path / "cache"))
    content = json.loads((root / "annotations/instances_val2017.json").read_text())
    del content["annotations"]
    (tmp_path / "test.json").write_text(json.dumps(content))
    options = [f"test_dataloader.dataset.ann_file={tmp_path / 'test.json'}"]
    run = dict(work_dir=str(tmp_path / "work"), cfg_options=options)
    with pytest.raises(ConfigError, match="no annotations"):
        run_test(str(config), str(checkpoint), **run)
    out, show = tmp_path / "found.json", tmp_path / "show"
    values = run_test(str(config), str(checkpoint), out=str(out), show_dir=str(show), **run)
    assert values == {} and len(json.loads(out.read_text())) > 20
    assert len(list(show.iterdir())) == len(SIZES)


@pytest.mark.slow
def test_a_test_set_is_scored_written_and_drawn(detector, tmp_path, monkeypatch):
    config, checkpoint, root = detector
    monkeypatch.setenv("LIGHTVIT_CACHE", str(tmp_path / "cache"))
    out, show = tmp_path / "out", tmp_path / "show"
    values = run_test(
        str(config),
        str(checkpoint),
        work_dir=str(tmp_path / "work"),
        out=str(out),
        show_dir=str(show),
    )
    assert len(values) == 12 and not np.isnan(list(values.values())).any()
    assert len(list(show.iterdir())) == len(SIZES)
    truth = COCO(str(root / "annotations/instances_val2017.json"))
    for number, one in enumerate(truth.dataset["annotations"], start=1):
        one["id"] = number
    truth.createIndex()
    for kind in ("bbox", "segm"):
        records = json.loads((out / "results.json").read_text())
        assert len(records) > 20
        for one in records:
            assert len(one["bbox"]) == 4 and min(one["bbox"]) >= 0
            if kind == "segm":
                del one["bbox"]
        run = COCOeval(truth, truth.loadRes(records), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
        own = [value for name, value in values.items() if name.startswith(f"coco/{kind}")]
        assert own == pytest.approx(100 * run.stats[:6], abs=1e-6)
