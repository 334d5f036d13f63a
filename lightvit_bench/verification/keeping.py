"""What a record says of predictions and truth, so that its score can be computed again.

Each kind of `StoredFiles` and its options:

    tracks              a folder of SEQ.txt; rule (LaSOT's, as asked for), names
    lasot-annotations   whatever `data.lasot_annotations` reads
    got10k-annotations  GOT-10k's folder; split
    label-png           a folder of NAME.png; classes, class_digest, first, ignore, names
    label-masks         a folder of masks; first, ignore, suffix, ending
    coco-json           results, or annotations; of results images and categories

`verification.options` checks them.

`names`, joined by "/", are given where the folder holds other files of the kind as well; without it
all count. Digests are of the files that count: `provenance.sha256_of_files`, or of annotations
`truth_digest`, which does not depend on whether they lie in folders or in archives.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from lightvit_bench.bench.parts import StoredFiles
from lightvit_bench.bench.provenance import sha256_of, sha256_of_files, shown_path
from lightvit_bench.errors import ConfigError, MissingDataError

TRACKS, LASOT, GOT10K = "tracks", "lasot-annotations", "got10k-annotations"
LABELS, MASKS, COCO = "label-png", "label-masks", "coco-json"
_MOST = 10_000_000  # numbers that ranges of a few letters may hold
BETWEEN_NAMES = "/"  # which no file's name can hold


def check_record_folder(folder: str | os.PathLike) -> None:
    """Make a folder for records; `ConfigError` if it cannot take one. Called before a long run."""
    path = Path(folder)
    trial = path / f".{uuid.uuid4().hex[:8]}.part"
    try:
        path.mkdir(parents=True, exist_ok=True)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise ConfigError(
            f"--record {folder}: no record can be written there.",
            because=error.strerror or str(error),
            file=str(error.filename or path),
            set="--record to a folder that can be written to",
        ) from None


def stored_tracks(folder: str | os.PathLike, names: Collection[str], rule: str) -> StoredFiles:
    """The `SEQ.txt` of these sequences, as `judge_folder` read them."""
    from lightvit_bench.tracking.judging.judge import COMPANIONS

    wanted = set(names)
    there = {path.stem for path in _listed(Path(folder), ".txt")}
    others = {name for name in there - wanted if not name.endswith(COMPANIONS)}
    files = {f"{name}.txt": Path(folder) / f"{name}.txt" for name in wanted}
    options = {"rule": rule, **_names(wanted, bool(others))}
    return StoredFiles(TRACKS, shown_path(folder), len(files), sha256_of_files(files), options)


def stored_truth(
    kind: str,
    path: str | os.PathLike,
    truth: Mapping[str, tuple[np.ndarray, np.ndarray]],
    **options: str,
) -> StoredFiles:
    """Annotations of sequences: name -> (boxes (N, 4), flags (N,)), of those that were judged."""
    return StoredFiles(kind, shown_path(path), len(truth), truth_digest(truth), options)


def truth_digest(truth: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """SHA-256 of annotations as they were understood: names, boxes and flags, sorted by name.

    The same from a folder, an archive or another layout of the same figures.
    """
    digest = hashlib.sha256()
    for name in sorted(truth):
        boxes, flags = truth[name]
        boxes = np.asarray(boxes, np.float64) + 0.0  # no negative zero
        boxes = np.where(np.isnan(boxes), np.nan, boxes).astype("<f8")
        held = hashlib.sha256(boxes.tobytes() + np.asarray(flags, bool).tobytes()).hexdigest()
        digest.update(f"{name}\0{len(boxes)}\0{held}\n".encode())
    return digest.hexdigest()


def stored_labels(
    folder: str | os.PathLike,
    names: Iterable[str],
    *,
    classes: int,
    class_digest: str,
    first: int,
    ignore: int,
) -> StoredFiles:
    """Predicted label PNGs: class k has the value k + `first`.

    `names`: of the images, without ending. `class_digest`: `protocols.names_sha256` of the classes'
    names. `MissingDataError` if an image has no PNG.
    """
    wanted, folder = set(names), Path(folder)
    files = {f"{name}.png": folder / f"{name}.png" for name in wanted}
    _demand(files, folder)
    others = {path.stem for path in _listed(folder, ".png")} - wanted
    options = {"classes": classes, "class_digest": class_digest, "first": first, "ignore": ignore}
    options |= _names(wanted, bool(others))
    return StoredFiles(LABELS, shown_path(folder), len(files), sha256_of_files(files), options)


def stored_masks(
    masks: Mapping[str, Path],
    shown: str | os.PathLike,
    *,
    first: int,
    ignore: int,
    suffix: str = ".png",
    ending: str = "",
) -> StoredFiles:
    """The masks that labels were judged against.

    Args:
        masks: name of the prediction -> file.
        shown: the folder as the config has it, `data/...` for what lies below $LIGHTVIT_DATA.
        first: of the classes' values.
        ignore: what is ignored, as mmsegmentation has it: `first` is taken off, and what was below
            it is 255.
        suffix, ending: the mask of prediction NAME+ending is NAME+suffix.
    """
    files = {mask_name(name, suffix, ending): path for name, path in masks.items()}
    options = {"first": first, "ignore": ignore, "suffix": suffix, "ending": ending}
    return StoredFiles(MASKS, shown_path(shown), len(files), sha256_of_files(files), options)


def mask_name(name: str, suffix: str, ending: str) -> str:
    """The file name of the mask of prediction `name`."""
    return name.removesuffix(ending) + suffix


def stored_coco(path: str | os.PathLike, shown: str | os.PathLike, **options: str) -> StoredFiles:
    """One JSON file in COCO's format: results or annotations."""
    return StoredFiles(COCO, shown_path(shown), 1, sha256_of(path), options)


def as_ranges(numbers: Iterable[int]) -> str:
    """Whole numbers in one line: "0-9 12 20-24". "" for none."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return " ".join(f"{a}-{b}" if b > a else str(a) for a, b in parts)


def from_ranges(text: str) -> list[int]:
    """The numbers that `as_ranges` wrote, ascending; ValueError for other text."""
    found: list[int] = []
    for part in text.split():
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise ValueError(f"{part[:40]!r} is no range")
        start, end = int(first), int(last or first)
        if end < start or len(found) + end - start >= _MOST or found[-1:] >= [start]:
            raise ValueError(f"{part[:40]!r}: ranges ascend, and hold {_MOST:,} at most")
        found += range(start, end + 1)
    return found


def _names(wanted: Iterable[str], needed: bool) -> dict[str, str]:
    return {"names": BETWEEN_NAMES.join(sorted(wanted))} if needed else {}


def _listed(folder: Path, suffix: str) -> list[Path]:
    """Files of that ending, without hidden ones."""
    return [path for path in folder.glob(f"*{suffix}") if path.name[0] != "."]


def _demand(files: Mapping[str, Path], folder: Path) -> None:
    missing = sorted(name for name, path in files.items() if not path.is_file())
    if missing:
        raise MissingDataError(
            f"{len(missing)} of {len(files)} predictions are not there.",
            looked_for=str(folder),
            missing=missing[:10],
        )
