"""A suite's cells, a run with one seed: what was asked, and what of it is done.

OUT/RUN/seed-S/cell.json       what was asked, how far it is, its records
              /train, test     work folders of the tools
              /records.unfinished   of a test that runs, or failed: nothing reads them
              /records         what it becomes when the test has ended well
              /predictions
              /train.log, test.log, command.log
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lightvit_bench.bench.provenance import sha256_of
from lightvit_bench.bench.record import RunRecord, read_record
from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.leaderboard.measured import rows_of
from lightvit_bench.leaderboard.suite_file import SuiteRun
from lightvit_bench.leaderboard.tasks import TASKS
from lightvit_bench.writing import whole_file

BEGUN, TRAINED, DONE = "begun", "trained", "done"
_FORMAT = 1
_CHECKPOINT = re.compile(r"(?:iter|epoch)_(\d+)")
_LONGEST_PATH = 500  # a text of a config that is longer names no file


@dataclass(frozen=True)
class Cell:
    """A run with one seed, and its folder."""

    run: SuiteRun
    seed: int
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.run.name}, seed {self.seed}"

    @property
    def records(self) -> Path:
        return self.folder / "records"

    @property
    def fresh(self) -> Path:
        """Where a test writes its records: readers take those of folders named `records` alone."""
        return self.folder / "records.unfinished"

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions"

    @property
    def work(self) -> Path:
        """The work folder of its training."""
        return self.folder / "train"


@dataclass(frozen=True)
class State:
    """How far a cell is.

    Attributes:
        asked: what was asked when it began.
        step: `BEGUN`, `TRAINED` or `DONE`.
        checkpoint, checkpoint_sha256: that its training ended with: a name in the work folder.
        records: names of its files.
    """

    asked: dict[str, Any]
    step: str = BEGUN
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None
    records: tuple[str, ...] = ()


def asked_of(cell: Cell) -> dict[str, Any]:
    """What decides a cell's result, as digests and texts: equal of equal cells.

    The config with its bases (comments and layout do not count), options and arguments, the seed,
    and the contents of every file that the config, an option or an argument names: initial weights,
    checkpoints. Folders of data and the project's own program are not looked at; records say the
    commit.

    Raises:
        ConfigError: a base of the config is not there, or cannot be told without running it.
    """
    run = cell.run
    asked: dict[str, Any] = {"seed": cell.seed}
    named = []
    if run.config is not None:
        asked["config"] = {}
        set_by_option = {
            one.partition("=")[0].rpartition(".")[2]
            for one in (*run.options, *run.train_options, *run.test_options)
        }
        for path in config_files(run.config):
            tree = ast.parse(path.read_bytes())
            name = Path(os.path.relpath(path, run.config.parent)).as_posix()
            asked["config"][name] = hashlib.sha256(ast.unparse(tree).encode()).hexdigest()
            named += [text for key, text in _texts(tree) if key not in set_by_option]
        for key in ("options", "train_options", "test_options"):
            asked[key] = list(getattr(run, key))
            named += [one.partition("=")[2].strip("'\"") for one in getattr(run, key)]
    words = (*run.train_arguments, *run.test_arguments, *run.command[1:])
    named += [part for word in words for part in {word, word.partition("=")[2]}]
    for key in ("train_arguments", "test_arguments"):
        asked[key] = list(getattr(run, key))
    asked["command"] = list(run.command)
    if run.checkpoint is not None:
        asked["checkpoint"] = _sha256(run.checkpoint)
    asked["files"] = {one: _sha256(Path(one)) for one in sorted(set(named)) if _is_file(one)}
    return asked


def config_files(path: Path) -> list[Path]:
    """A config and the files it is based on, itself first."""
    found: list[Path] = []
    waiting = [path]
    while waiting:
        one = waiting.pop(0)
        if any(os.path.samefile(one, other) for other in found):
            continue
        found.append(one)
        waiting += _bases(one)
    return found


def read_state(cell: Cell) -> State | None:
    """How far a cell is; None if nothing was begun.

    Raises:
        BadDataError: its folder holds something else, or cell.json cannot be read.
    """
    path = cell.folder / "cell.json"
    try:
        values = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        there = cell.folder.is_dir() and any(
            not one.name.startswith(".") for one in cell.folder.iterdir()
        )
        if there or (cell.folder.exists() and not cell.folder.is_dir()):
            raise BadDataError(
                "this is no folder of a suite's cell.", folder=str(cell.folder)
            ) from None
        return None
    except (RecursionError, ValueError) as error:
        raise BadDataError(
            "cell.json cannot be read.", file=str(path), cause=str(error) or "nested too deep"
        ) from None
    try:
        if values.pop("format_version") != _FORMAT:
            raise ValueError("another format_version")
        state = State(**{**values, "records": tuple(values["records"])})
        sound = (
            isinstance(state.asked, dict)
            and state.step in (BEGUN, TRAINED, DONE)
            and all(isinstance(one, str) and Path(one).name == one for one in state.records)
        )
        if not sound:
            raise ValueError("a field of another type")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadDataError(
            "cell.json is not what a suite wrote.", file=str(path), cause=str(error)
        ) from None
    return state


def write_state(cell: Cell, state: State) -> None:
    """Write cell.json, whole."""
    values = {
        "format_version": _FORMAT,
        "step": state.step,
        "asked": state.asked,
        "checkpoint": state.checkpoint,
        "checkpoint_sha256": state.checkpoint_sha256,
        "records": list(state.records),
    }
    with whole_file(cell.folder / "cell.json") as aside:
        aside.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two things asked for, a line each."""
    lines = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
            lines.append(f"{key}: {', '.join(names)}")
        elif key == "checkpoint":
            lines.append("checkpoint: another file")
        elif isinstance(old, list) and isinstance(new, list):
            lines += [
                f"{key}: {told}" for told in _changed_words(old, new, key.endswith("options"))
            ]
        else:
            lines.append(f"{key}: {_words(old)} -> {_words(new)}")
    return lines


