"""Reading configs: names that are found or explained, and the short options of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, DictAction

from lightvit_bench.errors import ConfigError, near_matches
from lightvit_bench.openmmlab.device import adapt_to_device

SHORT_OPTIONS = ("init", "data_root", "skip_corrupt")


def load_config(path: str | Path, options: Sequence[str] = ()) -> Config:
    """Read a config and apply `--cfg-options`, given as "key=value".

    Beside mmengine's dotted keys three short ones reach every place they belong to: `init` (the
    backbone's initial weights), `data_root` and `skip_corrupt` (all data sets).

    Raises:
        ConfigError: the file does not exist (near matches are listed), is not a config, or an
            option names something the config has not.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"there is no config {path}.", near=_near_configs(path))
    try:
        cfg = Config.fromfile(path)
    except (SyntaxError, FileNotFoundError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a config: {error}") from error
    options = _parse_options(options)
    short = {key: options.pop(key) for key in SHORT_OPTIONS if key in options}
    _check_options(cfg, options)
    cfg.merge_from_dict(options)
    _apply_short(cfg, short)
    cfg.setdefault("launcher", "none")
    return cfg


def fit_to_machine(cfg: Config, launcher: str) -> list[str]:
    """Set the launcher and replace what this machine's device cannot do; returns what changed."""
    cfg.launcher = launcher
    return adapt_to_device(cfg)


def dataset_configs(cfg: Config) -> list[dict]:
    """The configs of the train, validation and test data sets that a config has."""
    loaders = [cfg.get(f"{split}_dataloader") for split in ("train", "val", "test")]
    return [loader["dataset"] for loader in loaders if loader]


def _near_configs(path: Path) -> list[str]:
    """The configs that a misspelt path most likely meant."""
    root = next((parent for parent in path.parents if parent.is_dir()), Path("."))
    if root == Path("."):
        root = Path("configs")
    known = [str(p) for p in sorted(root.rglob("*.py")) if "_base_" not in p.parts]
    return near_matches(str(path), known)[:5] if known else ["none: run from the project's folder"]


def _parse_options(items: Sequence[str]) -> dict:
    """Items of the form key=value as mmengine reads them: numbers, None, lists, strings, ..."""
    for item in items:
        if "=" not in item:
            raise ConfigError(
                f"--cfg-options {item!r} is not of the form key=value.",
                example="--cfg-options train_cfg.max_iters=100 init=random",
            )
    parser = argparse.ArgumentParser()
    parser.add_argument("--options", nargs="*", action=DictAction, default={})
    return parser.parse_args(["--options", *items]).options if items else {}


def _check_options(cfg: Config, options: dict) -> None:
    """An option below a section that does not exist is a misspelling; mmengine would add it."""
    for key in options:
        head, _, rest = key.partition(".")
        if rest and head not in cfg:
            raise ConfigError(
                f"--cfg-options {key}: the config has no section {head!r}.",
                near=", ".join(near_matches(head, cfg.keys())[:5]),
            )


def _apply_short(cfg: Config, short: dict) -> None:
    if "init" in short:
        cfg.model.backbone.init = short["init"]
    for key in ("data_root", "skip_corrupt"):
        if key in short:
            for dataset in dataset_configs(cfg):
                dataset[key] = short[key]
