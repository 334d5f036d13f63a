"""Relative positions by row and by column, added to attention without a matrix of biases."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DecomposedRelativePosition(nn.Module):
    """MViTv2's relative positions, as ViTDet has them (Li et al. 2021, section 4.1, eq. 4).

    The logit between the tokens at (i, j) and (k, l) gains q . rows[i - k] + q . columns[j - l],
    q being the query as it leaves its projection, and all heads sharing both tables. The tables
    start at zero.

    Such a sum is a scalar product itself: of q's products with the rows and columns that there are,
    with the one-hot place of the key. `fold` appends the ones to the queries and the others to the
    keys, and the fused attention runs without a bias of L x L entries a head, whose 1,600 x 1,600
    numbers (640 px) would be most of a training step's memory.

    Args:
        grid: rows and columns of tokens that the tables are made for.
        head_dim: channels of a head.
        stretch: whether the tables are resampled for other grids, as detectron2 does (global
            attention); otherwise a smaller grid takes the offsets that it has (windows).
    """

    def __init__(self, grid: tuple[int, int], head_dim: int, *, stretch: bool = True):
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(2 * grid[0] - 1, head_dim))
        self.columns = nn.Parameter(torch.zeros(2 * grid[1] - 1, head_dim))
        self.stretch = stretch

    def fold(
        self, q: Tensor, k: Tensor, scale: float, grid: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Queries and keys (B, heads, h*w, d) -> (B, heads, h*w, d + h + w).

        `scale` times their products are the logits with the positions.
        """
        height, width = grid
        places = q.unflatten(2, grid)  # (B, heads, h, w, d)
        down = torch.einsum("bnhwd,hkd->bnhwk", places, self._of(self.rows, height) / scale)
        across = torch.einsum("bnhwd,wkd->bnhwk", places, self._of(self.columns, width) / scale)
        row = torch.eye(height, dtype=k.dtype, device=k.device).repeat_interleave(width, dim=0)
        column = torch.eye(width, dtype=k.dtype, device=k.device).repeat(height, 1)
        place = torch.cat([row, column], dim=1).expand(*k.shape[:2], -1, -1)
        by_place = torch.cat([down, across], dim=-1).flatten(2, 3).to(q.dtype)
        return torch.cat([q, by_place], dim=-1), torch.cat([k, place], dim=-1)

    def _of(self, table: Tensor, side: int) -> Tensor:
        """The entries (side, side, d) for every pair of places along an axis: [query, key]."""
        wanted = 2 * side - 1
        if self.stretch and len(table) != wanted:
            table = F.interpolate(table.T[None], size=wanted, mode="linear")[0].T
        place = torch.arange(side, device=table.device)
        return table[place[:, None] - place[None] + len(table) // 2]
