"""TrackingNet's areas by hand and against a frame loop."""

import math

import numpy as np
import pytest

from lightvit_bench.errors import BadDataError
from lightvit_bench.metrics import trackingnet


def slow(result, truth):
    result = [[round(v) for v in row] for row in result]
    truth = [[round(v) for v in row] for row in truth]
    result[0] = truth[0]
    overlaps, distances, normed = [], [], []
    for (a, b, c, d), (x, y, w, h) in zip(result, truth):
        shared = max(0, min(a + c, x + w) - max(a, x)) * max(0, min(b + d, y + h) - max(b, y))
        overlaps.append(shared / (c * d + w * h - shared))
        dx, dy = a + c / 2 - x - w / 2, b + d / 2 - y - h / 2
        distances.append(math.hypot(dx, dy))
        normed.append(math.hypot(dx / w, dy / h))

    def area(points):
        return 100 * sum((p + q) / 2 for p, q in zip(points, points[1:])) / 20

    n = len(truth)
    return (
        area([sum(v > k / 20 for v in overlaps) / n for k in range(21)]),
        area([sum(v <= 2.5 * k for v in distances) / n for k in range(21)]),
        area([sum(v <= k / 40 for v in normed) / n for k in range(21)]),
    )


@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_a_frame_loop(seed):
    rng = np.random.default_rng(seed)
    truth = np.column_stack([rng.uniform(0, 90, (80, 2)), rng.uniform(20, 60, (80, 2))])
    result = truth + rng.normal(0, 9, truth.shape)
    curves = trackingnet.sequence_curves(result, truth)
    scores = trackingnet.scores([curves])
    found = (scores.success, scores.precision, scores.norm_precision)
    # thresholds of the same real number may differ in the last bit: one frame moves by 1/80 a point
    assert found == pytest.approx(slow(result.tolist(), truth.tolist()), abs=100 / 80 / 20 + 1e-9)


def test_the_truth_itself():
    truth = np.array([[3, 4, 10, 20], [5, 5, 9, 30]])
    curves = trackingnet.sequence_curves(truth + 0.4, truth)  # rounded away
    scores = trackingnet.scores([curves, curves])
    assert scores.success == pytest.approx(97.5)  # no overlap is above 1
    assert scores.precision == scores.norm_precision == pytest.approx(100)
    assert scores.sequences == 2


def test_lengths_have_to_agree():
    with pytest.raises(BadDataError, match=r"(?s)v: .*1 boxes.*2 frames"):
        trackingnet.sequence_curves(np.ones((1, 4)), np.ones((2, 4)), "v")
    with pytest.raises(ValueError, match="no sequence"):
        trackingnet.scores([])
