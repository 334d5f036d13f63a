"""OpenMMLab's model index: a `metafile.yml` beside the configs, from the configs and the rows.

Every config that a person runs is a model. A model has results where a row names its config, and
each says who measured it: `Origin`, and `Source` of a published one. Rows of times, demo rows and
incomplete runs are left to the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightvit_bench.bench.provenance import ROOT
from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.leaderboard.config_files import found, read_config
from lightvit_bench.leaderboard.rows import Row
from lightvit_bench.leaderboard.tasks import TASKS

HEADER = "# made by tools/leaderboard.py build; do not edit\n"
FOLDERS = ("ade20k", "camvid", "coco", "lasot", "pretrain")  # of configs/, in this order

_INDEX = "model-index.yml"
_README = "../../README.md"  # from a metafile's folder, as the model index reads it
# Our task and metric -> the model index's task and metric.
_METRICS = {
    ("segmentation", "miou"): ("Semantic Segmentation", "mIoU"),
    ("segmentation", "macc"): ("Semantic Segmentation", "mAcc"),
    ("segmentation", "aacc"): ("Semantic Segmentation", "aAcc"),
    ("detection", "box_ap"): ("Object Detection", "box AP"),
    ("detection", "box_ap50"): ("Object Detection", "box AP50"),
    ("detection", "mask_ap"): ("Instance Segmentation", "mask AP"),
    ("detection", "mask_ap50"): ("Instance Segmentation", "mask AP50"),
    ("tracking", "auc"): ("Single Object Tracking", "Success"),
    ("tracking", "precision"): ("Single Object Tracking", "Precision"),
    ("tracking", "norm_precision"): ("Single Object Tracking", "Normalized Precision"),
    ("tracking", "op50"): ("Single Object Tracking", "OP50"),
    ("tracking", "op75"): ("Single Object Tracking", "OP75"),
    ("tracking-ao", "ao"): ("Single Object Tracking", "AO"),
    ("tracking-ao", "sr50"): ("Single Object Tracking", "SR50"),
    ("tracking-ao", "sr75"): ("Single Object Tracking", "SR75"),
}
_DATA = {
    "ade20k": ["ADE20K"],
    "camvid": ["CamVid"],
    "coco": ["COCO"],
    "lasot": ["LaSOT", "GOT-10k", "COCO", "TrackingNet"],
    "pretrain": ["ImageNet-1K"],
}
_MAE_LITE = {
    "Title": "A Closer Look at Self-Supervised Lightweight Vision Transformers",
    "URL": "https://arxiv.org/abs/2205.14443",
}
_D2MAE = {
    "Title": "An Experimental Study on Exploring Strong Lightweight Vision Transformers via Masked "
    "Image Modeling Pre-Training",
    "URL": "https://arxiv.org/abs/2404.12210",
}
_TINYMIM = {
    "Title": "TinyMIM: An Empirical Study of Distilling MIM Pre-trained Models",
    "URL": "https://arxiv.org/abs/2301.01296",
}
# Part of a config's name -> its collection and the collection's paper; the first that fits.
_COLLECTIONS = (
    ("mast_", "MaST", None),
    ("tinymim", "TinyMIM", _TINYMIM),
    ("d2mae", "D2-MAE", _D2MAE),
    ("hiera", "D2-MAE", _D2MAE),
    ("tiny", "MAE-Lite", _MAE_LITE),
    ("small", "MAE-Lite", _MAE_LITE),
    ("mae_base", "MAE-Lite", _MAE_LITE),
    ("", "timm", None),
)
_ARCHITECTURES = (
    ("fpn_", "Semantic FPN"),
    ("upernet_", "UPerNet"),
    ("mask_rcnn_", "Mask R-CNN"),
    ("retinanet_", "RetinaNet"),
    ("rtmdet_", "RTMDet"),
    ("ostrack_", "OSTrack"),
    ("mast_", "MaST"),
)


def metafiles(rows: Iterable[Row], root: Path = ROOT) -> dict[str, str]:
    """The texts of all metafiles and of `model-index.yml`, by path below the project's folder.

    Args:
        rows: published and measured ones, in any order.
        root: the project's folder, which holds `configs`.

    Raises:
        MissingDataError: there are no configs below `root`.
        BadDataError: a published row names a config that is not there (one of a record may be
            gone since), or scores have no name in the index.
    """
    named: dict[str, list[Row]] = {}
    for row in rows:
        if row.config and row.origin != "demo" and (row.task, TASKS[row.task].main.key) in _METRICS:
            named.setdefault(row.config, []).append(row)
            if row.origin == "published" and not (root / row.config).is_file():
                do = "name one that is there, or none."
                raise BadDataError("no such config.", row=row.key, config=row.config, do=do)
    texts = {}
    for folder in FOLDERS:
        paths = sorted((root / "configs" / folder).glob("*.py"))
        if not paths:
            where = str(root / "configs" / folder)
            raise MissingDataError("no configs.", looked_for=where, do="name the project's folder.")
        text = _text(_metafile(folder, paths, named))
        texts[f"configs/{folder}/metafile.yml"] = text
    texts[_INDEX] = _text({"Import": list(texts)})
    return texts


def _metafile(folder: str, paths: Sequence[Path], named: dict[str, list[Row]]) -> dict[str, Any]:
    collections: dict[str, dict[str, Any]] = {}
    models = []
    for path in paths:
        name, paper = next((n, p) for part, n, p in _COLLECTIONS if part in path.stem)
        name = f"{name}_{folder}"  # two metafiles have no collection in common
        data = {"Training Data": ", ".join(_DATA[folder])}
        collection = {"Name": name, "Metadata": data, "Paper": paper, "README": _README}
        collections[name] = {key: value for key, value in collection.items() if value}
        config = f"configs/{folder}/{path.name}"
        models.append(_model(folder, name, config, path, named.get(config, [])))
    return {"Collections": [collections[name] for name in sorted(collections)], "Models": models}


def _model(
    folder: str, collection: str, config: str, path: Path, rows: Sequence[Row]
) -> dict[str, Any]:
    rows = sorted((row for row in rows if row.complete), key=lambda row: (row.origin, row.key))
    results = [one for row in rows for one in _results(row)]
    model = {
        "Name": f"{path.stem}_{folder}",  # upernet_dmae_tiny is there twice
        "In Collection": collection,
        "Config": config,
        "Metadata": _metadata(folder, path, rows),
    }
    return model | ({"Results": results} if results else {})


def _metadata(folder: str, path: Path, rows: Sequence[Row]) -> dict[str, Any]:
    """What the config says of its training, and the size if a row has it, a measured one first."""
    config = read_config(path)
    heads = [head for part, head in _ARCHITECTURES if path.stem.startswith(part)]
    encoder = found(config, "model", "backbone", "preset") or found(
        config, "model", "backbone", "name"
    )
    said: dict[str, Any] = {
        "Training Data": ", ".join(_DATA[folder]),
        "Architecture": [*([encoder] if encoder else []), *heads],
        "Epochs": found(config, "train_cfg", "max_epochs"),
        "Iterations": found(config, "train_cfg", "max_iters"),
        "Batch Size": found(config, "auto_scale_lr", "base_batch_size"),
    }
    for name, key in (("Parameters", "parameters"), ("Backbone Parameters", "backbone_parameters")):
        said[name] = next((n for row in rows if (n := getattr(row.size, key))), None)
    return {name: value for name, value in said.items() if value}


def _results(row: Row) -> list[dict[str, Any]]:
    """The index's results of a row: a detector's boxes and masks are two."""
    results: dict[str, dict[str, Any]] = {}
    for key, score in row.scores.items():
        if (row.task, key) not in _METRICS:
            raise BadDataError(
                "a metric without a name in the model index.", row=row.key, field=key
            )
        task, metric = _METRICS[row.task, key]
        result = results.setdefault(task, {"Task": task, "Dataset": row.dataset, "Metrics": {}})
        result["Metrics"][metric] = _rounded(score.mean)
        if score.std is not None:
            result.setdefault("Standard Deviation", {})[metric] = _rounded(score.std)
            result["Runs"] = score.runs
    says = {"Split": row.split, "Protocol": row.protocol, "Origin": row.origin}
    # a run may have been shorter than its config, or started elsewhere
    says |= {"Schedule": row.recipe.schedule, "Remarks": list(row.remarks)}
    says |= {"Source": row.source, "URL": row.url, "Row": row.key}
    says = {name: value for name, value in says.items() if value}
    return [result | says for result in results.values()]


def _rounded(value: float) -> float:
    return round(value, 4)


def _text(values: dict[str, Any]) -> str:
    text = yaml.dump(
        values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=96, line_break="\n"
    )
    return HEADER + text


class _Dumper(yaml.SafeDumper):
    """Writes what stands twice twice: no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
