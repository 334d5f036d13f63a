"""Our backbone beside mmsegmentation's MAE backbone: what tools/bench_backbone.py does.

The two have one architecture and one input, and take turns, so that a machine that changes its
speed changes both; the ratio of each turn's pair is what counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lightvit_bench import compat
from lightvit_bench.bench.detection_runs import Spread
from lightvit_bench.bench.record import RunRecord, measured_record
from lightvit_bench.errors import ConfigError
from lightvit_bench.openmmlab.backbone import ViTBackbone

BACKBONE_SPEED = "backbone-speed"
PACKAGES = ("torch", "timm", "numpy", "onedl-mmcv", "onedl-mmsegmentation", "mmengine")
PRESET = "vit_tiny_p16_h12"
OUT_BLOCKS = (3, 5, 7, 11)
_PATCH = 16


@dataclass(frozen=True)
class Request:
    """What is to be measured; the options of tools/bench_backbone.py."""

    shape: int = 512
    batch: int = 2
    turns: int = 15
    threads: int = 2
    rel_pos: bool = False
    seed: int = 0

    def __post_init__(self):
        for name in ("batch", "turns", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} is 1 or more, not {getattr(self, name)}.")
        if self.shape < 2 * _PATCH or self.shape % _PATCH:
            raise ConfigError(f"--shape is a multiple of {_PATCH} pixels, not {self.shape}.")


@dataclass(frozen=True)
class Turns:
    """The seconds of each turn, of both; `name` is "inference" or "training step"."""

    name: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """How many times as fast ours was, turn by turn."""
        return [other / mine for mine, other in zip(self.ours, self.theirs, strict=True)]


def bench(request: Request) -> Iterator[Turns]:
    """Inference, then training steps (forward and backward); sets torch's threads and seed."""
    torch.manual_seed(request.seed)
    torch.set_num_threads(request.threads)
    ours, theirs = backbones(request)
    image = torch.randn(request.batch, 3, request.shape, request.shape)
    for name, seconds in (("inference", _infer), ("training step", _train)):
        for model in (ours, theirs):
            seconds(model, image)  # warm-up
        turns = [(seconds(ours, image), seconds(theirs, image)) for _ in range(request.turns)]
        yield Turns(name, *zip(*turns, strict=True))


def backbones(request: Request) -> tuple[nn.Module, nn.Module]:
    """Ours and mmsegmentation's, which has relative positions always."""
    compat.prepare()
    compat.import_mmseg()
    from mmseg.models.backbones import MAE

    theirs = MAE(
        img_size=(request.shape, request.shape),
        embed_dims=192,
        num_layers=12,
        num_heads=12,
        out_indices=OUT_BLOCKS,
        norm_cfg=dict(type="LN", eps=1e-6),
        init_values=1.0,
    )
    ours = ViTBackbone(
        PRESET,
        img_size=request.shape,
        out_blocks=OUT_BLOCKS,
        rel_pos=request.rel_pos,
        layer_scale=1.0,
    )
    return ours, theirs


def _infer(model: nn.Module, image: torch.Tensor) -> float:
    model.eval()
    start = time.perf_counter()
    with torch.no_grad():
        model(image)
    return time.perf_counter() - start


def _train(model: nn.Module, image: torch.Tensor) -> float:
    model.train()
    start = time.perf_counter()
    sum(x.square().mean() for x in model(image)).backward()
    model.zero_grad()
    return time.perf_counter() - start


def line(turns: Turns) -> str:
    """What is printed of a case: medians, and the spread of the ratio."""
    mine, reference = (1e3 * statistics.median(one) for one in (turns.ours, turns.theirs))
    ratios = turns.ratios
    return (
        f"  {turns.name:14} ours {mine:7.0f} ms   mmseg {reference:7.0f} ms   "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def record_of(request: Request, turns: Turns, argv: Sequence[str] | None = None) -> RunRecord:
    """The record of a case; times are {"median", "least", "most"} over turns."""

    def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
        return Spread.of([1e3 * one for one in seconds])._asdict()

    training = turns.name != "inference"
    step = "training" if training else "inference"
    return measured_record(
        BACKBONE_SPEED,
        PRESET,
        {
            "model_ms": milliseconds(turns.ours),
            "mmseg_ms": milliseconds(turns.theirs),
            "times_as_fast_as_mmseg": Spread.of(turns.ratios)._asdict(),
            "training": int(training),
            "relative_positions": int(request.rel_pos),
            "image_px": request.shape,
            "batch": request.batch,
            "rounds": request.turns,
        },
        packages=PACKAGES,
        argv=argv,
        origin="demo",  # the images are made
        dataset="noise",
        protocol=f"{step}@{request.shape}px-batch{request.batch}",
        expected=request.turns,
        evaluated=len(turns.ours),
        variant=f"{'' if request.rel_pos else 'no '}relative positions",
        runtime="eager",
        precision="fp32",
        threads=request.threads,
        seed=request.seed,
        device="cpu",
    )
