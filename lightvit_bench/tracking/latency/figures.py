"""Figures of a case of tools/bench_track.py, from the reports of its rounds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightvit_bench.bench.latency import Latency
from lightvit_bench.bench.track_runs import KEYS
from lightvit_bench.errors import BadDataError
from lightvit_bench.tracking.judging.judge import judge_boxes
from lightvit_bench.tracking.latency.bench import Case, Outcome
from lightvit_bench.tracking.latency.cases import EAGER, MIL

QUANTITIES = ("network", "track", "end_to_end")


def over_rounds(rounds: Sequence[Sequence[float]]) -> Latency:
    """One distribution for several rounds of seconds: of each figure the median over the rounds.

    `least` and `most` are those of all rounds.
    """
    each = [Latency.of(seconds) for seconds in rounds]
    middle = {
        name: statistics.median(getattr(one, name) for one in each)
        for name in ("median", "mean", "p95", "p99")
    }
    count = min(one.count for one in each)
    least, most = min(one.least for one in each), max(one.most for one in each)
    return Latency(count=count, least=least, most=most, **middle)


def times_of(reports: Sequence[Mapping], quantity: str) -> Latency | None:
    """`over_rounds` of a quantity; None where it was not measured."""
    rounds = [one["times"][quantity] for one in reports if quantity in one["times"]]
    return over_rounds(rounds) if rounds else None


def spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """The least and the most over rounds; None where nothing was measured."""
    known = [value for value in values if value is not None]
    return {"least": min(known), "most": max(known)} if known else None


def medians(reports: Sequence[Mapping], quantity: str) -> list[float]:
    """The median of each round in ms."""
    return [
        1e3 * float(np.median(one["times"][quantity]))
        for one in reports
        if quantity in one["times"]
    ]


def rates(reports: Sequence[Mapping]) -> list[float]:
    """The frames/s of each round, end to end."""
    return [1 / float(np.mean(one["times"]["end_to_end"])) for one in reports]


def edges_apart(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Largest difference of the left, top, right and bottom edges of boxes (N, 4) xywh, in px (N,).

    Raises:
        BadDataError: there are not as many boxes.
    """
    if boxes.shape != others.shape:
        raise BadDataError(f"{len(boxes)} boxes cannot be compared with {len(others)}.")
    left_top = np.abs(boxes[:, :2] - others[:, :2])
    right_bottom = np.abs(boxes[:, :2] + boxes[:, 2:] - others[:, :2] - others[:, 2:])
    return np.concatenate([left_top, right_bottom], axis=1).max(axis=1)


def box_figures(case: Case, outcome: Outcome) -> dict[str, dict[str, float | None]]:
    """Of each set: "max_px" and "mean_px" from eager PyTorch's boxes, "frames", "auc" in percent.

    The given box of the first frame is not compared. Differences are None for MIL, and where
    PyTorch failed; the AUC where the truth is not known in every frame.
    """
    reference = _reference(outcome, EAGER, case.threads)
    found: dict[str, dict[str, float | None]] = {}
    for one in outcome.sets:
        if one.name not in case.boxes:
            continue
        boxes = case.boxes[one.name]
        figures: dict[str, float | None] = dict(max_px=None, mean_px=None, auc=None)
        figures["frames"] = sum(len(rows) - 1 for rows in boxes.values())
        if case.entry.kind != MIL and reference and one.name in reference.boxes:
            theirs = reference.boxes[one.name]
            apart = [edges_apart(rows, theirs[name])[1:] for name, rows in boxes.items()]
            every = np.concatenate(apart)
            if every.size:
                figures |= {"max_px": float(every.max()), "mean_px": float(every.mean())}
        if one.truth:
            try:
                figures["auc"] = float(judge_boxes(boxes, one.truth).auc)
            except BadDataError:  # only the first box is known
                pass
        found[one.name] = figures
    return found


def _reference(outcome: Outcome, kind: str, threads: int) -> Case | None:
    for case in outcome.cases:
        if case.entry.kind == kind and case.threads == threads:
            return case
    return None


def ratio(case: Case, outcome: Outcome, kind: str) -> float | None:
    """How many times as fast as eager PyTorch or MIL, by the medians of track.

    None where these failed, if in a later round.
    """
    reference = _reference(outcome, kind, case.threads)
    if reference is None or reference.failed or not reference.rounds or not case.rounds:
        return None
    theirs, ours = (statistics.median(medians(one.rounds, "track")) for one in (reference, case))
    return theirs / ours


def values_of(case: Case, outcome: Outcome) -> dict[str, Any]:
    """The `values` of a case's record: the keys of `track_runs.KEYS`, and more."""
    rounds = case.rounds
    times = {name: times_of(rounds, name) for name in (*QUANTITIES, "network_in_track")}
    loads = [one["load_seconds"] for one in rounds]
    memory = [one["peak_memory_mb"] for one in rounds if one["peak_memory_mb"] is not None]
    boxes = box_figures(case, outcome)
    known = [one for one in boxes.values() if one["max_px"] is not None]
    frames = sum(one["frames"] for one in known)
    network, track = times["network"], times["track"]
    return {
        **dict.fromkeys(KEYS),
        **{f"{name}_ms": one and one.as_dict() for name, one in times.items()},
        "frames_per_second": 1e3 / times["end_to_end"].mean,
        "load_seconds": statistics.median(loads),
        "peak_memory_mb": statistics.median(memory) if memory else None,
        "boxes_max_difference_px": max((one["max_px"] for one in known), default=None),
        "boxes_mean_difference_px": sum(one["mean_px"] * one["frames"] for one in known) / frames
        if frames
        else None,
        "auc": {name: one["auc"] for name, one in boxes.items() if one["auc"] is not None} or None,
        "boxes": boxes,
        "track_to_network": track.median / network.median if network else None,
        "times_as_fast_as": {
            "eager": ratio(case, outcome, EAGER),
            "opencv-mil": ratio(case, outcome, MIL),
        },
        "rounds": {
            "count": len(rounds),
            **{f"{name}_ms": spread(medians(rounds, name)) for name in QUANTITIES},
            "frames_per_second": spread(rates(rounds)),
            "load_seconds": spread(loads),
            "peak_memory_mb": spread(memory),
        },
        "warm_up": outcome.request.warm_up,
        "batch": case.about.get("batch"),
        "cores": outcome.cores.get(case.threads) or None,
        "heavy_packages": sum(len(one["heavy"]) for one in rounds),
    }


def target_values(case: Case, count: int, outcome: Outcome) -> dict[str, Any]:
    """The `values` of the record of several targets."""
    reports = case.targets[count]
    track, whole = (times_of(reports, name) for name in ("track", "end_to_end"))
    return {
        **dict.fromkeys(KEYS),
        "track_ms": track.as_dict(),
        "end_to_end_ms": whole.as_dict(),
        "frames_per_second": 1e3 / whole.mean,
        "targets": count,
        "rounds": {
            "count": len(reports),
            **{f"{name}_ms": spread(medians(reports, name)) for name in ("track", "end_to_end")},
            "frames_per_second": spread(rates(reports)),
        },
        "warm_up": outcome.request.warm_up,
        "batch": case.about.get("batch"),
        "cores": outcome.cores.get(case.threads) or None,
    }
