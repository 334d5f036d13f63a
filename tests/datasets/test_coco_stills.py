"""COCO's objects as stills and cut out along their masks, made up and real."""

import json
import pickle

import cv2
import numpy as np
import pytest
from tracking_files import H, W, encoded, picture, write_archive, write_files

from lightvit_bench.data.coco_stills import coco_cutouts, open_coco
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError

POLYGON = [[4, 3, 12, 3, 12, 9, 4, 9]]


def thing(number: int, image: int, bbox, segmentation=POLYGON, crowd: int = 0) -> dict:
    return dict(id=number, image_id=image, category_id=5, bbox=bbox, iscrowd=crowd,
                segmentation=segmentation)  # fmt: skip


def content() -> dict:
    runs = {"size": [H, W], "counts": [3, 2, H * W - 5]}  # pixels 3 and 4 of the first column
    return {
        "images": [
            dict(id=7, file_name="000000000007.jpg", height=H, width=W),
            dict(id=9, file_name="000000000009.jpg", height=H, width=W),
            dict(id=11, file_name="000000000011.jpg", height=H, width=W),  # without an object
        ],
        "categories": [dict(id=5, name="boat")],
        "annotations": [
            thing(100, 9, [4, 3, 8.5, 6]),
            thing(101, 7, [0, 3, 1, 2], runs),
            thing(102, 7, [0, 0, 32, 24], runs, crowd=1),
            thing(103, 7, [5, 5, 0, 3]),
            thing(104, 9, [5, 5, 3, 0.0]),
        ],
    }


def files(annotations: dict | None = None) -> dict[str, bytes]:
    return {
        "annotations/instances_val2017.json": json.dumps(annotations or content()).encode(),
        "val2017/000000000007.jpg": encoded(picture(7)),
        "val2017/000000000009.jpg": encoded(picture(9)),
    }


@pytest.fixture(params=["folder", "zips", "one zip"])
def root(request, tmp_path):
    if request.param == "folder":
        return write_files(tmp_path / "coco", files())
    if request.param == "one zip":
        return write_archive(tmp_path / "coco.zip", files())
    parts = files()
    annotation = {k: v for k, v in parts.items() if k.startswith("anno")}
    write_archive(tmp_path / "coco/annotations_trainval2017.zip", annotation)
    images = {k: v for k, v in parts.items() if k.startswith("val")}
    write_archive(tmp_path / "coco/val2017.zip", images)
    (tmp_path / "coco/train2017.zip").write_bytes(b"of another split")
    return tmp_path / "coco"


def test_every_form_gives_the_same(root):
    stills = open_coco(root, "val", expect_all=True, say=pytest.fail)
    assert [s.name for s in stills] == ["000000000009-100", "000000000007-101"]
    first = pickle.loads(pickle.dumps(stills))[0]
    assert first.still and first.dataset == "coco" and len(first) == len(first.frames) == 1
    np.testing.assert_array_equal(first.annotation.boxes_xywh, [[4, 3, 8.5, 6]])
    assert first.annotation.usable.tolist() == [True]
    assert np.abs(first.frames[0].astype(int) - picture(9)).max() <= 3
    assert stills[-1].name == stills[1].name
    for call in (lambda: stills[2], lambda: first.frames[1]):
        with pytest.raises(IndexError):
            call()


def test_cutouts(root):
    boat, runs = coco_cutouts(root, "val")
    assert (boat.category, boat.box_xywh, boat.size_hw) == ("boat", (4, 3, 8.5, 6), (H, W))
    mask = boat.mask()
    assert mask.dtype == bool and mask.shape == (H, W)
    assert mask[4:8, 5:11].all() and not mask[:, :3].any() and not mask[11:].any()
    assert np.argwhere(runs.mask()).tolist() == [[3, 0], [4, 0]]
    assert np.abs(boat.image().astype(int) - picture(9)).max() <= 3
    assert "val2017/000000000009.jpg" in boat.place


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [H, W + 1], "counts": [H * (W + 1)]},
        {"counts": [3]},
        [["a"]],
        "text",
    ],
)
def test_masks_that_are_none_are_named(tmp_path, segmentation):
    wrong = content()
    wrong["annotations"][0]["segmentation"] = segmentation
    cutout = coco_cutouts(write_files(tmp_path, files(wrong)), "val")[0]
    with pytest.raises(BadDataError, match="000000000009-100"):
        cutout.mask()


