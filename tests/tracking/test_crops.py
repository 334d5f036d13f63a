"""The crop arithmetic against a slow, literal one."""

import math

import cv2
import numpy as np
import pytest

from lightvit_bench.errors import BadDataError
from lightvit_bench.tracking.crops import (
    Square,
    box_to_frame,
    clip_box,
    crop,
    crop_around,
    hann_window,
    square_around,
)

WIDTH, HEIGHT = 70, 50


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(1, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def literal_patch(image, box, factor):
    """The square before it is resized, as the rule reads: cut, then pad with zeros."""
    x, y, w, h = box
    height, width = image.shape[:2]
    side = math.ceil(math.sqrt(w * h) * factor)
    left = round(x + w / 2 - side / 2)
    top = round(y + h / 2 - side / 2)
    right, bottom = left + side, top + side
    pad_left, pad_right = max(0, -left), max(0, right - width + 1)
    pad_top, pad_bottom = max(0, -top), max(0, bottom - height + 1)
    cut = image[top + pad_top : bottom - pad_bottom, left + pad_left : right - pad_right]
    return np.pad(cut, ((pad_top, pad_bottom), (pad_left, pad_right), (0, 0)))


def slow_bilinear(patch, size):
    """Bilinear, sample points in the middle of pixels, edges repeated; float64."""
    side = len(patch)
    at = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, side - 1)
    part = at - low
    rows = patch[low] * (1 - part)[:, None, None] + patch[high] * part[:, None, None]
    return rows[:, low] * (1 - part)[None, :, None] + rows[:, high] * part[None, :, None]


BOXES = {
    "inside": (20, 15, 12, 8),
    "fractions": (20.3, 15.7, 12.25, 8.9),
    "odd side": (20, 15, 9, 9),
    "over the left edge": (-4, 20, 12, 10),
    "over the right edge": (63, 20, 12, 10),
    "over the upper edge": (30, -6, 12, 10),
    "over the lower edge": (30, 44, 12, 10),
    "over the left upper corner": (-5, -5, 12, 12),
    "over the right lower corner": (60, 42, 12, 12),
    "ends at the last column": (WIDTH - 16, 16, 8, 8),
    "ends one before": (WIDTH - 17, 16, 8, 8),
    "ends one behind": (WIDTH - 15, 16, 8, 8),
    "ends at the last row": (30, HEIGHT - 16, 8, 8),
    "starts at the corner": (4, 4, 8, 8),
    "tiny": (30.2, 20.9, 0.4, 0.3),
    "huge": (-20, -30, 110, 120),
    "long": (0, 24, 68, 2),
}


@pytest.mark.parametrize("factor", [2.0, 4.0])
@pytest.mark.parametrize("name", BOXES)
def test_a_crop_is_the_literal_one(image, name, factor):
    box = BOXES[name]
    expected = literal_patch(image, box, factor)
    made = crop_around(image, box, factor, 32)
    side = math.ceil(math.sqrt(box[2] * box[3]) * factor)
    assert made.scale == 32 / side and expected.shape == (side, side, 3)
    same = cv2.resize(expected, (32, 32), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(made.patch, same)
    assert np.abs(made.patch - slow_bilinear(expected.astype(float), 32)).max() <= 1


def test_random_boxes_are_cropped_literally(image):
    rng = np.random.default_rng(1)
    for _ in range(300):
        w, h = rng.uniform(0.5, 60, 2)
        box = (rng.uniform(-w / 2, WIDTH - w / 2), rng.uniform(-h / 2, HEIGHT - h / 2), w, h)
        expected = literal_patch(image, box, 2.0)
        same = cv2.resize(expected, (24, 24), interpolation=cv2.INTER_LINEAR)
        assert np.array_equal(crop_around(image, box, 2.0, 24).patch, same), box


def test_at_the_right_edge_one_column_more_is_black(image):
    """A square that ends exactly at the edge needs no padding, and gets a column of it."""
    made = crop(image, Square(WIDTH - 16, 10, 16), 16).patch
    assert not made[:, -1].any()
    assert np.array_equal(made[:, :-1], image[10:26, WIDTH - 16 : WIDTH - 1])
    one_before = crop(image, Square(WIDTH - 17, 10, 16), 16).patch
    assert np.array_equal(one_before, image[10:26, WIDTH - 17 : WIDTH - 1])
    lower = crop(image, Square(10, HEIGHT - 16, 16), 16).patch
    assert not lower[-1].any() and lower[:-1].all()
    corner = crop(image, Square(0, 0, 16), 16).patch  # no such thing at the left or on top
    assert np.array_equal(corner, image[:16, :16])


def test_halves_are_rounded_to_even_and_sides_up():
    # centre 10 + 3.5 = 13.5, half a side 7: 6.5 -> 6; one pixel on: 7.5 -> 8
    assert square_around((10, 10, 7, 7), 2.0) == (6, 6, 14)
    assert square_around((11, 11, 7, 7), 2.0) == (8, 8, 14)
    assert square_around((-3.5, 0, 7, 7), 2.0).left == -7
    assert square_around((0, 0, 10, 10), 2.01).side == 21
    assert square_around((0, 0, 10, 10), 2.0).side == 20
    assert square_around((5, 5, 1e-3, 1e-3), 2.0).side == 1


def test_a_square_outside_is_black(image):
    for left, top in ((-40, 10), (WIDTH + 3, 10), (10, -40), (10, HEIGHT)):
        made = crop(image, Square(left, top, 20), 32)
        assert made.patch.shape == (32, 32, 3) and not made.patch.any()


def test_views_are_cropped_as_copies_are(image):
    """BGR turned to RGB by a negative stride is what many callers hand in."""
    view = image[::-1, ::-1, ::-1]
    assert view.strides[2] < 0
    for box in (BOXES["inside"], BOXES["over the left edge"], BOXES["huge"]):
        expected = crop_around(view.copy(), box, 2.0, 32).patch
        assert np.array_equal(crop_around(view, box, 2.0, 32).patch, expected)


def test_the_image_stays_as_it_is(image):
    before = image.copy()
    patch = crop(image, Square(3, 3, 16), 16).patch
    patch[:] = 0
    assert np.array_equal(image, before)


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 0, 5),
        (0, 0, 5, -1),
        (math.nan, 0, 5, 5),
        (0, 0, math.inf, 5),
        (0, 0, 1e-200, 1e-200),
    ],
)
def test_a_box_without_area_is_refused(box):
    with pytest.raises(BadDataError, match="cannot be cropped"):
        square_around(box, 2.0)


