"""The encoder of a segmentation or detection model as one file for ONNX Runtime or OpenVINO.

The graph takes pixels as they are read, `image` (batch, H, W, 3) uint8 RGB, and gives the maps of
the backbone, `map0`, `map1`, ..., float32 (batch, C, h, w). The batch is open. H and W are fixed,
and whatever hangs on them alone is computed once and stored: the position table, the bias of
relative positions, and what normalisation does to the patch convolution.
"""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from lightvit_bench.checkpoint import load_into, read_manifest, sha256
from lightvit_bench.checkpoint.files import sniff
from lightvit_bench.checkpoint.manifest import KEY
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.onnx_files import onnx_graph, save_onnx
from lightvit_bench.openmmlab.backbone import EncoderBackbone, HieraBackbone, check_init
from lightvit_bench.openmmlab.checkpoints import read_run_checkpoint, refuse_misfit
from lightvit_bench.openmmlab.config import explain_config_errors, load_config
from lightvit_bench.openmmlab.encoder_parity import (
    PICTURES,
    ExportedMap,
    compare,
    load_pictures,
    refuse_differences,
    runtime_of,
)
from lightvit_bench.openmmlab.fixed_encoder import (
    FixedEncoder,
    fixed_encoder,
    relative_positions,
)
from lightvit_bench.openvino_core import core
from lightvit_bench.vit import get_preset
from lightvit_bench.writing import whole_file

KIND = "encoder"
FORMAT_VERSION = 1
PART = "backbone."  # of a model: the names of its weights in a run's checkpoint
SUFFIXES = {"onnx": (".onnx",), "openvino": (".xml", ".bin")}


@dataclass(frozen=True)
class EncoderExport:
    """What was written, from what, and what it was compared on.

    Attributes:
        path: the file; the weights of an OpenVINO file lie beside it, in NAME.bin.
        size: (height, width) in pixels; `size_from` says where it was taken from.
        checkpoint, sha256: what the weights are from; "random" and None for random ones.
        runtime: name and version of what ran the file.
        pictures: names of those it was compared on.
        megabytes: of all that was written.
        note: for the user; empty if there is nothing to say.
    """

    path: Path
    format: str
    preset: str
    heads: int
    size: tuple[int, int]
    size_from: str
    checkpoint: str
    sha256: str | None
    outputs: tuple[ExportedMap, ...]
    runtime: str
    pictures: tuple[str, ...]
    megabytes: float
    note: str = ""


def export_encoder(
    config: str | PathLike,
    checkpoint: str | PathLike | None,
    out: str | PathLike,
    *,
    size: int | Sequence[int] | None = None,
    format: str = "onnx",
    cfg_options: Sequence[str] = (),
    overwrite: bool = False,
    crops: str | PathLike | None = None,
) -> EncoderExport:
    """Write the `model.backbone` of a config, once it has computed what PyTorch does.

    Args:
        checkpoint: of a run of the config (iter_N.pth), an encoder (NAME.safetensors), or None or
            "random" for random weights.
        out: NAME.onnx, or NAME.xml for OpenVINO, whose weights are put into NAME.bin.
        size: pixels, a side or (height, width); the config's test crop by default.
        format: "onnx" or "openvino".
        overwrite: replace `out` if it exists.
        crops: folder of pictures to compare on; photographs of scikit-image by default.

    Raises:
        CheckpointError: `out` exists; the checkpoint is absent, unsafe, or does not fit; the file
            does not compute what PyTorch does. Nothing is written.
        ConfigError: the config has no backbone of ours, or no pixel statistics; `size`, `format`
            or the suffix of `out` is of no use.
        MissingDataError: a package is not installed; `crops` holds no pictures.
        BadDataError: a picture of `crops` cannot be read.
    """
    out = Path(out)
    files = _files(out, format, overwrite)
    start, runtime = runtime_of(format)
    cfg = load_config(config, list(cfg_options or ()))
    backbone = build_backbone(cfg)
    file = None if checkpoint is None or str(checkpoint) == "random" else Path(checkpoint)
    if file is not None:
        load_backbone(backbone, cfg, file)
    mean, std = pixel_statistics(cfg, file)
    size, size_from = _size(cfg, size)
    names, images = load_pictures(size, crops)
    strides = _strides(backbone)
    preset = backbone.encoder.preset
    metadata = {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "config": Path(config).stem,
        "backbone": type(backbone).__name__,
        "preset": preset.name,
        "heads": preset.heads,
        "size": list(size),
        "image_mean": [round(value / 255, 6) for value in mean],
        "image_std": [round(value / 255, 6) for value in std],
        "strides": list(strides),
        "checkpoint": "random" if file is None else file.name,
        "sha256": None if file is None else sha256(file),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.stem}.") as folder:
        made = Path(folder) / out.with_suffix(".onnx").name
        _write_onnx(fixed_encoder(backbone, size, mean, std), size, len(strides), metadata, made)
        if format == "openvino":
            made = _to_openvino(made, metadata)
        outputs = compare(start(made), backbone, images, mean, std, strides)
        refuse_differences(outputs, runtime, out)
        megabytes = sum(made.with_suffix(one.suffix).stat().st_size for one in files) / 1e6
        _put(made, files)
    return EncoderExport(
        path=out,
        format=format,
        preset=preset.name,
        heads=preset.heads,
        size=size,
        size_from=size_from,
        checkpoint="random" if file is None else str(file),
        sha256=metadata["sha256"],
        outputs=outputs,
        runtime=runtime,
        pictures=names,
        megabytes=megabytes,
        note=_note(backbone),
    )


