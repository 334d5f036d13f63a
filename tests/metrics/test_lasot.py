"""LaSOT's rules against a slow reading of them, by hand, and on the real annotations."""

import math

import numpy as np
import pytest

from lightvit_bench.data.lasot_annotations import LasotAnnotations
from lightvit_bench.errors import BadDataError
from lightvit_bench.metrics import lasot

NAN = math.nan


def matlab_min(a, b):
    return b if math.isnan(a) else a if math.isnan(b) else min(a, b)


def matlab_max(a, b):
    return b if math.isnan(a) else a if math.isnan(b) else max(a, b)


def slow_frames(result, truth, absent):
    """Overlap, distance and normalised distance of the frames that are not absent, by rules 1-7."""
    result = [
        [NAN] * 4
        if any(isinstance(v, complex) and v.imag != 0 for v in row)
        else [v.real for v in row]
        for row in result[: len(truth)]  # rule 1
    ]
    for i in range(1, len(truth)):  # rule 2
        broken = any(map(math.isnan, result[i])) or result[i][2] <= 0 or result[i][3] <= 0
        if broken and not any(map(math.isnan, truth[i])):
            result[i] = result[i - 1]
    result[0] = list(truth[0])  # rule 3
    frames = []
    for (a, b, c, d), (x, y, w, h), gone in zip(result, truth, absent):
        if gone:  # rule 4
            continue
        if not all(v > 0 for v in (x, y, w, h)):  # rule 7
            frames.append((-1, -1, -1))
            continue
        dx, dy = (a + (c - 1) / 2) - (x + (w - 1) / 2), (b + (d - 1) / 2) - (y + (h - 1) / 2)
        distance = math.sqrt(dx**2 + dy**2)  # rule 5
        normed = math.sqrt((dx / w) ** 2 + (dy / h) ** 2)
        wide = matlab_min(a + c - 1, x + w - 1) - matlab_max(a, x) + 1  # rule 6
        high = matlab_min(b + d - 1, y + h - 1) - matlab_max(b, y) + 1
        shared = matlab_max(0, wide) * matlab_max(0, high)
        frames.append((shared / (c * d + w * h - shared), distance, normed))
    return frames


def slow_curves(result, truth, absent):
    frames = slow_frames(result, truth, absent)
    everything = len(truth)  # rule 9
    success = [sum(f[0] > 0.05 * k for f in frames) / everything for k in range(21)]  # rule 8
    precision = [sum(f[1] <= k for f in frames) / everything for k in range(51)]
    normed = [sum(f[2] <= k / 100 for f in frames) / everything for k in range(51)]
    return success, precision, normed


def noisy(rng, frames, whole):
    """A truth with faulty rows and absent frames, and a tracker with every kind of bad box."""
    truth = np.column_stack([rng.uniform(50, 90, (frames, 2)), rng.uniform(20, 60, (frames, 2))])
    result = truth + rng.normal(0, 6, truth.shape)
    if whole:  # overlaps and distances meet thresholds exactly
        truth, result = truth.round(), result.round()
    absent = rng.random(frames) < 0.1
    absent[0] = False
    for column in range(4):
        truth[rng.random(frames) < 0.02, column] = rng.choice([0, -3, NAN])
    result[rng.random(frames) < 0.05] = NAN
    result[rng.random(frames) < 0.05, rng.integers(4)] = NAN
    result[rng.random(frames) < 0.05, 2] *= -1
    result[rng.random(frames) < 0.05, 3] = 0
    result[rng.random(frames) < 0.05] = 0
    longer = rng.normal(50, 9, (int(rng.integers(0, 5)), 4))
    return np.concatenate([result, longer]), truth, absent


@pytest.mark.parametrize("seed", range(40))
def test_curves_agree_with_a_frame_loop(seed):
    rng = np.random.default_rng(seed)
    result, truth, absent = noisy(rng, frames=int(rng.integers(2, 150)), whole=seed % 2)
    if seed % 4 == 3:
        result = result.astype(complex)
        result[rng.random(len(result)) < 0.1, 1] += 2j
        result[0] = truth[0]
    curves = lasot.sequence_curves(result, truth, absent)
    success, precision, normed = slow_curves(result.tolist(), truth.tolist(), absent)
    np.testing.assert_allclose(curves.success, success, atol=1e-12)
    np.testing.assert_allclose(curves.precision, precision, atol=1e-12)
    np.testing.assert_allclose(curves.norm_precision, normed, atol=1e-12)


