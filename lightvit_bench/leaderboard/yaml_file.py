"""YAML that people write, read as text: mappings that know their lines, errors that name them.

No value is guessed at (no `1_0` that is ten, no `on` that is true), no tag or alias is followed,
and no key stands twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lightvit_bench.bench import checks
from lightvit_bench.errors import BadDataError, near_matches


class Map(dict):
    """A mapping of a file, which knows where it stands: `line` of its own, `lines` of its keys."""

    def __init__(self, line: int = 0):
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}


@dataclass(frozen=True)
class Place:
    """Where something stands, for errors."""

    file: str
    row: str = ""

    def bad(self, name: str, problem: str, do: str, line: int | None = None) -> BadDataError:
        """The error of a field: its file and row, what is wrong, and what to do."""
        details = {"file": self.file + (f", line {line}" if line else "")}
        if self.row:
            details["row"] = self.row
        return BadDataError(f"published results: {problem}", **details, field=name, do=do)


def load(path: Path, place: Place) -> Map:
    """A file's one document: `Map`s, lists and text."""
    try:
        text = path.read_text(encoding="utf-8")
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1
                raise place.bad(f"*{event.anchor}", "an alias.", "write it out.", line)
        node = yaml.compose(text, Loader=yaml.BaseLoader)
        return mapping(place, "the file", None if node is None else _plain(place, node))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = f"this is no YAML: {getattr(error, 'problem', None) or error}"
        line = mark.line + 1 if mark else None
        raise place.bad("the file", " ".join(problem.split()), "mend it.", line) from None
    except RecursionError:
        raise place.bad("the file", "it nests too deep.", "see the head of sources.yml.") from None


def _plain(place: Place, node: yaml.Node) -> Any:
    line = node.start_mark.line + 1
    kind = {yaml.ScalarNode: "str", yaml.SequenceNode: "seq", yaml.MappingNode: "map"}[type(node)]
    if node.tag != f"tag:yaml.org,2002:{kind}":
        raise place.bad(node.tag, "a tag; none is followed here.", "remove it.", line)
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(place, one) for one in node.value]
    found = Map(line)
    for key_node, value in node.value:
        key, line = _plain(place, key_node), key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise place.bad(checks.shown(key), "a key that is no text.", "name it.", line)
        if key in found:
            first = found.lines[key]
            raise place.bad(key, f"it is there twice, first in line {first}.", "keep one.", line)
        found[key] = _plain(place, value)
        found.lines[key] = line
    return found


def needed(place: Place, values: Map, name: str) -> Any:
    """A field, or `BadDataError` where it is missing."""
    if name not in values:
        raise place.bad(name, f"{name!r} is missing.", "add it.", values.line)
    return values[name]


def text_of(place: Place, values: Map, name: str, shown: str = "") -> str:
    """A field of one line of text; `shown` is its name in errors."""
    value = needed(place, values, name)
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        problem = f"it is one line of text, not {checks.shown(value)}."
        do = "write it on one line, in quotes if it has ': ' or ' #'."
        raise place.bad(shown or name, problem, do, values.lines.get(name))
    return value


def mapping(place: Place, name: str, value: Any) -> Map:
    """`value`, or `BadDataError` unless it is a mapping."""
    if not isinstance(value, Map):
        problem = f"it is a mapping (NAME: VALUE), not {checks.shown(value)}."
        raise place.bad(name, problem, "see the head of sources.yml.")
    return value


def list_of(place: Place, name: str, value: Any) -> list:
    """`value`, or `BadDataError` unless it is a list."""
    if not isinstance(value, list):
        problem = f"it is a list, not {checks.shown(value)}."
        raise place.bad(name, problem, "see the head of sources.yml.")
    return value


def check_known(place: Place, name: str, values: Map, known: Iterable[str]) -> None:
    """`BadDataError` for a field that is none of `known`."""
    for key in values:
        if key not in known:
            do = "remove it, or use one of: " + ", ".join(near_matches(key, known))
            where = f"{name}.{key}" if name else key
            raise place.bad(where, "there is no such field.", do, values.lines[key])
