"""Run records of judged trackers: values, curves, and what they can be computed from again."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightvit_bench.bench.parts import Curve, StoredFiles
from lightvit_bench.bench.record import RunRecord, measured_record
from lightvit_bench.data.got10k import COUNTS
from lightvit_bench.data.lasot import test_names
from lightvit_bench.data.lasot_annotations import LasotAnnotations
from lightvit_bench.data.roots import resolve_root
from lightvit_bench.data.sequence import Sequence as Video
from lightvit_bench.errors import printable
from lightvit_bench.metrics import got10k, lasot
from lightvit_bench.tracking.judging.judge import TrackerScores
from lightvit_bench.verification.keeping import GOT10K, LASOT, stored_tracks, stored_truth
from lightvit_bench.verification.tracks import LASOT_KEYS, got10k_truth

PACKAGES = ("numpy",)
_DEMO = "demo.json"  # what generated data has at its root
_CURVES = {
    "success": (lasot.OVERLAP_THRESHOLDS, "overlap above"),
    "precision": (lasot.PIXEL_THRESHOLDS, "centre within (px)"),
    "norm_precision": (lasot.NORM_THRESHOLDS, "centre within (share of the target's size)"),
}


@dataclass(frozen=True)
class Place:
    """What sequences are of, as a record has it."""

    dataset: str
    split: str | None
    origin: str


def place_of(protocol: str, names: Collection[str], root: str | os.PathLike) -> Place:
    """Data set, split and origin of judged sequences; generated data is "demo"."""
    if is_generated(root):
        return Place("generated sequences", None, "demo")
    if protocol.startswith("lasot-ext"):
        return Place("LaSOT-ext", "test", "measured")
    if protocol.startswith("lasot"):
        whole = "all" if protocol.startswith("lasot-ope-all") else None
        split = "test" if set(names) <= set(test_names()) else whole
        return Place("LaSOT", split, "measured")
    return Place("own sequences", None, "measured")


def is_generated(root: str | os.PathLike) -> bool:
    """Whether a data set is one that this program made, by the file at its root that says so."""
    return (resolve_root(root) / _DEMO).is_file()


def lasot_values(scores: Mapping[str, float]) -> dict[str, float | None]:
    """The figures of a record of the task "tracking"; None for NaN."""
    return {key: _figure(scores[key]) for key in LASOT_KEYS}


def lasot_curves(curves: Mapping[str, Iterable[float]]) -> dict[str, Curve]:
    """The mean curves in percent of frames, from shares; those without a value are left out."""
    found = {}
    for kind, (thresholds, label) in _CURVES.items():
        shares = np.asarray(
            [math.nan if share is None else share for share in curves[kind]], np.float64
        )
        if np.isfinite(shares).all():
            x, y = (np.round(v, 9).tolist() for v in (thresholds, 100 * shares))
            found[kind] = Curve(tuple(x), tuple(y), label, "frames (%)")
    return found


def judged_record(
    scores: TrackerScores,
    results: str | os.PathLike,
    truth: LasotAnnotations,
    rule: str,
    annotations: str | os.PathLike,
    argv: Sequence[str] | None = None,
) -> RunRecord:
    """The record of a folder of results that LaSOT's rules judged.

    Args:
        rule: that was asked for; the protocol has the one that judged.
        annotations: where the truth is, as it was given.
    """
    names = list(scores.per_sequence)
    place = place_of(scores.protocol, names, annotations)
    truths = {name: (truth[name].boxes_xywh, truth[name].absent) for name in names}
    remarks = [scores.remark] if scores.remark else []
    if scores.dropped:
        dropped = ", ".join(map(printable, scores.dropped[:10]))
        remarks.append(f"left out of a mean, never right: {dropped}")
    return measured_record(
        "tracking",
        printable(scores.tracker),
        lasot_values({key: getattr(scores, key) for key in LASOT_KEYS}),
        packages=PACKAGES,
        argv=argv,
        origin=place.origin,
        dataset=place.dataset,
        split=place.split,
        protocol=scores.protocol,
        expected=scores.expected,
        evaluated=scores.evaluated,
        curves=lasot_curves(scores.as_dict()["curves"]),
        predictions=stored_tracks(results, names, rule),
        truth=stored_truth(LASOT, annotations, truths),
        remarks=tuple(remarks),
    )


def got10k_record(
    tracker: str,
    scores: got10k.Got10kScores,
    results: str | os.PathLike,
    sequences: Sequence[Video],
    annotations: str | os.PathLike,
    argv: Sequence[str] | None = None,
) -> RunRecord:
    """The record of a folder of results over GOT-10k's validation set."""
    return measured_record(
        "tracking-ao",
        printable(tracker),
        {"ao": _figure(scores.ao), "sr50": _figure(scores.sr50), "sr75": _figure(scores.sr75)},
        packages=PACKAGES,
        argv=argv,
        dataset="GOT-10k",
        split="val",
        protocol=got10k.PROTOCOL,
        expected=COUNTS["val"],
        evaluated=len(sequences),
        predictions=stored_tracks(results, [one.name for one in sequences], "got10k"),
        truth=got10k_stored(annotations, sequences, "val"),
    )


def got10k_stored(root: str | os.PathLike, sequences: Sequence[Video], split: str) -> StoredFiles:
    """GOT-10k's annotations of sequences, as a record keeps them."""
    truths = {one.name: got10k_truth(one.annotation) for one in sequences}
    return stored_truth(GOT10K, Path(root), truths, split=split)


def _figure(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
