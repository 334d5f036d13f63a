"""From the config that a person writes to the one that runs: a tracker's part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import broadcast
from mmengine.hooks import Hook

from lightvit_bench.checkpoint.files import sniff
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.openmmlab.backbone import check_init
from lightvit_bench.openmmlab.bare import bare_model
from lightvit_bench.openmmlab.checkpoints import FittingCheckpoint, read_run_checkpoint
from lightvit_bench.openmmlab.device import world_size
from lightvit_bench.tracking.export import made_with
from lightvit_bench.tracking.files import read_tracker_manifest
from lightvit_bench.tracking.published import looks_like_ostrack
from lightvit_bench.tracking.training.model import holds_tracker


def prepare_tracking(cfg: Config, found: tuple[Path, dict] | None) -> list[Hook]:
    """Complete and check a tracker's config before anything is built.

    Args:
        found: the checkpoint that the run goes on from, and what it holds; None if it starts.

    Returns:
        Hooks to train with.

    Raises:
        CheckpointError: what the run starts from is absent, or nothing to start from.
        ConfigError: the lengths make no run.
    """
    for name in ("train_dataloader", "val_dataloader"):
        if cfg.get(name):
            _settle_loader(cfg[name])
    epoch = settle_epochs(cfg, world_size(cfg.launcher))
    hooks: list[Hook] = [MadeWith(made_with(cfg))]
    if epoch is not None:
        hooks.append(EpochLength(epoch))
    if cfg.launcher != "none":
        hooks.append(FirstRanksStatistics())
    if found or cfg.get("load_from"):
        if not found and not Path(cfg.load_from).is_file():
            raise CheckpointError(
                "the checkpoint that the run starts from is not there.",
                looked_for=str(cfg.load_from),
                set="--cfg-options load_from=FILE   (what the config of the first part leaves)",
                or_start="from scratch: --cfg-options init=random",
            )
        cfg.model.backbone.init = "random"  # the checkpoint brings the weights
        hooks.append(FittingCheckpoint())
    else:
        check_start(cfg.model)
    return hooks


def _settle_loader(loader: dict) -> None:
    if not loader.get("num_workers"):
        for option in ("persistent_workers", "prefetch_factor"):  # PyTorch refuses them
            loader.pop(option, None)
    if not torch.cuda.is_available():
        loader.pop("pin_memory", None)  # PyTorch warns


def settle_epochs(cfg: Config, ranks: int) -> int | None:
    """Turn lengths in epochs of pairs into iterations, where `train_cfg` has `max_epochs`.

    Returns the iterations of an epoch, None where `train_cfg` is in iterations already.

    An epoch is `samples_per_epoch` pairs of the training set: so many whole batches of all ranks.
    What changes: `max_epochs` and `val_interval` of `train_cfg` (a `max_iters` beside them stops
    the run earlier, in the middle of its schedule), schedulers and the checkpoint hook with
    `by_epoch=True`, and `KeepRate`'s `epoch_length`.

    Raises:
        ConfigError: an epoch is less than a batch, or a length is no whole number above 0.
    """
    train = cfg.train_cfg
    if "max_epochs" not in train:
        return None
    samples = cfg.train_dataloader.dataset.get("samples_per_epoch")
    pairs = _whole("train_dataloader.dataset.samples_per_epoch", samples)
    batch = _whole("train_dataloader.batch_size", cfg.train_dataloader.get("batch_size")) * ranks
    epoch = pairs // batch
    if not epoch:
        raise ConfigError(
            f"an epoch of {pairs:,} pairs is less than a batch of {batch:,}.",
            set="train_dataloader.dataset.samples_per_epoch or batch_size",
        )
    epochs = _whole("train_cfg.max_epochs", train.pop("max_epochs"))
    whole, least = epochs * epoch, train.get("max_iters")
    train.max_iters = whole if least is None else min(_whole("train_cfg.max_iters", least), whole)
    if "val_interval" in train:
        train.val_interval = _whole("train_cfg.val_interval", train.val_interval) * epoch
    schedulers = cfg.get("param_scheduler") or []
    for one in schedulers if isinstance(schedulers, list) else [schedulers]:
        if one.get("by_epoch", True):
            one.setdefault("end", epochs)
            one.update(by_epoch=True, convert_to_iter_based=True, epoch_length=epoch)
    saving = cfg.get("default_hooks", {}).get("checkpoint") or {}
    if saving.get("by_epoch", True) and "interval" in saving:
        interval = _whole("default_hooks.checkpoint.interval", saving.interval) * epoch
        saving.update(by_epoch=False, interval=interval)
    for hook in cfg.get("custom_hooks") or ():
        if hook.get("type") == "KeepRate":
            hook.epoch_length = epoch
    return epoch


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name}={value!r}.", expected="a whole number above 0")
    return value


def check_start(model: dict) -> None:
    """Check what `backbone.init` names: an encoder's file, or a tracker's.

    Raises:
        CheckpointError: it is absent, of another project or of a run, or wants another encoder or
            other pixels.
    """
    init = model["backbone"].get("init", "random")
    if init == "random" or not Path(init).is_file():
        check_init(model)
    elif holds_tracker(init):
        _check_tracker(init, model)
    elif looks_like_ostrack(init):
        raise CheckpointError(
            "the file is a tracker of OSTrack's.",
            file=str(init),
            convert=f"tools/convert_checkpoint.py {init} OUT.safetensors --from ostrack",
            then="--cfg-options init=OUT.safetensors",
        )
    elif sniff(init) != "safetensors" and _of_a_trackers_run(init):
        raise CheckpointError(
            "the file is the checkpoint of a tracker's run.",
            file=str(init),
            start_from_its=f"weights: --cfg-options load_from={init}",
            or_make=f"a tracker of it: tools/export_tracker.py CONFIG {init} OUT.safetensors",
        )
    else:
        check_init(model)


def _check_tracker(path: str, model: dict) -> None:
    manifest = read_tracker_manifest(path)
    preset, preprocessor = model["backbone"]["preset"], model.get("data_preprocessor") or {}
    if manifest.spec.preset != preset:
        raise CheckpointError(
            f"the tracker's encoder is a {manifest.spec.preset}, not a {preset}.",
            file=str(path),
            set=f"--cfg-options model.backbone.preset={manifest.spec.preset}",
        )
    for name, wanted in (("mean", manifest.image_mean), ("std", manifest.image_std)):
        values = [round(255 * value, 3) for value in wanted]
        if not np.allclose(preprocessor.get(name, values), values, atol=0.5):
            raise CheckpointError(
                f"{path} was trained on pixels of another {name}.",
                tracker=str(values),
                config=str(list(preprocessor[name])),
            )


def _of_a_trackers_run(path: str) -> bool:
    try:
        content = read_run_checkpoint(path)
    except CheckpointError:
        return False  # `load_into` says what is wrong with it
    state = content.get("state_dict") if isinstance(content, dict) else None
    return isinstance(state, dict) and any(name.startswith("network.") for name in state)


class EpochLength(Hook):
    """Says how many iterations an epoch of pairs is, and writes it into checkpoints' `meta`."""

    def __init__(self, iterations: int):
        self.iterations = iterations

    def before_train(self, runner) -> None:
        """Say it."""
        runner.logger.info(
            f"an epoch of pairs is {self.iterations:,} iterations; the run has {runner.max_iters:,}"
        )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Write it."""
        checkpoint["meta"]["epoch_length"] = self.iterations


class MadeWith(Hook):
    """Writes into checkpoints' `meta` what no tensor shows; `export.refuse_other_config` reads it.

    Args:
        values: `export.made_with` of the config.
    """

    def __init__(self, values: dict):
        self.values = values

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Write it."""
        checkpoint["meta"].update(self.values)


class FirstRanksStatistics(Hook):
    """Gives all ranks the running means of the first one, whose are saved, before they validate.

    Each gathers its own in training, where none of them is used.
    """

    def before_val(self, runner) -> None:
        """Send them."""
        for statistic in bare_model(runner).buffers():
            broadcast(statistic, src=0)
