"""Training and testing a config: what tools/train.py and tools/test.py do once they have parsed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.openmmlab.backbone import check_init
from lightvit_bench.openmmlab.checkpoints import (
    FittingCheckpoint,
    latest_checkpoint,
    secure_mmengine,
)
from lightvit_bench.openmmlab.config import explain_config_errors, load_config
from lightvit_bench.openmmlab.device import (
    adapt_to_device,
    start_process_group,
    use_mixed_precision,
)


def train(
    config: str,
    *,
    work_dir: str | None = None,
    resume: bool = False,
    amp: bool = False,
    launcher: str = "none",
    cfg_options: Sequence[str] = (),
) -> Runner:
    """Train a config from its start, or from its newest checkpoint with `resume`.

    A config's `load_from` must fit in all of the backbone; other parts of the model may be new.
    `amp` turns mixed precision on where the config does not. Returns the runner, trained.

    Raises:
        UserError: what the config names is missing, damaged or contradictory.
    """
    cfg = load_config(config, cfg_options)
    cfg.work_dir = work_dir or cfg.get("work_dir") or _default_work_dir(config)
    if amp:
        use_mixed_precision(cfg)
    if cfg.get("resume"):
        raise ConfigError("resume=True in a config has no effect.", use="--resume")
    if resume and (newest := latest_checkpoint(cfg.work_dir)):
        cfg.resume, cfg.load_from = True, str(newest)
    elif resume:
        print(f"nothing to resume in {cfg.work_dir}: starting from the beginning")
    if cfg.get("load_from"):
        cfg.model.backbone.init = "random"  # the checkpoint brings the weights
    check_init(cfg.model)
    with explain_config_errors(cfg):
        runner = _build_runner(cfg, launcher)
        if cfg.get("load_from"):
            runner.register_hook(FittingCheckpoint("" if cfg.resume else "backbone."))
        runner.train()
    return runner


def test(
    config: str,
    checkpoint: str,
    *,
    work_dir: str | None = None,
    out: str | None = None,
    show_dir: str | None = None,
    launcher: str = "none",
    cfg_options: Sequence[str] = (),
) -> dict[str, float]:
    """Test a checkpoint; returns the metrics by name.

    Args:
        out: folder for the predictions (label PNGs in the data set's own ids).
        show_dir: folder for overlays of image, truth and prediction.

    Raises:
        CheckpointError: the checkpoint is absent, unsafe, or does not fit in every weight.
    """
    cfg = load_config(config, cfg_options)
    cfg.work_dir = work_dir or cfg.get("work_dir") or _default_work_dir(config)
    if not Path(checkpoint).is_file():
        raise CheckpointError(
            f"there is no checkpoint {checkpoint}.",
            newest_in_work_dir=str(latest_checkpoint(cfg.work_dir) or "none"),
        )
    cfg.load_from = checkpoint
    cfg.model.backbone.init = "random"  # the checkpoint brings all weights
    if out is not None:
        cfg.test_evaluator.output_dir = out
    for folder in filter(None, (out, show_dir)):
        Path(folder).mkdir(parents=True, exist_ok=True)
    with explain_config_errors(cfg):
        runner = _build_runner(cfg, launcher)
        runner.register_hook(FittingCheckpoint())
        if show_dir is not None:
            runner.register_hook(dict(type="OverlayHook", out_dir=show_dir))
        return runner.test()


def _build_runner(cfg: Config, launcher: str) -> Runner:
    cfg.launcher = launcher
    changes = adapt_to_device(cfg)
    secure_mmengine()
    start_process_group(launcher)
    runner = Runner.from_cfg(cfg)
    for change in changes:
        print_log(f"no CUDA device: {change}", logger="current")
    return runner


def _default_work_dir(config: str) -> str:
    """work_dirs/<folder>/<name>, so that equal names of two data sets do not share a folder."""
    path = Path(config)
    return str(Path("work_dirs") / path.parent.name / path.stem)
