"""How quickly a config's pairs are made, and how long its training waits for them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from lightvit_bench.errors import ConfigError
from lightvit_bench.openmmlab.config import is_tracking, load_config
from lightvit_bench.openmmlab.device import adapt_to_device


@dataclass(frozen=True)
class LoaderRate:
    """Pairs a second of a loader alone; `workers` 0 is the trainer's own process."""

    workers: int
    pairs_per_second: float

    @property
    def of_each(self) -> float:
        """Pairs a second of a worker."""
        return self.pairs_per_second / max(self.workers, 1)


@dataclass(frozen=True)
class TrainingRate:
    """Pairs a second of loader and trainer together; `waiting` is the share of the time."""

    workers: int
    pairs_per_second: float
    waiting: float


def open_pairs(config: str, options: Sequence[str] = ()) -> tuple[Config, Dataset]:
    """The config of a tracker, for this machine, and its training pairs.

    Raises:
        ConfigError: it is no tracker's.
        MissingDataError: its data is not there.
    """
    cfg = load_config(config, options)
    if not is_tracking(cfg):
        raise ConfigError(f"{config} is not the config of a tracker.", look_in="configs/lasot")
    MMLogger.get_instance("bench", log_level="WARNING")
    init_default_scope(cfg.get("default_scope", "mmengine"))
    adapt_to_device(cfg)
    return cfg, DATASETS.build(cfg.train_dataloader.dataset)


def loader_of(cfg: Config, pairs: Dataset, workers: int) -> DataLoader:
    """The training loader of a config with so many workers; its batches never end."""
    options = {**cfg.train_dataloader, "dataset": pairs, "num_workers": workers}
    for name in () if workers else ("persistent_workers", "prefetch_factor"):
        options.pop(name, None)
    if not torch.cuda.is_available():
        options.pop("pin_memory", None)
    return Runner.build_dataloader(options, seed=0)


def loader_rate(cfg: Config, pairs: Dataset, workers: int, count: int = 1000) -> LoaderRate:
    """Time at least `count` pairs, when the workers are under way."""
    loader = loader_of(cfg, pairs, workers)
    batches, size = iter(loader), loader.batch_size
    for _ in range(1 + (loader.prefetch_factor or 1) * workers):  # what is made ahead
        next(batches)
    whole = -(-count // size)
    began = time.perf_counter()
    for _ in range(whole):
        next(batches)
    return LoaderRate(workers, whole * size / (time.perf_counter() - began))


def training_rate(cfg: Config, pairs: Dataset, workers: int, steps: int = 20) -> TrainingRate:
    """Time training steps with their loader, as a run has them; the weights are random ones."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = MODELS.build({**cfg.model, "backbone": {**cfg.model.backbone, "init": "random"}})
    model = model.to(device).train()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    loader = loader_of(cfg, pairs, workers)
    batches = iter(loader)
    for _ in range(3 + (loader.prefetch_factor or 1) * workers):
        model.train_step(next(batches), optimizer)
    waited, began = 0.0, time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        losses = model.train_step(batch, optimizer)
        losses["loss"].item()  # the step has been taken
    took = time.perf_counter() - began
    return TrainingRate(workers, steps * loader.batch_size / took, waited / took)
