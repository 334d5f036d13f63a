"""Read and check a file of objects in COCO's format, before a run and not in the middle of one.

    content = read_instances("data/coco/annotations/instances_train2017.json")
    found = check_instances(content, "instances_train2017.json", classes=("person", "bicycle"))
    found.require_clean()

COCO's training set has 860,001 objects in 450 MB of JSON: all checks are linear and mostly numpy.
"""

from __future__ import annotations

import gc
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightvit_bench.data.coco_columns import CocoTables
from lightvit_bench.data.coco_masks import mask_problem
from lightvit_bench.data.set_checks import named_few
from lightvit_bench.errors import (
    BadDataError,
    ConfigError,
    MissingDataError,
    near_matches,
    printable,
)

_LAYOUT = "docs/datasets.md#coco"
_NAMED = 5  # objects an error names of each kind
_MEND = {
    "unknown image": "name every image in the section 'images'",
    "unknown category": "name every category in the section 'categories'",
    "bad box": "boxes are x, y, width, height in pixels, finite, no size below 0",
    "bad area": "areas are in pixels, finite, none below 0",
    "no mask": "give every object its 'segmentation', or set with_mask=False in LoadAnnotations "
    "of the pipeline, with a model that has no mask head",
    "bad mask": "masks are polygons of 3 points or more, or run lengths over the whole image",
}


@dataclass(frozen=True, eq=False)
class Instances:
    """The objects of an annotation file, N of them, and what is wrong with them.

    Attributes:
        images, annotations: as the file has them, in its order.
        category_ids: the file's id of each class of the config, in the config's order.
        image: int64 (N,), the row in `images`; -1 for an image that the file does not name.
        label: int64 (N,), the row in the config's classes; -1 for a category they leave out.
        boxes: float64 (N, 4), x1, y1, x2, y2 in pixels, cut to the image.
        crowd: bool (N,), a region of many objects: not learnt from, not counted against.
        use: bool (N,), the objects that samples have. Without an area, outside of the image,
            marked "ignore", of another category: those have not.
        problems: (kind, detail) of every object that stops a run.
        notices: a line on each sort of object that is left out.
    """

    place: str
    images: list[dict]
    annotations: list[dict]
    category_ids: list[int]
    image: np.ndarray
    label: np.ndarray
    boxes: np.ndarray
    crowd: np.ndarray
    use: np.ndarray
    problems: tuple[tuple[str, str], ...]
    notices: tuple[str, ...]

    def require_clean(self) -> None:
        """BadDataError naming the first few objects of each kind of problem, if there are any."""
        if not self.problems:
            return
        kinds = Counter(kind for kind, _ in self.problems)
        lines: list[str] = []
        for kind, count in kinds.items():
            details = [detail for other, detail in self.problems if other == kind]
            lines += [f"{kind}: {detail}" for detail in details[:_NAMED]]
            lines += [f"{kind}: and {count - _NAMED:,} more"] * (count > _NAMED)
        summary = ", ".join(f"{kind} ({count:,})" for kind, count in kinds.items())
        raise BadDataError(
            f"Objects of COCO's annotations cannot be used: {summary}.",
            file=self.place,
            objects=lines,
            mend=[_MEND[kind] for kind in kinds],
            layout=_LAYOUT,
        )

    def by_image(self) -> list[np.ndarray]:
        """For each image the rows of the objects that samples have, in the file's order."""
        rows = np.flatnonzero(self.use)
        rows = rows[np.argsort(self.image[rows], kind="stable")]
        ends = np.searchsorted(self.image[rows], np.arange(1, len(self.images)))
        return np.split(rows, ends)


