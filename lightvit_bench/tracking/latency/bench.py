"""How fast trackers are: what tools/bench_track.py does.

Cases (a tracker and a number of threads) are measured each in a process of its own (`cases`),
in turns, several rounds: what else a shared machine does hits all of them alike. A case that fails
is told of, and the others go on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lightvit_bench.bench.machine import Machine, describe_machine
from lightvit_bench.bench.provenance import sha256_of
from lightvit_bench.errors import printable
from lightvit_bench.tracking.latency.cases import EAGER, EXPORTED, Clip, Job
from lightvit_bench.tracking.latency.inputs import (
    ClipSet,
    Entry,
    Request,
    check_request,
    entries_of,
    prepare,
    sha256_of_weights,
)

TOOL = Path(__file__).resolve().parents[3] / "tools" / "bench_track.py"
LONGEST = 3600.0  # seconds a process may take
FEWEST = 30  # frames with several targets at least


@dataclass
class Case:
    """A tracker with a number of threads, and what was found out about it.

    about: what its processes said of it. rounds: their reports. targets: by number of targets.
    boxes: of each `ClipSet`, by clip. machine: before the first round. sha256: of an exported file.
    failed: why it was given up. targets_failed: why a number of targets was.
    """

    entry: Entry
    threads: int
    about: dict[str, Any] = field(default_factory=dict)
    rounds: list[dict] = field(default_factory=list)
    targets: dict[int, list[dict]] = field(default_factory=dict)
    boxes: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    machine: Machine | None = None
    sha256: str | None = None
    failed: str | None = None
    targets_failed: dict[int, str] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """What failed, a line each."""
        several = [
            f"{self.name}, {count} target{'s' * (count > 1)}: {why}"
            for count, why in sorted(self.targets_failed.items())
        ]
        return [f"{self.name}: {self.failed}"] * bool(self.failed) + several

    @property
    def name(self) -> str:
        threads = f"{self.threads} thread" + "s" * (self.threads > 1)
        return f"{self.entry.label}, {threads}"


@dataclass(frozen=True)
class Outcome:
    """Of a benchmark: its cases, what they were measured on, and the weights they all have.

    generated: whether the video was made here. cores: that a case of so many threads ran on.
    """

    request: Request
    cases: list[Case]
    clip: Clip
    generated: bool
    sets: list[ClipSet]
    weights: str | None
    weights_sha256: str | None
    cores: dict[int, int]
    remarks: list[str]

    @property
    def failures(self) -> list[Case]:
        return [case for case in self.cases if case.failures]


Runner = Callable[[Job, "Sequence[int] | None"], dict]


def bench(
    request: Request,
    say: Callable[[str], None],
    run: Runner | None = None,
    entries: Callable[[Request, Path, Callable[[str], None]], list[Entry]] | None = None,
) -> Outcome:
    """Measure all cases of a request.

    Args:
        say: takes lines on what is being done.
        run: does a job on some cores, in place of `run_child`. entries: in place of `entries_of`.

    Raises:
        ConfigError: options that contradict each other.
        MissingDataError, BadDataError: a video, folder or file that cannot be used.
    """
    check_request(request)
    run = run or run_child
    with tempfile.TemporaryDirectory(prefix="bench_track.") as folder:
        work = Path(folder)
        clip, sets, generated = prepare(request, work)
        sha256 = sha256_of_weights(request.weights)
        found = (entries or entries_of)(request, work, say)
        cores = {threads: cores_for(threads) for threads in request.threads}
        cases = [
            Case(entry, threads, failed=entry.failed)
            for threads in request.threads
            for entry in found
        ]

        def job(case: Case, what: str, **others: Any) -> Job:
            source = sha256 if case.entry.kind == EXPORTED else None
            path = request.weights if case.entry.kind == EAGER else case.entry.path
            fixed = {"frames": request.frames, "warm_up": request.warm_up, "clips": (clip,)}
            return Job(
                what, case.entry.kind, path, case.threads, source=source, **{**fixed, **others}
            )

        def report(case: Case, job: Job) -> dict:
            made = run(job, cores[case.threads])
            heavy = made.get("heavy") if job.kind == EXPORTED else None
            if heavy and "failed" not in made:
                why = (
                    f"its process imported {', '.join(heavy)}: memory and load time are not those "
                )
                made = {"failed": why + "of an exported tracker"}
            if "failed" in made:
                case.failed = None if job.what == "targets" else made["failed"]
                several = f", {job.targets} targets" if job.what == "targets" else ""
                say(f"{case.name}{several}: failed: {made['failed']}")
            return made

        for case in (one for one in cases if not one.failed):
            say(f"boxes: {case.name}")
            out = work / f"boxes-{cases.index(case)}.npz"
            clips = tuple(clip for one in sets for clip in one.clips)
            made = report(case, job(case, "boxes", clips=clips, out=str(out)))
            if not case.failed:
                case.about, case.boxes = made["about"], _read_boxes(out, sets)
            if case.entry.kind == EXPORTED and Path(case.entry.path or "").is_file():
                case.sha256 = sha256_of(case.entry.path)
        if request.record:
            _refuse_twins(cases, say)
        for number in range(1, request.rounds + 1):
            for case in (one for one in cases if not one.failed):
                machine = describe_machine()
                made = report(case, job(case, "times"))
                if not case.failed:
                    case.machine = case.machine or machine
                    case.rounds.append(made)
                    middle = 1e3 * float(np.median(made["times"]["track"]))
                    say(f"round {number} of {request.rounds}: {case.name}: track {middle:.2f} ms")
            for case in cases:
                if case.failed or not _with_targets(case, request):
                    continue
                for count in (one for one in request.targets if one not in case.targets_failed):
                    several = {"frames": frames_with(request, count), "targets": count}
                    made = report(case, job(case, "targets", **several))
                    if "failed" in made:
                        case.targets_failed[count] = made["failed"]
                    else:
                        case.targets.setdefault(count, []).append(made)
                say(f"round {number} of {request.rounds}: {case.name}: several targets")
        remarks = []
        if generated:
            remarks.append("The video was made here: no figure says how a real target is followed.")
        for threads, those in cores.items():
            if those and len(those) < threads:
                remarks.append(f"{threads} threads ran on {len(those)} cores: no more may be used.")
        counts = {threads: len(those) if those else 0 for threads, those in cores.items()}
        return Outcome(
            request, cases, clip, generated, sets, request.weights, sha256, counts, remarks
        )


def _with_targets(case: Case, request: Request) -> bool:
    """Several targets are timed with exported trackers, at the largest number of threads."""
    return case.entry.kind == EXPORTED and case.threads == max(request.threads)


def frames_with(request: Request, count: int) -> int:
    """How many frames are timed with so many targets in each."""
    return min(request.frames, max(FEWEST, -(-request.frames // count)))


def _refuse_twins(cases: Iterable[Case], say: Callable[[str], None]) -> None:
    """Of cases whose records would be taken for runs of one, all but the first fail."""
    seen: dict[tuple, str] = {}
    for case in (one for one in cases if not one.failed):
        about, name = case.about, Path(case.entry.path or "").name
        key = (about["runtime"], about["precision"], about.get("batch"), name, case.threads)
        if case.entry.kind == EXPORTED and key in seen:
            case.failed = (
                f"its record would be taken for a run of {seen[key]}, which is of the same "
                "runtime, precision and file name (rename a file, or measure without --record)"
            )
            say(f"{case.name}: failed: {case.failed}")
        seen.setdefault(key, case.name)


# -------------------------------------------------------------------------------------- processes


def cores_for(threads: int) -> tuple[int, ...] | None:
    """The cores that a case runs on: as many as it has threads, of those this process may use.

    Those of one physical core are taken last. None where processes cannot be pinned.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    turns: dict[str, int] = {}
    ranked = []
    for core in sorted(os.sched_getaffinity(0)):
        place = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        siblings = place.read_text().strip() if place.is_file() else str(core)
        turns[siblings] = turns.get(siblings, -1) + 1
        ranked.append((turns[siblings], core))
    return tuple(core for _, core in sorted(ranked)[:threads])


