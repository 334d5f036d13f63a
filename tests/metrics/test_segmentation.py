"""Segmentation scores against a pixel loop, hand-made examples, and mmseg's own metric."""

import numpy as np
import pytest

from lightvit_bench.data.seg_folder import find_pairs, scan
from lightvit_bench.metrics.segmentation import commonest_class_scores, confusion, scores


def slow_scores(pred, truth, classes, ignore=255):
    """The definitions, one pixel and one class at a time; None for no score."""
    pixels = [(int(p), int(t)) for p, t in zip(pred.ravel(), truth.ravel()) if t != ignore]
    iou, acc = [], []
    for c in range(classes):
        both = sum(p == c and t == c for p, t in pixels)
        either = sum(p == c or t == c for p, t in pixels)
        true = sum(t == c for _, t in pixels)
        iou.append(100 * both / either if either else None)
        acc.append(100 * both / true if true else None)
    right = 100 * sum(p == t for p, t in pixels) / len(pixels)
    return iou, acc, right


def mean(values):
    known = [v for v in values if v is not None]
    return sum(known) / len(known)


@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_a_pixel_loop(seed):
    rng = np.random.default_rng(seed)
    classes = 7
    present = rng.permutation(classes)[:5]  # two classes are missing from the truth
    truth = rng.choice([*present, 255], (13, 17)).astype(np.uint8)
    pred = np.where(rng.random(truth.shape) < 0.6, truth, rng.choice(present[1:], truth.shape))
    pred[truth == 255] = rng.integers(0, 256)  # whatever is predicted on void does not count
    result = scores(confusion(pred, truth, classes))
    iou, acc, right = slow_scores(pred, truth, classes)
    np.testing.assert_allclose(result.iou, [np.nan if v is None else v for v in iou])
    np.testing.assert_allclose(result.acc, [np.nan if v is None else v for v in acc])
    assert result.miou == pytest.approx(mean(iou)) and result.macc == pytest.approx(mean(acc))
    assert result.aacc == pytest.approx(right)
    assert np.isnan(result.iou).sum() >= 2


def test_a_small_example_by_hand():
    truth = np.array([[0, 0, 0, 1], [1, 1, 255, 255]])
    pred = np.array([[0, 0, 1, 1], [1, 2, 2, 0]])
    matrix = confusion(pred, truth, num_classes=4)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    result = scores(matrix)
    np.testing.assert_allclose(result.iou, [200 / 3, 50, 0, np.nan])  # 2 is predicted: 0, not NaN
    np.testing.assert_allclose(result.acc, [200 / 3, 200 / 3, np.nan, np.nan])
    assert result.miou == pytest.approx((200 / 3 + 50 + 0) / 3)
    assert result.macc == pytest.approx(200 / 3)
    assert result.aacc == pytest.approx(400 / 6)


def test_images_add_up_before_ratios_are_taken():
    first = confusion(np.array([0, 0, 0]), np.array([0, 0, 1]), 2)
    second = confusion(np.array([1]), np.array([1]), 2)
    result = scores(first + second)
    np.testing.assert_allclose(result.iou, [200 / 3, 50])


def test_another_ignore_index_and_255_as_a_class():
    truth, pred = np.array([0, 0, 255, 255]), np.array([0, 255, 255, 0])
    assert confusion(pred, truth, 256, ignore_index=0)[255].nonzero()[0].tolist() == [0, 255]
    assert confusion(pred, truth, 256, ignore_index=0).sum() == 2


def test_unsigned_bytes_do_not_wrap():
    pred = truth = np.full((2, 2), 149, np.uint8)  # 149 * 150 + 149 is far above 255
    matrix = confusion(pred, truth, 150)
    assert matrix[149, 149] == 4 and matrix.sum() == 4


@pytest.mark.parametrize(
    "pred, truth, message",
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), "differ in shape"),
        (np.zeros((2, 3)), np.zeros((2, 3), int), "prediction holds float64"),
        (np.array([4]), np.array([0]), r"prediction holds ids outside 0\.\.3: \[4\] \(1 pixels\)"),
        (np.array([0]), np.array([-1]), "truth holds ids outside"),
    ],
)
def test_bad_arrays_are_refused(pred, truth, message):
    with pytest.raises(ValueError, match=message):
        confusion(pred, truth, 4)