@pytest.mark.parametrize("cells", [1, 2, 16, 24])
def test_the_window_by_the_formula(cells):
    window = hann_window(cells)
    assert window.dtype == np.float32 and window.shape == (cells, cells)
    for row in range(cells):
        for column in range(cells):
            expected = 1.0
            for k in (row + 1, column + 1):
                expected *= 0.5 * (1 - math.cos(2 * math.pi * k / (cells + 1)))
            assert abs(window[row, column] - expected) < 1e-6
    assert window.min() > 0 and np.allclose(window, window.T) and np.allclose(window, window[::-1])


def test_a_box_of_the_region_in_the_frame():
    """By hand: a region of 100 px around (50, 40), in 256 px."""
    around, scale = (40, 30, 20, 20), 256 / 100
    x, y, w, h = box_to_frame(np.float32([0.5, 0.5, 0.2, 0.1]), around, 256, scale)
    assert np.allclose((x, y, w, h), (50 - 10, 40 - 5, 20, 10), atol=1e-4)
    x, y, w, h = box_to_frame(np.float32([0.75, 0.25, 0.1, 0.3]), around, 256, scale)
    assert np.allclose((x + w / 2, y + h / 2, w, h), (75, 15, 10, 30), atol=1e-4)
    assert all(type(value) is float for value in (x, y, w, h))


def test_what_is_drawn_on_a_frame_is_found_again():
    """There and back: a box as fractions of its own search region is the box."""
    rng = np.random.default_rng(2)
    for _ in range(100):
        around = (*rng.uniform(-5, 60, 2), *rng.uniform(3, 40, 2))
        box = (*rng.uniform(0, 60, 2), *rng.uniform(3, 40, 2))
        square = square_around(around, 4.0)
        # the authors take the region's centre for the box's, up to half a pixel from the square's
        left = around[0] + around[2] / 2 - square.side / 2
        top = around[1] + around[3] / 2 - square.side / 2
        fractions = (
            (box[0] + box[2] / 2 - left) / square.side,
            (box[1] + box[3] / 2 - top) / square.side,
            box[2] / square.side,
            box[3] / square.side,
        )
        back = box_to_frame(np.float32(fractions), around, 256, 256 / square.side)
        assert np.allclose(back, box, atol=1e-3)
        assert abs(left - square.left) <= 0.5 and abs(top - square.top) <= 0.5


def literal_clip(box, height, width):
    x1, y1, w, h = box
    x2, y2 = x1 + w, y1 + h
    x1 = min(max(0, x1), width - 10)
    x2 = min(max(10, x2), width)
    y1 = min(max(0, y1), height - 10)
    y2 = min(max(10, y2), height)
    return x1, y1, max(10, x2 - x1), max(10, y2 - y1)


def test_boxes_are_clipped_by_the_rule():
    by_hand = {
        (5, 5, 20, 20): (5, 5, 20, 20),
        (-30, -30, 20, 20): (0, 0, 10, 10),
        (90, 95, 30, 30): (70 - 10, 50 - 10, 10, 10),
        (-10, -10, 200, 200): (0, 0, 70, 50),
        (65, 20, 3, 3): (60, 20, 10, 10),
    }
    for box, expected in by_hand.items():
        assert clip_box(box, HEIGHT, WIDTH) == expected
    rng = np.random.default_rng(3)
    for _ in range(500):
        box = (*rng.uniform(-150, 150, 2), *rng.uniform(-20, 300, 2))
        clipped = clip_box(box, HEIGHT, WIDTH)
        assert np.allclose(clipped, literal_clip(box, HEIGHT, WIDTH))
        assert all(type(value) is float for value in clipped)
        x, y, w, h = clipped
        assert 0 <= x <= WIDTH - 10 and 0 <= y <= HEIGHT - 10 and w >= 10 and h >= 10
        assert x + w <= WIDTH + 1e-9 and y + h <= HEIGHT + 1e-9
