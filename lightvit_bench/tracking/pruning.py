"""Leaving search tokens behind: OSTrack's candidate elimination, and pruning once with a prior.

Both rank the search tokens by the attention that the template's middle token pays them, averaged
over heads, and both drop them between attention and MLP of the block whose attention it is.
Elimination (OSTrack, section 3.2) does so in several blocks. Pruning once (MaST) does so in an
early one and keeps far less; it multiplies the attention by a Gaussian on the last box. MaST's text
at hand says "after layer 1"; that it is before this layer's MLP follows from its operation counts
(0.836 and 0.585 G at 12 and 8 layers: 0.833 and 0.584 so, 0.887 and 0.637 behind the MLP).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def middle_token(grid: tuple[int, int]) -> int:
    """Index of the template token whose attention counts: (3, 3) of an 8 x 8 grid (CTR_POINT)."""
    return (grid[0] - 1) // 2 * grid[1] + (grid[1] - 1) // 2


def kept(tokens: int, keep: float) -> int:
    """How many of `tokens` stay: rounded up."""
    return math.ceil(keep * tokens)


def attention_to_search(logits: Tensor, template_tokens: int) -> Tensor:
    """Logits (B, heads, 1, L) of the middle token -> attention to the search tokens (B, L_search).

    Softmax over all tokens, then the mean over heads.
    """
    return logits.float().softmax(dim=-1)[:, :, 0, template_tokens:].mean(dim=1)


def gaussian_prior(box_wh: Tensor, grid: tuple[int, int]) -> Tensor:
    """A Gaussian on the middle of a grid of tokens (B, h*w), one at its peak.

    The middle is where the last box's centre is; the deviation is half the box's width and height.

    Args:
        box_wh: (B, 2), width and height of the last box as fractions of the search region.
    """
    rows = (torch.arange(grid[0], device=box_wh.device) + 0.5) / grid[0] - 0.5
    columns = (torch.arange(grid[1], device=box_wh.device) + 0.5) / grid[1] - 0.5
    sigma = (0.5 * box_wh.float()).clamp(min=1e-3)
    x = (columns / sigma[:, :1]).square()  # (B, w)
    y = (rows / sigma[:, 1:]).square()  # (B, h)
    return torch.exp(-0.5 * (y[:, :, None] + x[:, None, :])).flatten(1)


@dataclass
class Search:
    """The search tokens that are left, and where they belong.

    Attributes:
        index: (B, K), positions in the grid of the tokens left; None while all are there in order.
        removed: (B, n) positions of those that left, stage by stage, worst last.
    """

    count: int
    index: Tensor | None
    removed: list[Tensor]

    @classmethod
    def whole(cls, count: int) -> Search:
        """All `count` tokens of the region, in order."""
        return cls(count, None, [])

    def reduce(self, tokens: Tensor, template_tokens: int, scores: Tensor, keep: int) -> Tensor:
        """Keep the `keep` best search tokens: (B, Lz + K, D) -> (B, Lz + keep, D), best first."""
        left = tokens.shape[1] - template_tokens
        if keep >= left:
            return tokens
        # Ties go to the first, in every batch alike.
        order = scores.argsort(dim=1, descending=True, stable=True)
        chosen, leaving = order[:, :keep], order[:, keep:]
        if self.index is None:
            self.index, gone = chosen, leaving
        else:
            gone = self.index.gather(1, leaving)
            self.index = self.index.gather(1, chosen)
        self.removed.append(gone)
        template, search = tokens.split([template_tokens, left], dim=1)
        search = search.gather(1, chosen[:, :, None].expand(-1, -1, search.shape[2]))
        return torch.cat([template, search], dim=1)

    def restore(self, values: Tensor) -> Tensor:
        """Values (B, K, C) of the tokens left -> the whole grid (B, h*w, C), zeros elsewhere."""
        if self.index is None:
            return values
        whole = values.new_zeros(len(values), self.count, values.shape[2])
        return whole.scatter(1, self.index[:, :, None].expand(-1, -1, values.shape[2]), values)
