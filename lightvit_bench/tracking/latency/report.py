"""What tools/bench_track.py says: figures of several rounds, tables for people, run records."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightvit_bench.bench.latency import Latency
from lightvit_bench.bench.machine import describe_machine, versions
from lightvit_bench.bench.provenance import shown_path
from lightvit_bench.bench.record import RunRecord, measured_record, write_record
from lightvit_bench.bench.track_runs import KEYS, TRACKING_LATENCY
from lightvit_bench.errors import BadDataError
from lightvit_bench.tracking.judging.judge import judge_boxes
from lightvit_bench.tracking.latency.bench import Case, Outcome
from lightvit_bench.tracking.latency.cases import EAGER, MIL

PACKAGES = ("numpy", "opencv-python", "av", "torch", "openvino", "onnxruntime", "nncf")
QUANTITIES = ("network", "track", "end_to_end")
EXACT = 3  # decimals of a difference in pixels
NONE = "-"
NOTES = (
    "ms a frame: median (p95, p99) over {frames} frames after {warm_up} of warm-up; of {rounds}.",
    "network: the network alone, asked again about the region just cut. track: Tracker.update. end "
    "to end: that and reading the frame from a video file; frames/s is of it, frames over the "
    "seconds they took.",
    "load: from the start of the program (Python itself left out) to the first answer, on frames "
    "made in memory. MB: of 10^6 bytes, the most that the process held until the video's end.",
    "x eager, x MIL: how many times as fast as these, by the median of track.",
)


# ---------------------------------------------------------------------------------------- figures


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
    """How many times as fast as eager PyTorch or MIL, by the medians of track."""
    reference = _reference(outcome, kind, case.threads)
    if reference is None or not reference.rounds or not case.rounds:
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
            "load_seconds": spread(loads),
            "peak_memory_mb": spread(memory),
        },
        "warm_up": outcome.request.warm_up,
        "cores": outcome.cores.get(case.threads) or None,
        "heavy_packages": sum(len(one["heavy"]) for one in rounds),
    }


def target_values(reports: Sequence[Mapping], count: int, warm_up: int) -> dict[str, Any]:
    """The `values` of the record of several targets."""
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
        },
        "warm_up": warm_up,
    }


# ---------------------------------------------------------------------------------------- records


def write_records(outcome: Outcome, folder: str, argv: Sequence[str] | None = None) -> list[Path]:
    """A record for each case that did not fail, and for each number of targets; their paths."""
    variant = next((c.about["variant"] for c in outcome.cases if c.about.get("variant")), None)
    # What needs no network of ours has no variant; what has one, and nobody to say which:
    variant = variant or "as exported"
    written = []

    def record(case: Case, values: Mapping, reports: Sequence[Mapping], quantity: str) -> RunRecord:
        ours = case.entry.kind != MIL
        timed = min(len(one["times"][quantity]) for one in reports)
        return measured_record(
            TRACKING_LATENCY,
            model_name(outcome) if ours else "OpenCV MIL",
            values,
            packages=PACKAGES,
            argv=argv,
            origin="demo" if outcome.generated else "measured",
            dataset=outcome.clip.name,
            expected=timed,
            evaluated=timed,
            variant=variant if ours else None,
            runtime=case.about["runtime"],
            precision=case.about["precision"],
            threads=case.threads,
            checkpoint=shown_path(Path(outcome.weights or model_name(outcome)).name)
            if ours
            else None,
            checkpoint_sha256=outcome.weights_sha256 if ours else None,
            device="cpu",
            machine=case.machine,
        )

    for case in outcome.cases:
        if case.failed or not case.rounds:
            continue
        one = record(case, values_of(case, outcome), case.rounds, "track")
        written.append(write_record(one, folder))
        for count, reports in sorted(case.targets.items()):
            values = target_values(reports, count, outcome.request.warm_up)
            written.append(write_record(record(case, values, reports, "track"), folder))
    return written


def model_name(outcome: Outcome) -> str:
    """Of the weights that all cases share."""
    return Path(outcome.weights).stem if outcome.weights else "tracker_tiny"


# ------------------------------------------------------------------------------------------ tables


def report(outcome: Outcome) -> str:
    """Everything that was found out, for a person."""
    request, clip = outcome.request, outcome.clip
    machine = next((case.machine for case in outcome.cases if case.machine), None)
    installed = [f"{name} {one}" for name, one in versions(*PACKAGES).items() if one]
    rounds = f"{request.rounds} rounds the medians" if request.rounds > 1 else "one round"
    pinned = ", ".join(
        f"{threads} thread{'s' * (threads > 1)} on {cores} core{'s' * (cores > 1)}"
        for threads, cores in outcome.cores.items()
        if cores
    )
    parts = [
        f"machine   {machine or describe_machine()}\n"
        f"pinned    {pinned or 'not: this system cannot'}\n"
        f"versions  {', '.join(installed)}\n"
        f"video     {clip.name}, {clip.width} x {clip.height}\n"
        f"weights   {model_name(outcome)}",
        _times_table(outcome),
        "\n".join(NOTES).format(frames=request.frames, warm_up=request.warm_up, rounds=rounds),
        _spread_table(outcome) if request.rounds > 1 else "",
        _boxes_table(outcome),
        _targets_table(outcome),
        *outcome.remarks,
        "\n".join(f"FAILED  {case.name}: {case.failed}" for case in outcome.failures),
    ]
    return "\n\n".join(part for part in parts if part)


def _times_table(outcome: Outcome) -> str:
    head = ["tracker", "threads", "network", "track", "end to end", "frames/s", "load s", "MB"]
    head += ["track/network", "x eager", "x MIL"]
    rows = []
    for case in outcome.cases:
        if not case.rounds:
            rows.append([_label(case), str(case.threads), "failed" if case.failed else NONE])
            continue
        values = values_of(case, outcome)
        rows.append(
            [
                _label(case),
                str(case.threads),
                *(_latency(values[f"{name}_ms"]) for name in QUANTITIES),
                _number(values["frames_per_second"], 1),
                _number(values["load_seconds"], 2),
                _number(values["peak_memory_mb"], 0),
                _number(values["track_to_network"], 2),
                *(_number(values["times_as_fast_as"][name], 2) for name in ("eager", MIL)),
            ]
        )
    return table(head, rows)


def _spread_table(outcome: Outcome) -> str:
    """The least and the most over rounds of each median."""
    rows = []
    for case in outcome.cases:
        if case.rounds:
            told = values_of(case, outcome)["rounds"]
            names = [f"{name}_ms" for name in QUANTITIES]
            cells = [_range(told[name], 2) for name in names]
            more = [_range(told["load_seconds"], 2), _range(told["peak_memory_mb"], 0)]
            rows.append([_label(case), str(case.threads), *cells, *more])
    head = ["least to most", "threads", "network", "track", "end to end", "load s", "MB"]
    return table(head, rows) if rows else ""


def _boxes_table(outcome: Outcome) -> str:
    head = ["boxes", "threads"]
    for one in outcome.sets:
        head += [f"{one.name} max px", "mean px", *["AUC"] * bool(one.truth)]
    rows = []
    for case in outcome.cases:
        found, cells = box_figures(case, outcome), []
        for one in outcome.sets:
            figures = found.get(one.name, {})
            cells += [_number(figures.get(name), EXACT) for name in ("max_px", "mean_px")]
            cells += [_number(figures.get("auc"), 2)] * bool(one.truth)
        if found:
            rows.append([_label(case), str(case.threads), *cells])
    return table(head, rows) if rows else ""


def _targets_table(outcome: Outcome) -> str:
    rows = []
    for case in outcome.cases:
        if case.targets:
            rates = [
                target_values(case.targets[count], count, 0)["frames_per_second"]
                if count in case.targets
                else None
                for count in outcome.request.targets
            ]
            row = [_label(case), str(case.threads), *(_number(rate, 1) for rate in rates)]
            rows.append(row)
    if not rows:
        return ""
    head = ["frames/s, end to end", "threads", *map(str, outcome.request.targets)]
    return table(head, rows) + "\ntargets in one frame: boxes spread over it, whatever they show"


def _label(case: Case) -> str:
    name = case.about.get("name")
    if not name or case.entry.kind == MIL:
        return case.entry.label
    precision = case.about.get("precision")
    told = case.entry.label
    return told if precision and precision in told else f"{told} ({precision})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns in line; short rows are filled up."""
    rows = [[*row, *[""] * (len(head) - len(row))] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _latency(values: Mapping | None) -> str:
    if values is None:
        return NONE
    return f"{values['median']:.2f} ({values['p95']:.2f}, {values['p99']:.2f})"


def _number(value: float | None, decimals: int) -> str:
    return NONE if value is None else f"{value:.{decimals}f}"


def _range(values: Mapping | None, decimals: int) -> str:
    if values is None:
        return NONE
    show: Callable[[float], str] = lambda value: f"{value:.{decimals}f}"  # noqa: E731
    return f"{show(values['least'])} to {show(values['most'])}"
