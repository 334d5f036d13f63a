"""THE encoder. Detection, segmentation, pre-training and tracking all run this one class.

It is a plain pre-norm ViT cut into the steps that the tasks recombine:

    patchify(image)   -> patch tokens with positions, of all patches or of some
    with_cls(tokens)  -> the CLS token in front
    run_blocks(...)   -> the blocks, or a range of them, with taps on outputs and attention logits

A masked autoencoder embeds the visible patches alone (`keep=`); a tracker joins the tokens of
template and search region between the first two (`positions=` gives each its own table); a
detector's blocks attend within windows (`window=`). Parameter names are timm's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from timm.layers import PatchEmbed
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightvit_bench.errors import ConfigError
from lightvit_bench.vit.blocks import Block, RelativePosition
from lightvit_bench.vit.decomposed import DecomposedRelativePosition
from lightvit_bench.vit.patches import take_patches, take_tokens
from lightvit_bench.vit.position import resample_table, sincos_table
from lightvit_bench.vit.presets import ViTPreset, get_preset


@dataclass
class BlockRun:
    """What came out of `run_blocks`.

    Attributes:
        tokens: (B, L, D), after the last block run; no final norm.
        outputs: block index -> its output (B, L, D), for the blocks asked for.
        logits: block index -> attention logits before softmax (B, heads, L, L), likewise.
    """

    tokens: Tensor
    outputs: dict[int, Tensor] = field(default_factory=dict)
    logits: dict[int, Tensor] = field(default_factory=dict)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


class VisionTransformer(nn.Module):
    """A plain vision transformer (Dosovitskiy et al. 2021; MAE-Lite's variants of it).

    Args:
        preset: a name of `PRESETS` or a `ViTPreset`.
        img_size: pixels (side, or height and width) the position table is made for; the preset's
            by default. Images of any other size are taken too: the table is resampled.
        cls_token: whether there is a CLS token.
        final_norm: whether `forward` ends with a LayerNorm.
        drop_path: stochastic depth rate of the last block, growing linearly from 0.
        layer_scale: initial LayerScale gain, None for no LayerScale.
        rel_pos: whether each block has BEiT's relative position bias (starts at zero);
            "decomposed" for ViTDet's, by row and by column (likewise).
        rel_pos_size: pixels that relative positions of the whole image are made for; `img_size` by
            default. A grid of another size resamples them.
        window: side in tokens of the windows that blocks attend within (ViTDet: 14); None for
            attention over the whole image in every block.
        global_blocks: indices of the blocks without windows (ViTDet: 2, 5, 8, 11).
        train_positions: whether the absolute position table is trained.
        checkpointing: recompute each block in the backward pass to save memory.

    Raises:
        ConfigError: the preset is unknown, there is no such kind of relative positions, or windows
            do not go with the other arguments.
    """

    def __init__(
        self,
        preset: str | ViTPreset,
        *,
        img_size: int | tuple[int, int] | None = None,
        cls_token: bool = True,
        final_norm: bool = True,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
        rel_pos: bool | str = False,
        rel_pos_size: int | tuple[int, int] | None = None,
        window: int | None = None,
        global_blocks: Collection[int] = (),
        train_positions: bool = True,
        checkpointing: bool = False,
    ):
        super().__init__()
        if isinstance(preset, str):
            preset = get_preset(preset, ViTPreset)
        self.preset = preset
        self.checkpointing = checkpointing
        self.patch_embed = PatchEmbed(
            img_size or preset.img_size, preset.patch, embed_dim=preset.width,
            strict_img_size=False, dynamic_img_pad=True,
        )  # fmt: skip
        grid = tuple(self.patch_embed.dynamic_feat_size(self.patch_embed.img_size))
        self.grid: tuple[int, int] = grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, preset.width)) if cls_token else None
        self.pos_embed = nn.Parameter(
            sincos_table(preset.width, grid, cls_token=cls_token), requires_grad=train_positions
        )
        self._check_windows(window, global_blocks)
        far = self.patch_embed.dynamic_feat_size(_pair(rel_pos_size or img_size or preset.img_size))
        norm = partial(nn.LayerNorm, eps=1e-6)
        rates = torch.linspace(0, drop_path, preset.depth).tolist()
        windows = [None if i in global_blocks else window for i in range(preset.depth)]
        self.blocks = nn.ModuleList(
            Block(
                preset.width,
                preset.heads,
                mlp_ratio=preset.mlp_ratio,
                drop_path=rate,
                init_values=layer_scale,
                norm_layer=norm,
                rel_pos=self._relative_positions(rel_pos, tuple(far), near),
                window=near,
            )
            for rate, near in zip(rates, windows, strict=True)
        )
        self.norm = norm(preset.width) if final_norm else nn.Identity()
        self.reset_parameters()

    def _check_windows(self, window: int | None, global_blocks: Collection[int]) -> None:
        if window is None:
            return
        if window < 1 or not set(global_blocks) <= set(range(self.preset.depth)):
            raise ConfigError(
                f"windows of {window} tokens with global blocks {list(global_blocks)}: a window "
                f"has at least 1, and blocks are counted from 0 to {self.preset.depth - 1}.",
                set="window and global_blocks (ViTDet's: 14 and (2, 5, 8, 11))",
            )
        if self.cls_token is not None:
            raise ConfigError("a CLS token lies in no window.", set="cls_token=False, or no window")

    def _relative_positions(
        self, kind: bool | str, grid: tuple[int, int], window: int | None
    ) -> RelativePosition | DecomposedRelativePosition | None:
        """The table of a block that attends within windows, or over `grid`."""
        if kind not in (False, True, "decomposed"):
            raise ConfigError(f"there is no rel_pos={kind!r}.", known="False, True, 'decomposed'")
        sides, heads = (window, window) if window else grid, self.preset.heads
        if kind == "decomposed":
            head_dim = self.preset.width // heads
            return DecomposedRelativePosition(sides, head_dim, stretch=window is None)
        return RelativePosition(sides, heads, prefix_tokens=self.prefix_tokens) if kind else None

    def reset_parameters(self) -> None:
        """MAE's start: Xavier-uniform linears (the patch convolution as one), N(0, 0.02) tokens."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.flatten(1))
        nn.init.zeros_(self.patch_embed.proj.bias)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=0.02)

    @property
    def prefix_tokens(self) -> int:
        """Number of tokens before the patches: 1 with a CLS token, else 0."""
        return int(self.cls_token is not None)

    def grid_of(self, image: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of an image (B, 3, H, W); a rest is padded to a patch."""
        return tuple(self.patch_embed.dynamic_feat_size(image.shape[-2:]))

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """The position table (1, [1 +] h*w, D) for a grid of patches."""
        return resample_table(self.pos_embed, self.grid, grid, cls_token=self.cls_token is not None)

    def patchify(
        self, image: Tensor, positions: Tensor | None = None, keep: Tensor | None = None
    ) -> Tensor:
        """Embed patches and add their positions: image (B, 3, H, W) -> tokens (B, h*w, D).

        `positions` (1, h*w, D) replaces the encoder's own table. The right and lower edges are
        padded with zeros to whole patches. No CLS token yet: see `with_cls`.

        `keep` (B, K), indices of patches in raster order: only these are embedded, in that order,
        and the tokens are (B, K, D); H and W are then multiples of a patch.
        """
        if positions is None:
            positions = self.positions(self.grid_of(image))[:, self.prefix_tokens :]
        if keep is None:
            return self.patch_embed(image) + positions
        patches = take_patches(image, self.preset.patch, keep)
        proj = self.patch_embed.proj  # (D, 3, p, p), here as a linear layer
        tokens = F.linear(patches.flatten(2), proj.weight.flatten(1), proj.bias)
        return tokens + take_tokens(positions.expand(len(image), -1, -1), keep)

    def with_cls(self, tokens: Tensor) -> Tensor:
        """Put the CLS token, with its position, in front: (B, L, D) -> (B, 1 + L, D)."""
        if self.cls_token is None:
            return tokens
        cls = self.cls_token + self.pos_embed[:, :1]
        return torch.cat([cls.expand(tokens.shape[0], -1, -1), tokens], dim=1)

    def run_blocks(
        self,
        tokens: Tensor,
        *,
        grid: tuple[int, int] | None = None,
        start: int = 0,
        stop: int | None = None,
        outputs_of: Collection[int] = (),
        logits_of: Collection[int] = (),
    ) -> BlockRun:
        """Run blocks `start` to `stop` (exclusive; the depth by default) on tokens (B, L, D).

        Args:
            grid: rows and columns of the patch tokens; needed with relative positions or windows.
            outputs_of: indices of blocks whose output is kept.
            logits_of: indices of blocks whose attention logits are kept; only these blocks leave
                the fused attention and activation checkpointing.
        """
        run = BlockRun(tokens)
        for i in range(start, len(self.blocks) if stop is None else stop):
            want_logits = i in logits_of
            if self.checkpointing and self.training and not want_logits:
                run.tokens, logits = checkpoint(
                    self.blocks[i], run.tokens, grid, use_reentrant=False
                )
            else:
                run.tokens, logits = self.blocks[i](run.tokens, grid, want_logits)
            if want_logits:
                run.logits[i] = logits
            if i in outputs_of:
                run.outputs[i] = run.tokens
        return run

    def to_map(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patch tokens as a feature map: (B, [1 +] h*w, D) -> (B, D, h, w)."""
        patches = tokens[:, self.prefix_tokens :].transpose(1, 2)
        return patches.reshape(tokens.shape[0], -1, *grid)

    def forward_maps(self, image: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Outputs of the given blocks, in the order given, as maps (B, D, h, w); no final norm.

        Blocks count from 0, negative ones from the end. Blocks behind the last one are not run.
        """
        depth = len(self.blocks)
        indices = [i + depth if i < 0 else i for i in blocks]
        if not all(0 <= i < depth for i in indices):
            raise ValueError(f"blocks {list(blocks)} of an encoder with {depth} blocks")
        grid = self.grid_of(image)
        tokens = self.with_cls(self.patchify(image))
        run = self.run_blocks(tokens, grid=grid, stop=max(indices) + 1, outputs_of=indices)
        return [self.to_map(run.outputs[i], grid) for i in indices]

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) -> tokens (B, [1 +] h*w, D) after the final norm, if there is one."""
        tokens = self.with_cls(self.patchify(image))
        return self.norm(self.run_blocks(tokens, grid=self.grid_of(image)).tokens)
