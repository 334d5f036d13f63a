"""Boxes and masks drawn over images: what people look at first."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from itertools import count as count_from
from pathlib import Path

import cv2
import numpy as np
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from lightvit_bench.detection.datasets import turns_images
from lightvit_bench.openmmlab.pictures import read_picture, write_picture

THRESHOLD = 0.3  # least score of an object that is shown
SMALL = 480  # pixels: a picture with no side as long is enlarged, so that its names can be read
FONT = cv2.FONT_HERSHEY_SIMPLEX
OPACITY = 0.4  # of a mask's tint


@dataclass(frozen=True, eq=False)
class SeenObject:
    """An object in a picture, annotated or found.

    box: x1, y1, x2, y2 in the picture's pixels. colour: RGB. mask: (H, W) bool, None if there is
    none. score: None for an annotation. crowd: stands for several objects (COCO's `iscrowd`).
    """

    name: str
    colour: tuple[int, int, int]
    box: tuple[float, float, float, float]
    mask: np.ndarray | None = None
    score: float | None = None
    crowd: bool = False

    @property
    def label(self) -> str:
        """What is written beside the box."""
        if self.score is not None:
            return f"{self.name} {self.score:.2f}"
        return f"{self.name} (crowd)" if self.crowd else self.name


def found_objects(instances: InstanceData, meta: Mapping, threshold: float) -> list[SeenObject]:
    """What a detector found with a score of at least `threshold`, the highest first.

    Args:
        instances: mmdet's `pred_instances`: boxes and masks in the original image's pixels.
        meta: a data set's metainfo: `classes`, and the `palette` if there is one.
    """
    classes, colours = meta["classes"], class_colours(meta)
    scores = instances.scores.detach().float().cpu().numpy()
    boxes = instances.bboxes.detach().float().cpu().numpy()
    labels = instances.labels.cpu().numpy()
    order = [i for i in np.argsort(-scores, kind="stable") if scores[i] >= threshold]
    return [
        SeenObject(
            classes[labels[i]],
            colours[labels[i]],
            tuple(boxes[i].tolist()),
            instances.masks[i].cpu().numpy().astype(bool) if "masks" in instances else None,
            float(scores[i]),
        )
        for i in order
    ]


def true_objects(instances: Sequence[Mapping], shape: tuple[int, int], meta: Mapping) -> list:
    """The `SeenObject`s of an image's annotations in an mmdet data set (`data_info["instances"]`).

    They are in the pixels of the image as it is on disk, of `shape` (height, width). What a data
    sample holds as `gt_instances` is not: there they are resized with the image or not, by the
    order of the steps in the pipeline, absent where no step loads them, and without the crowds.
    """
    classes, colours = meta["classes"], class_colours(meta)
    return [
        SeenObject(
            classes[one["bbox_label"]],
            colours[one["bbox_label"]],
            tuple(float(x) for x in one["bbox"]),
            decode_mask(one["mask"], shape) if one.get("mask") else None,
            crowd=bool(one.get("ignore_flag")),
        )
        for one in instances
    ]


def decode_mask(segmentation: list | dict, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of COCO's polygons, list of run lengths, or compressed run lengths."""
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, *shape))
    elif isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, *shape)
    return coco_mask.decode(segmentation).astype(bool)


def class_colours(meta: Mapping) -> list[tuple[int, int, int]]:
    """RGB of each class: the data set's palette, or hues far from one another."""
    count, palette = len(meta["classes"]), meta.get("palette")
    if palette is not None and not isinstance(palette, str) and len(palette) >= count:
        return [tuple(int(c) for c in colour) for colour in palette]
    hues = (np.arange(count) * 0.618034 % 1 * 180).astype(np.uint8)  # OpenCV's hues end at 180
    hsv = np.stack([hues, np.full_like(hues, 200), np.full_like(hues, 255)], axis=1)
    return [tuple(map(int, c)) for c in cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]]


