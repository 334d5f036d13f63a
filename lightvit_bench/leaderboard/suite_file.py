"""Suite files: what is to be trained and tested, with which seeds. Read and checked, nothing run.

format_version: 1
name: camvid_starts
seeds: [0, 1, 2]
defaults: {options: [train_cfg.max_iters=400]}
runs:
  - name: dmae
    config: configs/camvid/upernet_dmae_tiny.py
  - name: latency
    command: tools/bench_track.py --rounds 3
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightvit_bench.bench.provenance import ROOT
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError, UserError
from lightvit_bench.errors import near_matches as near

FORMAT_VERSION = 1
SHIPPED = "shipped"  # as a checkpoint: the tracker that comes with the package
SHIPPED_FILE = ROOT / "lightvit_bench" / "weights" / "tracker_tiny.safetensors"
SEED = "{seed}"  # in a command

_TOP = ("format_version", "name", "seeds", "defaults", "runs")
_LISTS = ("options", "train_options", "test_options", "train_arguments", "test_arguments")
_OF_CONFIG = ("config", "checkpoint", "train", *_LISTS)
_OF_RUN = ("name", "command", "seeds", *_OF_CONFIG)
_OF_DEFAULTS = ("train", "checkpoint", "seeds", *_LISTS)
_OURS = ("--work-dir", "--resume", "--record", "--out", "--cfg-options", "--launcher")


@dataclass(frozen=True)
class SuiteRun:
    """One thing that is measured: a config, trained with each seed or given weights; or a command.

    Attributes:
        seeds: one cell each.
        config: path that was found.
        checkpoint: path; None of a run that is trained.
        train: whether it is trained first.
        options: KEY=VALUE of training and test; `train_options`, `test_options` of one of them.
        train_arguments, test_arguments: further words for tools/train.py and tools/test.py.
        command: words, the tool's path first; the seed stands for {seed}.
    """

    name: str
    seeds: tuple[int, ...]
    config: Path | None = None
    checkpoint: Path | None = None
    train: bool = False
    options: tuple[str, ...] = ()
    train_options: tuple[str, ...] = ()
    test_options: tuple[str, ...] = ()
    train_arguments: tuple[str, ...] = ()
    test_arguments: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """A suite: its name, its file, and its runs in the file's order."""

    name: str
    path: Path
    runs: tuple[SuiteRun, ...]


def read_suite(path: str | os.PathLike) -> Suite:
    """A suite from its file. Paths in it are of the current folder, or else of the project's.

    Raises:
        MissingDataError: there is no such file.
        BadDataError: it is no YAML, of a later version, or a field is unknown, missing, doubled or
            of another type.
        ConfigError: a config or checkpoint that it names is not there; fields contradict.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        known = sorted(str(one) for one in path.parent.glob("*.yml"))
        raise MissingDataError(
            f"there is no suite {path}.", near=near(str(path), known)[:5] or "none"
        ) from None
    except UnicodeDecodeError as error:
        raise BadDataError("a suite is not UTF-8.", file=str(path), cause=str(error)) from None
    try:
        values = yaml.load(text, Loader=_Strict)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        cause = str(error).splitlines() or [type(error).__name__]
        raise BadDataError("a suite cannot be read as YAML.", file=str(path), cause=cause) from None
    try:
        return _suite(values, path)
    except UserError as error:
        raise type(error)(error.message, file=str(path), **error.details) from None


class _Strict(yaml.SafeLoader):
    """`SafeLoader` that refuses a key twice in a mapping, where YAML's takes the last."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands there twice", key_node.start_mark
                )
            seen.add(key if isinstance(key, str) else str(key))
        return super().construct_mapping(node, deep)


def _suite(values: Any, path: Path) -> Suite:
    if not isinstance(values, dict):
        raise _bad("a suite is a mapping with format_version, name, seeds and runs.")
    version = values.get("format_version")
    if not _is_whole(version) or version < 1:
        raise _bad(f"format_version is a whole number, not {version!r}.", set="format_version: 1")
    if version > FORMAT_VERSION:
        raise _bad(
            f"a suite is of version {version} of this format, which is newer than this program's "
            f"{FORMAT_VERSION}.",
            field="format_version",
            do="update lightvit_bench",
        )
    _known(values, _TOP, "")
    name = _name(values.get("name"), "name")
    seeds = _seeds(values.get("seeds"), "seeds")
    defaults = values.get("defaults") or {}
    if not isinstance(defaults, dict):
        raise _bad("a mapping is needed.", field="defaults")
    _known(defaults, _OF_DEFAULTS, "defaults.")
    _typed(defaults, "defaults.")
    runs = values.get("runs")
    if not isinstance(runs, list) or not runs:
        raise _bad("a suite has a list of one run or more.", field="runs")
    found = [_run(one, number, seeds, defaults) for number, one in enumerate(runs)]
    names = [run.name.lower() for run in found]  # folders, also where case does not count
    for number, one in enumerate(names):
        if one in names[:number]:
            raise _bad("two runs have one name.", run=found[number].name, field=f"runs.{number}")
    return Suite(name, path, tuple(found))


def _run(values: Any, number: int, seeds: tuple[int, ...], defaults: Mapping) -> SuiteRun:
    place = f"runs.{number}."
    if not isinstance(values, dict):
        raise _bad("a run is a mapping.", field=place[:-1])
    name = _name(values.get("name"), f"{place}name")
    try:
        _known(values, _OF_RUN, place)
        _typed(values, place)
        if values.get("command") is not None:
            return _command(name, values, place, seeds)
        return _of_config(name, values, place, seeds, defaults)
    except UserError as error:
        raise type(error)(error.message, run=name, **error.details) from None


