"""COCO's average precision: both engines alike, in percent, whole, and of all images."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import METRICS
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from small_coco import CLASSES, META, make_small_coco, noisy_results

from lightvit_bench import doctor
from lightvit_bench.detection.metric import (
    NAMES,
    CocoAP,
    complete_evaluators,
    find_engine,
    out_file,
)
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError
from lightvit_bench.openmmlab.config import load_config

needs_faster = pytest.mark.skipif(
    "faster" not in find_engine("auto").title, reason="faster-coco-eval is not installed"
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """An annotation file, and a middling model's results on it."""
    path = make_small_coco(tmp_path_factory.mktemp("coco"))
    return path, noisy_results(path, CLASSES)


def score(path, results, meta=META, size=None, **options) -> dict[str, float]:
    metric = CocoAP(str(path), **options)
    metric.dataset_meta = meta
    metric.results = copy.deepcopy(results)
    return metric.evaluate(size or len(results))


def reference(path, records, kind) -> np.ndarray:
    """pycocotools alone on a results file's records: the first six of its statistics."""
    with redirect_stdout(StringIO()):
        truth = COCO(str(path))
        for number, one in enumerate(truth.dataset["annotations"], start=1):
            one["id"] = number
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(copy.deepcopy(records)), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats[:6]


# ---- engines ---------------------------------------------------------------------------------


@needs_faster
def test_both_engines_give_the_same_values(small):
    path, results = small
    values = score(path, results, engine="faster")
    assert list(values) == [f"coco/{kind}_{name}" for kind in ("bbox", "segm") for name in NAMES]
    for name, value in score(path, results, engine="pycocotools").items():
        assert values[name] == pytest.approx(value, abs=1e-6), name
    assert len({round(value, 3) for value in values.values()}) > 10  # mixed up, they would differ
    assert all(1 < value < 99 for value in values.values()), "percent, of a middling model"


@needs_faster
def test_both_engines_give_the_same_values_on_real_annotations(shared):
    path = shared / "data/coco_mini/annotations/instances_val2017.json"
    classes = [one["name"] for one in json.loads(path.read_text())["categories"]]
    results = noisy_results(path, classes)
    values = score(path, results, dict(classes=classes), engine="faster")
    for name, value in score(path, results, dict(classes=classes), engine="pycocotools").items():
        assert values[name] == pytest.approx(value, abs=1e-6), name
    assert all(1 < value < 99 for value in values.values())


@needs_faster
def test_more_than_100_objects_in_an_image_count_alike(small):
    path, results = small
    results = copy.deepcopy(results)
    truth, one = results[0]
    many = {key: one[key] for key in ("bboxes", "scores", "labels")}
    weak = {key: np.concatenate([value * (key != "scores")] * 40) for key, value in many.items()}
    flood = {key: np.concatenate([value, weak[key]]) for key, value in many.items()}
    flood["scores"][len(one["scores"]) :] = 0.995  # of the right class and place, again and again
    assert len(flood["scores"]) > 200
    results[0] = truth, dict(one, **flood)
    fast, slow = (
        score(path, results, metric="bbox", engine=name) for name in ("faster", "pycocotools")
    )
    assert fast == pytest.approx(slow, abs=1e-6)
    assert fast["coco/bbox_mAP"] < score(path, small[1], metric="bbox")["coco/bbox_mAP"]


def test_auto_takes_the_fast_one_and_the_log_says_which(small, monkeypatch):
    path, results = small
    said = []
    monkeypatch.setattr(
        "lightvit_bench.detection.metric.print_log", lambda text, **_: said.append(text)
    )
    score(path, results, engine="pycocotools", classwise=True)
    assert any("AP by pycocotools 2" in text and "6 images" in text for text in said)
    assert any("Average Precision" in text for text in said)
    assert sum("AP by class" in text and "disc" in text for text in said) == 2
    # a module that is None cannot be imported
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    assert find_engine("auto").title.startswith("pycocotools")
    with pytest.raises(ConfigError, match="coco-fast"):
        find_engine("faster")
    with pytest.raises(ConfigError, match="auto, pycocotools, faster"):
        find_engine("cython")


