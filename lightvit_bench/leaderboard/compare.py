"""Which differences between two results exceed the spread of their runs.

    print("\\n".join(compare_lines("records/a.json", "records/b.json")))

The rule: with two runs or more on both sides, the 95 % interval of the difference of means by
Welch's t-test (unequal variances; B. L. Welch, Biometrika 34, 1947). If it leaves 0 out, the
difference exceeds the spread. A single run has no spread, and runs that do not differ at all show
none: whatever the difference, it cannot be told. Rows of another task, data set, split, protocol or
machine are not compared. Published rows may be set beside measured ones, and are not ranked.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from lightvit_bench.bench.markdown import plural
from lightvit_bench.bench.record import RunRecord, read_record, read_records
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError, near_matches
from lightvit_bench.leaderboard.measured import rows_of
from lightvit_bench.leaderboard.rows import Row, Score
from lightvit_bench.leaderboard.suite_table import about, aligned, shown, titled
from lightvit_bench.leaderboard.tasks import TASKS, Metric

EXCEEDS = "exceeds the spread"
WITHIN = "within the spread"
UNKNOWN = "cannot be told"
NO_SPREAD = "no spread between the runs"
CONFIDENCE = 0.95
Rows = Union[Sequence[Row], Callable[[], Sequence[Row]]]
_BOARD = ("task", "data set", "split", "protocol", "origin", "machine")
_ORIGIN = _BOARD.index("origin")
_IMAGENET = "spread to know: MAE-Lite's own ImageNet figures moved +-0.3 between its releases"


@dataclass(frozen=True)
class Difference:
    """A metric of two rows.

    Attributes:
        a, b: of both sides.
        value: a's mean less b's.
        interval: of the difference, where both sides have a spread; in the metric's unit.
        better: "A", "B", or None where the means are equal; says nothing of the spread.
        verdict: `EXCEEDS`, `WITHIN`, or `UNKNOWN` with the reason in brackets.
        told: what can be said beside, "" if nothing.
    """

    metric: Metric
    a: Score
    b: Score
    value: float
    interval: tuple[float, float] | None
    better: str | None
    verdict: str
    told: str = ""


@dataclass(frozen=True)
class Pair:
    """Two rows of one board (but for their origin), and their differences by metric."""

    a: Row
    b: Row
    differences: tuple[Difference, ...]

    @property
    def ranked(self) -> bool:
        """Whether the two may be ranked: their origin is the same, and both are complete."""
        return self.a.origin == self.b.origin and self.a.complete and self.b.complete


@dataclass(frozen=True)
class Comparison:
    """Two sides; rows that have no counterpart on the other one."""

    pairs: tuple[Pair, ...]
    only_a: tuple[Row, ...] = ()
    only_b: tuple[Row, ...] = ()


def compare_lines(a: str | os.PathLike, b: str | os.PathLike, rows: Rows = ()) -> list[str]:
    """What tools/leaderboard.py compare prints; arguments and errors as of `compare`."""
    return lines_of(compare(a, b, rows))


def compare(a: str | os.PathLike, b: str | os.PathLike, rows: Rows = ()) -> Comparison:
    """Compare two sides.

    Args:
        a, b: a record's file, a folder of records (or of a suite, of one of its runs), or a row's
            key or model.
        rows: that keys and models are looked up in, or what gives them if one is to be.

    Raises:
        MissingDataError: there is no such file, folder, key or model.
        BadDataError: a record cannot be read; both sides are the same row, or have records of one
            run; or one side has two of one run.
        ConfigError: no row of one side may be compared with one of the other (the fields that
            differ are named), or it is not clear which with which.
    """
    ours, theirs = _records_named(a), _records_named(b)
    of_run = {record.run: record for record in ours or () if record.run is not None}
    for record in theirs or ():
        if record.run in of_run:
            raise BadDataError(
                "both sides have records of one run.",
                run=record.run,
                A=f"{a}: {of_run[record.run].file_name}",
                B=f"{b}: {record.file_name}",
                do="keep the one that the run wrote, on one side",
            )
    sides = [
        rows_of(records) if records is not None else _rows_named(str(name), rows)
        for name, records in ((a, ours), (b, theirs))
    ]
    return compare_rows(*sides)


def _records_named(name: str | os.PathLike) -> list[RunRecord] | None:
    """The records of a file or folder; None of a name that is neither."""
    path = Path(name)
    if path.is_file():
        return [read_record(path)]
    return _records_below(path) if path.is_dir() else None


def _rows_named(text: str, rows: Rows) -> list[Row]:
    """The rows of a key or a model; raises as `compare`."""
    rows = rows() if callable(rows) else rows
    if found := [row for row in rows if row.key == text]:
        return found
    if found := [row for row in rows if row.model.lower() == text.lower()]:
        # a model's incomplete runs are rows of their own beside its complete ones', which are meant
        complete = {(row.board, _way(row)) for row in found if row.complete}
        return [row for row in found if row.complete or (row.board, _way(row)) not in complete]
    known = sorted({row.key for row in rows} | {row.model for row in rows})
    near = near_matches(text, known)[:5] if known else ["no rows were read"]
    raise MissingDataError(
        f"{text} is no record, no folder of records, and no key or model of a row.", near=near
    )


def _records_below(folder: Path) -> list[RunRecord]:
    """The records of a folder, or of the cells of a suite or of one of its runs."""
    patterns = ("records", "seed-*/records", "*/seed-*/records")
    found = [folder] if any(folder.glob("*.json")) and not (folder / "cell.json").exists() else []
    for pattern in () if found else patterns:
        found = sorted(folder.glob(pattern))  # seed-0.old-1 is left out by `read_records`
        if found:
            break
    records = read_records(*found)
    if not records:
        raise MissingDataError("there are no records in a folder.", looked_in=str(folder))
    return records


def compare_rows(a: Sequence[Row], b: Sequence[Row]) -> Comparison:
    """Compare rows with rows of the same board; raises as `compare`."""
    pairs, left_a, left_b = [], [], list(b)
    for board in dict.fromkeys(_place(row) for row in a):
        ours = [row for row in a if _place(row) == board]
        theirs = [row for row in b if _place(row) == board]
        for one, other in _matched(ours, theirs):
            pairs.append(Pair(one, other, _differences(one, other)))
            ours.remove(one)
            left_b.remove(other)
        left_a += ours
    if not pairs:
        raise _not_comparable(a, b)
    return Comparison(tuple(pairs), tuple(left_a), tuple(left_b))


def _place(row: Row) -> tuple[str, ...]:
    """A board but for its origin."""
    return tuple(value for i, value in enumerate(row.board) if i != _ORIGIN)


def _matched(ours: Sequence[Row], theirs: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Row by row of one board: the only two, or else those of one model run in one way."""
    if len(ours) == len(theirs) == 1:
        found = [(ours[0], theirs[0])]
    else:
        found = [(a, b) for a in ours for b in theirs if _way(a) == _way(b)]
        if (
            not found
            and len({row.model for row in ours}) == len({row.model for row in theirs}) == 1
        ):
            found = [(a, b) for a in ours for b in theirs if _way(a)[1:] == _way(b)[1:]]
        for side in (0, 1):
            keys = [pair[side].key for pair in found]
            if doubled := [key for key in keys if keys.count(key) > 1]:
                raise ConfigError(
                    "several rows of one side are on the same board: which one is meant?",
                    rows=sorted({row.key for pair in found for row in pair} | set(doubled)),
                    do="give a row's key, or a record's file",
                )
    for a, b in found:
        if a == b:
            raise BadDataError("both sides are the same row.", row=a.key)
        if a.records and set(a.records) & set(b.records):
            raise BadDataError("both sides are the same runs.", row=a.key)
    return found


