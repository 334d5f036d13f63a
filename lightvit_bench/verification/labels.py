"""Scores of label PNGs against masks, by `metrics.segmentation`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lightvit_bench.bench.parts import StoredFiles
from lightvit_bench.bench.provenance import sha256_of_files
from lightvit_bench.bench.record import RunRecord
from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.metrics.segmentation import confusion, scores
from lightvit_bench.verification.keeping import LABELS, MASKS, mask_name
from lightvit_bench.verification.tracks import check_kinds, names_of

_IGNORED = 2**15 - 1  # beyond what a PNG of 8 bits holds


def labels_again(
    record: RunRecord, predictions: Path, truth: Path
) -> tuple[dict[str, float | None], list[str]]:
    """miou, macc and aacc of a record of segmentation, and what is not as it says."""
    check_kinds(record, (LABELS,), (MASKS,))
    said, masks = record.predictions, record.truth
    names, problems = names_of(said, predictions, ".png")
    files = {f"{name}.png": predictions / f"{name}.png" for name in names}
    truths = {name: _mask(truth, name, masks) for name in names}
    problems += differ(said, files, f"the predictions in {predictions}")
    found = {path.name: path for path in truths.values()}
    problems += differ(masks, found, f"the masks in {truth}")
    matrix = 0
    for name in names:
        predicted = _read(files[f"{name}.png"]).astype(np.int16) - int(said.options["first"])
        matrix = matrix + _counted(predicted, truths[name], record)
    try:
        whole = scores(matrix)
    except ValueError as error:
        raise BadDataError(f"{error}.") from None
    return {"miou": whole.miou, "macc": whole.macc, "aacc": whole.aacc}, problems


def differ(said: StoredFiles, files: Mapping[str, Path], what: str) -> list[str]:
    """A line if files are not those that were stored."""
    if len(files) != said.files:
        return [f"{what} are {len(files)} files, and the record says {said.files}"]
    if sha256_of_files(files) != said.sha256:
        return [f"{what} are not those of the record: a file was changed, or is another's"]
    return []


def _counted(predicted: np.ndarray, mask: Path, record: RunRecord) -> np.ndarray:
    first, ignore = (int(record.truth.options[key]) for key in ("first", "ignore"))
    value = _read(mask).astype(np.int16)
    label = np.where((value < first) | (value == ignore), _IGNORED, value - first)
    try:
        return confusion(predicted, label, int(record.predictions.options["classes"]), _IGNORED)
    except ValueError as error:
        raise BadDataError(f"{mask.name}: {error}.") from None


def _mask(folder: Path, name: str, said: StoredFiles) -> Path:
    file = mask_name(name, str(said.options["suffix"]), str(said.options["ending"]))
    path = folder / file
    if path.is_file():
        return path
    below = sorted(folder.rglob(file))  # Cityscapes has a folder a town
    if len(below) != 1:
        raise MissingDataError(
            f"the mask of a prediction is not there: {file}.", looked_for=str(folder)
        )
    return below[0]


def _read(path: Path) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P"):
                raise BadDataError(f"{path} is no picture of labels.", mode=image.mode)
            return np.array(image)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingDataError("a file is not there.", looked_for=str(path)) from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise BadDataError("a PNG cannot be read.", file=str(path), because=str(error)) from None
