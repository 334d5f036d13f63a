"""One picture through a trained model: what the tasks' `predict` modules share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from lightvit_bench.data.seg_check import picture_problem
from lightvit_bench.errors import BadDataError, CheckpointError, ConfigError
from lightvit_bench.writing import whole_file

NOT_FOR_ARRAYS = ("LoadAnnotations", "FilterAnnotations")  # steps that a picture alone cannot take


def read_picture(path: str | Path, *, turned: bool = True) -> np.ndarray:
    """A picture file as (H, W, 3) uint8 BGR; grey is repeated, 16 bits are scaled to 8.

    With `turned` as its EXIF orientation has it (see `turns_pictures`). Decoded by Pillow first,
    because OpenCV takes a truncated JPEG without a word. Raises `BadDataError` if it cannot be
    read, or is cut off.
    """
    path = Path(path)
    problem = picture_problem(path)
    if problem:
        raise BadDataError(f"{path} cannot be used: {problem}.")
    flag = cv2.IMREAD_COLOR if turned else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imread(str(path), flag)
    if image is None:
        raise BadDataError(f"{path} is of a kind of picture that OpenCV cannot read.")
    return image


def turns_pictures(pipeline: Sequence[Mapping]) -> bool:
    """Whether a pipeline's config loads pictures as EXIF turns them, as OpenCV does if not told."""
    kind = str(pipeline[0].get("color_type", "color")) if pipeline else "color"
    return not (kind.endswith("ignore_orientation") or kind == "unchanged")


def check_picture_name(path: str | Path) -> None:
    """`ConfigError` if no picture can be written to `path`, before any work is done.

    Its ending names no picture format, it is a folder, or a file is where its folder should be.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"--out {path} is a folder.", set=f"--out {path / 'x.png'}")
    above = next((folder for folder in path.parents if folder.exists()), None)
    if above is not None and not above.is_dir():
        raise ConfigError(f"--out {path} cannot be written: {above} is a file, not a folder.")
    if not cv2.haveImageWriter(str(path)):
        raise ConfigError(f"no picture format is known by the ending of {path}.", set="--out x.png")


def write_picture(path: str | Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 BGR whole or not at all, in the format of the ending; folders are made.

    `OSError` says what the disk refused; OpenCV's own writing would return False.
    """
    path = Path(path)
    done, content = cv2.imencode(path.suffix, image)
    if not done:
        raise ConfigError(f"OpenCV cannot write {image.shape[1]} x {image.shape[0]} px to {path}.")
    with whole_file(path) as aside:
        aside.write_bytes(content)


def find_device(name: str | None) -> torch.device:
    """The device called `name`; by default CUDA where there is any. `ConfigError` if not there."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        found = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        raise ConfigError(
            f"there is no device {name!r}: {str(error).splitlines()[0]}",
            there_is=", ".join(["cpu", *found]),
        ) from error
    return device


def classes_of(model: torch.nn.Module, checkpoint: str | Path) -> list[str]:
    """The class names that a run's checkpoint brought; `CheckpointError` if it has none."""
    classes = model.dataset_meta.get("classes")
    if not classes:
        raise CheckpointError(f"{checkpoint} does not name its classes (meta.dataset_meta).")
    return list(classes)


def array_pipeline(pipeline: list[dict]) -> list[dict]:
    """A test pipeline that starts from dict(img=picture) instead of a file's path."""
    steps = [dict(step) for step in pipeline if step["type"] not in NOT_FOR_ARRAYS]
    return [dict(type="LoadImageFromNDArray"), *steps[1:]]
