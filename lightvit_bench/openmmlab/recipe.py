"""How a model came to be: from its config, and from what its checkpoint says of the training.

Configs are plain dictionaries here (`Config.to_dict`).

A checkpoint of mmengine's holds the config that it was trained with as text, options of the command
line included; it is read here without running it.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightvit_bench.bench.parts import Recipe
from lightvit_bench.checkpoint import read_manifest
from lightvit_bench.errors import UserError

# Not part of what makes two runs comparable, or what they differ in as runs of one set.
_OF_A_RUN = ("work_dir", "load_from", "resume", "launcher", "experiment_name", "log_level")
_RECIPES = {
    "mae": "MAE",
    "dmae": "D-MAE",
    "d2mae": "D2-MAE",
    "tinymim": "TinyMIM",
    "mocov3": "MoCo v3",
    "deit": "supervised (DeiT)",
    "finetuned": "fine-tuned with labels",
}
_SEG_HEADS = {"FPNHead": "Semantic FPN", "UPerHead": "UPerNet", "FCNHead": "FCN"}
_DETECTORS = {"MaskRCNN": "Mask R-CNN", "RetinaNet": "RetinaNet", "RTMDet": "RTMDet"}


def config_sha256(cfg: Mapping, trained: Mapping | None = None) -> str:
    """SHA-256 of a config as it was used, with its bases and options.

    Of JSON with sorted keys, {"test": ..., "train": ...}: the config of the test, and the one that
    the checkpoint was trained with, or null. `work_dir`, `load_from`, `resume`, `launcher`,
    `experiment_name`, `log_level` and `randomness.seed` are left out, so that runs of one set,
    which differ in their seeds and folders, have one digest. Paths of data and of the encoder to
    start from are part of it.
    """
    parts = {"test": _plain(cfg), "train": None if trained is None else _plain(trained)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _plain(cfg: Mapping) -> dict:
    kept = {str(key): value for key, value in cfg.items() if key not in _OF_A_RUN}
    if isinstance(kept.get("randomness"), Mapping):
        kept["randomness"] = {k: v for k, v in kept["randomness"].items() if k != "seed"}
    return _jsonable(kept)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(held) for held in value]
    return value


def trained_config(meta: Mapping) -> dict | None:
    """The config in a checkpoint's `meta`, from its text; nothing of it is run.

    None where there is none, or it holds more than names, `dict(...)`, lists and constants.
    """
    text = meta.get("cfg")
    if not isinstance(text, str):
        return None
    try:
        found = {}
        for node in ast.parse(text).body:
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
                return None
            found[node.targets[0].id] = _literal(node.value)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return found or None


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id != "dict" or node.args:
            raise ValueError("a call")
        found: dict = {}
        for keyword in node.keywords:
            value = _literal(keyword.value)
            found.update(value if keyword.arg is None else {keyword.arg: value})
        return found
    if isinstance(node, ast.Dict):
        keys = [_literal(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_literal, node.values), strict=True))
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(one) for one in node.elts]
    return ast.literal_eval(node)


def recipe_of(cfg: Mapping, trained: Mapping | None, done: int | None) -> Recipe:
    """The recipe of a config, as trained where its checkpoint tells, else as the config has it.

    Args:
        done: iterations of the training that the checkpoint is of, if that is known.
    """
    how = trained or cfg
    return Recipe(
        **_pretraining(_at(how, "model", "backbone", "init")),
        head=_head(cfg),
        schedule=_schedule(how, done),
        crop=_crop(how),
        test_mode=_test_mode(cfg),
    )


def _pretraining(init: Any) -> dict[str, Any]:
    """ "none" of random weights; of an encoder's file what its manifest says; else nothing."""
    if init == "random":
        return {"pretraining": "none"}
    if not isinstance(init, str) or not Path(init).is_file():
        return {}
    try:
        manifest = read_manifest(init)
    except UserError:
        return {}
    name = manifest.recipe
    found = _RECIPES.get(name) or _RECIPES.get(name.removesuffix("_finetuned"), name)
    fine = "with labels" if name.endswith("_finetuned") else None
    return {"pretraining": found, "pretraining_epochs": manifest.epochs, "fine_tuning": fine}


