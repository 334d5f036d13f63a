"""COCO's data set as mmdet's pipelines see it: samples, filters, replay, and what stops a run."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from pycocotools import mask as coco_mask

import lightvit_bench.registry  # noqa: F401
from lightvit_bench.data import coco_check
from lightvit_bench.data.demo_coco import CLASSES, make_demo_coco
from lightvit_bench.detection import datasets
from lightvit_bench.detection.datasets import COCO, DemoCOCO
from lightvit_bench.detection.overlay import class_colours
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError
from lightvit_bench.openmmlab.replay import Draw

H, W = 64, 80
TRAIN = dict(ann_file="annotations/instances_train2017.json", data_prefix=dict(img="train2017/"))
OWN = dict(classes=("cat", "dog"), palette=[(1, 2, 3), (4, 5, 6)])
SQUARE = [[8, 6, 20, 6, 20, 16, 8, 16]]
LOAD = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
]
PACK = [dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape"))]
CROP = [
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomResize", scale=(64, 64), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(48, 48), recompute_bbox=True, allow_negative_crop=True),
    dict(type="FilterAnnotations", min_gt_bbox_wh=(1e-2, 1e-2), by_mask=True, keep_empty=False),
]


@pytest.fixture(autouse=True)
def scope(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTVIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LIGHTVIT_DATA", raising=False)
    init_default_scope("mmdet")


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "coco"
    make_demo_coco(root, train=10, val=3, size=(96, 96), seed=0)
    return root


def thing(number, image=1, category=7, bbox=(8, 6, 12, 10), mask=SQUARE, **more):
    return dict(id=number, image_id=image, category_id=category, bbox=list(bbox), area=120.0,
                iscrowd=0, segmentation=mask, **more)  # fmt: skip


@pytest.fixture
def make(tmp_path):
    """A function that writes a set of four pictures and these objects, and returns its root."""

    def write(*things, sizes=((H, W),) * 4, **sections) -> str:
        root = tmp_path / "own"
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        (root / "train2017").mkdir(exist_ok=True)
        random = np.random.default_rng(0)
        for number, size in enumerate(sizes, start=1):
            picture = random.integers(0, 256, (*size, 3)).astype(np.uint8)
            cv2.imwrite(str(root / f"train2017/{number}.jpg"), picture)
        told = dict(
            images=[
                dict(id=n, file_name=f"{n}.jpg", height=h, width=w)
                for n, (h, w) in enumerate(sizes, start=1)
            ],
            categories=[dict(id=9, name="dog"), dict(id=7, name="cat"), dict(id=4, name="cow")],
            annotations=list(things),
        )
        (root / TRAIN["ann_file"]).write_text(json.dumps({**told, **sections}))
        return str(root)

    return write


def own(root: str, pipeline=(*LOAD, *PACK), **options) -> COCO:
    options = {**TRAIN, "serialize_data": False, **options}  # which collects garbage, slowly
    return COCO(data_root=root, metainfo=OWN, pipeline=list(pipeline), **options)


def truth(sample: dict):
    return sample["data_samples"].gt_instances


# ----------------------------------------------------------------------------------------- samples


def test_three_forms_of_a_mask_give_one_bitmap(make):
    packed = coco_mask.merge(coco_mask.frPyObjects(SQUARE, H, W))
    packed["counts"] = packed["counts"].decode()
    bitmap = coco_mask.decode(packed)
    column = bitmap.ravel(order="F").astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], column, [-1]])))
    runs = dict(size=[H, W], counts=np.diff(np.concatenate([[0], edges])).tolist())
    root = make(*(thing(n, mask=mask) for n, mask in enumerate((SQUARE, packed, runs), start=1)))
    masks = truth(own(root)[0]).masks.masks
    assert masks.shape == (3, H, W) and bitmap.sum() > 100
    assert (masks == bitmap).all()


def test_labels_are_the_configs_classes_whatever_the_files_order(make):
    dataset = own(make(thing(1), thing(2, category=9, bbox=(30, 30, 8, 8))))
    assert truth(dataset[0]).labels.tolist() == [0, 1]
    assert dataset.cat_ids == [7, 9] and dataset.cat2label == {7: 0, 9: 1}
    assert dataset.get_cat_ids(0) == [0, 1]
    assert dataset.metainfo["classes"] == ("cat", "dog")


def test_boxes_lie_inside_and_crowds_are_ignored(make):
    root = make(
        thing(1, bbox=(-5, 50, 30, 40)),
        {**thing(2, bbox=(0, 0, 40, 40)), "iscrowd": 1},
        thing(3, bbox=(200, 6, 12, 10)),
        thing(4, bbox=(8, 6, 0, 10)),
        thing(5, category=4),
    )
    sample = own(root)[0]["data_samples"]
    assert sample.gt_instances.bboxes.tensor.tolist() == [[0, 50, 25, 64]]
    assert sample.ignored_instances.bboxes.tensor.tolist() == [[0, 0, 40, 40]]
    assert len(sample.gt_instances.masks) == len(sample.ignored_instances.masks) == 1


def test_what_is_left_out_is_told_in_a_line_each(make, capsys):
    root = make(thing(1), thing(3, bbox=(200, 6, 12, 10)), thing(4, bbox=(8, 6, 0, 10)),
                thing(5, category=4))  # fmt: skip
    own(root)
    told = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(told) == 3
    assert all(line.startswith("COCO: instances_train2017.json: 1 objects left") for line in told)


def test_images_without_objects_and_with_crowds_only(make):
    root = make(thing(1), {**thing(2, image=2), "iscrowd": 1}, thing(3, image=3, category=4))
    ids = {}
    for name, options in (
        ("all", {}),
        ("train", dict(filter_cfg=dict(filter_empty_gt=True))),
        ("test", dict(filter_cfg=dict(filter_empty_gt=True), test_mode=True)),
        ("large", dict(filter_cfg=dict(min_size=H + 1))),
    ):
        try:
            dataset = own(root, **options)
            ids[name] = [dataset[i]["data_samples"].img_id for i in range(len(dataset))]
        except BadDataError as error:
            ids[name] = str(error).splitlines()[0]
    everything = [1, 2, 3, 4]
    assert ids == dict(
        all=everything, train=[1], test=everything, large="COCO: no image is left to use of 4."
    )
    empty = truth(own(root)[3])
    assert empty.bboxes.tensor.shape == (0, 4) and empty.masks.masks.shape == (0, H, W)


def test_crops_have_boxes_inside_and_a_mask_for_each(demo):
    dataset = DemoCOCO(
        data_root=str(demo),
        pipeline=[*LOAD, *CROP, *PACK],
        filter_cfg=dict(filter_empty_gt=True),
        **TRAIN,
    )
    assert 0 < len(dataset) < 10  # the demo has pictures without objects
    seen = 0
    for number in range(60):
        sample = dataset[Draw(number % len(dataset), 0, number)]
        height, width = sample["inputs"].shape[1:]
        assert height <= 48 and width <= 48
        for things in (truth(sample), sample["data_samples"].ignored_instances):
            boxes, masks = things.bboxes.tensor, things.masks.masks
            assert len(boxes) == len(masks) == len(things.labels)
            assert (boxes >= 0).all() and (boxes <= torch.tensor([width, height] * 2)).all()
            assert (boxes[:, 2:] > boxes[:, :2]).all()
            assert masks.shape[1:] == (height, width)
            assert (masks.sum((1, 2)) > 0).all()
            seen += len(boxes)
    assert seen > 60


def test_masks_stay_in_the_file_where_no_transform_loads_them(make):
    root = make(thing(1, mask=[]), thing(2, mask=SQUARE))
    boxes = [LOAD[0], dict(type="LoadAnnotations", with_bbox=True), *PACK]
    dataset = own(root, boxes)
    assert len(truth(dataset[0]).bboxes) == 2
    assert all("mask" not in one for one in dataset.get_data_info(0)["instances"])
    assert "mask" in own(root, []).get_data_info(0)["instances"][1]
    nested = dict(type="mmdet.RandomOrder", transforms=[LOAD[1]])
    for pipeline in (LOAD, [LOAD[0], nested]):
        with pytest.raises(BadDataError, match="(?s)object 1, .*with_mask=True.*with_mask=False"):
            own(root, pipeline)


# ---------------------------------------------------------------------------------------- mmengine


def test_the_file_is_read_once_and_only_when_asked(demo, monkeypatch):
    reads, real = [], coco_check.json.loads

    def counting(data):
        reads.append(len(data))
        return real(data)

    monkeypatch.setattr(coco_check.json, "loads", counting)
    size = (demo / TRAIN["ann_file"]).stat().st_size
    dataset = DemoCOCO(data_root=str(demo), lazy_init=True, **TRAIN)
    assert not reads
    assert len(dataset) == 10 and reads.count(size) == 1
    dataset.full_init()
    assert reads.count(size) == 1


@pytest.mark.parametrize("rank, order", [(0, ["scan", "barrier"]), (1, ["barrier", "scan"])])
def test_the_first_process_scans_and_the_others_wait(make, monkeypatch, capsys, rank, order):
    done, real = [], datasets.scan_images

    def scanning(*args, **options):
        done.append("scan")
        return real(*args, **options)

    monkeypatch.setattr(datasets, "scan_images", scanning)
    monkeypatch.setattr(datasets, "barrier", lambda: done.append("barrier"))
    monkeypatch.setattr(datasets, "get_rank", lambda: rank)
    root = make(thing(1), thing(2, category=4))
    assert len(own(root)) == 4 and done == order
    assert ("left out" in capsys.readouterr().err) == (rank == 0)
    if rank == 0:  # after an error the others are let go too
        monkeypatch.setattr(datasets, "scan_images", None)
        with pytest.raises(TypeError):
            own(root)
        assert done == [*order, "barrier"]


@pytest.mark.parametrize("serialize", [True, False])
def test_subsets(demo, serialize):
    options = dict(data_root=str(demo), serialize_data=serialize, **TRAIN)
    whole = DemoCOCO(**options)
    part = DemoCOCO(indices=[4, 2], **options)
    assert len(part) == 2 and len(DemoCOCO(indices=3, **options)) == 3
    for subset in (part, whole.get_subset([4, 2])):
        assert [subset.get_data_info(i)["img_id"] for i in (0, 1)] == [
            whole.get_data_info(i)["img_id"] for i in (4, 2)
        ]


def test_paths_relative_absolute_and_below_lightvit_data(demo, monkeypatch):
    absolute = dict(
        ann_file=str(demo / TRAIN["ann_file"]), data_prefix=dict(img=str(demo / "train2017"))
    )
    assert len(DemoCOCO(**absolute)) == len(DemoCOCO(data_root="elsewhere", **absolute)) == 10
    monkeypatch.chdir(demo.parent)
    assert len(DemoCOCO(data_root="coco", **TRAIN)) == 10
    monkeypatch.setenv("LIGHTVIT_DATA", str(demo.parent))
    assert len(DemoCOCO(data_root="data/coco", **TRAIN)) == 10


def test_a_draw_gives_the_same_sample_again_also_after_none(demo):
    """The crop is thrown away where it holds no object, and another image is drawn."""
    crop = dict(type="RandomCrop", crop_size=(24, 24), allow_negative_crop=False)
    dataset = DemoCOCO(data_root=str(demo), pipeline=[*LOAD, crop, *PACK], **TRAIN)
    replaced = 0
    for number in range(30):
        first = dataset[Draw(number % 10, 3, number)]
        np.random.seed(number)  # as another order of samples would leave it
        again = dataset[Draw(number % 10, 3, number)]
        assert first["data_samples"].img_path == again["data_samples"].img_path
        assert torch.equal(first["inputs"], again["inputs"])
        assert torch.equal(truth(first).bboxes.tensor, truth(again).bboxes.tensor)
        asked = dataset.get_data_info(number % 10)["img_path"]
        replaced += first["data_samples"].img_path != asked
    assert replaced > 0


# --------------------------------------------------------------------------------------- bad input


def test_missing_file_and_missing_arguments(tmp_path):
    with pytest.raises(MissingDataError, match="(?s)COCO not found.*LIGHTVIT_DATA.*make demo"):
        COCO(data_root=str(tmp_path), **TRAIN)
    with pytest.raises(ConfigError, match="ann_file=..."):
        COCO(data_root=str(tmp_path), data_prefix=dict(img="x"))
    with pytest.raises(ConfigError, match="data_prefix=dict"):
        COCO(data_root=str(tmp_path), ann_file="x.json", data_prefix={})
    with pytest.raises(ConfigError, match="backend_args"):
        COCO(data_root=str(tmp_path), backend_args=dict(backend="petrel"), **TRAIN)


def test_bad_objects_stop_before_images_are_read(make, monkeypatch):
    monkeypatch.setattr(datasets, "scan_images", None)
    root = make(thing(1, image=9), thing(2, mask=[[1, 2, 3]]))
    with pytest.raises(BadDataError, match="(?s)object 1, image_id 9.*object 2, a polygon") as told:
        own(root)
    assert str(Path(root) / TRAIN["ann_file"]) in str(told.value)


def test_missing_and_corrupt_images_stop_or_are_left_out(make, capsys):
    root = make(thing(1), thing(2, image=2), thing(3, image=2, bbox=(1, 1, 5, 5)))
    (Path(root) / "train2017/2.jpg").unlink()
    (Path(root) / "train2017/3.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(BadDataError, match=r"(?s)2 of 4 images.*2\.jpg.*3\.jpg.*skip_corrupt=True"):
        own(root)
    capsys.readouterr()
    dataset = own(root, skip_corrupt=True)
    told = capsys.readouterr().err
    assert [dataset[i]["data_samples"].img_id for i in range(len(dataset))] == [1, 4]
    assert "COCO: 2 of 4 images left out (skip_corrupt)\n" in told
    assert "2.jpg: missing image" in told and "3.jpg: corrupt image" in told
    own(root, skip_corrupt=True, test_mode=True)
    assert "CocoMetric counts their 2 objects as missed" in capsys.readouterr().err


def test_orientation_is_judged_as_the_loader_has_it(make):
    from PIL import Image

    root = make(thing(1, mask=SQUARE))
    path = Path(root) / "train2017/1.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    with pytest.raises(BadDataError, match="80 x 64 after its EXIF orientation 6"):
        own(root)
    plain = [dict(type="LoadImageFromFile", color_type="color_ignore_orientation"), LOAD[1], *PACK]
    sample = own(root, plain)[0]
    assert sample["inputs"].shape == (3, H, W) and truth(sample).masks.masks.shape == (1, H, W)


@pytest.mark.parametrize(
    "metainfo, why",
    [
        (dict(classes="cat"), r"written \('cat',\)"),
        (dict(classes=()), "not a sequence"),
        (dict(classes=("cat", "cat")), "named twice: 'cat'"),
        (dict(classes=("cat", "dog"), palette=[(1, 2, 3)]), "2 classes and 1 colours"),
        (dict(classes=("cat", "dogs")), "(?s)'dogs': the file has 'dog'.*metainfo"),
        (None, "77 of the config's 80 classes are no category"),
    ],
)
def test_classes_that_do_not_fit(make, metainfo, why):
    with pytest.raises(ConfigError, match=why):
        COCO(data_root=make(thing(1)), metainfo=metainfo, **TRAIN)


def test_colours_are_as_many_as_classes(make):
    root = make(thing(1))
    dataset = COCO(data_root=root, metainfo=dict(classes=["cat", "dog"]), **TRAIN)
    assert len(dataset.metainfo["palette"]) == 2 and len(COCO.METAINFO["palette"]) == 80
    assert own(root).metainfo["palette"] == OWN["palette"]


def test_more_classes_than_coco_has_colours(make):
    names = [f"class {number}" for number in range(90)]
    categories = [dict(id=number, name=name) for number, name in enumerate(names, start=1)]
    root = make(thing(1), categories=categories)
    dataset = COCO(data_root=root, metainfo=dict(classes=names), **TRAIN)
    assert "palette" not in dataset.metainfo and len(COCO.METAINFO["palette"]) == 80
    assert len(set(class_colours(dataset.metainfo))) == 90
    with pytest.raises(ConfigError, match="90 classes and 1 colours"):
        COCO(data_root=root, metainfo=dict(classes=names, palette=[(1, 2, 3)]), **TRAIN)


def test_unknown_filter(make):
    with pytest.raises(ConfigError, match="(?s)no 'filter_empty'.*filter_empty_gt"):
        own(make(thing(1)), filter_cfg=dict(filter_empty=True))


def test_all_boxes_relative(make):
    with pytest.raises(BadDataError, match="in pixels, not 0 to 1"):
        own(make(thing(1, bbox=(0.1, 0.1, 0.5, 0.5))), filter_cfg=dict(filter_empty_gt=True))


def test_no_image_at_all(make):
    with pytest.raises(BadDataError, match="names no image"):
        own(make(images=[]))


# --------------------------------------------------------------------------------------- real data


@pytest.mark.parametrize("split, trained_on", [("train", 98), ("val", 100)])
def test_real_coco(shared, split, trained_on, tmp_path, capsys):
    options = dict(
        data_root=str(shared / "data/coco_mini"),
        ann_file=f"annotations/instances_{split}2017.json",
        data_prefix=dict(img=f"{split}2017/"),
    )
    dataset = COCO(filter_cfg=dict(filter_empty_gt=True), pipeline=[*LOAD, *CROP, *PACK], **options)
    told = capsys.readouterr().err
    assert len(dataset) == trained_on and "left out" not in told
    found = 0
    for number in range(8):
        sample = dataset[Draw(number * 7, 0, number)]
        assert len(truth(sample).bboxes) == len(truth(sample).masks)
        found += len(truth(sample).bboxes)
    assert found > 8
    testing = COCO(test_mode=True, pipeline=[*LOAD, *PACK], **options)
    crowds = [
        one["ignore_flag"]
        for i in range(len(testing))
        for one in testing.get_data_info(i)["instances"]
    ]
    assert len(testing) == 100
    assert (len(crowds), sum(crowds)) == {"train": (746, 6), "val": (712, 5)}[split]


def test_the_demos_categories_have_gaps(demo):
    dataset = DemoCOCO(data_root=str(demo), **TRAIN)
    assert dataset.metainfo["classes"] == CLASSES
    labels = {one for i in range(10) for one in dataset.get_cat_ids(i)}
    assert labels <= set(range(len(CLASSES))) and max(dataset.cat_ids) > len(CLASSES)


def test_an_edited_file_is_read_anew(demo, tmp_path):
    root = shutil.copytree(demo, tmp_path / "coco")
    assert len(DemoCOCO(data_root=str(root), **TRAIN)) == 10
    told = json.loads((root / TRAIN["ann_file"]).read_text())
    gone = told["images"].pop()["id"]
    told["annotations"] = [one for one in told["annotations"] if one["image_id"] != gone]
    (root / TRAIN["ann_file"]).write_text(json.dumps(told))
    assert len(DemoCOCO(data_root=str(root), **TRAIN)) == 9
