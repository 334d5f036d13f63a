"""How fast pre-training is: the loader, the model, both together, beside a plain implementation."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.utils.data import DataLoader

import lightvit_bench.registry  # noqa: F401  (our classes)
from lightvit_bench.bench.flops import count_cost
from lightvit_bench.compat import cpu_computes_bfloat16
from lightvit_bench.errors import ConfigError
from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.openmmlab.device import adapt_to_device
from lightvit_bench.pretrain.dataset import PretrainImages, collate_images
from lightvit_bench.pretrain.mae import MaskedAutoencoder
from lightvit_bench.pretrain.model import Pretraining
from lightvit_bench.pretrain.prepare import settle_precision
from lightvit_bench.pretrain.sampler import EpochSampler
from lightvit_bench.vit.patches import take_tokens, to_patches

CONFIGS = {"mae": "configs/pretrain/mae_tiny.py", "dmae": "configs/pretrain/dmae_tiny.py"}


def check_options(
    *, device: str, precision: str, batch: int, turns: int, workers: int, threads: int
) -> None:
    """Raise `ConfigError` for what `tools/bench_pretrain.py` cannot measure, or not here."""
    counts = (
        (batch, 1, "batch"),
        (turns, 1, "turns"),
        (workers, 0, "workers"),
        (threads, 1, "threads"),
    )
    wrong = [f"--{name} {low} or more, not {count}" for count, low, name in counts if count < low]
    if wrong:
        raise ConfigError("there is nothing to measure.", set=wrong)
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    name = "cuda:0" if device == "cuda" else device
    if name not in there:
        raise ConfigError(f"there is no device {device!r}.", there_is=", ".join(there))
    if device == "cpu" and precision == "fp16":
        raise ConfigError("a CPU trains in bf16 or fp32.", set="--precision")
    if device == "cpu" and precision == "bf16" and not cpu_computes_bfloat16():
        raise ConfigError("this CPU has no bfloat16 instructions.", set="--precision fp32")


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates for one image.

    Attributes:
        student, teacher: one forward pass each, of what is really run.
        step: a training step, three times the student's forward pass and the teacher's.
    """

    student: int
    teacher: int

    @property
    def step(self) -> int:
        """Forward and backward (twice the forward) of the student, forward of the teacher."""
        return 3 * self.student + self.teacher


def build(
    config: str, *, compiled: bool, precision: str, device: str
) -> tuple[Pretraining, OptimWrapper]:
    """A config's model with a random teacher, and its optimiser, as `tools/train.py` makes them."""
    cfg = load_config(config)
    if "distill" in cfg.model:
        cfg.model.distill.teacher.init = "random"  # as fast as a trained one
    cfg.model.compile = compiled
    cfg.optim_wrapper.type = "OptimWrapper" if precision == "fp32" else "AmpOptimWrapper"
    for option in ("dtype", "loss_scale"):
        cfg.optim_wrapper.pop(option, None)
    if precision != "fp32":
        cfg.optim_wrapper.dtype = {"bf16": "bfloat16", "fp16": "float16"}[precision]
    settle_precision(cfg.optim_wrapper)
    if device == "cpu":
        adapt_to_device(cfg)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).to(device).train()
    return model, build_optim_wrapper(model, cfg.optim_wrapper)


def work_of(model: Pretraining, device: str) -> Work:
    """Count what one image costs."""
    image = torch.zeros(1, 3, *model.image_size, device=device)
    order = torch.rand(1, model.method.units, device=device).argsort(dim=1)
    masking = model.method.masking(order)
    wanted = () if model.distillation is None else (model.distillation.of_student,)
    student = count_cost(model.method, image, masking, *wanted).macs
    teacher = 0
    if model.teacher is not None:
        teacher = count_cost(_Call(lambda: model.teacher(image, masking))).macs
    return Work(student, teacher)


class _Call(nn.Module):
    def __init__(self, function: Callable):
        super().__init__()
        self.function = function

    def forward(self):
        return self.function()


