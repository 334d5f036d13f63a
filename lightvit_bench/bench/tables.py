"""Tables of docs/benchmarks.md, made from run records and nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from lightvit_bench.bench.latency import Latency
from lightvit_bench.bench.markdown import (
    NONE,
    cell,
    conditions,
    decimals,
    ms,
    pixels,
    plural,
    prose,
    rate,
    significant,
    spread,
    table,
)
from lightvit_bench.bench.record import RunRecord
from lightvit_bench.bench.track_runs import TIMES, TRACKING_LATENCY, Case, TrackRun

RUNTIMES = {
    "eager": "eager PyTorch",
    "torch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "opencv-mil": "OpenCV's MIL",
}
LABEL = ("network", "runtime", "threads")
QUANTITIES = ("network", "track", "end to end")
NOTHING = "No run is recorded yet."
MEDIANS = (
    "Milliseconds a frame: each round has its median, a figure is the median of these over the "
    "rounds of a run, and of several runs the median of theirs (in brackets the least and the most "
    "of a round). *Network* is the network alone, *track* the whole update with crop and decoding "
    "of the box, *end to end* that and the decoding of the video. The ratio says how many times as "
    "fast *track* is as eager PyTorch in float32 in the same run, with as many threads."
)
SLOWEST = (
    "The slowest frames (p95, p99 in ms), the time until the tracker is loaded, and the most "
    "memory of its process (MB of 10^6 bytes). Each is the median of the rounds' own, and of "
    "several runs the median of theirs; in brackets the least and the most of a round:"
)

Cases = dict[Case, list[TrackRun]]


def tracking_cpu(records: Iterable[RunRecord]) -> str:
    """The block `tracking-cpu` of docs/benchmarks.md, in Markdown.

    Of each case the runs of the newest state count: a later commit, other weights or packages
    replace earlier runs. Other machines and other data make tables of their own. Only what was
    measured here is shown, and a run that did not come to its end is counted and not shown.

    Raises:
        BadDataError: a record's values are not those of tracker latency.
    """
    measured = [r for r in records if r.task == TRACKING_LATENCY and r.origin == "measured"]
    runs = [TrackRun.of(record) for record in measured if record.complete]
    left = len(measured) - len(runs)
    places: dict[tuple[str, ...], list[TrackRun]] = {}
    for run in sorted(runs, key=lambda run: (run.record.date, run.record.file_name)):
        places.setdefault(run.place, []).append(run)
    parts = [_place(places[place]) for place in sorted(places)] or [NOTHING]
    if left:
        parts.append(f"Left out: {left} {plural(left, 'run')} of fewer frames than expected.")
    return "\n\n".join(parts)


def _place(runs: Sequence[TrackRun]) -> str:
    """The tables of one machine and data set, and what they were measured with."""
    cases = _newest(runs)
    tracker = {case: found for case, found in cases.items() if case.targets is None}
    several = {case: found for case, found in cases.items() if case.targets is not None}
    shown = [run for found in cases.values() for run in found]
    about = conditions([run.record for run in shown], _frames(shown))
    return "\n\n".join([*_tracker_tables(tracker), *_targets_table(several), about])


def _newest(runs: Sequence[TrackRun]) -> Cases:
    """The runs of each case in the state of its last; by network and threads, slowest first."""
    cases: Cases = {}
    for run in runs:
        cases.setdefault(run.case, []).append(run)
    for case, found in cases.items():
        cases[case] = [run for run in found if run.state == found[-1].state]

    def order(item: tuple[Case, list[TrackRun]]) -> tuple:
        case, found = item
        network = (case.variant is None, case.model, case.variant or "")
        slow = -(_median(found, "track_ms") or 0)
        others = (case.runtime or "", case.precision or "", case.targets or 0)
        return (*network, case.threads or 0, slow, *others)

    return dict(sorted(cases.items(), key=order))


def _tracker_tables(cases: Cases) -> list[str]:
    """Medians; the slowest frames, loading and memory; boxes and scores."""
    if not cases:
        return []
    times, tails, boxes = [], [], []
    sets = sorted({name for found in cases.values() for run in found for name in run.auc})
    labels = _labels(cases)
    for case, found in cases.items():
        label = labels[case]
        times.append(
            [
                *label,
                *(_spread(found, key, ms) for key in TIMES),
                _spread(found, "frames_per_second", rate),
                _spread(found, "times_as_fast_as_eager", _times_as_fast),
                _measured_in(found),
            ]
        )
        tails.append(
            [
                *label,
                *(_tail([getattr(run, key) for run in found]) for key in TIMES),
                _spread(found, "load_seconds", decimals(2)),
                _spread(found, "peak_memory_mb", decimals(0)),
            ]
        )
        accuracy = [
            _spread(found, "boxes_max_difference_px", pixels),
            _spread(found, "boxes_mean_difference_px", pixels),
            *(_scores(found, name) for name in sets),
        ]
        if set(accuracy) != {NONE}:
            boxes.append([*label, *accuracy])
    medians = [f"{name} ms" for name in QUANTITIES]
    slowest = [f"{name} p95, p99" for name in QUANTITIES]
    parts = [
        prose(MEDIANS),
        table([*LABEL, *medians, "frames/s", "ratio to eager PyTorch", "measured in"], times),
        prose(SLOWEST),
        table([*LABEL, *slowest, "load s", "memory MB"], tails),
    ]
    if boxes:
        scores = [f"AUC {cell(name)}" for name in sets]
        parts += [
            "How far the boxes are from PyTorch's in float32, in pixels, and what they score:",
            table([*LABEL, "largest px", "mean px", *scores], boxes),
        ]
    return parts


def _targets_table(cases: Cases) -> list[str]:
    """Frames/s by number of targets in one frame."""
    if not cases:
        return []
    counts = sorted({case.targets for case in cases})
    labels = _labels(cases)
    rows = {}
    for case in cases:
        found = [cases.get(case._replace(targets=count), []) for count in counts]
        rates = [_spread(runs, "frames_per_second", rate) for runs in found]
        rows[case._replace(targets=None)] = [*labels[case], *rates]
    heads = [f"{count} {plural(count, 'target')}" for count in counts]
    return [
        "Frames/s with several targets in one frame (`MultiTracker`):",
        table([*LABEL, *heads], list(rows.values())),
    ]


def _labels(cases: Cases) -> dict[Case, list[str]]:
    """The first cells of each row.

    They name the model where there are several besides the baselines, and the exported file where
    several were computed by one runtime in one precision.
    """
    several = len({case.model for case in cases if case.variant is not None}) > 1
    files: dict[tuple, set[tuple]] = {}
    for case in cases:
        files.setdefault(_computed(case), set()).add((case.exported, case.batch))
    found = {}
    for case in cases:
        network = case.variant or NONE
        if several and case.variant:
            network = f"{case.model}: {case.variant}"
        runtime = RUNTIMES.get(case.runtime, case.runtime) or case.model
        told = f"{runtime}, {case.precision}" if case.precision else runtime
        if len(files[_computed(case)]) > 1:
            batch = "any batch" if case.batch == 0 else case.batch and f"batch {case.batch}"
            told += f" ({', '.join(filter(None, [case.exported, batch])) or 'no file named'})"
        threads = NONE if case.threads is None else str(case.threads)
        found[case] = [cell(network), cell(told), threads]
    return found


def _computed(case: Case) -> tuple:
    return (case.model, case.variant, case.runtime, case.precision)


def _median(runs: Sequence[TrackRun], key: str) -> float | None:
    found = [getattr(run, key).median for run in runs if getattr(run, key) is not None]
    return statistics.median(found) if found else None


def _spread(runs: Sequence[TrackRun], key: str, show: Callable[[float], str]) -> str:
    """The median of several runs' values, with the least and the most of their rounds."""
    found = [getattr(run, key) for run in runs if getattr(run, key) is not None]
    values = [one.median if isinstance(one, Latency) else one for one in found]
    return spread(values, show, [run.spreads[key] for run in runs if key in run.spreads])


