"""Encoders to and from files.

`save_encoder` writes safetensors with a manifest and a fingerprint. Loading reads the tensors into
an encoder exactly as the manifest describes it, checks that it still computes what it did when it
was saved, and only then brings the tensors into the encoder asked for.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from lightvit_bench.checkpoint.files import (
    open_safetensors,
    read_checkpoint,
    read_safetensors,
    sha256,
    sniff,
)
from lightvit_bench.checkpoint.fingerprint import compare, fingerprint
from lightvit_bench.checkpoint.fit import (
    Options,
    Transfer,
    build_quietly,
    load_strictly,
    transfer,
)
from lightvit_bench.checkpoint.hints import conversion_hint, default_hint
from lightvit_bench.checkpoint.manifest import (
    HEADS_FROM,
    IMAGENET_MEAN,
    IMAGENET_STD,
    KEY,
    Manifest,
    Parent,
    from_json,
)
from lightvit_bench.checkpoint.report import LoadReport
from lightvit_bench.checkpoint.state_dicts import HeadCountWarning
from lightvit_bench.errors import CheckpointError
from lightvit_bench.vit import Encoder, HieraPreset, ViTPreset, get_preset
from lightvit_bench.writing import whole_file

EXTRA = "extra."
log = logging.getLogger(__name__)


class BrokenEncoder(CheckpointError):
    """An encoder is not saved, for it computes NaN or infinity."""


def save_encoder(
    path: str | PathLike,
    encoder: Encoder,
    *,
    recipe: str,
    epochs: int | None = None,
    parents: Sequence[Parent] = (),
    extra: Mapping[str, Mapping[str, Tensor]] | None = None,
    image_mean: Sequence[float] = IMAGENET_MEAN,
    image_std: Sequence[float] = IMAGENET_STD,
    heads_from: str = "model",
) -> Manifest:
    """Save an encoder with its manifest and fingerprint, whole or not at all; float32.

    Args:
        parents: the files it was made from.
        extra: group -> name -> tensor, kept beside the encoder.
        image_mean, image_std: per RGB channel, for pixels from 0 to 1.
        heads_from: a key of `manifest.HEADS_FROM`.

    Raises:
        BrokenEncoder: the encoder computes NaN or infinity.
        CheckpointError: its preset is not the registered one of that name.
        ConfigError: its preset is not registered.
    """
    preset, options = encoder.preset, Options.of(encoder)
    if get_preset(preset.name) != preset:
        raise CheckpointError(f"the encoder's preset is not the registered {preset.name}.")
    print_of = fingerprint(encoder)
    if compare(print_of, print_of):
        raise BrokenEncoder(
            "the encoder was not saved: it computes NaN or infinity.", file=str(path)
        )
    groups = {group: dict(tensors) for group, tensors in (extra or {}).items() if tensors}
    if any("." in group for group in groups):
        raise ValueError(f"names of groups have no dots: {list(groups)}")
    manifest = Manifest(
        preset=preset.name,
        heads=preset.heads,
        width=preset.width,
        depth=preset.depth,
        patch=preset.patch,
        grid=options.grid,
        cls_token=options.cls_token,
        norm="final" if options.final_norm else "none",
        layer_scale=options.layer_scale,
        rel_pos=options.rel_pos,
        image_mean=tuple(float(x) for x in image_mean),
        image_std=tuple(float(x) for x in image_std),
        recipe=recipe,
        epochs=epochs,
        parents=tuple(parents),
        heads_from=heads_from,
        extra=tuple(groups),
        fingerprint=print_of,
    )
    if from_json(manifest.to_json(), path) != manifest:
        raise CheckpointError("the encoder was not saved: its manifest is not valid.")
    tensors = {name: _stored(tensor) for name, tensor in encoder.state_dict().items()}
    for group, members in groups.items():
        for name, tensor in members.items():
            tensors[f"{EXTRA}{group}.{name}"] = _stored(tensor)
    with whole_file(path) as aside:
        try:
            safetensors.torch.save_file(tensors, aside, {KEY: manifest.to_json()})
        except safetensors.SafetensorError as error:
            _raise_as_os_error(error)
            raise
    return manifest


def _raise_as_os_error(error: safetensors.SafetensorError) -> None:
    """Raise what the system said to the library ("os error 28": no space) as Python has it."""
    if number := re.search(r"\(os error (\d+)\)", str(error)):
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _stored(tensor: Tensor) -> Tensor:
    """A tensor of its own memory on the CPU, float32 where it is of numbers with a point."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).clone().contiguous()