def test_the_copy_comes_before_the_first_frame_is_replaced():
    """A bad frame 2 repeats what the tracker said of frame 1, and frame 3 repeats frame 2."""
    truth = np.tile([10.0, 10, 20, 20], (4, 1))
    result = np.array([[500, 500, 9, 9], [NAN, 1, 1, 1], [3, 3, -1, 4], [10, 10, 20, 20]])
    boxes = lasot.repaired(result, truth)
    assert boxes.tolist() == [truth[0].tolist(), *[[500, 500, 9, 9]] * 2, truth[0].tolist()]
    assert np.isnan(result[1, 0])  # what was given is left alone
    curves = lasot.sequence_curves(result, truth, np.zeros(4))
    assert curves.success[0] == 0.5 and curves.precision[50] == 0.5


def test_nothing_is_copied_where_the_annotation_has_nan():
    truth = np.tile([10.0, 10, 20, 20], (3, 1))
    truth[1, 0] = NAN
    result = np.array([[10, 10, 20, 20], [7, 7, 0, 7], [10, 10, 20, -20]])
    boxes = lasot.repaired(result, truth)
    assert boxes[1].tolist() == boxes[2].tolist() == [7, 7, 0, 7]


def test_a_first_frame_without_a_box_is_copied_as_it_is():
    truth = np.tile([10.0, 10, 20, 20], (2, 1))
    curves = lasot.sequence_curves(np.full((2, 4), NAN), truth, np.zeros(2))
    assert curves.success[0] == curves.precision[50] == 0.5  # frame 1 alone


def test_absent_frames_count_below_the_line_and_faulty_ones_above():
    truth = np.array([[1, 1, 9, 9], [1, 1, 9, 9], [5, 5, 0, 9], [1, 1, 9, 9]])
    curves = lasot.sequence_curves(truth, truth, [0, 1, 0, 0])
    assert curves.success[0] == 0.5
    assert curves.precision[0] == curves.norm_precision[0] == 0.75
    valid = lasot.sequence_curves(truth, truth, [0, 1, 0, 0], rule="valid-frames")
    assert valid.success[0] == valid.precision[50] == 1 and valid.norm_precision[0] == 1.5
    at_the_edge = np.array([[0, 1, 9, 9], [0, 1, 9, 9]])  # counted from 0: faulty
    assert lasot.sequence_curves(at_the_edge, at_the_edge, [0, 0]).success.sum() == 0


def test_pixels_count_inclusively_and_thresholds_strictly():
    truth = np.array([[1, 1, 20, 1], [1, 1, 20, 1], [1, 1, 20, 1]])
    result = np.array([[1, 1, 20, 1], [1, 1, 10, 1], [5, 1, 20, 1]])
    curves = lasot.sequence_curves(result, truth, np.zeros(3))
    assert curves.success[9] == 1  # 10 / 20 is above 0.45
    assert curves.success[10] == pytest.approx(2 / 3)  # and not above 0.50
    assert lasot.OVERLAP_THRESHOLDS[3] == 0.15000000000000002  # as 0:0.05:1 has it
    assert curves.precision[4] == pytest.approx(2 / 3) and curves.precision[5] == 1  # 0, 5 and 4
    assert curves.norm_precision[19] == pytest.approx(1 / 3)
    assert curves.norm_precision[20] == pytest.approx(2 / 3)  # 4 / 20


def test_a_short_result_is_an_error_that_says_how_short():
    truth = np.tile([10.0, 10, 20, 20], (5, 1))
    with pytest.raises(BadDataError, match=r"(?s)cat-1.*3 boxes.*5 frames"):
        lasot.sequence_curves(truth[:3], truth, np.zeros(5), "cat-1")
    with pytest.raises(BadDataError, match="5 boxes and 4 absent flags"):
        lasot.sequence_curves(truth, truth, np.zeros(4))
    with pytest.raises(BadDataError, match="no frame is left"):
        lasot.sequence_curves(truth, truth, np.ones(5), rule="valid-frames")


def curves(success, rule="toolkit", precision=1.0):
    return lasot.Curves(np.full(21, success), np.full(51, precision), np.full(51, precision), rule)


def test_a_curve_of_zeros_is_left_out_of_its_own_mean_alone():
    mean = lasot.mean_curves([curves(0.6), curves(0.0, precision=0.5), curves(0.2)])
    assert mean.success[0] == pytest.approx(0.4)
    assert mean.precision[0] == pytest.approx(2.5 / 3)
    assert lasot.dropped(curves(0.0)) and not lasot.dropped(curves(0.1))
    assert np.isnan(lasot.mean_curves([curves(0.0)]).success).all()


def test_rules_are_never_averaged_together():
    with pytest.raises(ValueError, match="one rule"):
        lasot.mean_curves([curves(0.5), curves(0.5, "valid-frames")])
    with pytest.raises(ValueError, match="none"):
        lasot.mean_curves([])


def test_an_attribute_needs_two_sequences():
    some = {"a-1": curves(0.2), "a-2": curves(0.4), "a-3": curves(0.9)}
    having = dict.fromkeys(some, np.zeros(14, bool))
    having["a-1"] = np.arange(14) == 13
    having["a-2"] = np.isin(np.arange(14), (2, 13))
    table = lasot.attribute_scores(some, having)
    assert list(table) == ["ARC"]  # DEF has one
    assert table["ARC"].auc == pytest.approx(30) and table["ARC"].sequences == 2


