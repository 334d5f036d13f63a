"""Heads: search tokens to a score, a size and an offset for each cell of the search region."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightvit_bench.tracking.pruning import Search


class Maps(NamedTuple):
    """What a head says about each cell (h, w) of a search region.

    score: (B, 1, h, w), that the target's centre is in the cell. size: (B, 2, h, w), the target's
    width and height as fractions of the region. offset: (B, 2, h, w), from the cell's left upper
    corner to the centre (x, y), in cells.
    """

    score: Tensor
    size: Tensor
    offset: Tensor


def probability(logits: Tensor) -> Tensor:
    """Sigmoid kept off 0 and 1 by 1e-4, in float32, so that the focal loss is finite."""
    return logits.float().sigmoid().clamp(1e-4, 1 - 1e-4)


def _layer(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


def _branch(width: int, channels: int, out: int) -> nn.Sequential:
    widths = [width, *(channels // 2**i for i in range(4))]
    layers = [_layer(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], out, 1))


class ConvHead(nn.Module):
    """OSTrack's centre head: three branches of four 3 x 3 convolutions, halving the channels.

    Each token removed on the way here is a zero vector in the map.
    """

    def __init__(self, width: int, channels: int = 256):
        super().__init__()
        self.score = _branch(width, channels, 1)
        self.size = _branch(width, channels, 2)
        self.offset = _branch(width, channels, 2)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, tokens: Tensor, search: Search, grid: tuple[int, int]) -> Maps:
        """Search tokens (B, K, D) that are left, after the last norm -> maps."""
        whole = search.restore(tokens).transpose(1, 2).unflatten(2, grid)
        return Maps(
            probability(self.score(whole)),
            probability(self.size(whole)),
            self.offset(whole).float(),
        )


def _mlp(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, width), nn.ReLU(inplace=True),
        nn.Linear(width, width), nn.ReLU(inplace=True),
        nn.Linear(width, out),
    )  # fmt: skip


class MlpHead(nn.Module):
    """A head for each token alone, as LoRAT and MaST have it: no convolution, no neighbours.

    The tokens left are computed and no others; a removed one scores 0.
    """

    def __init__(self, width: int):
        super().__init__()
        self.score = _mlp(width, 1)
        self.box = _mlp(width, 4)

    def forward(self, tokens: Tensor, search: Search, grid: tuple[int, int]) -> Maps:
        """Search tokens (B, K, D) that are left, after the last norm -> maps."""
        size, offset = self.box(tokens).float().chunk(2, dim=2)
        values = torch.cat([probability(self.score(tokens)), probability(size), offset], dim=2)
        whole = search.restore(values).transpose(1, 2).unflatten(2, grid)
        return Maps(whole[:, :1], whole[:, 1:3], whole[:, 3:])


def boxes_at(maps: Maps, cells: Tensor) -> Tensor:
    """The boxes that the cells (B,), counted in raster order, speak of.

    Returns (B, 4): centre x, centre y, width, height as fractions of the region.
    """
    rows, columns = maps.score.shape[-2:]
    index = cells[:, None, None].expand(-1, 2, 1)
    size = maps.size.flatten(2).gather(2, index)[:, :, 0]
    offset = maps.offset.flatten(2).gather(2, index)[:, :, 0]
    corner = torch.stack([cells % columns, cells.div(columns, rounding_mode="floor")], dim=1)
    return torch.cat([(corner + offset) / corner.new_tensor([columns, rows]), size], dim=1)
