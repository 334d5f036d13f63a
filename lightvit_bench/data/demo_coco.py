"""Generated detection data in COCO's layout: shapes on photographs, each object with its mask.

    ROOT/annotations/instances_train2017.json    images, categories, boxes x,y,w,h, masks
    ROOT/train2017/000000000001.jpg ...
    ROOT/demo.json
(`val2017` likewise.) Shapes and photographs are those of `demo_ade`. What COCO has, this has:

- category ids with gaps, which are no indices;
- objects that hide others: a mask is what is seen, in several pieces where it was cut in two;
- polygons, of which box and area are taken; run lengths (compressed) for objects with holes, and
  for crowds: many small shapes of a kind under one mask (a list of counts, `iscrowd`);
- pictures without an object: the second of ten. The third of five has a crowd.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from lightvit_bench.data import demo_folder
from lightvit_bench.data.demo_ade import (
    NO_PHOTOGRAPH,
    DemoSummary,
    compose,
    crop_background,
    expose,
    load_photographs,
    save_picture,
)
from lightvit_bench.data.demo_ade import PALETTE as _COLOURS
from lightvit_bench.data.demo_shapes import SHAPES, Layer, draw_shape, draw_shape_at
from lightvit_bench.data.roots import write_whole

CLASSES = SHAPES
PALETTE = _COLOURS[1:]  # the same shape has the same colour; there the first is the background's
CATEGORY_IDS = (1, 2, 4, 7, 8, 13)  # of the classes, in their order
_SUPERCATEGORIES = ("round", "angular", "angular", "angular", "round", "angular")

_SPLITS = ("train", "val")
_LEAST_SEEN = 0.15  # of an object: one that is hidden further is not in the picture
_FINE = 8  # parts of a pixel's side: the grid on which outlines are followed
_SLACK = (0.5, 0.25, 0.1)  # pixels a polygon may be off its outline; less where tips get lost
_VERSION = 1  # raise it when pictures change: finished folders are then made again
_MADE_BY = "lightvit_bench.data.demo_coco"
_OURS = re.compile(
    r"demo\.json|annotations/instances_(train|val)2017\.json|(train|val)2017/\d{12}\.jpg"
)


@dataclass(frozen=True, eq=False)
class Thing:
    """What becomes one annotation: a shape, or a crowd of small ones of the same class."""

    class_index: int
    layers: tuple[Layer, ...]
    crowd: bool = False


@dataclass(frozen=True, eq=False)
class CocoScene:
    """A picture before compression.

    image: (H, W, 3) uint8 RGB. things: from the rearmost to the foremost. seen: (H, W) bool of
    each, the pixels that nothing hides.
    """

    image: np.ndarray
    things: tuple[Thing, ...]
    seen: tuple[np.ndarray, ...]


def make_demo_coco(
    root: str | Path,
    *,
    train: int = 120,
    val: int = 24,
    size: tuple[int, int] = (160, 160),
    seed: int = 0,
) -> DemoSummary:
    """Write `train` and `val` pictures of `size` (height, width) and their annotations to `root`.

    A picture does not depend on how many there are. The same arguments, photographs and library
    versions give the same bytes. A finished folder is left as it is; an interrupted or differing
    one that this function made is made again. Takes about 20 ms a picture of 160 pixels. Raises
    BadDataError when `root` holds anything else, ValueError for bad numbers.
    """
    root, size = Path(root), (int(size[0]), int(size[1]))
    if min(train, val) < 1 or min(size) < 32 or seed < 0:
        raise ValueError(
            "demo data needs a picture a split, 32 pixels a side and a seed >= 0: "
            f"train={train}, val={val}, size={size}, seed={seed}"
        )
    photographs = load_photographs()
    names = tuple(name for name, _ in photographs)
    numbers = dict(train=train, val=val, size=size, seed=seed, photographs=names)
    summary = dict(root=root, **numbers, note="" if names else NO_PHOTOGRAPH)
    state = {
        "made_by": _MADE_BY,
        "version": _VERSION,
        "finished": True,
        **numbers,
        "size": list(size),
        "photographs": list(names),
        "classes": list(CLASSES),
    }
    pictures = {
        word: [root / f"{word}2017" / _file_name(index) for index in range(count)]
        for word, count in zip(_SPLITS, (train, val), strict=True)
    }
    told = {word: root / "annotations" / f"instances_{word}2017.json" for word in _SPLITS}

    there = demo_folder.listing(root)
    files = {*told.values(), *pictures["train"], *pictures["val"]}
    if demo_folder.state(root) == state and files <= set(there):
        return DemoSummary(**summary, made=False)
    for path in demo_folder.own_files(root, there, _MADE_BY, _OURS):
        path.unlink()

    write_whole(root / "demo.json", json.dumps({**state, "finished": False}))
    for split, word in enumerate(_SPLITS):
        (root / f"{word}2017").mkdir(parents=True, exist_ok=True)
        annotations = []
        for index, path in enumerate(pictures[word]):
            rng = np.random.default_rng([seed, split, index])
            scene = make_scene(rng, photographs, size, train=split == 0, index=index)
            save_picture(scene.image, path)
            annotations += annotate(scene, image_id=index + 1, first_id=len(annotations) + 1)
        content = _content(word, [path.name for path in pictures[word]], size, annotations)
        write_whole(told[word], json.dumps(content))
    write_whole(root / "demo.json", json.dumps(state, indent=1))
    return DemoSummary(**summary, made=True)


# ------------------------------------------------------------------------------------ the picture


def make_scene(
    rng: np.random.Generator,
    photographs: Sequence[tuple[str, np.ndarray]],
    size: tuple[int, int],
    train: bool,
    index: int = 0,
) -> CocoScene:
    """One picture; `train` chooses the photographs' part, `index` whether it is empty or crowded.

    Every thing in it is seen in part at least, wider than 2 pixels.
    """
    light = rng.uniform(0, 2 * np.pi)  # one direction for a whole picture
    background = crop_background(rng, photographs, size, train)
    things: list[Thing] = []
    if index % 10 != 1:
        for _ in range(rng.integers(3, 7)):
            things.append(_thing(rng, size, light, things))
        if index % 5 == 2:
            things.append(_crowd(rng, size, light))
    seen = _seen(things, size)
    while hidden := [k for k, mask in enumerate(seen) if _is_hidden(things[k], mask)]:
        del things[hidden[0]]  # which may bring others to light
        seen = _seen(things, size)
    image, _ = compose(background, [layer for thing in things for layer in thing.layers])
    return CocoScene(expose(rng, image, light), tuple(things), tuple(seen))


def _thing(
    rng: np.random.Generator, size: tuple[int, int], light: float, before: Sequence[Thing]
) -> Thing:
    """A shape anywhere, or every third time across the one before."""
    kind = int(rng.integers(len(SHAPES)))
    if not before or rng.random() < 2 / 3:
        return Thing(kind, (draw_shape(rng, SHAPES[kind], kind + 1, size, light),))
    rows, columns = np.nonzero(before[-1].layers[0].inside)
    reach = min(size) * 0.1
    centre = (columns.mean() + rng.normal(0, reach), rows.mean() + rng.normal(0, reach))
    centre = tuple(np.clip(centre, 0, (size[1] - 1, size[0] - 1)))
    radius = min(size) * rng.uniform(0.1, 0.2)
    layer = draw_shape_at(rng, SHAPES[kind], kind + 1, size, light, radius, centre)
    return Thing(kind, (layer,))


def _crowd(rng: np.random.Generator, size: tuple[int, int], light: float) -> Thing:
    """Many small shapes of a kind in a part of the picture."""
    (h, w), kind = size, int(rng.integers(len(SHAPES)))
    x, y = w * rng.uniform(0.25, 0.75), h * rng.uniform(0.25, 0.75)
    layers = []
    for _ in range(rng.integers(10, 17)):
        radius = max(2.5, min(size) * rng.uniform(0.03, 0.05))
        centre = (x + w * rng.uniform(-0.2, 0.2), y + h * rng.uniform(-0.12, 0.12))
        layers.append(draw_shape_at(rng, SHAPES[kind], kind + 1, size, light, radius, centre))
    return Thing(kind, tuple(layers), crowd=True)


def _seen(things: Sequence[Thing], size: tuple[int, int]) -> list[np.ndarray]:
    """(H, W) bool of each thing: where it is the foremost."""
    foremost = np.full(size, -1)
    for number, thing in enumerate(things):
        for layer in thing.layers:
            foremost[layer.inside] = number
    return [foremost == number for number in range(len(things))]


def _is_hidden(thing: Thing, seen: np.ndarray) -> bool:
    """Whether there is too little of it to be an object: a small part, or a sliver."""
    whole = np.logical_or.reduce([layer.inside for layer in thing.layers])
    core = cv2.erode(seen.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0)
    return bool(seen.sum() < _LEAST_SEEN * whole.sum() or not core.any())


# -------------------------------------------------------------------------------- the annotations


def annotate(scene: CocoScene, image_id: int, first_id: int) -> list[dict]:
    """COCO's annotations of a picture, ids from `first_id`."""
    return [
        {
            **outline(seen, thing.crowd),
            "iscrowd": int(thing.crowd),
            "image_id": image_id,
            "category_id": CATEGORY_IDS[thing.class_index],
            "id": first_id + number,
        }
        for number, (thing, seen) in enumerate(zip(scene.things, scene.seen, strict=True))
    ]