def test_an_image_of_another_size_than_told(tmp_path):
    wrong = content()
    wrong["images"][1]["height"] = H + 2
    cutout = coco_cutouts(write_files(tmp_path, files(wrong)), "val")[0]
    with pytest.raises(BadDataError, match=f"{H}x{W} and not {H + 2}x{W}"):
        cutout.image()


def test_absent_images(tmp_path):
    root, said = write_files(tmp_path, files()), []
    (root / "val2017/000000000009.jpg").unlink()
    assert [s.name for s in open_coco(root, "val", say=said.append)] == ["000000000007-101"]
    assert said == ["COCO val: 1 of the 2 images with objects. Missing: 000000000009.jpg."]
    with pytest.raises(BadDataError, match="000000000009.jpg"):
        open_coco(root, "val", expect_all=True)
    (root / "val2017/000000000007.jpg").rename(root / "val2017/other.jpg")
    with pytest.raises(BadDataError, match="0 of the 2"):
        open_coco(root, "val")


def test_annotations_that_cannot_be_read(tmp_path):
    path = "annotations/instances_val2017.json"
    wrongs = [b"", b"{", b"[]", b"{}", b'{"images": 3}']
    for change in (
        {"bbox": [1, 2, 3]},
        {"bbox": [1, float("inf"), 3, 4]},
        {"bbox": ["a", 1, 2, 3]},
        {"image_id": 5},
    ):
        wrong = content()
        wrong["annotations"][0] |= change
        wrongs.append(json.dumps(wrong).encode())
    for number, data in enumerate(wrongs):
        root = write_files(tmp_path / str(number), files() | {path: data})
        with pytest.raises(BadDataError, match="instances_val2017.json"):
            open_coco(root, "val")
    none = content() | {"annotations": []}
    with pytest.raises(BadDataError, match="no object"):
        open_coco(write_files(tmp_path / "none", files(none)), "val")


def test_nothing_there(tmp_path):
    with pytest.raises(MissingDataError, match="docs/datasets.md#coco"):
        open_coco(tmp_path / "absent", "val")
    root = write_files(tmp_path, {k: v for k, v in files().items() if k.startswith("anno")})
    with pytest.raises(MissingDataError, match=r"val2017/\*.jpg"):
        open_coco(root, "val")
    with pytest.raises(MissingDataError, match="instances_train2017.json"):
        open_coco(root, "train")
    with pytest.raises(ConfigError, match="'test'"):
        open_coco(root, "test")


def test_a_name_that_leads_out_is_not_followed(tmp_path):
    wrong = content()
    wrong["images"][1]["file_name"] = "../../secret.jpg"
    (tmp_path / "secret.jpg").write_bytes(encoded(picture(1)))
    stills = open_coco(write_files(tmp_path / "a/coco", files(wrong)), "val", say=[].append)
    assert [s.name for s in stills] == ["000000000007-101"], "it is not in the folder's list"


def test_real_coco(shared):
    root, counts = shared / "data/coco_mini", {}
    for split in ("train", "val"):
        raw = json.loads((root / f"annotations/instances_{split}2017.json").read_text())
        areas = {a["id"]: a["area"] for a in raw["annotations"]}
        stills, cutouts = open_coco(root, split, expect_all=True), coco_cutouts(root, split)
        counts[split] = len(stills)
        assert [s.name for s in stills] == [c.name for c in cutouts]
        for cutout in cutouts[::40]:
            mask = cutout.mask()
            assert mask.shape == cutout.image().shape[:2]
            x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
            assert np.abs(np.array([x, y, w, h]) - cutout.box_xywh).max() <= 2
            assert mask.sum() == pytest.approx(areas[int(cutout.name.split("-")[1])], rel=0.1)
    assert counts["train"] == 740
