"""Reading configs: names that are found or explained, and the short options of the command line."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from lightvit_bench.errors import ConfigError, near_matches
from lightvit_bench.openmmlab.channels import fit_channels

# Keys whose values are paths.
PATHS = ("init", "teacher", "data_root", "ann_file", "img", "load_from", "work_dir")
SHORT_OPTIONS = ("init", "teacher", "data_root", "skip_corrupt")
# What mmengine's Runner takes beside the sections that every config of ours has.
RUNNER_OPTIONS = (
    "work_dir", "load_from", "resume", "compile", "sync_bn", "find_unused_parameters",
    "experiment_name", "custom_hooks", "model_wrapper_cfg",
)  # fmt: skip


def load_config(path: str | Path, options: Sequence[str] = ()) -> Config:
    """Read a config and apply `--cfg-options`, given as "key=value".

    Beside mmengine's dotted keys four short ones reach every place they belong to: `init` (the
    backbone's initial weights), `teacher` (the file that a pre-training learns from), `data_root`
    and `skip_corrupt` (all data sets). Where the model asks for its backbone's channels they are
    put in (`fit_channels`). The modules of `custom_imports` are imported, and before them those
    that register our classes, which a config's own list need not name.

    Raises:
        ConfigError: the file does not exist (near matches are listed), is not a config, or an
            option names something the config has not; a module of custom_imports cannot be
            imported; timm has no such backbone.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"there is no config {path}.", near=_near_configs(path))
    try:
        cfg = Config.fromfile(path, import_custom_modules=False)
    except Exception as error:  # a config is a program: anything may go wrong in it
        raise ConfigError(f"{path} is not a config: {type(error).__name__}: {error}") from error
    if "backbone" not in cfg.get("model", {}):
        raise ConfigError(f"{path} is not the config of a model: it has no model.backbone.")
    options = _parse_options(options)
    short = {key: options.pop(key) for key in SHORT_OPTIONS if key in options}
    _check_options(cfg, options)
    _apply_short(cfg, short)
    cfg.merge_from_dict(options)
    _import_modules(cfg)
    cfg.setdefault("launcher", "none")
    fit_channels(cfg)
    return cfg


def is_pretraining(cfg: Config) -> bool:
    """Whether a config is one of pre-training, which has no labels, no validation and no test."""
    return cfg.model.get("type") == "Pretraining"


def is_tracking(cfg: Config) -> bool:
    """Whether a config is one of a tracker."""
    return cfg.model.get("type") == "Tracking"


def is_detection(cfg: Config) -> bool:
    """Whether a config is one of object detection or instance segmentation, mmdetection's job."""
    return cfg.get("default_scope") == "mmdet"


def dataset_configs(cfg: Config) -> list[dict]:
    """The configs of the train, validation and test data sets that a config has."""
    loaders = [cfg.get(f"{split}_dataloader") for split in ("train", "val", "test")]
    found = [loader["dataset"] for loader in loaders if loader]
    return found + ([cfg.test_set] if "test_set" in cfg else [])


def _near_configs(path: Path) -> list[str]:
    """The configs that a misspelt path most likely meant."""
    root = next((parent for parent in path.parents if parent.is_dir()), Path("."))
    if root == Path("."):
        root = Path("configs")
    known = [str(p) for p in sorted(root.rglob("*.py")) if "_base_" not in p.parts]
    return near_matches(str(path), known)[:5] if known else ["none: run from the project's folder"]


def _parse_options(items: Sequence[str]) -> dict:
    """Items of the form key=value as mmengine reads them: numbers, None, lists, strings, ...

    Spaces, which mmengine takes out of everything, stay in strings, and in what is quoted in a
    list. The value of one of `PATHS` is a path whatever is in it.
    """
    options = {}
    for item in items:
        if "=" not in item:
            raise ConfigError(
                f"--cfg-options {item!r} is not of the form key=value.",
                example="--cfg-options train_cfg.max_iters=100 init=random",
            )
        key, value = item.split("=", maxsplit=1)
        bare = value.strip("'\"")
        if key.rpartition(".")[2] in PATHS:
            options[key] = None if bare == "None" else bare
        elif bare.startswith(("(", "[", "{")) or "," in bare:
            options[key] = _parse_list(key, bare)
        else:
            parsed = DictAction._parse_int_float_bool(bare.strip())
            options[key] = bare if isinstance(parsed, str) else parsed
    return options


