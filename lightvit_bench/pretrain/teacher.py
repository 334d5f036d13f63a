"""The frozen encoder that a student learns from."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightvit_bench.errors import ConfigError
from lightvit_bench.pretrain.masking import Masking
from lightvit_bench.pretrain.taps import Taps, Wanted, tap_blocks
from lightvit_bench.vit import VisionTransformer


class Teacher:
    """An encoder in evaluation mode, without gradients, that computes no more than its taps need.

    No `nn.Module` on purpose: what it is made of is neither trained, nor saved in a run's
    checkpoints, nor wrapped for distributed training. It follows the images it is given to their
    device, and under autocast keeps a copy of its matrices in the reduced precision (autocast would
    cast a ViT-Base's 86 M weights anew in every step).
    """

    def __init__(self, encoder: nn.Module, wanted: Wanted, *, compiled: bool = False):
        self.encoder = encoder.eval().requires_grad_(False)
        self.wanted = wanted
        self.compiled = compiled
        self._ready: tuple[tuple, Callable] | None = None

    def __deepcopy__(self, memo) -> Teacher:
        return self  # of a model's copies (EMA), none needs a teacher of its own

    @torch.no_grad()
    def __call__(self, image: Tensor, masking: Masking | None) -> Taps:
        """The taps for an image (B, 3, H, W), of its visible tokens or, without masking, all."""
        kind, cast = image.device.type, None
        if torch.is_autocast_enabled(kind):
            cast = torch.get_autocast_dtype(kind)
        if self._ready is None or self._ready[0] != (image.device, cast):
            self._ready = (image.device, cast), self._prepare(image.device, cast)
        return self._ready[1](image, masking)

    def _prepare(self, device: torch.device, cast: torch.dtype | None) -> Callable:
        encoder = self.encoder.to(device)
        if cast is not None:
            encoder = copy.deepcopy(encoder)
            for module in encoder.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    module.to(cast)

        def run(image: Tensor, masking: Masking | None) -> Taps:
            return read_taps(encoder, image, masking, self.wanted)

        return torch.compile(run, dynamic=False) if self.compiled else run


def read_taps(encoder: nn.Module, image: Tensor, masking: Masking | None, wanted: Wanted) -> Taps:
    """What is wanted of an encoder's blocks for an image (B, 3, H, W), and no more."""
    if not isinstance(encoder, VisionTransformer):
        from lightvit_bench.pretrain.hiera import tap_hiera

        return tap_hiera(encoder, image, masking, wanted)
    keep = None if masking is None else masking.keep
    tokens = encoder.with_cls(encoder.patchify(image, keep=keep))
    grid = encoder.grid_of(image) if masking is None else None
    return tap_blocks(encoder, tokens, wanted, stop=wanted.last, cut=True, grid=grid)[1]


def check_pair(student: nn.Module, teacher: nn.Module) -> None:
    """Raise `ConfigError` unless both encoders cut the same image into the same tokens."""
    ours, theirs = student.preset, teacher.preset
    if type(student) is not type(teacher):
        raise ConfigError(
            f"a {ours.name} cannot learn from a {theirs.name}: their tokens are of other kinds.",
            set="model.distill.teacher.preset to one of the student's family",
        )
    prefix = [getattr(encoder, "prefix_tokens", 0) for encoder in (student, teacher)]
    if prefix[0] != prefix[1]:
        raise ConfigError(
            "of student and teacher one has a CLS token, the other has none.",
            set="cls_token=True or False in model.backbone and model.distill.teacher alike",
        )
    if ours.patch != theirs.patch:
        raise ConfigError(
            f"student and teacher have other patches: {ours.patch} px ({ours.name}) and "
            f"{theirs.patch} px ({theirs.name}).",
            why="the attention of one token to another is compared, so the tokens must be the same",
            set="model.distill.teacher.preset",
        )
    if tuple(student.grid) != tuple(teacher.grid):
        sizes = [
            tuple(side * ours.patch for side in encoder.grid) for encoder in (student, teacher)
        ]
        raise ConfigError(
            f"student and teacher are made for images of other sizes: {sizes[0]} and {sizes[1]}.",
            set="model.backbone.img_size, or model.distill.teacher.img_size, which resamples the "
            "teacher's positions",
        )