def _of_config(
    name: str, values: Mapping, place: str, seeds: tuple[int, ...], defaults: Mapping
) -> SuiteRun:
    config = values.get("config")
    if config is None:
        raise _bad("a run has a config, or a command.", field=f"{place}config")
    checkpoint = values.get("checkpoint")
    train = values.get("train")
    if checkpoint is None and not train:
        checkpoint = defaults.get("checkpoint")
    if train is None:
        train = checkpoint is None and defaults.get("train", True)
    if train and checkpoint is not None:
        raise ConfigError(
            "a run is trained and tested, or tests the checkpoint it names; not both.",
            field=f"{place}checkpoint",
            to_start_from_weights="options: [init=FILE]",
        )
    if not train and checkpoint is None:
        raise ConfigError("nothing to test: no checkpoint, and no training.", field=f"{place}train")
    lists = {key: (*defaults.get(key, ()), *values.get(key, ())) for key in _LISTS}
    own = values.get("seeds", defaults.get("seeds") if train else None)
    if own is not None:
        seeds = _seeds(own, f"{place}seeds")
    elif not train:
        seeds = seeds[:1]
    if not train and len(seeds) > 1:
        raise ConfigError(
            "a checkpoint that is tested several times has no spread over seeds.",
            field=f"{place}seeds",
            set="one seed, or a run with the checkpoint of each training",
        )
    if not train:
        if values.get("train_options") or values.get("train_arguments"):
            raise ConfigError(
                "options of training, of a run that is not trained.", field=f"{place}train_options"
            )
        lists.update(train_options=(), train_arguments=())
    return SuiteRun(
        name,
        seeds,
        _file(config, f"{place}config"),
        None if checkpoint is None else _checkpoint(checkpoint, f"{place}checkpoint"),
        train,
        **lists,
    )


def _command(name: str, values: Mapping, place: str, seeds: tuple[int, ...]) -> SuiteRun:
    for key in _OF_CONFIG:
        if key in values:
            raise ConfigError("a run has a config or a command, not both.", field=place + key)
    try:
        words = shlex.split(values["command"])
    except ValueError as error:
        raise _bad(f"no command line: {error}.", field=f"{place}command") from None
    if not words or not words[0].endswith(".py"):
        raise ConfigError("a command begins with a tool, tools/NAME.py.", field=f"{place}command")
    if any(word == "--record" or word.startswith("--record=") for word in words):
        raise ConfigError("a suite gives --record itself.", field=f"{place}command")
    seeded = any(SEED in word for word in words)
    own = values.get("seeds")
    seeds = _seeds(own, f"{place}seeds") if own is not None else seeds
    if not seeded and own is not None and len(seeds) > 1:
        raise ConfigError(
            "seeds of a command that takes none: it would do the same several times.",
            field=f"{place}seeds",
            write=f"{SEED} into the command where its seed goes",
        )
    return SuiteRun(
        name,
        seeds if seeded else seeds[:1],
        command=(str(_file(words[0], f"{place}command")), *words[1:]),
    )


# ------------------------------------------------------------------------------------------- values


def _typed(values: Mapping, place: str) -> None:
    """`BadDataError` for a field of another type."""
    for key in ("command", "config", "checkpoint"):
        if key in values and (not isinstance(values[key], str) or not values[key].strip()):
            raise _bad(f"text is needed, not {values[key]!r}.", field=place + key)
    if "train" in values and not isinstance(values["train"], bool):
        raise _bad(f"true or false is needed, not {values['train']!r}.", field=f"{place}train")
    for key in _LISTS:
        items = values.get(key, [])
        if not isinstance(items, list) or not all(isinstance(one, str) for one in items):
            raise _bad("a list of texts is needed.", field=place + key, example='["KEY=VALUE"]')
        for one in items:
            _option(one, place + key) if key.endswith("options") else _argument(one, place + key)


def _option(item: str, field: str) -> None:
    key, sign, _ = item.partition("=")
    if not sign or not key or key.startswith("-"):
        raise _bad(f"{item!r} is not of the form KEY=VALUE.", field=field)
    if key == "randomness.seed":
        raise ConfigError("a suite gives the seed itself.", field=field, set="seeds")


def _argument(item: str, field: str) -> None:
    if item.partition("=")[0] in _OURS:
        raise ConfigError(f"a suite gives {item.partition('=')[0]} itself.", field=field)


def _known(values: Mapping, known: Sequence[str], place: str) -> None:
    for key in values:
        if key not in known:
            raise _bad("an unknown field.", field=f"{place}{key}", known=", ".join(known))


def _name(value: Any, field: str) -> str:
    """Names become folders."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", value):
        raise _bad(
            f"a name is made of letters, digits, '_', '-' and '.', not {value!r}.", field=field
        )
    return value


def _seeds(value: Any, field: str) -> tuple[int, ...]:
    fits = isinstance(value, list) and value and all(_is_whole(one) for one in value)
    if not fits or min(value) < 0 or max(value) >= 2**32 or len(set(value)) < len(value):
        raise _bad(
            f"seeds are whole numbers of 0 or more, each once, not {value!r}.",
            field=field,
            example="[0, 1, 2]",
        )
    return tuple(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _checkpoint(value: str, field: str) -> Path:
    return SHIPPED_FILE if value == SHIPPED else _file(value, field)


def _file(value: str, field: str) -> Path:
    """The file of a path, of the current folder or of the project's."""
    for path in (Path(value), ROOT / value):
        if path.is_file():
            return path
    folder = (ROOT / value).parent
    beside = [str(Path(value).parent / one.name) for one in folder.glob(f"*{Path(value).suffix}")]
    raise ConfigError(
        f"there is no file {value}.", field=field, near=near(value, beside)[:5] or "none"
    )


def _bad(message: str, **details: Any) -> BadDataError:
    return BadDataError(message, **details)
