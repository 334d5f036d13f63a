"""From the config that a person writes to the one that runs: pre-training's part."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from lightvit_bench.checkpoint import default_hint
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.openmmlab.backbone import check_init
from lightvit_bench.openmmlab.checkpoints import FittingCheckpoint
from lightvit_bench.openmmlab.device import world_size
from lightvit_bench.pretrain.resume import (
    RunIdentity,
    describe_config,
    describe_rest,
    require_same_config,
)


def prepare_pretraining(cfg: Config, found: tuple[Path, dict] | None) -> list[Hook]:
    """Complete and check a config of pre-training before anything is built.

    Args:
        found: the checkpoint that the run goes on from, and what it holds; None if it starts.

    Returns:
        Hooks to train with.

    Raises:
        CheckpointError: a file that the student starts or the teacher comes from is absent.
        ConfigError: an entry has no place in pre-training, or the run had another config.
    """
    _refuse(cfg)
    ranks = world_size(cfg.launcher)
    loader = cfg.train_dataloader
    loader.sampler.batch = loader.batch_size * ranks
    loader.setdefault("worker_init_fn", dict(type="patient_worker"))
    if not loader.num_workers:
        for option in ("persistent_workers", "prefetch_factor"):  # PyTorch refuses them
            loader.pop(option, None)
    if not torch.cuda.is_available():
        loader.pop("pin_memory", None)  # PyTorch warns
    if cfg.launcher != "none":
        cfg.setdefault("model_wrapper_cfg", dict(type="PretrainDDP"))
    settle_precision(cfg.optim_wrapper)
    description = describe_config(cfg, ranks)
    hooks = [RunIdentity(description, describe_rest(cfg))]
    if found is not None:
        path, checkpoint = found
        require_same_config(checkpoint, description, path)
        cfg.model.backbone.init = "random"  # the checkpoint brings the weights
        hooks.append(FittingCheckpoint())
    check_init(cfg.model)
    if distill := cfg.model.get("distill"):
        if not distill.get("teacher"):
            raise ConfigError(
                f"model.distill of {cfg.filename} has no teacher.",
                set="model.distill.teacher=dict(preset=..., init=FILE)",
                example="configs/pretrain/dmae_tiny.py",
            )
        _check_teacher(distill.teacher, cfg.model.get("data_preprocessor", {}))
    return hooks


def settle_precision(wrapper: dict) -> None:
    """Let one option choose: `type=OptimWrapper` for float32, `dtype` among the others."""
    if wrapper.get("type") == "OptimWrapper":
        for option in ("dtype", "loss_scale"):
            wrapper.pop(option, None)
    elif wrapper.get("dtype") == "bfloat16" and wrapper.get("loss_scale") in (None, "dynamic"):
        # It has float32's range: a dynamic scale would only grow until a step overflows.
        wrapper.loss_scale = dict(enabled=False)


def _refuse(cfg: Config) -> None:
    """`ConfigError` for what mmengine would take and pre-training must not."""
    if cfg.get("load_from"):
        raise ConfigError(
            f"load_from={cfg.load_from!r} does not go with pre-training.",
            set="--cfg-options init=FILE.safetensors   (model.backbone.init) for its weights",
            or_do="--resume, to go on with a run",
        )
    if cfg.optim_wrapper.get("accumulative_counts", 1) != 1:
        raise ConfigError(
            "optim_wrapper.accumulative_counts does not go with pre-training: a checkpoint between "
            "two optimiser steps would lose gradients.",
            set="--cfg-options model.accumulate=N   (parts of each process's batch)",
        )
    accumulate, batch = cfg.model.get("accumulate", 1), cfg.train_dataloader.batch_size
    if accumulate < 1 or batch % accumulate:
        raise ConfigError(
            f"a batch of {batch} images cannot be accumulated from {accumulate} equal parts.",
            set="--cfg-options model.accumulate=... to a divisor of train_dataloader.batch_size",
        )
    hook = cfg.get("default_hooks", {}).get("checkpoint") or {}
    if hook.get("type") != "RunCheckpoint":
        raise ConfigError(
            f"default_hooks.checkpoint is a {hook.get('type')}, which would save what is broken.",
            set="default_hooks.checkpoint = dict(type='RunCheckpoint', interval=10)",
        )


def _check_teacher(teacher: dict, preprocessor: dict) -> None:
    """What holds for a student's start holds for its teacher: it is there, and of these pixels."""
    init = teacher.get("init", "random")
    if init != "random" and not Path(init).is_file():
        hint = default_hint(init)
        del hint["or_start"]
        raise CheckpointError(
            "the teacher's checkpoint is not there.", **hint, set="--cfg-options teacher=FILE"
        )
    check_init(dict(backbone=teacher, data_preprocessor=preprocessor))
