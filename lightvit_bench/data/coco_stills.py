"""COCO 2017's objects as still sequences, and cut out along their masks.

    ROOT/annotations/instances_train2017.json    images, categories, boxes x,y,w,h, masks
    ROOT/train2017/000000000009.jpg ...          or ROOT/train2017.zip
(`val2017` likewise; the json file may lie in `annotations_trainval2017.zip`.) Boxes count pixels
from 0. Crowds, which are boxes around many objects, and boxes without a size are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from lightvit_bench.data.frames import decode_image, home_of
from lightvit_bench.data.sequence import Annotation, Sequence
from lightvit_bench.data.set_checks import (
    Say,
    named_few,
    not_found,
    on_stderr,
    open_root,
    require_split,
)
from lightvit_bench.data.store import Store
from lightvit_bench.errors import BadDataError

SPLITS = ("train", "val")


@dataclass(frozen=True)
class StillFrame:
    """One image, as the only frame of a sequence."""

    store: Store
    path: str

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> np.ndarray:
        """The image: (H, W, 3) uint8, RGB."""
        return decode_image(self.store.read(self.path), self.name(index))

    def name(self, index: int) -> str:
        """Where the image lies, for messages."""
        if index != 0:
            raise IndexError(f"frame {index} of 1")
        return self.store.place(self.path)


class CocoStills(SequenceOf):
    """Every object as a sequence of one frame, made when it is asked for.

    COCO has 860,000: they are a few flat arrays until then, so that workers get them quickly.
    """

    def __init__(self, store: Store, folder: str, files: list[str], objects: list[dict]):
        self.store, self.folder = store, folder
        self.files = np.array([file.encode() for file in files])
        row = {file: number for number, file in enumerate(files)}
        self.image = np.array([row[thing["file"]] for thing in objects], np.int32)
        self.ids = np.array([thing["id"] for thing in objects], np.int64)
        self.boxes_xywh = np.array([thing["bbox"] for thing in objects], np.float64)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sequence:
        if not -len(self) <= index < len(self):
            raise IndexError(f"object {index} of {len(self)}")
        file = self.files[self.image[index]].decode()
        frames = StillFrame(self.store, f"{self.folder}/{file}")
        name = f"{Path(file).stem}-{self.ids[index]}"
        return Sequence("coco", name, frames, partial(_still, self.boxes_xywh[index]), still=True)


def _still(box_xywh: np.ndarray) -> Annotation:
    return Annotation(box_xywh[None].copy(), np.ones(1, bool), np.full(1, np.nan))


@dataclass(frozen=True)
class Cutout:
    """An object of an image with its mask.

    Attributes:
        path: of the image within `store`.
        box_xywh: pixels, from 0.
        size_hw: of the image, as the annotations say it.
        segmentation: COCO's polygons or run lengths, as json.
    """

    store: Store
    path: str
    name: str
    category: str
    box_xywh: tuple[float, float, float, float]
    size_hw: tuple[int, int]
    segmentation: str = field(repr=False)

    @property
    def place(self) -> str:
        """Where the image lies, for messages."""
        return self.store.place(self.path)

    def image(self) -> np.ndarray:
        """(H, W, 3) uint8, RGB. `BadDataError` if it has another size than the annotations say."""
        image = decode_image(self.store.read(self.path), self.place)
        if image.shape[:2] != self.size_hw:
            found, said = "x".join(map(str, image.shape[:2])), "x".join(map(str, self.size_hw))
            raise BadDataError(f"An image is {found} and not {said} pixels.", image=self.place)
        return image

    def mask(self) -> np.ndarray:
        """(H, W) bool: the object's pixels. `BadDataError` for a mask that is not of COCO's form.

        It may be empty: some polygons are thinner than a pixel.
        """
        from pycocotools import mask as coco_mask

        height, width = self.size_hw
        outline = json.loads(self.segmentation)
        try:
            if isinstance(outline, dict) and list(outline["size"]) != [height, width]:
                raise ValueError(f"a mask of {outline['size']} pixels")
            if isinstance(outline, dict) and isinstance(outline["counts"], str):
                runs = outline
            else:
                runs = coco_mask.frPyObjects(outline, height, width)
            mask = coco_mask.decode(coco_mask.merge(runs) if isinstance(runs, list) else runs)
        except Exception as error:  # whatever its C code makes of numbers that are no mask
            raise BadDataError(
                "The mask of an object cannot be used.",
                object=self.name,
                image=self.place,
                because=str(error) or type(error).__name__,
            ) from error
        return mask.astype(bool)


def open_coco(
    root: str | Path,
    split: str = "train",
    *,
    expect_all: bool = False,
    say: Say | None = None,
) -> CocoStills:
    """Every object of COCO's "train" or "val" as a sequence of one frame (`still`).

    Objects of images that are not there are left out: `say` is told how many; with `expect_all`
    that is an error.

    Raises:
        MissingDataError: no annotations or no images.
        BadDataError: the annotations cannot be read or contradict themselves.
    """
    store, folder, _, objects = _read(root, split, expect_all, say)
    files = sorted({thing["file"] for thing in objects})
    return CocoStills(store, folder, files, objects)


def coco_cutouts(root: str | Path, split: str = "train", *, say: Say | None = None) -> list[Cutout]:
    """Every object with its mask; arguments and errors as for `open_coco`."""
    store, folder, categories, objects = _read(root, split, False, say)
    return [
        Cutout(
            store=store,
            path=f"{folder}/{thing['file']}",
            name=f"{Path(thing['file']).stem}-{thing['id']}",
            category=categories.get(thing["category_id"], str(thing["category_id"])),
            box_xywh=tuple(map(float, thing["bbox"])),
            size_hw=thing["size_hw"],
            segmentation=json.dumps(thing["segmentation"]),
        )
        for thing in objects
        if thing.get("segmentation")
    ]


def _read(
    root: str | Path, split: str, expect_all: bool, say: Say | None
) -> tuple[Store, str, dict[int, str], list[dict]]:
    """Where the images are, category names, and the objects with `file` and `size_hw` added."""
    require_split("COCO", split, SPLITS)
    title, folder, path = f"COCO {split}", f"{split}2017", f"annotations/instances_{split}2017.json"
    other = "val2017" if split == "train" else "train2017"
    tree = open_root(title, "coco", root, archives=lambda name: not name.startswith(other))
    if not tree.exists(path):
        raise not_found(title, "coco", tree, path)
    present = set(tree.list(folder).files)
    if not present:
        raise not_found(title, "coco", tree, f"{folder}/*.jpg")
    place = tree.place(path)
    try:
        content = json.loads(tree.read(path))
        files = {image["id"]: image for image in content["images"]}
        categories = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        objects = [_object(thing, files) for thing in content["annotations"] if _counts(thing)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise BadDataError("COCO's annotations cannot be read.", file=place, because=what) from None
    absent = sorted({thing["file"] for thing in objects} - present)
    if absent:
        images = len({thing["file"] for thing in objects})
        message = f"{title}: {images - len(absent):,} of the {images:,} images with objects."
        if expect_all or images == len(absent):
            raise BadDataError(
                message,
                missing=named_few(absent),
                images=tree.place(folder),
                layout="docs/datasets.md#coco",
            )
        (say or on_stderr)(f"{message} Missing: {named_few(absent)}.")
        objects = [thing for thing in objects if thing["file"] in present]
    if not objects:
        raise BadDataError("COCO's annotations name no object.", file=place)
    return home_of(tree, folder), folder, categories, objects


def _counts(thing: dict) -> bool:
    """Whether it is one object with a size."""
    _, _, width, height = thing["bbox"]
    return not thing.get("iscrowd", 0) and width > 0 and height > 0


def _object(thing: dict, images: dict[int, dict]) -> dict:
    if not all(math.isfinite(value) for value in thing["bbox"]):
        raise ValueError(f"the box of object {thing['id']} is {thing['bbox']}")
    if thing["image_id"] not in images:
        raise ValueError(f"object {thing['id']} is in image {thing['image_id']}, which is not told")
    image = images[thing["image_id"]]
    return {**thing, "file": image["file_name"], "size_hw": (image["height"], image["width"])}
