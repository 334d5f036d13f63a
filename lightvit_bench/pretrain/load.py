"""The model of a pre-training run, from its checkpoint and without its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from torch import nn

from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.openmmlab.checkpoints import read_run_checkpoint, refuse_misfit
from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.openmmlab.model import build_model


def load_run(
    config: str, checkpoint: str | PathLike, cfg_options: Sequence[str] = ()
) -> tuple[nn.Module, dict]:
    """The `Pretraining` of a run's checkpoint (`iter_N.pth`), and all of that file's content.

    Its teacher has random weights, for the file need not be there: no losses can be had from it.

    Raises:
        CheckpointError: the checkpoint is absent, unsafe, or of another config.
        ConfigError: the config is not one of pre-training.
    """
    cfg = load_config(config, cfg_options)
    if cfg.model.get("type") != "Pretraining":
        raise ConfigError(f"{config} is not the config of a pre-training.")
    if cfg.model.get("distill"):
        cfg.model.distill.teacher.init = "random"
    model = build_model(cfg)
    content = read_run_checkpoint(checkpoint)
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError(
            f"{checkpoint} is not the checkpoint of a run: it holds no 'state_dict'.",
            of_a_run="work_dirs/pretrain/.../iter_*.pth",
        )
    refuse_misfit(model, content["state_dict"], checkpoint)
    model.load_state_dict(content["state_dict"])
    return model, content
