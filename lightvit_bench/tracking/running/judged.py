"""What a finished run over a data set scores, by the data set's own rules, and how fast it was."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from lightvit_bench.data.box_files import read_boxes, read_times
from lightvit_bench.data.sequence import Sequence
from lightvit_bench.errors import BadDataError, ConfigError, printable
from lightvit_bench.metrics import got10k
from lightvit_bench.tracking.judging.judge import annotations_of, judge_boxes, result_files
from lightvit_bench.tracking.judging.submission import write_got10k, write_trackingnet
from lightvit_bench.tracking.running.folder import names_digest

_LASOT_RULES = ("lasot", "lasot-ext", "folder")
_LASOT_COLUMNS = {
    "AUC": "auc",
    "OP50": "op50",
    "OP75": "op75",
    "P": "precision",
    "P_norm": "norm_precision",
}
_GOT10K_VAL = 180
SERVERS = {("got10k", "test"): write_got10k, ("trackingnet", "test"): write_trackingnet}


@dataclass(frozen=True)
class Judged:
    """Scores of a run.

    Attributes:
        protocol: what they may be compared with; None where nothing can be judged here.
        scores: in percent, by the name that the protocol's users know.
        details: per sequence and the like, as JSON can hold it.
        word: for a person, where there is no score.
        remark: for a person, on frames that are judged by another rule than the benchmark's.
    """

    protocol: str | None
    scores: Mapping[str, float]
    details: Mapping = field(default_factory=dict)
    word: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Speed:
    """The tracker's own time on a frame; decoding, and each sequence's first frame, are not in it.

    Attributes:
        frames: all of the run. timed: those that the median is of.
        dropped: those that a clock dropped, share of all, 0 to 1; 0 offline.
    """

    frames: int
    timed: int
    median_ms: float
    p90_ms: float
    dropped: float

    @property
    def frames_per_second(self) -> float:
        """One over the median."""
        return 1000 / self.median_ms


def check_judgeable(name: str, split: str) -> None:
    """`ConfigError` for a set and split that a tracker is not tested on, before it is run."""
    known = [*_LASOT_RULES, "got10k", "trackingnet"]
    if name not in known:
        raise ConfigError(f"a tracker is not tested on {name!r}.", known=", ".join(known))
    if name == "trackingnet" and split != "test":
        raise ConfigError(
            f"TrackingNet's {split!r} is not to be tested on.", set="test_set.split=test"
        )


def judge_set(name: str, split: str, out: Path, sequences: SequenceOf[Sequence]) -> Judged:
    """Judge the results in `out`, which has to have those of all sequences and of no others.

    LaSOT's rules for LaSOT, LaSOT-ext and folders; GOT-10k's for its val and train split. The
    protocol id is the benchmark's for exactly its sequences, and says how many and which (a hash of
    their names) for any others, and by which rule.

    Raises:
        MissingDataError, BadDataError: results are missing, too many or too short; or the truth is
            known of some sequences and not of others.
    """
    check_judgeable(name, split)
    files = result_files(out, [sequence.name for sequence in sequences])
    if (name, split) in SERVERS:
        return Judged(None, {}, word="the truth is not public: the data set's server judges")
    results = {name: read_boxes(file) for name, file in files.items()}
    if name == "got10k":
        return _judge_got10k(split, results, sequences)
    return _judge_lasot(name, results, sequences, out.name)


def check_truth(name: str, split: str, sequences: SequenceOf[Sequence]) -> None:
    """`BadDataError` for truth that LaSOT's rules cannot judge: to be told before a run, not after.

    As `judge_set` raises, with the truth for results.
    """
    if name in _LASOT_RULES:
        truth = {sequence.name: sequence.annotation.boxes_xywh for sequence in sequences}
        _judge_lasot(name, truth, sequences, "truth")


def is_judged(name: str, sequences: SequenceOf[Sequence]) -> bool:
    """Whether there is truth to judge by, of a set whose truth no server keeps."""
    return name not in _LASOT_RULES or not all(map(_first_box_alone, sequences))


def _judge_lasot(
    name: str, results: Mapping[str, np.ndarray], sequences: SequenceOf[Sequence], tracker: str
) -> Judged:
    unknown = [printable(one.name) for one in sequences if _first_box_alone(one)]
    if len(unknown) == len(sequences):
        return Judged(None, {}, word="the truth is known for first frames alone: nothing to judge")
    if unknown:
        raise BadDataError(
            f"the truth of {len(unknown)} of {len(sequences)} sequences is known for the first "
            "frame alone.",
            sequences=unknown[:10],
            set="test_set.sequences=NAME,NAME,...   (those to run and judge)",
        )
    try:
        scores = judge_boxes(results, annotations_of(sequences), tracker=tracker)
    except BadDataError as error:
        if "set" in error.details:  # an option of tools/eval_tracks.py
            error.details["set"] = [
                "test_set.sequences=NAMES.txt leaves the sequence out; full_occlusion.txt and "
                "out_of_view.txt mark frames as absent"
            ]
        raise
    if name == "folder":  # a sequence called car-1 need not be LaSOT's
        own = f"sequences{len(results)}-{names_digest(results)}@{scores.curves.rule}"
        scores = replace(scores, protocol=own)
    shown = {column: getattr(scores, key) for column, key in _LASOT_COLUMNS.items()}
    return Judged(scores.protocol, shown, scores.as_dict(), remark=scores.remark)


def _first_box_alone(sequence: Sequence) -> bool:
    boxes = sequence.annotation.boxes_xywh
    return len(boxes) > 1 and bool(np.isnan(boxes[1:]).any(axis=1).all())


def _judge_got10k(
    split: str, results: Mapping[str, np.ndarray], sequences: SequenceOf[Sequence]
) -> Judged:
    overlaps = {}
    for sequence in sequences:
        truth = sequence.annotation
        height, width = sequence.frames[0].shape[:2]
        overlaps[sequence.name] = got10k.visible_overlaps(
            results[sequence.name],
            truth.boxes_xywh,
            np.nan_to_num(truth.covered, nan=1.0) > 0,
            (width, height),
            sequence.name,
        )
    try:
        pooled = got10k.scores(overlaps)
    except ValueError as error:
        raise BadDataError(f"GOT-10k {split}: {error}.") from None
    protocol = got10k.PROTOCOL
    if split != "val" or len(overlaps) != _GOT10K_VAL:
        protocol = f"got10k-{split}-subset{len(overlaps)}-{names_digest(overlaps)}@toolkit"
    details = asdict(pooled) | {
        "per_sequence": {
            name: asdict(got10k.scores({name: held}))
            for name, held in overlaps.items()
            if len(held)
        }
    }
    shown = {"AO": pooled.ao, "SR50": pooled.sr50, "SR75": pooled.sr75}
    return Judged(protocol, shown, details)


def write_submission(
    name: str, split: str, out: Path, sequences: SequenceOf[Sequence], file: Path
) -> bool:
    """Pack the results of a test set whose server judges; False where there is no such server."""
    write = SERVERS.get((name, split))
    if write is not None:
        write(out, sequences, file)
    return write is not None


def speed_of(out: Path, sequences: SequenceOf[Sequence]) -> Speed:
    """The speed of a finished run, from its `SEQ_time.txt`; NaN where first frames alone count."""
    seconds = [read_times(out / f"{sequence.name}_time.txt") for sequence in sequences]
    frames = sum(map(len, seconds))
    updates = np.concatenate([one[1:] for one in seconds])
    timed = updates[updates > 0]
    if not len(timed):
        return Speed(frames, 0, float("nan"), float("nan"), len(updates) / frames)
    median, p90 = (1000 * float(value) for value in np.quantile(timed, (0.5, 0.9)))
    return Speed(frames, len(timed), median, p90, (len(updates) - len(timed)) / frames)
