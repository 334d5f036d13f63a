"""A start for attention that has learned nothing yet: tokens attend to what is like them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lightvit_bench.vit import VisionTransformer


@torch.no_grad()
def mimetic_start(encoder: VisionTransformer, seed: int = 0) -> None:
    """Set an encoder's attention as Trockman and Kolter (ICML 2023) find it in trained ones.

    In each head W_q W_k^T is near 0.7 (identity + noise), so that a token attends to those like it,
    and W_v W_proj near 0.4 (noise - identity). A tracker's whole work is to find in one crop what
    is in another; from Xavier's start it first has to learn to compare, and with few pairs to learn
    from that takes most of them.
    """
    generator = torch.Generator().manual_seed(seed)
    for block in encoder.blocks:
        attention = block.attn
        width, heads = attention.qkv.in_features, attention.num_heads
        rank = width // heads
        query, key = [], []
        for _ in range(heads):
            left, right = _factors(_near_identity(width, 0.7, 0.7, generator), rank)
            query.append(left)
            key.append(right)
        value, projection = _factors(_near_identity(width, 0.4, -0.4, generator), width)
        weights = torch.cat([torch.cat(query, dim=1), torch.cat(key, dim=1), value], dim=1)
        attention.qkv.weight.copy_(weights.T)
        attention.proj.weight.copy_(projection)
        nn.init.zeros_(attention.qkv.bias)
        nn.init.zeros_(attention.proj.bias)


def _near_identity(width: int, noise: float, identity: float, generator: torch.Generator) -> Tensor:
    random = torch.randn(width, width, generator=generator) / math.sqrt(width)
    return noise * random + identity * torch.eye(width)


def _factors(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Two (n, rank) matrices whose product, the second transposed, is nearest to `matrix`."""
    u, s, v = torch.linalg.svd(matrix)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, v[:rank].T * root
