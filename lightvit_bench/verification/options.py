"""Options of stored files, checked by their kind before anything is read with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightvit_bench.bench import checks
from lightvit_bench.bench.parts import StoredFiles, check_hex
from lightvit_bench.bench.record import RunRecord
from lightvit_bench.data.got10k import COUNTS
from lightvit_bench.errors import BadDataError
from lightvit_bench.verification.keeping import COCO, GOT10K, LABELS, LASOT, MASKS, TRACKS

MOST_CLASSES = 65_536
_LARGEST_VALUE = 65_535  # of a label


def check_options(record: RunRecord) -> None:
    """`BadDataError` that names the option of a record's files that is missing, unknown or odd."""
    for what in ("predictions", "truth"):
        stored: StoredFiles = getattr(record, what)
        known = _KINDS.get((what, stored.kind))
        if known is None:
            continue  # a kind that is not computed from, which is told as such
        needed, may = known
        name = f"{what}.options"
        for key in stored.options:
            if key not in needed and key not in may:
                raise BadDataError(
                    f"a record's {stored.kind} have an option that is not known.",
                    field=f"{name}.{checks.shown(key)}",
                    known=", ".join([*needed, *may]) or "none",
                )
        for key, check in {**needed, **may}.items():
            if key in stored.options or key in needed:
                check(f"{name}.{key}", stored.options.get(key))
    rule = record.predictions.options.get("rule")
    if record.predictions.kind == TRACKS and (rule == "got10k") != (record.task == "tracking-ao"):
        wanted = "got10k" if record.task == "tracking-ao" else "toolkit or valid-frames"
        raise checks.wrong("predictions.options.rule", f"{wanted} in {record.task}", rule)
    if (record.predictions.kind, record.truth.kind) == (LABELS, MASKS):
        for key in ("first", "ignore"):
            of_labels, value = record.predictions.options[key], record.truth.options[key]
            if of_labels != value:
                wanted = f"the {key} of its predictions, {of_labels}"
                raise checks.wrong(f"truth.options.{key}", wanted, value)


def _within(least: int, most: int) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if type(value) is not int or not least <= value <= most:
            raise checks.wrong(name, f"a whole number from {least} to {most}", value)

    return check


def _one_of(*known: str) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if value not in known:
            raise checks.wrong(name, f"one of {', '.join(known)}", value)

    return check


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise checks.wrong(name, "text", value)


def _name_part(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.isprintable() or "/" in value or "\\" in value:
        raise checks.wrong(name, "a part of a file's name", value)


def _suffix(name: str, value: Any) -> None:
    _name_part(name, value)
    if not value:
        raise checks.wrong(name, "how files' names end", value)


def _digest(name: str, value: Any) -> None:
    check_hex(name, value, 64)


_Checks = Mapping[str, Callable[[str, Any], None]]
_VALUES: _Checks = {
    "first": _within(0, _LARGEST_VALUE),
    "ignore": _within(-_LARGEST_VALUE, _LARGEST_VALUE),
}
# What must be there, and what may be.
_KINDS: Mapping[tuple[str, str], tuple[_Checks, _Checks]] = {
    ("predictions", TRACKS): (
        {"rule": _one_of("toolkit", "valid-frames", "got10k")},
        {"names": _text},
    ),
    ("predictions", LABELS): (
        {"classes": _within(1, MOST_CLASSES), "class_digest": _digest, **_VALUES},
        {"names": _text},
    ),
    ("predictions", COCO): ({}, {"images": _text, "categories": _text}),
    ("truth", LASOT): ({}, {}),
    ("truth", GOT10K): ({"split": _one_of(*COUNTS)}, {}),
    ("truth", MASKS): ({**_VALUES, "suffix": _suffix, "ending": _name_part}, {}),
    ("truth", COCO): ({}, {}),
}