def outline(mask: np.ndarray, crowd: bool = False) -> dict:
    """`segmentation`, `area` and `bbox` (x, y, w, h) of a mask (H, W) bool that is not empty.

    Polygons where the mask has no hole, and the area and box are theirs; else run lengths, a list
    of counts for a crowd and otherwise compressed, and the area and box are the mask's.
    """
    parts = None if crowd else polygons(mask)
    if parts is not None:
        points = np.concatenate(parts)
        (x, y), (right, bottom) = points.min(0), points.max(0)
        segmentation = [part.ravel().tolist() for part in parts]
        area = round(sum(_polygon_area(part) for part in parts), 4)
    else:
        x, y, right, bottom = _extent(mask)
        segmentation = _counts(mask) if crowd else _compressed(mask)
        area = int(mask.sum())
    box = [round(float(value), 2) for value in (x, y, right - x, bottom - y)]
    return {"segmentation": segmentation, "area": area, "bbox": box}


def polygons(mask: np.ndarray) -> list[np.ndarray] | None:
    """A mask's pieces as (N, 2) points x, y with 2 decimals; None where one has a hole.

    A pixel's corners are whole numbers, as for COCO's tools. Filled again, the polygons differ from
    the mask in pixels at its edge only.
    """
    h, w = mask.shape
    # The outline between the pixels, its steps smoothed to slopes; beyond the picture is nothing.
    padded = np.pad(mask, 1).astype(np.float32)
    fine = cv2.resize(padded, None, fx=_FINE, fy=_FINE, interpolation=cv2.INTER_LINEAR) > 0.5
    found, tree = cv2.findContours(fine.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if (tree[0, :, 3] >= 0).any():  # a contour inside another
        return None
    for slack in _SLACK:
        parts = [_simpler(contour, slack, (w, h)) for contour in found]
        if _extent(_filled(parts, mask.shape)) == _extent(mask):  # no tip was cut off
            break
    return parts


def _simpler(contour: np.ndarray, slack: float, limits: tuple[int, int]) -> np.ndarray:
    """A contour on the fine grid as few points (N, 2) in the picture, `slack` pixels off it."""
    fewer = cv2.approxPolyDP(contour, slack * _FINE, closed=True)
    points = (fewer if len(fewer) >= 3 else contour)[:, 0]
    return np.round(np.clip((points + 0.5) / _FINE - 1, 0, limits), 2)


def _filled(parts: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the pixels that COCO's tools give polygons."""
    runs = coco_mask.frPyObjects([part.ravel().tolist() for part in parts], *size)
    return coco_mask.decode(coco_mask.merge(runs)).astype(bool)


def _extent(mask: np.ndarray) -> tuple[int, ...]:
    """The box around a mask (H, W) bool: left, top, right, bottom; () of an empty one."""
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    if not len(rows):
        return ()
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _polygon_area(points: np.ndarray) -> float:
    x, y = points.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _counts(mask: np.ndarray) -> dict:
    """Run lengths down the columns, of zeros first."""
    flat = np.concatenate([[0], mask.ravel(order="F").astype(np.int8), [-1]])
    ends = np.flatnonzero(np.diff(flat))
    return {"counts": np.diff(ends, prepend=0).tolist(), "size": list(mask.shape)}


def _compressed(mask: np.ndarray) -> dict:
    runs = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"counts": runs["counts"].decode("ascii"), "size": list(mask.shape)}


# ------------------------------------------------------------------------------------- the folder


def _file_name(index: int) -> str:
    return f"{index + 1:012d}.jpg"


def _content(word: str, names: list[str], size: tuple[int, int], annotations: list[dict]) -> dict:
    """What the json file of a split holds."""
    about = {
        "description": f"shapes on photographs, {word}: generated by lightvit_bench",
        "version": str(_VERSION),
        "year": 2017,
        "contributor": "lightvit_bench",
    }
    images = [
        {"license": 1, "file_name": name, "height": size[0], "width": size[1], "id": number}
        for number, name in enumerate(names, start=1)
    ]
    categories = [
        {"supercategory": above, "id": identity, "name": name}
        for above, identity, name in zip(_SUPERCATEGORIES, CATEGORY_IDS, CLASSES, strict=True)
    ]
    return {
        "info": about,
        "licenses": [{"id": 1, "name": "public domain or CC0", "url": ""}],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m lightvit_bench.data.demo_coco OUT")
    print(make_demo_coco(sys.argv[1]))
