"""Columns of the tables in a COCO file: one key of every entry, with errors that name the entry."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from lightvit_bench.errors import BadDataError, printable

_SECTIONS = {"image": "images", "object": "annotations", "category": "categories"}


@dataclass(frozen=True)
class CocoTables:
    """What reads the sections of an annotation file. Every method raises BadDataError.

    place: the file, for messages. `what` is one entry's name there: image, object or category.
    """

    place: str

    def bad(self, because: str) -> BadDataError:
        """The error for something that is not as COCO's format has it."""
        return BadDataError(
            "COCO's annotations are not in COCO's format.",
            file=self.place,
            because=printable(because),
            layout="docs/datasets.md#coco",
        )

    def section(self, content: dict, name: str) -> list[dict]:
        """The list under one key of the file."""
        if name not in content:
            keys = ", ".join(map(str, list(content)[:8])) or "none"
            raise self.bad(f"there is no section {name!r}; the file's are: {keys}")
        if not isinstance(content[name], list):
            raise self.bad(f"{name!r} is a {type(content[name]).__name__}, not a list")
        return content[name]

    def column(self, what: str, entries: list[dict], key: str) -> list:
        """`entry[key]` of every entry."""
        try:
            return [entry[key] for entry in entries]
        except (KeyError, TypeError, IndexError):
            pass
        for row, entry in enumerate(entries):
            if not isinstance(entry, dict):
                where = f"entry {row} of {_SECTIONS[what]!r}"
                raise self.bad(f"{where} is a {type(entry).__name__}, not keys and values")
            if key not in entry:
                keys = ", ".join(list(entry)[:8]) or "none"
                raise self.bad(f"{_name(what, row, entry)} has no {key!r}, its keys are: {keys}")
        raise AssertionError("one of the entries raised")

    def integers(self, what: str, entries: list[dict], key: str = "id") -> np.ndarray:
        """The column as int64 (N,)."""
        values = self.column(what, entries, key)
        for row, value in enumerate(values):
            if type(value) is not int or not -(2**63) <= value < 2**63:
                told = f"{_name(what, row, entries[row])} has {key} {_shown(value)}"
                raise self.bad(f"{told}, not an integer")
        return np.array(values, np.int64)

    def names(self, what: str, entries: list[dict], key: str) -> list[str]:
        """The column as texts that can name a file."""
        values = self.column(what, entries, key)
        for row, value in enumerate(values):
            if not isinstance(value, str) or not value:
                why = "not a text"
            elif "\0" in value or not _encodes(value):
                why = "which no file can be called"
            else:
                continue
            raise self.bad(f"{_name(what, row, entries[row])} has {key} {_shown(value)}, {why}")
        return values

    def used_once(self, things: str, values: np.ndarray | list[str], key: str = "id") -> None:
        """Refuse a value that two entries have."""
        found, counts = np.unique(np.array(values), return_counts=True)
        twice = found[counts > 1]
        if len(twice):
            some = ", ".join(map(str, twice[:5])) + (", ..." if len(twice) > 5 else "")
            raise self.bad(f"{len(twice):,} {key}s are used twice or more in {things}: {some}")

    def boxes(self, objects: list[dict]) -> np.ndarray:
        """`bbox` of every object, float64 (N, 4): x, y, width, height."""
        boxes = self.column("object", objects, "bbox")
        if not boxes:
            return np.zeros((0, 4))
        try:
            table = np.array(boxes)
        except ValueError:  # lists of several lengths
            table = None
        if (
            table is not None
            and table.ndim == 2
            and table.shape[1] == 4
            and table.dtype.kind in "if"
        ):
            return table.astype(np.float64)
        for row, box in enumerate(boxes):
            four = isinstance(box, list) and len(box) == 4
            if not four or not all(_is_number(value) for value in box):
                raise self.bad(
                    f"object {objects[row]['id']} has bbox {_shown(box)}, not the four numbers "
                    "x, y, width, height"
                )
        return np.array(boxes, np.float64)

    def areas(self, objects: list[dict], required: bool) -> np.ndarray:
        """`area` of every object, float64 (N,); 1 where one has none and none is `required`."""
        areas = [thing.get("area") for thing in objects]
        for row, area in enumerate(areas):
            if area is None:
                if required:
                    raise self.bad(
                        f"object {objects[row]['id']} has no 'area', by which the metric tells "
                        "small, medium and large ones apart"
                    )
                areas[row] = 1.0
            elif not _is_number(area):
                raise self.bad(f"object {objects[row]['id']} has area {_shown(area)}, no number")
        return np.array(areas, np.float64)

    def flags(self, objects: list[dict], key: str) -> np.ndarray:
        """0 or 1 of every object, bool (N,); 0 where it is not told."""
        values = [thing.get(key, 0) for thing in objects]
        for row, value in enumerate(values):
            if type(value) not in (int, bool) or value not in (0, 1):
                raise self.bad(f"object {objects[row]['id']} has {key} {_shown(value)}, not 0 or 1")
        return np.array(values, bool)


def _name(what: str, row: int, entry: dict) -> str:
    if "id" in entry:
        return f"{what} {_shown(entry['id'])}"
    return f"{what} number {row} (from 0)"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_number(value: object) -> bool:
    """Infinities and NaN are, and are told of with all other objects that have them."""
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _encodes(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True