def draw_objects(image: np.ndarray, objects: Sequence[SeenObject]) -> np.ndarray:
    """Tinted masks with their contours, boxes, and names on an image (H, W, 3) uint8 BGR.

    Lines and letters grow with the image; one smaller than `SMALL` is enlarged by a whole number.
    """
    height, width = image.shape[:2]
    zoom = max(1, -(-SMALL // max(height, width)))
    canvas = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
    line = line_width(canvas)
    # Large ones first, so that what is small, or lies upon another, stays to be seen.
    ordered = sorted(objects, key=lambda one: -_area(one.box))
    for one in ordered:
        if one.mask is not None and one.mask.any():
            mask = np.kron(one.mask.astype(np.uint8), np.ones((zoom, zoom), np.uint8))
            _tint(canvas, mask, one.colour[::-1], line)
    for one in ordered:
        _outline(canvas, [zoom * x for x in one.box], one, line)
    fields: list[tuple[int, int, int, int]] = []
    for one in ordered:
        _write(canvas, [zoom * x for x in one.box], one, line, fields)
    return canvas


def line_width(canvas: np.ndarray) -> int:
    """Pixels of a box's line: 2 up to 800 px, 5 at 1,600, 12 at 4,000."""
    return max(2, round(max(canvas.shape[:2]) / 320))


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _tint(canvas: np.ndarray, mask: np.ndarray, colour: Sequence[int], line: int) -> None:
    inside = mask.astype(bool)
    tinted = (1 - OPACITY) * canvas[inside] + OPACITY * np.asarray(colour, np.float64)
    canvas[inside] = tinted.round().astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, list(colour), max(1, line // 2), cv2.LINE_AA)


def _outline(canvas: np.ndarray, box: Sequence[float], one: SeenObject, line: int) -> None:
    """The box, with a rim of black or white that tells its line from pixels of its colour."""
    height, width = canvas.shape[:2]
    x1, y1, x2, y2 = (round(x) for x in box)
    corners = (max(x1, 0), max(y1, 0)), (min(x2, width) - 1, min(y2, height) - 1)
    cv2.rectangle(canvas, *corners, _contrast(one.colour), line + 2 * ((line + 2) // 4))
    cv2.rectangle(canvas, *corners, one.colour[::-1], line)


def _contrast(colour: Sequence[int]) -> tuple[int, int, int]:
    """Black on light colours (RGB), white on dark ones."""
    light = np.dot(colour, (0.299, 0.587, 0.114)) > 128
    return (0, 0, 0) if light else (255, 255, 255)


def _letters(line: int) -> tuple[float, int]:
    """Scale and thickness of letters beside such a line; capitals are 10 px high or more."""
    thickness = max(1, line // 2)
    return cv2.getFontScaleFromHeight(FONT, 4 * line + 2, thickness), thickness


def _write(
    canvas: np.ndarray,
    box: Sequence[float],
    one: SeenObject,
    line: int,
    taken: list[tuple[int, int, int, int]],
) -> None:
    """The label in a field of the class's colour, beside those `taken` (x1, y1, x2, y2) if it can.

    Above the box, where there is room; else below it, inside, or above whatever is there.
    """
    scale, thickness = _letters(line)
    (width, height), base = cv2.getTextSize(one.label, FONT, scale, thickness)
    wide, high = width + 2 * line, height + base + line
    x1, y1, _, y2 = (round(x) for x in box)
    left = min(max(x1, 0), max(canvas.shape[1] - wide, 0))
    lowest = max(canvas.shape[0] - high, 0)
    tops = [y1 - high, y2, y1, y2 - high, *(y1 - k * high for k in range(2, 6))]
    tops = [top for top in tops if 0 <= top <= lowest] or [min(max(y1, 0), lowest)]
    fields = [(left, top, left + wide, top + high) for top in tops]
    field = next((f for f in fields if not any(_meet(f, other) for other in taken)), fields[0])
    taken.append(field)
    top = field[1]
    end = (field[2] - 1, field[3] - 1)
    cv2.rectangle(canvas, (left, top), end, one.colour[::-1], cv2.FILLED)
    place = (left + line, top + height + line // 2 + 1)
    ink = _contrast(one.colour)
    cv2.putText(canvas, one.label, place, FONT, scale, ink, thickness, cv2.LINE_AA)


def _meet(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two fields (x1, y1, x2, y2) overlap."""
    return all(one[i] < other[i + 2] and other[i] < one[i + 2] for i in (0, 1))


def picture_names(paths: Sequence[str], folder: str) -> list[Path]:
    """What to call the pictures of images: a relative path for each, no two alike.

    An image's path in its folder, or its name alone where the annotations lead out of that, with
    the ending .png. Where an earlier image has it, `pic.jpg.png`, then `pic.jpg.2.png`, ...
    """
    names: dict[Path, None] = {}
    for path in paths:
        name = Path(os.path.relpath(path, folder))
        if ".." in name.parts:
            name = Path(name.name)
        numbered = (name.with_name(f"{name.name}.{number}.png") for number in count_from(2))
        choices = chain([name.with_suffix(".png"), name.with_name(f"{name.name}.png")], numbered)
        names[next(one for one in choices if one not in names)] = None
    return list(names)


def pair_picture(
    image: np.ndarray, truth: Sequence[SeenObject], found: Sequence[SeenObject], threshold: float
) -> np.ndarray:
    """Truth and prediction of an image side by side, each under a strip that says which it is."""
    titled = [
        (f"truth: {len(truth)}", draw_objects(image, truth)),
        (f"found: {len(found)} (score {threshold:g} or more)", draw_objects(image, found)),
    ]
    return np.concatenate([_under_title(*one) for one in titled], axis=1)


def _under_title(title: str, drawn: np.ndarray) -> np.ndarray:
    line, width = line_width(drawn), drawn.shape[1]
    scale, thickness = _letters(line)
    (wide, high), base = cv2.getTextSize(title, FONT, scale, thickness)
    scale *= min(1.0, (width - 8) / wide)
    strip = np.full((high + 2 * base, width, 3), 255, np.uint8)
    cv2.putText(strip, title, (4, high + base // 2), FONT, scale, (40, 40, 40), thickness, 16)
    return np.concatenate([strip, drawn])


@HOOKS.register_module()
class DetOverlayHook(Hook):
    """Writes `<out_dir>/<image's path in its folder>.png`: truth | prediction.

    Where two images would get the same name (`picture_names`), the later one has another. Images
    are read as the pipeline has them, turned by EXIF or not.

    The truth is taken from the data set's annotations; the test pipeline need not load them.

    Args:
        out_dir: made if absent.
        threshold: least score of an object that is drawn.
    """

    def __init__(self, out_dir: str, threshold: float = THRESHOLD):
        self.out_dir, self.threshold = Path(out_dir), threshold
        self.written: dict[Path, None] = {}  # a distributed run may draw an image twice
        self._place: dict[int, int] = {}  # of an image id in the data set
        self._names: list[Path] = []

    def after_test_iter(self, runner, batch_idx: int, data_batch=None, outputs=()) -> None:
        """Draw the samples of a batch."""
        dataset = runner.test_dataloader.dataset
        if not self._place:
            images = [dataset.get_data_info(i) for i in range(len(dataset))]
            self._place = {one["img_id"]: i for i, one in enumerate(images)}
            paths = [one["img_path"] for one in images]
            self._names = picture_names(paths, dataset.data_prefix["img"])
        turned = turns_images(dataset.pipeline.transforms)
        for sample in outputs:
            place = self._place[sample.img_id]
            info = dataset.get_data_info(place)
            image = read_picture(sample.img_path, turned=turned)
            truth = true_objects(info["instances"], image.shape[:2], dataset.metainfo)
            found = found_objects(sample.pred_instances, dataset.metainfo, self.threshold)
            path = self.out_dir / self._names[place]
            write_picture(path, pair_picture(image, truth, found, self.threshold))
            self.written[path] = None

    def after_test(self, runner) -> None:
        """Say where the pictures are."""
        print_log(f"{len(self.written)} overlays written to {self.out_dir}", logger="current")
