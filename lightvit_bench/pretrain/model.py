"""Pre-training as a model of OpenMMLab's runner: pixels in, losses out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from mmengine.logging import print_log
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from lightvit_bench.checkpoint import Parent
from lightvit_bench.errors import ConfigError
from lightvit_bench.pretrain.build import (
    build_distillation,
    build_encoder,
    build_student,
    start_encoder,
    with_counted_blocks,
)
from lightvit_bench.pretrain.mae import reconstruct
from lightvit_bench.pretrain.masking import Masking, random_order
from lightvit_bench.pretrain.step import accumulated_step
from lightvit_bench.pretrain.taps import Taps, Wanted
from lightvit_bench.pretrain.unmasked import UnmaskedStudent
from lightvit_bench.vit import ViTPreset


@MODELS.register_module()
class PixelNormalizer(BaseDataPreprocessor):
    """Moves uint8 images to the device, and there turns them into normalised pixels.

    Args:
        mean, std: per RGB channel, for pixels from 0 to 255.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], non_blocking: bool = True):
        super().__init__(non_blocking)
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """uint8 images (B, 3, H, W) under "inputs" -> float32 ones."""
        images = data["inputs"].to(self.device, non_blocking=self._non_blocking)
        return {"inputs": images.float().sub_(self.mean).div_(self.std)}

    def pixels(self, images: Tensor) -> Tensor:
        """The inverse: normalised pixels -> uint8 images, clipped to 0 to 255."""
        return (images * self.std + self.mean).round().clamp(0, 255).to(torch.uint8)


@dataclass
class Exported:
    """What of a pre-training goes downstream.

    Attributes:
        encoder: a copy on the CPU; without a final norm where none is valid behind the last block.
        extra: groups of tensors kept beside it.
        parents: the files that the run learned from.
    """

    encoder: nn.Module
    recipe: str
    extra: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    parents: list[Parent] = field(default_factory=list)