def test_the_doctor_tells_whether_the_fast_one_is_there(monkeypatch):
    name, check = next(one for one in doctor.checks() if one[0] == "faster-coco-eval")
    assert doctor.run_check(name, check).name == name
    monkeypatch.setattr(doctor, "installed_version", lambda distribution: None)
    absent = doctor.run_check(name, check)
    assert absent.status == "warn" and "[coco-fast]" in absent.remedy
    monkeypatch.setattr(doctor, "installed_version", lambda distribution: "1.8.0")
    assert doctor.run_check(name, check).status == "ok"


def test_nothing_is_said_of_an_absent_engine_when_the_package_is_imported():
    code = (
        "import sys; sys.modules['faster_coco_eval'] = None\n"
        "import lightvit_bench.detection.datasets\n"  # as the registry does, first
        "import lightvit_bench.detection.metric as m; print(m.find_engine('auto').title)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "faster_coco_eval" not in done.stderr
    assert "pycocotools 2" in done.stdout, done.stderr


# ---- values ----------------------------------------------------------------------------------


def test_values_are_those_of_mmdets_own_metric_in_percent(small):
    from mmdet.evaluation.metrics import CocoMetric

    path, results = small
    content = json.loads(path.read_text())
    for number, one in enumerate(content["annotations"], start=1):  # mmdet trips over id 0
        one["id"] = number
    order = [one["name"] for one in content["categories"]]  # and takes the file's order
    repaired = path.with_name("repaired.json")
    repaired.write_text(json.dumps(content))
    theirs = CocoMetric(str(repaired), metric=["bbox", "segm"])
    theirs.dataset_meta = dict(classes=order)
    theirs.results = noisy_results(path, order)
    with redirect_stdout(StringIO()):
        wanted = theirs.evaluate(len(results))
    ours = score(path, noisy_results(path, order), dict(classes=order))
    assert list(ours) == list(wanted)
    for name, value in ours.items():
        assert value == pytest.approx(100 * wanted[name], abs=0.051), name


@pytest.mark.parametrize("engine", ["auto", "pycocotools"])
def test_perfect_results_have_100_and_the_order_of_classes_does_not_matter(small, engine):
    path = small[0]
    content = json.loads(path.read_text())
    names = {one["id"]: one["name"] for one in content["categories"]}
    for classes in (CLASSES, CLASSES[::-1]):
        results = []
        for image in content["images"]:
            own = [
                one
                for one in content["annotations"]
                if one["image_id"] == image["id"] and not one["iscrowd"]
            ]
            boxes = np.array([one["bbox"] for one in own], np.float32).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            labels = np.array([classes.index(names[one["category_id"]]) for one in own], int)
            found = dict(bboxes=boxes, scores=np.ones(len(own)), labels=labels)
            results.append(({}, dict(img_id=image["id"], **found)))
        values = score(path, results, dict(classes=classes), metric="bbox", engine=engine)
        assert values == pytest.approx({f"coco/bbox_{name}": 100 for name in NAMES})


@pytest.mark.parametrize("engine", ["auto", "pycocotools"])
def test_a_model_that_finds_nothing_has_0(small, tmp_path, engine):
    path, results = small
    results = [
        (truth, dict(one, **{k: one[k][:0] for k in ("bboxes", "scores", "labels", "masks")}))
        for truth, one in results
    ]
    values = score(path, results, engine=engine, out=str(tmp_path))
    assert set(values.values()) == {0.0} and len(values) == 12
    assert json.loads((tmp_path / "results.json").read_text()) == []


@pytest.mark.parametrize("engine", ["auto", "pycocotools"])
def test_an_average_over_no_object_is_nan(small, tmp_path, engine):
    path, results = small
    content = json.loads(path.read_text())
    content["annotations"] = [one for one in content["annotations"] if one["area"] < 32**2]
    few = tmp_path / "small.json"
    few.write_text(json.dumps(content))
    values = score(few, results, metric=["bbox"], engine=engine)
    assert 0 < values["coco/bbox_mAP_s"] < 100
    assert np.isnan(values["coco/bbox_mAP_m"]) and np.isnan(values["coco/bbox_mAP_l"])


def test_a_second_evaluation_gives_the_same(small):
    path, results = small
    metric = CocoAP(str(path))
    metric.dataset_meta = META
    values = []
    for _ in range(2):
        metric.results = copy.deepcopy(results)
        values.append(metric.evaluate(len(results)))
    assert values[0] == values[1]


@pytest.mark.parametrize("engine", ["auto", "pycocotools"])
@pytest.mark.parametrize("absent", [True, False])
def test_a_file_without_annotations_gives_no_metric(small, tmp_path, engine, absent):
    path, results = small
    content = json.loads(path.read_text())
    content["annotations"] = []
    if absent:
        del content["annotations"]
    bare = tmp_path / "test.json"
    bare.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="no annotations(?s:.*)--out"):
        CocoAP(str(bare), engine=engine)
    out = tmp_path / "found.json"
    assert score(bare, results, engine=engine, out=str(out)) == {}
    assert len(json.loads(out.read_text())) == sum(len(one["scores"]) for _, one in results)


