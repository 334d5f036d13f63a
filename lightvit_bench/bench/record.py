"""The run record: one measurement and where it comes from, in one JSON file.

    records/tracking-latency_tracker_tiny_20261122T101500Z_3f2a9c1e.json

Tables, pages and documents are made from these files alone, so that no figure is copied by hand. A
file is whole or absent, has every field (null where it does not apply) and no other, and carries a
digest of itself: a figure changed afterwards is noticed. No torch: the leaderboard reads this too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lightvit_bench.bench import checks
from lightvit_bench.bench.checks import Value
from lightvit_bench.bench.latency import Latency
from lightvit_bench.bench.machine import Machine, describe_machine, versions
from lightvit_bench.bench.parts import (
    Curve,
    ModelSize,
    Recipe,
    StoredFiles,
    check_hex,
    read_curves,
    read_remarks,
)
from lightvit_bench.bench.provenance import RECORDS, command_line, git_commit
from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.writing import whole_file

FORMAT_VERSION = 2  # 1 had no `_SINCE_2`
ORIGINS = ("measured", "published", "demo")

_DATE = "%Y-%m-%dT%H:%M:%SZ"
_DIGEST = "sha256"  # of the file's other fields
_SET_ASIDE = re.compile(r"seed-\d+\.old-\d+")  # by a suite: its records do not count any more


@dataclass(frozen=True)
class RunRecord:
    """One measurement. None means: does not apply, or nobody says.

    Attributes:
        task: "tracking-latency", ...: what the keys of `values` mean is the task's.
        model: a name for people; `checkpoint` and its hash say which weights.
        values: figures by name, finite, or further figures by name ({"auc": {"bag": 63.2}}).
        origin: "measured"; "published", by others, with `source`; or "demo", on generated data
            or with a toy's weights. Origins are never ranked together.
        date: UTC, "2026-11-22T10:15:00Z"; of a published figure, when it was entered.
        source: paper or repository, and table or file.
        protocol: what the values may be compared with: "lasot-ope-test280@toolkit", ...
        expected, evaluated: how many images, sequences or frames there should be, and were.
        variant: of the model, where one has several: "eliminate at 3, 6, 9 keep 0.7".
        runtime, precision: "openvino", "bf16", ...
        checkpoint, exported, config: as `shown_path` gives them, no folder of a person's computer.
        exported, exported_sha256: the file of another runtime that was computed, made from the
            checkpoint. Of OpenVINO's two, NAME.xml, which holds a digest of the other.
        config_sha256: of the config as it was used, or of its file; the task says which.
        commit: of this project, with "+changes" if files differed from it.
        command: that made this, as `command_line` gives it.
        device: "cpu" or the accelerator's name.
        versions: distribution -> version, None for one that is not installed.
        latency: the time of what the task calls one step, where there is one such time.
        run: 32 hexadecimal digits, drawn once (by `measured_record`) for the run that this is the
            one record of. Records of version 1 have none.
        recipe, size: how the model came to be, and how large it is.
        curves: by name, those that a score is taken from, or of the training.
        predictions, truth: what `values` can be computed from again (`verify`).
        remarks: what a reader of the values must know.

    Raises:
        BadDataError: a field is of another type or out of range, or they contradict one another.
    """

    task: str
    model: str
    values: Mapping[str, Value]
    origin: str
    date: str
    source: str | None = None
    dataset: str | None = None
    split: str | None = None
    protocol: str | None = None
    expected: int | None = None
    evaluated: int | None = None
    variant: str | None = None
    runtime: str | None = None
    precision: str | None = None
    threads: int | None = None
    seed: int | None = None
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None
    exported: str | None = None
    exported_sha256: str | None = None
    config: str | None = None
    config_sha256: str | None = None
    commit: str | None = None
    command: str | None = None
    device: str | None = None
    machine: Machine | None = None
    versions: Mapping[str, str | None] = field(default_factory=dict)
    latency: Latency | None = None
    run: str | None = None
    recipe: Recipe | None = None
    size: ModelSize | None = None
    curves: Mapping[str, Curve] = field(default_factory=dict)
    predictions: StoredFiles | None = None
    truth: StoredFiles | None = None
    remarks: tuple[str, ...] = ()
    format_version: int = FORMAT_VERSION

    def __post_init__(self):
        if checks.whole("format_version", self.format_version, 1) > FORMAT_VERSION:
            raise checks.wrong("format_version", f"1 to {FORMAT_VERSION}", self.format_version)
        for name in ("task", "model", "origin", "date"):
            checks.text(name, getattr(self, name))
        for name in _TEXTS:
            if getattr(self, name) is not None:
                checks.text(name, getattr(self, name))
        for name, least in (("expected", 0), ("evaluated", 0), ("threads", 1), ("seed", 0)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checks.whole(name, getattr(self, name), least))
        for name, pattern, wanted in FORMS:
            value = getattr(self, name)
            if value is not None and not re.fullmatch(pattern, value):
                raise checks.wrong(name, wanted, value)
        try:
            datetime.strptime(self.date, _DATE)
        except ValueError:
            raise checks.wrong("date", "a time in UTC, 2026-11-22T10:15:00Z", self.date) from None
        for name, kind in _PARTS:
            if not isinstance(getattr(self, name), (kind, type(None))):
                raise checks.wrong(name, f"a {kind.__name__}", getattr(self, name))
        object.__setattr__(self, "curves", read_curves(self.curves))
        object.__setattr__(self, "remarks", read_remarks(self.remarks))
        object.__setattr__(self, "values", checks.figures("values", self.values))
        object.__setattr__(self, "versions", checks.version_names(self.versions))
        self._check_origin()
        self._check_run()
        if (self.expected is None) != (self.evaluated is None):
            raise checks.wrong("evaluated", "given with expected, or neither is", self.evaluated)
        if self.expected is not None and self.evaluated > self.expected:
            raise checks.wrong(
                "evaluated", f"at most what was expected, {self.expected}", self.evaluated
            )

    def _check_origin(self) -> None:
        if self.origin not in ORIGINS:
            raise checks.wrong("origin", " or ".join(ORIGINS), self.origin)
        if self.origin == "published":
            if self.source is None:
                raise checks.wrong("source", "needed of what is published", self.source)
        elif self.source is not None:
            raise checks.wrong("source", f"null of what is {self.origin}", self.source)
        elif self.command is None:
            raise checks.wrong("command", f"needed of what is {self.origin}", self.command)

    def _check_run(self) -> None:
        if self.format_version == 1:
            for name in _SINCE_2:
                if getattr(self, name):
                    raise checks.wrong(name, "new in version 2", getattr(self, name))
        elif self.run is not None:
            check_hex("run", self.run, 32)

    @property
    def complete(self) -> bool:
        """Whether nothing that was expected is missing; without counts nothing was."""
        return self.expected == self.evaluated

    @property
    def file_name(self) -> str:
        """`TASK_MODEL_DATE_HASH.json`, the hash eight digits of the file's digest."""
        date = self.date.replace("-", "").replace(":", "")
        digest = _digest(self.as_dict())[:8]
        return f"{_plain(self.task)}_{_plain(self.model)}_{date}_{digest}.json"

    def as_dict(self) -> dict[str, Any]:
        """All fields of the record's version as JSON has them, without the digest."""
        values = asdict(self)
        if self.format_version == 1:
            for name in _SINCE_2:
                del values[name]
        if self.machine is not None:  # JSON has no tuples
            values["machine"] = {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in values["machine"].items()
            }
        for curve in values.get("curves", {}).values():
            curve.update(x=list(curve["x"]), y=list(curve["y"]))
        if "remarks" in values:
            values["remarks"] = list(self.remarks)
        return values


