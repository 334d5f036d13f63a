"""Images as rows of patches, and back."""

from __future__ import annotations

import torch
from torch import Tensor


def to_patches(image: Tensor, patch: int) -> Tensor:
    """Cut an image (B, C, H, W) into patches (B, h*w, patch*patch*C), pixels before channels.

    H and W are multiples of `patch`. The order of MAE's targets and predictions.
    """
    batch, channels, height, width = image.shape
    h, w = height // patch, width // patch
    cells = image.reshape(batch, channels, h, patch, w, patch)
    return cells.permute(0, 2, 4, 3, 5, 1).reshape(batch, h * w, patch * patch * channels)


def take_patches(image: Tensor, patch: int, indices: Tensor) -> Tensor:
    """The patches at `indices` (B, K), in raster order, of an image (B, C, H, W).

    Returns (B, K, C, patch, patch): channels before pixels, as a convolution's weights have them.
    """
    batch, channels, height, width = image.shape
    h, w = height // patch, width // patch
    cells = image.reshape(batch, channels, h, patch, w, patch).permute(0, 2, 4, 1, 3, 5)
    first = torch.arange(batch, device=image.device)[:, None] * (h * w)
    rows = cells.reshape(batch * h * w, -1).index_select(0, (indices + first).flatten())
    return rows.reshape(batch, -1, channels, patch, patch)


def take_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """The tokens at `indices` (B, K) of (B, L, D), in that order: (B, K, D).

    A gather: the shapes do not depend on the values, as compiled programs need it.
    """
    return tokens.gather(1, indices[..., None].expand(-1, -1, tokens.shape[-1]))


def to_image(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """The inverse of `to_patches`: (B, h*w, patch*patch*3) -> (B, 3, H, W)."""
    batch, _, values = patches.shape
    h, w = grid
    patch = round((values // 3) ** 0.5)
    cells = patches.reshape(batch, h, w, patch, patch, 3).permute(0, 5, 1, 3, 2, 4)
    return cells.reshape(batch, 3, h * patch, w * patch)
