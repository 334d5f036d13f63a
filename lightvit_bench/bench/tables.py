"""Tables of docs/benchmarks.md, made from run records and nothing else."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lightvit_bench.bench.latency import Latency
from lightvit_bench.bench.record import RunRecord
from lightvit_bench.bench.track_runs import TIMES, TRACKING_LATENCY, Case, TrackRun

# What the others are compared with, in fp32: the first of these runtimes that there is.
REFERENCES = ("eager", "torch")
RUNTIMES = {
    "eager": "eager PyTorch",
    "torch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "opencv-mil": "OpenCV's MIL",
}
LABEL = ("network", "runtime", "threads")
QUANTITIES = ("network", "track", "end to end")
NONE = "–"
NOTHING = "No run is recorded yet."
MEDIANS = (
    "Milliseconds a frame, the median over a run; of several runs the median of their medians "
    "(least to most). *Network* is the network alone, *track* the whole update with crop and "
    "decoding of the box, *end to end* that and the decoding of the video. The ratio says how many "
    "times as fast *track* is as {} with the same network and threads."
)
SLOWEST = (
    "The slowest frames (p95, p99 in ms), the time until the tracker is loaded, and the most "
    "memory of its process (MB of 10^6 bytes); of several runs the medians:"
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
        parts.append(f"Left out: {left} {_plural(left, 'run')} of fewer frames than expected.")
    return "\n\n".join(parts)


def _place(runs: Sequence[TrackRun]) -> str:
    """The tables of one machine and data set, and what they were measured with."""
    cases = _newest(runs)
    tracker = {case: found for case, found in cases.items() if case.targets is None}
    several = {case: found for case, found in cases.items() if case.targets is not None}
    shown = [run for found in cases.values() for run in found]
    return "\n\n".join([*_tracker_tables(tracker), *_targets_table(several), _conditions(shown)])


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
    several = _several_models(cases)
    for case, found in cases.items():
        label = _label(case, several)
        times.append(
            [
                *label,
                *(_spread([getattr(run, key) for run in found], _ms, "median") for key in TIMES),
                _spread([run.frames_per_second for run in found], _rate),
                _ratio(case, cases),
                str(len(found)),
            ]
        )
        tails.append(
            [
                *label,
                *(_tail([getattr(run, key) for run in found]) for key in TIMES),
                _spread([run.load_seconds for run in found], _decimals(2)),
                _spread([run.peak_memory_mb for run in found], _decimals(0)),
            ]
        )
        accuracy = [
            _spread([run.boxes_max_difference_px for run in found], _pixels),
            _spread([run.boxes_mean_difference_px for run in found], _pixels),
            *(_spread([run.auc.get(name) for run in found], _significant) for name in sets),
        ]
        if set(accuracy) != {NONE}:
            boxes.append([*label, *accuracy])
    reference = _reference_name(cases)
    medians = [f"{name} ms" for name in QUANTITIES]
    slowest = [f"{name} p95, p99" for name in QUANTITIES]
    parts = [
        _prose(MEDIANS.format(reference)),
        _table([*LABEL, *medians, "frames/s", f"ratio to {reference}", "runs"], times),
        _prose(SLOWEST),
        _table([*LABEL, *slowest, "load s", "memory MB"], tails),
    ]
    if boxes:
        scores = [f"AUC {_cell(name)}" for name in sets]
        parts += [
            "How far the boxes are from PyTorch's in float32, in pixels, and what they score:",
            _table([*LABEL, "largest px", "mean px", *scores], boxes),
        ]
    return parts


def _targets_table(cases: Cases) -> list[str]:
    """Frames/s by number of targets in one frame."""
    if not cases:
        return []
    counts = sorted({case.targets for case in cases})
    several = _several_models(cases)
    rows = {}
    for case in cases:
        found = [cases.get(case._replace(targets=count), []) for count in counts]
        rates = [_spread([run.frames_per_second for run in runs], _rate) for runs in found]
        rows[case._replace(targets=None)] = [*_label(case, several), *rates]
    heads = [f"{count} {_plural(count, 'target')}" for count in counts]
    return [
        "Frames/s with several targets in one frame (`MultiTracker`):",
        _table([*LABEL, *heads], list(rows.values())),
    ]


def _several_models(cases: Cases) -> bool:
    """Whether rows have to say which model: there are several besides the baselines."""
    return len({case.model for case in cases if case.variant is not None}) > 1


def _label(case: Case, several: bool) -> list[str]:
    network = case.variant or NONE
    if several and case.variant:
        network = f"{case.model}: {case.variant}"
    runtime = RUNTIMES.get(case.runtime, case.runtime) or case.model
    return [
        _cell(network),
        _cell(f"{runtime}, {case.precision}" if case.precision else runtime),
        NONE if case.threads is None else str(case.threads),
    ]


def _reference(case: Case, cases: Cases) -> Case | None:
    """The case of eager PyTorch with the same network and threads.

    A tracker without a network of ours (OpenCV's) is compared with the one there is, if just one.
    """
    for runtime in REFERENCES:
        found = [
            one
            for one in cases
            if (one.runtime, one.precision, one.threads) == (runtime, "fp32", case.threads)
            and (case.variant is None or (one.model, one.variant) == (case.model, case.variant))
        ]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _reference_name(cases: Cases) -> str:
    runtimes = {case.runtime for case in cases}
    return RUNTIMES[next((name for name in REFERENCES if name in runtimes), REFERENCES[0])]


def _ratio(case: Case, cases: Cases) -> str:
    """How many times as fast as the reference, by the medians of *track*."""
    reference = _reference(case, cases)
    ours = _median(cases[case], "track_ms")
    theirs = _median(cases[reference], "track_ms") if reference else None
    if not ours or not theirs:
        return NONE
    if reference == case:
        return "1"
    return f"{theirs / ours:.1f}" if theirs >= ours else f"{theirs / ours:.2f}"


def _median(runs: Sequence[TrackRun], key: str) -> float | None:
    found = [getattr(run, key).median for run in runs if getattr(run, key) is not None]
    return statistics.median(found) if found else None


def _spread(found: Sequence[Any], show: Callable[[float], str], key: str | None = None) -> str:
    """The median of several runs' values, with the least and the most where these look different.

    Args:
        key: the field of each, where they are `Latency`s.
    """
    values = [getattr(one, key) if key else one for one in found if one is not None]
    if not values:
        return NONE
    least, most = show(min(values)), show(max(values))
    middle = show(statistics.median(values))
    return middle if least == most else f"{middle} ({least} to {most})"


def _tail(found: Sequence[Latency | None]) -> str:
    """The medians of several runs' p95 and p99."""
    values = [one for one in found if one is not None]
    if not values:
        return NONE
    medians = [statistics.median(getattr(one, name) for one in values) for name in ("p95", "p99")]
    return ", ".join(map(_ms, medians))


def _conditions(runs: Sequence[TrackRun]) -> str:
    """Data, machine, versions, commits, dates and commands of the runs shown."""
    records = [run.record for run in runs]
    one = records[0]  # what makes a place is the same in all
    times = [t for run in runs for t in (run.network_ms, run.track_ms, run.end_to_end_ms) if t]
    frames = sorted({time.count for time in times})
    lines = []
    if one.dataset:
        data = ", ".join(_cell(part) for part in (one.dataset, one.split) if part)
        lines.append(f"Data: {data}.")
    if frames:
        count = f"{frames[0]:,}" if len(frames) == 1 else f"{frames[0]:,} to {frames[-1]:,}"
        lines.append(f"Frames of a run, after the warm-up: {count}.")
    if machines := [record.machine for record in records if record.machine]:
        systems = _unique(f"{machine.system}, Python {machine.python}" for machine in machines)
        parts = [machines[0].hardware, " or ".join(systems)]
        if one.device and one.device != "cpu":
            parts.insert(0, one.device)
        if loads := [machine.load[0] for machine in machines if machine.load]:
            parts.append(f"load average {_spread(loads, _decimals(1))}")
        lines.append(f"Machine: {_cell('; '.join(parts))}.")
    installed: dict[str, list[str]] = {}
    for record in records:
        for name, version in record.versions.items():
            if version is not None:
                installed.setdefault(name, []).append(version)
    if installed:
        told = [f"{name} {' or '.join(_unique(installed[name]))}" for name in sorted(installed)]
        lines.append(f"Versions: {_cell(', '.join(told))}.")
    dates = sorted({record.date[:10] for record in records})
    commits = _unique(_short_commit(record.commit) for record in records)
    lines.append(
        f"{_plural(len(commits), 'Commit')} {', '.join(commits)}; {' to '.join(_ends(dates))}; "
        f"{len(runs)} {_plural(len(runs), 'record')}, made by"
    )
    commands = sorted(_unique(record.command for record in records))
    return _prose(" ".join(lines)) + "\n\n" + "\n".join(f"    {command}" for command in commands)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; the columns after network and runtime to the right."""
    rule = ["---"] * 2 + ["---:"] * (len(head) - 2)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def _cell(text: str) -> str:
    """Text that stays text within a table and a line of Markdown."""
    return "".join("\\" + char if char in "\\|<*_`[" else char for char in text)


def _prose(text: str) -> str:
    """A paragraph in lines, as the documents have them."""
    return textwrap.fill(text, 105, break_long_words=False, break_on_hyphens=False)


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _pixels(value: float) -> str:
    return f"{value:.3g}" if value >= 0.001 else f"{value:.4f}"


def _significant(value: float) -> str:
    return f"{value:.4g}"


def _decimals(count: int) -> Callable[[float], str]:
    return lambda value: f"{value:.{count}f}"


def _short_commit(commit: str | None) -> str:
    if commit is None:
        return "unknown"
    digits, _, changes = commit.partition("+")
    return digits[:7] + (" with changes" if changes else "")


def _ends(texts: Sequence[str]) -> list[str]:
    return [texts[0]] if len(texts) == 1 else [texts[0], texts[-1]]


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
