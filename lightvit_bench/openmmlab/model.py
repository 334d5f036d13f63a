"""Models from configs, outside a training run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from lightvit_bench.bench.flops import Cost, count_cost
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.openmmlab.checkpoints import read_run_checkpoint, refuse_misfit
from lightvit_bench.openmmlab.config import (
    explain_config_errors,
    is_detection,
    is_pretraining,
    is_tracking,
    load_config,
)


def build_model(cfg: Config) -> nn.Module:
    """The model of a config on the CPU, in eval mode, its backbone from random weights.

    `ConfigError` for an entry that a class does not take, and a type that nobody knows.
    """
    init_default_scope(cfg.get("default_scope", "mmseg"))
    cfg = cfg.copy()
    cfg.model.backbone.init = "random"
    with explain_config_errors(cfg):
        return revert_sync_batchnorm(MODELS.build(cfg.model)).eval()


def refuse_pretraining(cfg: Config, do: str, instead: str) -> None:
    """Raise `ConfigError` for the config of a pre-training, whose forward pass gives losses."""
    if is_pretraining(cfg):
        raise ConfigError(
            f"{cfg.filename} is a pre-training: there is nothing to {do} in it.", instead=instead
        )


def load_model(cfg: Config, checkpoint: str | Path) -> nn.Module:
    """The model of a config with the weights of a run's checkpoint.

    `model.dataset_meta` holds class names and palette, where the checkpoint has them. Raises
    `CheckpointError` if a weight is missing, unexpected, or of another shape, `ConfigError` for a
    pre-training.
    """
    refuse_pretraining(cfg, "predict", "tools/reconstruct.py draws what it makes of images")
    model = build_model(cfg)
    content = read_run_checkpoint(checkpoint)
    weights = content.get("state_dict") if isinstance(content, dict) else None
    if weights is None:
        raise CheckpointError(
            f"{checkpoint} holds no 'state_dict': it is not the checkpoint of a run.",
            of_a_run="work_dirs/.../iter_*.pth, as tools/train.py writes them",
        )
    refuse_misfit(model, weights, checkpoint)
    model.load_state_dict(weights)
    model.dataset_meta = content.get("meta", {}).get("dataset_meta", {})
    return model


@dataclass(frozen=True)
class ModelCost:
    """Cost of the backbone and of the whole model (auxiliary heads excluded) for one input."""

    backbone: Cost
    total: Cost
    input: str


def model_cost(config: str, shape: tuple[int, int], cfg_options: Sequence[str] = ()) -> ModelCost:
    """Count the work of a config's model on one image of `shape` (height, width) in pixels.

    Of a detector with two stages: with its proposals (1,000 at most) and the masks of 100 of them.
    Of a tracker: a search region with its template, in the sizes that the config has.
    """
    cfg = load_config(config, cfg_options)
    refuse_pretraining(cfg, "count", "tools/bench_pretrain.py prints the work of a training step")
    model = build_model(cfg)
    if is_tracking(cfg):
        return _tracker_cost(model.network)
    if getattr(model, "with_auxiliary_head", False):
        model.auxiliary_head = None  # trained with, not run
    image = torch.zeros(1, 3, *shape)
    inputs = [image]
    if is_detection(cfg):
        from mmdet.structures import DetDataSample

        sizes = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), shape)
        inputs.append([DetDataSample(metainfo=dict(sizes, scale_factor=(1.0, 1.0)))])
    total = count_cost(model, *inputs, mode="tensor")
    told = f"one image of {shape[0]} x {shape[1]}"
    return ModelCost(count_cost(model.backbone, image), total, told)


class _TrackerEncoder(nn.Module):
    """A tracker's network without its head."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.backbone = network.backbone
        self.run = (network,)  # in a tuple: its head is no part of this

    def forward(self, template: torch.Tensor, search: torch.Tensor) -> torch.Tensor:
        (network,) = self.run
        return network.encode(network.embed_template(template), search)[0]


def _tracker_cost(network: nn.Module) -> ModelCost:
    sides = (network.spec.template_size, network.spec.search_size)
    images = [torch.zeros(1, 3, side, side) for side in sides]
    told = f"a template of {sides[0]} x {sides[0]}, a search region of {sides[1]} x {sides[1]}"
    return ModelCost(
        count_cost(_TrackerEncoder(network), *images), count_cost(network, *images), told
    )
