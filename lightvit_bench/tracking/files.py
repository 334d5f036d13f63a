"""Trackers to and from files: safetensors with a manifest and a fingerprint, as encoders have.

The weights may be stored in half precision; they are computed with in float32. A file says how its
network is built, how its answers are taken and what it comes from, and is checked at every load to
compute what it did when it was saved.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.resources import files as package_files
from os import PathLike
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from lightvit_bench.checkpoint.files import open_safetensors, read_safetensors
from lightvit_bench.checkpoint.fingerprint import (
    TensorSummary,
    exact_float32,
    fixed_image,
    summarise,
    summary_differences,
)
from lightvit_bench.checkpoint.fit import misfits, refuse_misfits
from lightvit_bench.checkpoint.manifest import IMAGENET_MEAN, IMAGENET_STD, KEY, Parent
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.tracking.answers import Settings
from lightvit_bench.tracking.checks import check_kind, check_number, check_whole
from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker
from lightvit_bench.tracking.runtimes.base import checked_threads
from lightvit_bench.tracking.runtimes.exported import notes
from lightvit_bench.tracking.torch_model import TorchModel
from lightvit_bench.vit import ViTPreset, get_preset
from lightvit_bench.writing import whole_file

KIND = "tracker"
FORMAT_VERSION = 1
SHIPPED = "tracker_tiny.safetensors"  # in lightvit_bench/weights
HALF_TOLERANCE = 1e-3  # as of encoders: relative to the spread of the values


@dataclass(frozen=True)
class TrackerManifest:
    """A tracker's identity.

    Attributes:
        spec: the network but its weights; its preset names the head count.
        heads: of the encoder, once more, so that a changed preset is noticed.
        settings: how the answers are taken.
        recipe: how it was trained: "ostrack-dmae", ...
        data: what it was trained on, in words.
        fingerprint: summaries of score, size and offset maps of two fixed images.
        image_mean, image_std: per RGB channel, for pixels from 0 to 1.

    Raises:
        ConfigError: a field is of another type, or out of range.
    """

    spec: NetworkSpec
    heads: int
    settings: Settings
    recipe: str
    data: str
    epochs: int | None
    parents: tuple[Parent, ...]
    fingerprint: tuple[TensorSummary, TensorSummary, TensorSummary]
    image_mean: tuple[float, float, float] = IMAGENET_MEAN
    image_std: tuple[float, float, float] = IMAGENET_STD
    kind: str = KIND
    format_version: int = FORMAT_VERSION

    def __post_init__(self):
        check_whole("heads", self.heads, 1)
        check_kind("recipe", self.recipe, str)
        check_kind("data", self.data, str)
        if self.epochs is not None:
            check_whole("epochs", self.epochs, 0)
        for parent in self.parents:
            check_kind("the name of one of the parents", parent.name, str)
            check_kind("the sha256 of one of the parents", parent.sha256, str)
        for name, above in (("image_mean", -math.inf), ("image_std", 0)):
            values = getattr(self, name)
            if not isinstance(values, (list, tuple)) or len(values) != 3:
                raise ConfigError(f"{name} is of three channels, R, G and B.")
            for value in values:
                check_number(name, value, above=above)
            object.__setattr__(self, name, tuple(map(float, values)))


def save_tracker(
    path: str | PathLike,
    network: OneStreamTracker,
    *,
    recipe: str,
    data: str = "",
    epochs: int | None = None,
    settings: Settings | None = None,
    parents: Sequence[Parent] = (),
    image_mean: Sequence[float] = IMAGENET_MEAN,
    image_std: Sequence[float] = IMAGENET_STD,
    half: bool = False,
) -> TrackerManifest:
    """Save a tracker, whole or not at all.

    Args:
        half: store the weights in float16, half the size; statistics of norms too.

    Raises:
        CheckpointError: the network computes NaN or infinity, or `half` does: a weight is beyond
            float16's range.
        ConfigError: something of the manifest is of another type, or out of range.
    """
    network = copy.deepcopy(network).float().cpu().eval()
    state = network.state_dict()
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        network.load_state_dict(state)
    prints = tracker_fingerprint(network)
    for summary in prints:
        if summary_differences("maps", summary, summary, HALF_TOLERANCE):
            raise CheckpointError(
                "the tracker was not saved: it computes NaN or infinity.", file=str(path)
            )
    manifest = TrackerManifest(
        spec=network.spec,
        heads=get_preset(network.spec.preset).heads,
        settings=settings or Settings(),
        recipe=recipe,
        data=data,
        epochs=epochs,
        parents=tuple(parents),
        fingerprint=prints,
        image_mean=tuple(map(float, image_mean)),
        image_std=tuple(map(float, image_std)),
    )
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    with whole_file(path) as aside:
        safetensors.torch.save_file(tensors, aside, {KEY: json.dumps(asdict(manifest))})
    return manifest


def read_tracker_manifest(path: str | PathLike) -> TrackerManifest:
    """What a tracker's file says about itself.

    Raises:
        CheckpointError: it is missing, damaged, of a later version, or not a tracker's.
    """
    with open_safetensors(path) as file:
        text = (file.metadata() or {}).get(KEY)
    return _manifest(text, path)


def load_tracker(
    path: str | PathLike | None = None, **changes: Any
) -> tuple[OneStreamTracker, TrackerManifest]:
    """The network of a tracker's file, in eval mode, and its manifest.

    Args:
        path: of a safetensors file with manifest; None for the weights that come with the package.
        changes: fields of `NetworkSpec` that need no other weights: `eliminate`, `keep`.

    Raises:
        CheckpointError: the file is missing, damaged or of something else; it does not fit (which
            takes no more memory than the file, whatever sizes its manifest claims), or computes
            something else than when it was saved.
        ConfigError: a change names no such field, or one that needs other weights.
    """
    if path is None and not shipped_weights().exists():
        raise CheckpointError(
            "the weights that come with the package are not there.",
            looked_for=str(shipped_weights()),
            set="--model FILE in the tools that have it; load_tracker(FILE), "
            "load_tracker_model(FILE) in Python",
        )
    path = shipped_weights() if path is None else Path(path)
    manifest = read_tracker_manifest(path)
    state, _ = read_safetensors(path)
    _refuse_other_sizes(path, manifest.spec, state)
    network = OneStreamTracker(manifest.spec)
    own = network.state_dict()
    refuse_misfits(path, "tracker of its manifest", **misfits(state, own))
    network.load_state_dict(state)
    network.eval()
    for name, expected, measured in zip(
        ("score", "size", "offset"), manifest.fingerprint, tracker_fingerprint(network), strict=True
    ):
        if found := summary_differences(name, expected, measured, HALF_TOLERANCE):
            raise CheckpointError(
                "the tracker does not compute what it did when it was saved.",
                file=str(path),
                differences=found[:4],
                cause="changed or damaged tensors, or a network that has changed since",
            )
    if changes:
        if unknown := set(changes) - {"eliminate", "keep"}:
            raise ConfigError(
                f"{', '.join(sorted(unknown))} of a trained tracker cannot be changed.",
                can="eliminate, keep",
            )
        network.spec = replace(network.spec, **changes)
    return network, manifest


def load_tracker_model(
    path: str | PathLike | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    precision: str | None = None,
    **changes: Any,
) -> TorchModel:
    """`load_tracker` as a model for `Tracker`, computed by PyTorch in float32.

    `threads` sets PyTorch's for the whole process. Another `precision` than "fp32" is not used, and
    a line says so.
    """
    network, manifest = load_tracker(path, **changes)
    if threads is not None:
        torch.set_num_threads(checked_threads(threads))
    if precision not in (None, "fp32"):
        notes.warning("PyTorch computes trackers in fp32, not in %s.", precision)
    return TorchModel(
        network,
        manifest.settings,
        image_mean=manifest.image_mean,
        image_std=manifest.image_std,
        device=device,
    )


def shipped_weights() -> Path:
    """The file of weights that comes with the package."""
    return Path(str(package_files("lightvit_bench") / "weights" / SHIPPED))


@torch.no_grad()
def tracker_fingerprint(
    network: OneStreamTracker,
) -> tuple[TensorSummary, TensorSummary, TensorSummary]:
    """Summaries of the maps of two fixed images, all tokens kept; float32 on the CPU.

    Without elimination, for which tokens leave may hang on the last digit of a score.
    """
    network = copy.deepcopy(network).float().cpu().eval()
    spec = network.spec
    template = fixed_image(spec.template_size, spec.template_size)
    search = fixed_image(spec.search_size, spec.search_size).flip(-1)
    with exact_float32():
        maps = network(template, search, keep=1.0).maps
    return tuple(summarise(one) for one in maps)


def _refuse_other_sizes(
    path: str | PathLike, spec: NetworkSpec, state: Mapping[str, Tensor]
) -> None:
    """`CheckpointError` unless the tensors that grow with the spec's numbers are there, and as
    large: before the network is built."""
    preset = get_preset(spec.preset, ViTPreset)
    shapes = {
        "backbone.pos_embed": (1, (spec.search_size // preset.patch) ** 2, preset.width),
        "template_positions": (1, (spec.template_size // preset.patch) ** 2, preset.width),
    }
    if spec.head == "conv":
        shapes["head.score.0.0.weight"] = (spec.head_channels, preset.width, 3, 3)
    refuse_misfits(
        path,
        "tracker of its manifest",
        missing=[name for name in shapes if name not in state],
        reshaped=[
            f"{name}: {tuple(state[name].shape)} in the file, {shape} in the model"
            for name, shape in shapes.items()
            if name in state and state[name].shape != shape
        ],
    )


def _manifest(text: str | None, path: str | PathLike) -> TrackerManifest:
    """The manifest in a file's metadata; every field is checked for its name and type."""
    if text is None:
        raise CheckpointError(
            "the file is not a tracker's: it has no manifest.",
            file=str(path),
            of_ostrack="tools/convert_checkpoint.py FILE OUT --from ostrack",
            of_a_run="tools/export_tracker.py CONFIG CHECKPOINT OUT",
        )
    try:
        values = json.loads(text)
        if values.get("kind") != KIND:
            raise CheckpointError(
                "the file holds an encoder, not a tracker.",
                file=str(path),
                do="train a tracker from it: tools/train.py configs/lasot/... --cfg-options "
                f"init={path}",
            )
        check_whole("format_version", values.get("format_version"), 1)
        if values["format_version"] > FORMAT_VERSION:
            raise CheckpointError(
                f"the file is of version {values['format_version']} of this format, which is newer "
                f"than this program's {FORMAT_VERSION}.",
                file=str(path),
                do="update lightvit_bench",
            )
        known = {field.name for field in fields(TrackerManifest)}
        if set(values) != known:
            raise ValueError(f"fields {sorted(set(values) ^ known)}")
        for name, kind in (("spec", dict), ("settings", dict), ("parents", list)):
            check_kind(name, values[name], kind)
        values["spec"] = NetworkSpec(**values["spec"])
        values["settings"] = Settings(**values["settings"])  # an earlier file may have fewer
        for parent in values["parents"]:
            check_kind("one of parents", parent, dict)
        values["parents"] = tuple(Parent(**one) for one in values["parents"])
        check_kind("fingerprint", values["fingerprint"], list)
        if len(values["fingerprint"]) != 3:
            raise ConfigError("the fingerprint is of three maps.")
        values["fingerprint"] = tuple(map(_summary, values["fingerprint"]))
        manifest = TrackerManifest(**values)
        heads = get_preset(manifest.spec.preset).heads
    except (
        AttributeError,
        ConfigError,
        KeyError,
        RecursionError,  # of brackets within brackets
        TypeError,
        ValueError,
    ) as error:
        raise CheckpointError(
            "the manifest of the tracker is damaged.", file=str(path), cause=str(error)
        ) from None
    if heads != manifest.heads:
        raise CheckpointError(
            f"the tracker has {manifest.heads} heads; {manifest.spec.preset} has {heads} here.",
            file=str(path),
        )
    return manifest


def _summary(values: Any) -> TensorSummary:
    """One part of a fingerprint, from JSON."""
    check_kind("a part of the fingerprint", values, dict)
    for name in ("at", "v"):
        check_kind(f"{name} of the fingerprint", values[name], list)
    for place in values["at"]:
        check_whole("a place in the fingerprint", place, 0)
    if len(values["at"]) != len(values["v"]):
        raise ConfigError("the fingerprint has as many places as values.")
    summary = TensorSummary(**{**values, "at": tuple(values["at"]), "v": tuple(values["v"])})
    for value in (summary.mean, summary.std, summary.l2, *summary.v):
        check_number("a value of the fingerprint", value)
    return summary