class PlainStep:
    """The same losses as a plain implementation has them, for the ratio: eager, in float32.

    All patches are embedded before most are dropped, every pixel is predicted, attention is by
    hand in each block, the teacher runs to its end, and the loss is waited for.
    """

    def __init__(self, model: Pretraining):
        self.model = model
        parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.95))

    def __call__(self, data: dict) -> dict:
        """One step on a batch of uint8 images."""
        images = self.model.data_preprocessor(data)["inputs"]
        order = torch.rand(len(images), 196, device=images.device).argsort(dim=1)
        losses = self.losses(images, order)
        total = sum(losses.values())
        total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        total.item()
        return losses

    def losses(self, images: Tensor, order: Tensor) -> dict[str, Tensor]:
        """The losses by name for normalised images and an order (B, 196)."""
        method, distillation = self.model.method, self.model.distillation
        masking = method.masking(order)
        latent, logits = self._encode(method.encoder, images, masking)
        losses = {"loss_pixels": self._pixels(method, images, latent, masking)}
        if distillation is not None:
            with torch.no_grad():
                _, taught = self._encode(self.model.teacher.encoder, images, masking)
            adapter = distillation.attention_adapters["12_from_12"]
            losses["loss_attention"] = ((adapter(logits) - taught) ** 2).mean()
        return losses

    @staticmethod
    def _encode(encoder: nn.Module, images: Tensor, masking) -> tuple[Tensor, Tensor]:
        tokens = take_tokens(encoder.patchify(images), masking.keep)
        for block in encoder.blocks:
            tokens = encoder.with_cls(tokens) if block is encoder.blocks[0] else tokens
            tokens, logits = block(tokens, want_logits=True)
        return encoder.norm(tokens), logits

    @staticmethod
    def _pixels(method: MaskedAutoencoder, images: Tensor, latent: Tensor, masking) -> Tensor:
        decoder = method.decoder
        x = decoder.embed(latent)
        x = torch.cat([x[:, :1], masking.unshuffle(x[:, 1:], decoder.mask_token)], dim=1)
        x = x + decoder.pos_embed
        for block in decoder.blocks:
            x, _ = block(x, want_logits=True)
        pred = decoder.pred(decoder.norm(x))[:, 1:]
        target = to_patches(images, method.patch)
        mean, var = target.mean(dim=-1, keepdim=True), target.var(dim=-1, keepdim=True)
        target = (target - mean) / (var + 1e-6) ** 0.5
        error = ((pred - target) ** 2).mean(dim=-1)
        return (error * masking.hidden).sum() / masking.hidden.sum()


def seconds_of(step: Callable[[], object], device: str) -> float:
    """Seconds that a call takes, the device's work included."""
    start = time.perf_counter()
    step()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def matmul_rate(device: str, precision: str, turns: int = 15) -> float:
    """Multiply-accumulates a second of a square matrix product: what the machine can do at all."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    size = 2048 if device == "cpu" else 8192
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = [seconds_of(lambda: a @ b, device) for _ in range(3 + turns)][3:]
    return size**3 / statistics.median(seconds)


def image_stream(data_root: str, *, batch: int, workers: int) -> Iterator[dict]:
    """Batches as a training run gets them, without end."""
    dataset = PretrainImages(data_root)
    loader = DataLoader(
        dataset,
        batch_size=batch,
        sampler=EpochSampler(dataset, seed=0, batch=batch),
        num_workers=workers,
        collate_fn=collate_images,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)


def largest_difference(
    model: Pretraining, plain: PlainStep, images: Tensor, optim_wrapper: OptimWrapper
) -> float:
    """The largest relative difference of a loss, as run from plain float32, for the same masks."""
    order = torch.rand(len(images), 196, device=images.device).argsort(dim=1)
    inputs = model.data_preprocessor({"inputs": images})["inputs"]
    with torch.no_grad():
        exact = plain.losses(inputs, order)
        with optim_wrapper.optim_context(model):
            ours = model(inputs, order)
    return max(abs(ours[name].item() / loss.item() - 1) for name, loss in exact.items())