_SINCE_2 = ("run", "recipe", "size", "curves", "predictions", "truth", "remarks")
_PARTS = (
    *(("machine", Machine), ("latency", Latency), ("recipe", Recipe), ("size", ModelSize)),
    *(("predictions", StoredFiles), ("truth", StoredFiles)),
)
_TEXTS = (
    *("source", "dataset", "split", "protocol", "variant", "runtime", "precision", "checkpoint"),
    *("checkpoint_sha256", "exported", "exported_sha256", "config", "config_sha256", "commit"),
    *("command", "device"),
)
FORMS = (
    ("checkpoint_sha256", "[0-9a-f]{64}", "64 hexadecimal digits"),
    ("exported_sha256", "[0-9a-f]{64}", "64 hexadecimal digits"),
    ("config_sha256", "[0-9a-f]{64}", "64 hexadecimal digits"),
    ("commit", r"[0-9a-f]{40}(\+changes)?", "40 hexadecimal digits, and +changes or not"),
)


def measured_record(
    task: str,
    model: str,
    values: Mapping[str, Value],
    *,
    packages: Sequence[str] = (),
    argv: Sequence[str] | None = None,
    origin: str = "measured",
    **others: Any,
) -> RunRecord:
    """A record of now, here: date, commit, command, machine, versions and run are filled in.

    Args:
        packages: distributions whose versions count.
        argv: the command line, `sys.argv` by default.
        others: fields of `RunRecord`; they replace what would be filled in.
    """
    filled = {
        "date": datetime.now(timezone.utc).strftime(_DATE),
        "commit": git_commit(),
        "command": command_line(argv),
        "machine": describe_machine(),
        "versions": versions(*packages),
        "run": uuid.uuid4().hex,
    }
    return RunRecord(task=task, model=model, values=values, origin=origin, **{**filled, **others})