def finished_records(cell: Cell, state: State) -> dict[Path, RunRecord]:
    """The records of a cell that is done; none of one that is not, or where one of them is gone.

    Raises:
        BadDataError: one was changed, or `new_records` would refuse it; or there is one more.
    """
    paths = [cell.records / name for name in state.records]
    if state.step != DONE or not all(path.is_file() for path in paths):
        return {}
    for path in sorted({*cell.records.glob("*.json")} - {*paths}):
        raise BadDataError("a record is there that this cell did not write.", file=str(path))
    return _checked(cell, state, paths)


def new_records(cell: Cell, state: State) -> dict[Path, RunRecord]:
    """The records that a test or benchmark has just written, checked.

    Raises:
        BadDataError: there is none, one cannot be read, is of no known task or without its task's
            main figure; or it is of other weights than those asked for, or, of a run that is
            trained, of another seed. Weights that are only tested may be of any seed.
    """
    paths = sorted(cell.fresh.glob("*.json"))
    if not paths:
        raise BadDataError("no record was written.", looked_in=str(cell.fresh))
    return _checked(cell, state, paths)


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the highest iteration (or epoch) in a work folder."""
    found = [one for one in folder.glob("*.pth") if _CHECKPOINT.fullmatch(one.stem)]
    return max(found, key=lambda one: int(_CHECKPOINT.fullmatch(one.stem)[1]), default=None)


def set_aside(path: Path, word: str) -> Path:
    """Rename `path` to the first free NAME.WORD-1, -2, ...; nothing is deleted."""
    number = 1
    while (target := path.with_name(f"{path.name}.{word}-{number}")).exists():
        number += 1
    path.rename(target)
    return target


# ----------------------------------------------------------------------------------------- details


def _checked(cell: Cell, state: State, paths: Sequence[Path]) -> dict[Path, RunRecord]:
    """Records by file; `BadDataError` as of `new_records`."""
    run = cell.run
    records = {path: read_record(path) for path in paths}
    asked = state.checkpoint_sha256 if run.train else state.asked.get("checkpoint")
    for path, record in records.items():
        (row,) = rows_of([record])
        main = TASKS[record.task].main
        if main.key not in row.scores:
            raise BadDataError(
                f"a record has no {main.title}, the figure that its task is ranked by.",
                file=str(path),
                task=record.task,
                field=f"values.{main.key}",
            )
        if run.config is None:
            continue
        if run.train and record.seed not in (None, cell.seed):
            raise BadDataError(
                f"a record is of seed {record.seed}, not {cell.seed}.", file=str(path)
            )
        # of an exported file, that is the file's; its checkpoint's is the one it was made from
        found = (record.exported_sha256, record.checkpoint_sha256)
        if asked not in found:
            raise BadDataError(
                "a record is of another checkpoint.",
                file=str(path),
                asked_for=str(asked),
                found=[one for one in found if one] or "none",
            )
    return records


def _bases(path: Path) -> list[Path]:
    """The files that `_base_` of a config names, or `with read_base()` imports."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise ConfigError("a config is no Python.", file=str(path), cause=str(error)) from None
    found: list[Path] = []
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else ()
        if any(isinstance(one, ast.Name) and one.id == "_base_" for one in targets):
            try:
                value = ast.literal_eval(node.value)
            except (TypeError, ValueError):
                raise ConfigError("_base_ is not written out.", file=str(path)) from None
            names = [value] if isinstance(value, str) else list(value)
            found += [path.parent / str(name) for name in names]
        elif isinstance(node, ast.With):
            for one in node.body:
                if isinstance(one, ast.ImportFrom) and one.level:
                    folder = path.resolve().parents[one.level - 1]
                    found.append(folder.joinpath(*(one.module or "").split(".")).with_suffix(".py"))
    for one in found:
        if not one.is_file():
            raise ConfigError("a base of a config is not there.", file=str(path), base=str(one))
    return found


