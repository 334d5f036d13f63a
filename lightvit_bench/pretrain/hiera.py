"""The masked autoencoder of Hiera, which hides mask units and predicts smaller patches."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lightvit_bench.errors import ConfigError
from lightvit_bench.pretrain.decoder import Decoder
from lightvit_bench.pretrain.mae import Autoencoder
from lightvit_bench.pretrain.masking import Masking, kept_units
from lightvit_bench.pretrain.taps import Taps, Wanted
from lightvit_bench.vit import Hiera
from lightvit_bench.vit.hiera import HieraRun


class HieraMaskedAutoencoder(Autoencoder):
    """Hiera's MAE (Ryali et al. 2023, section 3) with MAE-Lite's sizes.

    Whole mask units are hidden; what the stages see of the others is brought to the last stage's
    resolution, summed and normed, and the decoder predicts a patch for each of its tokens (2 x 2
    in a unit, 16 pixels wide, with `q_pool` 2).

    Args:
        encoder: with `q_pool` 2, as in the authors' pre-training.
        mask_ratio: share of units hidden; int(units * (1 - ratio)) stay visible.
        norm_pixels: predict each patch's pixels less their mean, over their standard deviation.
        decoder: `width`, `depth` and `heads` of the `Decoder`, which has learned positions here.

    Raises:
        ConfigError: the masking ratio leaves no visible or no hidden unit.
    """

    def __init__(
        self,
        encoder: Hiera,
        *,
        mask_ratio: float = 0.4,
        norm_pixels: bool = True,
        **decoder: int,
    ):
        super().__init__()
        preset = encoder.preset
        self.encoder = encoder
        self.decoder = Decoder(
            preset.widths[-1], self.grid, self.patch, cls_token=False, learned_positions=True,
            **decoder,
        )  # fmt: skip
        self.norm_pixels = norm_pixels
        rows, columns = (side // preset.unit for side in encoder.grid)
        self.units = rows * columns
        self.kept = kept_units(self.units, mask_ratio)
        self.fusion_heads = nn.ModuleList()  # of the stages whose maps are finer than the last
        for stage in range(encoder.q_pool):
            step = 2 ** (encoder.q_pool - stage)
            self.fusion_heads.append(
                nn.Conv2d(preset.widths[stage], preset.widths[-1], kernel_size=step, stride=step)
            )
        self.encoder_norm = nn.LayerNorm(preset.widths[-1], eps=1e-6)
        side = preset.unit // 2**encoder.q_pool
        patches = torch.arange(self.units * side**2).view(rows, side, columns, side)
        by_unit = patches.transpose(1, 2).reshape(self.units, side**2)  # a unit's patches
        self.register_buffer("patches_of_unit", by_unit, persistent=False)
        place = by_unit.flatten().argsort()  # unit * side² + place in it, of each patch
        self.register_buffer("place_of_patch", place, persistent=False)

    @property
    def patch(self) -> int:
        """Side in pixels of a patch that is predicted."""
        return self.encoder.strides[-1]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the patches that are predicted."""
        step = self.patch // self.encoder.preset.patch
        return self.encoder.grid[0] // step, self.encoder.grid[1] // step

    @property
    def depth(self) -> int:
        """Blocks that can be tapped; only those that attend globally, in fact."""
        return len(self.encoder.blocks)

    def heads_of(self, block: int) -> int:
        """Attention heads of a block, counted from 1."""
        return self.encoder.heads_of(block)

    def width_of(self, block: int) -> int:
        """Channels at the input of a block, counted from 1."""
        return self.encoder.width_of(block)

    def masking(self, order: Tensor) -> Masking:
        """The masking of an order of units (B, units), visible and hidden ones in raster order."""
        return super().masking(order).ascending()

    def patch_masking(self, masking: Masking) -> Masking:
        """The masking of patches, unit by unit, that a masking of units amounts to."""
        side2 = self.patches_of_unit.shape[1]
        unit, inner = self.place_of_patch // side2, self.place_of_patch % side2
        return Masking(
            keep=self.patches_of_unit[masking.keep].flatten(1),
            hide=self.patches_of_unit[masking.hide].flatten(1),
            restore=masking.restore[:, unit] * side2 + inner,
        )

    def encode(self, image: Tensor, masking: Masking, wanted: Wanted) -> tuple[Tensor, Taps]:
        """Image -> what the decoder reads (B, visible patches, D) unit by unit, and the taps."""
        refuse_unreadable(self.encoder, wanted, "student")
        run = self.encoder.run(image, masking.keep, **_asked(wanted))
        fused = run.stages[-1]
        for head, stage in zip(self.fusion_heads, run.stages, strict=False):
            units = stage.flatten(0, 1).permute(0, 3, 1, 2)  # (B * K, C, m, m)
            fused = fused + head(units).permute(0, 2, 3, 1).reshape(fused.shape)
        return self.encoder_norm(fused.flatten(1, 3)), _taps(run)


