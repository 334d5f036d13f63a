"""From a folder of result files and annotations to the scores of one tracker.

Every sequence that is expected is judged, or there is no score: what is missing or too many is
named in the error. To judge fewer, say which; the protocol id then says so too.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lightvit_bench.data.box_files import read_boxes
from lightvit_bench.data.lasot_annotations import LasotAnnotations, natural, shortened
from lightvit_bench.data.sequence import Sequence
from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.metrics import got10k, lasot, trackingnet

# What trackers write beside SEQ.txt, pytracking and OSTrack among them. None of it is boxes to
# judge: the last two are candidates and scores.
COMPANIONS = ("_time", "_object_presence_scores", "_all_boxes", "_all_scores")
_FOLDER_ENDING = "_tracking_result"  # of the toolkit's folders, one a tracker


@dataclass(frozen=True, eq=False)
class TrackerScores:
    """What one tracker scores, in percent.

    Attributes:
        protocol: what the scores may be compared with: sequences and rule, see
            `metrics.lasot.protocol_id`.
        expected, evaluated: numbers of sequences; equal, or there were no scores.
        precision, norm_precision: at 20 px and at 0.2.
        curves: the mean curves, as shares of frames (0 to 1).
        per_sequence: in the order expected.
        per_attribute: in LaSOT's order, of those that two sequences have; empty where nothing tells
            of attributes.
        faulty: visible frames whose annotation has a value <= 0 (`metrics.lasot`, rule 7): three in
            LaSOT's test set; many where boxes count from 0 or reach beyond the picture.
        dropped: sequences that a mean leaves out because their curve is 0 throughout, as the
            toolkit does; in practice none.
    """

    tracker: str
    protocol: str
    expected: int
    evaluated: int
    auc: float
    op50: float
    op75: float
    precision: float
    norm_precision: float
    curves: lasot.Curves
    per_sequence: Mapping[str, lasot.Scores]
    per_attribute: Mapping[str, lasot.Scores]
    faulty: int
    dropped: tuple[str, ...]

    def as_dict(self) -> dict:
        """All of it as what JSON can hold; None for NaN."""
        record = {key: getattr(self, key) for key in self.__dataclass_fields__}
        record["curves"] = {
            kind: np.round(getattr(self.curves, kind), 9).tolist()
            for kind in ("success", "precision", "norm_precision")
        }
        for kind in ("per_sequence", "per_attribute"):
            record[kind] = {key: asdict(scores) for key, scores in record[kind].items()}
        return _without_nan(record)


def judge_folder(
    results: str | os.PathLike,
    truth: LasotAnnotations,
    sequences: Collection[str] | None = None,
    rule: lasot.Rule = "toolkit",
    tracker: str | None = None,
) -> TrackerScores:
    """Judge a folder of `SEQ.txt` files.

    `sequences`: those to judge, `truth.names` if None. `tracker`: its name, from the folder's
    if None.

    Raises:
        MissingDataError: there is no such folder, no result of an expected sequence, or no
            annotation of it.
        BadDataError: a result cannot be read or is shorter than its sequence; or, where `sequences`
            is None, there are results of others.
    """
    results = Path(results)
    expected = tuple(truth.names if sequences is None else sequences)
    truth.check_known(expected, "the sequences to judge")
    files = result_files(results, expected, others=truth.known if sequences is not None else ())
    truths = {name: truth[name] for name in expected}
    attributes = {name: t.attributes for name, t in truths.items() if t.attributes is not None}
    if attributes and len(attributes) < len(expected):
        raise MissingDataError(
            "some sequences have attributes and others have none.",
            looked_for=str(truth.path),
            without=shortened(name for name in expected if name not in attributes),
        )
    return judge_boxes(
        {name: read_boxes(file) for name, file in files.items()},
        {name: (t.boxes_xywh, t.absent) for name, t in truths.items()},
        attributes=attributes,
        rule=rule,
        tracker=tracker or tracker_name(results),
    )


def judge_boxes(
    results: Mapping[str, np.ndarray],
    annotations: Mapping[str, tuple[np.ndarray, np.ndarray]],
    attributes: Mapping[str, np.ndarray] | None = None,
    rule: lasot.Rule = "toolkit",
    tracker: str = "tracker",
) -> TrackerScores:
    """Judge boxes by LaSOT's rules: sequence -> (M, 4), against sequence -> ((N, 4), absent (N,)).

    Boxes count pixels from 1, or a target at the very left or top has a faulty annotation
    (`metrics.lasot`, rule 7). `attributes`: sequence -> (14,) flags.

    Raises:
        MissingDataError: a sequence has no result.
        BadDataError: a result has no annotation, is shorter, or the truth is not known beyond the
            first frame.
    """
    if not annotations:
        raise MissingDataError("there is no sequence to judge.")
    _demand(results, annotations, "results")
    curves, faulty = {}, 0
    for name, (truth, absent) in annotations.items():
        if len(truth) > 1 and np.isnan(np.asarray(truth, np.float64)[1:]).any(axis=1).all():
            raise BadDataError(f"{name}: the truth is known for the first frame alone.")
        curves[name] = lasot.sequence_curves(results[name], truth, absent, name, rule)
        faulty += int((~(np.asarray(truth) > 0).all(axis=1) & ~np.asarray(absent, bool)).sum())
    mean = lasot.mean_curves(curves.values())
    overall = lasot.scores_of(mean, len(curves))
    return TrackerScores(
        tracker=tracker,
        protocol=lasot.protocol_id(curves, rule),
        expected=len(annotations),
        evaluated=len(curves),
        auc=overall.auc,
        op50=overall.op50,
        op75=overall.op75,
        precision=overall.precision,
        norm_precision=overall.norm_precision,
        curves=mean,
        per_sequence={name: lasot.scores_of(c) for name, c in curves.items()},
        per_attribute=lasot.attribute_scores(curves, attributes) if attributes else {},
        faulty=faulty,
        dropped=tuple(name for name, c in curves.items() if lasot.dropped(c)),
    )


def annotations_of(sequences: Iterable[Sequence]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What `judge_boxes` asks for, of a data set's sequences.

    Raises:
        BadDataError: two have one name.
    """
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for sequence in sequences:
        if sequence.name in found:
            raise BadDataError(f"two sequences are called {sequence.name}.")
        truth = sequence.annotation
        found[sequence.name] = (truth.boxes_xywh, ~truth.visible)
    return found