@contextmanager
def _pinned(cores: Sequence[int] | None):
    """Within it, processes that this thread starts are on those cores from their first moment."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run_child(job: Job, cores: Sequence[int] | None) -> dict:
    """The report of a job, done in a process of its own; of one that died, {"failed": ...}."""
    threads = str(job.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    with _pinned(cores):
        process = subprocess.Popen(
            [sys.executable, str(TOOL), "--case", job.to_json()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
        )
    with process:
        try:
            out, errors = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            return {"failed": f"it took more than {LONGEST:g} s"}
        except BaseException:
            process.kill()
            raise
    return report_of(out, errors, process.returncode)


def report_of(out: str, errors: str, code: int) -> dict:
    """The report on a process's output; where there is none, what is known of its end."""
    try:
        report = json.loads(out)
        if isinstance(report, dict):
            return report
    except ValueError:
        pass
    last = (errors.strip().splitlines() or ["it said nothing"])[-1]
    ended = f"by signal {-code}" if code < 0 else f"with {code}"
    return {"failed": f"its process ended {ended} and no report: {printable(last)}"}


def _read_boxes(path: Path, sets: Sequence[ClipSet]) -> dict[str, dict[str, np.ndarray]]:
    with np.load(path, allow_pickle=False) as arrays:
        boxes = [arrays[str(number)] for number in range(len(arrays.files))]
    left = iter(boxes)
    return {one.name: {clip.name: next(left) for clip in one.clips} for one in sets}
