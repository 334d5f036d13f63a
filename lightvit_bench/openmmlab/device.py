"""What a config for GPUs becomes on a machine without one."""

from __future__ import annotations

import os
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from lightvit_bench.compat import cpu_computes_bfloat16
from lightvit_bench.errors import ConfigError


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """Mixed precision on a CPU: forward in bfloat16 autocast, no loss scaling.

    mmengine's AmpOptimWrapper refuses a CPU. bfloat16 has float32's range, so no scaler is needed.
    """

    @contextmanager
    def optim_context(self, model: torch.nn.Module):
        """Forward passes inside run in bfloat16 where autocast deems it safe."""
        with super().optim_context(model), torch.autocast("cpu", torch.bfloat16):
            yield


def use_mixed_precision(cfg: Config) -> None:
    """Turn mixed precision on in a config that has none (`--amp`); `ConfigError` if it cannot."""
    wrapper = cfg.optim_wrapper
    if wrapper.type not in ("OptimWrapper", "AmpOptimWrapper"):
        raise ConfigError(f"--amp does not go with optim_wrapper.type={wrapper.type!r}.")
    wrapper.type = "AmpOptimWrapper"
    wrapper.setdefault("loss_scale", "dynamic")


def adapt_to_device(cfg: Config) -> list[str]:
    """Replace what only a GPU can do by its CPU counterpart; returns what was replaced, in words.

    With a CUDA device the config stays as it is. Without one: `AmpOptimWrapper` becomes
    `CpuAmpOptimWrapper`, or float32 where the CPU would emulate bfloat16, many times slower; SyncBN
    becomes BN (PyTorch's synchronised one needs a GPU), NCCL becomes gloo.
    """
    if torch.cuda.is_available():
        return []
    changes = []
    wrapper = cfg.get("optim_wrapper") or {}
    if wrapper.get("type") == "AmpOptimWrapper":
        for option in ("dtype", "loss_scale", "use_fsdp"):
            wrapper.pop(option, None)
        if cpu_computes_bfloat16():
            wrapper.type = "CpuAmpOptimWrapper"
            changes.append("mixed precision in bfloat16 on the CPU, without loss scaling")
        else:
            wrapper.type = "OptimWrapper"
            changes.append("float32: this CPU has no instructions for bfloat16")
    if _replace(cfg.get("model", {}), "type", "SyncBN", "BN"):
        changes.append("BN instead of SyncBN")
    if cfg.get("launcher", "none") != "none":
        wrapper = cfg.get("model_wrapper_cfg") or dict(
            type="MMDistributedDataParallel",
            broadcast_buffers=False,
            find_unused_parameters=cfg.get("find_unused_parameters", False),
        )
        # mmengine would pass the local rank, which is no CPU device
        cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)
        changes.append("gloo instead of NCCL")
    return changes


def world_size(launcher: str) -> int:
    """Processes of a run, as its launcher says, before they have joined.

    Raises:
        ConfigError: the launcher did not start us.
    """
    if launcher == "none":
        return 1
    variable = {"pytorch": "WORLD_SIZE", "slurm": "SLURM_NTASKS", "mpi": "OMPI_COMM_WORLD_SIZE"}
    try:
        return int(os.environ[variable[launcher]])
    except KeyError:
        raise ConfigError(
            f"--launcher {launcher} did not start this process.",
            looked_for=f"the environment variable {variable.get(launcher, '?')}",
            start="tools/dist_train.sh CONFIG GPUS, or srun",
        ) from None


def start_process_group(launcher: str) -> None:
    """Join the process group of torchrun on a machine without a GPU.

    mmengine would set a CUDA device there first and fail; it takes a group that stands as it is.
    """
    if launcher != "pytorch" or torch.cuda.is_available():
        return
    if "RANK" in os.environ and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")


def _replace(node, key: str, old: str, new: str) -> int:
    """Set `key` to `new` wherever it is `old` in nested dicts and lists; returns how often."""
    if isinstance(node, dict):
        count = sum(_replace(value, key, old, new) for value in node.values())
        if node.get(key) == old:
            node[key] = new
            count += 1
        return count
    if isinstance(node, list | tuple):
        return sum(_replace(value, key, old, new) for value in node)
    return 0