# ---- images ----------------------------------------------------------------------------------


def test_images_that_a_padded_run_repeats_count_once(small):
    path, results = small
    values = score(path, results)
    metric = CocoAP(str(path))
    metric.dataset_meta = META
    metric._expected = len(results)
    assert metric.compute_metrics(copy.deepcopy(results + results[:2])) == {
        name.removeprefix("coco/"): value for name, value in values.items()
    }


def test_missing_images_are_an_error_and_a_part_is_said(small, tmp_path, monkeypatch):
    path, results = small
    with pytest.raises(BadDataError, match="5 of the data set's 6 images"):
        score(path, results[:5], size=6)
    said = []
    monkeypatch.setattr(
        "lightvit_bench.detection.metric.print_log", lambda text, **_: said.append(text)
    )
    part = score(path, results[:5], metric="bbox")
    assert any("over the 5 images evaluated" in text and "has 6" in text for text in said)
    said.clear()
    whole = score(path, results, metric="bbox")
    assert not any("over the" in text for text in said)
    content = json.loads(path.read_text())
    last = content["images"].pop()["id"]
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] != last]
    shorter = tmp_path / "shorter.json"
    shorter.write_text(json.dumps(content))
    assert part == score(shorter, results[:5], metric="bbox") != whole
    foreign = [({}, dict(results[0][1], img_id=5))]
    with pytest.raises(BadDataError, match="does not have 1 of the 1 images"):
        score(path, foreign)


# ---- refusals --------------------------------------------------------------------------------


def test_what_cannot_be_scored_is_refused(small):
    path, results = small
    boxes = noisy_results(path, CLASSES, masks=False)
    with pytest.raises(ConfigError, match="gives no masks"):
        score(path, boxes)
    assert len(score(path, boxes, metric="bbox")) == 6
    with pytest.raises(BadDataError, match="no category 'discus'"):
        score(path, results, dict(classes=("discus", "square", "bar")))
    with pytest.raises(ConfigError, match="class number 2, and the data set has 2"):
        score(path, results, dict(classes=CLASSES[:2]))
    broken = copy.deepcopy(results)
    broken[3][1]["bboxes"][0, 0] = np.nan
    with pytest.raises(BadDataError, match="not numbers"):
        score(path, broken)
    with pytest.raises(ConfigError, match="bbox, segm"):
        CocoAP(str(path), metric="proposal")
    with pytest.raises(ConfigError, match="ann_file"):
        CocoAP()


def test_annotation_files_that_cannot_be_used(small, tmp_path):
    path = tmp_path / "annotations.json"
    with pytest.raises(MissingDataError, match="annotations.json"):
        CocoAP(str(path))
    path.write_text('{"images": [')
    with pytest.raises(BadDataError, match="cut off"):
        CocoAP(str(path))
    for wrong in ("[]", "{}"):
        path.write_text(wrong)
        with pytest.raises(BadDataError, match="layout|does not hold"):
            CocoAP(str(path))
    content = json.loads(small[0].read_text())
    del content["annotations"][4]["segmentation"]
    path.write_text(json.dumps(content))
    with pytest.raises(BadDataError, match="annotation 4 has no mask"):
        CocoAP(str(path))
    CocoAP(str(path), metric="bbox")


# ---- results.json ----------------------------------------------------------------------------


