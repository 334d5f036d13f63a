"""What a run is, written into its checkpoints and compared before it goes on.

    meta["run"] = {
        "config": ..., "rest": ..., "data": {"images": ..., "digest": ...}, "parents": [...]
    }

Plain JSON. Entries that cannot change a result beyond rounding (folders, workers, precision, how a
batch is spread over GPUs) are not in "config", which must be equal, but in "rest", with the custom
hooks: a run goes on with others, and says so.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.openmmlab.bare import bare_model
from lightvit_bench.pretrain.log import find_log

META = "run"
SECTIONS = (
    "model", "optim_wrapper", "auto_scale_lr", "param_scheduler", "train_cfg", "train_dataloader",
    "randomness",
)  # fmt: skip
# Entries of the sections that leave the result as it is, as patterns.
WITHOUT_EFFECT = (
    "model.accumulate", "model.compile",
    "model.distill.teacher.init",  # its content is compared instead
    "optim_wrapper.type", "optim_wrapper.dtype", "optim_wrapper.loss_scale*",
    "optim_wrapper.accumulative_counts",
    "optim_wrapper.optimizer.fused", "optim_wrapper.optimizer.foreach",
    "train_cfg.max_iters", "train_cfg.type", "train_cfg.val_*",
    "train_dataloader.batch_size", "train_dataloader.sampler.batch",  # "images_per_step" instead
    "train_dataloader.num_workers", "train_dataloader.persistent_workers",
    "train_dataloader.pin_memory", "train_dataloader.prefetch_factor",
    "train_dataloader.worker_init_fn*", "train_dataloader.drop_last",
    "train_dataloader.multiprocessing_context",
    "train_dataloader.dataset.data_root",  # the listing is compared instead
    "train_dataloader.dataset.max_unreadable",
    "randomness.deterministic",
)  # fmt: skip


def describe_config(cfg: Config, world_size: int = 1) -> dict:
    """The entries of a config that decide the result, by dotted name, as plain JSON values."""
    entries = {
        name: value for name, value in _entries(cfg, SECTIONS).items() if not _without_effect(name)
    }
    entries["images_per_step"] = cfg.train_dataloader.batch_size * world_size
    return entries


def describe_rest(cfg: Config) -> dict:
    """The entries that may change between a run's beginning and its end, and its custom hooks."""
    entries = {
        name: value for name, value in _entries(cfg, SECTIONS).items() if _without_effect(name)
    }
    hooks = [hook for hook in cfg.get("custom_hooks") or () if isinstance(hook, dict)]
    by_type = {
        str(hook.get("type")): {key: value for key, value in hook.items() if key != "type"}
        for hook in hooks
    }
    return entries | _flat(json.loads(json.dumps(_plain(by_type))), "custom_hooks")


def _entries(cfg: Config, sections: Iterable[str]) -> dict:
    found = {name: cfg[name] for name in sections if cfg.get(name) is not None}
    return _flat(json.loads(json.dumps(_plain(found))))


def _without_effect(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in WITHOUT_EFFECT)


def _plain(value):
    """Nested dicts and lists of JSON's types; of anything else its name."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _flat(value, name: str = "") -> dict:
    """Nested dicts, and lists of dicts, as one dict with dotted names."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        return {name: value}
    entries = {}
    for key, item in value.items():
        entries |= _flat(item, f"{name}.{key}" if name else str(key))
    return entries


def differences(old: dict, new: dict) -> list[str]:
    """What changed between two flat descriptions, as lines "name: old -> new"."""
    lines = []
    for name in sorted({*old, *new}):
        before, after = (
            json.dumps(side[name]) if name in side else "not there" for side in (old, new)
        )
        if before != after:
            lines.append(f"{name}: {before} -> {after}")
    return lines


def require_same_config(checkpoint: dict, description: dict, path: str | Path) -> None:
    """Refuse to resume with another config.

    Raises:
        CheckpointError: the checkpoint does not say what run it is of.
        ConfigError: entries differ; each is named with its old and new value.
    """
    run = checkpoint.get("meta", {}).get(META)
    if run is None:
        raise CheckpointError(
            f"{path} does not say which run it is of: it cannot be resumed.",
            do="start from its weights (tools/export_pretrained.py, init=FILE), or anew",
        )
    if changed := differences(run["config"], description):
        raise ConfigError(
            f"the run of {path} had another config.", changed=changed, **_ways_out(path)
        )


def _ways_out(path: str | Path) -> dict:
    encoders = sorted(Path(path).parent.glob("*.safetensors"))
    init = encoders[0] if encoders else "ENCODER.safetensors"
    return {
        "go_on": "with the old values",
        "or_anew": "--work-dir ANOTHER, without --resume",
        "or_from_its": f"weights: --work-dir ANOTHER --cfg-options init={init}",
    }


