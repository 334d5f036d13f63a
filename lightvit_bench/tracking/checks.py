"""Types and ranges of values that come from a file or a config, each told by its field's name."""

from __future__ import annotations

import math
from typing import Any

from lightvit_bench.errors import ConfigError


def check_whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """`ConfigError` unless `value` is an int, no bool, from `least` to `most`."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        limits = f"from {least} to {most}" if most is not None else f"of {least} or more"
        raise ConfigError(f"{name} is a whole number {limits}, not {_shown(value)}.")


def check_number(name: str, value: Any, above: float = -math.inf, most: float = math.inf) -> None:
    """`ConfigError` unless `value` is a finite int or float, above `above` and at most `most`."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    try:
        fits = number and math.isfinite(value) and above < value <= most
    except OverflowError:  # an int beyond all floats
        fits = False
    if not fits:
        lower = f" above {above:g}" if above > -math.inf else ""
        upper = f", at most {most:g}" if most < math.inf else ""
        raise ConfigError(f"{name} is a finite number{lower}{upper}, not {_shown(value)}.")


def check_kind(name: str, value: Any, kind: type) -> None:
    """`ConfigError` unless `value` is of a type: bool, str, ..."""
    if not isinstance(value, kind):
        raise ConfigError(f"{name} is of type {kind.__name__}, not {_shown(value)}.")


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**40 else "a huge number"
    return text if len(text) < 60 else text[:57] + "..."
