"""From a folder of result files and annotations to the scores of one tracker.

Every sequence that is expected is judged, or there is no score: what is missing or too many is
named in the error. To judge fewer, say which; the protocol id then says so too.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
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
_BASE = {lasot.any_origin(rule): rule for rule in ("toolkit", "valid-frames")}
_FOLDER_ENDING = "_tracking_result"  # of the toolkit's folders, one a tracker


@dataclass(frozen=True, eq=False)
class TrackerScores:
    """What one tracker scores, in percent.

    Attributes:
        protocol: what the scores may be compared with: sequences and rule, see
            `metrics.lasot.protocol_id`.
        expected, evaluated: numbers of sequences; equal, unless results were allowed to be missing.
        precision, norm_precision: at 20 px and at 0.2.
        curves: the mean curves, as shares of frames (0 to 1).
        per_sequence: in the order expected.
        per_attribute: in LaSOT's order, of those that two sequences have; empty where nothing tells
            of attributes.
        faulty: visible frames whose annotation has a value <= 0, or is unknown: three in LaSOT's
            test set; many where boxes count from 0 or reach beyond the picture. What they count as
            depends on the rule; see `remark`.
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

    @property
    def remark(self) -> str:
        """What became of the faulty frames, in a sentence or two for a person; "" for none."""
        if not self.faulty:
            return ""
        rule = self.curves.rule
        said = f"{self.faulty} visible frames have annotation values <= 0"
        if rule == "toolkit":
            return f"{said}: a failure in AUC and OP, a success in P and P_norm, as in the toolkit"
        if rule == "valid-frames":
            return f"{said}: left out of all but P_norm, where they are a success, as in pytracking"
        count = "failures" if rule == "positive-size" else "left out"
        return (
            f"{said} or unknown: judged by @{rule}, not by @{_BASE[rule]}. Where width and height "
            f"are positive they count as any other frame, elsewhere they are {count}. "
            "LaSOT counts pixels from 1."
        )

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
    allow_missing: bool = False,
) -> TrackerScores:
    """Judge a folder of `SEQ.txt` files.

    `sequences`: those to judge, `truth.names` if None. `rule`: as in `judge_boxes`. `tracker`: its
    name, from the folder's if None. `allow_missing`: judge what is there; `evaluated` then says how
    many of the `expected` that was, and the protocol id stays that of all of them.

    Raises:
        MissingDataError: there is no such folder, no result of an expected sequence, or no
            annotation of it.
        BadDataError: a result cannot be read or is shorter than its sequence; or, where `sequences`
            is None, there are results of others.
    """
    results = Path(results)
    expected = tuple(truth.names if sequences is None else sequences)
    truth.check_known(expected, "the sequences to judge")
    others = truth.known if sequences is not None else ()
    judged = _there_of(results, expected) if allow_missing else expected
    files = result_files(results, judged, others=others)
    truths = {name: truth[name] for name in judged}
    attributes = {name: t.attributes for name, t in truths.items() if t.attributes is not None}
    if attributes and len(attributes) < len(judged):
        raise MissingDataError(
            "some sequences have attributes and others have none.",
            looked_for=str(truth.path),
            without=shortened(name for name in judged if name not in attributes),
        )
    scores = judge_boxes(
        {name: read_boxes(file) for name, file in files.items()},
        {name: (t.boxes_xywh, t.absent) for name, t in truths.items()},
        attributes=attributes,
        rule=rule,
        tracker=tracker or tracker_name(results),
    )
    if len(judged) == len(expected):
        return scores
    protocol = lasot.protocol_id(expected, scores.curves.rule)
    return replace(scores, protocol=protocol, expected=len(expected))