def in_brief(export: EncoderExport) -> str:
    """An export for people to read."""
    digest = f", sha256 {export.sha256[:12]}" if export.sha256 else ""
    height, width = export.size
    lines = [
        f"{export.path}: {export.format}, {export.megabytes:.1f} MB",
        f"  encoder   {get_preset(export.preset)}; weights: {export.checkpoint}{digest}",
        f"  input     image (batch, {height}, {width}, 3) uint8 RGB; size from {export.size_from}",
        f"  compared  with PyTorch, run by {export.runtime} in batches of 1 and {PICTURES}",
        f"  pictures  {', '.join(export.pictures)}",
        "  output    shape                   stride  difference / deviation of the map: max, mean",
    ]
    for one in export.outputs:
        shape = "(batch, {}, {}, {})".format(*one.shape)
        lines.append(
            f"  {one.name:<9} {shape:<24}{one.stride:>5}  "
            f"{one.max_difference:.1e}, {one.mean_difference:.1e}"
        )
    return "\n".join(lines + [f"  note      {export.note}"] * bool(export.note))


# ------------------------------------------------------------------------------- what is exported


def build_backbone(cfg: Config) -> EncoderBackbone:
    """The backbone of a config from random weights, in eval mode.

    Raises:
        ConfigError: it is not a backbone of ours, or has an entry that it does not know.
    """
    section = copy.deepcopy(dict(cfg.model.backbone))
    kind = MODELS.get(section["type"]) if isinstance(section.get("type"), str) else None
    if kind is None or not issubclass(kind, EncoderBackbone):
        raise ConfigError(
            f"{cfg.filename}: model.backbone is no encoder of a segmentation or detection model.",
            type=str(section.get("type", "none")),
            known="ViTBackbone, HieraBackbone",
            of_a_pre_training="tools/export_pretrained.py writes its encoder; give that file with "
            "a config of configs/ade20k",
        )
    with explain_config_errors(cfg):
        return MODELS.build({**section, "init": "random"}).eval()


def load_backbone(backbone: EncoderBackbone, cfg: Config, file: Path) -> None:
    """Load a run's checkpoint or an encoder's file. `CheckpointError` if it does not fit."""
    if sniff(file) == "safetensors":
        check_init({**cfg.model, "backbone": {"init": str(file)}})
        load_into(backbone.encoder, file)
        return
    content = read_run_checkpoint(file)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise CheckpointError(
            "the file is not the checkpoint of a run: it holds no 'state_dict'.",
            file=str(file),
            of_a_run="work_dirs/.../iter_*.pth, as tools/train.py writes them",
            of_an_encoder="NAME.safetensors of tools/convert_checkpoint.py or export_pretrained.py",
        )
    model = nn.Module()
    model.backbone = backbone
    refuse_misfit(model, state, file, PART)
    model.load_state_dict({name: state[name] for name in model.state_dict()})


