"""One optimiser step on a batch that is run in parts, without ever waiting for the device."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn

from lightvit_bench.errors import ConfigError


def accumulated_step(
    wrapped: nn.Module,
    module: nn.Module,
    data: dict,
    optim_wrapper: OptimWrapper,
    accumulate: int = 1,
) -> dict[str, Tensor]:
    """Forward and backward over `accumulate` parts of a batch, then one optimiser step.

    The result is that of the whole batch at once, up to rounding, where the losses are means over
    images. Ranks of a distributed run exchange gradients in the last part alone.

    Args:
        wrapped: what is called: `module`, or its wrapper for distributed training.
        module: gives the losses by name, scalar tensors whose sum is minimised.
        data: arguments of the forward; every tensor is cut along its first dimension.
        optim_wrapper: brings autocast and loss scaling.

    Returns:
        The losses by name, means over the parts, and "loss", their sum: detached scalars on the
        device.

    Raises:
        ConfigError: the batch cannot be cut into equal parts.
    """
    parts = split_batch(data, accumulate)
    sums: dict[str, Tensor] = {}
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        silent = nullcontext() if last or wrapped is module else wrapped.no_sync()
        with silent:
            with optim_wrapper.optim_context(wrapped):
                losses = wrapped(**part, mode="loss")
            losses = {name: loss / len(parts) for name, loss in losses.items()}
            optim_wrapper.backward(sum(losses.values()))
        for name, loss in losses.items():
            loss = loss.detach().float()
            sums[name] = sums[name] + loss if name in sums else loss
    optim_wrapper.step()
    optim_wrapper.zero_grad()
    sums["loss"] = torch.stack(list(sums.values())).sum()
    return sums


def split_batch(data: dict, parts: int) -> list[dict]:
    """Cut the tensors of a batch into `parts` equal parts along their first dimension."""
    if parts == 1:
        return [data]
    batch = len(next(value for value in data.values() if isinstance(value, Tensor)))
    if parts < 1 or batch % parts:
        raise ConfigError(
            f"a batch of {batch} images cannot be accumulated from {parts} equal parts.",
            set="--cfg-options model.accumulate=... to a divisor of train_dataloader.batch_size",
        )
    cut = {
        name: value.split(batch // parts) if isinstance(value, Tensor) else [value] * parts
        for name, value in data.items()
    }
    return [{name: values[i] for name, values in cut.items()} for i in range(parts)]


@MODEL_WRAPPERS.register_module()
class PretrainDDP(MMDistributedDataParallel):
    """Distributed training of a model that has `step_with(wrapped, data, optim_wrapper)`.

    Every parameter takes part in every step and no buffer is trained, so neither is looked after;
    gradients live in the buckets that are exchanged. The graph is not declared static: PyTorch
    wants gradients exchanged in the first backward then, which accumulation does not.
    """

    def __init__(self, module: nn.Module, **options):
        options = {
            "find_unused_parameters": False,
            "forward_sync_buffers": False,
            "gradient_as_bucket_view": True,
            **options,
        }
        super().__init__(module, **options)

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """The module's own step, its forward through this wrapper."""
        return self.module.step_with(self, data, optim_wrapper)