def write_record(record: RunRecord, folder: str | os.PathLike) -> Path:
    """Write a record into a folder, whole or not at all. Returns its path."""
    path = Path(folder) / record.file_name
    values = record.as_dict()
    text = json.dumps(
        {**values, _DIGEST: _digest(values)}, indent=1, ensure_ascii=False, allow_nan=False
    )
    with whole_file(path) as aside:
        aside.write_text(text + "\n", encoding="utf-8")
    return path


def read_record(path: str | os.PathLike) -> RunRecord:
    """A record from its file.

    Raises:
        MissingDataError: there is no such file.
        BadDataError: it is no JSON; of a later version; a field is unknown, missing, or of another
            type or range; or it was changed after it was written.
    """
    try:
        text = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise MissingDataError("there is no such record.", looked_for=str(path)) from None
    try:
        values = json.loads(text, object_pairs_hook=_no_name_twice, parse_constant=_no_constant)
    except (RecursionError, ValueError) as error:  # not UTF-8, too
        raise BadDataError(
            "a record cannot be read as JSON.", file=str(path), cause=str(error)
        ) from None
    try:
        return _record(values)
    except BadDataError as error:
        raise BadDataError(error.message, file=str(path), **error.details) from None


def read_records(*folders: str | os.PathLike) -> list[RunRecord]:
    """The records of folders, `*.json` and those in folders `records` below them, oldest first.

    Raises:
        MissingDataError: there is no such folder.
        BadDataError: as `read_record`, of the first file that fails; or two files are one record,
            or records of one run.
    """
    found: dict[str, tuple[RunRecord, Path]] = {}
    runs: dict[str, Path] = {}
    for path in record_files(*folders):
        record = read_record(path)
        if record.file_name in found:
            raise BadDataError(
                "two files are the same record.",
                files=[str(found[record.file_name][1]), str(path)],
                do="delete one of them",
            )
        if record.run in runs:
            raise BadDataError(
                "two records are of one run.",
                run=record.run,
                files=[str(runs[record.run]), str(path)],
                do="keep the one that the run wrote, delete the other",
            )
        if record.run is not None:
            runs[record.run] = path
        found[record.file_name] = (record, path)
    return [one for one, _ in sorted(found.values(), key=lambda x: (x[0].date, x[0].file_name))]


def record_files(*folders: str | os.PathLike) -> list[Path]:
    """The files that `read_records` reads, each once, however often its folder is named."""
    files: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise MissingDataError("there is no such folder of records.", looked_for=str(folder))
        below = (path for path in folder.rglob("*.json") if path.parent.name == RECORDS)
        for path in sorted({*folder.glob("*.json"), *below}):
            if path.is_file() and not _SET_ASIDE.fullmatch(path.parent.parent.name):
                files.setdefault(path.resolve(), path)
    return list(files.values())


def _record(values: Any) -> RunRecord:
    """A record from parsed JSON; the version first, as it decides what else there may be."""
    if not isinstance(values, dict):
        raise checks.wrong("the record", "an object with named fields", values)
    version = checks.whole("format_version", values.get("format_version"), 1)
    if version > FORMAT_VERSION:
        raise BadDataError(
            f"a record is of version {checks.shown(version)} of this format, which is newer than "
            f"this program's "
            f"{FORMAT_VERSION}.",
            field="format_version",
            do="update lightvit_bench",
        )
    values = dict(values)
    digest = values.pop(_DIGEST, None)
    read = dict(values)
    if version == 1:
        for name in set(_SINCE_2) & set(read):
            raise BadDataError("a record has unknown fields.", field=name, version="1")
        read |= {name: None for name in _SINCE_2} | {"curves": {}, "remarks": []}
    for name, kind in _PARTS:
        if read.get(name) is not None:
            read[name] = checks.build(kind, read[name], name)
    record = checks.build(RunRecord, read)
    if digest != _digest(values):
        raise BadDataError(
            "a record was changed after it was written: its digest is another.",
            field=_DIGEST,
            do="take the file as it was, or measure again",
        )
    return record


def _digest(values: Mapping[str, Any]) -> str:
    """SHA-256 of the fields, however they are ordered and laid out in the file."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _plain(name: str) -> str:
    """A name as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._")[:60] or "unnamed"


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return values


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")
