"""One case of tools/bench_detect.py, measured in a process of its own.

The parent (`speed`) starts `tools/bench_detect.py --case JSON` with a `Job` and reads a line of
JSON from its output.
"""

from __future__ import annotations

import copy
import gc
import json
import os
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from lightvit_bench.errors import ConfigError, UserError

FP32, BF16 = "fp32", "bf16"
OBJECTS = 10  # an image
CANDIDATES = 300  # boxes of an image that are of some class, before NMS
OURS = "ViTBackbone"  # the backbone whose ways of running are compared


@dataclass(frozen=True)
class Case:
    """What is measured.

    training: a training step, otherwise inference. window, rel_pos, checkpointing: of the encoder,
    as the backbone's arguments; all None of an encoder that knows no such ways.
    """

    training: bool
    precision: str
    ours: bool
    window: int | None = None
    rel_pos: bool | str | None = None
    checkpointing: bool | None = None

    @property
    def variant(self) -> str:
        """How the encoder is run, in words."""
        if not self.ours:
            return "as configured"
        parts = [f"windows of {self.window}" if self.window else "global attention"]
        parts.append("relative positions" if self.rel_pos else "no relative positions")
        if self.training:
            parts.append("checkpointing" if self.checkpointing else "no checkpointing")
        return ", ".join(parts)

    @property
    def name(self) -> str:
        task = "training" if self.training else "inference"
        return f"{task}, {self.precision}, {self.variant}"


