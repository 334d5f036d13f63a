"""A student that sees the whole image and predicts no pixels: it learns from a teacher alone."""

from __future__ import annotations

from torch import Tensor, nn

from lightvit_bench.pretrain.taps import Taps, Wanted, freeze_behind, tap_blocks
from lightvit_bench.vit import VisionTransformer


class UnmaskedStudent(nn.Module):
    """TinyMIM's student (Ren et al. 2023): an encoder without masking and decoder.

    What lies behind the last tap (the rest of that block, the final norm) gets no gradient and is
    frozen at its start; fine-tuning trains it.

    Args:
        wanted: what will be tapped.
    """

    def __init__(self, encoder: VisionTransformer, wanted: Wanted):
        super().__init__()
        self.encoder = encoder
        encoder.pos_embed.requires_grad_(False)  # fixed sines and cosines
        freeze_behind(encoder, wanted)
        encoder.norm.requires_grad_(False)

    @property
    def depth(self) -> int:
        """Blocks that can be tapped."""
        return len(self.encoder.blocks)

    def heads_of(self, block: int) -> int:
        """Attention heads of a block, counted from 1."""
        return self.encoder.preset.heads

    def width_of(self, block: int) -> int:
        """Channels at the input of a block, counted from 1."""
        return self.encoder.preset.width

    def forward(self, image: Tensor, wanted: Wanted) -> Taps:
        """The taps for an image (B, 3, H, W) of normalised pixels."""
        encoder = self.encoder
        tokens = encoder.with_cls(encoder.patchify(image))
        grid = encoder.grid_of(image)
        return tap_blocks(encoder, tokens, wanted, stop=wanted.last, cut=True, grid=grid)[1]
