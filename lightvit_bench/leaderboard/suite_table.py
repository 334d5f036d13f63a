"""The result of a suite for people: mean and standard deviation over seeds, by run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightvit_bench.bench.markdown import plural
from lightvit_bench.bench.record import RunRecord
from lightvit_bench.errors import UserError
from lightvit_bench.leaderboard.measured import rows_of
from lightvit_bench.leaderboard.rows import Row, Score
from lightvit_bench.leaderboard.tasks import TASKS, Metric

NONE = "-"


@dataclass(frozen=True)
class RunResult:
    """A run of a suite: how many seeds it has, how many are done, and their records."""

    name: str
    seeds: int
    done: int
    records: tuple[RunRecord, ...]


def result_lines(results: Sequence[RunResult]) -> list[str]:
    """A table for each task; a run without a record, or without a complete one, is named below."""
    found: dict[str, list[tuple[str, str, Row]]] = {}
    notes = []
    for one in results:
        seeds = f"{one.done} of {one.seeds} {plural(one.seeds, 'seed')}"
        if not one.done:
            notes.append(f"{one.name}: {seeds}, no result")
            continue
        try:
            rows = rows_of(record for record in one.records if record.complete)
        except UserError as error:
            notes += [f"{one.name}: {line}" for line in str(error).splitlines()]
            continue
        partial = [record for record in one.records if not record.complete]
        if not rows:
            notes.append(f"{one.name}: {seeds}, none of them complete")
        elif partial:
            seeds += f", {len(partial)} {plural(len(partial), 'run')} incomplete"
        for row in rows:
            label = one.name if len(rows) == 1 else f"{one.name}: {about(row)}"
            found.setdefault(row.task, []).append((label, seeds, row))
        notes += [_incomplete(one.name, record) for record in partial]
    lines: list[str] = []
    for task, rows in found.items():
        metrics = [m for m in TASKS[task].metrics if any(m.key in row.scores for *_, row in rows)]
        head = ["run", "seeds done", *(titled(metric) for metric in metrics)]
        cells = [
            [label, seeds, *(shown(row.scores.get(metric.key), metric) for metric in metrics)]
            for label, seeds, row in rows
        ]
        where = dict.fromkeys(
            " ".join(filter(None, (row.dataset, row.split, row.protocol))) for *_, row in rows
        )
        title = ": ".join(filter(None, (TASKS[task].title, "; ".join(filter(None, where)))))
        lines += [*([""] if lines else []), title, *aligned(head, cells)]
    if found:
        lines.append("mean +- sample standard deviation (runs)")
    return lines + notes


def _incomplete(name: str, record: RunRecord) -> str:
    """A line on a run that does not cover its data set, with its figures."""
    seed = "" if record.seed is None else f", seed {record.seed}"
    (row,) = rows_of([record])
    found = [
        f"{titled(metric)} {row.scores[metric.key].mean:.{metric.decimals + 1}f}"
        for metric in TASKS[row.task].metrics
        if metric.key in row.scores
    ]
    counts = f"{record.evaluated:,} of {record.expected:,} evaluated"
    return f"{name}{seed}: incomplete, {counts}, not averaged: {', '.join(found)}"


def titled(metric: Metric) -> str:
    """A metric's name with its unit, where the name does not say it."""
    unit = metric.unit
    return metric.title if not unit or unit in metric.title else f"{metric.title} ({unit})"


def shown(score: Score | None, metric: Metric) -> str:
    """`30.63 +- 0.41 (3)`."""
    if score is None:
        return NONE
    digits = metric.decimals + 1
    spread = "" if score.std is None else f" +- {score.std:.{digits}f}"
    return f"{score.mean:.{digits}f}{spread} ({score.runs})"


def about(row: Row) -> str:
    """What tells a row from others of its run."""
    threads = row.environment.get("threads")
    parts = (row.variant, row.environment.get("runtime"), row.environment.get("precision"))
    words = [row.model, *parts, threads and f"{threads} {plural(int(threads), 'thread')}"]
    board = row.protocol if row.place else ""
    return ", ".join(word for word in (*words, board) if word)


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns for a terminal, the first to the left."""
    table = [head, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
