"""Pictures of what a trained model makes of images that a person names."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import cv2
import torch
from torch import Tensor

from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError
from lightvit_bench.pretrain.augment import UnreadableImage, cut, open_image, resize
from lightvit_bench.pretrain.load import load_run
from lightvit_bench.pretrain.pictures import contact_sheet
from lightvit_bench.writing import whole_file


def draw_reconstructions(
    config: str,
    checkpoint: str | PathLike,
    images: Sequence[str | PathLike],
    out: str | PathLike,
    *,
    seed: int = 0,
    cfg_options: Sequence[str] = (),
) -> None:
    """Draw originals, masked and predicted pictures of the images' central squares into `out`.

    Raises:
        BadDataError, MissingDataError: an image cannot be read, or is not there.
        CheckpointError, ConfigError: see `load_run`; or the model reconstructs nothing, or the
            ending of `out` names no picture format.
    """
    suffix = Path(out).suffix or ".png"
    if not cv2.haveImageWriter(f"x{suffix}"):
        raise ConfigError(f"no picture format is known by the ending of {out}.", set="--out x.png")
    model, _ = load_run(config, checkpoint, cfg_options)
    if not model.masked:
        raise ConfigError(f"{config} reconstructs no images: it learns from whole ones.")
    side = model.image_size[0]
    inputs = torch.stack([central_square(image, side) for image in images])
    sheet = contact_sheet(model.reconstruct(inputs, seed=seed))
    encoded = cv2.imencode(suffix, cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes()
    with whole_file(out) as aside:
        aside.write_bytes(encoded)


def central_square(path: str | PathLike, side: int) -> Tensor:
    """The largest central square of an image file, resized: uint8 (3, side, side), RGB."""
    if not Path(path).is_file():
        raise MissingDataError("the image is not there.", looked_for=str(path))
    encoded = Path(path).read_bytes()
    try:
        header = open_image(encoded)
        size = min(header.height, header.width)
        top, left = (header.height - size) // 2, (header.width - size) // 2
        pixels = cut(encoded, header, (top, left, size, size), (side, side))
    except UnreadableImage as error:
        raise BadDataError(f"{path} cannot be read.", cause=str(error)) from None
    return resize(pixels, (side, side), "bicubic")
