"""A data set in COCO's layout, made up in a moment, and noisy results for any annotation file."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

# In the file they stand in another order, and their ids have gaps.
CLASSES = ("disc", "square", "bar")
IDS = {"disc": 7, "square": 2, "bar": 11}
PALETTE = [(220, 20, 60), (0, 200, 0), (0, 0, 142)]
META = dict(classes=CLASSES, palette=PALETTE)
SIZES = ((200, 240), (240, 200), (180, 180), (200, 240), (160, 300), (200, 240))  # height, width


def make_small_coco(root: Path, split: str = "val", seed: int = 0) -> Path:
    """ROOT/annotations/instances_{split}2017.json and ROOT/{split}2017/*.jpg; returns the file.

    Six images of small, medium and large objects: polygons, compressed and plain run lengths, two
    crowds, and an image (the second) without annotations.
    """
    rng = np.random.default_rng(seed)
    folder = root / f"{split}2017"
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, (height, width) in enumerate(SIZES):
        image_id = 100 + 7 * number
        name = f"{image_id:012d}.jpg"
        picture = rng.integers(90, 110, (height, width, 3), dtype=np.uint8)
        for k, side in enumerate([] if number == 1 else [14, 24, 45, 60, 100, 120]):
            kind = CLASSES[(k + number) % 3]
            one, mask = _annotation(rng, kind, side, height, width, k, crowd=number in (2, 4))
            picture[mask] = np.array(PALETTE[CLASSES.index(kind)][::-1], np.uint8)
            # ids from 0: pycocotools takes 0 for "no match"
            annotations.append(dict(id=len(annotations), image_id=image_id, **one))
        cv2.imwrite(str(folder / name), picture)
        images.append(dict(id=image_id, file_name=name, height=height, width=width))
    categories = [dict(id=IDS[name], name=name) for name in ("square", "bar", "disc")]
    path = root / "annotations" / f"instances_{split}2017.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return path


def _annotation(rng, kind, side, height, width, k, crowd) -> tuple[dict, np.ndarray]:
    x, y = rng.integers(0, width - side), rng.integers(0, height - side)
    mask = np.zeros((height, width), np.uint8)
    if kind == "disc":
        cv2.circle(mask, (int(x + side // 2), int(y + side // 2)), side // 2 - 1, 1, -1)
    else:
        mask[y : y + side, x : x + (side // 2 if kind == "bar" else side)] = 1
    rle = coco_mask.encode(np.asfortranarray(mask))
    box, area = coco_mask.toBbox(rle).tolist(), int(coco_mask.area(rle))
    crowd = crowd and k == 3
    if crowd:  # COCO's way: plain counts
        flat = mask.ravel(order="F")
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
        counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
        segmentation = dict(size=[height, width], counts=counts)
    elif kind == "disc":
        segmentation = dict(size=[height, width], counts=rle["counts"].decode())
    else:
        x1, y1, w, h = box
        segmentation = [[x1, y1, x1 + w, y1, x1 + w, y1 + h, x1, y1 + h]]
    found = dict(bbox=box, area=area, iscrowd=int(crowd), segmentation=segmentation)
    return dict(category_id=IDS[kind], **found), mask.astype(bool)


def noisy_results(path: Path, classes, seed: int = 0, masks: bool = True) -> list[tuple]:
    """What a middling model finds, as mmdet's `CocoMetric.process` keeps it: (truth, found) pairs.

    Shifted objects of wrong classes now and then, some missed, some found twice, some that are not
    there, and equal scores among them.
    """
    rng = np.random.default_rng(seed)
    content = json.loads(path.read_text())
    ids = {one["id"]: classes.index(one["name"]) for one in content["categories"]}
    by_image: dict[int, list] = {one["id"]: [] for one in content["images"]}
    for one in content["annotations"]:
        by_image[one["image_id"]].append(one)
    results = []
    for image in content["images"]:
        size = image["height"], image["width"]
        boxes, scores, labels, found = [], [], [], []
        for one in by_image[image["id"]]:
            for _ in range(rng.choice([0, 1, 1, 1, 2])):
                shift = rng.normal(0, 0.06, 2) * one["bbox"][2:]
                dx, dy = (int(round(v)) for v in shift)
                x, y, w, h = one["bbox"]
                boxes.append([x + dx, y + dy, x + dx + w * rng.uniform(0.9, 1.1), y + dy + h])
                label = ids[one["category_id"]]
                labels.append(label if rng.random() < 0.9 else int(rng.integers(len(classes))))
                scores.append(np.round(rng.random(), 2))
                if masks:
                    found.append(_shifted(_rle(one["segmentation"], size), dx, dy))
        for _ in range(rng.integers(3)):
            x, y = rng.uniform(0, 100, 2)
            boxes.append([x, y, x + rng.uniform(5, 80), y + rng.uniform(5, 80)])
            labels.append(int(rng.integers(len(classes))))
            scores.append(np.round(rng.random(), 2))
            if masks:
                blob = np.zeros(size, np.uint8)
                blob[int(y) : int(y) + 30, int(x) : int(x) + 25] = 1
                found.append(coco_mask.encode(np.asfortranarray(blob)))
        one = dict(
            img_id=image["id"],
            bboxes=np.asarray(boxes, np.float32).reshape(-1, 4),
            scores=np.asarray(scores, np.float32),
            labels=np.asarray(labels, np.int64),
        )
        if masks:
            one["masks"] = found
        results.append((dict(img_id=image["id"], width=size[1], height=size[0]), one))
    return results


def _rle(segmentation, size) -> dict:
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
    if isinstance(segmentation["counts"], list):
        return coco_mask.frPyObjects(segmentation, *size)
    return segmentation


def _shifted(rle: dict, dx: int, dy: int) -> dict:
    move = np.float32([[1, 0, dx], [0, 1, dy]])
    mask = coco_mask.decode(rle)
    moved = cv2.warpAffine(mask, move, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    return coco_mask.encode(np.asfortranarray(moved))