def test_results_file_gives_pycocotools_the_printed_values(small, tmp_path):
    path, results = small
    out = tmp_path / "deep" / "found.json"
    values = score(path, results, out=str(out))
    records = json.loads(out.read_text())
    assert len(records) == sum(len(one["scores"]) for _, one in results)
    assert set(records[0]) == {"image_id", "category_id", "bbox", "score", "segmentation"}
    assert [p.name for p in out.parent.iterdir()] == ["found.json"]
    printed = {kind: [values[f"coco/{kind}_{name}"] for name in NAMES] for kind in ("bbox", "segm")}
    assert 100 * reference(path, records, "bbox") == pytest.approx(printed["bbox"], abs=1e-9)
    # as it is, masks count as small or large by their boxes: only that differs
    by_box = 100 * reference(path, records, "segm")
    assert by_box[:3] == pytest.approx(printed["segm"][:3], abs=1e-9)
    assert by_box[3:] != pytest.approx(printed["segm"][3:], abs=1e-9)
    masks = [{key: value for key, value in one.items() if key != "bbox"} for one in records]
    assert 100 * reference(path, masks, "segm") == pytest.approx(printed["segm"], abs=1e-9)


def test_results_of_a_model_without_masks_have_none(small, tmp_path):
    path = small[0]
    results = noisy_results(path, CLASSES, masks=False)
    score(path, results, metric="bbox", out=str(tmp_path / "folder"))
    records = json.loads((tmp_path / "folder" / "results.json").read_text())
    assert all(set(one) == {"image_id", "category_id", "bbox", "score"} for one in records)


def test_results_are_written_whole_or_not_at_all(small, tmp_path, monkeypatch):
    path, results = small
    out = tmp_path / "found.json"
    out.write_text("older")

    def fail(record):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightvit_bench.detection.metric.json.dumps", fail)
    with pytest.raises(OSError, match="found.json"):
        score(path, results, out=str(out))
    assert out.read_text() == "older" and len(list(tmp_path.iterdir())) == 1


def test_a_place_that_cannot_be_written_is_told_before_the_test(tmp_path):
    assert out_file(str(tmp_path / "a")) == tmp_path / "a" / "results.json"
    assert out_file(str(tmp_path / "b.json")) == tmp_path / "b.json"
    (tmp_path / "c.json").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        out_file(str(tmp_path / "c.json"))
    (tmp_path / "d").touch()
    with pytest.raises(ConfigError, match="is a file"):
        out_file(str(tmp_path / "d"))


# ---- with mmdet and mmengine -----------------------------------------------------------------


def test_samples_of_a_model_are_scored_and_the_registry_knows_the_metric(small):
    path, results = small
    metric = METRICS.build(dict(type="CocoAP", ann_file=str(path), metric=["bbox", "segm"]))
    metric.dataset_meta = META
    from pycocotools import mask as coco_mask

    for truth, one in results:
        masks = [coco_mask.decode(rle) for rle in one["masks"]]
        size = truth["height"], truth["width"]
        instances = InstanceData(
            **{key: torch.from_numpy(one[key]) for key in ("bboxes", "scores", "labels")},
            masks=torch.from_numpy(np.array(masks).reshape(-1, *size).astype(bool)),
        )
        sample = dict(pred_instances=instances, img_id=one["img_id"], ori_shape=size)
        metric.process({}, [sample])
    assert metric.evaluate(len(results)) == pytest.approx(score(path, results))


def test_evaluators_get_the_annotation_file_of_their_data_set(tmp_path, monkeypatch):
    def loader(name):
        return dict(dataset=dict(data_root="data/coco", ann_file=f"annotations/{name}.json"))

    evaluator = dict(type="CocoAP")
    cfg = Config(
        dict(
            val_dataloader=loader("val"),
            test_dataloader=loader("test"),
            val_evaluator=evaluator,
            test_evaluator=[evaluator, dict(type="CocoAP", ann_file="own.json"), dict(type="X")],
        )
    )
    complete_evaluators(cfg)
    assert cfg.val_evaluator.ann_file == "data/coco/annotations/val.json"
    files = [one.get("ann_file") for one in cfg.test_evaluator]
    assert files == ["data/coco/annotations/test.json", "own.json", None]

    monkeypatch.setenv("LIGHTVIT_DATA", str(tmp_path))
    cfg.val_evaluator = evaluator
    complete_evaluators(cfg)
    assert cfg.val_evaluator.ann_file == str(tmp_path / "coco/annotations/val.json")
    cfg.val_dataloader.dataset.data_root = "elsewhere"  # --cfg-options data_root=elsewhere
    cfg.val_evaluator = evaluator
    complete_evaluators(cfg)
    assert cfg.val_evaluator.ann_file == "elsewhere/annotations/val.json"
    cfg.val_dataloader.dataset.ann_file = str(tmp_path / "a.json")
    cfg.val_evaluator = evaluator
    complete_evaluators(cfg)
    assert cfg.val_evaluator.ann_file == str(tmp_path / "a.json")
    cfg.val_evaluator = evaluator
    del cfg.val_dataloader.dataset["ann_file"]
    with pytest.raises(ConfigError, match="val_evaluator.ann_file"):
        complete_evaluators(cfg)
    complete_evaluators(Config(dict(model=dict())))  # no data at all


