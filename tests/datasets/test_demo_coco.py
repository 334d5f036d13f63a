"""The generated detection data: COCO's layout, masks that are what is seen, care with folders."""

import contextlib
import io
import json
import re

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from lightvit_bench.data import demo_ade, demo_coco
from lightvit_bench.data.demo_coco import (
    CATEGORY_IDS,
    CLASSES,
    PALETTE,
    make_demo_coco,
    make_scene,
    outline,
    polygons,
)
from lightvit_bench.errors import BadDataError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SMALL = dict(train=6, val=3, size=(64, 80))
SPLITS = {"train": 120, "val": 24}


@pytest.fixture(scope="module")
def default_demo(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo") / "coco"
    return root, make_demo_coco(root)


def opened(root, split):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(root / f"annotations/instances_{split}2017.json"))


def content(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def box_of(mask):
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def edge_of(mask):
    """Pixels of a mask (uint8) with a pixel of the other kind beside them; outside is nothing."""
    square, around = np.ones((3, 3), np.uint8), np.pad(mask, 1)
    return (cv2.dilate(around, square) != cv2.erode(around, square))[1:-1, 1:-1]


def test_the_layout_is_cocos(default_demo):
    root, summary = default_demo
    assert summary.made and (summary.train, summary.val) == (120, 24)
    for split, count in SPLITS.items():
        coco = opened(root, split)
        assert set(coco.dataset) == {"info", "licenses", "images", "annotations", "categories"}
        names = [f"{k:012d}.jpg" for k in range(1, count + 1)]
        assert [image["file_name"] for image in coco.dataset["images"]] == names
        assert sorted(path.name for path in (root / f"{split}2017").iterdir()) == names
        for image in coco.dataset["images"]:
            assert image["file_name"] == f"{image['id']:012d}.jpg"
            with Image.open(root / f"{split}2017" / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"]) == (160, 160)
        assert [c["name"] for c in coco.dataset["categories"]] == list(CLASSES)
        assert [c["id"] for c in coco.dataset["categories"]] == list(CATEGORY_IDS)
        assert all(c["supercategory"] for c in coco.dataset["categories"])
        assert len(coco.anns) == len(coco.dataset["annotations"]), "an id is there twice"
        keys = {"id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation"}
        assert all(set(one) == keys for one in coco.anns.values())
        assert {one["category_id"] for one in coco.anns.values()} == set(CATEGORY_IDS)


def test_classes_colours_and_ids_belong_together():
    assert len(CLASSES) == len(set(CLASSES)) == len(PALETTE) == len(set(PALETTE)) == 6
    assert list(CATEGORY_IDS) == sorted(set(CATEGORY_IDS))
    assert CATEGORY_IDS != tuple(range(1, 7)), "ids have gaps"
    of_ade = dict(zip(demo_ade.CLASSES, demo_ade.PALETTE, strict=True))
    assert all(of_ade[name] == colour for name, colour in zip(CLASSES, PALETTE, strict=True))


@pytest.mark.parametrize("split", SPLITS)
def test_there_is_everything_that_coco_has(default_demo, split):
    coco = opened(default_demo[0], split)
    things = list(coco.anns.values())
    kinds = [one["segmentation"] for one in things]
    several = [kind for kind in kinds if isinstance(kind, list) and len(kind) > 1]
    compressed = [k for k in kinds if isinstance(k, dict) and isinstance(k["counts"], str)]
    crowds = [one for one in things if one["iscrowd"]]
    assert len(several) > 5 and len(compressed) > 5 and len(crowds) > 2
    assert sum(isinstance(kind, list) for kind in kinds) > len(kinds) / 2, "most are polygons"
    assert all(isinstance(one["segmentation"]["counts"], list) for one in crowds)
    lists = [k for k in kinds if isinstance(k, dict) and isinstance(k["counts"], list)]
    assert len(lists) == len(crowds)
    in_pictures = [len(coco.getAnnIds(image)) for image in coco.imgs]
    assert in_pictures.count(0) >= 2 and max(in_pictures) >= 5
    assert len({one["image_id"] for one in crowds}) == len(crowds), "two in a picture"
    boxes = {image: [] for image in coco.imgs}
    for one in things:
        boxes[one["image_id"]].append(one["bbox"])
    overlapping = sum(
        bool(coco_mask.iou(np.float64(one), np.float64(one), [0] * len(one)).sum() > len(one))
        for one in boxes.values()
        if one
    )
    assert overlapping > len(boxes) / 3


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_and_areas_are_those_of_the_masks(default_demo, split):
    coco = opened(default_demo[0], split)
    for one in coco.anns.values():
        mask = coco.annToMask(one)
        assert mask.shape == (160, 160) and mask.any()
        x, y, w, h = one["bbox"]
        assert x >= 0 and y >= 0 and w >= 2 and h >= 2 and x + w <= 160 and y + h <= 160
        assert [round(value, 2) for value in one["bbox"]] == one["bbox"]
        off = np.abs(np.subtract(box_of(mask), (x, y, x + w, y + h))).max()
        if isinstance(one["segmentation"], dict):
            assert off == 0 and one["area"] == mask.sum()
            assert one["segmentation"]["size"] == [160, 160]
        else:
            assert off <= 0.5
            # Filling decides for each pixel at the edge.
            assert abs(one["area"] - mask.sum()) <= 0.5 * edge_of(mask).sum()
            assert one["area"] == pytest.approx(mask.sum(), rel=0.1)
            assert all(len(part) >= 6 and len(part) % 2 == 0 for part in one["segmentation"])


@pytest.mark.parametrize("index", range(8))
def test_annotations_are_what_is_seen_of_each_thing(index):
    photographs = demo_ade.load_photographs()
    scene = make_scene(np.random.default_rng([7, index]), photographs, (96, 128), True, index)
    # By hand, from the front backwards: the first thing over a pixel has it.
    undecided = np.ones((96, 128), bool)
    for thing, seen in reversed(list(zip(scene.things, scene.seen, strict=True))):
        whole = np.any([layer.inside for layer in thing.layers], axis=0)
        np.testing.assert_array_equal(seen, undecided & whole)
        assert seen.sum() >= 0.15 * whole.sum()
        undecided &= ~whole
    annotations = demo_coco.annotate(scene, image_id=5, first_id=11)
    assert [one["id"] for one in annotations] == list(range(11, 11 + len(scene.things)))
    coco = COCO()
    coco.imgs = {5: {"id": 5, "height": 96, "width": 128}}
    for one, thing, seen in zip(annotations, scene.things, scene.seen, strict=True):
        assert one["image_id"] == 5
        kind = CATEGORY_IDS.index(one["category_id"])
        assert {layer.class_id for layer in thing.layers} == {kind + 1}
        filled = coco.annToMask(one)
        if isinstance(one["segmentation"], dict):
            np.testing.assert_array_equal(filled, seen)
        wrong = filled.astype(bool) != seen
        assert not (wrong & ~edge_of(seen.astype(np.uint8))).any(), "off by more than the edge"
        assert wrong.sum() < 0.15 * seen.sum()
        assert box_of(filled) == box_of(seen)


def test_pictures_without_objects_and_with_crowds_have_their_places():
    for index in range(20):
        scene = make_scene(np.random.default_rng(index), [], (64, 64), True, index)
        assert bool(scene.things) == (index % 10 != 1)
        crowds = [thing.crowd for thing in scene.things]
        assert sum(crowds) == (index % 5 == 2)
        if any(crowds):
            (crowd,) = [thing for thing in scene.things if thing.crowd]
            assert len(crowd.layers) >= 10


def square(*cut):
    mask = np.zeros((40, 50), bool)
    mask[5:25, 10:40] = True
    for part in cut:
        mask[part] = False
    return mask


def test_an_outline_has_the_form_that_its_mask_asks_for():
    whole = outline(square())
    assert len(whole["segmentation"]) == 1 and len(whole["segmentation"][0]) <= 16
    np.testing.assert_allclose(whole["bbox"], (10, 5, 30, 20), atol=0.2)
    assert whole["area"] == pytest.approx(600, rel=0.05)
    cut = outline(square(np.s_[:, 20:24]))
    assert len(cut["segmentation"]) == 2 and cut["area"] == pytest.approx(520, rel=0.08)
    hole = outline(square(np.s_[10:14, 20:24]))
    assert isinstance(hole["segmentation"]["counts"], str) and hole["area"] == 584
    assert hole["bbox"] == [10, 5, 30, 20]
    crowd = outline(square(), crowd=True)
    assert crowd["segmentation"] == {
        "counts": [10 * 40 + 5, *[20, 20] * 29, 20, 15 + 10 * 40],
        "size": [40, 50],
    }
    full = outline(np.ones((6, 4), bool), crowd=True)
    assert full["segmentation"]["counts"] == [0, 24], "the first count is of zeros"
    corner = np.zeros((9, 9), bool)
    corner[7:, 7:] = True
    np.testing.assert_allclose(outline(corner)["bbox"], (7, 7, 2, 2), atol=0.2)


def test_thin_tips_are_not_cut_off():
    mask = square()
    mask[15, 40:48] = True
    mask[2:5, 11] = True
    filled = coco_mask.decode(
        coco_mask.merge(
            coco_mask.frPyObjects([part.ravel().tolist() for part in polygons(mask)], 40, 50)
        )
    )
    assert box_of(filled) == box_of(mask)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    a, b, c = (tmp_path / name for name in "abc")
    for root, seed in ((a, 3), (b, 3), (c, 4)):
        make_demo_coco(root, **SMALL, seed=seed)
    first, second, other = content(a), content(b), content(c)
    assert first == second and len(first) == 12 and set(first) == set(other)
    assert all(first[name] != other[name] for name in first)


def test_a_picture_does_not_depend_on_how_many_there_are(tmp_path):
    make_demo_coco(tmp_path / "few", **SMALL)
    make_demo_coco(tmp_path / "more", **{**SMALL, "train": 8, "val": 4})
    few, more = content(tmp_path / "few"), content(tmp_path / "more")
    assert all(more[name] == few[name] for name in few if name.endswith(".jpg"))
    for split in SPLITS:
        name = f"annotations/instances_{split}2017.json"
        some, others = (json.loads(files[name])["annotations"] for files in (few, more))
        assert others[: len(some)] == some and len(others) > len(some)


def test_training_and_validation_differ_and_share_no_pixel_of_a_photograph(default_demo):
    files = content(default_demo[0])
    assert files["train2017/000000000001.jpg"] != files["val2017/000000000001.jpg"]
    first = [opened(default_demo[0], split).loadAnns(1)[0]["segmentation"] for split in SPLITS]
    assert first[0] != first[1]
    photo = np.zeros((100, 200, 3), np.uint8)
    photo[:, :130], photo[:, 130:] = (250, 0, 0), (0, 0, 250)  # 65 % of the longer side
    for train, strong, weak in ((True, 0, 2), (False, 2, 0)):
        for seed in range(5):
            rng = np.random.default_rng(seed)
            image = make_scene(rng, [("photo", photo)], (64, 64), train, index=1).image
            assert image[..., weak].mean() < 30 < 100 < image[..., strong].mean()


def test_a_finished_folder_is_left_alone(tmp_path):
    assert make_demo_coco(tmp_path, **SMALL).made
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert not make_demo_coco(tmp_path, **SMALL).made
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("change", [dict(seed=1), dict(train=4), dict(size=(80, 64))])
def test_other_parameters_make_it_again_without_leftovers(tmp_path, change):
    make_demo_coco(tmp_path / "old", **SMALL)
    make_demo_coco(tmp_path / "new", **{**SMALL, **change})
    assert make_demo_coco(tmp_path / "old", **{**SMALL, **change}).made
    assert content(tmp_path / "old") == content(tmp_path / "new")


def test_an_interrupted_folder_is_made_again(tmp_path, monkeypatch):
    real, calls = demo_coco.save_picture, []

    def killed(*args):
        if len(calls) == 7:
            raise KeyboardInterrupt
        calls.append(args)
        real(*args)

    monkeypatch.setattr(demo_coco, "save_picture", killed)
    with pytest.raises(KeyboardInterrupt):
        make_demo_coco(tmp_path / "cut", **SMALL)
    monkeypatch.undo()
    half = content(tmp_path / "cut")
    assert json.loads(half["demo.json"])["finished"] is False
    assert "annotations/instances_train2017.json" in half
    assert "annotations/instances_val2017.json" not in half
    assert make_demo_coco(tmp_path / "cut", **SMALL).made
    make_demo_coco(tmp_path / "whole", **SMALL)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


@pytest.mark.parametrize("name", ["annotations/instances_val2017.json", "val2017/000000000002.jpg"])
def test_a_lost_file_makes_it_again(tmp_path, name):
    make_demo_coco(tmp_path, **SMALL)
    before = content(tmp_path)
    (tmp_path / name).unlink()
    assert make_demo_coco(tmp_path, **SMALL).made
    assert content(tmp_path) == before


def refused(root, **options):
    before = content(root)
    with pytest.raises(BadDataError) as caught:
        make_demo_coco(root, **{**SMALL, **options})
    assert content(root) == before  # nothing was touched
    return str(caught.value)


def test_real_coco_in_the_same_layout_is_refused(tmp_path):
    path = tmp_path / "annotations/instances_val2017.json"  # a name the demo would use, too
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert path.name in refused(tmp_path)
    (tmp_path / "demo.json").write_text('{"made_by": "lightvit_bench.data.demo_ade"}')
    assert path.name in refused(tmp_path)


def test_a_foreign_file_in_a_demo_folder_stops_a_remake_but_not_a_visit(tmp_path):
    make_demo_coco(tmp_path, **SMALL)
    (tmp_path / "annotations/captions_val2017.json").write_text("{}")
    assert not make_demo_coco(tmp_path, **SMALL).made
    assert "captions_val2017.json" in refused(tmp_path, seed=1)


def test_without_photographs_it_says_so_and_still_works(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_ade, "_PHOTOGRAPHS", (("no_such_package", "a.png", None),))
    summary = make_demo_coco(tmp_path, **SMALL)
    assert summary.photographs == () and "no photograph found" in summary.note
    empty = np.asarray(Image.open(tmp_path / "train2017/000000000002.jpg"))
    assert empty.std() > 8  # a texture, not one colour


@pytest.mark.parametrize("bad", [dict(train=0), dict(val=0), dict(size=(16, 160)), dict(seed=-1)])
def test_bad_numbers_are_refused_before_anything_is_written(tmp_path, bad):
    with pytest.raises(ValueError, match=re.escape(str(list(bad.values())[0]))):
        make_demo_coco(tmp_path / "demo", **bad)
    assert not (tmp_path / "demo").exists()


def test_the_smallest_pictures_are_sound():
    for index in range(40):
        scene = make_scene(np.random.default_rng(index), [], (32, 32), True, index)
        for one, seen in zip(demo_coco.annotate(scene, 1, 1), scene.seen, strict=True):
            assert seen.any() and min(one["bbox"][2:]) >= 2 and one["area"] >= 4


def test_files_hold_the_scenes_of_their_split(tmp_path):
    make_demo_coco(tmp_path, **SMALL, seed=9)
    photographs = demo_ade.load_photographs()
    for split, word in enumerate(SPLITS):
        rng = np.random.default_rng([9, split, 1])
        scene = make_scene(rng, photographs, (64, 80), train=word == "train", index=1)
        image = np.asarray(Image.open(tmp_path / f"{word}2017/000000000002.jpg"), np.float32)
        assert abs(image - scene.image).mean() < 4  # JPEG's error, not another picture