@pytest.mark.parametrize(
    "matrix, message",
    [
        (np.ones((2, 3), int), "shape"),
        (np.ones(4, int), "shape"),
        (np.ones((2, 2)), "counts"),
        (np.array([[1, -1], [0, 1]]), "counts"),
        (np.zeros((2, 2), int), "no pixel"),
    ],
)
def test_bad_matrices_are_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        scores(matrix)


def test_commonest_class_by_hand():
    # Class 1 is commonest in training though class 0 is in the test set; class 3 is in neither test
    # nor prediction. IoU of 1: 30 of the 100 pixels predicted so. mIoU: (0 + 30 + 0) / 3.
    result = commonest_class_scores(np.array([5, 9, 2, 8]), np.array([60, 30, 10, 0]))
    np.testing.assert_allclose(result.iou, [0, 30, 0, np.nan])
    assert result.miou == pytest.approx(10)
    assert result.macc == pytest.approx(100 / 3)
    assert result.aacc == pytest.approx(30)


def test_a_commonest_class_that_the_test_set_lacks_scores_nothing():
    result = commonest_class_scores(np.array([1, 0, 9]), np.array([4, 4, 0]))
    np.testing.assert_allclose(result.iou, [0, 0, 0])  # predicted everywhere, true nowhere: 0
    assert result.aacc == 0


@pytest.mark.parametrize(
    "train, test, message",
    [
        (np.ones(3, int), np.ones(4, int), "shapes"),
        (np.ones((2, 2), int), np.ones((2, 2), int), "shapes"),
        (np.zeros(3, int), np.ones(3, int), "training masks hold no pixel"),
        (np.ones(3, int), np.zeros(3, int), "test masks hold no pixel"),
        (np.ones(3), np.ones(3, int), "training pixel counts"),
    ],
)
def test_bad_pixel_counts_are_refused(train, test, message):
    with pytest.raises(ValueError, match=message):
        commonest_class_scores(train, test)


def test_the_conventions_are_mmsegs():
    metric = pytest.importorskip("mmseg.evaluation", reason="mmsegmentation is not installed")
    import torch

    rng = np.random.default_rng(1)
    total, areas = np.zeros((8, 8), np.int64), []
    for _ in range(3):
        truth = rng.choice([0, 1, 2, 4, 255], (40, 50))
        pred = rng.choice([0, 1, 3, 4], truth.shape)
        total += confusion(pred, truth, 8)
        areas.append(
            metric.IoUMetric.intersect_and_union(torch.tensor(pred), torch.tensor(truth), 8, 255)
        )
    theirs = metric.IoUMetric.total_area_to_metrics(*(sum(a) for a in zip(*areas)), ["mIoU"])
    ours = scores(total)
    np.testing.assert_allclose(ours.iou, 100 * theirs["IoU"], rtol=1e-5)
    np.testing.assert_allclose(ours.acc, 100 * theirs["Acc"], rtol=1e-5)
    assert ours.aacc == pytest.approx(100 * float(theirs["aAcc"]), rel=1e-5)
    assert ours.miou == pytest.approx(100 * float(np.nanmean(theirs["IoU"])), rel=1e-5)


def test_commonest_class_of_the_real_camvid(shared, tmp_path):
    root = shared / "data" / "camvid"
    pixels = {}
    for split in ("train", "test"):
        pairs = find_pairs(root, f"images/{split}", f"annotations/{split}", dataset_name="CamVid")
        pixels[split] = scan(pairs, valid_ids=[*range(11), 255], cache_dir=tmp_path).pixels[:11]
    assert pixels["train"].argmax() == 3  # road, and building is next
    result = commonest_class_scores(pixels["train"], pixels["test"])
    # 10,390,661 of the pixels that are not void are road; ten other classes score 0
    assert result.iou[3] == pytest.approx(100 * 10390661 / (233 * 360 * 480 - 1543383))
    assert result.miou == pytest.approx(result.iou[3] / 11)
    assert result.aacc == pytest.approx(result.iou[3])