def read_manifest(path: str | PathLike) -> Manifest:
    """The manifest of a checkpoint, without reading its tensors.

    Raises:
        CheckpointError: there is no such file, it has no manifest, or not a valid one.
    """
    _exists(path)
    manifest = _manifest(path)
    if manifest is None:
        raise CheckpointError(
            "the checkpoint has no manifest of lightvit_bench.",
            file=str(path),
            convert="tools/convert_checkpoint.py SOURCE OUT --from NAME",
        )
    return manifest


def read_extra(path: str | PathLike, group: str) -> dict[str, Tensor]:
    """A group of tensors kept beside the encoder ("head", "fc_norm", ...), names without prefix.

    Raises:
        CheckpointError: the checkpoint has no such group.
    """
    manifest = read_manifest(path)
    if group not in manifest.extra:
        raise CheckpointError(
            f"the checkpoint keeps no {group!r}.",
            file=str(path),
            kept=", ".join(manifest.extra) or "nothing",
        )
    start = f"{EXTRA}{group}."
    with open_safetensors(path) as file:
        names = [name for name in file.keys() if name.startswith(start)]
        return {name.removeprefix(start): file.get_tensor(name) for name in names}


def load_encoder(path: str | PathLike, preset: str | None = None, **encoder_kwargs: Any) -> Encoder:
    """The encoder in a checkpoint.

    Args:
        preset: the architecture expected; refused if the manifest says another. Required for a
            file without manifest.
        encoder_kwargs: of the encoder's class, where they differ from the checkpoint's (img_size,
            cls_token=False, final_norm=False, drop_path, checkpointing, ...); see `load_into`.

    Raises:
        CheckpointError: as `load_into`.
        ConfigError: there is no such preset.
    """
    source = _read_source(path, None if preset is None else get_preset(preset))
    if not encoder_kwargs:
        encoder = source.encoder
        done = Transfer(tuple(encoder.state_dict()), (), (), ())
    else:
        encoder = source.options.build(source.encoder.preset, **encoder_kwargs)
        done = transfer(source.encoder, encoder, path)
    log.info("%s", _report(source, encoder, done, sha256(path)))
    return encoder


def load_into(encoder: Encoder, path: str | PathLike, *, fresh_norm: bool = False) -> LoadReport:
    """Load a checkpoint into an encoder that may be built with other options.

    The position table and the tables of relative positions are resampled to the encoder's grid; a
    CLS token or final norm it lacks is left out; LayerScale or relative positions that the file
    lacks start as built. `fresh_norm`: so may a final norm (D²-MAE and fine-tuned files have none).

    Raises:
        CheckpointError: the file is missing, damaged or unsafe; has another architecture, head
            count included; computes something else than when it was saved; or does not fit.
    """
    source = _read_source(path, encoder.preset)
    done = transfer(source.encoder, encoder, path, fresh_norm=fresh_norm)
    return _report(source, encoder, done, sha256(path))


@dataclass(frozen=True)
class _Source:
    """A file's encoder, as the file describes it."""

    path: Path
    encoder: Encoder
    options: Options
    manifest: Manifest | None


def _read_source(path: str | PathLike, preset: ViTPreset | HieraPreset | None) -> _Source:
    """Read a checkpoint into an encoder of its own architecture and check what it computes."""
    _exists(path)
    manifest = _manifest(path)
    if manifest is None:
        return _read_bare(path, preset)
    if preset is not None:
        _refuse_other_preset(path, manifest, preset)
    if manifest.heads_from == "unverified":
        warnings.warn(
            f"{path}: its {manifest.heads} heads are the word of whoever converted it.",
            HeadCountWarning,
            stacklevel=4,
        )
    tensors, _ = read_safetensors(path)
    groups = {name.split(".")[1] for name in tensors if name.startswith(EXTRA)}
    if groups != set(manifest.extra):
        raise CheckpointError(
            "the checkpoint's extra tensors are not those of its manifest.",
            file=str(path),
            manifest=", ".join(manifest.extra) or "none",
            found=", ".join(sorted(groups)) or "none",
        )
    options = Options(
        grid=manifest.grid,
        cls_token=manifest.cls_token,
        final_norm=manifest.norm == "final",
        layer_scale=manifest.layer_scale,
        rel_pos=manifest.rel_pos,
    )
    encoder = build_quietly(get_preset(manifest.preset), options)
    state = {name: tensor for name, tensor in tensors.items() if not name.startswith(EXTRA)}
    load_strictly(encoder, state, path)
    if differences := compare(manifest.fingerprint, fingerprint(encoder)):
        raise CheckpointError(
            "the checkpoint does not compute what it did when it was saved.",
            file=str(path),
            differences=differences[:4],
            cause="changed or damaged tensors, or an encoder that has changed since",
        )
    return _Source(Path(path), encoder, options, manifest)


