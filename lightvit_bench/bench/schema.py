"""The JSON Schema of run records, made from the dataclasses that read them.

For programs in other languages, and for editors. `read_record` checks more: that dates are dates,
that fields do not contradict one another, and the digest.
"""

from __future__ import annotations

import collections.abc
import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any

from lightvit_bench.bench.record import FORMAT_VERSION, FORMS, ORIGINS, RunRecord

_VALUE = {"$ref": "#/$defs/Value"}
_PLAIN = {str: "string", int: "integer", float: "number", type(None): "null"}


def record_schema() -> dict[str, Any]:
    """The schema of a file of the newest version (JSON Schema, draft 2020-12)."""
    definitions: dict[str, Any] = {
        "Value": {
            "anyOf": [
                {"type": ["number", "null"]},
                {"type": "object", "additionalProperties": _VALUE},
            ]
        }
    }
    record = _object(RunRecord, definitions)
    properties = record["properties"]
    properties["format_version"] = {"const": FORMAT_VERSION}
    properties["origin"] = {"enum": list(ORIGINS)}
    properties["date"]["pattern"] = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"
    for name, pattern, _ in FORMS:
        properties[name]["pattern"] = f"^(?:{pattern})$"
    properties["run"]["pattern"] = "^[0-9a-f]{32}$"
    properties["sha256"] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    record["required"].append("sha256")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Run record of lightvit_bench, version {FORMAT_VERSION}",
        "$comment": "made by tools/leaderboard.py build; do not edit. Of the newest version alone: "
        "files of version 1 lack some of these fields.",
        **record,
        "$defs": definitions,
    }


def _object(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """Every field of a dataclass, and no other."""
    hints = typing.get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    return {
        "type": "object",
        "properties": {name: _schema(hints[name], definitions) for name in names},
        "required": names,
        "additionalProperties": False,
    }


def _schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type; dataclasses become definitions."""
    if typing.get_origin(hint) is dict:  # `checks.Value`, which holds itself
        return dict(_VALUE)
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if is_dataclass(hint):
        definitions[hint.__name__] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if all(one in _PLAIN for one in inner):
            return {"type": [_PLAIN[one] for one in inner]}
        unlike = [_schema(one, definitions) for one in inner if one not in _PLAIN]
        plain = [_PLAIN[one] for one in inner if one in _PLAIN]
        return {"anyOf": [*([{"type": plain}] if plain else []), *unlike]}
    if origin is collections.abc.Mapping:
        return {"type": "object", "additionalProperties": _schema(inner[1], definitions)}
    if origin is tuple:
        found = {"type": "array", "items": _schema(inner[0], definitions)}
        if inner[-1] is not Ellipsis:
            found |= {"minItems": len(inner), "maxItems": len(inner)}
        return found
    raise TypeError(f"no schema for {hint}")
