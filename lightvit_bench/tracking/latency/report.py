"""What tools/bench_track.py says: tables for people, run records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lightvit_bench.bench.machine import describe_machine, versions
from lightvit_bench.bench.provenance import shown_path
from lightvit_bench.bench.record import RunRecord, measured_record, write_record
from lightvit_bench.bench.track_runs import TRACKING_LATENCY
from lightvit_bench.tracking.latency.bench import Case, Outcome, frames_with
from lightvit_bench.tracking.latency.cases import EXPORTED, MIL
from lightvit_bench.tracking.latency.figures import (
    QUANTITIES,
    box_figures,
    target_values,
    values_of,
)

PACKAGES = ("numpy", "opencv-python", "av", "torch", "openvino", "onnxruntime", "nncf")
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


# ---------------------------------------------------------------------------------------- records


def write_records(outcome: Outcome, folder: str, argv: Sequence[str] | None = None) -> list[Path]:
    """A record for each case and each number of targets that has a round; their paths.

    Of a case that failed in a later round, it says that fewer frames were evaluated than expected.
    """
    variant = next((c.about["variant"] for c in outcome.cases if c.about.get("variant")), None)
    # What needs no network of ours has no variant; what has one, and nobody to say which:
    variant = variant or "as exported"
    written, request = [], outcome.request

    def record(case: Case, values: Mapping, reports: Sequence[Mapping], frames: int) -> RunRecord:
        ours, exported = case.entry.kind != MIL, case.entry.kind == EXPORTED
        return measured_record(
            TRACKING_LATENCY,
            model_name(outcome) if ours else "OpenCV MIL",
            values,
            packages=PACKAGES,
            argv=argv,
            origin="demo" if outcome.generated else "measured",
            dataset=outcome.clip.name,
            expected=frames * request.rounds,
            evaluated=sum(len(one["times"]["track"]) for one in reports),
            variant=variant if ours else None,
            runtime=case.about["runtime"],
            precision=case.about["precision"],
            threads=case.threads,
            checkpoint=shown_path(Path(outcome.weights or model_name(outcome)).name)
            if ours
            else None,
            checkpoint_sha256=outcome.weights_sha256 if ours else None,
            exported=shown_path(Path(case.entry.path).name) if exported else None,
            exported_sha256=case.sha256,
            device="cpu",
            machine=case.machine,
        )

    for case in outcome.cases:
        if not case.rounds:
            continue
        one = record(case, values_of(case, outcome), case.rounds, request.frames)
        written.append(write_record(one, folder))
        for count, reports in sorted(case.targets.items()):
            values = target_values(case, count, outcome)
            one = record(case, values, reports, frames_with(request, count))
            written.append(write_record(one, folder))
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
        "\n".join(f"FAILED  {line}" for case in outcome.failures for line in case.failures),
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
        count = len(case.rounds)
        after = f", failed after {count} round{'s' * (count > 1)}" if case.failed else ""
        rows.append(
            [
                _label(case) + after,
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
        if case.targets or case.targets_failed:
            found = [
                target_values(case, count, outcome)["frames_per_second"]
                if count in case.targets
                else None
                for count in outcome.request.targets
            ]
            cells = [
                "failed" if count in case.targets_failed else _number(rate, 1)
                for count, rate in zip(outcome.request.targets, found, strict=True)
            ]
            rows.append([_label(case), str(case.threads), *cells])
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
