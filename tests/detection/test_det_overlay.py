"""Drawn boxes and masks: in the right place, of the right colour, to be read at any size."""

from __future__ import annotations

import json
from types import SimpleNamespace

import cv2
import mmdet.datasets.transforms  # noqa: F401
import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.structures import DetDataSample
from mmengine.registry import HOOKS, init_default_scope
from mmengine.structures import InstanceData
from PIL import Image
from pycocotools.coco import COCO
from small_coco import IDS, META, PALETTE, SIZES, make_small_coco

from lightvit_bench.detection.overlay import (
    DetOverlayHook,
    SeenObject,
    class_colours,
    draw_objects,
    found_objects,
    pair_picture,
    picture_names,
    true_objects,
)

RED = (255, 0, 0)  # RGB


def colour_of(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """(H, W) bool: where a BGR picture has an RGB colour, to what blurring leaves of it."""
    return np.abs(picture.astype(int) - colour[::-1]).max(axis=2) < 30


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(mask)
    return xs.min(), ys.min(), xs.max() + 1, ys.max() + 1


# ---- drawing ---------------------------------------------------------------------------------


def test_a_box_is_drawn_where_it_is():
    image = np.full((600, 800, 3), 120, np.uint8)
    drawn = draw_objects(image, [SeenObject("cat", RED, (200, 100, 500, 400), score=0.87)])
    assert drawn.shape == image.shape and image.max() == 120
    lines = colour_of(drawn, RED)
    lines[:99] = False  # without the label above it
    assert extent(lines) == pytest.approx((200, 100, 500, 400), abs=2)
    assert not lines[110:390, 210:490].any()  # and it is hollow
    assert (drawn[420:] == 120).all()


def test_a_mask_is_tinted_and_its_colour_shows_the_image_through():
    image = np.full((600, 800, 3), 100, np.uint8)
    mask = np.zeros((600, 800), bool)
    mask[200:300, 300:400] = True
    drawn = draw_objects(image, [SeenObject("cat", RED, (250, 150, 450, 350), mask)])
    assert drawn[250, 350].tolist() == [60, 60, 162]  # 0.6 of the image, 0.4 of red, BGR
    assert drawn[250, 270].tolist() == [100, 100, 100]  # in the box, not in the mask
    assert colour_of(drawn, RED)[200, 310:390].all()  # its contour is not blended


def test_small_objects_are_drawn_over_large_ones():
    image = np.full((600, 800, 3), 100, np.uint8)
    whole, part = np.ones((600, 800), bool), np.zeros((600, 800), bool)
    part[200:300, 300:400] = True
    small = SeenObject("cat", (0, 255, 0), (300, 200, 400, 300), part)
    large = SeenObject("sky", (0, 0, 255), (0, 0, 800, 600), whole)
    drawn = [draw_objects(image, order) for order in ([small, large], [large, small])]
    assert (drawn[0] == drawn[1]).all()
    blue, green, _ = (int(c) for c in drawn[0][250, 350])
    assert green > blue


@pytest.mark.parametrize("size", [(40, 64), (480, 640), (3000, 4000), (900, 60)])
def test_labels_are_legible_at_any_size(size):
    image = np.full((*size, 3), 90, np.uint8)
    height, width = size
    box = (0.3 * width, 0.4 * height, 0.9 * width, 0.9 * height)
    drawn = draw_objects(image, [SeenObject("cat", RED, box)])
    zoom = drawn.shape[0] // height
    assert drawn.shape == (zoom * height, zoom * width, 3)
    assert zoom == (8 if height == 40 else 1)
    x, y = (int(zoom * side) for side in box[:2])
    field = colour_of(drawn, RED)[:y, min(x, drawn.shape[1] - 40) + 2]
    # the field of the label above the box: 15 px or more, and a few hundredths of the long side
    assert 15 <= field.sum() <= max(20, 0.05 * max(drawn.shape))
    assert field.sum() >= 0.02 * max(drawn.shape)


@pytest.mark.parametrize("box", [(-5, -5, 650, 500), (0, 0, 3, 3), (630, 470, 640, 480)])
def test_boxes_at_the_border_keep_label_and_lines_inside(box):
    image = np.full((480, 640, 3), 90, np.uint8)
    one = SeenObject("a rather long name", RED, box, score=0.5)
    drawn = draw_objects(image, [one])
    letters = colour_of(drawn, (255, 255, 255)) | colour_of(drawn, (0, 0, 0))
    x1, y1, x2, y2 = extent(letters)
    assert x2 - x1 > 150 and 0 <= x1 and x2 <= 640 and y2 - y1 >= 8


def test_labels_do_not_hide_one_another():
    image = np.full((480, 640, 3), 90, np.uint8)
    objects = [
        SeenObject("zebra", (0, 255, 0), (100, 200, 300, 400)),
        SeenObject("horse", RED, (105, 203, 290, 390)),
    ]
    both = draw_objects(image, objects)
    for one in objects:
        alone = draw_objects(image, [one])
        hidden = (colour_of(alone, one.colour).sum()) - colour_of(both, one.colour).sum()
        assert hidden < 350  # where lines cross; a label has 700
    empty = [SeenObject("zebra", RED, (100, 200, 300, 400))] * 40  # in one place: somewhere at last
    assert colour_of(draw_objects(image, empty), RED).any()


def test_palette_or_hues_that_differ():
    assert class_colours(META) == PALETTE
    for palette in (None, "random", PALETTE[:1]):
        colours = class_colours(dict(classes=["c"] * 20, palette=palette))
        assert len(set(colours)) == 20 and all(max(colour) == 255 for colour in colours)


def test_found_objects_are_those_above_the_threshold_highest_first():
    instances = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 5, 5], [1, 1, 9, 9], [2, 2, 4, 4]]),
        scores=torch.tensor([0.31, 0.8, 0.29]),
        labels=torch.tensor([2, 0, 1]),
    )
    found = found_objects(instances, META, 0.3)
    assert [(one.name, one.label) for one in found] == [("disc", "disc 0.80"), ("bar", "bar 0.31")]
    assert found[0].box == (1, 1, 9, 9) and found[0].colour == PALETTE[0]
    assert found[0].mask is None
    assert len(found_objects(instances, META, 0.0)) == 3