@contextmanager
def no_collection() -> Iterator[None]:
    """Without the search for reference cycles, which millions of new objects would set off."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def read_instances(path: str | Path, title: str = "COCO") -> dict:
    """What the JSON of an annotation file says; MissingDataError or BadDataError if it cannot."""
    path = Path(path)
    if not path.is_file():
        raise _missing(path, title)
    try:
        with no_collection():
            content = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        ended = not error.doc[error.pos :].strip() or error.msg.startswith("Unterminated")
        raise BadDataError(
            "COCO's annotations are cut off." if ended else "COCO's annotations are not JSON.",
            file=str(path),
            because=f"{error.msg}, line {error.lineno}, column {error.colno}"
            if error.doc.strip()
            else "the file is empty",
            mend="copy or unpack the file again" if ended else "give ann_file a file of JSON",
        ) from None
    except (UnicodeDecodeError, RecursionError) as error:
        because = "it is not text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise BadDataError(
            "COCO's annotations are not JSON.",
            file=str(path),
            because=because,
            mend="give ann_file a file of JSON, unpacked",
        ) from None
    if not isinstance(content, dict):
        what = f"a {type(content).__name__}"
        if isinstance(content, list):
            what = f"a list of {len(content):,}, which is what results.json is"
        raise BadDataError(
            "The file does not hold COCO's annotations.",
            file=str(path),
            holds=what,
            wanted="images, annotations and categories",
            layout=_LAYOUT,
        )
    return content


def _missing(path: Path, title: str) -> MissingDataError:
    details = {"looked_for": printable(str(path))}
    above = next((folder for folder in path.parents if folder.is_dir()), None)
    if above is not None and above not in (Path("."), Path("/")):
        held = sorted(name for name in os.listdir(above) if not name.startswith("."))
        held_text = printable(named_few(held)) or "nothing in it"
        details["there_is"] = f"{printable(str(above))} with {held_text}"
        if any(name.endswith(".zip") for name in held):
            details["mend"] = "unpack the archives: training reads folders"
    return MissingDataError(
        f"{title} not found.",
        **details,
        set="LIGHTVIT_DATA=/path/to/datasets   or   --cfg-options data_root=...",
        layout=f"{_LAYOUT:<31}   without data: make demo",
    )


def check_instances(
    content: dict,
    place: str,
    *,
    classes: Sequence[str],
    masks: bool | None = None,
    evaluated: bool = False,
) -> Instances:
    """Check what `read_instances` gave against the config's classes.

    Args:
        place: the file, for messages.
        masks: True where every object needs one, False where masks are not looked at, None to
            check those that are there.
        evaluated: a metric takes the truth from the file, and needs each object's `area`. The
            section "annotations" may be absent then, as it is in COCO's lists of test images.

    Raises:
        BadDataError: sections, keys or types are not COCO's, or ids are used twice. What is wrong
            with single objects stays in the report.
        ConfigError: a class of the config is no category of the file.
    """
    file = CocoTables(place)
    notices: list[str] = []
    if evaluated and "annotations" not in content:
        content = {**content, "annotations": []}
        notices.append("has no annotations: results can be written, not measured")
    images, annotations, categories = (
        file.section(content, key) for key in ("images", "annotations", "categories")
    )
    image_ids = file.integers("image", images)
    sizes_hw = np.stack([file.integers("image", images, key) for key in ("height", "width")], 1)
    for row in np.flatnonzero((sizes_hw <= 0).any(1))[:1]:
        raise file.bad(f"image {image_ids[row]} is {sizes_hw[row, 0]} x {sizes_hw[row, 1]} pixels")
    file.names("image", images, "file_name")
    category_ids = file.integers("category", categories)
    names = file.names("category", categories, "name")
    ids = file.integers("object", annotations)
    for things, of in (("images", image_ids), ("categories", category_ids), ("objects", ids)):
        file.used_once(things, of)
    file.used_once("categories", names, "name")
    class_ids = _class_ids(classes, dict(zip(names, category_ids.tolist(), strict=True)), place)

    problems: list[tuple[str, str]] = []

    def wrong(rows: np.ndarray, kind: str, detail: Callable[[int], str]) -> None:
        problems.extend((kind, f"object {ids[row]}, {detail(row)}") for row in rows.tolist())

    of_image = file.integers("object", annotations, "image_id")
    image = _rows(image_ids, of_image)
    wrong(np.flatnonzero(image < 0), "unknown image", lambda row: f"image_id {of_image[row]}")
    of_category = file.integers("object", annotations, "category_id")
    known = _rows(category_ids, of_category) >= 0
    wrong(np.flatnonzero(~known), "unknown category", lambda row: f"category_id {of_category[row]}")
    label = _rows(np.array(class_ids, np.int64), of_category)

    xywh = file.boxes(annotations)
    odd = ~np.isfinite(xywh).all(1) | (xywh[:, 2:] < 0).any(1)
    wrong(np.flatnonzero(odd), "bad box", lambda row: f"bbox {annotations[row]['bbox']}")
    areas = file.areas(annotations, evaluated)
    bad_area = ~(np.isfinite(areas) & (areas >= 0))
    wrong(np.flatnonzero(bad_area), "bad area", lambda row: f"area {annotations[row]['area']}")
    crowd = file.flags(annotations, "iscrowd")
    ignored = file.flags(annotations, "ignore")

    limits = sizes_hw[image, ::-1] if len(images) else np.zeros((len(ids), 2))  # width, height
    with np.errstate(invalid="ignore"):
        boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
        cut = boxes.clip(0, np.tile(limits, 2))
        beyond = np.abs(boxes - cut).max(1, initial=0) > 1
    sound = (image >= 0) & ~odd & ~bad_area & known
    chosen = sound & (label >= 0) & ~ignored
    # mmdet's rule: an object is a pixel wide and high at least
    small = chosen & ((xywh[:, 2:] < 1).any(1) | (areas <= 0))
    outside = chosen & ~small & ((cut[:, 2:] - cut[:, :2]) <= 0).any(1)
    use = chosen & ~small & ~outside

    def notice(rows: np.ndarray, text: str) -> None:
        if rows.any():
            some = named_few([str(number) for number in ids[rows].tolist()])
            notices.append(f"{rows.sum():,} objects {text} (ids {some})")

    others = Counter(of_category[sound & (label < 0)].tolist())
    if others:
        name_of = dict(zip(category_ids.tolist(), names, strict=True))
        named = [f"{name_of[number]} ({count:,})" for number, count in others.most_common()]
        notices.append(
            f"{sum(others.values()):,} objects left out, whose categories are no classes of the "
            f"config: {printable(named_few(named))}"
        )
    notice(sound & (label >= 0) & ignored, "left out, marked 'ignore'")
    notice(small, "left out, smaller than a pixel or without area")
    notice(outside, "left out, outside of their image")
    notice(use & beyond, "reach beyond their image by more than a pixel, and are cut to it")

    if masks is not False:
        # The metric decodes the masks of left-out objects too.
        for row in np.flatnonzero(sound & (label >= 0) if evaluated else use).tolist():
            mask = annotations[row].get("segmentation")
            if mask is None or mask == [] or mask == {}:
                if masks and use[row]:
                    why = "and the pipeline asks for masks (with_mask=True)"
                    problems.append(("no mask", f"object {ids[row]}, {why}"))
                continue
            why = mask_problem(mask, *sizes_hw[image[row]].tolist())
            if why:
                problems.append(("bad mask", f"object {ids[row]}, {why}"))
    return Instances(
        place, images, annotations, class_ids, image, label, cut, crowd, use,
        tuple(problems), tuple(notices),
    )  # fmt: skip


def _class_ids(classes: Sequence[str], id_of: dict[str, int], place: str) -> list[int]:
    """The file's category id of each class; ConfigError for classes that it does not have."""
    absent = [name for name in classes if name not in id_of]
    if absent:
        lines = [
            f"{name!r}: the file has {', '.join(map(repr, near_matches(name, id_of)[:_NAMED]))}"
            for name in absent[:_NAMED]
        ]
        more = len(absent) - _NAMED
        raise ConfigError(
            f"{len(absent)} of the config's {len(classes)} classes are no category of the file.",
            file=place,
            classes=[*map(printable, lines), *([f"and {more} more"] if more > 0 else [])],
            set="metainfo=dict(classes=(...), palette=[...]) of the data set to the file's names",
        )
    return [id_of[name] for name in classes]


def _rows(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The row in `known` (each once) of every number asked for; -1 where it is not there."""
    if not len(known):
        return np.full(len(asked), -1)
    order = np.argsort(known)
    at = order[np.searchsorted(known, asked, sorter=order).clip(max=len(known) - 1)]
    return np.where(known[at] == asked, at, -1)
