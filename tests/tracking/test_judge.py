"""Judging folders and arrays: which sequences count, and that none is left out."""

import json
import math

import numpy as np
import pytest

from lightvit_bench.data.box_files import write_boxes
from lightvit_bench.data.lasot import expected_names
from lightvit_bench.data.lasot_annotations import LasotAnnotations
from lightvit_bench.data.sequence import Annotation, Sequence
from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.metrics import lasot
from lightvit_bench.tracking.judging.judge import (
    annotations_of,
    judge_boxes,
    judge_folder,
    judge_got10k,
    judge_trackingnet,
)

NAMES = ("car-2", "car-10", "yoyo-1")


def boxes(seed, frames=30):
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.integers(20, 90, (frames, 2)), rng.integers(20, 60, (frames, 2))])


@pytest.fixture
def truth(tmp_path):
    """Three sequences in the data set's layout, with attributes and without a list."""
    for i, name in enumerate(NAMES):
        write_boxes(tmp_path / f"anno/annos/{name}.txt", boxes(i))
        for folder, flags in (("absent", [0] * 29 + [1]), ("att", [1, i > 0] + [0] * 12)):
            file = tmp_path / f"anno/annos/{folder}/{name}.txt"
            file.parent.mkdir(exist_ok=True)
            file.write_text("".join(f"{int(flag)}\n" for flag in flags))
    return LasotAnnotations(tmp_path / "anno")


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "Ours_tracking_result"
    for i, name in enumerate(NAMES):
        write_boxes(folder / f"{name}.txt", boxes(i) + [4, 3, 0, 0])
        (folder / f"{name}_time.txt").write_text("0.1\n")
    return folder


def test_a_folder_is_judged_as_its_arrays_are(truth, results):
    scores = judge_folder(results, truth)
    assert (scores.expected, scores.evaluated, scores.tracker) == (3, 3, "Ours")
    assert scores.protocol == lasot.protocol_id(NAMES) and "subset3-" in scores.protocol
    assert list(scores.per_sequence) == list(NAMES) and scores.dropped == ()
    held = {name: scores.per_sequence[name] for name in NAMES}
    assert scores.auc == pytest.approx(np.mean([s.auc for s in held.values()]))
    assert scores.precision == pytest.approx(100 * 29 / 30)  # 5 px away, and one frame is absent
    assert list(scores.per_attribute) == ["IV", "POC"]
    assert scores.per_attribute["POC"].auc == pytest.approx(
        (held["car-10"].auc + held["yoyo-1"].auc) / 2
    )
    assert scores.curves.success.shape == (21,) and scores.curves.success[0] <= 1
    again = judge_boxes(
        {name: boxes(i) + [4, 3, 0, 0] for i, name in enumerate(NAMES)},
        {name: (truth[name].boxes_xywh, truth[name].absent) for name in NAMES},
    )
    assert again.auc == scores.auc and again.per_attribute == {}
    assert json.loads(json.dumps(scores.as_dict(), allow_nan=False))["auc"] == scores.auc


def test_the_valid_frames_have_an_id_of_their_own(truth, results):
    scores = judge_folder(results, truth, rule="valid-frames")
    assert scores.protocol == lasot.protocol_id(NAMES, "valid-frames")
    assert scores.precision == pytest.approx(100)
    assert scores.curves.rule == "valid-frames"


def test_missing_and_extra_results_are_listed(truth, results):
    write_boxes(results / "dog-1.txt", boxes(0))
    with pytest.raises(BadDataError, match=r"(?s)0 missing, 1 too many.*not expected: +dog-1"):
        judge_folder(results, truth)
    (results / "car-10.txt").unlink()
    with pytest.raises(MissingDataError, match=r"(?s)1 missing, 1.*missing: +car-10.*dog-1"):
        judge_folder(results, truth)
    with pytest.raises(MissingDataError, match="car-10"):
        judge_folder(results, truth, sequences=["car-2", "car-10"])
    with pytest.raises(MissingDataError, match="nothing_here"):
        judge_folder(results / "nothing_here", truth)


def test_times_do_not_stand_for_a_result(truth, results):
    """A tracker that was stopped between the two files."""
    (results / "yoyo-1.txt").unlink()
    with pytest.raises(MissingDataError, match=r"missing: +yoyo-1"):
        judge_folder(results, truth)


def test_a_subset_is_named_one_and_others_may_be_there(truth, results):
    scores = judge_folder(results, truth, sequences=["car-2", "yoyo-1"])
    assert (scores.expected, scores.evaluated) == (2, 2)
    assert scores.protocol == lasot.protocol_id(["yoyo-1", "car-2"])
    assert scores.protocol != judge_folder(results, truth).protocol
    write_boxes(results / "dog-1.txt", boxes(0))  # of a sequence that nobody knows
    with pytest.raises(BadDataError, match="dog-1"):
        judge_folder(results, truth, sequences=["car-2"])
    with pytest.raises(MissingDataError, match=r"(?s)not annotated.*car-3"):
        judge_folder(results, truth, sequences=["car-3"])
    with pytest.raises(MissingDataError, match="no sequence"):
        judge_boxes({}, {})