def judge_boxes(
    results: Mapping[str, np.ndarray],
    annotations: Mapping[str, tuple[np.ndarray, np.ndarray]],
    attributes: Mapping[str, np.ndarray] | None = None,
    rule: lasot.Rule = "toolkit",
    tracker: str = "tracker",
) -> TrackerScores:
    """Judge boxes by LaSOT's rules: sequence -> (M, 4), against sequence -> ((N, 4), absent (N,)).

    `attributes`: sequence -> (14,) flags.

    Rule 7 of the toolkit (`metrics.lasot`) is for the three faulty frames of LaSOT's test set. In
    data whose boxes count from 0 or reach beyond the picture it would make a success in P and a
    failure in AUC of every frame there, whatever the tracker does. So where the sequences are not
    LaSOT's by name and a visible frame has a value <= 0, `toolkit` becomes `positive-size` and
    `valid-frames` becomes `positive-size-valid-frames`, and the protocol id says so. Truth that is
    all positive is judged by the rule asked for, with the same numbers.

    A truth that is unknown (NaN) in a visible frame is refused, but for the valid-frames rules,
    which leave it out.

    Raises:
        MissingDataError: a sequence has no result.
        BadDataError: a result has no annotation, is shorter, or the truth of a visible frame is
            unknown.
    """
    if not annotations:
        raise MissingDataError("there is no sequence to judge.")
    _demand(results, annotations, "results")
    rule = _rule_for(annotations, rule)
    curves, faulty = {}, 0
    for name, (truth, absent) in annotations.items():
        if len(truth) == 1 < len(results[name]):
            raise _first_alone(name)
        curves[name] = lasot.sequence_curves(results[name], truth, absent, name, rule)
        faulty += int(lasot.faulty_frames(truth, absent).sum())
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


def _rule_for(
    annotations: Mapping[str, tuple[np.ndarray, np.ndarray]], rule: lasot.Rule
) -> lasot.Rule:
    """The rule that these are judged by; BadDataError for unknown boxes that it cannot judge."""
    strict = lasot.is_lasots(annotations)
    faulty = unknown = False
    for name, (truth, absent) in annotations.items():
        truth, absent = np.asarray(truth, np.float64), np.asarray(absent).astype(bool)
        missing = np.isnan(truth).any(axis=1)
        if len(truth) > 1 and missing[1:].all():
            raise _first_alone(name)
        if absent.shape != missing.shape:
            continue  # told of when it is judged
        faulty = faulty or bool(lasot.faulty_frames(truth, absent).any())
        frames = np.flatnonzero(missing & ~absent)
        unknown = unknown or bool(len(frames))
        if len(frames) and not rule.endswith("valid-frames"):
            raise BadDataError(
                f"{name}: the truth is unknown in {len(frames)} of {len(truth)} frames, and the "
                "target is not marked as absent there.",
                first=f"frame {frames[0] + 1}: {', '.join(f'{v:g}' for v in truth[frames[0]])}",
                set="--valid-frames (rule='valid-frames') judges the known ones alone, under "
                "another protocol id; --sequences FILE (sequences=[...]) leaves sequences out",
            )
    return lasot.any_origin(rule) if unknown or (faulty and not strict) else rule


def _first_alone(name: str) -> BadDataError:
    return BadDataError(f"{name}: the truth is known for the first frame alone.")


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
    known = {sequence.name: sequence for sequence in sequences}
    found = {one.name: boxes for one, boxes in _results_of(results, known.values())}
    return judge_got10k_boxes(found, known.values())


def judge_got10k_boxes(
    results: Mapping[str, np.ndarray], sequences: Iterable[Sequence]
) -> tuple[got10k.Got10kScores, dict[str, got10k.Got10kScores]]:
    """`judge_got10k` of boxes by the sequence's name."""
    overlaps = {}
    for sequence in sequences:
        truth, boxes = sequence.annotation, results[sequence.name]
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
    # names with a dot first are hidden: a Mac leaves ._SEQ.txt beside a SEQ.txt that it copies
    there = {file.stem: file for file in results.glob("*.txt") if file.name[0] != "."}
    wanted = set(expected)
    boxes = {stem for stem in there if stem in wanted or not stem.endswith(COMPANIONS)}
    _demand(boxes, wanted, str(results), others)
    return {name: there[name] for name in expected}


def _there_of(results: Path, expected: Collection[str]) -> tuple[str, ...]:
    """The expected sequences that a folder has results of; MissingDataError if it has none."""
    there = tuple(name for name in expected if (results / f"{name}.txt").is_file())
    if not there:
        raise MissingDataError(
            f"there is no result of any of the {len(expected)} expected sequences.",
            looked_for=str(results),
        )
    return there


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
        set="to judge fewer on purpose, name them: sequences=[...] or --sequences FILE; to judge "
        "all that are annotated: --all",
    )


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(held) for held in value]
    return None if isinstance(value, float) and value != value else value
