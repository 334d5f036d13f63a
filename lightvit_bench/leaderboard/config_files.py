"""What a config says, read without running it: Python's literals, and `_base_` files. No mmengine.

A config is a Python file, and mmengine runs it. Here its assignments are read as text: numbers,
text, lists, dicts, `dict(...)`, names assigned before and arithmetic. What else stands in one is
left out, `UNREAD` in its place.
"""

from __future__ import annotations

import ast
import operator
from pathlib import Path
from typing import Any

from lightvit_bench.errors import BadDataError

UNREAD = object()

_ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


def read_config(path: Path) -> dict[str, Any]:
    """A config's values with those of its `_base_` files below them, merged as mmengine does.

    Raises:
        BadDataError: the file is no Python.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise BadDataError("a config is no Python.", file=str(path), problem=str(error)) from None
    own: dict[str, Any] = {}
    for line in tree.body:
        if isinstance(line, ast.Assign):
            for target in line.targets:
                own |= _assigned(target, _value(line.value, own))
    bases = own.pop("_base_", [])
    below: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        below = _merged(below, read_config(path.parent / base))
    return _merged(below, own)


def found(config: dict[str, Any], *path: str) -> Any:
    """A value within a config, None where it is not there or was not read."""
    value: Any = config
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return None if value is UNREAD else value


def _assigned(target: ast.expr, value: Any) -> dict[str, Any]:
    """Names and values of `a = ...` and of `a, b = ...`."""
    if isinstance(target, ast.Name):
        return {target.id: value}
    parts = target.elts if isinstance(target, ast.Tuple) else []
    values = (
        value if isinstance(value, list) and len(value) == len(parts) else [UNREAD] * len(parts)
    )
    named: dict[str, Any] = {}
    for part, one in zip(parts, values, strict=True):
        named |= _assigned(part, one)
    return named


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        if isinstance(value, dict):
            value = dict(value)
            under = {} if value.pop("_delete_", False) else result.get(key)
            value = _merged(under if isinstance(under, dict) else {}, value)
        result[key] = value
    return result


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return names.get(node.id, UNREAD)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(one, names) for one in node.elts]
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        pairs = zip(node.keys, node.values, strict=True)
        return {key.value: _value(value, names) for key, value in pairs}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return {one.arg: _value(one.value, names) for one in node.keywords if one.arg}
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        left, right = _value(node.left, names), _value(node.right, names)
        divides = isinstance(node.op, (ast.Div, ast.FloorDiv))
        numbers = all(type(one) in (int, float) for one in (left, right))
        if numbers and not (divides and right == 0):
            return _ARITHMETIC[type(node.op)](left, right)
    return UNREAD