class RunIdentity(Hook):
    """Writes into every checkpoint what run it is of; refuses one of other images or teachers.

    What differs and may is told, a line each.

    Args:
        description: of the config (`describe_config`), compared by `require_same_config` before
            anything is built.
        rest: `describe_rest` of the config.
    """

    priority = "VERY_HIGH"  # before weights that do not fit are complained of

    def __init__(self, description: dict, rest: dict):
        self.description, self.rest = description, rest

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the description."""
        checkpoint["meta"][META] = {
            "config": self.description,
            "rest": self.rest,
            "data": _describe_data(runner),
            "parents": [
                {"name": parent.name, "sha256": parent.sha256}
                for parent in getattr(bare_model(runner), "parents", ())
            ],
        }
        optimizer = checkpoint.get("optimizer", {})
        if optimizer.get("loss_scaler", True) == {}:
            del optimizer["loss_scaler"]  # a scaler that is off cannot start one that is on

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compare the checkpoint to be resumed with what was built."""
        path, run = runner._load_from, checkpoint["meta"][META]
        old, new = run["data"], _describe_data(runner)
        if old != new:
            count = "as many, of other names or sizes"
            if old.get("images") != new.get("images"):
                count = f"{old.get('images', 0):,} -> {new.get('images', 0):,}"
            raise ConfigError(
                f"the run of {path} had other images.", images=count, **_ways_out(path)
            )
        model = bare_model(runner)
        known = {parent["sha256"]: parent["name"] for parent in run["parents"]}
        built = list(getattr(model, "parents", ()))
        for parent in built:
            if parent.sha256 not in known:
                names = [f"{name}, sha256 {digest[:12]}" for digest, name in known.items()]
                raise ConfigError(
                    f"the run of {path} had another teacher.",
                    then=names or "none",
                    now=f"{parent.name}, sha256 {parent.sha256[:12]}",
                    **_ways_out(path),
                )
        for line in differences(run.get("rest", self.rest), self.rest):
            print_log(f"going on with {line}", logger="current", level=logging.WARNING)


def _describe_data(runner) -> dict:
    dataset = runner.train_dataloader.dataset
    description = {"images": len(dataset)}
    if hasattr(dataset, "digest"):
        description["digest"] = dataset.digest
    return description


@HOOKS.register_module()
class RunCheckpoint(CheckpointHook):
    """mmengine's CheckpointHook for a run counted in iterations and thought of in epochs.

        checkpoint=dict(type="RunCheckpoint", by_epoch=True, interval=10, max_keep_ckpts=3)

    Files are always named `iter_N.pth`. None is written once a loss or weight is not finite; one is
    written where a signal stops the run. An old one is removed once the new one is safely on the
    disk, which must hold one more than `max_keep_ckpts` for that moment.

    Args:
        by_epoch: whether `interval` and `save_begin` count epochs.
    """

    def __init__(self, interval: int = -1, by_epoch: bool = True, save_begin: int = 0, **kwargs):
        super().__init__(interval, by_epoch=False, save_begin=save_begin, **kwargs)
        self.in_epochs = by_epoch
        self.saved = 0  # iterations done at the newest checkpoint

    def before_train(self, runner) -> None:
        """Count iterations from here on."""
        if self.in_epochs:
            length = runner.train_loop.epoch_length
            self.interval, self.save_begin = self.interval * length, self.save_begin * length
            self.in_epochs = False
        super().before_train(runner)
        self.kept = list(getattr(self, "keep_ckpt_ids", ()))  # iterations, the oldest first

    def on_stop(self, runner) -> None:
        """Save, unless this iteration just was."""
        if self.saved != runner.iter + 1:
            self._save_checkpoint(runner)

    def _save_checkpoint(self, runner) -> None:
        if (log := find_log(runner)) is not None:
            log.settle(runner, weights=True)
        super()._save_checkpoint(runner)
        self.saved = runner.iter + 1
        runner.train_loop.saved = self.last_ckpt

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        """Save, then remove what is too many; mmengine's removes first."""
        keep = self.max_keep_ckpts
        if keep > 0:
            self.kept = [*(number for number in self.kept if number != step), step]
            # With those that are removed below: should that not happen, a resumed run does it.
            runner.message_hub.update_info("keep_ckpt_ids", list(self.kept))
        self.max_keep_ckpts = -1
        try:
            super()._save_checkpoint_with_step(runner, step, meta)
        finally:
            self.max_keep_ckpts = keep
        while 0 < keep < len(self.kept):
            path = self.file_backend.join_path(
                self.out_dir, self.filename_tmpl.format(self.kept.pop(0))
            )
            if is_main_process() and self.file_backend.isfile(path):
                self.file_backend.remove(path)