def tap_hiera(encoder: Hiera, image: Tensor, masking: Masking, wanted: Wanted) -> Taps:
    """What is wanted of a teacher that sees the visible units, and no work beyond it.

    Tokens of logits and hidden states are in the encoder's order (see `vit.hiera`), the same for
    any Hiera of the same units and `q_pool`.

    Raises:
        ConfigError: see `refuse_unreadable`.
    """
    refuse_unreadable(encoder, wanted, "teacher")
    return _taps(encoder.run(image, masking.keep, **_asked(wanted), until=wanted.last - 1))


def refuse_unreadable(encoder: Hiera, wanted: Wanted, whose: str) -> None:
    """Raise `ConfigError` for what a distillation cannot read off a Hiera.

    That is relations, a block that it has not, and one that attends within mask units.
    """
    if wanted.relations:
        raise ConfigError(
            f"queries, keys and values of the {whose}, a Hiera, cannot be distilled.",
            set="model.distill to logits or hidden states",
        )
    wanted.check(len(encoder.blocks), whose)
    readable = [i + 1 for i in range(len(encoder.blocks)) if encoder.is_global(i)]
    for block in (*wanted.logits, *wanted.hidden):
        if block not in readable:
            raise ConfigError(
                f"the distillation reads block {block} of the {whose}, which attends within mask "
                "units.",
                set=f"model.distill to blocks {readable[0]} to {readable[-1]} of the {whose}",
            )


def _asked(wanted: Wanted) -> dict[str, tuple[int, ...]]:
    return {
        "logits_of": tuple(block - 1 for block in wanted.logits),
        "normed_of": tuple(block - 1 for block in wanted.hidden),
    }


def _taps(run: HieraRun) -> Taps:
    return Taps(
        logits={i + 1: logits for i, logits in run.logits.items()},
        hidden={i + 1: normed for i, normed in run.normed.items()},
    )


# beginnings of names in the authors' masked autoencoder -> ours; the encoder has the rest
PUBLISHED = {
    "multi_scale_fusion_heads.": "fusion_heads.",
    "encoder_norm.": "encoder_norm.",
    "decoder_": "decoder.",
    "mask_token": "decoder.mask_token",
}


def published_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A masked autoencoder's tensors under our names, from the authors' bare ones (and Meta's).

    The published ones predict a patch channel by channel, ours pixel by pixel (`to_patches`): the
    rows of the last layer are put in our order.
    """
    renamed = {}
    for name, tensor in state.items():
        start = next((start for start in PUBLISHED if name.startswith(start)), "")
        ours = PUBLISHED.get(start, "encoder.") + name.removeprefix(start)
        if ours.startswith("decoder.pred."):
            side = round((len(tensor) / 3) ** 0.5)
            tensor = tensor.unflatten(0, (3, side, side)).movedim(0, 2).flatten(0, 2)
        renamed[ours] = tensor
    return renamed
