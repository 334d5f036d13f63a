"""Training and testing a config: what tools/train.py and tools/test.py do once they have parsed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from lightvit_bench.compat import keep_freed_memory
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.openmmlab.backbone import check_init
from lightvit_bench.openmmlab.checkpoints import (
    FittingCheckpoint,
    checkpoint_to_resume,
    latest_checkpoint,
    secure_mmengine,
)
from lightvit_bench.openmmlab.config import (
    explain_config_errors,
    is_detection,
    is_pretraining,
    is_tracking,
    load_config,
)
from lightvit_bench.openmmlab.device import (
    adapt_to_device,
    start_process_group,
    use_mixed_precision,
)
from lightvit_bench.openmmlab.timm_backbone import check_timm_init


def train(
    config: str,
    *,
    work_dir: str | None = None,
    resume: bool | str = False,
    amp: bool = False,
    launcher: str = "none",
    cfg_options: Sequence[str] = (),
) -> Runner:
    """Train a config from its start, or with `resume` from its newest checkpoint.

    Args:
        resume: True if there must be a checkpoint, "auto" to start anew where there is none.
        amp: turn mixed precision on where the config does not.

    Returns the runner, trained.

    Raises:
        UserError: what the config names is missing, damaged or contradictory; a pre-training would
            start in the folder of another.
        SystemExit: a pre-training was told to end (SIGTERM); it is saved.
    """
    cfg = load_config(config, cfg_options)
    cfg.work_dir = work_dir or cfg.get("work_dir") or _default_work_dir(config)
    if amp:
        use_mixed_precision(cfg)
    if cfg.get("resume"):
        raise ConfigError("resume=True in a config has no effect.", use="--resume")
    found = checkpoint_to_resume(cfg.work_dir, resume, beside_others=not is_pretraining(cfg))
    cfg.launcher = launcher
    _check_visualizer(cfg)
    with explain_config_errors(cfg):
        hooks = _prepare(cfg, found)
        if found:
            cfg.resume, cfg.load_from = True, str(found[0])
        runner = _build_runner(cfg, launcher)
        for hook in hooks:
            runner.register_hook(hook)
        runner.train()
    return runner


def _check_visualizer(cfg: Config) -> None:
    """`ConfigError` if the log is to go where nothing is installed that writes it."""
    backends = (cfg.get("visualizer") or {}).get("vis_backends") or []
    types = [backend.get("type") for backend in backends if isinstance(backend, dict)]
    wanted = "TensorboardVisBackend" in types
    if wanted and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "TensorboardVisBackend is among the vis_backends, and TensorBoard is not installed.",
            do="pip install tensorboard   (also: pip install -e '.[tensorboard]')",
            or_leave="it out of vis_backends",
        )


def _prepare(cfg: Config, found: tuple[Path, dict] | None) -> list[Hook]:
    """Complete and check a config before anything is built; hooks to train with.

    `found` is the checkpoint that the run goes on from, if it does, and what it holds.
    """
    if is_pretraining(cfg):
        from lightvit_bench.pretrain.prepare import prepare_pretraining

        return prepare_pretraining(cfg, found)
    if is_tracking(cfg):
        from lightvit_bench.tracking.training.prepare import prepare_tracking

        return prepare_tracking(cfg, found)
    if is_detection(cfg):
        from lightvit_bench.detection.metric import complete_evaluators

        complete_evaluators(cfg)
    if found or cfg.get("load_from"):
        cfg.model.backbone.init = "random"  # the checkpoint brings the weights
        # A run may start from one with other classes; it goes on from its own alone.
        return [FittingCheckpoint("" if found else "backbone.")]
    if cfg.model.backbone.type == "TimmBackbone":
        check_timm_init(cfg.model)
    else:
        check_init(cfg.model)
    return []


def test(
    config: str,
    checkpoint: str,
    *,
    work_dir: str | None = None,
    out: str | None = None,
    show_dir: str | None = None,
    launcher: str = "none",
    cfg_options: Sequence[str] = (),
    tracker_options: Mapping[str, object] | None = None,
    record: str | None = None,
    remarks: Sequence[str] = (),
) -> dict[str, float]:
    """Test a checkpoint; returns the metrics by name.

    Args:
        out: where the predictions go: a folder for label PNGs in the data set's own ids, or for a
            tracker's boxes; a detector's results.json, or a folder for it.
        show_dir: folder for overlays of image, truth and prediction.
        tracker_options: of `tracking.running.config.test_tracking`, for the config of a tracker.
        record: folder for a run record. remarks: of it, what a reader of the score must know.

    Raises:
        CheckpointError: the checkpoint is absent, unsafe, or does not fit in every weight.
    """
    cfg = load_config(config, cfg_options)
    if is_pretraining(cfg):
        raise ConfigError(
            f"{config} is a pre-training: there is nothing to test in it.",
            do="start a config of segmentation from the encoder it leaves: "
            "--cfg-options init=WORK_DIR/NAME.safetensors",
        )
    cfg.work_dir = work_dir or cfg.get("work_dir") or _default_work_dir(config)
    if is_tracking(cfg):
        from lightvit_bench.tracking.running.config import refuse_options, test_tracking

        refuse_options(show_dir=show_dir, launcher=launcher)
        options = {"record": record, "remarks": remarks, **(tracker_options or {})}
        return test_tracking(cfg, checkpoint, out=out, **options)
    if tracker_options:
        option = next(iter(tracker_options))
        raise ConfigError(f"--{option} is for trackers, and {config} is none.")
    if not Path(checkpoint).is_file():
        raise CheckpointError(
            f"there is no checkpoint {checkpoint}.",
            newest_in_work_dir=str(latest_checkpoint(cfg.work_dir) or "none"),
        )
    recorder = None
    if record is not None:
        from lightvit_bench.openmmlab.recording import Recorder

        recorder = Recorder(record, cfg, checkpoint, cfg_options, remarks)
        recorder.watch(cfg)
    cfg.load_from = checkpoint
    cfg.model.backbone.init = "random"  # the checkpoint brings all weights
    overlays = _tell_outputs(cfg, out)
    if show_dir is not None:
        Path(show_dir).mkdir(parents=True, exist_ok=True)
    with explain_config_errors(cfg):
        runner = _build_runner(cfg, launcher)
        runner.register_hook(FittingCheckpoint())
        if show_dir is not None:
            runner.register_hook(dict(type=overlays, out_dir=show_dir))
        if recorder is not None:
            runner.register_hook(recorder)
        metrics = runner.test()
    if recorder is not None:
        recorder.write(runner, metrics, out)
    return metrics


def _tell_outputs(cfg: Config, out: str | None) -> str:
    """Tell the evaluator where predictions go; returns the type of the hook that draws them."""
    if is_detection(cfg):
        from lightvit_bench.detection.metric import complete_evaluators

        complete_evaluators(cfg)
        if out is not None:
            _first_coco_ap(cfg).out = out
        return "DetOverlayHook"
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        cfg.test_evaluator.output_dir = out
    return "OverlayHook"


def _first_coco_ap(cfg: Config) -> dict:
    """The evaluator that can write what a detector finds; `ConfigError` if there is none."""
    evaluators = cfg.test_evaluator
    for evaluator in evaluators if isinstance(evaluators, list | tuple) else [evaluators]:
        if evaluator.get("type") == "CocoAP":
            return evaluator
    raise ConfigError(
        "--out: the config has no evaluator that writes.", has="test_evaluator.type=CocoAP"
    )


def _build_runner(cfg: Config, launcher: str) -> Runner:
    cfg.launcher = launcher
    changes = adapt_to_device(cfg)
    if not torch.cuda.is_available():
        keep_freed_memory()
    secure_mmengine()
    start_process_group(launcher)
    runner = Runner.from_cfg(cfg)
    if is_detection(cfg):
        from lightvit_bench.detection.ready import prepare_detector

        prepare_detector(runner.model, distributed=launcher != "none")
    for change in changes:
        print_log(f"no CUDA device: {change}", logger="current")
    return runner


def _default_work_dir(config: str) -> str:
    """work_dirs/<folder>/<name>, so that equal names of two data sets do not share a folder."""
    path = Path(config)
    return str(Path("work_dirs") / path.parent.name / path.stem)
