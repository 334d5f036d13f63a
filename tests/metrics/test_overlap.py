"""Overlaps of boxes against drawn pixels and by hand."""

import numpy as np
import pytest

from lightvit_bench.metrics.overlap import (
    bounded,
    continuous_iou,
    counts_above,
    counts_within,
    inclusive_centres,
    inclusive_iou,
)


def drawn(box):
    picture = np.zeros((40, 40), bool)
    x, y, w, h = box
    picture[y : y + h, x : x + w] = True
    return picture


def test_overlap_of_whole_pixels_is_that_of_drawn_boxes():
    """On whole pixels both conventions count the same, drawn pixels."""
    rng = np.random.default_rng(0)
    boxes = np.column_stack([rng.integers(0, 20, (200, 2)), rng.integers(1, 20, (200, 2))])
    a, b = boxes[:100], boxes[100:]
    pixels = [(drawn(p) & drawn(q)).sum() / (drawn(p) | drawn(q)).sum() for p, q in zip(a, b)]
    assert 0 < np.mean(pixels) < 0.5 and 0 in pixels
    np.testing.assert_allclose(inclusive_iou(a, b), pixels)
    np.testing.assert_allclose(continuous_iou(a, b), pixels, atol=1e-15)


def test_an_unknown_side_is_looked_past_as_matlab_does():
    truth = np.array([[10.0, 10, 20, 20]] * 2)
    boxes = np.array([[np.nan, 10, 20, 20], [10, 10, np.nan, 20]])
    found = inclusive_iou(boxes, truth)
    assert found[0] == 1  # the truth's own x is taken
    assert np.isnan(found[1])  # the area is unknown


def test_boxes_without_area_overlap_nothing():
    zero = np.zeros((1, 4))
    assert continuous_iou(zero, zero) == 0
    assert continuous_iou(zero, np.array([[0, 0, 5, 5]])) == 0


def test_centres_are_pixels():
    assert inclusive_centres([[1, 1, 3, 4]]).tolist() == [[2, 2.5]]


def test_boxes_are_cut_corner_first():
    boxes = np.array([[-10.0, 5, 30, 10], [90, 45, 30, 30], [200, 60, 5, 5]])
    assert bounded(boxes, 100, 50).tolist() == [[0, 5, 30, 10], [90, 45, 10, 5], [100, 50, 0, 0]]
    assert boxes[0, 0] == -10


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_those_of_comparing(seed):
    rng = np.random.default_rng(seed)
    thresholds = np.arange(21) * 0.05
    values = np.concatenate([rng.random(50), thresholds, [-1, 2, np.nan, np.inf, -np.inf]])
    with np.errstate(invalid="ignore"):
        above = (values[:, None] > thresholds).sum(0)
        within = (values[:, None] <= thresholds).sum(0)
    assert counts_above(values, thresholds).tolist() == above.tolist()
    assert counts_within(values, thresholds).tolist() == within.tolist()
    assert counts_within(np.empty(0), thresholds).sum() == 0