# ---- heads and data sets ---------------------------------------------------------------------

OWN = dict(metainfo=dict(classes=("bolt", "nut", "pin")))


def classes_config(of_heads: int, **data) -> Config:
    """A two-stage model with such heads, and one loader a data set."""
    heads = dict(bbox_head=[dict(num_classes=of_heads)], mask_head=dict(num_classes=of_heads))
    rpn, backbone = dict(num_classes=1), dict(type="X", num_classes=1000)
    model = dict(backbone=backbone, rpn_head=rpn, roi_head=heads)
    loaders = {f"{split}_dataloader": dict(dataset=one) for split, one in data.items()}
    return Config(dict(model=model, **loaders))


@pytest.mark.parametrize("of_heads", [2, 4, 80])
def test_heads_of_other_classes_than_the_data_are_refused(of_heads):
    cfg = classes_config(of_heads, train=dict(type="COCO", **OWN))
    with pytest.raises(ConfigError) as caught:
        complete_evaluators(cfg)
    text = str(caught.value)
    first = "model.roi_head.bbox_head.0.num_classes"
    assert f"{first} is {of_heads}, and train_dataloader.dataset has 3 classes." in text
    assert f"--cfg-options {first}=3 model.roi_head.mask_head.num_classes=3" in text
    assert "rpn" not in text and "backbone" not in text


def test_the_classes_of_a_data_set_are_its_types_where_none_are_given(tmp_path):
    import lightvit_bench.detection.registry  # noqa: F401  (load_config does: mmdet's types are known)

    for kind, number in (("COCO", 80), ("DemoCOCO", 6), ("CocoDataset", 80), ("VOCDataset", 20)):
        complete_evaluators(classes_config(number, train=dict(type=kind)))
        with pytest.raises(ConfigError, match=f"has {number} classes"):
            complete_evaluators(classes_config(7, train=dict(type=kind)))
    complete_evaluators(classes_config(7, train=dict(type="Unknown")))  # the registry's to tell
    wrong = dict(type="COCO", metainfo=dict(classes="cat"))  # the data set's to tell
    complete_evaluators(classes_config(7, train=wrong))
    names = tmp_path / "names.txt"
    names.write_text("bolt\nnut")
    listed = dict(type="CocoDataset", metainfo=dict(classes=str(names)))
    with pytest.raises(ConfigError, match="has 2 classes"):
        complete_evaluators(classes_config(7, train=listed))


def test_every_data_set_is_compared_wrapped_ones_too():
    own = dict(type="COCO", **OWN)
    with pytest.raises(ConfigError, match="val_dataloader.dataset has 80 classes") as caught:
        complete_evaluators(classes_config(3, train=own, val=dict(type="COCO")))
    assert "train_dataloader.dataset: 3 classes" in str(caught.value)
    assert "--cfg-options" not in str(caught.value)  # no number fits both
    both = dict(type="ConcatDataset", datasets=[own, dict(type="RepeatDataset", dataset=own)])
    complete_evaluators(classes_config(3, train=both))
    with pytest.raises(ConfigError, match=r"train_dataloader.dataset.datasets.0 has 3 classes"):
        complete_evaluators(classes_config(4, train=both))


def test_a_head_of_one_stage_is_compared(repo):
    cfg = load_config(
        repo / "configs/coco/retinanet_dmae_tiny.py", ["model.bbox_head.num_classes=5"]
    )
    with pytest.raises(ConfigError, match="--cfg-options model.bbox_head.num_classes=80"):
        complete_evaluators(cfg)