# ---- --show-dir ------------------------------------------------------------------------------


def dataset_of(root, steps) -> CocoDataset:
    init_default_scope("mmdet")
    return CocoDataset(
        data_root=str(root),
        ann_file="annotations/instances_val2017.json",
        data_prefix=dict(img="val2017/"),
        metainfo=dict(classes=("square", "bar", "disc"), palette=PALETTE),  # in the file's order
        pipeline=[dict(type="LoadImageFromFile"), *steps, dict(type="PackDetInputs")],
        test_mode=True,
    )


RESIZE = dict(type="Resize", scale=(96, 96), keep_ratio=True)
LOAD = dict(type="LoadAnnotations", with_bbox=True, with_mask=True)


@pytest.mark.parametrize(
    "steps", [[RESIZE, LOAD], [LOAD, RESIZE], [RESIZE]], ids=["after", "before", "without"]
)
def test_truth_is_drawn_on_its_objects_however_images_are_resized(tmp_path, steps):
    """The image has each object in its class's colour; boxes drawn elsewhere would not be there."""
    path = make_small_coco(tmp_path)
    # into a folder of its own, which the picture's path keeps
    content = json.loads(path.read_text())
    (tmp_path / "val2017" / "park").mkdir()
    for one in content["images"]:
        image = tmp_path / "val2017" / one["file_name"]
        image.rename(image.parent / "park" / image.name)
        one["file_name"] = f"park/{image.name}"
    path.write_text(json.dumps(content))

    dataset = dataset_of(tmp_path, steps)
    runner = SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset))
    hook = HOOKS.build(dict(type="DetOverlayHook", out_dir=str(tmp_path / "show")))
    # shuffled, as the loader of a distributed run gives them
    for i in (3, 0, 1, 5, 4, 2):
        sample: DetDataSample = dataset[i]["data_samples"]
        assert max(sample.img_shape) == 96
        sample.pred_instances = InstanceData(
            bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=int)
        )
        hook.after_test_iter(runner, 0, None, [sample])
    names = [f"{one['id']:012d}.png" for one in content["images"]]
    assert sorted(p.name for p in (tmp_path / "show/park").iterdir()) == names
    assert len(hook.written) == 6

    image = content["images"][0]
    boxes = [one["bbox"] for one in content["annotations"] if one["image_id"] == image["id"]]
    drawn = cv2.imread(str(tmp_path / "show/park" / names[0]))
    height, width = SIZES[0]
    zoom = drawn.shape[1] / 2 / width
    assert zoom == 2
    strip = drawn.shape[0] - zoom * height
    assert 10 < strip < 60
    truth, found = drawn[int(strip) :, : drawn.shape[1] // 2], drawn[int(strip) :, 480:]
    changed = (np.abs(truth.astype(int) - found) > 25).any(axis=2)
    largest = max(boxes, key=lambda box: box[2] * box[3])
    x, y, w, h = (int(zoom * side) for side in largest)
    middle = slice(y + h // 4, y + 3 * h // 4)
    for edge in (x, x + w - 1):  # each side of the box is drawn, at its place to 2 px
        assert changed[middle, edge - 2 : edge + 3].any(axis=1).mean() > 0.9


def test_truth_has_masks_of_all_kinds_and_crowds(tmp_path):
    path = make_small_coco(tmp_path)
    dataset, coco = dataset_of(tmp_path, []), COCO(str(path))
    kinds = set()
    for i, image_id in enumerate(coco.getImgIds()):
        annotations = coco.loadAnns(coco.getAnnIds(image_id))
        info = dataset.get_data_info(i)
        shape = info["height"], info["width"]
        objects = true_objects(info["instances"], shape, dataset.metainfo)
        assert len(objects) == len(annotations)
        for one, annotation in zip(objects, annotations, strict=True):
            assert (one.mask == coco.annToMask(annotation).astype(bool)).all()
            x, y, width, height = annotation["bbox"]
            assert one.box == (x, y, x + width, y + height)
            assert IDS[one.name] == annotation["category_id"] and one.score is None
            assert one.crowd == bool(annotation["iscrowd"])
            assert ("(crowd)" in one.label) == one.crowd
            form = annotation["segmentation"]
            kinds.add("polygon" if isinstance(form, list) else type(form["counts"]).__name__)
    assert kinds == {"polygon", "str", "list"}


def test_a_pair_shows_both_and_says_which(tmp_path):
    image = np.full((480, 640, 3), 90, np.uint8)
    truth = [SeenObject("cat", RED, (100, 100, 300, 300))]
    found = [SeenObject("cat", (0, 255, 0), (100, 100, 300, 300), score=0.9)]
    drawn = pair_picture(image, truth, found, 0.3)
    assert drawn.shape[1] == 2 * 640 and drawn.shape[0] > 480
    strip = drawn.shape[0] - 480
    assert (drawn[:strip, :640] < 100).any() and (drawn[:strip, 640:] < 100).any()
    assert colour_of(drawn[strip:, :640], RED).any()
    assert not colour_of(drawn[strip:, :640], (0, 255, 0)).any()
    assert colour_of(drawn[strip:, 640:], (0, 255, 0)).any()
    narrow = pair_picture(np.zeros((900, 30, 3), np.uint8), [], [], 0.3)
    assert narrow.shape[1] == 60 and (narrow[:20] < 200).any()


def test_annotations_that_lead_out_of_the_folder_lead_nowhere_else():
    paths = ["val2017/../../x.jpg", "val2017/a.b/x.jpg"]
    assert list(map(str, picture_names(paths, "val2017"))) == ["x.png", "a.b/x.png"]


def test_no_two_images_have_one_picture():
    paths = ["f/p.png", "f/p.jpg", "f/p.jpg.jpg", "f/a/p.jpg", "g/p.jpg", "h/p.jpg", "f/q.jpg"]
    assert list(map(str, picture_names(paths, "f"))) == [
        "p.png", "p.jpg.png", "p.jpg.jpg.png", "a/p.png", "p.jpg.2.png", "p.jpg.3.png", "q.png"
    ]  # fmt: skip


def overlays(root, dataset, samples) -> DetOverlayHook:
    """The hook after a test in which nothing was found, its pictures in ROOT/show."""
    runner = SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset))
    hook = DetOverlayHook(out_dir=str(root / "show"))
    for sample in samples:
        sample.pred_instances = InstanceData(
            bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=int)
        )
        hook.after_test_iter(runner, 0, None, [sample])
    return hook


