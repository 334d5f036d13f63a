"""Augmentations of pairs from videos."""

import numpy as np
import pytest

from lightvit_bench.tracking.training.augment import (
    JointAugmentation,
    augmented_crop,
    brightened,
    mirrored,
)


def framed(box=(10, 5, 7, 4), size=(40, 60)):
    """A frame with a red rectangle."""
    x, y, w, h = box
    frame = np.random.default_rng(0).integers(0, 90, (*size, 3), dtype=np.uint8)
    frame[y : y + h, x : x + w] = (220, 0, 0)
    return frame


def red(frame):
    rows, columns = np.nonzero(frame[..., 0] > 150)
    left, top = columns.min(), rows.min()
    return (left, top, columns.max() + 1 - left, rows.max() + 1 - top)


def test_the_joint_flip_keeps_the_box_on_its_object():
    frame = framed()
    before = frame.copy()
    flipped, box = JointAugmentation(flip=True)(frame, (10, 5, 7, 4))
    assert box == red(flipped) == (43, 5, 7, 4)
    back, again = JointAugmentation(flip=True)(flipped, box)
    np.testing.assert_array_equal(back, before)
    np.testing.assert_array_equal(frame, before)
    assert again == (10, 5, 7, 4)


def test_grey_has_no_colour():
    grey, box = JointAugmentation(grey=True)(framed(), (10, 5, 7, 4))
    assert box == (10, 5, 7, 4) and np.ptp(grey, axis=2).max() == 0
    assert grey[6, 12, 0] == round(0.299 * 220)
    same, _ = JointAugmentation()(framed(), box)
    np.testing.assert_array_equal(same, framed())


def test_how_often():
    rng = np.random.default_rng(0)
    drawn = [JointAugmentation.draw(rng) for _ in range(4000)]
    assert np.mean([each.grey for each in drawn]) == pytest.approx(0.05, abs=0.015)
    assert np.mean([each.flip for each in drawn]) == pytest.approx(0.5, abs=0.03)
    patch, box = np.zeros((4, 4, 3), np.uint8), np.array([0.25, 0.5, 0.1, 0.1], np.float32)
    places = [float(augmented_crop(rng, patch, box)[1][0]) for _ in range(2000)]
    assert set(places) == {0.25, 0.75}
    assert np.mean(places) == pytest.approx(0.5, abs=0.02)


def test_brightness_is_a_factor_for_the_whole_crop():
    patch = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    factors = []
    for seed in range(200):
        bright = brightened(np.random.default_rng(seed), patch)
        factor = float(bright[6, 4, 0]) / 100
        factors.append(factor)
        expected = np.clip(patch.astype(float) * factor, 0, 255)
        assert np.abs(bright - expected).max() <= 0.5 + 0.005 * 256
    assert 0.79 <= min(factors) < 0.82 and 1.18 < max(factors) <= 1.21
    assert bright.dtype == np.uint8


def test_a_mirrored_crop():
    patch, box = framed(size=(40, 40)), np.array([13.5 / 40, 7 / 40, 7 / 40, 0.1], np.float32)
    flipped, moved = mirrored(patch, box)
    assert red(flipped) == (23, 5, 7, 4)
    np.testing.assert_allclose(moved * 40, [26.5, 7, 7, 4], atol=1e-5)
    assert box[0] == np.float32(13.5 / 40)