def _head(cfg: Mapping) -> str | None:
    model = cfg["model"]
    if _tracks(cfg):
        network = model.get("network") or {}
        head, width = network.get("head", "conv"), network.get("head_channels")
        return f"{head} head" + (f" of {width} channels" if width else "")
    if _detects(cfg):
        kind = str(model.get("type"))
        pyramid = _at(model, "neck", "type") == "SimpleFeaturePyramid"
        return _DETECTORS.get(kind, kind) + (" (ViTDet)" if pyramid else "")
    kind = _at(model, "decode_head", "type")
    return _SEG_HEADS.get(kind, kind)


def _schedule(cfg: Mapping, done: int | None) -> str | None:
    """160k iterations, batch 16, LinearLR to 1500, PolyLR to 160000; the batch of one process."""
    train = cfg.get("train_cfg") or {}
    iterations, epochs = train.get("max_iters"), train.get("max_epochs")
    parts = [f"{_short(iterations)} iterations" if iterations else f"{epochs} epochs"]
    if not (iterations or epochs):
        return None
    if done and iterations and done != iterations:
        parts[0] = f"{_short(done)} of {parts[0]}"
    batch = _at(cfg, "train_dataloader", "batch_size")
    parts += [f"batch {batch}"] * bool(batch)
    schedulers = cfg.get("param_scheduler") or []
    for one in [schedulers] if isinstance(schedulers, Mapping) else schedulers:
        ends = one.get("milestones") or [one["end"]] * ("end" in one)
        parts.append(f"{one['type']}" + (f" to {', '.join(map(str, ends))}" if ends else ""))
    return ", ".join(parts)


def _short(count: int) -> str:
    return f"{count // 1000}k" if count >= 1000 and count % 1000 == 0 else f"{count:,}"


def _crop(cfg: Mapping) -> str | None:
    """What the network sees in training."""
    dataset = _at(cfg, "train_dataloader", "dataset") or {}
    if _tracks(cfg):
        network = cfg["model"].get("network") or {}
        sides = [network.get(key) for key in ("template_size", "search_size")]
        return f"{sides[0]} template, {sides[1]} search" if all(sides) else None
    for step in dataset.get("pipeline") or ():
        if step.get("crop_size"):
            return _size(step["crop_size"])
    return None


def tested_size(cfg: Mapping) -> tuple[int, int] | None:
    """Height and width that the network computes on in a test, for its MACs; None if unknown."""
    if _detects(cfg):
        side = _at(cfg, "model", "data_preprocessor", "pad_size_divisor")
        scale = _scale(cfg)
        if side and side > 32:
            return side, side
        return (scale[1], scale[0]) if scale else None
    crop = _at(cfg, "model", "test_cfg", "crop_size")
    crop = crop or _at(cfg, "model", "data_preprocessor", "size")
    return (int(crop[0]), int(crop[1])) if crop else None


def _test_mode(cfg: Mapping) -> str | None:
    if _tracks(cfg):
        return None
    if _detects(cfg):
        scale = _scale(cfg)
        return "single scale" + (f", within {_size(scale)}" if scale else "")
    test = cfg["model"].get("test_cfg") or {}
    if test.get("mode") == "slide":
        return f"single scale, windows of {_size(test['crop_size'])}"
    return "single scale, whole image" if test.get("mode") == "whole" else None


def _scale(cfg: Mapping) -> tuple[int, int] | None:
    """Of the test pipeline's Resize: width, height."""
    for step in _at(cfg, "test_dataloader", "dataset", "pipeline") or ():
        scale = step.get("scale")
        if "Resize" in str(step.get("type")) and isinstance(scale, list | tuple):
            return tuple(scale)
    return None


def _size(sides: Any) -> str:
    height, width = sides if isinstance(sides, list | tuple) else (sides, sides)
    return f"{height} x {width}"


def _tracks(cfg: Mapping) -> bool:
    return _at(cfg, "model", "type") == "Tracking"


def _detects(cfg: Mapping) -> bool:
    return cfg.get("default_scope") == "mmdet"


def _at(section: Any, *keys: str) -> Any:
    for key in keys:
        section = section.get(key) if isinstance(section, Mapping) else None
    return section
