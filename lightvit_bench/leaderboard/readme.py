"""The block of README.md: what was measured, and what others published, in tables of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lightvit_bench.bench.markdown import NONE, cell, table
from lightvit_bench.leaderboard.boards import Board
from lightvit_bench.leaderboard.measured import TIMED
from lightvit_bench.leaderboard.rows import Row, Score
from lightvit_bench.leaderboard.tasks import Metric

BEST = 3  # rows of a board that are shown
BUDGET = 6_500_000  # parameters of a backbone, where published rows are picked
AUTHORS = "mae-lite/"  # keys of the rows that the papers of this method published
_DATASETS = ("ImageNet-1K", "ADE20K", "COCO", "LaSOT")  # those of the papers


def readme_block(boards: Iterable[Board]) -> str:
    """Markdown: the best rows of every board measured here, and of the papers' four data sets the
    published rows: the method's own best, and the best of any backbone of up to 6.5 M parameters.
    """
    boards = list(boards)
    measured = [one for one in boards if one.rows[0].origin == "measured"]
    published = [one for one in boards if one.rows[0].origin == "published"]
    counts = {
        origin: sum(len(one.rows) for one in boards if one.rows[0].origin == origin)
        for origin in ("measured", "published", "demo")
    }
    parts = [
        f"{counts['measured']} rows measured here, {counts['published']} published by others, "
        f"{counts['demo']} on generated data; all of them are in `leaderboard/leaderboard.csv` and "
        "on the page `leaderboard/index.html`. Ranks are within one task, data set, split, "
        "protocol and origin, times within one machine.",
        "**Measured here**, the best of each board:",
        _measured(measured),
        "**Published by others, not measured here**: of the papers of this method, and of any "
        "backbone of up to 6.5 M parameters. Heads and schedules differ.",
        _published(published),
    ]
    return "\n\n".join(parts)


def _measured(boards: Sequence[Board]) -> str:
    rows = []
    # accuracy first
    for board in sorted(boards, key=lambda one: one.rows[0].task in TIMED):
        where = " ".join(filter(None, (board.rows[0].dataset, board.rows[0].split)))
        what = board.rows[0].protocol or board.task.title
        for row, rank in list(zip(board.rows, board.ranks, strict=True))[:BEST]:
            metric = board.task.main
            rows.append(
                [
                    cell(where),
                    cell(what),
                    str(rank) if rank else f"not ranked ({row.evaluated} of {row.expected})",
                    cell(_model(row)),
                    _score(row.scores.get(metric.key), metric),
                ]
            )
    if not rows:
        return "No run is recorded yet."
    return table(["data", "protocol", "rank", "model", "result"], rows)


def _published(boards: Sequence[Board]) -> str:
    rows = []
    for board in boards:
        if board.rows[0].dataset not in _DATASETS or board.rows[0].task in TIMED:
            continue
        metric = board.task.main
        ranked = [row for row, rank in zip(board.rows, board.ranks, strict=True) if rank]
        ours = next((row for row in ranked if row.key.startswith(AUTHORS)), None)
        if ours is None:
            continue
        small = next(
            (row for row in ranked if (row.size.backbone_parameters or 1e12) <= BUDGET), None
        )
        rows.append(
            [
                cell(f"{board.rows[0].dataset} {board.rows[0].split}"),
                str(len(board.rows)),
                *(_cited(row, metric) for row in (ours, small)),
            ]
        )
    return table(["data", "rows", "the papers' best", "best backbone of up to 6.5 M"], rows)


def _model(row: Row) -> str:
    runtime = " ".join(
        filter(None, (row.environment.get("runtime"), row.environment.get("precision")))
    )
    threads = row.environment.get("threads") if row.task in TIMED else None
    parts = (row.model, runtime, f"{threads} threads" if threads else None)
    return ", ".join(filter(None, parts))


def _cited(row: Row | None, metric: Metric) -> str:
    if row is None:
        return NONE
    name = ", ".join(filter(None, (row.model, row.recipe.pretraining, row.recipe.head)))
    mark = "".join(f" ({remark})" for remark in row.remarks[:1])
    return cell(f"{_score(row.scores[metric.key], metric)} {metric.title}: {name}{mark}")


def _score(score: Score | None, metric: Metric) -> str:
    if score is None:
        return NONE
    shown = f"{score.mean:,.{metric.decimals}f}"
    if score.std is not None:
        shown += f" ± {score.std:.{metric.decimals}f} ({score.runs} runs)"
    unit = {"%": "", "ms": " ms"}.get(metric.unit, f" {metric.unit}")
    return shown + unit
