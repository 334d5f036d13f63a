"""Backbones for images of one size: what hangs on the size alone is computed once."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightvit_bench.errors import ConfigError
from lightvit_bench.openmmlab.backbone import EncoderBackbone
from lightvit_bench.vit.blocks import RelativePosition
from lightvit_bench.vit.position import resample_table

FILE_LIMIT = 2**31 - 2**20  # bytes: protobuf's limit, less a MiB for the graph itself


def relative_positions(backbone: EncoderBackbone) -> list[nn.Module]:
    """BEiT's tables of relative positions, whose biases are constant on one grid."""
    found = (getattr(block.attn, "rel_pos", None) for block in backbone.encoder.blocks)
    return [table for table in found if isinstance(table, RelativePosition)]


class FixedBias(nn.Module):
    """The bias (1, heads, L, L) of one grid, in the place of `RelativePosition`."""

    def __init__(self, bias: Tensor):
        super().__init__()
        self.register_buffer("bias", bias)

    def for_grid(self, grid: tuple[int, int]) -> Tensor:
        """The bias, whatever the grid."""
        return self.bias


class FixedEncoder(nn.Module):
    """A backbone for images of one size, (B, H, W, 3) uint8 RGB; made by `fixed_encoder`."""

    def __init__(self, backbone: EncoderBackbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Pixels -> maps."""
        return tuple(self.backbone(image.permute(0, 3, 1, 2).float()))


@torch.no_grad()
def fixed_encoder(
    backbone: EncoderBackbone, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]
) -> FixedEncoder:
    """A copy of a backbone in which all that hangs on the size of the images is constant.

    Patch convolution E and normalisation are both linear, E(0-padded (x - mean) / std) =
    E'(0-padded x) + E(0-padded -mean / std), where E' has the weights over std and no bias. The
    last term, what is embedded of a black image, is added to the position table. Zeros around the
    image are so zeros of normalised pixels, as in the backbone: those that fill up the last
    patches and those that Hiera's overlapping patches have at every edge.

    Raises:
        ConfigError: it would take more than an ONNX file holds.
    """
    encoder, preset = backbone.encoder, backbone.encoder.preset
    unit = getattr(preset, "unit_pixels", preset.patch)
    height, width = (-(-side // unit) * unit for side in size)
    grid = height // preset.patch, width // preset.patch
    tokens = grid[0] * grid[1] + encoder.prefix_tokens
    biases = [preset.heads * tokens**2 for _ in relative_positions(backbone)]
    weights = sum(parameter.numel() for parameter in backbone.parameters())
    if 4 * (weights + sum(biases)) > FILE_LIMIT:
        raise ConfigError(
            f"the encoder at {size[0]} x {size[1]} pixels would take "
            f"{4e-9 * (weights + sum(biases)):.1f} GB; an ONNX file holds 2.",
            cause=f"{4e-9 * sum(biases):.1f} GB are the biases of relative positions between "
            f"{tokens:,} tokens",
            set="--size to fewer pixels",
        )
    backbone = copy.deepcopy(backbone).float().cpu().eval()
    encoder = backbone.encoder
    black = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
    black = F.pad(
        black.view(1, 3, 1, 1).expand(1, 3, *size), (0, width - size[1], 0, height - size[0])
    )
    positions = resample_table(
        encoder.pos_embed, encoder.grid, grid, cls_token=encoder.prefix_tokens > 0
    ).double()
    embedded = copy.deepcopy(encoder.patch_embed).double()(black)  # (1, h*w, D)
    positions[:, encoder.prefix_tokens :] += embedded
    encoder.pos_embed = nn.Parameter(positions.float(), requires_grad=False)
    for block in encoder.blocks:
        if isinstance(getattr(block.attn, "rel_pos", None), RelativePosition):
            bias = block.attn.rel_pos.for_grid(grid).detach().clone()
            block.attn.rel_pos = FixedBias(bias.contiguous())
    encoder.grid = grid
    proj = encoder.patch_embed.proj
    proj.weight /= torch.tensor(std).view(1, 3, 1, 1)
    proj.bias = None
    return FixedEncoder(backbone)
