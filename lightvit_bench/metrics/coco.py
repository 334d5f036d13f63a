"""COCO's average precision by pycocotools or by faster-coco-eval, of what JSON files hold."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from typing import Any

import numpy as np

from lightvit_bench.errors import BadDataError, ConfigError

NAMES = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")  # COCO's first six, as mmdet's
ENGINES = ("auto", "pycocotools", "faster")


@dataclass(frozen=True)
class Engine:
    """What computes: `truth` is its class of annotation files, `evaluation` of evaluations."""

    title: str
    truth: type
    evaluation: Callable


def find_engine(name: str) -> Engine:
    """One of `ENGINES`; `ConfigError` for another, or one that is not installed."""
    if name not in ENGINES:
        raise ConfigError(f"CocoAP: there is no engine {name!r}.", there_is=", ".join(ENGINES))
    if name != "pycocotools":
        try:
            from faster_coco_eval import COCO, COCOeval_faster
        except ImportError as error:
            if name == "faster":
                raise ConfigError(
                    f"engine='faster': {error}.",
                    do="pip install --no-deps faster-coco-eval"
                    "   (also: pip install -e '.[coco-fast]')",
                    or_set="engine='pycocotools'",
                ) from error
        else:
            version = importlib.metadata.version("faster-coco-eval")
            printing = partial(COCOeval_faster, print_function=print)
            return Engine(f"faster-coco-eval {version}", COCO, printing)
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return Engine(f"pycocotools {importlib.metadata.version('pycocotools')}", COCO, COCOeval)


@dataclass(frozen=True, eq=False)
class Precision:
    """Average precisions between 0 and 1, nan over no object.

    stats: of `NAMES`. by_category: `mAP` of each category id, ascending. table: COCO's own.
    """

    stats: np.ndarray
    by_category: np.ndarray
    table: str


def average_precision(
    engine: Engine,
    truth,
    records: list[dict],
    kind: str,
    image_ids: Sequence[int],
    category_ids: Sequence[int],
) -> Precision:
    """Score records (of `kind` alone, and changed here) against what `truth_of` gave."""
    printed = StringIO()
    with redirect_stdout(printed):
        if records:
            found = truth.loadRes(records)
        else:  # which pycocotools' loadRes cannot
            found = engine.truth()
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        evaluation = engine.evaluation(truth, found, kind)
        evaluation.params.imgIds, evaluation.params.catIds = list(image_ids), list(category_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = np.asarray(evaluation.stats[: len(NAMES)], np.float64)
    # (IoU thresholds, recalls, categories, area ranges, most objects); -1: no object
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    by_category = np.where((precision > -1).all((0, 1)), precision.mean((0, 1)), np.nan)
    lines = [line for line in printed.getvalue().splitlines() if line.startswith(" Average Pr")]
    return Precision(np.where(stats > -1, stats, np.nan), by_category, "\n".join(lines))


def is_finite(value: Any) -> bool:
    """Whether what JSON gave is a finite number."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # an int beyond all floats
        return False


def check_layout(content: dict, where: str) -> None:
    """`BadDataError` unless an annotation file has images, categories and objects with ids.

    What is told is the first entry of a list, by its number from 1, that has none.
    """
    lists = ("images", "categories")
    if not all(isinstance(content.get(key), list) for key in lists):
        raise BadDataError(f"{where} is not of COCO's layout: no lists of images and categories.")
    entries = {"images": ("id",), "categories": ("id",), "annotations": ("image_id", "category_id")}
    for key, needed in entries.items():
        held = content.get(key, [])
        if not isinstance(held, list):
            raise BadDataError(f"{where} is not of COCO's layout: its {key} are no list.")
        for number, one in enumerate(held, start=1):
            ids = [one.get(name) for name in needed] if isinstance(one, dict) else [None]
            if not all(type(value) is int and abs(value) < 2**63 for value in ids):
                raise BadDataError(
                    f"{where} is not of COCO's layout: number {number} of its {key} has no whole "
                    f"{' and '.join(needed)}."
                )


def truth_of(content: dict, where: str, engine: Engine, masks: bool):
    """An annotation file's content, changed here, as the engine's own object.

    Args:
        where: names it in errors.
        masks: whether every object must have one.

    Raises:
        BadDataError: it is not of COCO's layout, or lacks a mask.
    """
    check_layout(content, where)
    for number, one in enumerate(content.setdefault("annotations", []), start=1):
        if masks and not one.get("segmentation"):
            raise BadDataError(
                f"{where}: annotation {one.get('id')} has no mask.",
                set="metric='bbox' in the evaluators, to score boxes alone",
            )
        one["id"] = number  # 0 would be taken for "no match"
        one.setdefault("iscrowd", 0)
    truth = engine.truth()
    truth.dataset = content
    with redirect_stdout(StringIO()):
        truth.createIndex()
    return truth
