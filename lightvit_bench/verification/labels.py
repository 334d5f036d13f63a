"""Scores of label PNGs against masks, by `metrics.segmentation`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lightvit_bench.bench.parts import StoredFiles
from lightvit_bench.bench.provenance import sha256_of_files
from lightvit_bench.bench.record import RunRecord
from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.metrics.segmentation import confusion, scores
from lightvit_bench.verification.keeping import LABELS, MASKS, mask_name
from lightvit_bench.verification.protocols import Labels, Whole, coverage, picture_protocol
from lightvit_bench.verification.tracks import check_kinds, names_of

_IGNORED = 2**15 - 1  # beyond what a PNG of 8 bits holds
_VOID = 255  # what mmsegmentation makes of a zero label, and keeps where it takes 1 off
_VALUES = 256  # that such a PNG can hold: further classes are in no picture, and have no score


def labels_again(
    record: RunRecord, predictions: Path, truth: Path
) -> tuple[dict[str, float | None], list[str]]:
    """miou, macc and aacc of a record of segmentation, and what is not as it says."""
    check_kinds(record, (LABELS,), (MASKS,))
    said, masks = record.predictions, record.truth
    names, problems = names_of(said, predictions, ".png")
    files = {f"{name}.png": predictions / f"{name}.png" for name in names}
    there = _masks(truth, masks)
    truths = {name: _mask(there, name, masks, truth) for name in names}
    problems += differ(said, files, f"the predictions in {predictions}")
    found = {path.name: path for path in truths.values()}
    problems += differ(masks, found, f"the masks in {truth}")
    matrix = 0
    for name in names:
        predicted = _read(files[f"{name}.png"]).astype(np.int32) - said.options["first"]
        matrix = matrix + _counted(predicted, truths[name], record)
    try:
        whole = scores(matrix)
    except ValueError as error:
        raise BadDataError(f"{error}.") from None
    problems += _coverage(record, names, list(there))
    return {"miou": whole.miou, "macc": whole.macc, "aacc": whole.aacc}, problems


def _coverage(record: RunRecord, names: list[str], masks: list[str]) -> list[str]:
    """What the record says of its pictures and is not so: all that have a mask are the whole set,
    or those that were judged (of a set that a list chooses)."""
    suffix, ending = (record.truth.options[key] for key in ("suffix", "ending"))
    options = record.predictions.options
    labels = Labels(*(options[key] for key in ("classes", "class_digest", "first", "ignore")))
    wholes, splits = [], set()
    for one in ([mask.removesuffix(suffix) + ending for mask in masks], names):
        title, split = record.dataset or "", record.split or ""
        protocol, shown = picture_protocol(title, split, one, labels)
        wholes.append(Whole(protocol, frozenset({len(one)})))
        splits |= {shown} if protocol == record.protocol else set()
    problems = coverage(record, len(names), wholes)
    if splits and (record.split or "") not in splits:
        problems.append(
            f"{record.protocol} is of {splits.pop()}, and the record's split is {record.split}"
        )
    return problems


def differ(said: StoredFiles, files: Mapping[str, Path], what: str) -> list[str]:
    """A line if files are not those that were stored."""
    if len(files) != said.files:
        return [f"{what} are {len(files)} files, and the record says {said.files}"]
    if sha256_of_files(files) != said.sha256:
        return [f"{what} are not those of the record: a file was changed, or is another's"]
    return []


def _counted(predicted: np.ndarray, mask: Path, record: RunRecord) -> np.ndarray:
    first, ignore = (record.truth.options[key] for key in ("first", "ignore"))
    value = _read(mask).astype(np.int32)
    void = (value < first) | ((value == _VOID) & (first > 0))
    label = np.where(void, _VOID, value - first)
    label = np.where(label == ignore, _IGNORED, label)
    classes = min(record.predictions.options["classes"], _VALUES)
    try:
        return confusion(predicted, label, classes, _IGNORED)
    except ValueError as error:
        raise BadDataError(f"{mask.name}: {error}.") from None


def _masks(folder: Path, said: StoredFiles) -> dict[str, list[Path]]:
    """File name -> where it lies, of all masks at and below a folder."""
    found: dict[str, list[Path]] = {}
    for base, _, files in os.walk(folder, followlinks=True):  # Cityscapes has a folder a town
        for name in files:
            if name.endswith(said.options["suffix"]) and name[0] != ".":
                found.setdefault(name, []).append(Path(base) / name)
    return found


def _mask(there: dict[str, list[Path]], name: str, said: StoredFiles, folder: Path) -> Path:
    file = mask_name(name, said.options["suffix"], said.options["ending"])
    places = there.get(file, [])
    at_top = [path for path in places if path.parent == folder]
    if len(at_top or places) != 1:
        raise MissingDataError(
            f"the mask of a prediction is not there: {file}.", looked_for=str(folder)
        )
    return (at_top or places)[0]


def _read(path: Path) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P"):
                raise BadDataError(f"{path} is no picture of labels.", mode=image.mode)
            return np.array(image)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingDataError("a file is not there.", looked_for=str(path)) from None
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadDataError("a PNG cannot be read.", file=str(path), because=str(error)) from None
