"""Counting multiply-accumulates, attention included."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """What a forward pass of a module costs.

    Attributes:
        macs: multiply-accumulates of matrix products, convolutions and attention; norms,
            activations, sums and resampling are not counted.
        params: trainable and fixed parameters.
    """

    macs: int
    params: int


def attention_flops(query, key, value, *args, out_shape=None, **kwargs) -> int:
    """FLOPs of q k^T and of its product with v, from the shapes (B, heads, L, head_dim).

    PyTorch's counter knows the fused attention of GPUs only: on a CPU a ViT-Tiny at 512 px would
    lose half its work.
    """
    batch, heads, queries, width = query
    keys, out_width = value[-2:]
    return 2 * batch * heads * queries * keys * (width + out_width)


CPU_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops}


def count_cost(module: nn.Module, *inputs: Tensor, **options) -> Cost:
    """Run `module(*inputs, **options)` once in eval mode and count."""
    training = module.training
    module.eval()
    counter = FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION)
    with torch.no_grad(), counter:
        module(*inputs, **options)
    module.train(training)
    return Cost(
        macs=counter.get_total_flops() // 2,
        params=sum(parameter.numel() for parameter in module.parameters()),
    )
