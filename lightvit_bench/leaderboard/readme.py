"""The block of README.md: what was measured, and what others published, in tables of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from lightvit_bench.bench.markdown import NONE, cell, plural, prose, table
from lightvit_bench.bench.track_runs import TRACKING_LATENCY
from lightvit_bench.leaderboard.boards import Board
from lightvit_bench.leaderboard.measured import TIMED
from lightvit_bench.leaderboard.rows import Row, Score
from lightvit_bench.leaderboard.tasks import Metric

BEST = 3  # rows of a board that are shown
# Parameters of a backbone, or of a whole model where nobody counts the backbone alone.
BACKBONE, WHOLE = 6_500_000, 10_000_000
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
        prose(
            f"{counts['measured']} rows measured here, {counts['published']} published by others, "
            f"{counts['demo']} on generated data; all of them are in "
            "[leaderboard.csv](leaderboard/leaderboard.csv) and on the page "
            "`leaderboard/index.html`. Ranks are within one task, data set, split, protocol and "
            "origin, times within one machine."
        ),
        "**Measured here**: accuracy, and the tracker's time; the best of each board:",
        _measured(measured),
        prose(
            "**Published by others, not measured here**: the best with a backbone of up to 6.5 M "
            "parameters, or where only the whole model is counted, of up to 10 M; rows without a "
            "size are left out here. Heads and schedules differ."
        ),
        _published(published),
    ]
    return "\n\n".join(parts)


def _measured(boards: Sequence[Board]) -> str:
    rows = []
    # accuracy first; of times those of a tracker with one target
    shown = [one for one in boards if one.rows[0].task not in TIMED]
    latency = [one for one in boards if one.rows[0].task == TRACKING_LATENCY]
    shown += [one for one in latency if not one.rows[0].protocol]
    for board in shown:
        where = " ".join(filter(None, (board.rows[0].dataset, board.rows[0].split)))
        metric = board.task.main
        for row, rank in list(zip(board.rows, board.ranks, strict=True))[:BEST]:
            rows.append(
                [
                    cell(f"{where}: {metric.title}"),
                    _code(row.protocol) if row.protocol else cell(board.task.title),
                    str(rank) if rank else f"not ranked: {row.evaluated} of {row.expected}",
                    cell(_model(row)),
                    _score(row.scores.get(metric.key), metric),
                    cell(" ".join(row.remarks)),
                ]
            )
    if not rows:
        return "No run is recorded yet."
    head = ["data", "protocol", "rank", "model", "result", "to know"]
    return table(head, rows, left=len(head))


def _published(boards: Sequence[Board]) -> str:
    rows = []
    for board in boards:
        first = board.rows[0]
        if first.dataset not in _DATASETS or first.task in TIMED:
            continue
        ranked = [row for row, rank in zip(board.rows, board.ranks, strict=True) if rank]
        small = [row for row in ranked if _is_small(row)]
        ours = [row for row in small if row.key.startswith(AUTHORS)]
        if not small:
            continue
        metric = board.task.main
        cited = (_cited(found[0], metric) if found else NONE for found in (ours, small))
        where = cell(f"{first.dataset} {first.split}")
        rows.append(
            [f"{where}: {metric.title}", _code(first.protocol), str(len(board.rows)), *cited]
        )
    head = ["data", "protocol", "rows", "of this method's papers", "of any"]
    return table(head, rows, left=len(head))


def _code(text: str) -> str:
    """Text as code in a table, where a bar alone would end the cell."""
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


def _is_small(row: Row) -> bool:
    backbone, whole = row.size.backbone_parameters, row.size.parameters
    return backbone <= BACKBONE if backbone else bool(whole) and whole <= WHOLE


def _model(row: Row) -> str:
    ran = " ".join(
        row.environment[key] for key in ("runtime", "precision") if key in row.environment
    )
    threads = row.environment.get("threads") if row.task in TIMED else None
    schedule = row.recipe.schedule and row.recipe.schedule.split(", ")[0]
    parts = (
        row.model,
        schedule,
        ran,
        f"{threads} {plural(int(threads), 'thread')}" if threads else None,
    )
    return ", ".join(filter(None, parts))


def _cited(row: Row, metric: Metric) -> str:
    """A figure with what it must not be read without: how the model was trained."""
    recipe = row.recipe
    parts = [row.model, recipe.pretraining]
    if recipe.head and re.match(r"\w*", recipe.head).group() not in row.model:
        parts.append(recipe.head)
    if row.task == "classification":
        parts.append(recipe.schedule)
    after = f"; before it: {recipe.fine_tuning}" if recipe.fine_tuning else ""
    score = _score(row.scores[metric.key], metric)
    return cell(f"{score} ({', '.join(filter(None, parts))}{after})")


def _score(score: Score | None, metric: Metric) -> str:
    if score is None:
        return NONE
    shown = f"{score.mean:,.{metric.decimals}f}"
    if score.std is not None:
        shown += f" ± {score.std:.{metric.decimals}f} ({score.runs} runs)"
    unit = {"%": "", "ms": " ms"}.get(metric.unit, f" {metric.unit}")
    return shown + unit
