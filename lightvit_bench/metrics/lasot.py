"""LaSOT's scores by the rules of its MATLAB toolkit, in numpy alone.

Rule `toolkit`, for one sequence (`calc_seq_err_robust.m`, `eval_tracker.m` of
HengLan/LaSOT_Evaluation_Toolkit), in its order:

1. A longer result is cut to the annotation's length. A shorter one is an error (a crash there).
2. From frame 2 on, a result with NaN, a complex number, w <= 0 or h <= 0 becomes a copy of the
   result before it, which may be a copy itself; not where the annotation has NaN.
3. Frame 1 becomes the truth, after the copying: a bad frame 2 repeats the tracker's own frame 1.
4. Frames where the target is absent are deleted.
5. Distance between centres x + (w - 1) / 2; for the normalised one, the differences in x and y are
   divided by the true width and height. (The toolkit divides both centres and then subtracts: the
   same but for the last bits, which decide where a distance of whole pixels is exactly a threshold.
   The truth 10 frames late has P_norm 54.9587 so, and 54.9624 here.)
6. Overlap counts pixels (`overlap.inclusive_iou`).
7. Frames whose annotation has a value <= 0 (or NaN): overlap -1, never a success; both distances
   -1, always within. Annotations count pixels from 1: a box that begins at 0 is such a frame.
8. Success: overlap > 0:0.05:1. Precision: distance <= 0:50. Normalised: distance <= (0:50)/100.
9. Shares are of *all* frames, the deleted ones included: absent frames are failures for everybody.

Over sequences (`plot_draw_save.m`): the mean of their curves, each kind without the sequences whose
curve sums to 0 there. AUC is the mean of the success curve's 21 points, P the precision at 20 px,
P_norm the normalised one at 0.2, OP50 and OP75 the success at 0.50 and 0.75. An attribute's scores
are those of the sequences that have it, at least two.

Rule `valid-frames` is pytracking's `exclude_invalid_frames`: frames that are absent or have an
annotation value <= 0 leave the denominator as well. As there, the distance of a faulty annotation
is infinite and the normalised one -1, so that P_norm can exceed 100 %. It flatters (the truth
itself has AUC 95.2 instead of 92.7 on the test set), so its scores carry another protocol id and
are never averaged with the toolkit's.

Rules `positive-size` and `positive-size-valid-frames` are the same two for other data than LaSOT,
where boxes may count pixels from 0, reach beyond the picture, or be unknown: rule 7 holds for
frames whose annotation has a width or height <= 0 (or NaN) alone, and both of their distances are
infinite, so that they never are a success. x and y may have any value; nothing depends on where
pixels are counted from. Where all values are positive, their numbers are those of the other two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from lightvit_bench.errors import BadDataError
from lightvit_bench.metrics.overlap import (
    counts_above,
    counts_within,
    inclusive_centres,
    inclusive_iou,
)

Rule = Literal["toolkit", "valid-frames", "positive-size", "positive-size-valid-frames"]
RULES: tuple[Rule, ...] = get_args(Rule)
_ANY_ORIGIN: Mapping[Rule, Rule] = {
    "toolkit": "positive-size",
    "valid-frames": "positive-size-valid-frames",
}

# k * 0.05 in double precision, 0.15000000000000002 and the like, as Octave and numpy count. MATLAB
# itself counts 0:0.05:1 down from 1 above the middle: its 0.65 is one bit less, so that an overlap
# of exactly 13/20 is above it. The truth shifted by 5 px has AUC 76.2729 so, and 76.2716 here.
OVERLAP_THRESHOLDS = np.arange(21) * 0.05
PIXEL_THRESHOLDS = np.arange(51.0)
NORM_THRESHOLDS = np.arange(51) / 100
_OP50, _OP75, _P20, _P02 = 10, 15, 20, 20  # indices of the reported points

# In the column order of the annotation files.
ATTRIBUTES: Mapping[str, str] = {
    "IV": "Illumination Variation",
    "POC": "Partial Occlusion",
    "DEF": "Deformation",
    "MB": "Motion Blur",
    "CM": "Camera Motion",
    "ROT": "Rotation",
    "BC": "Background Clutter",
    "VC": "Viewpoint Change",
    "SV": "Scale Variation",
    "FOC": "Full Occlusion",
    "FM": "Fast Motion",
    "OV": "Out-of-View",
    "LR": "Low Resolution",
    "ARC": "Aspect Ratio Change",
}

_CLASSES = """airplane basketball bear bicycle bird boat book bottle bus car cat cattle chameleon
coin crab crocodile cup deer dog drone electricfan elephant flag fox frog gametarget gecko giraffe
goldfish gorilla guitar hand hat helmet hippo horse kangaroo kite leopard licenseplate lion lizard
microphone monkey motorcycle mouse person pig pool rabbit racing robot rubicCube sepia shark sheep
skateboard spider squirrel surfboard swing tank tiger train truck turtle umbrella volleyball yoyo
zebra""".split()
_EXT_CLASSES = """atv badminton cosplay dancingshoe footbag frisbee jianzi lantern misc opossum
paddle raccoon rhino skatingshoe wingsuit""".split()  # LaSOT_ext, from memory
_ALL = frozenset(f"{kind}-{i}" for kind in _CLASSES for i in range(1, 21))
_EXT = frozenset(f"{kind}-{i}" for kind in _EXT_CLASSES for i in range(1, 11))
_TEST280 = "cdbfbfb699eff51d202bef1f1209b50507eba73b7e5f01753bf3d48dac36a8ab"


def protocol_id(names: Collection[str], rule: Rule = "toolkit") -> str:
    """What scores over these sequences may be called.

    `lasot-ope-test280@toolkit` (Protocol II) for exactly the 280 test sequences, known by a hash of
    their names; `lasot-ope-all1400@toolkit` (Protocol I); `lasot-ext-ope-test150@toolkit`. Fewer of
    LaSOT are `lasot-subset7-1a2b3c4d@toolkit`, others `sequences7-1a2b3c4d@toolkit`: their number
    and a hash of their names, so that scores over different ones are never taken for comparable.
    """
    unique = frozenset(names)
    digest = hashlib.sha256("\n".join(sorted(unique)).encode()).hexdigest()
    if digest == _TEST280:
        which = "lasot-ope-test280"
    elif unique == _ALL:
        which = "lasot-ope-all1400"
    elif unique == _EXT:
        which = "lasot-ext-ope-test150"
    else:
        lasot = "lasot-subset" if unique <= _ALL else "lasot-ext-subset"
        kind = lasot if unique <= _ALL or unique <= _EXT else "sequences"
        which = f"{kind}{len(unique)}-{digest[:8]}"
    return f"{which}@{rule}"


def is_lasots(names: Collection[str]) -> bool:
    """Whether these are all names of LaSOT's 1,400 sequences, or all of LaSOT-ext's 150."""
    unique = frozenset(names)
    return unique <= _ALL or unique <= _EXT


def any_origin(rule: Rule) -> Rule:
    """The `positive-size` rule that goes with a rule."""
    return _ANY_ORIGIN.get(rule, rule)


def faulty_frames(truth: np.ndarray, absent: np.ndarray, rule: Rule = "toolkit") -> np.ndarray:
    """Frames that rule 7 is about, without the absent ones: (N, 4) and (N,) -> (N,) bool."""
    return ~_sound(np.asarray(truth, np.float64), rule) & ~np.asarray(absent).astype(bool)


def _sound(truth: np.ndarray, rule: Rule) -> np.ndarray:
    if rule in _ANY_ORIGIN:
        return (truth > 0).all(axis=1)  # NaN is not
    return (truth[:, 2:] > 0).all(axis=1) & ~np.isnan(truth).any(axis=1)


@dataclass(frozen=True, eq=False)
class Curves:
    """Shares of frames, 0 to 1, of one sequence or the mean over some.

    success: (21,) at `OVERLAP_THRESHOLDS`; precision: (51,) at `PIXEL_THRESHOLDS`; norm_precision:
    (51,) at `NORM_THRESHOLDS`. `rule`: by which they were judged.
    """

    success: np.ndarray
    precision: np.ndarray
    norm_precision: np.ndarray
    rule: Rule


@dataclass(frozen=True)
class Scores:
    """Scores in percent; NaN where no sequence counts. `sequences`: over how many."""

    auc: float
    op50: float
    op75: float
    precision: float
    norm_precision: float
    sequences: int


def repaired(result: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Rules 2 and 3 for arrays of one length, (N, 4) each: a new (N, 4) float64 array."""
    result, truth = np.asarray(result), np.asarray(truth, np.float64)
    boxes = np.array(result.real, np.float64)
    if np.iscomplexobj(result):
        boxes[(result.imag != 0).any(axis=1)] = np.nan
    with np.errstate(invalid="ignore"):
        bad = np.isnan(boxes).any(axis=1) | (boxes[:, 2:] <= 0).any(axis=1)
    bad &= ~np.isnan(truth).any(axis=1)
    # copying row by row in place = taking the last row above that is not a copy
    boxes = boxes[np.maximum.accumulate(np.where(bad, 0, np.arange(len(boxes))))]
    boxes[:1] = truth[:1]
    return boxes