def pixel_statistics(cfg: Config, file: Path | None) -> tuple[list[float], list[float]]:
    """Mean and deviation of R, G and B from 0 to 255: the config's, or those of an encoder's file.

    Raises:
        ConfigError: there are none, or the model takes BGR.
    """
    given = cfg.model.get("data_preprocessor") or {}
    values = [given.get(name) for name in ("mean", "std")]
    if all(value is not None for value in values):
        if not given.get("bgr_to_rgb"):
            raise ConfigError(
                f"{cfg.filename}: the model takes BGR; files are written for RGB.",
                set="model.data_preprocessor.bgr_to_rgb=True, for encoders that saw RGB",
            )
    elif file is not None and sniff(file) == "safetensors":
        manifest = read_manifest(file)
        values = [[255 * v for v in of] for of in (manifest.image_mean, manifest.image_std)]
    mean, std = ([float(v) for v in value or ()] for value in values)
    if len(mean) != 3 or len(std) != 3 or not all(value > 0 for value in std):
        raise ConfigError(
            f"{cfg.filename} does not say how pixels are normalised.",
            set="model.data_preprocessor.mean and .std, of R, G and B from 0 to 255",
        )
    return mean, std


def _size(cfg: Config, size: int | Sequence[int] | None) -> tuple[tuple[int, int], str]:
    """(Height, width) in pixels, and what said so."""
    places = {
        "model.test_cfg.crop_size": (cfg.model.get("test_cfg") or {}).get("crop_size"),
        "model.data_preprocessor.size": (cfg.model.get("data_preprocessor") or {}).get("size"),
        "model.backbone.img_size": cfg.model.backbone.get("img_size"),
        "model.backbone.rel_pos_size": cfg.model.backbone.get("rel_pos_size"),
    }
    found = [(value, place) for place, value in places.items() if value is not None]
    value, place = (size, "--size") if size is not None else (found or [(None, "")])[0]
    sides = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ConfigError(
            f"{cfg.filename}: the size of the images is not known."
            if value is None
            else f"{value!r} is not a size: it takes two whole numbers of pixels.",
            set="--size HEIGHT,WIDTH",
        )
    return sides, place


def _strides(backbone: EncoderBackbone) -> tuple[int, ...]:
    """Pixels from one entry to the next of each map."""
    if isinstance(backbone, HieraBackbone):
        return tuple(backbone.encoder.strides[stage] for stage in backbone.out_stages)
    return (backbone.encoder.preset.patch,) * len(backbone.out_blocks)


def _note(backbone: EncoderBackbone) -> str:
    tables = relative_positions(backbone)
    if tables and not any(parameter.any() for table in tables for parameter in table.parameters()):
        return (
            "all relative positions are zero: --cfg-options model.backbone.rel_pos=False gives the "
            "same maps from a smaller, faster file"
        )
    return ""


# ---------------------------------------------------------------------------------------- the file


def _files(out: Path, format: str, overwrite: bool) -> list[Path]:
    """All files that are written, the one that is opened first."""
    if format not in SUFFIXES:
        raise ConfigError(f"there is no format {format!r}.", known=", ".join(SUFFIXES))
    if out.suffix != SUFFIXES[format][0]:
        raise ConfigError(
            f"the name of {out} does not end in {SUFFIXES[format][0]}.", format=format
        )
    files = [out.with_suffix(suffix) for suffix in SUFFIXES[format]]
    for file in files:
        if file.exists() and not overwrite:
            raise CheckpointError("the output is there already.", file=str(file), do="--force")
    return files


def _write_onnx(
    module: FixedEncoder, size: tuple[int, int], maps: int, metadata: dict, path: Path
) -> None:
    example = {"image": torch.zeros(2, *size, 3, dtype=torch.uint8)}
    model = onnx_graph(module, example, [f"map{i}" for i in range(maps)], any_batch=True)
    save_onnx(model, path, {KEY: json.dumps(metadata)})


def _to_openvino(path: Path, metadata: dict) -> Path:
    """Write NAME.xml and NAME.bin beside NAME.onnx, in float32."""
    import openvino

    model = core().read_model(path)
    model.set_rt_info(json.dumps(metadata), [KEY])
    openvino.save_model(model, path.with_suffix(".xml"), compress_to_fp16=False)
    return path.with_suffix(".xml")


def _put(made: Path, files: Sequence[Path]) -> None:
    """Give finished files their names: the first, which needs the others, last."""
    first, *others = files
    if others:
        first.unlink(missing_ok=True)  # never an old one beside new weights
    try:
        for file in (*others, first):
            with whole_file(file) as aside:
                os.replace(made.with_suffix(file.suffix), aside)
    except BaseException:
        for file in others:
            file.unlink(missing_ok=True)
        raise
