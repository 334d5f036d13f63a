"""Rows from run records: runs of one thing are one row, with mean and standard deviation.

Accuracy: what differs in the seed alone is one row. One value a seed, of its newest run, and one of
the same weights; complete runs alone count, incomplete ones are shown and not ranked. Times: runs
of one case in its newest state (commit, weights, packages) are one row, on one machine.
"""

from __future__ import annotations

import hashlib
import json
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from lightvit_bench.bench import checks
from lightvit_bench.bench.detection_runs import DETECTION_SPEED, DetectionRun
from lightvit_bench.bench.markdown import plural
from lightvit_bench.bench.parts import ModelSize, Recipe
from lightvit_bench.bench.record import RunRecord
from lightvit_bench.bench.track_runs import TRACKING_LATENCY, TrackRun
from lightvit_bench.errors import BadDataError
from lightvit_bench.leaderboard.rows import Row, Score, Speed
from lightvit_bench.leaderboard.tasks import TASKS

TIMED = {key for key in TASKS if key.endswith(("-latency", "-speed", "-soak"))}


def rows_of(records: Iterable[RunRecord], every_incomplete: bool = False) -> list[Row]:
    """The rows of records, in no order that means anything.

    Args:
        every_incomplete: incomplete runs that no complete one of their seed has followed are rows
            of their own beside the complete ones' row, too, not only where they are alone.

    Raises:
        BadDataError: a record is of a task that the leaderboard does not know, or lacks what its
            task's records have.
    """
    records = list(records)
    groups: dict[tuple, list[RunRecord]] = {}
    for record in records:
        if record.task not in TASKS:
            raise BadDataError(
                f"a record is of the task {record.task!r}, which the leaderboard does not know.",
                record=record.file_name,
                known=", ".join(TASKS),
            )
        groups.setdefault(_group(record), []).append(record)
    rows = []
    for group, found in groups.items():
        chosen = _chosen(found)
        alone = [one for one in _unfinished(found) if one not in chosen]
        rows.append(_row(group, chosen, len(alone) if chosen[0].complete else 0))
        if every_incomplete:
            rows += [_row((*group, one.file_name), [one]) for one in alone]
    # a file for another runtime does not say how large the network is that it was made of
    sizes = {one.checkpoint_sha256: one.size for one in records if one.size}
    names = {one.file_name: one.checkpoint_sha256 for one in records if one.checkpoint_sha256}
    return _with_speeds([_with_size(row, sizes.get(names.get(row.records[-1]))) for row in rows])


def _group(record: RunRecord) -> tuple:
    """What runs must share to be one row."""
    what = (record.task, record.dataset, record.split, _protocol(record), record.origin)
    model = (record.model, _variant(record), record.runtime, record.precision, record.source)
    made_by = (record.config, record.config_sha256)
    weights = record.checkpoint and PurePath(record.checkpoint).name  # iter_800.pth, iter_1600.pth
    exported = record.exported and PurePath(record.exported).name
    timed, judged = (), ()
    if record.task in TIMED:
        length = (record.expected, *(record.values.get(key) for key in ("frames", "batch")))
        timed = (record.threads, _place(record), *length)
    elif record.seed is None:
        # no training with another seed, but other weights; or somebody's result files
        known = record.exported_sha256 or record.checkpoint_sha256
        judged = (known or (record.predictions and record.predictions.sha256),)
    return (*what, *model, *made_by, weights, exported, *timed, *judged)


