"""All rows as CSV, for a spreadsheet or a script: one line a row, every figure with its spread."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from lightvit_bench.leaderboard.boards import Board
from lightvit_bench.leaderboard.rows import Row, Speed
from lightvit_bench.leaderboard.tasks import TASKS

METRICS = tuple(dict.fromkeys(one.key for task in TASKS.values() for one in task.metrics))
_RECIPE = (
    *("pretraining", "pretraining_data", "pretraining_epochs", "teacher", "fine_tuning"),
    *("head", "schedule", "crop", "test_mode"),
)
_SIZE = ("backbone_parameters", "parameters", "backbone_macs", "macs", "input")
HEAD = (
    *("key", "origin", "task", "dataset", "split", "protocol", "place", "rank", "model", "variant"),
    *(name for key in METRICS for name in (key, f"{key}_std")),
    *("runs", "seeds", "expected", "evaluated", "complete"),
    *_RECIPE,
    *("backbone_parameters", "parameters", "backbone_macs", "macs", "macs_input"),
    *("speeds", "source", "url", "remarks", "date", "config", "checkpoint", "checkpoint_sha256"),
    *("command", "commit", "environment", "records"),
)


def csv_text(boards: Iterable[Board]) -> str:
    """The rows of all boards, board by board in their order; UTF-8, "\\n" at each line's end.

    A rank is one among the rows of its board: same task, data set, split, protocol, origin and
    place. Empty: does not apply, or nobody says.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEAD)
    for board in boards:
        for row, rank in zip(board.rows, board.ranks, strict=True):
            writer.writerow(_line(row, rank))
    return out.getvalue()


def _line(row: Row, rank: int | None) -> list[object]:
    figures: list[object] = []
    for key in METRICS:
        score = row.scores.get(key)
        figures += [_number(score and score.mean), _number(score and score.std)]
    values = [
        *(row.key, row.origin, row.task, row.dataset, row.split, row.protocol, row.place, rank),
        *(row.model, row.variant, *figures),
        max((score.runs for score in row.scores.values()), default=None),
        " ".join(map(str, row.seeds)),
        *(row.expected, row.evaluated, "yes" if row.complete else "no"),
        *(getattr(row.recipe, name) for name in _RECIPE),
        *(getattr(row.size, name) for name in _SIZE),
        "; ".join(map(speed_text, row.speeds)),
        *(row.source, row.url, " | ".join(row.remarks), row.date, row.config, row.checkpoint),
        *(row.checkpoint_sha256, row.command, row.commit),
        "; ".join(f"{name}: {text}" for name, text in row.environment.items()),
        " ".join(row.records),
    ]
    return ["" if value is None else value for value in values]


def speed_text(speed: Speed) -> str:
    """A speed in a line: "41 frames/s, CPU not named"."""
    kind = {"cpu": "CPU ", "gpu": "GPU ", "npu": "NPU "}.get(speed.kind, "")
    threads = (
        f"{speed.threads} thread{'s' if speed.threads != 1 else ''}" if speed.threads else None
    )
    what = None if speed.of == "not stated" else speed.of
    parts = (kind + speed.device, what, speed.runtime, speed.precision, threads, speed.source)
    return ", ".join([f"{speed.value:g} {speed.unit}", *filter(None, parts)])


def _number(value: float | None) -> str | None:
    """Ten digits: more than any of them means, and the same text on every machine."""
    return None if value is None else f"{value:.10g}"