def _parse_list(key: str, text: str) -> Any:
    try:
        literal = ast.literal_eval(text) if text.startswith(("(", "[", "{")) else None
    except (SyntaxError, ValueError):  # strings without quotes
        literal = None
    if isinstance(literal, list | tuple | dict):
        return literal
    try:
        return DictAction._parse_iterable(text)
    except AssertionError as error:
        raise ConfigError(f"--cfg-options {key}: {error}.") from error


def _import_modules(cfg: Config) -> None:
    """Import what registers classes: ours, then the config's own (`custom_imports`).

    A config that has a list of its own replaces its base's, and ours with it.
    """
    ours = ["lightvit_bench.registry", "lightvit_bench.detection.registry"][: 1 + is_detection(cfg)]
    asked = cfg.get("custom_imports") or {}
    theirs = asked.get("imports") or []
    theirs = [theirs] if isinstance(theirs, str) else list(theirs)
    wanted = [*ours, *(name for name in theirs if name not in ours)]
    cfg.custom_imports = dict(asked, imports=wanted)
    for name in wanted:
        try:
            importlib.import_module(name)
        except Exception as error:  # a module is a program, too
            if asked.get("allow_failed_imports") and name not in ours:
                continue
            raise ConfigError(
                f"{cfg.filename}: custom_imports names {name!r}, which cannot be imported.",
                because=f"{type(error).__name__}: {error}",
                set="PYTHONPATH to the folder of the module, if it is not found",
            ) from error


def _check_options(cfg: Config, options: dict) -> None:
    """An option at a place that does not exist is a misspelling; mmengine would make the place.

    The last part of a dotted key may be new: whether it means something, the class it goes to
    decides (see `explain_config_errors`).
    """
    for key in options:
        node, parts = cfg, key.split(".")
        for i, part in enumerate(parts):
            known = list(node) if isinstance(node, dict | Config) else range(len(node))
            last = i == len(parts) - 1
            if i == 0:
                known = [*known, *RUNNER_OPTIONS, *SHORT_OPTIONS]
                if part in cfg.model and part not in ("train_cfg", "test_cfg"):
                    # A helper variable of a base file, which nobody reads again.
                    raise ConfigError(
                        f"--cfg-options {key}: {part} is a part of the model.",
                        write=f"model.{key}=...",
                    )
            if part not in map(str, known) and (i == 0 or not last):
                place = ".".join(parts[:i]) or "the config"
                raise ConfigError(
                    f"--cfg-options {key}: {place} has no {part!r}.",
                    near=", ".join(near_matches(part, map(str, known))[:5]),
                )
            if last or part not in map(str, known):
                break
            node = node[part] if isinstance(node, dict | Config) else node[int(part)]
            if not isinstance(node, dict | list | tuple):
                raise ConfigError(f"--cfg-options {key}: {part!r} is a value, not a section.")


@contextmanager
def explain_config_errors(cfg: Config) -> Iterator[None]:
    """Turn what a wrong entry of a config raises somewhere in the libraries into a `ConfigError`.

    An argument that a class does not take, a type that is not registered, one image where
    BatchNorm needs two. Other errors pass.
    """
    try:
        yield
    except (TypeError, KeyError, ValueError) as error:
        text = str(error)
        causes = {
            "unexpected keyword argument": "look at the spelling of the entry",
            "missing 1 required": "the entry is needed",
            "registry": "look at the spelling of the type; ours need custom_imports",
            "Expected more than 1 value per channel": "train_dataloader.batch_size to 2 or more",
        }
        for sign, do in causes.items():
            if sign in text:
                raise ConfigError(f"{cfg.filename}: {text}", do=do) from error
        raise


def _apply_short(cfg: Config, short: dict) -> None:
    if "init" in short:
        cfg.model.backbone.init = short["init"]
        if is_tracking(cfg):
            cfg.load_from = None  # of a second part's config: another start is wanted
    if "teacher" in short:
        if not cfg.model.get("distill"):
            raise ConfigError(f"teacher={short['teacher']}: {cfg.filename} has no model.distill.")
        cfg.model.distill.teacher.init = short["teacher"]
    if "skip_corrupt" in short and is_pretraining(cfg):
        raise ConfigError(
            "skip_corrupt is not for pre-training, which skips a few unreadable images anyway.",
            set="train_dataloader.dataset.max_unreadable=0.01   (the share that may be so)",
        )
    for key in ("data_root", "skip_corrupt"):
        if key in short:
            for dataset in dataset_configs(cfg):
                dataset[key] = short[key]