def _way(row: Row) -> tuple:
    return (row.model, row.variant, *(row.environment.get(k) for k in ("runtime", "precision")),
            row.environment.get("threads") if row.place else None)  # fmt: skip


def _not_comparable(a: Sequence[Row], b: Sequence[Row]) -> ConfigError:
    """The error that says which fields keep the nearest two rows apart."""
    if not a or not b:
        return ConfigError("a side has no rows.")
    if any(_place(one) == _place(other) for one in a for other in b):
        return ConfigError(
            "several rows of one side are on the same board, and none is run as one of the other.",
            rows=[row.key for row in (*a, *b)],
            do="give a row's key, or a record's file",
        )

    def differing(one: Row, other: Row) -> list[int]:
        fields = zip(one.board, other.board, strict=True)
        return [i for i, (x, y) in enumerate(fields) if x != y and i != _ORIGIN]

    one, other = min(
        ((x, y) for x in a for y in b), key=lambda pair: (len(differing(*pair)), pair[0].key)
    )
    told = {
        _BOARD[i]: f"A {one.board[i] or 'not given'}, B {other.board[i] or 'not given'}"
        for i in differing(one, other)
    }
    return ConfigError(
        f"not comparable: another {', another '.join(told)}.",
        **{
            "rows": f"A {one.key}, B {other.key}",
            **{k.replace(" ", "_"): v for k, v in told.items()},
        },
    )


# ----------------------------------------------------------------------------------- the statistics


def _differences(a: Row, b: Row) -> tuple[Difference, ...]:
    shared = [m for m in TASKS[a.task].metrics if m.key in a.scores and m.key in b.scores]
    if not shared:
        raise ConfigError("two rows have no metric in common.", rows=[a.key, b.key])
    return tuple(_difference(metric, a, b) for metric in shared)


