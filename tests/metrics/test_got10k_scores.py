"""GOT-10k's AO and SR by hand: which frames count, and how boxes are cut."""

import numpy as np
import pytest

from lightvit_bench.errors import BadDataError
from lightvit_bench.metrics import got10k

BOX = [10.0, 10, 20, 20]


def test_frames_from_the_second_on_that_are_visible_count():
    truth = np.tile(BOX, (5, 1))
    result = np.array([[90, 90, 5, 5], BOX, [90, 90, 5, 5], [10, 10, 10, 20], [15, 10, 20, 20]])
    overlaps = got10k.visible_overlaps(result, truth, [True, True, False, True, True])
    np.testing.assert_allclose(overlaps, [1, 0.5, 0.6])
    scores = got10k.scores({"a": overlaps, "b": np.array([0.8])})  # frames are pooled
    assert scores.ao == pytest.approx(100 * 2.9 / 4)
    assert (scores.sr50, scores.sr75, scores.frames) == (75, 50, 4)  # 0.5 is not above 0.5
    assert got10k.scores({"a": np.array([0.75, 0.76])}).sr75 == 50  # nor 0.75 above 0.75


def test_what_lies_outside_the_picture_does_not_count():
    truth = np.array([BOX, [80, 80, 20, 20]])
    result = np.array([BOX, [80, 80, 60, 60]])
    assert got10k.visible_overlaps(result, truth, [1, 1]) == pytest.approx(1 / 9)
    assert got10k.visible_overlaps(result, truth, [1, 1], size=(100, 100)) == pytest.approx(1)


def test_results_that_cannot_be_judged_are_refused():
    truth = np.tile(BOX, (3, 1))
    with pytest.raises(BadDataError, match=r"(?s)v-1.*2 boxes.*3 frames"):
        got10k.visible_overlaps(truth[:2], truth, np.ones(3), name="v-1")
    bad = truth.copy()
    bad[2, 1] = np.nan
    with pytest.raises(BadDataError, match="result of frame 3"):
        got10k.visible_overlaps(bad, truth, np.ones(3))
    assert len(got10k.visible_overlaps(bad, truth, [1, 1, 0])) == 1
    with pytest.raises(BadDataError, match="2 cover labels for 3 frames"):
        got10k.visible_overlaps(truth, truth, np.ones(2))
    with pytest.raises(ValueError, match="no visible frame"):
        got10k.scores({})
