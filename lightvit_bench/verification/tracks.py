"""Scores of trackers' boxes against annotations, by `tracking.judging`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightvit_bench.bench.parts import StoredFiles
from lightvit_bench.bench.provenance import sha256_of_files
from lightvit_bench.bench.record import RunRecord
from lightvit_bench.data.box_files import read_boxes
from lightvit_bench.data.lasot_annotations import LasotAnnotations
from lightvit_bench.data.set_checks import set_by
from lightvit_bench.data.tracking_sets import open_set
from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.tracking.judging.judge import (
    COMPANIONS,
    judge_boxes,
    judge_got10k_boxes,
)
from lightvit_bench.verification.keeping import (
    BETWEEN_NAMES,
    GOT10K,
    LASOT,
    TRACKS,
    truth_digest,
)
from lightvit_bench.verification.protocols import coverage, got10k_wholes, lasot_wholes

LASOT_KEYS = ("auc", "op50", "op75", "precision", "norm_precision")


def tracks_again(
    record: RunRecord, predictions: Path, truth: Path
) -> tuple[dict[str, float | None], list[str]]:
    """LaSOT's figures of a record of tracking, and what is not as it says."""
    check_kinds(record, (TRACKS,), (LASOT,))
    names, problems = names_of(record.predictions, predictions, ".txt")
    problems += _changed(record.predictions, predictions, names)
    annotations = LasotAnnotations(truth)
    annotations.check_known(names, str(predictions))
    truths = {name: (annotations[name].boxes_xywh, annotations[name].absent) for name in names}
    problems += _other_truth(record.truth, truths, truth)
    rule = record.predictions.options["rule"]
    scores = judge_boxes(_boxes(predictions, names), truths, rule=rule)
    annotated = (annotations.names, annotations.known)
    wholes = lasot_wholes(names, record, scores.curves.rule, *annotated)
    problems += coverage(record, len(names), wholes)
    return {key: getattr(scores, key) for key in LASOT_KEYS}, problems


def got10k_again(
    record: RunRecord, predictions: Path, truth: Path
) -> tuple[dict[str, float | None], list[str]]:
    """AO and SR of a record by GOT-10k's rules, and what is not as it says."""
    check_kinds(record, (TRACKS,), (GOT10K,))
    names, problems = names_of(record.predictions, predictions, ".txt")
    problems += _changed(record.predictions, predictions, names)
    split = record.truth.options["split"]
    with set_by("--truth PATH"):
        every = open_set("got10k", truth, split, say=lambda message: None)
    known = {one.name: one for one in every if one.name in set(names)}
    truths = {name: got10k_truth(one.annotation) for name, one in known.items()}
    problems += _other_truth(record.truth, truths, truth)
    if unknown := sorted(set(names) - set(known)):
        raise MissingDataError(
            f"{len(unknown)} sequences are not annotated.",
            sequences=unknown[:10],
            looked_for=str(truth),
        )
    scores, _ = judge_got10k_boxes(_boxes(predictions, names), known.values())
    wholes = got10k_wholes(names, split, [one.name for one in every])
    problems += coverage(record, len(names), wholes)
    return {key: getattr(scores, key) for key in ("ao", "sr50", "sr75")}, problems


def got10k_truth(annotation) -> tuple[np.ndarray, np.ndarray]:
    """What `truth_digest` takes, of a sequence of GOT-10k: boxes, and where they count."""
    visible = np.where(np.isnan(annotation.covered), annotation.visible, annotation.covered > 0)
    return annotation.boxes_xywh, visible


def check_kinds(record: RunRecord, predictions: tuple[str, ...], truth: tuple[str, ...]) -> None:
    """`BadDataError` for files of a kind that is not computed from here."""
    for what, known in (("predictions", predictions), ("truth", truth)):
        kind = getattr(record, what).kind
        if kind not in known:
            raise BadDataError(
                f"{what} of the kind {kind!r} are not computed from, in a record of {record.task}.",
                known=", ".join(known),
            )


def names_of(said: StoredFiles, folder: Path, suffix: str) -> tuple[list[str], list[str]]:
    """Names of the predictions that count, and a line if they are more or fewer than stored."""
    there = [path.stem for path in folder.glob(f"*{suffix}") if path.name[0] != "."]
    if "names" in said.options:
        wanted = str(said.options["names"]).split(BETWEEN_NAMES)
        lacking = sorted(set(wanted) - set(there))
        names = sorted(set(wanted) & set(there))
        lines = [f"{len(lacking)} predictions are missing: {', '.join(lacking[:5])}"]
        lines = lines if lacking else []
    else:
        names = sorted(name for name in there if suffix != ".txt" or not name.endswith(COMPANIONS))
        off = len(names) - said.files
        told = f"{abs(off)} predictions {'too many' if off > 0 else 'missing'} in {folder}"
        lines = [told] if off else []
    if not names:
        raise BadDataError(
            f"there are no predictions ({suffix}) in the folder.", folder=str(folder)
        )
    return names, lines


def _boxes(folder: Path, names: list[str]) -> dict[str, np.ndarray]:
    return {name: read_boxes(folder / f"{name}.txt") for name in names}


def _changed(said: StoredFiles, folder: Path, names: list[str]) -> list[str]:
    files = {f"{name}.txt": folder / f"{name}.txt" for name in names}
    if len(names) == said.files and sha256_of_files(files) != said.sha256:
        return [f"the boxes in {folder} are not those of the record: a file was changed"]
    return []


def _other_truth(said: StoredFiles, truths: dict, path: Path) -> list[str]:
    if len(truths) == said.files and truth_digest(truths) == said.sha256:
        return []
    return [f"the annotations in {path} are not those that the record was judged against"]
