"""Values of a record, from code or from a file: types and ranges, told by the field's name."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, Union

from lightvit_bench.errors import BadDataError

Kind = TypeVar("Kind")
Value = Union[int, float, None, dict[str, "Value"]]
DEPTH = 4  # of values within values


def text(name: str, value: Any) -> str:
    """`value`, or `BadDataError` unless it is one line of text that is not empty."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise wrong(name, "one line of text", value)
    return value


def named(name: str, key: Any) -> str:
    """`key`, or `BadDataError` unless it is a name of one line, of at most 100 letters."""
    if len(text(f"a name in {name}", key)) > 100:
        raise wrong(f"a name in {name}", "at most 100 letters", key)
    return key


def whole(name: str, value: Any, least: int = 0) -> int:
    """`value` as an int, or `BadDataError` unless it is a whole number of at least `least`."""
    whole_number = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole_number or not least <= value < 2**63:
        raise wrong(name, f"a whole number of {least} or more", value)
    return int(value)


def number(name: str, value: Any, least: float = -math.inf) -> float:
    """`value` as a float, or `BadDataError` unless it is finite and at least `least`."""
    try:
        fits = (
            isinstance(value, numbers.Real)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and value >= least
        )
    except OverflowError:  # an int beyond all floats
        fits = False
    if not fits:
        limit = f" of {least:g} or more" if least > -math.inf else ""
        raise wrong(name, f"a finite number{limit}", value)
    return float(value)


def figures(name: str, values: Any, depth: int = 1) -> dict[str, Value]:
    """`values` with plain ints and floats; `BadDataError` names the one that is none."""
    if not isinstance(values, Mapping):
        raise wrong(name, "an object with named figures", values)
    if depth > DEPTH:
        raise wrong(name, f"a figure: values nest {DEPTH} deep at most", values)
    found: dict[str, Value] = {}
    for key, value in values.items():
        inner = f"{name}.{named(name, key)}"
        if value is None:
            found[key] = None
        elif isinstance(value, Mapping):
            found[key] = figures(inner, value, depth + 1)
        else:
            exact = number(inner, value)
            found[key] = int(value) if isinstance(value, numbers.Integral) else exact
    return found


def version_names(values: Any) -> dict[str, str | None]:
    """Versions by name, None for one that is not installed; `BadDataError` for anything else."""
    if not isinstance(values, Mapping):
        raise wrong("versions", "an object with a version for each name", values)
    for name, version in values.items():
        named("versions", name)
        if version is not None:
            text(f"versions.{name}", version)
    return dict(values)


def build(kind: type[Kind], values: Any, name: str = "") -> Kind:
    """A dataclass from what JSON gave, every field of it and no other.

    Args:
        name: of the field it stands in, for errors.

    Raises:
        BadDataError: it is no object, a field is unknown, missing, or of another type or range.
    """
    if not isinstance(values, Mapping):
        raise wrong(name or "the record", "an object with named fields", values)
    prefix = f"{name}." if name else ""
    known = {field.name for field in fields(kind)}
    for problem, names in (("unknown", set(values) - known), ("missing", known - set(values))):
        if names:
            listed = ", ".join(sorted(prefix + str(one) for one in names))
            raise BadDataError(f"a record has {problem} fields.", field=shown(listed))
    try:
        return kind(**values)
    except BadDataError as error:
        inner = error.details.get("field", [""])[0]
        raise BadDataError(error.message, field=prefix + inner) from None


def wrong(name: str, wanted: str, value: Any) -> BadDataError:
    """The error of a field that is something else than `wanted`."""
    return BadDataError(f"a field of a record is {wanted}, not {shown(value)}.", field=name)


def shown(value: Any) -> str:
    """A value in one short line."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a huge number"
    line = value if isinstance(value, str) and value.isprintable() else repr(value)
    line = line or "''"
    return line if len(line) < 200 else line[:197] + "..."