def _difference(metric: Metric, a: Row, b: Row) -> Difference:
    one, other = a.scores[metric.key], b.scores[metric.key]
    value = one.mean - other.mean
    better = None if value == 0 else "A" if (value > 0) == metric.higher else "B"
    interval, told = None, ""
    if not (a.complete and b.complete):
        verdict = f"{UNKNOWN} (incomplete run)"
    elif _has_spread(one) and _has_spread(other):
        interval = welch_interval(one, other)
        outside = interval[0] > 0 or interval[1] < 0
        verdict = EXCEEDS if outside else WITHIN
    else:
        verdict = f"{UNKNOWN} ({_why(a, one) or _why(b, other)})"
        told = "; ".join(filter(None, (_in_units(value, one, "A"), _in_units(value, other, "B"))))
    return Difference(metric, one, other, value, interval, better, verdict, told)


def welch_interval(a: Score, b: Score) -> tuple[float, float]:
    """The 95 % interval of a's mean less b's; both have two runs or more that differ.

    Degrees of freedom after Welch and Satterthwaite.
    """
    from scipy.stats import t

    value = a.mean - b.mean
    errors = [score.std / math.sqrt(score.runs) for score in (a, b)]
    error = math.hypot(*errors)
    # Of shares: squares of small variances would vanish.
    shares = [(one / error) ** 2 for one in errors]
    freedom = 1 / sum(
        share**2 / (score.runs - 1) for share, score in zip(shares, (a, b), strict=True)
    )
    half = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return value - half, value + half


def _has_spread(score: Score) -> bool:
    """Whether there are two runs or more, and they differ.

    Runs that agree to the last digit are most likely one run told several times. Even if they are
    not: from a deviation of 0 no test can be made.
    """
    return bool(score.std) and score.runs > 1


def _why(row: Row, score: Score) -> str:
    """Why a side has no spread; "" if it has one."""
    if _has_spread(score):
        return ""
    if row.origin == "published":
        return "published without the spread of its runs"
    return NO_SPREAD if score.runs > 1 and score.std == 0 else "one run"


def _in_units(value: float, score: Score, side: str) -> str:
    """The difference in standard deviations of the side that has one."""
    if not score.std:
        return ""
    return f"the difference is {abs(value) / score.std:.1f} standard deviations of {side}'s runs"


# --------------------------------------------------------------------------------------- for people


def lines_of(comparison: Comparison) -> list[str]:
    """A comparison for people: a table for each pair."""
    lines: list[str] = []
    for pair in comparison.pairs:
        lines += [*([""] if lines else []), *_pair_lines(pair)]
    for side, rows in (("A", comparison.only_a), ("B", comparison.only_b)):
        lines += [f"only in {side}: {about(row)} ({row.key})" for row in rows]
    return lines


def _pair_lines(pair: Pair) -> list[str]:
    where = (pair.a.dataset, pair.a.split, pair.a.protocol, pair.a.place)
    lines = [", ".join([TASKS[pair.a.task].title, *(part for part in where if part)])]
    for side, row in (("A", pair.a), ("B", pair.b)):
        seeds = f", seeds {' '.join(map(str, row.seeds))}" if row.seeds else ""
        lines.append(f"  {side}  {about(row)} ({row.origin}{seeds})  {row.key}")
        if row.source:
            lines.append(f"     {row.source}")
        if not row.complete:
            lines.append(f"     incomplete: {row.evaluated} of {row.expected} evaluated")
        remarks = list(row.remarks)
        if row.left_out:  # in place of the page's remark, which speaks of rows that are not here
            remarks = [remark for remark in remarks if not remark.endswith("not counted here.")]
            remarks.append(f"{row.left_out} incomplete {plural(row.left_out, 'run')} not counted")
        lines += [f"     {remark}" for remark in remarks]
    if pair.a.origin != pair.b.origin:
        lines.append("  not ranked: origins differ")
    cells = []
    for one in pair.differences:
        digits = one.metric.decimals + 1
        scores = [_score(pair.a, one.a, one.metric), _score(pair.b, one.b, one.metric)]
        interval = "-"
        if one.interval:
            interval = " to ".join(f"{end:+.{digits}f}" for end in one.interval)
        better = f"{one.better} better, " if one.better and pair.ranked else ""
        verdict = f"{better if one.verdict == EXCEEDS else ''}{one.verdict}"
        cells.append(
            [titled(one.metric), *scores, f"{one.value:+.{digits}f}", interval, verdict, one.told]
        )
    head = ["metric", "A", "B", "A - B", f"{CONFIDENCE:.0%} interval"]
    table = aligned(head, [row[:5] for row in cells])
    ends = ["verdict", *("; ".join(filter(None, row[5:])) for row in cells)]
    lines += [f"  {line}  {end}" for line, end in zip(_padded(table), ends, strict=True)]
    if pair.a.task == "classification" and pair.a.dataset == "ImageNet-1K":
        lines.append(f"  {_IMAGENET}")
    return lines


def _score(row: Row, score: Score, metric: Metric) -> str:
    """A score; of a published one nobody says how many runs it is of."""
    text = shown(score, metric)
    return text.partition(" (")[0] if row.origin == "published" and score.std is None else text


def _padded(lines: Sequence[str]) -> list[str]:
    width = max(map(len, lines))
    return [line.ljust(width) for line in lines]
