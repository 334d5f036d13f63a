"""What a person can do about a checkpoint that is absent or is of another make."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from lightvit_bench.checkpoint.converters import matching_converters

# initialisation -> the authors' file and its converter
PUBLISHED = {
    "mae_tiny": ("mae_tiny_400e.pth.tar", "mae-lite-pretrain"),
    "dmae_tiny": ("mae_tiny_distill_400e.pth.tar", "mae-lite-pretrain"),
    "d2mae_tiny": ("mae_tiny_distill_d2_400e.pth.tar", "mae-lite-pretrain"),
    "mae_small": ("mae_small_400e.pth.tar", "mae-lite-pretrain"),
    "deit_tiny": ("deit_tiny_patch16_224-a1311bcf.pth", "deit"),
    "mocov3_tiny": ("mocov3_tiny_400e.pth.tar", "mocov3"),
    "mae_hiera_tiny": ("mae_hiera_tiny_400e.pth.tar", "mae-lite-hiera"),
    "dmae_hiera_tiny": ("mae_hiera_tiny_distill_400e.pth.tar", "mae-lite-hiera"),
    "hiera_base": ("mae_hiera_base_224.pth", "meta-hiera"),
    "mae_base": ("mae_base_1600e.pth.tar", "facebook-mae"),
}


def default_hint(path: str | PathLike) -> dict[str, str]:
    """The three ways to an initialisation that is absent, as details of a `CheckpointError`."""
    name = Path(path).stem
    source, converter = PUBLISHED.get(name, ("SOURCE", "NAME"))
    config = Path("configs/pretrain") / f"{name}.py"
    pretrain = f"tools/train.py {config}" if config.is_file() else "has no config here yet"
    return {
        "file": str(path),
        "convert": f"tools/convert_checkpoint.py {source} {path} --from {converter}",
        "pre_train": pretrain,
        "or_start": "from random weights, --cfg-options init=random",
    }


def conversion_hint(path: str | PathLike, content: Any) -> dict[str, str]:
    """The command that makes an encoder of a file that is none, as details of an error.

    A run's checkpoint is exported; a foreign file is converted, by one of the converters whose
    files look like it.
    """
    if _is_run_checkpoint(content):
        return {"export": f"tools/export_pretrained.py CONFIG {path} OUT.safetensors"}
    names = matching_converters(content)
    command = f"tools/convert_checkpoint.py {path} OUT.safetensors --from"
    if not names:
        return {"convert": f"{command} NAME (no converter's files look like it)"}
    return {"convert": f"{command} {' | '.join(names)}"}


def _is_run_checkpoint(content: Any) -> bool:
    """Whether a pre-training of ours wrote it: mmengine's parts, our encoder's names."""
    if not isinstance(content, Mapping) or not {"meta", "state_dict"} <= content.keys():
        return False
    state = content["state_dict"]
    return isinstance(state, Mapping) and any(str(n).startswith("method.encoder.") for n in state)
