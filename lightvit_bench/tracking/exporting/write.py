"""A trained tracker to one exported file: what tools/export.py does.

weights -> graph (`graph`) -> ONNX -> OpenVINO, int8 where asked for (`quantise`) -> the file
-> the file's own runtime -> its boxes against PyTorch's (`parity`) -> kept, or refused
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightvit_bench.checkpoint import sha256
from lightvit_bench.errors import CheckpointError, ConfigError, near_matches
from lightvit_bench.onnx_files import onnx_graph
from lightvit_bench.openvino_core import core
from lightvit_bench.tracking.exporting.crops import FrameCrop, spread
from lightvit_bench.tracking.exporting.graph import FrameGraph, TemplateGraph
from lightvit_bench.tracking.exporting.parity import Bounds, Parity, compare
from lightvit_bench.tracking.files import load_tracker, shipped_weights
from lightvit_bench.tracking.network import OneStreamTracker
from lightvit_bench.tracking.runtimes.base import OUTPUTS
from lightvit_bench.tracking.runtimes.exported import (
    KEY,
    PRECISIONS,
    SEAL_KEY,
    TEMPLATE_KEY,
    Exported,
    seal,
)
from lightvit_bench.tracking.runtimes.load import load_model, require
from lightvit_bench.writing import whole_file

FORMATS = {"onnx": ".onnx", "openvino": ".xml"}
# How far boxes may be from PyTorch's. The shipped weights have 0.0001 px in fp32 and mean overlaps
# of 0.987 to 0.989 in bf16 and 0.980 to 0.984 in int8, which cost less than 1 of 100 in AUC.
BOUNDS = {
    "fp32": Bounds(max_px=0.05, mean_px=0.01, score=0.001),
    "bf16": Bounds(overlap=0.97, score=0.25),
    "int8": Bounds(overlap=0.95, score=0.35),
}
CALIBRATION = 120  # crops


@dataclass(frozen=True)
class Export:
    """What was written: the file, what it says about itself, and how it compares with PyTorch."""

    path: Path
    about: Exported
    parity: Parity


def export_model(
    weights: str | PathLike | None,
    out: str | PathLike,
    crops: Sequence[FrameCrop],
    *,
    format: str = "openvino",
    precision: str = "fp32",
    batch: int = 1,
    bound_px: float | None = None,
    overwrite: bool = False,
) -> Export:
    """Write a tracker for a runtime, and check what was written against PyTorch.

    Args:
        weights: a tracker's NAME.safetensors; None for those that come with the package.
        out: NAME.onnx or NAME.xml (with NAME.bin beside it).
        crops: of real sequences (`crops.collect_crops`): those in between calibrate int8.
        format: of `FORMATS`. precision: "fp32", "bf16" or "int8"; bf16 is OpenVINO's alone.
        batch: targets at once; 0 leaves the number open until the file is loaded.
        bound_px: the largest difference allowed, in place of `BOUNDS`.

    Raises:
        CheckpointError: `out` exists, the weights do not load, or the exported boxes are too far
            from PyTorch's; nothing is left then.
        ConfigError: no such format or precision, or they do not go together.
        MissingDataError: a package that is needed is not installed.
    """
    out = Path(out)
    check_request(out, format, precision, overwrite)
    network, manifest = load_tracker(weights)
    mean, std = manifest.image_mean, manifest.image_std
    frame, template = graphs(network, mean, std)
    tests, calibration = crops[::2], spread(crops[1::2] or crops, CALIBRATION)
    spec = network.spec
    about = Exported(
        template_size=spec.template_size,
        search_size=spec.search_size,
        template_factor=spec.template_factor,
        search_factor=spec.search_factor,
        template_tokens=network.template_positions.shape[1],
        width=network.template_positions.shape[2],
        grid=network.search_grid[0],
        wants_box=spec.prune_after > 0,
        batch=batch,
        precision=precision,
        settings=manifest.settings,
        source=sha256(weights) if weights is not None else sha256(shipped_weights()),
        recipe=manifest.recipe,
        data=manifest.data,
        weights="",
        size=0,
        made_with=_versions(format, precision),
    )
    bounds = BOUNDS[precision] if bound_px is None else Bounds(bound_px, bound_px)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.stem}.") as folder:
        # Written, loaded and compared aside; what does not hold never has the name asked for.
        aside = Path(folder) / out.name
        save = _save_openvino if format == "openvino" else _save_onnx
        parts = _network(frame, template, network, format)

        def judged(parts: Parts, about: Exported = about) -> tuple[Exported, Parity]:
            about = save(parts, aside, about)
            return about, compare(load_model(aside), tests)

        kept: tuple[str, ...] = ()
        if precision == "int8":
            from lightvit_bench.tracking.exporting.quantise import quantise

            items = [_inputs(crop, template, frame.wants_box) for crop in calibration]
            main, kept = quantise(
                parts.frame, items, lambda main: judged(replace(parts, frame=main))[1], bounds
            )
            parts = replace(parts, frame=main)
        about, parity = judged(parts, replace(about, kept_float=kept))
        if not parity.found:
            raise CheckpointError(
                "the tracker was not exported: its score says on none of the "
                f"{parity.frames} crops that the target is there, so no box can be compared.",
                set="--sequences FOLDER, of targets that it can follow, or weights trained longer",
            )
        if bounds.excess(parity) > 1:
            raise CheckpointError(
                f"the tracker was not exported: {parity}.",
                bound=str(bounds),
                set="--bound PX to accept it, or another --precision",
            )
        told = {name: round(value, 6) for name, value in asdict(parity).items()}
        about = save(parts, aside, replace(about, parity=told))
        for file in _files(aside)[::-1]:  # the .xml last: without it there is no tracker
            os.replace(file, out.with_suffix(file.suffix))
    return Export(out, about, parity)


@dataclass(frozen=True)
class Parts:
    """The network of a frame and of the template: two `ov.Model` or two `onnx.ModelProto`."""

    frame: Any
    template: Any


def graphs(
    network: OneStreamTracker, mean: Sequence[float], std: Sequence[float]
) -> tuple[FrameGraph, TemplateGraph]:
    """The two parts of a network as modules, in eval mode."""
    return FrameGraph(network, mean, std).eval(), TemplateGraph(network, mean, std).eval()


def onnx_parts(frame: FrameGraph, template: TemplateGraph, network: OneStreamTracker) -> Parts:
    """Both parts as ONNX; the frame's batch is open."""
    spec = network.spec
    side, tokens = spec.template_size, network.template_positions
    pictures = torch.zeros(2, spec.search_size, spec.search_size, 3, dtype=torch.uint8)
    inputs = {"template": torch.cat([tokens, tokens]).detach(), "search": pictures}
    if frame.wants_box:
        inputs["box_wh"] = torch.full((2, 2), 0.25)
    image = torch.zeros(1, side, side, 3, dtype=torch.uint8)
    return Parts(
        onnx_graph(frame, inputs, OUTPUTS, any_batch=True),
        onnx_graph(template, {"image": image}, ["tokens"]),
    )