@dataclass(frozen=True)
class Job:
    """What a process is to do: `steps` timed steps of a case after `warm_up` others."""

    config: str
    options: tuple[str, ...]
    case: Case
    device: str
    threads: int
    size: int
    batch: int
    steps: int
    warm_up: int
    seed: int

    def to_json(self) -> str:
        """What `from_json` takes back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        values = json.loads(text)
        return cls(
            **{**values, "case": Case(**values["case"]), "options": tuple(values["options"])}
        )


def run_case(text: str) -> int:
    """Do a job and write its report to stdout, the only line there; the exit code.

    What libraries print goes to stderr. An error is a report, too: {"failed": "..."}.
    """
    report_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        report = work(Job.from_json(text))
    except Exception as error:
        if not isinstance(error, (UserError, ImportError)):
            traceback.print_exc()
        report = {"failed": f"{type(error).__name__}: {error}"}
    with report_to:
        report_to.write(json.dumps(report) + "\n")
    return 1 if "failed" in report else 0


def work(job: Job) -> dict[str, Any]:
    """The report of a job.

    "model" and "encoder": seconds of each step. "model_bytes" and "encoder_bytes": the most that
    tensors of a step hold at once beyond those before it. "process_mb": the most that the process
    held until the model's last timed step. "regions": that the mask head got in a step, None where
    there is none; "found": objects in the images, of inference.
    """
    import torch

    from lightvit_bench.bench.machine import peak_memory_mb

    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    model = build(job)
    data = noise(job, masks=model.with_mask)
    if not job.case.training:
        head = model.roi_head.bbox_head if hasattr(model, "roi_head") else model.bbox_head
        head.register_forward_hook(Confident(job.batch, job.seed))
    step = training_step(model, job) if job.case.training else inference(model, job)
    gc.collect()

    regions: list[int] = []
    with counted_regions(model, regions):
        seconds = [timed(step, copy.deepcopy(data), job) for _ in range(job.warm_up + job.steps)]
    on_gpu = job.device == "cuda"
    held = torch.cuda.max_memory_allocated() / 1e6 if on_gpu else peak_memory_mb()
    found = () if job.case.training else step(copy.deepcopy(data))
    report = {
        "model": seconds[job.warm_up :],
        "model_bytes": most_bytes(partial(step, copy.deepcopy(data)), job),
        "process_mb": held,
        "regions": regions[-1] if regions else None,
        "found": None if job.case.training else sum(len(one.pred_instances) for one in found),
    }
    del found
    image = model.data_preprocessor(copy.deepcopy(data), job.case.training)["inputs"]
    step = encoder_step(model.backbone, job)
    seconds = [timed(step, image, job) for _ in range(job.warm_up + job.steps)]
    report["encoder"] = seconds[job.warm_up :]
    report["encoder_bytes"] = most_bytes(partial(step, image), job)
    return report


# ------------------------------------------------------------------------------ the model, the data


def build(job: Job):
    """The detector of a job, its weights random, on the device."""
    import torch
    from mmengine.registry import MODELS, init_default_scope

    from lightvit_bench.compat import keep_freed_memory
    from lightvit_bench.detection.ready import prepare_detector
    from lightvit_bench.openmmlab.config import explain_config_errors, load_config

    cfg = load_config(job.config, job.options)
    configure(cfg, job)
    if job.device == "cpu":
        keep_freed_memory()  # as a training run on a CPU does
    elif not torch.cuda.is_available():
        raise ConfigError("there is no CUDA device.", use="--device cpu")
    init_default_scope(cfg.default_scope)
    with explain_config_errors(cfg):
        model = MODELS.build(cfg.model)
        model.init_weights()
    model.wanted_optimizer = {
        key: cfg.optim_wrapper[key]
        for key in ("optimizer", "paramwise_cfg", "constructor")
        if cfg.optim_wrapper.get(key) is not None
    }
    model.to(job.device).train(job.case.training)
    prepare_detector(model)  # as a run does
    return model


def configure(cfg, job: Job) -> None:
    """Write a job's case into a config: the encoder's ways, and images that are not filled up."""
    backbone = cfg.model.backbone
    backbone.init = "random"
    cfg.model.data_preprocessor.pad_size_divisor = job.size
    case = job.case
    if case.ours:
        backbone.window, backbone.rel_pos = case.window, case.rel_pos
        if case.checkpointing is not None:
            backbone.checkpointing = case.checkpointing


def noise(job: Job, masks: bool = True) -> dict[str, list]:
    """A batch as a data loader gives it: noise, with `OBJECTS` elliptic objects an image."""
    import torch
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    side, inputs, samples = job.size, [], []
    rng = np.random.default_rng(job.seed)
    y, x = np.mgrid[:side, :side].astype(np.float32) + 0.5
    for number in range(job.batch):
        pixels = rng.integers(0, 256, (3, side, side), dtype=np.uint8)
        wh = side * np.exp(rng.uniform(np.log(0.05), np.log(0.5), (OBJECTS, 2)))
        corner = rng.uniform(0, 1, (OBJECTS, 2)) * (side - wh)
        boxes = np.concatenate([corner, corner + wh], 1).astype(np.float32)
        middle, half = corner + wh / 2, wh / 2
        ellipses = [
            ((x - m[0]) / h[0]) ** 2 + ((y - m[1]) / h[1]) ** 2 < 1
            for m, h in zip(middle, half, strict=True)
        ]
        truth = InstanceData(
            bboxes=HorizontalBoxes(torch.from_numpy(boxes)),
            labels=torch.from_numpy(rng.integers(0, 80, OBJECTS)),
        )
        if masks:
            truth.masks = BitmapMasks(np.stack(ellipses).astype(np.uint8), side, side)
        size = {name: (side, side) for name in ("img_shape", "ori_shape", "batch_input_shape")}
        about = {"img_id": number, "scale_factor": (1.0, 1.0), "flip": False, **size}
        sample = DetDataSample(metainfo=about, gt_instances=truth)
        sample.ignored_instances = InstanceData(
            bboxes=HorizontalBoxes(torch.zeros(0, 4)), labels=torch.zeros(0, dtype=torch.long)
        )
        inputs.append(torch.from_numpy(pixels))
        samples.append(sample)
    return {"inputs": inputs, "data_samples": samples}


class Confident:
    """A forward hook of a box head: its class scores become those of a trained model.

    Random weights give all classes about the same score: nothing would be found, and NMS and mask
    head would have nothing to do, or all ties would pass. Here `CANDIDATES` boxes of an image are
    of some class, and the others of none. The scores are made at the first call.
    """

    def __init__(self, images: int, seed: int):
        self.count, self.rng, self.made = CANDIDATES * images, np.random.default_rng(seed), None

    def __call__(self, module, inputs, output) -> tuple:
        import torch

        two_stages = isinstance(output[0], torch.Tensor)  # (N, classes + 1), the last is background
        given = (
            [output[0]] if two_stages else list(output[0])
        )  # levels (B, anchors x classes, h, w)
        if self.made is None or [x.shape for x in given] != [x.shape for x in self.made]:
            self.made = self._scores(given, two_stages)
        return (self.made[0] if two_stages else self.made, *output[1:])

    def _scores(self, given: list, two_stages: bool) -> list:
        """Logits: -8 against the background's 0; of some boxes and classes -2 to 3."""
        import torch

        every, made = sum(one.numel() for one in given), []
        for one in given:
            logits = torch.full(one.shape, -8.0)
            flat = logits[:, :-1].flatten() if two_stages else logits.view(-1)
            count = min(round(self.count * one.numel() / every), flat.numel())
            chosen = torch.from_numpy(self.rng.choice(flat.numel(), count, replace=False))
            flat[chosen] = torch.from_numpy(self.rng.uniform(-2, 3, count)).float()
            if two_stages:
                logits[:, :-1] = flat.view(len(logits), -1)
                logits[:, -1] = 0
            made.append(torch.empty_like(one).copy_(logits))  # in the same order of memory
        return made


