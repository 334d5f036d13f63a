"""COCO's average precision of boxes and masks, by pycocotools or by faster-coco-eval."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import METRICS

from lightvit_bench.data.coco_check import read_instances
from lightvit_bench.data.roots import resolve_root
from lightvit_bench.detection.heads_check import check_heads
from lightvit_bench.errors import BadDataError, ConfigError, near_matches
from lightvit_bench.metrics.coco import NAMES, Engine, average_precision, find_engine, truth_of
from lightvit_bench.writing import whole_file

with warnings.catch_warnings():
    # mmdet says so of another metric than the one used here, at every import of any.
    warnings.filterwarnings("ignore", message="faster_coco_eval is not installed")
    from mmdet.evaluation.metrics import CocoMetric

KINDS = ("bbox", "segm")
RESULTS = "results.json"


@dataclass(frozen=True)
class Told:
    """What an evaluation was over: ids of images and of categories, as the annotation file's."""

    image_ids: tuple[int, ...]
    category_ids: tuple[int, ...]


@METRICS.register_module()
class CocoAP(CocoMetric):
    """mmdet's CocoMetric in percent, over the images evaluated, with either of two engines.

    Names are mmdet's: `coco/bbox_mAP`, `coco/bbox_mAP_50`, ..., `coco/segm_mAP_l`. Values are in
    percent points, as papers write them and as mIoU is printed: 42.3, where mmdet gives 0.423; and
    they are not rounded. An average over no object (no small ones, say) is nan. A model that finds
    nothing has 0. As COCO's rules have it, the 100 best objects of an image count, in all of them;
    mmdet takes 1,000 for all but `mAP`. Annotations are told by their place in the file, not by
    their id, which pycocotools takes for "no match" where it is 0.

    Categories are those of the annotation file with the names of the data set's classes, whatever
    their order. The images evaluated must be as many as the data set has; where the annotation file
    has more (a part of it is tested, a corrupt image was skipped), the log says so. Of a file
    without annotations, as COCO's lists of test images are, there is no metric: what is found is
    written to `out`, without which `ConfigError` is raised.

    Args:
        ann_file: COCO's annotation file; in a config `complete_evaluators` fills it in.
        metric: "bbox", "segm" or both.
        engine: "faster" (faster-coco-eval), "pycocotools", or "auto": the first where it is
            installed. Both give the same values; the log says which one it was.
        out: where the objects found are written to in COCO's results format, whole or not at all: a
            file (*.json), or a folder that gets `results.json`. A record has image_id, category_id,
            bbox (x, y, width, height), score, and segmentation (compressed run lengths) of a model
            with masks (mask_score, too, where masks are scored apart). pycocotools' `loadRes` takes
            it. Areas it takes from bbox where there is one, so that masks count as small, medium or
            large by their boxes; drop bbox from the records for the areas of the masks, as is done
            here (and in mmdet).
        classwise: log each class's average precision, too.

    Attributes:
        told: what the last evaluation was over; of a distributed run on the first process.
    """

    def __init__(
        self,
        ann_file: str | None = None,
        metric: str | Sequence[str] = KINDS,
        engine: str = "auto",
        out: str | None = None,
        classwise: bool = False,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ):
        kinds = [metric] if isinstance(metric, str) else list(metric)
        for kind in kinds:
            if kind not in KINDS:
                raise ConfigError(
                    f"CocoAP: there is no metric {kind!r}.", there_is=", ".join(KINDS)
                )
        super().__init__(
            metric=kinds, classwise=classwise, collect_device=collect_device, prefix=prefix
        )
        self.engine = find_engine(engine)
        self.out = out_file(out) if out else None
        if not ann_file:
            raise ConfigError("CocoAP needs the annotation file.", set="test_evaluator.ann_file")
        self.ann_file = Path(ann_file)
        self._coco_api = read_truth(self.ann_file, self.engine, masks="segm" in kinds)
        if not (self.out or self._coco_api.anns):
            raise ConfigError(
                f"{self.ann_file} has no annotations: there is nothing to score against.",
                to_write="what is found, give tools/test.py --out results.json",
                or_set="ann_file of the data set to a file with annotations",
            )
        self._expected: int | None = None
        self.told: Told | None = None

    def evaluate(self, size: int) -> dict[str, float]:
        """The metrics, after all processes have seen their share of a data set of `size` images."""
        self._expected = size
        return super().evaluate(size)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Percent points by name, of (truth, found) pairs as mmdet's `process` makes them."""
        found: dict[int, dict] = {}
        for _, one in results:  # a distributed run repeats images to give all processes as many
            found.setdefault(one["img_id"], one)
        self._check_images(set(found))
        self._check_results(found.values())
        category_ids = self._category_ids()
        self.told = Told(tuple(sorted(found)), tuple(sorted(category_ids)))
        if self.out:
            count = write_results(self.out, self._records(found.values(), category_ids, KINDS))
            print_log(f"{count:,} objects found are written to {self.out}", logger="current")
        if not self._coco_api.anns:
            print_log(f"no AP: {self.ann_file} has no annotations", logger="current")
            return {}
        values: dict[str, float] = {}
        for kind in self.metrics:
            records = list(self._records(found.values(), category_ids, (kind,)))
            print_log(
                f"{kind} AP by {self.engine.title}: {len(found):,} images, "
                f"{len(records):,} objects found",
                logger="current",
            )
            part = average_precision(
                self.engine, self._coco_api, records, kind, sorted(found), sorted(category_ids)
            )
            print_log("\n" + part.table, logger="current")
            if self.classwise:
                by_id = dict(zip(sorted(category_ids), part.by_category, strict=True))
                names = zip(self.dataset_meta["classes"], category_ids, strict=True)
                lines = [f"{100 * by_id[one]:6.1f}  {name}" for name, one in names]
                print_log(f"{kind} AP by class\n" + "\n".join(lines), logger="current")
            values |= {f"{kind}_{name}": 100 * x for name, x in zip(NAMES, part.stats, strict=True)}
        return values

    def _check_images(self, evaluated: set[int]) -> None:
        """`BadDataError` if images are missing; a line in the log if only the file has more."""
        known = set(self._coco_api.imgs)
        if evaluated - known:
            raise BadDataError(
                f"{self.ann_file} does not have {len(evaluated - known)} of the {len(evaluated)} "
                f"images evaluated; the first is of id {min(evaluated - known)}.",
                set="the evaluator's ann_file to the data set's",
            )
        if self._expected is not None and len(evaluated) < self._expected:
            raise BadDataError(
                f"{len(evaluated):,} of the data set's {self._expected:,} images were evaluated.",
                either="the sampler leaves some out: sampler=dict(type='DefaultSampler')",
                or_="images share an id in the annotation file",
            )
        if len(evaluated) < len(known):
            print_log(
                f"AP is over the {len(evaluated):,} images evaluated; {self.ann_file} has "
                f"{len(known):,}",
                logger="current",
                level=logging.WARNING,
            )

    def _check_results(self, found: Iterable[dict]) -> None:
        """`ConfigError` for what cannot be scored: masks of a model without, a foreign class."""
        count = len(self.dataset_meta["classes"])
        for one in found:
            if "segm" in self.metrics and "masks" not in one:
                raise ConfigError(
                    "CocoAP: the model gives no masks.", set="metric='bbox' in the evaluators"
                )
            if len(one["labels"]) and one["labels"].max() >= count:
                raise ConfigError(
                    f"the model finds class number {one['labels'].max()}, and the data set has "
                    f"{count} classes.",
                    set="num_classes of the model's heads",
                )
            if not (np.isfinite(one["bboxes"]).all() and np.isfinite(one["scores"]).all()):
                raise BadDataError(
                    f"boxes or scores found in the image of id {one['img_id']} are not numbers: "
                    "look at the losses of the training."
                )

    def _category_ids(self) -> list[int]:
        """The category id of each class, found by its name; `BadDataError` if there is none."""
        by_name = {one["name"]: one["id"] for one in self._coco_api.dataset["categories"]}
        classes = self.dataset_meta["classes"]
        lacking = [name for name in classes if name not in by_name]
        if lacking:
            raise BadDataError(
                f"{self.ann_file} has no category {lacking[0]!r}"
                + (
                    f" (nor {len(lacking) - 1} other classes of the data set)." * (len(lacking) > 1)
                    or "."
                ),
                near=", ".join(near_matches(lacking[0], by_name)[:5]),
            )
        return [by_name[name] for name in classes]

    def _records(
        self, found: Iterable[dict], category_ids: Sequence[int], kinds: Sequence[str]
    ) -> Iterator[dict]:
        """Records in COCO's results format: with boxes, masks, or both where the model has them."""
        for one in found:
            masks = one.get("masks") if "segm" in kinds else None
            scores = one["scores"]
            mask_scores = one.get("mask_scores")  # of a Mask Scoring R-CNN
            if kinds == ("segm",) and mask_scores is not None:
                scores, mask_scores = mask_scores, None
            for i, label in enumerate(one["labels"]):
                record = dict(image_id=one["img_id"], category_id=category_ids[label])
                if "bbox" in kinds:
                    record["bbox"] = self.xyxy2xywh(one["bboxes"][i])
                record["score"] = float(scores[i])
                if mask_scores is not None:
                    record["mask_score"] = float(mask_scores[i])
                if masks is not None:
                    counts = masks[i]["counts"]
                    counts = counts.decode() if isinstance(counts, bytes) else counts
                    size = [int(side) for side in masks[i]["size"]]
                    record["segmentation"] = dict(size=size, counts=counts)
                yield record


