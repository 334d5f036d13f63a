"""A record's score, computed again from its predictions and truth, beside what the record says.

print("\\n".join(verify_record("records/segmentation_....json").lines()))
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lightvit_bench.bench.checks import Value
from lightvit_bench.bench.parts import StoredFiles
from lightvit_bench.bench.provenance import ROOT, shown_path
from lightvit_bench.bench.record import RunRecord, read_record
from lightvit_bench.data.roots import resolve_root
from lightvit_bench.errors import BadDataError, MissingDataError, UserError, printable
from lightvit_bench.verification.options import check_options

# Relative. Counts, boxes and scores are stored exactly, or as they were judged: what is left are
# sums in another order (another numpy, the other of COCO's two evaluators).
TOLERANCE = 1e-6
_OUTSIDE = "..."  # how `shown_path` begins what lies outside the project


@dataclass(frozen=True)
class Check:
    """A metric: what the record says, and what its files give; None where there is no value."""

    metric: str
    recorded: Value
    recomputed: float | None

    @property
    def difference(self) -> float | None:
        """Recomputed less recorded; None unless both are figures."""
        if self.recomputed is None or not isinstance(self.recorded, (int, float)):
            return None
        return self.recomputed - self.recorded

    @property
    def ok(self) -> bool:
        """Whether the two are the same but for `TOLERANCE`, or neither has a value."""
        if self.difference is None:
            return self.recorded is None and self.recomputed is None
        return abs(self.difference) <= TOLERANCE * max(abs(self.recorded), abs(self.recomputed))


@dataclass(frozen=True)
class Verification:
    """What came of a record.

    Attributes:
        record: its file.
        what: model and protocol, for a person.
        predictions, truth: where they were read.
        checks: by metric; empty where nothing could be computed.
        problems: what is not as the record says, each a line or more.
    """

    record: Path
    what: str
    predictions: Path
    truth: Path
    checks: tuple[Check, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the files are those of the record, and give its values."""
        return bool(self.checks) and not self.problems and all(one.ok for one in self.checks)

    def lines(self) -> list[str]:
        """All of it for a terminal."""
        found = [
            f"record       {printable(str(self.record))}",
            f"             {printable(self.what)}",
            f"predictions  {printable(str(self.predictions))}",
            f"truth        {printable(str(self.truth))}",
        ]
        if self.checks:
            table = [("", "recorded", "recomputed", "difference", "")]
            for one in self.checks:
                figures = (_figure(one.recorded), _figure(one.recomputed))
                apart = "" if one.difference is None else f"{one.difference:+.2g}"
                table.append((one.metric, *figures, apart, "" if one.ok else "DIFFERS"))
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            found.append("")
            for name, *cells in table:
                right = (cell.rjust(w) for cell, w in zip(cells[:-1], widths[1:], strict=False))
                found.append("  ".join([name.ljust(widths[0]), *right, cells[-1]]).rstrip())
        found += ["", *(f"PROBLEM  {problem}" for problem in self.problems)][not self.problems :]
        found.append("")
        same = f"the same score, to {TOLERANCE:g} of it, from the files that the record names"
        found.append(f"verified: {same}" if self.ok else "NOT verified")
        return found


def verify_record(
    path: str | os.PathLike,
    predictions: str | os.PathLike | None = None,
    truth: str | os.PathLike | None = None,
) -> Verification:
    """Compute a record's score again.

    Args:
        predictions, truth: where they are, in place of what the record says. That of files outside
            the project it does not say, only their name.

    Relative paths of a record are looked for in the project's folder, then in the current one;
    `data/...` is below $LIGHTVIT_DATA where that is set.

    Raises:
        MissingDataError: the record, or the files, are not there.
        BadDataError: the record cannot be read, kept no predictions, is of a kind that no score
            can be computed of, or an option of its files is missing, unknown or out of range.
    """
    record = read_record(path)
    _refuse_without(record, str(path))
    check_options(record)
    places = [
        _place(record.predictions, predictions, "predictions"),
        _place(record.truth, truth, "truth"),
    ]
    problems: list[str] = []
    values: dict[str, float | None] = {}
    try:
        values, problems = _recompute(record, *places)
    except UserError as error:
        problems.append(f"no score can be computed: {error}")
    protocol = record.protocol or "no protocol"
    checks = tuple(Check(key, record.values.get(key), value) for key, value in values.items())
    left_out = [key for key in _METRICS[record.task] if _is_figure(record, key, values)]
    if checks and left_out:
        problems.append(f"the files give no {', '.join(left_out)}, of which the record has a value")
    return Verification(Path(path), f"{record.model}, {protocol}", *places, checks, tuple(problems))


_METRICS = {
    "segmentation": ("miou", "macc", "aacc"),
    "detection": tuple(
        f"{kind}_{name}"
        for kind in ("box", "mask")
        for name in ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    ),
    "tracking": ("auc", "op50", "op75", "precision", "norm_precision"),
    "tracking-ao": ("ao", "sr50", "sr75"),
}


def _is_figure(record: RunRecord, key: str, values: dict[str, float | None]) -> bool:
    return key not in values and record.values.get(key) is not None


def _recompute(
    record: RunRecord, predictions: Path, truth: Path
) -> tuple[dict[str, float | None], list[str]]:
    """Values by the record's keys, and what is not as it says."""
    from lightvit_bench.verification.labels import labels_again
    from lightvit_bench.verification.objects import objects_again
    from lightvit_bench.verification.tracks import got10k_again, tracks_again

    again = {
        "segmentation": labels_again,
        "detection": objects_again,
        "tracking": tracks_again,
        "tracking-ao": got10k_again,
    }
    return again[record.task](record, predictions, truth)


def _refuse_without(record: RunRecord, path: str) -> None:
    if record.task not in _METRICS:
        raise BadDataError(
            f"a record of {record.task} has no score that could be computed again.",
            record=path,
            known=", ".join(_METRICS),
        )
    if record.predictions is None or record.truth is None:
        what = "predictions" if record.predictions is None else "truth"
        raise BadDataError(
            f"the record kept no {what}: its score cannot be computed again.",
            record=path,
            to_keep_them="tools/test.py CONFIG CHECKPOINT --record DIR --out PREDICTIONS",
            of_a_tracker="they are kept always where the truth is public",
        )


def _place(stored: StoredFiles, given: str | os.PathLike | None, what: str) -> Path:
    """Where stored files lie."""
    if given is not None:
        path = Path(given)
        if not path.exists():
            raise MissingDataError(f"there are no {what} there.", looked_for=str(path))
        return path
    path = Path(stored.path)
    if path.parts[:1] == (_OUTSIDE,):
        raise MissingDataError(
            f"the record names its {what} by their last part alone: they lay outside the project.",
            name=stored.path,
            set=f"--{what} PATH",
        )
    tried = list(dict.fromkeys((resolve_root(path), ROOT / path, path)))
    if resolve_root(path) == path:
        tried = [ROOT / path, path]
    for one in tried:
        if one.exists():
            return one
    raise MissingDataError(
        f"the {what} that the record names are not there.",
        looked_for=[shown_path(one) for one in tried],
        set=f"--{what} PATH",
    )


def _figure(value: Value) -> str:
    return f"{value:.6f}" if isinstance(value, (int, float)) else "-"
