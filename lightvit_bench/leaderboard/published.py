"""Published results, entered as data: the YAML files of `leaderboard/published/` to rows.

The form is told at the head of `sources.yml` there. Everything is read as text and checked here,
so that no figure changes on its way (no `1_0`, no `on` that means true), and no tag is followed.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path, PurePosixPath
from typing import Any

from lightvit_bench.bench import checks
from lightvit_bench.bench.parts import ModelSize, Recipe
from lightvit_bench.bench.provenance import ROOT
from lightvit_bench.errors import MissingDataError, near_matches
from lightvit_bench.leaderboard.rows import Row, Score, Speed
from lightvit_bench.leaderboard.tasks import TASKS
from lightvit_bench.leaderboard.yaml_file import (
    Map,
    Place,
    check_known,
    list_of,
    load,
    mapping,
    needed,
    text_of,
)

FORMAT_VERSION = 1
CPU_REMARK = "Absolute frames/s of a CPU do not carry over to another machine."

_MOST = 10**15  # of a count
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]*")
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kMG]?)")
_WHOLE = re.compile(r"[0-9]{1,9}")
_UNITS = {"": 0, "k": 3, "M": 6, "G": 9}
_KINDS = ("cpu", "gpu", "npu", "unknown")
_FILE = {"format_version", "sources", "devices", "protocols", "tables"}
_SOURCE = {"title", "url", "licence", "remarks"}
_DEVICE = {f.name for f in fields(Speed)} - {"value"} | {"where"}
_PROTOCOL = {"task", "dataset", "split", "protocol", "remarks"}
_TABLE = {"key", "source", "where", "recipe", "size", "remarks", "rows"}
_ROW = _TABLE - {"rows"} | {"model", "variant", "scores", "speeds", "flops", "config"}
_COUNTS = {"backbone_parameters", "parameters", "backbone_macs", "macs"}


@dataclass
class _Named:
    """What the files of a folder share by name: name -> where it stands, and its fields."""

    what: str
    found: dict[str, tuple[Place, Map]] = field(default_factory=dict)

    def add(self, place: Place, values: Any) -> None:
        for name, value in mapping(place, f"{self.what}s", values).items():
            where = f"{self.what}s.{name}"
            if name in self.found:
                other = self.found[name][0].file
                raise place.bad(where, f"it is also in {other}.", "keep one of the two.")
            self.found[name] = (place, mapping(place, where, value))

    def get(self, place: Place, name: str) -> tuple[Place, Map]:
        if name not in self.found:
            near = ", ".join(near_matches(name, self.found)) or "none is defined"
            problem = f"no {self.what} is called {checks.shown(name)}."
            do = f"define it under '{self.what}s', or name one that is there: {near}"
            raise place.bad(self.what, problem, do)
        return self.found[name]


def read_published(folder: str | os.PathLike, root: str | os.PathLike = ROOT) -> list[Row]:
    """All rows of a folder's `*.yml`, in the order of file names and then of the files.

    Args:
        root: the project's folder; a row's config is a path below it.

    Raises:
        MissingDataError: the folder is not there, or holds no such file.
        BadDataError: a file is not of the form; says which file, row and field, and what to do.
    """
    paths = sorted(Path(folder).glob("*.yml"))
    if not paths:
        raise MissingDataError(
            "no published results.",
            looked_for=f"{folder}/*.yml",
            do="name the folder that has them.",
        )
    sources, devices, protocols = _Named("source"), _Named("device"), _Named("protocol")
    tables: list[tuple[Place, Map]] = []
    for path in paths:
        place = Place(path.name)
        values = load(path, place)
        check_known(place, "", values, _FILE)
        _check_version(place, values)
        for named in (sources, devices, protocols):
            named.add(place, values.get(f"{named.what}s", Map()))
        for i, table in enumerate(list_of(place, "tables", values.get("tables", []))):
            tables.append((place, mapping(place, f"tables[{i}]", table)))
    for at, values in sources.found.values():
        _check_source(at, values)
    rows: dict[str, tuple[Row, str]] = {}
    for place, table in tables:
        check_known(place, "tables", table, _TABLE)
        for value in list_of(place, "rows", needed(place, table, "rows")):
            for row in _rows(place, table, value, sources, devices, protocols):
                if row.key in rows:
                    other = rows[row.key][1]
                    problem = f"two rows have this key, one of them in {other}."
                    raise Place(place.file, row.key).bad("key", problem, "change one.")
                _check_config(Place(place.file, row.key), row.config, Path(root))
                rows[row.key] = (row, place.file)
    return [row for row, _ in rows.values()]


def _rows(
    place: Place, table: Map, value: Any, sources: _Named, devices: _Named, protocols: _Named
) -> list[Row]:
    """The rows of one entry of a table: one for each protocol it has scores under."""
    values = mapping(place, "rows", value)
    prefix, own = (_key(place, one) for one in (table, values))
    place = Place(place.file, f"{prefix}/{own}")
    check_known(place, "", values, _ROW)
    source, url, remarks = _source(place, table, values, sources)
    speeds = _speeds(place, values.get("speeds", Map()), devices, sources)
    config = text_of(place, values, "config") if "config" in values else None
    scores = mapping(place, "scores", needed(place, values, "scores"))
    if not scores:
        raise place.bad("scores", "a row has no scores.", "give PROTOCOL: {METRIC: FIGURE}.")
    if config and len(scores) > 1:
        do = "give each result an entry of its own, one with the config."
        raise place.bad("config", "a config belongs to one result, this row has several.", do)
    flops = [_flops(text_of(place, values, "flops"))] if "flops" in values else []
    cpu = [CPU_REMARK] if any(speed.kind == "cpu" for speed in speeds) else []
    made = []
    for name, figures in scores.items():
        _, protocol = protocols.get(place, name)
        check_known(place, f"protocols.{name}", protocol, _PROTOCOL)
        says = (*_remarks(place, values), *flops, *_remarks(place, table))
        says = (*says, *_remarks(place, protocol), *remarks, *cpu)
        made.append(
            Row(
                key=f"{prefix}/{name}/{own}",
                origin="published",
                task=_task(place, name, protocol),
                dataset=text_of(place, protocol, "dataset"),
                split=text_of(place, protocol, "split"),
                protocol=text_of(place, protocol, "protocol"),
                model=text_of(place, values, "model"),
                variant=text_of(place, values, "variant") if "variant" in values else None,
                scores=_scores(place, name, protocol["task"], figures),
                recipe=_recipe(place, table, values),
                size=_size(place, table, values),
                speeds=speeds,
                source=source,
                url=url,
                remarks=tuple(dict.fromkeys(says)),
                config=config,
            )
        )
    return made


def _source(
    place: Place, table: Map, values: Map, sources: _Named
) -> tuple[str, str | None, tuple[str, ...]]:
    """Title and place in it, URL, and what the source's entry says besides."""
    if "source" not in values and "source" not in table:
        do = "name one of 'sources' in the row or its table: nothing is shown without its origin."
        raise place.bad("source", "a row has no source.", do)
    name = text_of(place, values if "source" in values else table, "source")
    _, source = sources.get(place, name)
    # the table's place is in the table's source
    inherited = "where" not in values and "source" not in values
    where = text_of(place, table if inherited else values, "where")
    licence = (f"Licence: {source['licence']}.",) if "licence" in source else ()
    said = f"{source['title']}, {where}"
    return said, source.get("url"), (*_remarks(place, source), *licence)