def _texts(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """The texts that a config gives to names, with the name: ("init", "checkpoints/...")."""
    for node in ast.walk(tree):
        pairs: list[tuple[Any, ast.AST | None]] = []
        if isinstance(node, ast.keyword):
            pairs = [(node.arg, node.value)]
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            pairs = [(node.targets[0].id, node.value)]
        elif isinstance(node, ast.Dict):
            keys = [one.value if isinstance(one, ast.Constant) else None for one in node.keys]
            pairs = list(zip(keys, node.values, strict=True))
        for key, value in pairs:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                if key not in (None, "_base_"):  # bases count by what they say, not to the letter
                    yield str(key), value.value


def _is_file(text: str) -> bool:
    try:
        return 0 < len(text) < _LONGEST_PATH and Path(text).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _changed_words(old: Sequence[str], new: Sequence[str], options: bool) -> list[str]:
    """What differs between two lists of KEY=VALUE (`options`) or of a command's words."""
    if not options:
        old, new = _with_values(old), _with_values(new)
    if sorted(old) == sorted(new):
        return [f"in another order: {_words(list(new))}"]
    steps = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [
        f"{_words(list(old[a:b]))} -> {_words(list(new[c:d]))}"
        for step, a, b, c, d in steps
        if step != "equal"
    ]


def _with_values(words: Sequence[str]) -> list[str]:
    """Words with what follows an option joined to it: ["tools/x.py", "--rounds 3"]."""
    found: list[str] = []
    for word in words:
        if found and found[-1].startswith("--") and not word.startswith("--"):
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) and value else str(value or "none")


def _sha256(path: Path) -> str:
    known = path.stat()
    return _sha256_at(str(path), known.st_size, known.st_mtime_ns)


@lru_cache
def _sha256_at(path: str, size: int, time: int) -> str:
    """A large file's digest once; a file that changed is read again."""
    return sha256_of(path)
