"""Pre-training timed beside a plain implementation: what tools/bench_pretrain.py does.

Model and plain implementation take turns, so that a machine that changes its speed changes both;
each turn's ratio is what counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lightvit_bench.bench.detection_runs import Spread
from lightvit_bench.bench.provenance import sha256_of, shown_path
from lightvit_bench.bench.record import RunRecord, measured_record
from lightvit_bench.pretrain import bench

PRETRAINING_SPEED = "pretraining-speed"
PACKAGES = ("torch", "timm", "numpy", "opencv-python", "mmengine")
WARM_UP = 3  # steps, or turns, before those that count
_SEED = 0  # that `bench.build` starts the weights from


@dataclass(frozen=True)
class Request:
    """What is to be measured; the options of tools/bench_pretrain.py."""

    data_root: str | None = None
    batch: int = 32
    turns: int = 15
    precision: str = "bf16"
    compiled: bool = True
    plain: bool = True
    workers: int = 0
    threads: int = 2
    device: str = "cpu"


@dataclass(frozen=True)
class Timed:
    """A method's figures.

    Attributes:
        config: its config's path.
        model, plain: seconds of each turn's step; `plain` is empty where it was left out.
        work: multiply-accumulates of one image.
        share: of the rate of matrix products that the model reaches.
        loss_difference: the largest relative one from plain float32.
        with_loader: images a second of loader and model together, None without pictures.
    """

    config: str
    model: tuple[float, ...]
    plain: tuple[float, ...]
    work: bench.Work
    share: float
    loss_difference: float
    with_loader: float | None = None


def time_loader(request: Request, say: Callable[[str], None]) -> float | None:
    """Images a second of the loader alone; None without pictures."""
    if not request.data_root:
        return None
    stream = bench.image_stream(request.data_root, batch=request.batch, workers=request.workers)
    for _ in range(WARM_UP + 2 * request.workers):
        next(stream)
    seconds = [bench.seconds_of(lambda: next(stream), "cpu") for _ in range(request.turns)]
    rate = request.batch * len(seconds) / sum(seconds)
    say(f"loader alone: {rate:,.0f} images/s ({request.workers} workers)")
    return rate


def time_method(method: str, request: Request, rate: float, say: Callable[[str], None]) -> Timed:
    """Measure one method, on noise.

    Args:
        method: a key of `bench.CONFIGS`.
        rate: multiply-accumulates a second of matrix products, to compare with.
        say: takes the lines that are printed.
    """
    device, batch_size = request.device, request.batch
    model, optim_wrapper = bench.build(
        bench.CONFIGS[method],
        compiled=request.compiled,
        precision=request.precision,
        device=device,
    )
    work = bench.work_of(model, device)
    plain = bench.PlainStep(model)
    images = torch.randint(0, 256, (batch_size, 3, 224, 224), dtype=torch.uint8, device=device)
    say(
        f"{method}: {work.student / 1e9:.3f} GMAC student and {work.teacher / 1e9:.3f} teacher "
        f"forward, {work.step / 1e9:.3f} a step, for one image"
    )
    difference = bench.largest_difference(model, plain, images, optim_wrapper)
    say(f"  losses differ from plain float32 by at most {100 * difference:.2f} %")
    batch = {"inputs": images}
    steps: dict[str, Callable[[], object]] = {
        "model": lambda: model.train_step(batch, optim_wrapper)
    }
    if request.plain:
        steps["plain"] = lambda: plain(batch)
    turns = [
        {name: bench.seconds_of(step, device) for name, step in steps.items()}
        for _ in range(WARM_UP + request.turns)
    ][WARM_UP:]
    ours = tuple(turn["model"] for turn in turns)
    theirs = tuple(turn["plain"] for turn in turns if request.plain)
    middle = statistics.median(ours)
    share = work.step * batch_size / middle / rate
    say(
        f"  model alone: {batch_size / middle:,.1f} images/s, {100 * share:.0f} % of the product "
        "rate"
    )
    if theirs:
        ratios = Spread.of(_ratios(ours, theirs))
        say(
            f"  plain: {batch_size / statistics.median(theirs):,.1f} images/s; the model is "
            f"{ratios.median:.2f} times as fast ({ratios.least:.2f} to {ratios.most:.2f})"
        )
    with_loader = None
    if request.data_root:
        with_loader = _with_loader(request, lambda data: model.train_step(data, optim_wrapper))
        say(f"  loader and model: {with_loader:,.1f} images/s")
    return Timed(bench.CONFIGS[method], ours, theirs, work, share, difference, with_loader)


def _with_loader(request: Request, step: Callable[[dict], object]) -> float:
    """Images a second of steps on what the loader gives."""
    stream = bench.image_stream(request.data_root, batch=request.batch, workers=request.workers)
    for _ in range(WARM_UP + 2 * request.workers):
        step(next(stream))
    start = time.perf_counter()
    for _ in range(request.turns):
        step(next(stream))
    if request.device != "cpu":
        torch.cuda.synchronize()
    return request.batch * request.turns / (time.perf_counter() - start)


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [other / mine for mine, other in zip(ours, theirs, strict=True)]


def _images_per_second(batch: int, seconds: Sequence[float]) -> dict[str, float] | None:
    """Over turns; the median is that of the seconds."""
    if not seconds:
        return None
    middle = statistics.median(seconds)
    return Spread(batch / middle, batch / max(seconds), batch / min(seconds))._asdict()


def record_of(
    request: Request,
    timed: Timed,
    *,
    device: str,
    loader: float | None = None,
    argv: Sequence[str] | None = None,
) -> RunRecord:
    """The record of a method; rates and ratios are {"median", "least", "most"} over turns.

    Args:
        device: "cpu" or the accelerator's name.
        loader: images a second of the loader alone.
    """
    remarks = []
    if request.data_root:
        shown = shown_path(Path(request.data_root).absolute())
        remarks = [
            f"The loader's figures are of pictures in {shown}, {request.workers} workers; the "
            "others of noise."
        ]
    ratios = _ratios(timed.model, timed.plain) if timed.plain else None
    return measured_record(
        PRETRAINING_SPEED,
        Path(timed.config).stem,
        {
            "images_per_second": _images_per_second(request.batch, timed.model),
            "plain_images_per_second": _images_per_second(request.batch, timed.plain),
            "times_as_fast_as_plain": Spread.of(ratios)._asdict() if ratios else None,
            "loader_images_per_second": loader,
            "with_loader_images_per_second": timed.with_loader,
            "share_of_matrix_products": timed.share,
            "largest_loss_difference": timed.loss_difference,
            "macs": {
                "student": timed.work.student,
                "teacher": timed.work.teacher,
                "step": timed.work.step,
            },
            "batch": request.batch,
            "workers": request.workers if request.data_root else None,
            "rounds": request.turns,
            "warm_up": WARM_UP,
        },
        packages=PACKAGES,
        argv=argv,
        origin="demo",  # the images are made
        dataset="noise",
        protocol=f"training@224px-batch{request.batch}",
        expected=request.turns,
        evaluated=len(timed.model),
        runtime="compiled" if request.compiled else "eager",
        precision=request.precision,
        threads=request.threads,
        seed=_SEED,
        config=shown_path(timed.config),
        config_sha256=sha256_of(timed.config),
        device=device,
        remarks=tuple(remarks),
    )
