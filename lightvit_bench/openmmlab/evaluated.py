"""What a test of a segmentor or a detector was over, and what it scores, for its run record."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

from lightvit_bench.bench.parts import StoredFiles
from lightvit_bench.bench.provenance import shown_path
from lightvit_bench.data.roots import resolve_root
from lightvit_bench.errors import ConfigError
from lightvit_bench.verification.keeping import (
    as_ranges,
    stored_coco,
    stored_labels,
    stored_masks,
)
from lightvit_bench.verification.protocols import (
    Labels,
    names_sha256,
    object_protocol,
    picture_protocol,
)

if TYPE_CHECKING:
    from mmengine.runner import Runner

_DEMO = "demo.json"  # what generated data has at its root


@dataclass(frozen=True)
class Evaluated:
    """A finished test.

    Attributes:
        task: "segmentation" or "detection".
        values: in percent, by the leaderboard's keys.
        demo: whether the data is generated.
        expected, evaluated: images of the whole data set, and those that were scored.
    """

    task: str
    values: dict[str, float | None]
    dataset: str
    split: str
    protocol: str
    demo: bool
    expected: int
    evaluated: int
    predictions: StoredFiles | None
    truth: StoredFiles | None
    remarks: tuple[str, ...] = ()


def watch(cfg: Config, detection: bool) -> None:
    """Have the evaluator of a segmentor's config keep unrounded figures.

    `ConfigError` if none of its evaluators gives a score that can be recorded.
    """
    evaluators = cfg.get("test_evaluator") or ()
    every = evaluators if isinstance(evaluators, list | tuple) else [evaluators]
    wanted = "CocoAP" if detection else "IoUMetric"
    chosen = [one for one in every if one.get("type") in (wanted, "ExactIoU")]
    if not chosen:
        raise ConfigError(
            "--record: the config has no evaluator whose score is known.",
            has=f"test_evaluator.type={wanted}",
        )
    if not detection:
        import lightvit_bench.segmentation.metric  # noqa: F401  (registers it)

        chosen[0]["type"] = "ExactIoU"


def evaluator_of(runner: Runner, detection: bool) -> Any:
    """The metric of a runner that tests; `ConfigError` if it has no truth to score against."""
    if detection:
        from lightvit_bench.detection.metric import CocoAP as kind
    else:
        from lightvit_bench.segmentation.metric import ExactIoU as kind
    metric = next(one for one in runner.test_loop.evaluator.metrics if isinstance(one, kind))
    if detection and not metric._coco_api.anns or not detection and metric.format_only:
        raise ConfigError(
            "--record: there is no truth to score against, so there is no score to record.",
            do="leave --record out",
        )
    return metric


def evaluated_pictures(
    runner: Runner, cfg: Mapping, metrics: Mapping[str, float], out: str | None
) -> Evaluated:
    """Of a segmentor's test; `out` is the folder of its predictions, if they were kept."""
    metric, dataset = evaluator_of(runner, detection=False), runner.test_loop.dataloader.dataset
    samples = [dataset.get_data_info(number) for number in range(len(dataset))]
    names = [Path(one["img_path"]).stem for one in samples]
    whole = _pair_names(dataset) or names
    split = Path(samples[0]["img_path"]).parent.name
    title = _title(dataset)
    predictions = truth = None
    remarks: tuple[str, ...] = ()
    section = cfg["test_dataloader"]["dataset"]
    classes = list(dataset.metainfo["classes"])
    first, ignore = int(bool(samples[0].get("reduce_zero_label"))), int(metric.ignore_index)
    labels = Labels(len(classes), names_sha256(classes), first, ignore)
    if out is not None and not hasattr(dataset, "seg_map_suffix"):
        remarks = ("predictions on several data sets at once cannot be verified",)
    elif out is not None and len(set(names)) < len(names):
        remarks = ("predictions of images that share a name have overwritten one another",)
    elif out is not None and samples[0].get("label_map"):
        remarks = ("predictions of chosen classes cannot be verified: masks have other values",)
    elif out is not None:
        how = dict(first=first, ignore=ignore)
        predictions = stored_labels(
            out, names, classes=labels.classes, class_digest=labels.digest, **how
        )
        masks = {n: Path(one["seg_map_path"]) for n, one in zip(names, samples, strict=True)}
        folder = Path(dataset.data_prefix["seg_map_path"])
        shown = _as_given(folder, section.get("data_root"))
        suffix, ending = dataset.seg_map_suffix, dataset.img_suffix.rpartition(".")[0]
        truth = stored_masks(masks, shown, **how, suffix=suffix, ending=ending)
    protocol, shown_split = picture_protocol(title, split, whole, labels)
    exact = metric.exact
    return Evaluated(
        task="segmentation",
        values={"miou": exact.miou, "macc": exact.macc, "aacc": exact.aacc},
        dataset=title,
        split=shown_split,
        protocol=protocol,
        demo=_is_demo(dataset, section),
        expected=max(len(whole), metric.evaluated),
        evaluated=metric.evaluated,
        predictions=predictions,
        truth=truth,
        remarks=remarks,
    )


