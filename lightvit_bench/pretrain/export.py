"""From a pre-training to the file that downstream configs start from."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from os import PathLike
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from torch import nn

from lightvit_bench.checkpoint import Manifest, Parent, save_encoder
from lightvit_bench.checkpoint.encoder import BrokenEncoder
from lightvit_bench.errors import CheckpointError
from lightvit_bench.openmmlab.bare import bare_model
from lightvit_bench.pretrain.ema import KEY, copy_weights, find_average, trained_parameters
from lightvit_bench.pretrain.load import load_run
from lightvit_bench.pretrain.log import find_log
from lightvit_bench.pretrain.resume import META as RUN

EPOCHS = "epochs_done"  # in a run checkpoint's meta data
AVERAGED = "_ema"  # behind the name of a file with averaged weights


def export_model(
    model: nn.Module,
    path: str | PathLike,
    *,
    epochs: int | None,
    parents: Sequence[Parent] | None = None,
) -> Manifest:
    """Write the encoder of a `Pretraining` with its manifest, whole or not at all.

    Args:
        epochs: whole epochs trained.
        parents: the files the run learned from, where the model cannot tell.

    Raises:
        CheckpointError: the encoder computes NaN or infinity.
    """
    exported = model.exported()
    mean, std = (
        (getattr(model.data_preprocessor, name).double().flatten() / 255).round(decimals=6).tolist()
        for name in ("mean", "std")
    )
    return save_encoder(
        path,
        exported.encoder,
        recipe=exported.recipe,
        epochs=epochs,
        parents=exported.parents if parents is None else parents,
        extra=exported.extra,
        image_mean=mean,
        image_std=std,
    )


def export_checkpoint(
    config: str,
    checkpoint: str | PathLike,
    out: str | PathLike,
    *,
    averaged: bool = False,
    overwrite: bool = False,
    cfg_options: Sequence[str] = (),
) -> Manifest:
    """Write the encoder in a run's checkpoint (`iter_N.pth`); needs neither teacher nor images.

    Args:
        config: the run's.
        averaged: take the moving average of the weights (`WeightAverage`).
        overwrite: replace `out` if it exists.

    Raises:
        CheckpointError: `out` exists; the checkpoint is absent, unsafe, of another config, or has
            no average.
        ConfigError: the config is not one of pre-training.
    """
    if Path(out).exists() and not overwrite:
        raise CheckpointError(f"{out} exists.", to_replace_it="--force")
    model, content = load_run(config, checkpoint, cfg_options)
    if averaged:
        if KEY not in content:
            raise CheckpointError(
                f"{checkpoint} holds no averaged weights.",
                needs="a run with dict(type='WeightAverage') in its custom_hooks",
            )
        copy_weights(trained_parameters(model), content[KEY])
    meta = content.get("meta", {})
    parents = [Parent(**parent) for parent in meta.get(RUN, {}).get("parents", ())]
    return export_model(model, out, epochs=meta.get(EPOCHS), parents=parents)


@HOOKS.register_module()
class ExportEncoder(Hook):
    """Writes `<work_dir>/<config's name>.safetensors` at every checkpoint and at the end.

    With `WeightAverage` among the hooks there is a second file, `<config's name>_ema.safetensors`:
    a name always means the same weights. At the end the command that uses the file is printed.

    Args:
        then: that command, with `{path}` for the file.
        name: of the file, without suffix, instead of the config's.

    Raises:
        TrainingError: the encoder computes NaN or infinity, though its weights may be finite; the
            file of before stays, and no checkpoint is written.
    """

    priority = "LOW"

    def __init__(self, then: str | None = None, name: str | None = None):
        self.then, self.name = then, name
        self.exported_at = -1  # iterations done

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Export, and keep in the checkpoint what its own export will need."""
        done = checkpoint["meta"]["iter"]
        checkpoint["meta"][EPOCHS] = self.epochs(runner, done)
        self.export(runner, done)

    def after_train(self, runner) -> None:
        """Export what the last checkpoint has not, and say how to go on."""
        if runner.rank != 0:
            return
        if self.exported_at != runner.iter:
            self.export(runner, runner.iter)
        lines = [f"pre-trained encoder: {_shown(self.path(runner))}"]
        if find_average(runner):
            lines.append(f"averaged weights:    {_shown(self.path(runner, averaged=True))}")
        lines.append(f"next: {self.next_command(runner)}")
        print_log("\n".join(lines), logger="current")

    def export(self, runner, done: int) -> None:
        """Write the files after `done` iterations."""
        model, hook = bare_model(runner), find_average(runner)
        epochs = self.epochs(runner, done)
        for averaged in (False, True) if hook else (False,):
            with hook.applied(model) if averaged else nullcontext():
                try:
                    export_model(model, self.path(runner, averaged=averaged), epochs=epochs)
                except BrokenEncoder as error:
                    if (log := find_log(runner)) is None:
                        raise
                    what = f"the encoder computes NaN or infinity after iteration {done:,}"
                    raise log.error_now(runner, what) from error
        self.exported_at = done

    def epochs(self, runner, done: int) -> int:
        """Whole epochs in `done` iterations."""
        return done // runner.train_loop.epoch_length

    def path(self, runner, *, averaged: bool = False) -> Path:
        """The file written."""
        name = self.name or Path(runner.cfg.filename or "encoder").stem
        return Path(runner.work_dir) / f"{name}{AVERAGED if averaged else ''}.safetensors"

    def next_command(self, runner) -> str:
        """What a person types to use the file."""
        path = _shown(self.path(runner))
        if self.then is None:
            return f"lightvit_bench.checkpoint.load_encoder({path!r})"
        return self.then.replace("{path}", shlex.quote(path))


def _shown(path: Path) -> str:
    """A path as seen from the folder that the program runs in, where it is below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(os.pardir) else relative
