"""Run records of tools/test.py: what was tested, on what, and what it scores."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from lightvit_bench.bench.parts import Curve, ModelSize, read_remarks
from lightvit_bench.bench.provenance import sha256_of, shown_path
from lightvit_bench.bench.record import measured_record, write_record
from lightvit_bench.openmmlab.bare import bare_model
from lightvit_bench.openmmlab.checkpoints import read_run_checkpoint
from lightvit_bench.openmmlab.config import is_detection
from lightvit_bench.openmmlab.recipe import (
    config_sha256,
    recipe_of,
    tested_size,
    trained_config,
)
from lightvit_bench.verification.keeping import check_record_folder

if TYPE_CHECKING:
    from mmengine.runner import Runner

    from lightvit_bench.openmmlab.evaluated import Evaluated
    from lightvit_bench.tracking.running.exported import TestedFile
    from lightvit_bench.tracking.running.recording import Ran

PACKAGES = (
    *("torch", "timm", "numpy", "onedl-mmengine", "onedl-mmcv", "onedl-mmsegmentation"),
    *("onedl-mmdetection", "pycocotools", "faster-coco-eval"),
)
# Of the validation, name in the log -> y label; what training logs is its loss.
_VALIDATION = {
    "mIoU": "mIoU (%)",
    "coco/bbox_mAP": "box AP (%)",
    "coco/segm_mAP": "mask AP (%)",
    "iou": "IoU of pairs",
}
_MOST_WORK = 4e12  # parameters x pixels: beyond it counting MACs takes many seconds


class Recorder(Hook):
    """Writes the record of a segmentor's or a detector's test.

    Made before the test, of the config as it was loaded: it refuses a folder that no record can be
    written to. `watch` has the evaluator tell more; as a hook of the runner it learns how the
    checkpoint was trained.
    """

    def __init__(
        self,
        folder: str,
        cfg: Config,
        checkpoint: str,
        options: Sequence[str],
        remarks: Sequence[str] = (),
    ):
        check_record_folder(folder)
        self._remarks = read_remarks(remarks)
        self._folder, self._checkpoint, self._options = folder, Path(checkpoint), options
        self._config, self._detection = cfg.filename, is_detection(cfg)
        self._cfg, self._meta = cfg.to_dict(), {}

    def watch(self, cfg: Config) -> None:
        """Change the evaluator of a config so that it tells what a record needs."""
        from lightvit_bench.openmmlab.evaluated import watch

        watch(cfg, self._detection)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep what the checkpoint says of its training."""
        self._meta = dict(checkpoint.get("meta") or {})

    def before_test(self, runner: Runner) -> None:
        """`ConfigError` where there will be no score to record."""
        from lightvit_bench.openmmlab.evaluated import evaluator_of

        evaluator_of(runner, self._detection)

    def write(self, runner: Runner, metrics: Mapping[str, float], out: str | None) -> Path | None:
        """Write the record after the test; its path, on the first process alone."""
        from lightvit_bench.openmmlab.evaluated import evaluated_objects, evaluated_pictures

        if not is_main_process():
            return None
        look = evaluated_objects if self._detection else evaluated_pictures
        path = self._write(runner, look(runner, self._cfg, metrics, out))
        print(f"record: {path}", flush=True)
        if out is None:
            print("  it cannot be verified: predictions are not kept without --out", flush=True)
        return path

    def _write(self, runner: Runner, found: Evaluated) -> Path:
        shared, lines = shared_fields(self._config, self._cfg, self._checkpoint, self._meta)
        trained = trained_config(self._meta)
        size, line = self._size(runner)
        demo = found.demo or Path(self._config).parent.name == "demo"
        record = measured_record(
            found.task,
            Path(self._config).stem,
            found.values,
            packages=PACKAGES,
            origin="demo" if demo else "measured",
            dataset=found.dataset,
            split=found.split,
            protocol=found.protocol,
            expected=found.expected,
            evaluated=found.evaluated,
            runtime="eager",
            precision=_precision(self._cfg),
            threads=torch.get_num_threads(),
            device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            checkpoint=shown_path(self._checkpoint),
            checkpoint_sha256=sha256_of(self._checkpoint),
            recipe=recipe_of(self._cfg, trained, _whole(self._meta.get("iter"))),
            size=size,
            predictions=found.predictions,
            truth=found.truth,
            remarks=tuple(line for line in (*self._remarks, *found.remarks, *lines, line) if line),
            **shared,
        )
        return write_record(record, self._folder)

    def _size(self, runner: Runner) -> tuple[ModelSize, str]:
        """Parameters without what is trained with alone, MACs where they are soon counted."""
        from lightvit_bench.openmmlab.model import model_cost

        model = bare_model(runner)
        backbone, whole = (sum(p.numel() for p in m.parameters()) for m in (model.backbone, model))
        if getattr(model, "with_auxiliary_head", False):
            whole -= sum(p.numel() for p in model.auxiliary_head.parameters())
        parameters = dict(backbone_parameters=backbone, parameters=whole)
        shape = tested_size(self._cfg)
        if shape is None or backbone * shape[0] * shape[1] > _MOST_WORK:
            return ModelSize(**parameters), ""
        try:
            cost = model_cost(self._config, shape, self._options)
        except Exception as error:  # a model of anybody's; its score is there, and is not lost
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            return ModelSize(**parameters), f"MACs could not be counted ({why[:120]})"
        macs = dict(backbone_macs=cost.backbone.macs, macs=cost.total.macs)
        return ModelSize(**parameters, **macs, input=f"3 x {shape[0]} x {shape[1]}"), ""


