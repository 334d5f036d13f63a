"""Windows of tokens, as ViTDet's blocks attend in them (Li et al. 2022, section 3)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def window_within(grid: tuple[int, int], window: int) -> tuple[int, int]:
    """Rows and columns of a window of side `window` on a grid: no larger than the grid itself."""
    return min(grid[0], window), min(grid[1], window)


def into_windows(tokens: Tensor, grid: tuple[int, int], sides: tuple[int, int]) -> Tensor:
    """Cut tokens (B, h*w, D) into windows (B * windows, rows*columns, D) of `sides` tokens.

    Where the windows do not divide the grid, zeros fill up its lower and right edge; they are
    attended to like tokens, as in detectron2's ViTDet.
    """
    batch, _, width = tokens.shape
    rows, columns = sides
    below, beside = -grid[0] % rows, -grid[1] % columns
    x = tokens.reshape(batch, *grid, width)
    if below or beside:
        x = F.pad(x, (0, 0, 0, beside, 0, below))
    down, across = (grid[0] + below) // rows, (grid[1] + beside) // columns
    x = x.reshape(batch, down, rows, across, columns, width).transpose(2, 3)
    return x.reshape(batch * down * across, rows * columns, width)


def out_of_windows(windows: Tensor, grid: tuple[int, int], sides: tuple[int, int]) -> Tensor:
    """The inverse of `into_windows`; what filled up the edges is cut off: (B, h*w, D)."""
    rows, columns = sides
    down, across = -(-grid[0] // rows), -(-grid[1] // columns)
    width = windows.shape[-1]
    x = windows.reshape(-1, down, across, rows, columns, width).transpose(2, 3)
    x = x.reshape(-1, down * rows, across * columns, width)
    return x[:, : grid[0], : grid[1]].reshape(-1, grid[0] * grid[1], width)