def _scores(runs: Sequence[TrackRun], name: str) -> str:
    return spread([run.auc[name] for run in runs if name in run.auc], significant)


def _times_as_fast(value: float) -> str:
    if value == 1:  # eager PyTorch itself
        return "1"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _measured_in(runs: Sequence[TrackRun]) -> str:
    """How many rounds, of how many runs."""
    rounds = [run.rounds for run in runs if run.rounds is not None]
    told = [f"{len(runs)} {plural(len(runs), 'run')}"] if len(runs) > 1 or not rounds else []
    if rounds:
        told.append(f"{sum(rounds)} {plural(sum(rounds), 'round')}")
    return ", ".join(told)


def _frames(runs: Sequence[TrackRun]) -> str:
    """How many frames were timed."""
    times = [t for run in runs for t in (run.network_ms, run.track_ms, run.end_to_end_ms) if t]
    counts = sorted({time.count for time in times})
    if not counts:
        return ""
    told = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    before = {run.record.values.get("warm_up") for run in runs}
    (count,) = before if len(before) == 1 else (None,)
    warm_up = "the warm-up" if count is None else f"{count} of warm-up"
    return f"Frames of a round, after {warm_up}: {told}."


def _tail(found: Sequence[Latency | None]) -> str:
    """The medians of several runs' p95 and p99."""
    values = [one for one in found if one is not None]
    if not values:
        return NONE
    medians = [statistics.median(getattr(one, name) for one in values) for name in ("p95", "p99")]
    return ", ".join(map(ms, medians))