def test_ids_say_what_was_judged(shared):
    test = LasotAnnotations(shared / "data/lasot_test_annotations.zip").names
    assert lasot.protocol_id(test) == "lasot-ope-test280@toolkit"
    assert lasot.protocol_id(reversed(test), "valid-frames") == "lasot-ope-test280@valid-frames"
    everything = {f"{name.rpartition('-')[0]}-{i}" for name in test for i in range(1, 21)}
    assert lasot.protocol_id(everything) == "lasot-ope-all1400@toolkit"
    fewer, others = lasot.protocol_id(test[1:]), lasot.protocol_id(test[:-1])
    assert fewer.startswith("lasot-subset279-") and fewer != others
    assert lasot.protocol_id([*test[1:], "car-1"]).startswith("lasot-subset280-")


def test_ids_of_other_sequences():
    assert lasot.protocol_id(["bag"]).startswith("sequences1-")
    assert lasot.protocol_id(["car-1", "bag"]).startswith("sequences2-")
    assert lasot.protocol_id(["atv-1"]).startswith("lasot-ext-subset1-")


def late(truth):
    return np.concatenate([np.repeat(truth[:1], 10, axis=0), truth[:-10]])


@pytest.mark.parametrize(
    "tracker, rule, expected",
    [
        (lambda truth: truth, "toolkit", (92.7414, 97.3790, 97.3790)),
        (lambda truth: np.repeat(truth[:1], len(truth), 0), "toolkit", (14.5344, 6.0374, 9.2936)),
        (lambda truth: truth + [5, 5, 0, 0], "toolkit", (76.2716, 97.3790, 85.1954)),
        (late, "toolkit", (55.5225, 48.8340, 54.9624)),
        (lambda truth: truth, "valid-frames", (95.2381, 100, 100.0005)),
    ],
    ids=["truth", "first box", "shifted", "late", "valid frames"],
)
def test_known_scores_of_the_real_test_set(shared, tracker, rule, expected):
    truths = LasotAnnotations(shared / "data/lasot_test_annotations.zip")
    judged = []
    for name in truths.names:
        truth = truths[name]
        boxes = tracker(truth.boxes_xywh)
        judged.append(lasot.sequence_curves(boxes, truth.boxes_xywh, truth.absent, name, rule))
    scores = lasot.scores_of(lasot.mean_curves(judged), len(judged))
    found = (scores.auc, scores.precision, scores.norm_precision)
    assert scores.sequences == 280
    assert found == pytest.approx(expected, abs=1e-4)


def test_where_pixels_are_counted_from_does_not_matter_to_positive_size():
    """The same frames, moved by 60 px to the left and up: the same curves, but for rule 7."""
    rng = np.random.default_rng(1)
    truth = np.column_stack([rng.uniform(50, 90, (80, 2)), rng.uniform(20, 60, (80, 2))])
    result, absent = truth + rng.normal(0, 6, truth.shape), rng.random(80) < 0.1
    truth, result = (np.round(4 * boxes) / 4 for boxes in (truth, result))  # moved without rounding
    for strict in ("toolkit", "valid-frames"):
        rule = lasot.any_origin(strict)
        assert rule != strict and lasot.any_origin(rule) == rule
        expected = lasot.sequence_curves(result, truth, absent, rule=strict)
        for moved in (0, [-60, -60, 0, 0]):
            found = lasot.sequence_curves(result + moved, truth + moved, absent, rule=rule)
            for kind in ("success", "precision", "norm_precision"):
                np.testing.assert_allclose(getattr(found, kind), getattr(expected, kind))
    assert lasot.faulty_frames(truth + moved, absent).sum() > 20
    assert not lasot.faulty_frames(truth + moved, absent, "positive-size").any()


def test_boxes_without_a_size_are_no_success_at_all_in_positive_size():
    truth = np.array([[0, 1, 9, 9], [0, 1, 9, 9], [5, 5, 0, 9], [NAN] * 4, [1, 1, 9, 9.0]])
    absent = [0, 0, 0, 0, 1]
    curves = lasot.sequence_curves(truth, truth, absent, rule="positive-size")
    for kind in (curves.success, curves.precision, curves.norm_precision):
        assert kind[0] == 0.4 and kind[-2] == 0.4
    valid = lasot.sequence_curves(truth, truth, absent, rule="positive-size-valid-frames")
    for kind in (valid.success, valid.precision, valid.norm_precision):
        assert kind[0] == kind[-2] == 1
    assert lasot.faulty_frames(truth, absent).tolist() == [True] * 4 + [False]
    assert lasot.faulty_frames(truth, absent, "positive-size").tolist() == [0, 0, 1, 1, 0]