def sequence_curves(
    result: np.ndarray,
    truth: np.ndarray,
    absent: np.ndarray,
    name: str = "the sequence",
    rule: Rule = "toolkit",
) -> Curves:
    """Judge one sequence.

    `result`: (M, 4), M >= N; `truth`: (N, 4) pixels, counted from 1 unless by a `positive-size`
    rule; `absent`: (N,), true where the target cannot be seen. `name` is for messages.

    Raises:
        BadDataError: the result is shorter than the annotation, the flags are not as long, or no
            frame is left to divide by.
        ValueError: `rule` is unknown or an array has another shape.
    """
    result, truth = np.asarray(result), np.asarray(truth, np.float64)
    absent = np.asarray(absent).astype(bool)
    for what, boxes in (("result", result), ("annotation", truth)):
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"{name}: the {what} has shape {boxes.shape}, not (frames, 4)")
    if rule not in RULES:
        raise ValueError(f"rule {rule!r} is none of {RULES}")
    length = len(truth)
    if not length or absent.shape != (length,):
        raise BadDataError(
            f"{name}: the annotation has {length} boxes and {absent.size} absent flags."
        )
    if len(result) < length:
        raise BadDataError(
            f"{name}: the result is shorter than the annotation.",
            result=f"{len(result)} boxes",
            annotation=f"{length} frames",
        )

    boxes = repaired(result[:length], truth)[~absent]
    truth = truth[~absent]
    sound = _sound(truth, rule)
    overlap = np.full(len(truth), -1.0)
    overlap[sound] = inclusive_iou(boxes[sound], truth[sound])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        apart = inclusive_centres(boxes) - inclusive_centres(truth)
        distance = np.sqrt((apart**2).sum(axis=1))
        normed = np.sqrt(((apart / truth[:, 2:]) ** 2).sum(axis=1))
    distance[~sound] = -1 if rule == "toolkit" else np.inf
    normed[~sound] = -1 if rule in _ANY_ORIGIN else np.inf
    # MATLAB divides by (length + eps), which is the length but for a single frame
    valid = rule.endswith("valid-frames")
    whole = np.count_nonzero(sound) if valid else length + np.finfo(np.float64).eps
    if not whole:
        raise BadDataError(f"{name}: no frame is left, the target is absent or unknown in all.")
    return Curves(
        success=counts_above(overlap, OVERLAP_THRESHOLDS) / whole,
        precision=counts_within(distance, PIXEL_THRESHOLDS) / whole,
        norm_precision=counts_within(normed, NORM_THRESHOLDS) / whole,
        rule=rule,
    )