# ---- files -----------------------------------------------------------------------------------


def read_truth(path: Path, engine: Engine, masks: bool):
    """An annotation file as the engine's own object. With `masks` every object must have one.

    Raises:
        MissingDataError: there is no such file.
        BadDataError: it is not JSON, not of COCO's layout, or lacks a mask.
    """
    content = read_instances(path, "The annotation file to score against is")
    return truth_of(content, str(path), engine, masks)


def out_file(out: str) -> Path:
    """The file that `--out` names, its folder made: a path that ends in .json, or DIR/results.json.

    `ConfigError` if it cannot be one; told before a long test, not after.
    """
    path = Path(out)
    if path.suffix != ".json":
        path = path / RESULTS
    if path.is_dir() or (path.parent.exists() and not path.parent.is_dir()):
        wrong = path if path.is_dir() else path.parent
        raise ConfigError(f"--out {out}: {wrong} is {'a folder' if wrong == path else 'a file'}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_results(path: Path, records: Iterable[dict]) -> int:
    """Write records in COCO's results format, whole or not at all; returns how many."""
    count = 0
    with whole_file(path) as aside, aside.open("w", encoding="utf-8") as file:
        file.write("[")
        for count, record in enumerate(records, start=1):  # noqa: B007
            file.write(",\n" * (count > 1) + json.dumps(record))
        file.write("]\n")
    return count


def complete_evaluators(cfg: Config) -> None:
    """Give each `CocoAP` of a config the annotation file of the data set it is used on.

    What the config names itself stays. Called after `--cfg-options`, it follows `data_root=`.
    Before that the heads' classes are compared with the data sets' (`check_heads`).
    """
    if cfg.get("model"):
        check_heads(cfg)
    for split in ("val", "test"):
        evaluator, loader = cfg.get(f"{split}_evaluator"), cfg.get(f"{split}_dataloader")
        if not evaluator or not loader:
            continue
        for metric in [evaluator] if isinstance(evaluator, Mapping) else evaluator:
            if metric.get("type") == "CocoAP" and not metric.get("ann_file"):
                metric["ann_file"] = _annotation_file(loader["dataset"], split)


def _annotation_file(dataset: Mapping, split: str) -> str:
    if not dataset.get("ann_file"):
        raise ConfigError(
            f"{split}_evaluator: there is no telling which annotation file, for "
            f"{split}_dataloader.dataset has no ann_file.",
            set=f"{split}_evaluator.ann_file",
        )
    return str(resolve_root(dataset.get("data_root") or "") / dataset["ann_file"])
