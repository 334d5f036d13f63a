"""Training a tracker with mmengine: the model that configs name, its input and its schedule."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import HOOKS, MODELS
from torch import Tensor

from lightvit_bench.checkpoint import load_into, read_extra
from lightvit_bench.checkpoint.files import open_safetensors, sniff
from lightvit_bench.checkpoint.fit import misfits, refuse_misfits
from lightvit_bench.checkpoint.manifest import KEY
from lightvit_bench.errors import ConfigError
from lightvit_bench.openmmlab.bare import bare_model
from lightvit_bench.tracking.files import KIND, load_tracker
from lightvit_bench.tracking.heads import boxes_at
from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker
from lightvit_bench.tracking.training.losses import corners, overlap, tracking_losses
from lightvit_bench.tracking.training.schedule import KeepSchedule
from lightvit_bench.tracking.training.start import mimetic_start
from lightvit_bench.vit import VisionTransformer

PAIR = ("template", "search", "box", "present")


@MODELS.register_module()
class PairNormalizer(BaseDataPreprocessor):
    """Moves pairs to the device and normalises their pixels there.

    Args:
        mean, std: per RGB channel, for pixels from 0 to 255.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], non_blocking: bool = True):
        super().__init__(non_blocking)
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """uint8 crops (B, S, S, 3) -> float32 (B, 3, S, S), normalised; the rest moves along."""
        data = self.cast_data({name: data[name] for name in PAIR})
        for name in ("template", "search"):
            pixels = data[name].permute(0, 3, 1, 2).float()
            data[name] = pixels.sub_(self.mean).div_(self.std)
        return data


@MODELS.register_module()
class Tracking(BaseModel):
    """A one-stream tracker and its losses.

    Args:
        backbone: `preset`; `init` ("random", an encoder's file with manifest, or a tracker's, whose
            head comes along); `drop_path`; `norm`, where the final norm starts from: "file",
            "fresh" (files that have none), or the name of a group kept aside in the file
            ("norm_depth8" of D²-MAE); and `attention`, how it starts where `init` is "random":
            "xavier", or "mimetic" (`start.mimetic_start`).
        network: the other fields of `NetworkSpec`.
        keep_schedule: `begin` and `end` of `KeepSchedule`, in epochs; None for the full reduction
            from the start.
        box_of: the cell whose box is trained; see `tracking_losses`.

    Raises:
        ConfigError: the parts contradict one another.
        CheckpointError: from `init_weights`, if `init` is absent, unsafe, or does not fit.
    """

    def __init__(
        self,
        backbone: dict,
        network: dict | None = None,
        keep_schedule: dict | None = None,
        box_of: str = "prediction",
        data_preprocessor: dict | None = None,
    ):
        super().__init__(data_preprocessor)
        backbone = dict(backbone)
        self.init = backbone.pop("init", "random")
        self.norm = backbone.pop("norm", "file")
        self.attention = backbone.pop("attention", "xavier")
        preset, drop_path = backbone.pop("preset"), backbone.pop("drop_path", 0.0)
        if backbone:
            raise ConfigError(
                f"model.backbone of a tracker knows no {', '.join(backbone)}.",
                knows="preset, init, drop_path, norm, attention",
            )
        for name, value, known in (
            ("box_of", box_of, ("prediction", "truth")),
            ("backbone.attention", self.attention, ("xavier", "mimetic")),
        ):
            if value not in known:
                raise ConfigError(f"model.{name}={value!r}.", knows=", ".join(known))
        self.network = OneStreamTracker(
            NetworkSpec(preset=preset, **(network or {})), drop_path=drop_path
        )
        self.box_of = box_of
        self.keep_schedule = None if keep_schedule is None else KeepSchedule(**keep_schedule)
        self.keep = self.network.spec.keep  # set by `KeepRate` in training

    def init_weights(self) -> None:
        """Start from what `init` names."""
        if self.init == "random":
            if self.attention == "mimetic":
                mimetic_start(self.network.backbone)
        elif holds_tracker(self.init):
            self._start_from_tracker()
        else:
            self._start_from_encoder()

    def _start_from_tracker(self) -> None:
        network, manifest = load_tracker(self.init)
        state = network.state_dict()
        refuse_misfits(
            self.init, "tracker of the config", **misfits(state, self.network.state_dict())
        )
        self.network.load_state_dict(state)
        print_log(f"{self.init}: all of a tracker, recipe {manifest.recipe}", logger="current")

    def _start_from_encoder(self) -> None:
        encoder = VisionTransformer(self.network.spec.preset)
        report = load_into(encoder, self.init, fresh_norm=self.norm != "file")
        if self.norm not in ("file", "fresh"):
            tensors = read_extra(self.init, self.norm)
            if set(tensors) != {"weight", "bias"}:
                raise ConfigError(
                    f"{self.init} keeps no norm {self.norm!r} aside.",
                    set="model.backbone.norm='fresh'",
                    found=", ".join(tensors) or "nothing of that name",
                )
            encoder.norm.load_state_dict(tensors)
        self.network.start_from(encoder)
        print_log(str(report), logger="current")

    def forward(
        self,
        template: Tensor,
        search: Tensor,
        box: Tensor | None = None,
        present: Tensor | None = None,
        mode: str = "tensor",
    ):
        """Normalised crops to maps ("tensor"), losses ("loss") or a list of results ("predict").

        A result has `iou` of the box at the highest score, that score, and `present`.
        """
        keep = self.keep if self.training else None
        maps = self.network(template, search, keep=keep).maps
        if mode == "tensor":
            return maps
        if mode == "loss":
            return tracking_losses(maps, box, present, box_of=self.box_of)
        score, cells = maps.score.flatten(1).max(dim=1)
        iou, _ = overlap(corners(boxes_at(maps, cells)), corners(box).clamp(0, 1))
        rows = zip(iou.tolist(), score.tolist(), present.tolist(), strict=True)
        return [dict(iou=i, score=s, present=p) for i, s, p in rows]


def holds_tracker(path: str | PathLike) -> bool:
    """Whether a file with manifest is a tracker's. `CheckpointError` if it cannot be read."""
    if sniff(path) != "safetensors":
        return False
    with open_safetensors(path) as file:
        text = (file.metadata() or {}).get(KEY, "")
    try:
        values = json.loads(text)
    except (RecursionError, ValueError):
        return False  # whoever reads it as an encoder's says so
    return isinstance(values, dict) and values.get("kind") == KIND


@HOOKS.register_module()
class KeepRate(Hook):
    """Sets the share of search tokens that the model keeps, a function of the iteration alone.

    Args:
        epoch_length: iterations that count as an epoch (`prepare.settle_epochs` may set it).
    """

    priority = "VERY_HIGH"

    def __init__(self, epoch_length: int):
        self.epoch_length = epoch_length

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Look the share up."""
        model = bare_model(runner)
        if model.keep_schedule is not None:
            epoch = runner.iter // self.epoch_length
            model.keep = model.keep_schedule(epoch, model.network.spec.keep)