def _read_bare(path: str | PathLike, preset: ViTPreset | HieraPreset | None) -> _Source:
    """A file without manifest: exactly an encoder's tensors, and a preset on the caller's word."""
    state = read_checkpoint(path)
    hint = conversion_hint(path, state)
    is_tensors = isinstance(state, Mapping) and all(isinstance(v, Tensor) for v in state.values())
    if not is_tensors or "pos_embed" not in state:
        what = "this is a file of another project, or not an encoder's."
        if "export" in hint:
            what = "this is the checkpoint of a pre-training, which holds an encoder among others."
        raise CheckpointError(what, file=str(path), **hint)
    if preset is None:
        raise CheckpointError(
            "the checkpoint has no manifest: its head count cannot be told.",
            file=str(path),
            do="give the preset, whose name holds the head count",
            **hint,
        )
    options = Options.of_state(state)
    encoder = build_quietly(preset, options)
    try:
        load_strictly(encoder, state, path)
    except CheckpointError as error:
        raise CheckpointError(error.message, **error.details, **hint) from None
    warnings.warn(
        f"{path} has no manifest: taken as {preset.name} with {preset.heads} heads on the caller's "
        "word. A wrong head count fits every shape and gives garbage.",
        HeadCountWarning,
        stacklevel=4,
    )
    return _Source(Path(path), encoder, options, None)


def _refuse_other_preset(
    path: str | PathLike, manifest: Manifest, preset: ViTPreset | HieraPreset
) -> None:
    """The architecture asked for must be the manifest's; the head count does not show in shapes."""
    of_file = get_preset(manifest.preset)
    differing = [
        name
        for name in ("heads", "width", "depth", "stages", "patch", "mlp_ratio")
        if getattr(of_file, name, None) != getattr(preset, name, None)
    ]
    if not differing:
        return
    consequence = "its tensors do not fit"
    if differing == ["heads"]:
        consequence = (
            f"with {preset.heads} heads instead of {manifest.heads} every tensor fits, nothing "
            "fails, and the features are garbage"
        )
    raise CheckpointError(
        f"the checkpoint is a {manifest.preset}, not a {preset.name}.",
        file=str(path),
        differing=", ".join(
            "{} {} in the file, {} asked for".format(
                name, *(getattr(kind, name, "none") for kind in (of_file, preset))
            )
            for name in differing
        ),
        if_loaded_anyway=consequence,
        heads_known=HEADS_FROM[manifest.heads_from],
    )


def _exists(path: str | PathLike) -> None:
    if not Path(path).exists():
        raise CheckpointError("the checkpoint is not there.", **default_hint(path))


def _manifest(path: str | PathLike) -> Manifest | None:
    if sniff(path) != "safetensors":
        return None
    with open_safetensors(path) as file:
        text = (file.metadata() or {}).get(KEY)
    return None if text is None else from_json(text, path)


def _report(source: _Source, encoder: Encoder, done: Transfer, digest: str) -> LoadReport:
    manifest = source.manifest
    norm = "none"
    if Options.of(encoder).final_norm:
        norm = "loaded" if "norm.weight" in done.loaded else "fresh"
    return LoadReport(
        file=str(source.path),
        sha256=digest,
        preset=encoder.preset.name,
        heads=encoder.preset.heads,
        architecture=str(encoder.preset),
        heads_from=manifest.heads_from if manifest else "unverified",
        recipe=manifest.recipe if manifest else "unknown",
        loaded=done.loaded,
        missing=done.fresh,
        unexpected=done.left_out,
        resampled=done.resampled,
        norm=norm,
        aside=manifest.extra if manifest else (),
        verified=manifest is not None,
    )