@MODELS.register_module()
class Pretraining(BaseModel):
    """MAE, D-MAE, D²-MAE, or distillation from whole images (TinyMIM), of a ViT or a Hiera.

    Args:
        backbone: `preset`, `init` ("random" or a checkpoint), further options of the encoder.
        decoder: sizes of the decoder (`Decoder`); None for no masking and no pixels.
        mask_ratio, norm_pixels, decode_after: see `MaskedAutoencoder`.
        distill: `teacher` (preset, init, img_size) and the arguments of `Distillation`; a block may
            be counted from the end, -1 being the encoder's last.
        accumulate: parts into which each process cuts its batch, to save memory; one optimiser
            step all the same.
        compile: run student and teacher through torch.compile. The first steps are slow.

    Raises:
        CheckpointError: the teacher's file is absent, damaged, or of another architecture.
        ConfigError: the parts contradict one another; the message names the entry.
    """

    def __init__(
        self,
        backbone: dict,
        decoder: dict | None = None,
        mask_ratio: float = 0.75,
        norm_pixels: bool = True,
        decode_after: int | None = None,
        distill: dict | None = None,
        accumulate: int = 1,
        compile: bool = False,
        data_preprocessor: dict | None = None,
    ):
        super().__init__(data_preprocessor)
        backbone = dict(backbone)
        self.init = backbone.pop("init", "random")
        hierarchical = {} if decoder is None else {"q_pool": 2}  # Hiera pools once less here
        encoder = build_encoder(backbone.pop("preset"), **hierarchical, **backbone)
        if distill is not None:
            distill = with_counted_blocks(distill, encoder)
        self.method = build_student(
            encoder,
            decoder=decoder,
            mask_ratio=mask_ratio,
            norm_pixels=norm_pixels,
            decode_after=decode_after,
            distill=distill,
        )
        self.distillation, self.teacher, self.parents = None, None, []
        if distill is not None:
            self.distillation, self.teacher, self.parents = build_distillation(
                self.method, distill, compiled=compile
            )
        self.accumulate, self.compile_losses = accumulate, compile
        self._compiled = None

    @property
    def masked(self) -> bool:
        """Whether images are masked and reconstructed."""
        return not isinstance(self.method, UnmaskedStudent)

    @property
    def recipe(self) -> str:
        """What the checkpoint's manifest calls this pre-training."""
        if not self.masked:
            return "tinymim" if self.distillation.pairs["relation"] else "distilled"
        if self._decoupled:
            return "d2mae"
        return "mae" if self.distillation is None else "dmae"

    @property
    def _decoupled(self) -> bool:
        plain = isinstance(self.method.encoder.preset, ViTPreset)
        return plain and self.method.decode_after < len(self.method.encoder.blocks)

    def init_weights(self) -> None:
        """Load the initial weights; random ones are there since the constructor."""
        if report := start_encoder(self.method.encoder, self.init):
            print_log(report, logger="current")

    def train_step(self, data: dict, optim_wrapper) -> dict[str, Tensor]:
        """One optimiser step on a batch; returns the losses as tensors on the device."""
        return self.step_with(self, data, optim_wrapper)

    def step_with(self, wrapped: nn.Module, data: dict, optim_wrapper) -> dict[str, Tensor]:
        """`train_step` through a wrapper of this model (distributed training).

        The order of all images is drawn before the batch is cut, so that accumulation changes
        nothing.
        """
        batch = self.data_preprocessor(data, training=True)
        if self.masked:
            images = batch["inputs"]
            batch["order"] = random_order(len(images), self.method.units, device=images.device)
        return accumulated_step(wrapped, self, batch, optim_wrapper, self.accumulate)

    def forward(
        self, inputs: Tensor, order: Tensor | None = None, mode: str = "loss"
    ) -> dict[str, Tensor]:
        """The losses by name for normalised images (B, 3, H, W); their sum is what is minimised.

        `order` (B, units) decides what is masked (`Masking.of`); drawn at random by default.
        """
        if mode != "loss":
            raise NotImplementedError("pre-training has losses only; see `reconstruct`")
        if inputs.shape[-2:] != self.image_size:
            raise ConfigError(
                f"images of {tuple(inputs.shape[-2:])} pixels for a model of {self.image_size}.",
                set="train_dataloader.dataset.crop_size and model.backbone.img_size alike",
            )
        if order is None and self.masked:
            order = random_order(len(inputs), self.method.units, device=inputs.device)
        masking = self.method.masking(order) if self.masked else None
        taught = None if self.teacher is None else self.teacher(inputs, masking)
        pixels = None
        if self.masked:
            pixels = self.method.targets(inputs, self.method.hidden_patches(masking))
        losses = self._losses
        if self.compile_losses:
            self._compiled = self._compiled or torch.compile(losses, dynamic=False)
            losses = self._compiled
        return losses(inputs, masking, pixels, taught)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels of the images that the model is made for."""
        encoder = self.method.encoder
        return tuple(side * encoder.preset.patch for side in encoder.grid)

    def _losses(
        self, images: Tensor, masking: Masking | None, pixels: Tensor | None, taught: Taps | None
    ) -> dict[str, Tensor]:
        wanted = Wanted() if self.distillation is None else self.distillation.of_student
        losses = {}
        if self.masked:
            output = self.method(images, masking, wanted, target=pixels)
            losses["loss_pixels"], taps = output.loss, output.taps
        else:
            taps = self.method(images, wanted)
        if self.distillation is not None:
            losses |= self.distillation(taps, taught)
        return losses

    @torch.no_grad()
    def reconstruct(self, inputs: Tensor, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Original, masked and predicted pictures, uint8 (B, 3, S, S), of uint8 images.

        The masks follow from `seed` alone; torch's random state stays as it is.
        """
        images = self.data_preprocessor({"inputs": inputs})["inputs"]
        generator = torch.Generator().manual_seed(seed)
        order = random_order(len(images), self.method.units, generator=generator)
        was_training = self.training
        self.eval()
        try:
            masking = self.method.masking(order.to(images.device))
            masked, painted = reconstruct(self.method, images, masking)
        finally:
            self.train(was_training)
        return tuple(self.data_preprocessor.pixels(x) for x in (images, masked, painted))

    def exported(self) -> Exported:
        """The encoder as it goes downstream, and what its manifest says about it."""
        encoder = copy.deepcopy(self.method.encoder).cpu()
        extra = {}
        if isinstance(encoder.preset, ViTPreset):
            if not self.masked:
                encoder.norm = nn.Identity()  # never trained
            elif self._decoupled:
                # trained on an inner block's output: no norm for the last one's
                extra[f"norm_depth{self.method.decode_after}"] = encoder.norm.state_dict()
                encoder.norm = nn.Identity()
        elif self.masked:
            extra["encoder_norm"] = copy.deepcopy(self.method.encoder_norm).cpu().state_dict()
        return Exported(encoder, self.recipe, extra, list(self.parents))
