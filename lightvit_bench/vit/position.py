"""Absolute position tables: the fixed sine-cosine one, and resampling to another grid."""

from __future__ import annotations

import math

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor


def sincos_table(width: int, grid: tuple[int, int], *, cls_token: bool = False) -> Tensor:
    """The fixed 2-D sine-cosine table of MAE: (1, [1 +] h*w, width), float32.

    The first half of the channels encodes the column, the second the row; within a half come all
    sines, then all cosines. The CLS token's position is zero. Computed in float64, as in
    facebookresearch/mae and MAE-Lite.

    Raises:
        ValueError: the width is not divisible by 4.
    """
    if width % 4:
        raise ValueError(f"a 2-D sine-cosine table needs a width divisible by 4, not {width}")
    omega = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    rows, columns = torch.meshgrid(
        torch.arange(grid[0], dtype=torch.float64),
        torch.arange(grid[1], dtype=torch.float64),
        indexing="ij",
    )
    angles = [axis.reshape(-1, 1) * omega for axis in (columns, rows)]  # each (h*w, width/4)
    table = torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)
    if cls_token:
        table = torch.cat([torch.zeros(1, width, dtype=torch.float64), table])
    return table.float()[None]


def resample_table(
    table: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int], *, cls_token: bool
) -> Tensor:
    """Resample a position table (1, [1 +] h*w, width) to another grid; the CLS entry stays.

    Bicubic without antialiasing, as mmsegmentation, detectron2 and OSTrack resample theirs.
    """
    if tuple(old_grid) == tuple(new_grid):
        return table
    return resample_abs_pos_embed(
        table,
        new_size=list(new_grid),
        old_size=list(old_grid),
        num_prefix_tokens=int(cls_token),
        antialias=False,
    )


def square_grid(tokens: int) -> tuple[int, int]:
    """The square grid of `tokens` patches; raises `ValueError` if there is none."""
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise ValueError(f"{tokens} positions do not form a square grid")
    return side, side