def _check_source(place: Place, source: Map) -> None:
    check_known(place, "sources", source, _SOURCE)
    for name in ("title", "url", "licence"):
        if name in source or name == "title":
            text_of(place, source, name)
    if not source.get("url", "https://").startswith("https://"):
        raise place.bad("url", "an address begins with https://.", "mend it, or leave it out.")


def _check_config(place: Place, config: str | None, root: Path) -> None:
    if config is None:
        return
    path = PurePosixPath(config)
    below = not path.is_absolute() and ".." not in path.parts and path.suffix == ".py"
    if not below or not (root / path).is_file():
        do = "name a config by its path below the project's folder, or none."
        raise place.bad("config", f"there is no config {checks.shown(config)}.", do)


def _speeds(place: Place, values: Any, devices: _Named, sources: _Named) -> tuple[Speed, ...]:
    found = []
    for name, value in mapping(place, "speeds", values).items():
        at, device = devices.get(place, name)
        check_known(at, f"devices.{name}", device, _DEVICE)
        said = {key: text_of(at, device, key) for key in device}
        for name_of in ("device", "kind"):
            if name_of not in said:
                do = "name it; 'not named' where the source does not; a kind is one of "
                do += ", ".join(_KINDS)
                raise at.bad(f"devices.{name}.{name_of}", "a speed has no device or kind.", do)
        if said["kind"] not in _KINDS:
            raise at.bad(f"devices.{name}.kind", "unknown kind.", "use " + ", ".join(_KINDS))
        unit = said.setdefault("unit", "frames/s")
        if unit not in ("frames/s", "ms"):
            raise at.bad(f"devices.{name}.unit", "unknown unit.", "use frames/s or ms.")
        if ("source" in said) != ("where" in said):
            do = "give both where the speed is from elsewhere than its row, else neither."
            raise at.bad(f"devices.{name}.source", "source and where belong together.", do)
        if "source" in said:
            title = sources.get(at, said["source"])[1]["title"]
            said["source"] = f"{title}, {said.pop('where')}"
        if "threads" in said:
            said["threads"] = _whole(at, f"devices.{name}.threads", said["threads"], 1)
        speed = _number(place, f"speeds.{name}", value, 0)
        if not speed:
            raise place.bad(f"speeds.{name}", "a speed is more than 0.", "leave it out.")
        found.append(Speed(value=speed, **said))
    return tuple(found)


def _task(place: Place, name: str, protocol: Map) -> str:
    task = text_of(place, protocol, "task")
    if task not in TASKS:
        do = "use one of: " + ", ".join(near_matches(task, TASKS))
        raise place.bad(f"protocols.{name}.task", f"unknown task {checks.shown(task)}.", do)
    return task


