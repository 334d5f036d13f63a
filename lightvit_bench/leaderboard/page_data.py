"""What the page's script reads: boards and rows as JSON that nothing in a row can break out of.

Fields that say nothing are left out, which halves the page of 10,000 rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lightvit_bench.errors import BadDataError
from lightvit_bench.leaderboard.boards import Board
from lightvit_bench.leaderboard.rows import Row
from lightvit_bench.leaderboard.tasks import TASKS

# "<" could end the script element, "&" is read otherwise by XML's rules, the two separators end a
# line of older JavaScript, and a lone surrogate has no UTF-8.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def page_data(boards: Sequence[Board]) -> str:
    """The page's JSON.

    Raises:
        BadDataError: two rows have one key, so that a link to a row would be to both.
    """
    tasks = {key: asdict(TASKS[key]) for key in TASKS if any(b.task.key == key for b in boards)}
    seen: set[str] = set()
    for row in (row for board in boards for row in board.rows):
        if row.key in seen:
            raise BadDataError("two rows of the leaderboard have one key.", key=row.key)
        seen.add(row.key)
    names = board_names(boards)
    data = {
        "tasks": tasks,
        "boards": [_board(board, name) for board, name in zip(boards, names, strict=True)],
    }
    return escaped_json(data)


def escaped_json(data: Any) -> str:
    """JSON for inside a script element."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def board_names(boards: Sequence[Board]) -> list[str]:
    """A name for each board, readable in a link, the same as long as its key is."""
    names: list[str] = []
    for board in boards:
        task, dataset, split, protocol, origin, place = board.key
        parts = [task, dataset, "" if split in protocol else split, protocol, origin]
        name = "/".join(re.sub(r"[^\w.@-]+", "-", part) for part in (*parts, place) if part)
        while name in names:
            name += "-"
        names.append(name)
    return names


def _board(board: Board, name: str) -> dict[str, Any]:
    task, dataset, split, protocol, origin, place = board.key
    rows = [_row(row, rank) for row, rank in zip(board.rows, board.ranks, strict=True)]
    return {
        **{"id": name, "task": task, "dataset": dataset, "split": split, "protocol": protocol},
        **{"origin": origin, "place": place, "rows": rows},
    }


def _row(row: Row, rank: int | None) -> dict[str, Any]:
    values = {
        **{"key": row.key, "rank": rank, "model": row.model, "variant": row.variant},
        **{"recipe": _known(asdict(row.recipe)), "size": _known(asdict(row.size))},
        "setup": _setup(row),
        "speeds": [_known(asdict(speed)) for speed in row.speeds],
        "incomplete": not row.complete,
        **{"source": row.source, "url": row.url, "remarks": list(row.remarks), "date": row.date},
        **{"config": row.config, "checkpoint": row.checkpoint, "sha256": row.checkpoint_sha256},
        **{"command": row.command, "commit": row.commit, "environment": dict(row.environment)},
        "curves": {name: asdict(curve) for name, curve in row.curves.items()},
        **{"seeds": list(row.seeds), "records": list(row.records)},
    }
    scores = {
        key: [_ten_digits(one.mean), _ten_digits(one.std), one.runs]
        for key, one in row.scores.items()
    }
    counts = {"expected": row.expected, "evaluated": row.evaluated}
    known = _known(values) | {"scores": scores}
    return known if row.expected is None and row.evaluated is None else known | counts


def _setup(row: Row) -> str | None:
    """How it ran, where rows are times: runtime, precision, threads."""
    if not TASKS[row.task].main.unit == "ms" and not row.task.endswith(("-speed", "-latency")):
        return None
    said = {name: row.environment.get(name) for name in ("runtime", "precision", "threads")}
    if said["threads"]:
        said["threads"] += " thread" if said["threads"] == "1" else " threads"
    return ", ".join(text for text in said.values() if text) or None


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """Without what says nothing; 0 does."""
    return {
        name: value
        for name, value in values.items()
        if value is not None and value is not False and value not in ("", [], {}, ())
    }


def _ten_digits(value: float | None) -> float | None:
    """As in the CSV: Python 3.10 and 3.11 have standard deviations with other last digits."""
    return None if value is None else float(f"{value:.10g}")