def _chosen(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs of a group that count, the newest last."""
    ordered = sorted(records, key=lambda one: (one.date, one.file_name))
    complete = [one for one in ordered if one.complete]
    if not complete:
        return ordered[-1:]
    if complete[-1].task in TIMED:
        return [one for one in complete if _state(one) == _state(complete[-1])]
    newest = {one.seed: one for one in complete if one.expected == complete[-1].expected}
    # the same weights tested again are no further run
    apart = {
        one.exported_sha256 or one.checkpoint_sha256 or one.seed: one for one in newest.values()
    }
    return sorted(apart.values(), key=lambda one: (one.date, one.file_name))


def _unfinished(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The newest incomplete run of each seed that no complete one has followed."""
    ordered = sorted(records, key=lambda one: (one.date, one.file_name))
    newest = {one.seed: one for one in ordered}
    return [one for one in newest.values() if not one.complete]


def _row(group: tuple, runs: Sequence[RunRecord], left_out: int = 0) -> Row:
    last = runs[-1]
    key = hashlib.sha256(json.dumps(group).encode()).hexdigest()[:8]
    remarks = list(dict.fromkeys(remark for run in runs for remark in run.remarks))
    if any(run.commit and run.commit.endswith("+changes") for run in runs):
        remarks.append("Measured with changes to the commit.")
    if left_out:
        told = plural(left_out, "run")
        remarks.append(f"{left_out} incomplete {told} of the same, shown apart, not counted here.")
    return Row(
        key=f"{last.origin}/{last.task}/{_plain(last.model)}-{key}",
        origin=last.origin,
        task=last.task,
        dataset=last.dataset or "",
        split=last.split or "",
        protocol=_protocol(last),
        model=last.model,
        scores=_scores(runs),
        variant=_variant(last),
        place=_place(last) if last.task in TIMED else "",
        recipe=last.recipe or Recipe(),
        size=last.size or ModelSize(),
        expected=last.expected,
        evaluated=last.evaluated,
        source=last.source,
        remarks=tuple(remarks),
        date=last.date,
        config=last.config,
        checkpoint=last.exported or last.checkpoint,
        checkpoint_sha256=last.exported_sha256 or last.checkpoint_sha256,
        command=last.command,
        commit=last.commit,
        environment=_environment(last),
        curves=last.curves,
        seeds=tuple(sorted(run.seed for run in runs if run.seed is not None)),
        left_out=left_out,
        records=tuple(run.file_name for run in runs),
    )


def _scores(runs: Sequence[RunRecord]) -> dict[str, Score]:
    """Mean and sample standard deviation by metric, of those that every run has."""
    found = [_figures(run) for run in runs]
    scores = {}
    for metric in TASKS[runs[0].task].metrics:
        values = [one[metric.key] for one in found if one.get(metric.key) is not None]
        if values and len(values) == len(runs):
            std = statistics.stdev(values) if len(values) > 1 else None
            scores[metric.key] = Score(statistics.fmean(values), std, len(values))
    return scores


def _figures(record: RunRecord) -> dict[str, float | None]:
    """A run's figures by metric.

    Raises:
        BadDataError: one is no number, is below 0, or a percentage is above 100.
    """
    try:
        found = _READ.get(record.task, _named_figures)(record)
        for metric in TASKS[record.task].metrics:
            value, most = found.get(metric.key), 100 if metric.unit == "%" else 1e12
            if value is not None and not 0 <= value <= most:
                raise checks.wrong(f"values.{metric.key}", f"0 to {most:g}", value)
    except BadDataError as error:
        details = {"record": record.file_name, **error.details}
        raise BadDataError(error.message, **details) from None
    return found


def _named_figures(record: RunRecord) -> dict[str, float | None]:
    """Those in `values` by the metric's key, of several rounds the median."""
    found: dict[str, float | None] = {}
    for metric in TASKS[record.task].metrics:
        value = record.values.get(metric.key)
        if isinstance(value, Mapping):
            value = value.get("median")
        if value is not None:
            found[metric.key] = checks.number(f"values.{metric.key}", value)
    return found


def _latency_figures(record: RunRecord) -> dict[str, float | None]:
    run = TrackRun.of(record)
    times = {
        name: getattr(run, name) and getattr(run, name).median
        for name in ("track_ms", "network_ms")
    }
    auc = next(iter(run.auc.values())) if len(run.auc) == 1 else None
    rate, memory = run.frames_per_second, run.peak_memory_mb
    return {**times, "frames_per_second": rate, "auc": auc, "peak_memory_mb": memory}


def _detection_figures(record: RunRecord) -> dict[str, float | None]:
    run = DetectionRun.of(record)
    return {"model_ms": run.model_ms.median, "encoder_ms": run.encoder_ms.median}


def _soak_figures(record: RunRecord) -> dict[str, float | None]:
    update = record.latency.median if record.latency else None
    return {**_named_figures(record), "update_ms": update}


_READ: dict[str, Callable[[RunRecord], dict[str, float | None]]] = {
    TRACKING_LATENCY: _latency_figures,
    DETECTION_SPEED: _detection_figures,
    "tracking-soak": _soak_figures,
}


def _protocol(record: RunRecord) -> str:
    """The record's, or of times, which have none: what was timed."""
    if record.protocol is not None or record.task not in TIMED:
        return record.protocol or ""
    if record.task == DETECTION_SPEED:
        run = DetectionRun.of(record)
        step = "training" if run.training else "inference"
        return f"{step}@{run.image_px}px-batch{run.batch}"
    targets = record.values.get("targets")
    return "" if targets is None else f"{targets}-{plural(targets, 'target')}"


def _variant(record: RunRecord) -> str | None:
    parts = [record.variant, record.exported and PurePath(record.exported).name]
    return "; ".join(part for part in parts if part) or None


def _place(record: RunRecord) -> str:
    """The machine that times were taken on."""
    machine = record.machine.hardware if record.machine else "a machine that is not named"
    return machine if record.device in (None, "cpu") else f"{record.device}; {machine}"


def _state(record: RunRecord) -> tuple:
    """What else has to be the same for times to be of one thing."""
    made_of = (record.commit, record.checkpoint_sha256, record.exported_sha256)
    return (*made_of, tuple(sorted(record.versions.items())))


def _environment(record: RunRecord) -> dict[str, str]:
    """Where it ran, name -> text."""
    packages = [f"{name} {version}" for name, version in record.versions.items() if version]
    parts: dict[str, Any] = {
        "device": record.device,
        "machine": str(record.machine) if record.machine else None,
        "threads": record.threads,
        "runtime": record.runtime,
        "precision": record.precision,
        "versions": ", ".join(packages) or None,
        "config as used, SHA-256": record.config_sha256,
        "predictions": record.predictions and record.predictions.path,
    }
    return {name: str(value) for name, value in parts.items() if value is not None}


def _with_size(row: Row, size: ModelSize | None) -> Row:
    """The row, with the size of the same weights where it has none."""
    return replace(row, size=size) if size and row.size == ModelSize() else row


def _with_speeds(rows: Sequence[Row]) -> list[Row]:
    """Rows of accuracy with the times that were measured of the same weights."""
    timed: dict[str, list[Speed]] = {}
    for row in rows:
        score = row.scores.get("track_ms") if row.task == TRACKING_LATENCY else None
        if score and row.complete and row.checkpoint_sha256 and not row.protocol:
            timed.setdefault(row.checkpoint_sha256, []).append(_speed(row, score))
    return [
        row
        if row.task in TIMED or row.checkpoint_sha256 not in timed
        else replace(row, speeds=(*row.speeds, *timed[row.checkpoint_sha256]))
        for row in rows
    ]


def _speed(row: Row, score: Score) -> Speed:
    threads = row.environment.get("threads")
    return Speed(
        score.mean,
        "ms",
        row.place,
        "cpu" if row.environment.get("device", "cpu") == "cpu" else "gpu",
        of="track",
        runtime=row.environment.get("runtime"),
        precision=row.environment.get("precision"),
        threads=int(threads) if threads else None,
    )


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[:60] or "unnamed"