def write_track_record(
    folder: str,
    cfg: Config,
    checkpoint: Path,
    tested: TestedFile | Any,
    ran: Ran,
    remarks: Sequence[str] = (),
) -> Path:
    """Write the record of a tracker's run over a data set; its path."""
    from lightvit_bench.tracking.running.recording import run_record

    plain, meta = cfg.to_dict(), {}
    if checkpoint.suffix == ".pth":
        content = read_run_checkpoint(checkpoint)
        meta = dict(content.get("meta") or {})
    shared, lines = shared_fields(cfg.filename, plain, checkpoint, meta)
    recipe = recipe_of(plain, trained_config(meta), _whole(meta.get("iter")))
    if checkpoint.suffix != ".pth":  # a tracker's own file: the config need not be its training's
        made = ("pretraining", "pretraining_epochs", "fine_tuning", "schedule")
        recipe = replace(recipe, **dict.fromkeys(made))
    lines = [*remarks, *lines]
    record = run_record(cfg, checkpoint, tested, ran, shared, recipe, lines)
    return write_record(record, folder)


def shared_fields(
    config: str, cfg: Mapping, checkpoint: Path, meta: Mapping
) -> tuple[dict[str, Any], list[str]]:
    """Config, its digest, seed and training curves, for every task; and remarks.

    The seed is that of the training, where the checkpoint tells. That of the test's config is none
    of it: the same weights, tested with several, are one training.
    """
    curves, whole = training_curves(checkpoint.parent, _whole(meta.get("iter")))
    fields = dict(
        config=shown_path(config),
        config_sha256=config_sha256(cfg, trained_config(meta)),
        seed=_whole(meta.get("seed")),
        curves=curves,
    )
    return fields, [] if whole else ["the log of the training could not be read to its end"]


def training_curves(work_dir: Path, last: int | None) -> tuple[dict[str, Curve], bool]:
    """Loss and validation over iterations, up to the checkpoint's, from mmengine's log.

    Returns the curves, none where there is no `TIME/vis_data/scalars.json`; and whether all lines
    could be read (but for one that ends a file, cut short). A resumed run has a folder for each
    part; where two tell of an iteration, the later is what went on.
    """
    if last is None:  # not a run's checkpoint
        return {}, True
    losses: dict[int, float] = {}
    scores: dict[str, dict[int, float]] = {name: {} for name in _VALIDATION}
    whole = True
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        lines, complete = _lines(file)
        whole = whole and complete
        trained = {int(one["step"]): one["loss"] for one in lines if _figure(one.get("loss"))}
        if trained:
            first = min(trained)
            losses = {step: loss for step, loss in losses.items() if step < first} | trained
        for name, held in scores.items():
            held.update({int(one["step"]): one[name] for one in lines if _figure(one.get(name))})
    curves = {"loss": _curve(losses, "loss", last)}
    curves |= {_name(name): _curve(held, _VALIDATION[name], last) for name, held in scores.items()}
    return {name: curve for name, curve in curves.items() if curve is not None}, whole


def _lines(file: Path) -> tuple[list[dict], bool]:
    texts = file.read_text(encoding="utf-8", errors="replace").split("\n")
    found, whole = [], True
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            one = json.loads(text)
        except ValueError:
            whole = whole and number == len(texts)  # killed while it wrote
            continue
        if isinstance(one, dict) and isinstance(one.get("step"), int):
            found.append(one)
    return found, whole


def _curve(points: Mapping[int, float], label: str, last: int) -> Curve | None:
    steps = sorted(step for step in points if step <= last)
    if not steps:
        return None
    return Curve.thinned(steps, [points[step] for step in steps], "iteration", label)


def _name(logged: str) -> str:
    return "validation_" + logged.rpartition("/")[2].lower()


def _figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _precision(cfg: Mapping) -> str:
    return "fp16" if (cfg.get("test_cfg") or {}).get("fp16") else "fp32"
