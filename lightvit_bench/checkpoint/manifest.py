"""What a checkpoint says about itself: JSON under one key of the safetensors metadata."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from os import PathLike
from typing import Any

from lightvit_bench.checkpoint.fingerprint import Fingerprint, TensorSummary
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.vit import get_preset

KEY = "lightvit_bench"
FORMAT_VERSION = 1
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
NORMS = ("final", "none")
# How the head count, which no tensor shows, is known.
HEADS_FROM = {
    "model": "from the model that was trained",
    "converter": "from what is published about the source",
    "unverified": "as the caller said; the source does not tell",
}


@dataclass(frozen=True)
class Parent:
    """A file that a checkpoint was made from."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A checkpoint's identity.

    Attributes:
        preset: name in `vit.PRESETS`; heads, width, depth, patch repeat it (of a Hiera, those of
            the first stage), so that a renamed or changed preset is noticed.
        grid: rows and columns of the position table.
        norm: "final" if the encoder's own last LayerNorm is in the file, else "none".
        image_mean, image_std: per RGB channel, for pixels from 0 to 1.
        recipe: how it was trained: "mae", "dmae", "d2mae", "finetuned", "mocov3", "deit", ...
        heads_from: a key of `HEADS_FROM`.
        extra: groups of tensors kept aside, stored as `extra.<group>.<name>`.
    """

    preset: str
    heads: int
    width: int
    depth: int
    patch: int
    grid: tuple[int, int]
    cls_token: bool
    norm: str
    layer_scale: bool
    rel_pos: bool
    recipe: str
    epochs: int | None
    parents: tuple[Parent, ...]
    heads_from: str
    extra: tuple[str, ...]
    fingerprint: Fingerprint
    image_mean: tuple[float, float, float] = IMAGENET_MEAN
    image_std: tuple[float, float, float] = IMAGENET_STD
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """JSON text; `from_json` gives an equal manifest back."""
        return json.dumps(asdict(self), allow_nan=False)


def from_json(text: str, file: str | PathLike) -> Manifest:
    """Read a manifest; `file` is named in errors.

    Raises:
        CheckpointError: not JSON, of a later format, a field missing, unknown or of another type,
            or at odds with the preset of that name.
    """
    try:
        values = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise _bad(file, "its manifest is not JSON.", cause=str(error)) from None
    if not isinstance(values, dict):
        raise _bad(file, "its manifest is not a JSON object.")
    _check_version(values.get("format_version"), file)
    _check_names(values, Manifest, file)
    manifest = Manifest(**{name: _read(name, value, file) for name, value in values.items()})
    _check_preset(manifest, file)
    return manifest


def _check_version(version: Any, file: str | PathLike) -> None:
    if not _is_int(version) or version < 1:
        raise _bad(file, "its manifest has no valid format_version.", found=repr(version))
    if version > FORMAT_VERSION:
        raise _bad(
            file,
            f"its manifest has format {version}, this lightvit_bench reads up to {FORMAT_VERSION}.",
            do="update lightvit_bench",
        )


def _check_names(values: Mapping, kind: type, file: str | PathLike, where: str = "") -> None:
    known = {field.name for field in fields(kind)}
    for label, names in (("missing", known - set(values)), ("unknown", set(values) - known)):
        if names:
            listed = ", ".join(where + name for name in sorted(names))
            raise _bad(file, f"its manifest has {label} fields.", fields=listed)


def _check_preset(manifest: Manifest, file: str | PathLike) -> None:
    try:
        preset = get_preset(manifest.preset)
    except ConfigError as error:
        raise _bad(file, f"its preset is unknown: {error.message}", **error.details) from None
    for name in ("heads", "width", "depth", "patch"):
        here, there = getattr(preset, name), getattr(manifest, name)
        if here != there:
            raise _bad(
                file,
                f"its manifest contradicts the preset {manifest.preset}.",
                field=name,
                manifest=str(there),
                preset=str(here),
            )


def _read(name: str, value: Any, file: str | PathLike) -> Any:
    """One field, checked and made immutable."""
    wanted, reader = READERS[name]
    try:
        return reader(value, file)
    except (TypeError, ValueError):
        found = repr(value)
        raise _bad(
            file,
            f"its manifest's field {name} is not {wanted}.",
            found=found if len(found) < 80 else found[:77] + "...",
        ) from None


def _bad(file: str | PathLike, message: str, **details: str) -> CheckpointError:
    return CheckpointError(f"the checkpoint cannot be used: {message}", file=str(file), **details)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(condition: bool) -> None:
    if not condition:
        raise TypeError


def _count(value: Any, file: str | PathLike) -> int:
    _require(_is_int(value) and value > 0)
    return value


def _epochs(value: Any, file: str | PathLike) -> int | None:
    _require(value is None or _is_int(value) and value >= 0)
    return value


def _flag(value: Any, file: str | PathLike) -> bool:
    _require(isinstance(value, bool))
    return value


def _text(value: Any, file: str | PathLike) -> str:
    _require(isinstance(value, str) and bool(value))
    return value


def _one_of(*options: str):
    def reader(value: Any, file: str | PathLike) -> str:
        _require(value in options)
        return value

    return f"one of {', '.join(options)}", reader


def _texts(value: Any, file: str | PathLike) -> tuple[str, ...]:
    _require(isinstance(value, list))
    return tuple(_text(item, file) for item in value)


def _numbers(value: Any, file: str | PathLike) -> tuple[float, ...]:
    _require(isinstance(value, list))
    for item in value:
        _require(isinstance(item, (int, float)) and not isinstance(item, bool))
        _require(math.isfinite(item))
    return tuple(float(item) for item in value)


def _rgb(value: Any, file: str | PathLike) -> tuple[float, ...]:
    _require(isinstance(value, list) and len(value) == 3)
    return _numbers(value, file)


def _grid(value: Any, file: str | PathLike) -> tuple[int, ...]:
    _require(isinstance(value, list) and len(value) == 2)
    return tuple(_count(item, file) for item in value)


def _parents(value: Any, file: str | PathLike) -> tuple[Parent, ...]:
    _require(isinstance(value, list))
    for item in value:
        _require(isinstance(item, dict))
        _check_names(item, Parent, file, "parents.")
    return tuple(Parent(**{k: _text(v, file) for k, v in item.items()}) for item in value)


def _summary(value: Any, file: str | PathLike) -> TensorSummary:
    _require(isinstance(value, dict))
    _check_names(value, TensorSummary, file, "fingerprint.")
    mean, std, l2 = _numbers([value["mean"], value["std"], value["l2"]], file)
    at, entries = _numbers(value["at"], file), _numbers(value["v"], file)
    _require(len(at) == len(entries) and all(i >= 0 and i == int(i) for i in at))
    return TensorSummary(mean, std, l2, tuple(int(i) for i in at), entries)


def _fingerprint(value: Any, file: str | PathLike) -> Fingerprint:
    _require(isinstance(value, dict))
    _check_names(value, Fingerprint, file, "fingerprint.")
    normed = value["normed"]
    return Fingerprint(
        tokens=_summary(value["tokens"], file),
        normed=None if normed is None else _summary(normed, file),
    )


READERS = {
    "format_version": ("a positive whole number", _count),
    "preset": ("a name", _text),
    **{name: ("a positive whole number", _count) for name in ("heads", "width", "depth", "patch")},
    "grid": ("two positive whole numbers", _grid),
    **{name: ("true or false", _flag) for name in ("cls_token", "layer_scale", "rel_pos")},
    "norm": _one_of(*NORMS),
    "image_mean": ("three numbers", _rgb),
    "image_std": ("three numbers", _rgb),
    "recipe": ("a name", _text),
    "epochs": ("a whole number or null", _epochs),
    "parents": ("a list of {name, sha256}", _parents),
    "heads_from": _one_of(*HEADS_FROM),
    "extra": ("a list of names", _texts),
    "fingerprint": ("{tokens, normed}, each {mean, std, l2, at, v}", _fingerprint),
}
