"""The masked autoencoder, and its D²-MAE form whose decoder reads an inner block."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightvit_bench.errors import ConfigError
from lightvit_bench.pretrain.decoder import Decoder
from lightvit_bench.pretrain.masking import Masking, kept_units
from lightvit_bench.pretrain.taps import Taps, Wanted, tap_blocks
from lightvit_bench.vit import VisionTransformer
from lightvit_bench.vit.blocks import LogitsBlock
from lightvit_bench.vit.patches import take_patches, take_tokens, to_image, to_patches


@dataclass
class MAEOutput:
    """What a masked autoencoder computed for a batch.

    Attributes:
        loss: mean squared error over the pixels of hidden patches.
        latent: (B, [1 +] K, D), what the decoder reads: normed tokens of the visible patches.
        pred: pixels predicted: (B, hidden, P) in the order of `masking.hide`, or with
            `everywhere` (B, L, P) in raster order; P = patch * patch * 3, pixels before channels.
        taps: what was wanted of the encoder's blocks.
    """

    loss: Tensor
    latent: Tensor
    pred: Tensor
    taps: Taps


class Autoencoder(nn.Module):
    """What masked autoencoders of plain and hierarchical encoders have in common.

    A subclass sets `encoder`, `decoder`, `units` (what is masked: patches or mask units), `kept`
    (how many stay visible) and `norm_pixels`, and tells `patch`, `grid`, `encode` and
    `patch_masking`.
    """

    def masking(self, order: Tensor) -> Masking:
        """The masking of an order (B, units) of whole numbers, see `random_order`.

        Raises:
            ValueError: it is not one. (That a row is a permutation is not checked.)
        """
        if order.ndim != 2 or order.shape[1] != self.units or order.dtype != torch.int64:
            raise ValueError(
                f"an order of shape {tuple(order.shape)}, {order.dtype}; needed is (images, "
                f"{self.units}), int64: an argsort of noise"
            )
        return Masking.of(order, self.kept)

    def patch_masking(self, masking: Masking) -> Masking:
        """The masking of the patches predicted that a masking of units amounts to."""
        return masking

    def encode(self, image: Tensor, masking: Masking, wanted: Wanted) -> tuple[Tensor, Taps]:
        """Image (B, 3, H, W) -> what the decoder reads (B, [1 +] visible, D), and the taps."""
        raise NotImplementedError

    def hidden_patches(self, masking: Masking) -> Tensor:
        """Indices (B, M) in `grid`, counted by rows, of the patches that are predicted."""
        return self.patch_masking(masking).hide

    def forward(
        self,
        image: Tensor,
        masking: Masking,
        wanted: Wanted = Wanted(),  # noqa: B008  (immutable)
        *,
        target: Tensor | None = None,
        everywhere: bool = False,
    ) -> MAEOutput:
        """Hide, encode, decode and compare an image (B, 3, H, W) of normalised pixels.

        `target` is what `targets` gives, if it is at hand. Compiled, it should be: the backward
        pass would otherwise compute it once more rather than keep it.
        """
        latent, taps = self.encode(image, masking, wanted)
        of_patches = self.patch_masking(masking)
        pred = self.decoder(latent, of_patches, None if everywhere else of_patches.hide)
        if target is None:
            target = self.targets(image, of_patches.hide)
        compared = take_tokens(pred, of_patches.hide) if everywhere else pred
        return MAEOutput(F.mse_loss(compared.float(), target), latent, pred, taps)

    @torch.no_grad()
    def targets(self, image: Tensor, hidden: Tensor) -> Tensor:
        """The pixels (B, M, P) that the decoder should predict for the patches `hidden` (B, M)."""
        patches = take_patches(image.float(), self.patch, hidden)
        patches = patches.permute(0, 1, 3, 4, 2).flatten(2)  # pixels before channels, MAE's order
        return normalise_patches(patches) if self.norm_pixels else patches


class MaskedAutoencoder(Autoencoder):
    """MAE (He et al. 2022) with MAE-Lite's options.

    Args:
        encoder: with a final norm, which the decoder reads through.
        mask_ratio: share of patches hidden; int(L * (1 - ratio)) stay visible.
        norm_pixels: predict each patch's pixels less their mean, over their standard deviation.
        decode_after: the decoder reads the normed output of the first so many blocks (D²-MAE: 8);
            the whole encoder by default. The blocks behind learn from a distillation alone.
        logits_block: append a block that ends with its attention logits (D²-MAE's 13th).

    Raises:
        ConfigError: the masking ratio leaves no visible or no hidden patch, or `decode_after` is
            beyond the encoder.
    """

    def __init__(
        self,
        encoder: VisionTransformer,
        decoder: Decoder,
        *,
        mask_ratio: float = 0.75,
        norm_pixels: bool = True,
        decode_after: int | None = None,
        logits_block: bool = False,
    ):
        super().__init__()
        depth = len(encoder.blocks)
        if decode_after is not None and not 1 <= decode_after <= depth:
            raise ConfigError(
                f"the decoder cannot read block {decode_after} of an encoder with {depth}.",
                set="model.decode_after",
            )
        self.encoder, self.decoder = encoder, decoder
        encoder.pos_embed.requires_grad_(False)  # fixed sines and cosines
        self.logits_block = None
        if logits_block:
            self.logits_block = LogitsBlock(encoder.preset.width, encoder.preset.heads)
        self.units = encoder.grid[0] * encoder.grid[1]
        self.kept = kept_units(self.units, mask_ratio)
        self.norm_pixels = norm_pixels
        self.decode_after = decode_after or depth

    @property
    def patch(self) -> int:
        """Side in pixels of a patch that is predicted."""
        return self.encoder.preset.patch

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the patches that are predicted."""
        return self.encoder.grid

    @property
    def depth(self) -> int:
        """Blocks that can be tapped, D²-MAE's last one included."""
        return len(self.encoder.blocks) + (self.logits_block is not None)

    def heads_of(self, block: int) -> int:
        """Attention heads of a block, counted from 1."""
        return self.encoder.preset.heads

    def width_of(self, block: int) -> int:
        """Channels at the input of a block, counted from 1."""
        return self.encoder.preset.width

    def encode(self, image: Tensor, masking: Masking, wanted: Wanted) -> tuple[Tensor, Taps]:
        """Image -> what the decoder reads (B, [1 +] K, D), and the taps."""
        encoder = self.encoder
        tokens = encoder.with_cls(encoder.patchify(image, keep=masking.keep))
        tokens, taps = tap_blocks(encoder, tokens, wanted, stop=self.decode_after)
        latent = encoder.norm(tokens)
        if wanted.last > self.decode_after:
            end = min(wanted.last, len(encoder.blocks))
            tokens, behind = tap_blocks(
                encoder, tokens, wanted, start=self.decode_after, stop=end, cut=wanted.last == end
            )
            taps.logits |= behind.logits
            taps.hidden |= behind.hidden
            if wanted.last > end:
                normed = self.logits_block.norm1(tokens)
                if self.depth in wanted.hidden:
                    taps.hidden[self.depth] = normed
                if self.depth in wanted.logits:
                    taps.logits[self.depth] = self.logits_block.attn.logits_alone(normed)
        return latent, taps


def normalise_patches(patches: Tensor) -> Tensor:
    """Patches (B, M, P) less their mean, over the root of their unbiased variance plus 1e-6 (MAE).

    By way of LayerNorm, which divides by the biased variance: (P - 1) / P of the other.
    """
    size = patches.shape[-1]
    share = (size - 1) / size
    scale = patches.new_full((size,), share**0.5)
    return F.layer_norm(patches, (size,), weight=scale, eps=1e-6 * share)


@torch.no_grad()
def reconstruct(model, image: Tensor, masking: Masking) -> tuple[Tensor, Tensor]:
    """Pictures of what a model sees and predicts, for images (B, 3, H, W) of normalised pixels.

    Returns the image with hidden patches at zero (the mean colour), and the image with hidden
    patches predicted. Where the model predicts normalised patches, they are given the mean and
    deviation of the true ones, as people do to see anything.
    """
    patches = to_patches(image.float(), model.patch)
    hidden = model.hidden_patches(masking)
    pred = model(image, masking, everywhere=True).pred.float()
    if model.norm_pixels:
        deviation = (patches.var(dim=-1, keepdim=True) + 1e-6).sqrt()
        pred = pred * deviation + patches.mean(dim=-1, keepdim=True)
    is_hidden = torch.zeros(patches.shape[:2], dtype=torch.bool, device=image.device)
    is_hidden = is_hidden.scatter(1, hidden, True)[..., None]
    masked = patches.masked_fill(is_hidden, 0)
    painted = torch.where(is_hidden, pred, patches)
    return to_image(masked, model.grid), to_image(painted, model.grid)
