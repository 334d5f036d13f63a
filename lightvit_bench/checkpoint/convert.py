"""From a published file to one of ours."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from os import PathLike
from pathlib import Path

from lightvit_bench.checkpoint.converters import Conversion, convert, get_converter
from lightvit_bench.checkpoint.encoder import save_encoder
from lightvit_bench.checkpoint.files import read_checkpoint, sha256
from lightvit_bench.checkpoint.fit import Options, build_quietly, load_strictly
from lightvit_bench.checkpoint.manifest import IMAGENET_MEAN, IMAGENET_STD, Parent
from lightvit_bench.errors import CheckpointError
from lightvit_bench.vit import Encoder


def encoder_of(conversion: Conversion, file: str | PathLike = "") -> Encoder:
    """The converted encoder, built as its tensors show and strictly loaded (rule 8)."""
    encoder = build_quietly(conversion.preset, Options.of_state(conversion.encoder))
    load_strictly(encoder, conversion.encoder, file)
    return encoder


def convert_file(
    source: str | PathLike,
    out: str | PathLike,
    name: str,
    *,
    preset: str | None = None,
    recipe: str | None = None,
    drop: Collection[str] = (),
    image_mean: Sequence[float] = IMAGENET_MEAN,
    image_std: Sequence[float] = IMAGENET_STD,
    overwrite: bool = False,
) -> Conversion:
    """Convert the published file `source` into `out` (safetensors); arguments as `convert`.

    Raises:
        CheckpointError: `out` exists and `overwrite` is not set, or as `convert` and
            `save_encoder`.
    """
    if Path(out).exists() and not overwrite:
        raise CheckpointError("the output is there already.", file=str(out), do="--force")
    get_converter(name)  # a misspelt name shows before a large file is read
    content = read_checkpoint(source)
    try:
        conversion = convert(content, name, preset=preset, recipe=recipe, drop=drop)
    except CheckpointError as error:
        raise CheckpointError(error.message, file=str(source), **error.details) from None
    save_encoder(
        out,
        encoder_of(conversion, source),
        recipe=conversion.recipe,
        epochs=conversion.epochs,
        parents=[Parent(Path(source).name, sha256(source))],
        extra=conversion.extra,
        image_mean=image_mean,
        image_std=image_std,
        heads_from=conversion.heads_from,
    )
    return conversion
