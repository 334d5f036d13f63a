"""COCO's average precision of a results file against annotations, by `metrics.coco`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightvit_bench.bench.checks import shown
from lightvit_bench.bench.parts import StoredFiles
from lightvit_bench.bench.provenance import sha256_of
from lightvit_bench.bench.record import RunRecord
from lightvit_bench.data.coco_check import read_instances
from lightvit_bench.data.coco_masks import mask_problem
from lightvit_bench.errors import BadDataError, MissingDataError, UserError
from lightvit_bench.metrics.coco import (
    average_precision,
    check_layout,
    find_engine,
    is_finite,
    truth_of,
)
from lightvit_bench.verification.keeping import COCO, from_ranges
from lightvit_bench.verification.protocols import Whole, coverage, object_protocol
from lightvit_bench.verification.tracks import check_kinds

KINDS = {"bbox": "box", "segm": "mask"}  # COCO's name -> ours
FIGURES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")  # as `metrics.coco.NAMES`


def objects_again(
    record: RunRecord, predictions: Path, truth: Path
) -> tuple[dict[str, float | None], list[str]]:
    """Box and mask AP of a record of detection, of the kinds that it has; None over no object."""
    check_kinds(record, (COCO,), (COCO,))
    problems = differs(record.predictions, predictions, "the predictions")
    problems += differs(record.truth, truth, "the annotations")
    records, engine = _results(predictions), find_engine("auto")
    values: dict[str, float | None] = {}
    for kind, ours in KINDS.items():
        if f"{ours}_ap" in record.values:
            content = _truth(truth)
            images, categories = _chosen(record.predictions, content, truth)
            kept = _of_kind(records, kind, content, set(images), predictions)
            try:
                api = truth_of(content, str(truth), engine, masks=kind == "segm")
                found = average_precision(engine, api, kept, kind, images, categories)
            except UserError:
                raise
            except Exception as error:  # the evaluators' own, of annotations that are damaged
                why = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                raise BadDataError(
                    "the annotations cannot be scored against.", file=str(truth), because=why
                ) from None
            stats = [None if math.isnan(x) else 100 * float(x) for x in found.stats]
            values |= {f"{ours}_{name}": one for name, one in zip(FIGURES, stats, strict=True)}
    return values, problems + _coverage(record, _truth(truth), truth)


def _coverage(record: RunRecord, content: dict, truth: Path) -> list[str]:
    images, categories = _chosen(record.predictions, content, truth)
    names = [Path(str(one.get("file_name"))).stem for one in content["images"]]
    every = [one["id"] for one in content["categories"]]
    name = Path(record.truth.path).name
    protocol = object_protocol(record.dataset or "", name, names, categories, every)
    return coverage(record, len(images), [Whole(protocol, frozenset({len(names)}))])


def differs(said: StoredFiles, path: Path, what: str) -> list[str]:
    """A line if a file is not the one that was stored."""
    if not path.is_file():
        raise MissingDataError(f"{what} are no file.", looked_for=str(path))
    if sha256_of(path) != said.sha256:
        return [f"{what} in {path} are not those of the record: its digest is another"]
    return []


def _truth(path: Path) -> dict:
    """An annotation file, with images and categories that have ids."""
    content = read_instances(path, "The annotation file to score against is")
    check_layout(content, str(path))
    return content


def _chosen(said: StoredFiles, content: dict, truth: Path) -> tuple[list[int], list[int]]:
    """Ids of the images and categories that were evaluated, ascending."""
    images = [one["id"] for one in content["images"]]
    categories = [one["id"] for one in content["categories"]]
    try:
        if "images" in said.options:
            images = [images[place] for place in from_ranges(said.options["images"])]
        if "categories" in said.options:
            chosen = from_ranges(said.options["categories"])
            if not set(chosen) <= set(categories):
                raise ValueError("categories")
            categories = chosen
    except (ValueError, IndexError):
        raise BadDataError(
            "the images or categories that the record says were evaluated are not in the "
            "annotations.",
            field="predictions.options",
            annotations=str(truth),
        ) from None
    return sorted(images), sorted(categories)


def _of_kind(
    records: list, kind: str, content: dict, images: set[int], file: Path
) -> list[dict[str, Any]]:
    """Records with boxes alone, or with masks alone: areas are then those of what is scored.

    `BadDataError` tells the first that cannot be scored, by its number from 1.
    """
    part = "bbox" if kind == "bbox" else "segmentation"
    sizes = {one["id"]: (one.get("height"), one.get("width")) for one in content["images"]}
    categories = {one["id"] for one in content["categories"]}
    kept = []
    for number, one in enumerate(records, start=1):
        why = _problem(one, part, images, categories, sizes)
        if why:
            raise BadDataError(
                "a result cannot be scored.", file=str(file), result=str(number), because=why
            )
        score = one.get("mask_score", one["score"]) if kind == "segm" else one["score"]
        kept.append(
            {
                "image_id": one["image_id"],
                "category_id": one["category_id"],
                part: one[part],
                "score": score,
            }
        )
    return kept


def _problem(
    one: Any, part: str, images: set[int], categories: set[int], sizes: Mapping[int, tuple]
) -> str:
    """What is wrong with a result; "" for nothing."""
    if not isinstance(one, dict) or not {"image_id", "category_id", "score", part} <= set(one):
        return f"it has no image_id, category_id, score or {part}"
    if type(one["image_id"]) is not int or one["image_id"] not in images:
        return f"image_id {shown(one['image_id'])} is of no image that was evaluated"
    if type(one["category_id"]) is not int or one["category_id"] not in categories:
        return f"category_id {shown(one['category_id'])} is no category of the annotations"
    for key in ("score", "mask_score"):
        if key in one and not is_finite(one[key]):
            return f"{key} {shown(one[key])} is no finite number"
    if part == "bbox":
        box = one["bbox"]
        if not isinstance(box, list) or len(box) != 4 or not all(map(is_finite, box)):
            return f"bbox {shown(box)} is not x, y, width, height"
        return ""
    mask = one["segmentation"]
    if not isinstance(mask, dict) or not isinstance(mask.get("counts"), str):
        return f"segmentation {shown(mask)} is no packed run lengths"
    why = mask_problem(mask, *sizes[one["image_id"]])
    return f"segmentation: {why}" if why else ""


def _results(path: Path) -> list:
    try:
        found = json.loads(path.read_bytes())
    except (RecursionError, ValueError) as error:
        raise BadDataError(
            "results cannot be read as JSON.", file=str(path), because=str(error)
        ) from None
    if not isinstance(found, list):
        raise BadDataError("results in COCO's format are a list.", file=str(path))
    return found