def _network(
    frame: FrameGraph, template: TemplateGraph, network: OneStreamTracker, format: str
) -> Parts:
    parts = onnx_parts(frame, template, network)
    if format == "onnx":
        return parts
    with tempfile.TemporaryDirectory() as folder:
        models = []
        for name, one in (("frame", parts.frame), ("template", parts.template)):
            path = Path(folder) / f"{name}.onnx"
            path.write_bytes(one.SerializeToString())
            models.append(core().read_model(path))
    return Parts(*models)


def _save_onnx(parts: Parts, path: Path, about: Exported) -> Exported:
    """Write NAME.onnx: the network, and behind it, as protobuf allows, the metadata.

    So the digest in the metadata covers all the bytes before it.
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(parts.frame)
    if about.batch:
        for one in (*model.graph.input, *model.graph.output):
            one.type.tensor_type.shape.dim[0].dim_value = about.batch
    content = model.SerializeToString()
    about = replace(about, weights=hashlib.sha256(content).hexdigest(), size=len(content))
    behind = onnx.ModelProto()
    embedding, told = base64.b64encode(parts.template.SerializeToString()), about.to_json()
    for key, value in (
        (KEY, told), (TEMPLATE_KEY, embedding.decode()), (SEAL_KEY, seal(told, embedding))
    ):  # fmt: skip
        entry = behind.metadata_props.add()
        entry.key, entry.value = key, value
    with whole_file(path) as aside:
        aside.write_bytes(content + behind.SerializeToString())
    return about


def _save_openvino(parts: Parts, path: Path, about: Exported) -> Exported:
    """Write NAME.xml and NAME.bin: both parts in one model, which loading takes apart again."""
    import openvino as ov

    from lightvit_bench.tracking.runtimes.openvino_model import network_of

    frame, template = parts.frame.clone(), parts.template
    if about.batch:
        frame.reshape({one: [about.batch, *list(one.partial_shape)[1:]] for one in frame.inputs})
    whole = ov.Model(
        [*frame.get_results(), *template.get_results()],
        [*frame.get_parameters(), *template.get_parameters()],
        "tracker",
    )
    ov.save_model(whole, path, compress_to_fp16=False)
    weights = path.with_suffix(".bin")
    about = replace(about, weights=sha256(weights), size=weights.stat().st_size)
    told = about.to_json()
    whole.set_rt_info(told, KEY)
    whole.set_rt_info(seal(told, network_of(path)), SEAL_KEY)
    ov.save_model(whole, path, compress_to_fp16=False)  # the same weights and network
    return about


def _inputs(crop: FrameCrop, template: TemplateGraph, wants_box: bool) -> dict[str, np.ndarray]:
    """What a frame's network is given for a crop, by name."""
    with torch.no_grad():
        tokens = template(torch.from_numpy(crop.template)[None]).numpy()
    given = {"template": tokens, "search": crop.search[None]}
    if wants_box:
        given["box_wh"] = np.float32([crop.box_wh])
    return given