def evaluated_objects(
    runner: Runner, cfg: Mapping, metrics: Mapping[str, float], out: str | None
) -> Evaluated:
    """Of a detector's test; `out` as tools/test.py got it: the results file, or its folder."""
    from lightvit_bench.detection.metric import NAMES
    from lightvit_bench.verification.objects import FIGURES, KINDS

    metric, dataset = evaluator_of(runner, detection=True), runner.test_loop.dataloader.dataset
    images = metric._coco_api.dataset["images"]
    names = [Path(one["file_name"]).stem for one in images]
    values: dict[str, float | None] = {}
    for kind in metric.metrics:
        found = [metrics[f"{metric.prefix}/{kind}_{name}"] for name in NAMES]
        figures = [None if math.isnan(x) else float(x) for x in found]
        values |= {f"{KINDS[kind]}_{n}": x for n, x in zip(FIGURES, figures, strict=True)}
    every = [one["id"] for one in metric._coco_api.dataset["categories"]]
    section, title = cfg["test_dataloader"]["dataset"], _title(dataset)
    split = _coco_split(metric.ann_file)
    predictions = truth = None
    if out is not None:
        options = {}
        evaluated = set(metric.told.image_ids)
        if len(evaluated) < len(images):
            places = [i for i, one in enumerate(images) if one["id"] in evaluated]
            options["images"] = as_ranges(places)
        if set(every) != set(metric.told.category_ids):
            options["categories"] = as_ranges(metric.told.category_ids)
        predictions = stored_coco(metric.out, metric.out, **options)
        truth = stored_coco(metric.ann_file, _as_given(metric.ann_file, section.get("data_root")))
    scored = metric.told.category_ids
    return Evaluated(
        task="detection",
        values=values,
        dataset=title,
        split=split,
        protocol=object_protocol(title, metric.ann_file.name, names, scored, every),
        demo=_is_demo(dataset, section),
        expected=len(images),
        evaluated=len(metric.told.image_ids),
        predictions=predictions,
        truth=truth,
    )


def _pair_names(dataset: Any) -> list[str]:
    """Names of all images of a set, those that were skipped or that `indices` leaves out too."""
    from lightvit_bench.data.seg_folder import find_pairs
    from lightvit_bench.segmentation.datasets import CheckedSegmentation

    if not isinstance(dataset, CheckedSegmentation):
        return []
    folders = (Path(dataset.data_prefix[key]).absolute() for key in ("img_path", "seg_map_path"))
    pairs = find_pairs(
        dataset.data_root,
        *folders,
        image_suffix=dataset.img_suffix,
        mask_suffix=dataset.seg_map_suffix,
        dataset_name=dataset.name,
    )
    return [Path(pair.image).stem for pair in pairs]


def _title(dataset: Any) -> str:
    """A data set's name for people: "ADE20K", "COCO"."""
    kind = type(dataset).__name__
    return {"DemoADE": "demo pictures", "DemoCOCO": "demo pictures"}.get(kind, kind)


def _coco_split(file: Path) -> str:
    return file.stem.removeprefix("instances_")


def _is_demo(dataset: Any, section: Mapping) -> bool:
    """Generated: by the data set's class, or by the file that says so at its root."""
    root = section.get("data_root")
    made = bool(root) and (resolve_root(root) / _DEMO).is_file()
    return type(dataset).__name__.startswith("Demo") or made


def _as_given(path: Path, root: str | None) -> str:
    """A path below a data set's root as the config names that root (`data/...`), not resolved."""
    if root:
        base, resolved = Path(root), resolve_root(root)
        for one, place in ((path, resolved), (path.absolute(), resolved.absolute())):
            if one.is_relative_to(place):
                return shown_path(os.path.normpath(base / one.relative_to(place)))
    return shown_path(path)