def dropped(curves: Curves) -> bool:
    """Whether the toolkit leaves the sequence out of the mean of some kind of curve."""
    return any(not _counts(c) for c in (curves.success, curves.precision, curves.norm_precision))


def mean_curves(curves: Collection[Curves]) -> Curves:
    """The mean over sequences, each kind of curve without those that sum to 0 in it.

    NaN where none is left, as in MATLAB. Raises ValueError for none at all, or for curves judged by
    different rules.
    """
    rules = {c.rule for c in curves}
    if len(rules) != 1:
        raise ValueError(f"curves of one rule have a mean, not of {sorted(rules) or 'none'}")

    def mean(kind: str) -> np.ndarray:
        rows = [getattr(c, kind) for c in curves]
        kept = [row for row in rows if _counts(row)]
        return np.mean(kept, axis=0) if kept else np.full_like(rows[0], np.nan)

    return Curves(mean("success"), mean("precision"), mean("norm_precision"), rules.pop())


def scores_of(curves: Curves, sequences: int = 1) -> Scores:
    """The numbers that are reported of a curve, in percent."""
    return Scores(
        auc=float(100 * curves.success.mean()),
        op50=float(100 * curves.success[_OP50]),
        op75=float(100 * curves.success[_OP75]),
        precision=float(100 * curves.precision[_P20]),
        norm_precision=float(100 * curves.norm_precision[_P02]),
        sequences=sequences,
    )


def attribute_scores(
    curves: Mapping[str, Curves], attributes: Mapping[str, np.ndarray]
) -> dict[str, Scores]:
    """Scores by attribute, in the order of `ATTRIBUTES`, of those that at least two sequences have.

    `curves`: sequence -> its curves; `attributes`: sequence -> (14,), true for what it has.
    """
    table = {}
    for column, short in enumerate(ATTRIBUTES):
        having = [curves[name] for name in curves if attributes[name][column]]
        if len(having) >= 2:
            table[short] = scores_of(mean_curves(having), len(having))
    return table


def _counts(curve: np.ndarray) -> bool:
    return bool(curve.sum() > np.finfo(np.float64).eps)