def check_request(out: Path, format: str, precision: str, overwrite: bool) -> None:
    """The errors of `export_model` that need no weights: before crops are made."""
    if format not in FORMATS:
        raise ConfigError(f"there is no format {format!r}.", near=near_matches(format, FORMATS))
    if precision not in PRECISIONS:
        raise ConfigError(
            f"there is no precision {precision!r}.", near=near_matches(precision, PRECISIONS)
        )
    if format == "onnx" and precision == "bf16":
        raise ConfigError(
            "ONNX Runtime has no bf16 on a CPU.",
            do="--format openvino, or --precision fp32 or int8",
        )
    if out.suffix != FORMATS[format]:
        raise ConfigError(f"{out.name} is no name for {format}.", ends_with=FORMATS[format])
    for file in _files(out):
        if file.exists() and not overwrite:
            raise CheckpointError("the output is there already.", file=str(file), do="--force")
    require("openvino" if format == "openvino" else "onnxruntime")


def _files(out: Path) -> list[Path]:
    return [out, out.with_suffix(".bin")] if out.suffix == ".xml" else [out]


def _versions(format: str, precision: str) -> dict[str, str]:
    names = ["lightvit_bench", "torch", "onnx"]
    names += ["openvino"] if format == "openvino" else ["onnxruntime"]
    names += ["nncf"] if precision == "int8" else []
    return {name: _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # our own, run from a checkout that was not installed
        return "unknown"


def in_brief(export: Export) -> str:
    """An export for people to read."""
    about = export.about
    mega = sum(file.stat().st_size for file in _files(export.path)) / 1e6
    targets = {0: "any number of targets", 1: "one target"}.get(
        about.batch, f"{about.batch} targets"
    )
    kept = f"; in floating point: {', '.join(about.kept_float)}" if about.kept_float else ""
    return "\n".join(
        [
            f"tracker     {about.recipe}; template {about.template_size} px, search "
            f"{about.search_size} px; {targets}",
            f"precision   {about.precision}{kept}",
            f"parity      {export.parity}",
            f"written     {export.path}, {mega:.1f} MB",
        ]
    )
