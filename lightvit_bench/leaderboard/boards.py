"""Rows that may be compared, ranked; rows of another protocol, split or origin never are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lightvit_bench.leaderboard.rows import Row
from lightvit_bench.leaderboard.tasks import TASKS, Task

# In this order; other data sets after these, by name.
_ORIGINS = ("measured", "published", "demo")
_DATASETS = ("ImageNet-1K", "ADE20K", "CamVid", "COCO", "LaSOT", "GOT-10k", "TrackingNet")


@dataclass(frozen=True)
class Board:
    """Rows of one task, data set, split, protocol, origin and place, the best first.

    Attributes:
        rows: those that are ranked, then those without the main metric, incomplete, or measured
            on fewer images or sequences than others, without a count or a protocol.
        ranks: one for each row, from 1, equal of equal scores; None of one that is not ranked.
    """

    rows: tuple[Row, ...]
    ranks: tuple[int | None, ...]

    @property
    def task(self) -> Task:
        """The task of its rows."""
        return TASKS[self.rows[0].task]

    @property
    def key(self) -> tuple[str, ...]:
        """What its rows share."""
        return self.rows[0].board


def boards_of(rows: Iterable[Row]) -> list[Board]:
    """All rows on their boards, in the order of tasks, then of data sets, origins and protocols."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(row.board, []).append(row)
    order = list(TASKS)

    def place(board: tuple[str, ...]) -> tuple:
        task, dataset, split, protocol, origin, where = board
        known = _DATASETS.index(dataset) if dataset in _DATASETS else len(_DATASETS)
        return (order.index(task), known, dataset, _ORIGINS.index(origin), split, protocol, where)

    return [_ranked(found[board]) for board in sorted(found, key=place)]


def _ranked(rows: Sequence[Row]) -> Board:
    metric = TASKS[rows[0].task].main
    sign = -1 if metric.higher else 1
    most = max((row.expected or 0 for row in rows), default=0)

    def ranks(row: Row) -> bool:
        whole = row.origin == "published" or row.place or (row.protocol and row.expected == most)
        return bool(whole and row.complete and metric.key in row.scores)

    def order(row: Row) -> tuple:
        score = sign * row.scores[metric.key].mean if metric.key in row.scores else 0.0
        return (not ranks(row), score, row.model, row.key)

    ordered = sorted(rows, key=order)
    places: list[int | None] = []
    for i, row in enumerate(ordered):
        if not ranks(row):
            places.append(None)
        elif i and row.scores[metric.key].mean == ordered[i - 1].scores[metric.key].mean:
            places.append(places[-1])
        else:
            places.append(i + 1)
    return Board(tuple(ordered), tuple(places))