def test_pictures_are_counted_as_they_lie_there(tmp_path, monkeypatch):
    path = make_small_coco(tmp_path)
    content = json.loads(path.read_text())
    first, second = content["images"][:2]
    old = tmp_path / "val2017" / second["file_name"]
    second["file_name"] = first["file_name"].replace(".jpg", ".png")
    cv2.imwrite(str(tmp_path / "val2017" / second["file_name"]), cv2.imread(str(old)))
    path.write_text(json.dumps(content))
    dataset = dataset_of(tmp_path, [])
    samples = [dataset[i]["data_samples"] for i in (1, 0, 2, 2)]  # the last one twice
    hook = overlays(tmp_path, dataset, samples)
    said = []
    monkeypatch.setattr(
        "lightvit_bench.detection.overlay.print_log", lambda text, **_: said.append(text)
    )
    hook.after_test(None)
    names = sorted(p.name for p in (tmp_path / "show").iterdir())
    stem = first["file_name"].removesuffix(".jpg")
    assert names == [f"{stem}.png", f"{stem}.png.png", "000000000114.png"]
    assert said == [f"3 overlays written to {tmp_path / 'show'}"]


def test_pictures_are_turned_as_the_pipeline_turns_them(tmp_path):
    """An image of 200 x 240 whose EXIF says to turn it by a quarter, which the pipeline ignores."""
    make_small_coco(tmp_path)
    path = tmp_path / "val2017/000000000100.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    dataset = dataset_of(tmp_path, [])
    dataset.pipeline.transforms[0].color_type = "color_ignore_orientation"
    sample = dataset[0]["data_samples"]
    assert sample.ori_shape == (200, 240)
    hook = overlays(tmp_path, dataset, [sample])
    height, width = cv2.imread(str(next(iter(hook.written)))).shape[:2]
    assert width == 4 * 240 and 2 * 200 < height < 2 * 200 + 60  # enlarged, two, under a strip
