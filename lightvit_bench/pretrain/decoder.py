"""The decoder of a masked autoencoder: visible tokens -> pixels of every patch."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from lightvit_bench.pretrain.masking import Masking
from lightvit_bench.vit.blocks import Block
from lightvit_bench.vit.patches import take_tokens
from lightvit_bench.vit.position import sincos_table


class Decoder(nn.Module):
    """MAE's light decoder (He et al. 2022, section 3; sizes in MAE-Lite's appendix).

    Args:
        encoder_width: channels of the latent tokens.
        grid: rows and columns of the patches predicted.
        patch: side of such a patch in pixels.
        cls_token: whether the latent begins with a CLS token; it is decoded along.
        learned_positions: train the position table (Hiera) instead of fixed sines and cosines.
    """

    def __init__(
        self,
        encoder_width: int,
        grid: tuple[int, int],
        patch: int,
        *,
        width: int = 96,
        depth: int = 1,
        heads: int = 3,
        cls_token: bool = True,
        learned_positions: bool = False,
    ):
        super().__init__()
        self.prefix = int(cls_token)
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        if learned_positions:
            positions = torch.zeros(1, self.prefix + grid[0] * grid[1], width)
        else:
            positions = sincos_table(width, grid, cls_token=cls_token)
        self.pos_embed = nn.Parameter(positions, requires_grad=learned_positions)
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.ModuleList(Block(width, heads, norm_layer=norm) for _ in range(depth))
        self.norm = norm(width)
        self.pred = nn.Linear(width, patch * patch * 3)
        self.reset_parameters(learned_positions)

    def reset_parameters(self, learned_positions: bool) -> None:
        """Xavier-uniform linears, tokens and learned positions N(0, 0.02)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.mask_token, std=0.02)
        if learned_positions:
            nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, latent: Tensor, masking: Masking, only: Tensor | None = None) -> Tensor:
        """Predict pixels: latent (B, [1 +] K, D) -> (B, L, patch*patch*3), in raster order.

        `only` (B, M): predict the patches of these indices alone, in that order.
        """
        x = self.embed(latent)
        cls, visible = x[:, : self.prefix], x[:, self.prefix :]
        x = torch.cat([cls, masking.unshuffle(visible, self.mask_token)], dim=1) + self.pos_embed
        for block in self.blocks:
            x, _ = block(x)
        x = x[:, self.prefix :]
        if only is not None:
            x = take_tokens(x, only)
        return self.pred(self.norm(x))