def judge_got10k(
    results: str | os.PathLike, sequences: Iterable[Sequence]
) -> tuple[got10k.Got10kScores, dict[str, got10k.Got10kScores]]:
    """AO and SR of a folder of `SEQ.txt` over GOT-10k's validation set, and by sequence.

    A picture of each sequence is read for its size. Raises as `judge_folder` does.
    """
    overlaps = {}
    for sequence, boxes in _results_of(results, sequences):
        truth = sequence.annotation
        # where no cover is known, what the data set calls visible is
        visible = np.where(np.isnan(truth.covered), truth.visible, truth.covered > 0)
        height, width = sequence.frames[0].shape[:2]
        overlaps[sequence.name] = got10k.visible_overlaps(
            boxes, truth.boxes_xywh, visible, (width, height), sequence.name
        )
    return got10k.scores(overlaps), {
        name: got10k.scores({name: found}) for name, found in overlaps.items() if len(found)
    }


def judge_trackingnet(
    results: str | os.PathLike, sequences: Iterable[Sequence]
) -> trackingnet.TrackingNetScores:
    """TrackingNet's areas of a folder of `SEQ.txt`, over sequences whose truth is known.

    Raises as `judge_folder` does.
    """
    return trackingnet.scores(
        trackingnet.sequence_curves(boxes, sequence.annotation.boxes_xywh, sequence.name)
        for sequence, boxes in _results_of(results, sequences)
    )


def result_files(
    results: str | os.PathLike, expected: Collection[str], others: Collection[str] = ()
) -> dict[str, Path]:
    """The file `SEQ.txt` of each expected sequence, in their order.

    `others`: sequences whose results may be there and are left alone. Times and the other files of
    `COMPANIONS` are no results.

    Raises:
        MissingDataError: no such folder, or a result is missing.
        BadDataError: nothing is missing, and there are results of other sequences.
    """
    results = Path(results)
    if not results.is_dir():
        raise MissingDataError("a folder of results is not there.", looked_for=str(results))
    there = {file.stem: file for file in results.glob("*.txt")}
    wanted = set(expected)
    boxes = {stem for stem in there if stem in wanted or not stem.endswith(COMPANIONS)}
    _demand(boxes, wanted, str(results), others)
    return {name: there[name] for name in expected}


def _results_of(
    results: str | os.PathLike, sequences: Iterable[Sequence]
) -> Iterator[tuple[Sequence, np.ndarray]]:
    known = {sequence.name: sequence for sequence in sequences}
    if not known:
        raise MissingDataError("there is no sequence to judge.")
    for name, file in result_files(results, known).items():
        yield known[name], read_boxes(file)


def tracker_name(results: str | os.PathLike) -> str:
    """The name of the folder, without the ending that the toolkit wants."""
    return Path(results).resolve().name.removesuffix(_FOLDER_ENDING)


def _demand(
    found: Collection[str], expected: Collection[str], where: str, others: Collection[str] = ()
) -> None:
    missing = sorted(set(expected) - set(found), key=natural)
    extra = sorted(set(found) - set(expected) - set(others), key=natural)
    if not missing and not extra:
        return
    details: dict[str, str | list[str]] = {}
    if missing:
        details["missing"] = shortened(missing)
    if extra:
        details["not_expected"] = shortened(extra)
    kind = MissingDataError if missing else BadDataError
    raise kind(
        f"the results are not those of the {len(expected)} expected sequences: "
        f"{len(missing)} missing, {len(extra)} too many.",
        looked_for=where,
        **details,
        set="to judge fewer on purpose, name them: sequences=[...] or --sequences FILE",
    )


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(held) for held in value]
    return None if isinstance(value, float) and value != value else value
