"""COCO's average precision of a results file against annotations, by `metrics.coco`."""

from __future__ import annotations

import json
import math
from pathlib import Path

from lightvit_bench.bench.parts import StoredFiles
from lightvit_bench.bench.provenance import sha256_of
from lightvit_bench.bench.record import RunRecord
from lightvit_bench.data.coco_check import read_instances
from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.metrics.coco import Engine, average_precision, find_engine, truth_of
from lightvit_bench.verification.keeping import COCO, from_ranges
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
            stats = _stats(record, engine, records, truth, kind)
            values |= {f"{ours}_{name}": one for name, one in zip(FIGURES, stats, strict=True)}
    return values, problems


def differs(said: StoredFiles, path: Path, what: str) -> list[str]:
    """A line if a file is not the one that was stored."""
    if not path.is_file():
        raise MissingDataError(f"{what} are no file.", looked_for=str(path))
    if sha256_of(path) != said.sha256:
        return [f"{what} in {path} are not those of the record: its digest is another"]
    return []


def _stats(
    record: RunRecord, engine: Engine, records: list[dict], truth: Path, kind: str
) -> list[float | None]:
    content = read_instances(truth, "The annotation file to score against is")
    api = truth_of(content, str(truth), engine, masks=kind == "segm")
    images = [one["id"] for one in content["images"]]
    categories = [one["id"] for one in content["categories"]]
    options = record.predictions.options
    try:
        if "images" in options:
            images = [images[place] for place in from_ranges(str(options["images"]))]
        if "categories" in options:
            categories = from_ranges(str(options["categories"]))
    except (ValueError, IndexError):
        raise BadDataError(
            "the images that the record says were evaluated are not in the annotations.",
            annotations=str(truth),
        ) from None
    kept = _of_kind(records, kind, set(images))
    found = average_precision(engine, api, kept, kind, sorted(images), sorted(categories))
    return [None if math.isnan(x) else 100 * float(x) for x in found.stats]


def _of_kind(records: list[dict], kind: str, images: set) -> list[dict]:
    """Records with boxes alone, or with masks alone: areas are then those of what is scored."""
    part = "bbox" if kind == "bbox" else "segmentation"
    kept = []
    for one in records:
        if not isinstance(one, dict) or not {"image_id", "category_id", "score", part} <= set(one):
            raise BadDataError(f"a result has no image_id, category_id, score or {part}.")
        if one["image_id"] not in images:
            raise BadDataError(f"a result is of image {one['image_id']}, which was not evaluated.")
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
