"""The hierarchical encoder: Hiera (Ryali et al. 2023, arXiv 2306.00989) on timm's blocks.

A ViT whose tokens begin at a stride of 4 pixels and are pooled between stages. The image is cut
into mask units of 32 pixels; early blocks attend within a unit, and a masked autoencoder hides
whole units. So the tokens are kept as (B, n, U, C): n tokens of each of U units. `n` counts the
finest of the (row, column) bits within a unit first: pooling takes the maximum over the first four,
and visible units are a gather on U. timm's `Hiera` orders tokens likewise, but by modules made for
one image size.

Parameter names are those of the published files, without the classifier and its norm.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from timm.models.hiera import HieraBlock as TimmBlock
from timm.models.hiera import MaskUnitAttention, PatchEmbed
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightvit_bench.errors import ConfigError
from lightvit_bench.vit.position import resample_table
from lightvit_bench.vit.presets import HieraPreset, get_preset


@dataclass
class HieraRun:
    """What came out of `Hiera.run`.

    Attributes:
        stages: output of each stage that was run to its end, (B, K, m, m, C): K mask units of
            m x m tokens, in the order of `keep`.
        logits: block index -> attention logits before softmax (B, heads, N, N), for the blocks
            asked for; N = m * m * K, the tokens ordered as the module says.
        normed: block index -> its input behind the first norm (B, N, C), likewise.
    """

    stages: list[Tensor] = field(default_factory=list)
    logits: dict[int, Tensor] = field(default_factory=dict)
    normed: dict[int, Tensor] = field(default_factory=dict)


def to_units(tokens: Tensor, grid: tuple[int, int], levels: int) -> Tensor:
    """Tokens in raster order (B, h*w, C) -> (B, 4**levels, U, C); h, w multiples of 2**levels."""
    batch, _, width = tokens.shape
    side, bits = 2**levels, [2] * levels
    split = tokens.reshape(batch, grid[0] // side, *bits, grid[1] // side, *bits, width)
    finest_first = [axis for bit in reversed(range(levels)) for axis in (2 + bit, 3 + levels + bit)]
    ordered = split.permute(0, *finest_first, 1, 2 + levels, 3 + 2 * levels)
    return ordered.reshape(batch, 4**levels, -1, width)


def within_units(tokens: Tensor) -> Tensor:
    """Tokens of units (B, n, K, C) -> each unit as a small map (B, K, m, m, C), n = m * m."""
    batch, n, units, width = tokens.shape
    levels = (n.bit_length() - 1) // 2
    rows = [1 + 2 * bit for bit in reversed(range(levels))]
    split = tokens.reshape(batch, *[2] * (2 * levels), units, width)
    ordered = split.permute(0, 2 * levels + 1, *rows, *(r + 1 for r in rows), 2 * levels + 2)
    return ordered.reshape(batch, units, 2**levels, 2**levels, width)


class Attention(MaskUnitAttention):
    """Attention within mask units or over all tokens, with pooled queries; may return its logits.

    Windows are joined to the batch, so that fused kernels, which want four axes, run for them too.
    """

    def project(self, x: Tensor, parts: int = 3) -> tuple[Tensor, ...]:
        """Queries, keys and values, or the first `parts` of them.

        (B, N, C) -> each (B * windows, heads, n, head_dim); pooled queries have n / 4.
        """
        batch, length, _ = x.shape
        windows = 1
        if self.use_mask_unit_attn:
            windows = length // (self.q_stride * self.window_size)
        if parts == 3:
            projected = self.qkv(x)
        else:
            rows = parts * self.dim_out
            projected = F.linear(x, self.qkv.weight[:rows], self.qkv.bias[:rows])
        split = projected.reshape(batch, -1, windows, parts, self.heads, self.head_dim)
        q, *others = split.permute(3, 0, 2, 4, 1, 5).flatten(1, 2).unbind(0)
        if self.q_stride > 1:
            q = q.unflatten(2, (self.q_stride, -1)).amax(dim=2)
        return q, *others

    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        """q k^T / sqrt(head_dim), before the softmax."""
        return (q * self.scale) @ k.transpose(-2, -1)

    def logits_alone(self, x: Tensor) -> Tensor:
        """The logits that `forward` would compute from tokens (B, N, C), without the values."""
        return self.logits(*self.project(x, parts=2))

    def forward(self, x: Tensor, want_logits: bool = False) -> tuple[Tensor, Tensor | None]:
        """Attend. Returns the tokens (B, N, C) and the logits, None unless asked for."""
        q, k, v = self.project(x)
        logits = self.logits(q, k) if want_logits else None
        if logits is None:
            attended = F.scaled_dot_product_attention(q, k, v)
        else:
            attended = logits.softmax(dim=-1) @ v
        attended = attended.unflatten(0, (x.shape[0], -1)).permute(0, 3, 1, 2, 4)
        return self.proj(attended.reshape(x.shape[0], -1, self.dim_out)), logits


class Block(TimmBlock):
    """timm's block with the attention above. At the start of a stage it widens, and may pool."""

    def __init__(self, width: int, width_out: int, heads: int, *, local: bool, **kwargs):
        norm = partial(nn.LayerNorm, eps=1e-6)
        super().__init__(width, width_out, heads, norm_layer=norm, **kwargs)
        self.attn = Attention(width, width_out, heads, use_mask_unit_attn=local)

    def attention_logits(self, x: Tensor) -> Tensor:
        """The logits of `forward` for tokens (B, N, C), and nothing else of the block."""
        return self.attn.logits_alone(self.norm1(x))

    def forward(self, x: Tensor, want_logits: bool = False) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, N, C) in and out, with the attention logits where asked for."""
        normed = self.norm1(x)
        if self.do_expand:
            x = self.proj(normed).unflatten(1, (self.attn.q_stride, -1)).amax(dim=1)
        attended, logits = self.attn(normed, want_logits)
        x = x + self.drop_path1(attended)
        return x + self.drop_path2(self.mlp(self.norm2(x))), logits


class Hiera(nn.Module):
    """A hierarchical vision transformer.

    Args:
        preset: a name of `PRESETS` or a `HieraPreset`.
        img_size: pixels (side, or height and width) the position table is made for; the preset's
            by default. Images of any other size are taken too: the table is resampled.
        q_pool: how many of the steps between stages halve the map; the preset's by default, 2 in
            a masked autoencoder. No parameter depends on it.
        drop_path: stochastic depth rate of the last block, growing linearly from 0.
        train_positions: whether the position table is trained.
        checkpointing: recompute each block in the backward pass to save memory.

    Raises:
        ConfigError: the preset is unknown, or `img_size` is not a multiple of a mask unit.
        ValueError: there are fewer steps than `q_pool`.
    """

    prefix_tokens = 0  # no CLS token

    def __init__(
        self,
        preset: str | HieraPreset,
        *,
        img_size: int | tuple[int, int] | None = None,
        q_pool: int | None = None,
        drop_path: float = 0.0,
        train_positions: bool = True,
        checkpointing: bool = False,
    ):
        super().__init__()
        if isinstance(preset, str):
            preset = get_preset(preset, HieraPreset)
        self.preset = preset
        self.checkpointing = checkpointing
        size = preset.img_size if img_size is None else img_size
        height, width = (size, size) if isinstance(size, int) else size
        if height % preset.unit_pixels or width % preset.unit_pixels:
            raise ConfigError(
                f"img_size {size} is not a multiple of {preset.unit_pixels} pixels, the mask unit "
                f"of {preset.name}.",
                set="img_size; images themselves may have any size",
            )
        self.grid: tuple[int, int] = height // preset.patch, width // preset.patch
        kernel, padding = 2 * preset.patch - 1, preset.patch - 1  # 7 and 3: patches overlap
        self.patch_embed = PatchEmbed(
            3, preset.width, (kernel, kernel), (preset.patch, preset.patch), (padding, padding)
        )
        self.pos_embed = nn.Parameter(
            torch.zeros(1, self.grid[0] * self.grid[1], preset.width), requires_grad=train_positions
        )
        rates = iter(torch.linspace(0, drop_path, preset.depth).tolist())
        self.blocks = nn.ModuleList()
        width = preset.width
        for stage, (blocks, out, heads) in enumerate(
            zip(preset.stages, preset.widths, preset.stage_heads, strict=True)
        ):
            for i in range(blocks):
                attends_as = stage - 1 if i == 0 and stage else stage
                self.blocks.append(
                    Block(
                        width, out, heads, mlp_ratio=preset.mlp_ratio, drop_path=next(rates),
                        local=attends_as < preset.local_stages,
                    )
                )  # fmt: skip
                width = out
        self.set_q_pool(preset.q_pool if q_pool is None else q_pool)
        self.reset_parameters()

    def set_q_pool(self, q_pool: int) -> None:
        """Pool at the first `q_pool` steps between stages, and at no other."""
        preset = self.preset
        if not 0 <= q_pool < len(preset.stages):
            raise ValueError(f"q_pool={q_pool} in an encoder of {len(preset.stages)} stages")
        self.q_pool = q_pool
        starts = [end + 1 for end in preset.stage_ends[:q_pool]]
        tokens = preset.unit**2
        for i, block in enumerate(self.blocks):
            block.attn.q_stride = 4 if i in starts else 1
            tokens //= block.attn.q_stride
            block.attn.window_size = tokens

    def reset_parameters(self) -> None:
        """Hiera's start as a masked autoencoder.

        Xavier-uniform linears (the patch convolution as one, its bias as convolutions start),
        positions N(0, 0.02) cut at two.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.flatten(1))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels from one token to the next at the end of each stage."""
        stages = range(len(self.preset.stages))
        return tuple(self.preset.patch * 2 ** min(stage, self.q_pool) for stage in stages)

    def units_of(self, image: Tensor) -> tuple[int, int]:
        """Rows and columns of mask units of an image (B, 3, H, W); a rest is padded to a unit."""
        rows, columns = (-(-side // self.preset.unit_pixels) for side in image.shape[-2:])
        return rows, columns

    def heads_of(self, block: int) -> int:
        """Attention heads of a block, counted from 1 as the papers do."""
        return self.blocks[block - 1].attn.heads

    def width_of(self, block: int) -> int:
        """Channels at the input of a block, counted from 1."""
        return self.blocks[block - 1].dim

    def is_global(self, block: int) -> bool:
        """Whether a block, counted from 0, attends over all tokens."""
        return not self.blocks[block].attn.use_mask_unit_attn

    def embed(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        """Embed patches and add their positions: image -> tokens (B, n, U, C).

        With `keep` (B, K) the tokens of these units alone, (B, n, K, C), and nothing of the pixels
        of the others: patches overlap, so hidden units are blanked first.
        """
        rows, columns = self.units_of(image)
        side = self.preset.unit_pixels
        padding = columns * side - image.shape[-1], rows * side - image.shape[-2]
        if any(padding):
            image = F.pad(image, (0, padding[0], 0, padding[1]))
        if keep is not None:
            hidden = torch.ones(len(image), rows * columns, dtype=torch.bool, device=image.device)
            hidden = hidden.scatter(1, keep, False).view(-1, 1, rows, 1, columns, 1)
            hidden = hidden.expand(-1, 1, rows, side, columns, side)
            image = image.masked_fill(hidden.reshape(-1, 1, rows * side, columns * side), 0)
        grid = rows * self.preset.unit, columns * self.preset.unit
        positions = resample_table(self.pos_embed, self.grid, grid, cls_token=False)
        levels = len(self.preset.stages) - 1
        tokens = to_units(self.patch_embed(image) + positions, grid, levels)
        if keep is None:
            return tokens
        index = keep[:, None, :, None].expand(-1, tokens.shape[1], -1, tokens.shape[-1])
        return tokens.gather(2, index)

    def run(
        self,
        image: Tensor,
        keep: Tensor | None = None,
        *,
        logits_of: Collection[int] = (),
        normed_of: Collection[int] = (),
        until: int | None = None,
    ) -> HieraRun:
        """Run the blocks on an image (B, 3, H, W), or on some of its mask units.

        Args:
            keep: (B, K), indices of the visible units in raster order, ascending: then tokens are
                in timm's order, too. H and W are then multiples of a unit.
            logits_of: indices of blocks, from 0, whose attention logits are kept; these attend
                globally. Only these blocks leave the fused attention and activation checkpointing.
            normed_of: likewise for inputs behind the first norm.
            until: the last block of interest: of it only what is tapped is computed, neither
                values nor MLP; the blocks behind are not run.

        Raises:
            ValueError: logits of a block that attends within mask units are asked for.
        """
        if not all(self.is_global(i) for i in logits_of):
            raise ValueError(f"blocks {sorted(logits_of)}: some attend within mask units")
        tokens = self.embed(image, keep)
        units = tokens.shape[2]
        tokens, run = tokens.flatten(1, 2), HieraRun()
        for i, block in enumerate(self.blocks):
            if i in normed_of:
                run.normed[i] = block.norm1(tokens)
            if i == until:
                if i in logits_of:
                    run.logits[i] = block.attention_logits(tokens)
                break
            want_logits = i in logits_of
            if self.checkpointing and self.training and not want_logits:
                tokens, logits = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens, logits = block(tokens, want_logits)
            if want_logits:
                run.logits[i] = logits
            if i in self.preset.stage_ends:
                run.stages.append(within_units(tokens.unflatten(1, (-1, units))))
        return run

    def forward_maps(self, image: Tensor, stages: Sequence[int] = (0, 1, 2, 3)) -> list[Tensor]:
        """Outputs of the given stages, in the order given, as maps (B, C, h, w).

        Stages count from 0, negative ones from the end; those behind the last one are not run.
        The right and lower edges are padded with zeros to whole mask units, and what the padding
        gave is cut off again: h and w are H and W over the stage's stride, rounded up.
        """
        count = len(self.preset.stages)
        indices = [i + count if i < 0 else i for i in stages]
        if not all(0 <= i < count for i in indices):
            raise ValueError(f"stages {list(stages)} of an encoder with {count} stages")
        rows, columns = self.units_of(image)
        outputs = self.run(image, until=self.preset.stage_ends[max(indices)] + 1).stages
        maps = []
        for i in indices:
            units = outputs[i].unflatten(1, (rows, columns))  # (B, rows, columns, m, m, C)
            full = units.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
            h, w = (-(-side // self.strides[i]) for side in image.shape[-2:])
            maps.append(full[:, :, :h, :w].contiguous())
        return maps

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) -> tokens (B, h*w, C) of the last stage, in raster order."""
        return self.forward_maps(image, (-1,))[0].flatten(2).transpose(1, 2)