# ---------------------------------------------------------------------------------------- the steps


def _autocast(job: Job) -> AbstractContextManager:
    import torch

    if job.case.precision == FP32:
        return nullcontext()
    return torch.autocast(job.device, torch.bfloat16)


def training_step(model, job: Job) -> Callable[[dict], None]:
    """Forward, backward and optimizer, as the config has it."""
    from mmengine.optim import build_optim_wrapper

    wrapper = build_optim_wrapper(model, dict(type="OptimWrapper", **model.wanted_optimizer))
    optimizer = wrapper.optimizer

    def step(data: dict) -> None:
        with _autocast(job):
            losses = model(**model.data_preprocessor(data, True), mode="loss")
            loss, _ = model.parse_losses(losses)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def inference(model, job: Job) -> Callable[[dict], list]:
    """From pixels to boxes and masks."""
    import torch

    def step(data: dict) -> list:
        with torch.no_grad(), _autocast(job):
            return model.test_step(data)

    return step


def encoder_step(backbone, job: Job) -> Callable[[Any], None]:
    """The backbone alone: forward, and backward from the mean square of its maps in training."""
    import torch

    def step(image) -> None:
        with torch.set_grad_enabled(job.case.training), _autocast(job):
            maps = backbone(image)
        if job.case.training:
            sum(one.float().square().mean() for one in maps).backward()
            backbone.zero_grad()

    return step


# ------------------------------------------------------------------------------------- the measures


def timed(step: Callable[[Any], Any], data: Any, job: Job) -> float:
    """The seconds of a step."""
    _wait(job)
    began = time.perf_counter()
    step(data)
    _wait(job)
    return time.perf_counter() - began


def _wait(job: Job) -> None:
    if job.device == "cuda":
        import torch

        torch.cuda.synchronize()


def most_bytes(step: Callable[[], Any], job: Job) -> int:
    """The most that the tensors made in a step hold at once.

    On a CPU every allocation is recorded by PyTorch's profiler; what libraries take for themselves
    (scratch memory of oneDNN, the allocator's reserve) is not among them.
    """
    import torch

    if job.device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        _wait(job)
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        step()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return int(max(np.cumsum([0, *(event.nbytes() for event in events)])))


class counted_regions(AbstractContextManager):
    """Within it, the number of regions that the mask head gets in a forward pass is listed."""

    def __init__(self, model, counts: list[int]):
        self.head = getattr(getattr(model, "roi_head", None), "mask_head", None)
        self.counts, self.handle = counts, None

    def __enter__(self) -> counted_regions:
        if self.head is not None:
            self.handle = self.head.register_forward_pre_hook(
                lambda module, inputs: self.counts.append(len(inputs[0]))
            )
        return self

    def __exit__(self, *error) -> None:
        if self.handle is not None:
            self.handle.remove()
