"""Checkpoints of training runs: read without running code, written whole or not at all."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from pickle import UnpicklingError

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import Hook
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from lightvit_bench.checkpoint import read_torch
from lightvit_bench.checkpoint.fit import misfits, refuse_misfits
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.openmmlab.bare import bare_model
from lightvit_bench.writing import whole_file


def _history_statistic(owner: type, name: str):
    """What `getattr` may be in a checkpoint: a statistic of mmengine's log history.

    HistoryBuffer pickles its methods as getattr(HistoryBuffer, "mean"). mmengine therefore lets
    any checkpoint call the real getattr, which reaches far more than that.
    """
    if owner is HistoryBuffer and name in ("min", "max", "mean", "current"):
        return getattr(owner, name)
    raise UnpicklingError(f"GLOBAL builtins.getattr for {name!r} of {owner!r}")


MMENGINE_SAFE = (HistoryBuffer, (_history_statistic, "builtins.getattr"))


def read_run_checkpoint(path: str | Path) -> dict:
    """Read a checkpoint of mmengine's Runner; `CheckpointError` for unsafe content, run nothing.

    `meta.config` is dropped: mmengine's `resume` would execute it as a Python file. Tensors stay on
    the CPU; loading them into a model or optimizer moves them.
    """
    checkpoint = read_torch(Path(path).expanduser(), extra_safe=MMENGINE_SAFE)
    if isinstance(checkpoint, dict) and isinstance(checkpoint.get("meta"), dict):
        checkpoint["meta"].pop("config", None)
    return checkpoint


def refuse_misfit(
    model: nn.Module, weights: dict[str, Tensor], file: str | Path, part: str = ""
) -> None:
    """Raise `CheckpointError` with what is missing, unexpected or reshaped, if anything is.

    Only names that begin with `part` count. mmengine loads what fits and logs the rest, and the
    scores of such a model mean nothing.
    """
    own, weights = (
        {name: value for name, value in state.items() if name.startswith(part)}
        for state in (model.state_dict(), weights)
    )
    refuse_misfits(file, "model of the config", **misfits(weights, own))


class FittingCheckpoint(Hook):
    """Refuses a checkpoint that does not fit the runner's model before mmengine loads what fits.

    Args:
        part: beginning of the names that must fit; all by default. "backbone." lets a run start
            from one with other classes, and hence another head.
    """

    def __init__(self, part: str = ""):
        self.part = part

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compare the checkpoint's weights with the model's."""
        weights = checkpoint.get("state_dict", {})
        refuse_misfit(bare_model(runner), weights, runner._load_from, self.part)


def load_from_local(path: str, map_location=None) -> dict:
    """`read_run_checkpoint` for mmengine, which logs a loader's name behind "load_from_"."""
    return read_run_checkpoint(path)


def load_from_address_refused(path: str, map_location=None) -> None:
    """What mmengine gets for addresses."""
    raise CheckpointError(
        f"{path} is not loaded from its address.",
        why="files from elsewhere are read without running code, which needs them here",
        do="download it, then give its path",
    )


class AtomicLocalBackend(LocalBackend):
    """mmengine's local files, written aside and renamed: a killed run leaves no torn checkpoint."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write `obj` to `filepath`, which holds either the old or the new content at any time."""
        with whole_file(filepath) as aside:
            super().put(obj, aside)


def secure_mmengine() -> None:
    """Make mmengine read and write checkpoints through this module, in every place it does.

    Its own loader tries `weights_only=True` and then falls back to unpickling anything.
    """
    CheckpointLoader.register_scheme("", load_from_local, force=True)
    for scheme in [scheme for scheme in CheckpointLoader._schemes if scheme]:
        CheckpointLoader.register_scheme(scheme, load_from_address_refused, force=True)
    register_backend("local", AtomicLocalBackend, prefixes="", force=True)


def run_checkpoints(work_dir: str | Path) -> list[Path]:
    """The checkpoints in `work_dir` by iteration (or epoch), the newest first."""

    def number(path: Path) -> int:
        return int(re.fullmatch(r"(?:iter|epoch)_(\d+)", path.stem)[1])

    found = [
        path for path in Path(work_dir).glob("*.pth")
        if re.fullmatch(r"(?:iter|epoch)_\d+", path.stem)
    ]  # fmt: skip
    return sorted(found, key=number, reverse=True)


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The checkpoint of the highest iteration (or epoch) in `work_dir`, None if there is none."""
    return next(iter(run_checkpoints(work_dir)), None)


def checkpoint_to_resume(
    work_dir: str | Path, mode: bool | str, *, beside_others: bool = True
) -> tuple[Path, dict] | None:
    """The newest checkpoint in `work_dir` and what it holds; None if the run starts anew.

    Args:
        mode: False not to resume, True if there must be something to resume, "auto" to start from
            the beginning where there is nothing.
        beside_others: whether a run may start where another has left its checkpoints. The newest
            file would then be the one of the highest number, whichever run it is of.

    Raises:
        ConfigError: there is nothing to resume; there is, and a run would start; another `mode`.
        CheckpointError: the newest checkpoint is damaged, unsafe or not of a run. An older one is
            named, never taken.
    """
    if mode not in (False, True, "auto"):
        raise ConfigError(f"resume={mode!r}.", knows="False, True, 'auto'")
    found, first = run_checkpoints(work_dir), os.environ.get("RANK", "0") == "0"
    if not mode:
        if found and not beside_others:
            raise ConfigError(
                f"{work_dir} holds {found[0].name} of an earlier run.",
                go_on_with_it="--resume",
                or_start_anew="in another folder: --work-dir ANOTHER",
                or_delete_it=f"rm {shlex.quote(str(work_dir))}/iter_*.pth",
            )
        if found and first:
            print(f"{work_dir} holds {found[0].name} of an earlier run; this one starts anew")
        return None
    if not found:
        if mode == "auto":
            if first:
                print(f"nothing to resume in {work_dir}: starting from the beginning")
            return None
        raise ConfigError(
            f"there is nothing to resume in {work_dir}.",
            looked_for="iter_N.pth",
            set="--work-dir to the run's",
            or_do="--resume auto: start from the beginning where there is nothing",
        )
    newest = found[0]
    try:
        content = read_run_checkpoint(newest)
        parts = content if isinstance(content, dict) else {}
        lacking = {"meta", "state_dict", "optimizer", "message_hub"} - set(parts)
        if lacking:
            raise CheckpointError(f"it holds no {', '.join(sorted(lacking))}.")
    except CheckpointError as error:
        raise CheckpointError(
            f"the newest checkpoint cannot be resumed: {newest}",
            why=str(error).splitlines(),
            next_older=str(found[1]) if len(found) > 1 else "none",
            do="move the newest one away; --resume then takes the next older one",
        ) from error
    return newest, content