def test_short_and_damaged_results_are_named(truth, results):
    whole = (results / "car-2.txt").read_text()
    (results / "car-2.txt").write_text("\n".join(whole.split("\n")[:12]) + "\n")
    with pytest.raises(BadDataError, match=r"(?s)car-2: .*12 boxes.*30 frames"):
        judge_folder(results, truth)
    (results / "car-2.txt").write_text(whole[: len(whole) - 4])
    with pytest.raises(BadDataError, match="car-2.txt, line 30, the last one"):
        judge_folder(results, truth)


def test_attributes_of_some_alone_are_refused(truth, results):
    (truth.path / "annos/att/car-2.txt").unlink()
    with pytest.raises(MissingDataError, match=r"without: +car-2"):
        judge_folder(results, truth)


class Pictures:
    """Frames of one size."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return np.zeros((100, 200, 3), np.uint8)

    def name(self, index):
        return str(index)


def sequence(name, truth, visible=None, covered=math.nan):
    visible = np.ones(len(truth), bool) if visible is None else np.asarray(visible, bool)
    marks = np.broadcast_to(np.asarray(covered, float), len(truth))
    return Sequence(
        "test", name, Pictures(len(truth)), lambda: Annotation(truth.astype(float), visible, marks)
    )


def test_any_sequences_can_be_judged():
    truth = boxes(0, 4)
    found = annotations_of([sequence("a", truth, [1, 1, 0, 1]), sequence("b", truth)])
    assert found["a"][1].tolist() == [False, False, True, False]
    scores = judge_boxes({"a": truth, "b": truth}, found)
    assert scores.protocol.startswith("sequences2-") and scores.protocol.endswith("@toolkit")
    assert scores.precision == pytest.approx(100 * (0.75 + 1) / 2)
    with pytest.raises(BadDataError, match="called a"):
        annotations_of([sequence("a", truth), sequence("a", truth)])


def test_a_test_set_whose_truth_is_kept_back_is_not_judged():
    truth = boxes(0, 4).astype(float)
    truth[1:] = math.nan
    with pytest.raises(BadDataError, match="first frame alone"):
        judge_boxes({"a": boxes(0, 4)}, {"a": (truth, np.zeros(4, bool))})


def test_got10k_judges_covered_frames_in_the_picture(tmp_path):
    truth = np.array([[10, 10, 20, 20]] * 3 + [[180, 80, 20, 20]])
    result = truth.copy()
    result[1] = [150, 50, 20, 20]  # not covered: does not count
    result[2] = [10, 10, 10, 20]
    result[3] = [180, 80, 60, 60]  # beyond a picture of 200 x 100
    write_boxes(tmp_path / "a.txt", result)
    both = [sequence("a", truth, covered=[1, 0, 0.5, 1])]
    scores, each = judge_got10k(tmp_path, both)
    assert scores.ao == each["a"].ao == pytest.approx(75) and scores.frames == 2
    with pytest.raises(MissingDataError, match="missing: +b"):
        judge_got10k(tmp_path, [*both, sequence("b", truth)])


def test_trackingnet_judges_every_frame(tmp_path):
    truth = boxes(3, 20)
    write_boxes(tmp_path / "a.txt", truth)
    scores = judge_trackingnet(tmp_path, [sequence("a", truth)])
    assert scores.success == pytest.approx(97.5) and scores.precision == pytest.approx(100)
    with pytest.raises(MissingDataError, match="no sequence"):
        judge_trackingnet(tmp_path, [])


def test_noisy_results_of_the_whole_test_set(shared, tmp_path):
    """All 280, through files: as many as expected, each attribute as often as documented."""
    truth = LasotAnnotations(shared / "data/lasot_test_annotations.zip")
    for i, name in enumerate(truth.names):
        write_boxes(tmp_path / f"{name}.txt", truth[name].boxes_xywh + [i % 7, 0, 0, 0])
    scores = judge_folder(tmp_path, truth)
    assert scores.protocol == "lasot-ope-test280@toolkit"
    assert (scores.expected, scores.evaluated) == (280, 280)
    counts = [scores.per_attribute[key].sequences for key in lasot.ATTRIBUTES]
    assert counts == [47, 187, 142, 89, 86, 175, 100, 33, 273, 118, 53, 104, 141, 249]
    assert 75 < scores.auc < 92.7
    assert scores.faulty == 3


def one(truth, absent=(), name="street"):
    flags = np.isin(np.arange(len(truth)), absent)
    return {name: (np.asarray(truth, float), flags)}


def test_unknown_truth_is_refused_and_not_taken_for_a_hit():
    """A tracker 900 px away had P 99 where two of a hundred frames are known."""
    truth = np.full((100, 4), math.nan)
    truth[[0, 50]] = [30, 30, 20, 20]
    lost = np.tile([930.0, 30, 20, 20], (100, 1))
    with pytest.raises(BadDataError, match=r"(?s)street: .*98 of 100.*frame 2: nan.*valid-frames"):
        judge_boxes({"street": lost}, one(truth))
    scores = judge_boxes({"street": lost}, one(truth), rule="valid-frames")
    assert scores.protocol.endswith("@positive-size-valid-frames")
    assert scores.precision == scores.norm_precision == 50  # the first frame is given
    assert judge_boxes({"street": truth}, one(truth), rule="valid-frames").norm_precision == 100
    unseen = np.setdiff1d(np.arange(100), [0, 50])  # nobody asks where an absent target is
    scores = judge_boxes({"street": lost}, one(truth, unseen))
    assert scores.protocol.endswith("@toolkit") and scores.precision == 1 and not scores.faulty
    truth[0] = math.nan
    truth[1:] = 9
    with pytest.raises(BadDataError, match="1 of 100.*"):
        judge_boxes({"car-1": lost}, one(truth, name="car-1"))


def test_boxes_that_count_from_zero_are_judged_and_the_id_says_how():
    truth = boxes(0).astype(float)
    truth[:, 0] = 0
    scores = judge_boxes({"street": truth}, one(truth))
    assert scores.protocol == lasot.protocol_id(["street"], "positive-size")
    assert scores.auc == pytest.approx(100 * 20 / 21) and scores.precision == 100
    assert scores.faulty == 30 and "30 visible frames" in scores.remark
    assert "@positive-size, not by @toolkit" in scores.remark
    lost = judge_boxes({"street": truth + [900, 0, 0, 0]}, one(truth))
    assert lost.precision == lost.norm_precision == pytest.approx(100 / 30)
    moved = judge_boxes({"street": truth + [1, 0, 0, 0]}, one(truth + [1, 0, 0, 0]))
    assert moved.protocol.endswith("@toolkit") and moved.remark == ""
    assert moved.auc == pytest.approx(scores.auc)


def test_the_toolkits_rule_stays_for_sequences_of_lasot():
    truth = boxes(0).astype(float)
    truth[[3, 5], 0] = 0
    scores = judge_boxes({"car-1": truth}, one(truth, absent=[5], name="car-1"))
    assert scores.protocol.startswith("lasot-subset1-") and scores.protocol.endswith("@toolkit")
    assert scores.faulty == 1  # the absent one is not counted
    assert scores.precision == pytest.approx(100 * 29 / 30)
    assert scores.auc == pytest.approx(100 * 20 / 21 * 28 / 30)
    assert "a failure in AUC and OP, a success in P and P_norm" in scores.remark
    valid = judge_boxes({"car-1": truth}, one(truth, [5], "car-1"), rule="valid-frames")
    assert valid.protocol.endswith("@valid-frames") and valid.norm_precision > 100
    assert "left out of all but P_norm" in valid.remark


def test_a_single_box_does_not_stand_for_a_whole_video():
    """By rule 1 the result would be cut to the one frame that is right."""
    with pytest.raises(BadDataError, match="street: .*first frame alone"):
        judge_boxes({"street": boxes(0)}, one(boxes(0)[:1]))


def test_what_a_mac_leaves_beside_results_is_none(truth, results):
    (results / "._car-2.txt").write_bytes(b"\0\5\x16\7 Mac OS X")
    assert judge_folder(results, truth).evaluated == 3
    (results / "car-2.txt").unlink()
    with pytest.raises(MissingDataError, match="1 missing, 0 too many"):
        judge_folder(results, truth)


def test_the_test_set_is_judged_where_all_of_lasot_is_annotated(tmp_path):
    for name in expected_names("all"):
        write_boxes(tmp_path / f"lasot/{name}/groundtruth.txt", boxes(0, 3))
        for marks in ("full_occlusion.txt", "out_of_view.txt"):
            (tmp_path / f"lasot/{name}/{marks}").write_text("0,0,0\n")
    for name in expected_names("test"):
        write_boxes(tmp_path / f"ours/{name}.txt", boxes(0, 3))
    scores = judge_folder(tmp_path / "ours", LasotAnnotations(tmp_path / "lasot"))
    assert scores.protocol == "lasot-ope-test280@toolkit" and scores.evaluated == 280
