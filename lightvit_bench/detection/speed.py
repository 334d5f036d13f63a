"""How fast detectors are, and what memory they take: what tools/bench_detect.py does.

Cases are measured each in a process of its own (`speed_case`), in turns, several rounds: what else
a shared machine does hits all of them alike. A case that fails is told of, and the others go on.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lightvit_bench.bench.detection_runs import DETECTION_SPEED, RATIOS, Spread
from lightvit_bench.bench.machine import Machine, describe_machine
from lightvit_bench.bench.provenance import shown_path
from lightvit_bench.bench.record import RunRecord, measured_record
from lightvit_bench.detection.speed_case import BF16, FP32, OBJECTS, OURS, Case, Job
from lightvit_bench.errors import ConfigError, printable

TOOL = Path(__file__).resolve().parents[2] / "tools" / "bench_detect.py"
LONGEST = 3600.0  # seconds a process may take
PACKAGES = ("torch", "timm", "numpy", "onedl-mmcv", "onedl-mmdetection", "mmengine")
TASKS = ("inference", "training")
ATTENTION = ("global", "windows")
NO_YES = ("no", "yes")


@dataclass(frozen=True)
class Request:
    """What is to be measured; the options of tools/bench_detect.py."""

    config: str
    cfg_options: tuple[str, ...] = ()
    task: tuple[str, ...] = TASKS
    precision: tuple[str, ...] = (FP32, BF16)
    attention: tuple[str, ...] = ATTENTION
    rel_pos: tuple[str, ...] = NO_YES
    checkpointing: tuple[str, ...] = NO_YES
    device: str = "cpu"
    threads: int = 2
    size: int = 640
    batch: int = 2
    rounds: int = 3
    steps: int = 3
    warm_up: int = 1
    seed: int = 0


@dataclass
class Measured:
    """A case, the reports of its rounds, and why it was given up."""

    case: Case
    rounds: list[dict] = field(default_factory=list)
    failed: str | None = None


@dataclass(frozen=True)
class Outcome:
    """Of a benchmark: its cases, and what they were measured on."""

    request: Request
    measured: list[Measured]
    machine: Machine
    device: str
    config_sha256: str
    remarks: list[str]

    @property
    def failures(self) -> list[str]:
        """What failed, a line each."""
        return [f"{one.case.name}: {one.failed}" for one in self.measured if one.failed]


def bench(
    request: Request,
    say: Callable[[str], None],
    run: Callable[[Job], dict] | None = None,
) -> Outcome:
    """Measure all cases of a request.

    Args:
        say: takes lines on what is being done.
        run: does a job, in place of `run_child`.

    Raises:
        ConfigError: the config is none of detection, or options contradict each other.
    """
    from lightvit_bench.openmmlab.config import is_detection, load_config

    check_request(request)
    cfg = load_config(request.config, request.cfg_options)
    if not is_detection(cfg):
        raise ConfigError(f"{request.config} is no config of a detector.", near="configs/coco")
    device, remarks = "cpu", []
    precisions = request.precision
    if request.device == "cuda":
        device = _gpu_name()
    elif BF16 in precisions and not _cpu_has_bfloat16():
        precisions = tuple(one for one in precisions if one != BF16)
        remarks.append("bf16 left out: this CPU has no instructions for it.")
    cases = [Measured(case) for case in cases_of(cfg, replace(request, precision=precisions))]
    machine = describe_machine()
    for number in range(1, request.rounds + 1):
        for one in (one for one in cases if not one.failed):
            report = (run or run_child)(job_of(request, one.case))
            start = f"round {number} of {request.rounds}: {one.case.name}"
            if "failed" in report:
                one.failed = report["failed"]
                say(f"{start}: failed: {one.failed}")
                continue
            one.rounds.append(report)
            middle = {part: 1e3 * statistics.median(report[part]) for part in ("model", "encoder")}
            say(
                f"{start}: model {middle['model']:.0f} ms, encoder {middle['encoder']:.0f} ms; "
                f"tensors {report['model_bytes'] / 1e6:.0f} MB, "
                f"encoder's {report['encoder_bytes'] / 1e6:.0f}"
            )
    text = json.dumps(cfg.to_dict(), sort_keys=True, default=str)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return Outcome(request, cases, machine, device, sha256, remarks)


def check_request(request: Request) -> None:
    """`ConfigError` for options that make no sense."""
    for name, least in (("threads", 1), ("batch", 1), ("rounds", 1), ("steps", 1), ("warm_up", 0)):
        if getattr(request, name) < least:
            option = name.replace("_", "-")
            raise ConfigError(f"--{option} is {least} or more, not {getattr(request, name)}.")
    if request.size < 32 or request.size % 32:
        raise ConfigError(f"--size is a multiple of 32 pixels, not {request.size}.")


def cases_of(cfg, request: Request) -> list[Case]:
    """The cases of a config: every way of running the encoder that it has and that is asked for.

    Without windows in the config there is global attention alone, and so on. An encoder of another
    kind is run as it is.
    """
    backbone, found = cfg.model.backbone, []
    ours = backbone.type == OURS
    windows = [None] * ("global" in request.attention)
    windows += [backbone.get("window")] * ("windows" in request.attention)
    rel_pos = [False] * ("no" in request.rel_pos)
    rel_pos += [backbone.get("rel_pos", False)] * ("yes" in request.rel_pos)
    for task, precision in itertools.product(request.task, request.precision):
        training = task == "training"
        if not ours:
            found.append(Case(training, precision, ours=False))
            continue
        kept = [one == "yes" for one in request.checkpointing] if training else [None]
        for ways in itertools.product(windows, rel_pos, kept):
            found.append(Case(training, precision, True, *ways))
    found = list(dict.fromkeys(found))
    if not found:
        raise ConfigError("no case is left to be measured.", ask_for="more by --task, --rel-pos")
    return found


def job_of(request: Request, case: Case) -> Job:
    """What a process is to do for a round of a case; inference takes one image at a time."""
    return Job(
        config=request.config,
        options=request.cfg_options,
        case=case,
        device=request.device,
        threads=request.threads,
        size=request.size,
        batch=request.batch if case.training else 1,
        steps=request.steps,
        warm_up=request.warm_up,
        seed=request.seed,
    )


def run_child(job: Job) -> dict:
    """The report of a job, done in a process of its own; of one that died, {"failed": ...}."""
    threads = str(job.threads)
    command = [sys.executable, str(TOOL), "--case", job.to_json()]
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=environment,
            timeout=LONGEST,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"failed": f"it took more than {LONGEST:g} s"}
    try:  # what is imported may have something to say before it
        report = json.loads(done.stdout.strip().splitlines()[-1])
        if isinstance(report, dict):
            return report
    except (IndexError, ValueError):
        pass
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return {"failed": f"its process ended with {done.returncode} and no report: {printable(last)}"}


def _cpu_has_bfloat16() -> bool:
    from lightvit_bench.compat import cpu_computes_bfloat16

    return cpu_computes_bfloat16()


def _gpu_name() -> str:
    import torch

    if not torch.cuda.is_available():
        raise ConfigError("there is no CUDA device.", use="--device cpu")
    return torch.cuda.get_device_name()


# ---------------------------------------------------------------------------------------- records


def records_of(outcome: Outcome, argv: Sequence[str] | None = None) -> list[RunRecord]:
    """A record for each case that has a round.

    Of a case that failed in a later round, it says that fewer steps were evaluated than expected.
    """
    request, found = outcome.request, []
    for one in (one for one in outcome.measured if one.rounds):
        case = one.case
        record = measured_record(
            DETECTION_SPEED,
            Path(request.config).stem,
            values_of(one, outcome),
            packages=PACKAGES,
            argv=argv,
            origin="demo",  # the images are made
            dataset=f"noise with {OBJECTS} objects an image",
            expected=request.rounds * request.steps,
            evaluated=sum(len(report["model"]) for report in one.rounds),
            variant=case.variant,
            runtime="eager",
            precision=case.precision,
            threads=request.threads,
            seed=request.seed,
            config=shown_path(request.config),
            config_sha256=outcome.config_sha256,
            device=outcome.device,
            machine=outcome.machine,
        )
        found.append(record)
    return found


def values_of(one: Measured, outcome: Outcome) -> dict:
    """The figures of a case, as `bench.detection_runs` has them."""
    case, job = one.case, job_of(outcome.request, one.case)

    def flag(value: object) -> int | None:
        return int(bool(value)) if case.ours and value is not None else None

    def spread(values: Sequence[float]) -> dict[str, float]:
        return Spread.of(values)._asdict()

    def milliseconds(part: str) -> dict[str, float]:
        return spread([1e3 * statistics.median(report[part]) for report in one.rounds])

    held = [report["process_mb"] for report in one.rounds]
    first = one.rounds[0]
    return {
        "training": int(case.training),
        "encoder_options": int(case.ours),
        "window": case.window,
        "relative_positions": flag(case.rel_pos),
        "checkpointing": flag(case.checkpointing),
        "image_px": job.size,
        "batch": job.batch,
        "rounds": len(one.rounds),
        "steps": job.steps,
        "warm_up": job.warm_up,
        "model_ms": milliseconds("model"),
        "encoder_ms": milliseconds("encoder"),
        RATIOS: ratios(one, outcome.measured),
        "model_tensors_mb": statistics.median(r["model_bytes"] / 1e6 for r in one.rounds),
        "encoder_tensors_mb": statistics.median(r["encoder_bytes"] / 1e6 for r in one.rounds),
        "process_mb": None if None in held else spread(held),
        "mask_regions": first["regions"],
        "objects_found": first["found"],
    }


def ratios(one: Measured, measured: Sequence[Measured]) -> dict[str, float] | None:
    """How many times as fast a case is as the same without windows, of rounds that both have."""
    other = next((m for m in measured if m.case == replace(one.case, window=None)), None)
    if not one.case.ours or other is None:
        return None
    pairs = list(zip(one.rounds, other.rounds, strict=False))
    if not pairs:
        return None
    return {
        part: statistics.median(
            statistics.median(theirs[part]) / statistics.median(mine[part])
            for mine, theirs in pairs
        )
        for part in ("model", "encoder")
    }