def _scores(place: Place, name: str, task: str, values: Any) -> dict[str, Score]:
    found = {}
    for key, value in mapping(place, f"scores.{name}", values).items():
        metric = TASKS[task].metric(key)
        if metric is None:
            do = f"{task} has: " + ", ".join(one.key for one in TASKS[task].metrics)
            raise place.bad(f"scores.{name}.{key}", "unknown metric.", do)
        most = 100 if metric.unit == "%" else math.inf
        found[key] = Score(_number(place, f"scores.{name}.{key}", value, 0, most))
    if not found:
        raise place.bad(f"scores.{name}", "no figures.", "give METRIC: FIGURE, or leave it out.")
    return found


def _recipe(place: Place, table: Map, values: Map) -> Recipe:
    """The table's recipe with the row's fields in it."""
    said: dict[str, Any] = _merged(place, "recipe", table, values, {f.name for f in fields(Recipe)})
    if "pretraining_epochs" in said:
        epochs = said["pretraining_epochs"]
        said["pretraining_epochs"] = _whole(place, "recipe.pretraining_epochs", epochs, 0)
    return Recipe(**said)


def _size(place: Place, table: Map, values: Map) -> ModelSize:
    """The table's size with the row's fields in it; the input goes where there are no MACs."""
    said = _merged(place, "size", table, values, {f.name for f in fields(ModelSize)})
    counts = {
        key: _amount(place, f"size.{key}", said[key]) for key in sorted(_COUNTS & said.keys())
    }
    input_size = said.get("input")
    if not {"macs", "backbone_macs"} & counts.keys():
        return ModelSize(**counts)
    if input_size is None:
        do = "give 'input', what they are counted for; 'not stated' where nobody says."
        raise place.bad("size.input", "MACs without an input.", do)
    return ModelSize(**counts, input=input_size)


def _merged(place: Place, name: str, table: Map, values: Map, known: set[str]) -> dict[str, str]:
    said = {}
    for part in (table, values):
        inner = mapping(place, name, part.get(name, Map()))
        check_known(place, name, inner, known)
        said |= {key: text_of(place, inner, key, f"{name}.{key}") for key in inner}
    return said


def _remarks(place: Place, values: Mapping[str, Any]) -> tuple[str, ...]:
    lines = list_of(place, "remarks", values.get("remarks", []))
    for line in lines:
        if not isinstance(line, str) or not line.strip() or not line.isprintable():
            raise place.bad("remarks", "a remark is one line of text.", "quote it if it has ': '.")
    return tuple(lines)


def _flops(text: str) -> str:
    said = "whether a multiply-add is one or two is not said"
    return f"FLOPs as the source counts them: {text}; {said}."


def _number(place: Place, name: str, value: Any, least: float, most: float = math.inf) -> float:
    try:
        number = float(Decimal(value)) if isinstance(value, str) and "_" not in value else math.nan
    except (InvalidOperation, ValueError):  # the latter of a signalling NaN
        number = math.nan
    if not (math.isfinite(number) and least <= number <= most):
        limit = f"from {least:g} to {most:g}" if most < math.inf else f"of {least:g} or more"
        raise place.bad(name, f"{checks.shown(value)} is no number {limit}.", "mend the figure.")
    return number


def _whole(place: Place, name: str, value: str, least: int) -> int:
    """Digits alone: what has a fraction is not rounded, it is refused."""
    if not _WHOLE.fullmatch(value) or int(value) < least:
        problem = f"{checks.shown(value)} is no whole number of {least} or more."
        raise place.bad(name, problem, "mend the figure.")
    return int(value)


def _amount(place: Place, name: str, value: str) -> int:
    """A whole number, or one with a unit: "5717416", "5.7 M", "0.585 G"."""
    match = _AMOUNT.fullmatch(value)
    number = Decimal(match[1]).scaleb(_UNITS[match[2]]) if match else Decimal(0)
    if not 0 < number <= _MOST or number != number.to_integral_value():
        do = "write a whole number, or one with k, M or G: 5.7 M."
        raise place.bad(name, f"{checks.shown(value)} is no count.", do)
    return int(number)


def _key(place: Place, values: Map) -> str:
    key = text_of(place, values, "key")
    if not _KEY.fullmatch(key.replace("/", "")) or "" in key.split("/"):
        do = "use lower-case letters, digits and -._ (and / between parts)."
        raise place.bad("key", f"{checks.shown(key)} is no key.", do)
    return key


def _check_version(place: Place, values: Map) -> None:
    version = text_of(place, values, "format_version")
    if version == str(FORMAT_VERSION):
        return
    newer = bool(_WHOLE.fullmatch(version)) and int(version) > FORMAT_VERSION
    do = "update lightvit_bench." if newer else f"write format_version: {FORMAT_VERSION}."
    problem = f"format version {checks.shown(version)}, and this reads {FORMAT_VERSION}."
    raise place.bad("format_version", problem, do)
