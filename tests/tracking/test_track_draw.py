"""What is drawn on frames: where, in which colours, and what is left alone."""

import numpy as np
import pytest

from lightvit_bench.errors import BadDataError
from lightvit_bench.tracking.watching.draw import FOUND, LOST, TRUTH, Caption, draw_result
from lightvit_bench.tracking.watching.follow import Track
from lightvit_bench.tracking.watching.strip import strip, write_strip

GREY = np.full((240, 320, 3), 128, np.uint8)
BOX = (100.0, 80.0, 60.0, 50.0)


def near(picture, colour, tolerance=30):
    return (abs(picture.astype(int) - colour) < tolerance).all(-1)


def test_a_found_box_is_green_lies_on_its_sides_and_the_image_is_not_touched():
    image = GREY.copy()
    drawn = draw_result(image, BOX)
    np.testing.assert_array_equal(image, GREY)
    green = near(drawn, FOUND)
    rows, columns = green.any(1).nonzero()[0], green.any(0).nonzero()[0]
    assert abs(rows[0] - 79.5) <= 2 and abs(rows[-1] - 129.5) <= 2
    assert abs(columns[0] - 99.5) <= 2 and abs(columns[-1] - 159.5) <= 2
    assert green[80 - 1 : 80 + 1, 105:155].any(0).all()  # a whole side, without gaps
    np.testing.assert_array_equal(drawn[90:120, 110:150], GREY[90:120, 110:150])
    np.testing.assert_array_equal(drawn[140:], GREY[140:])


def test_a_lost_box_is_red_and_dashed_and_says_so():
    drawn = draw_result(GREY, BOX, found=False)
    assert not near(drawn, FOUND).any()
    side = near(drawn, LOST)[78:82, 100:160].any(0)
    assert side.any() and not side.all()
    assert side[:4].any() and side[-4:].any()  # the corners are there
    found = draw_result(GREY, BOX)
    assert (drawn != found)[50:78].any()  # the word LOST above the box


def test_score_and_speed_are_written():
    bare = draw_result(GREY, BOX)
    scored = draw_result(GREY, BOX, caption=Caption(score=0.5))
    fast = draw_result(GREY, BOX, caption=Caption(fps=30.0, frame="frame 7"))
    changed = (scored != bare).any(-1)
    assert changed[50:80, 95:165].any() and not changed[:40].any()
    changed = (fast != bare).any(-1)
    assert changed[:40, :200].any() and not changed[60:].any()
    other = draw_result(GREY, BOX, caption=Caption(score=0.9))
    assert (scored != other).any()


@pytest.mark.parametrize("background", [0, 128, 255])
def test_text_can_be_read_on_any_background(background):
    image = np.full((480, 640, 3), background, np.uint8)
    drawn = draw_result(image, None, caption=Caption(fps=42.0))
    corner = drawn[8:34, 8:130].astype(int).mean(-1)
    assert corner.max() - np.median(corner) > 120  # bright letters on the veil


@pytest.mark.parametrize(
    "box",
    [
        (-50.0, -50.0, 1e30, 1e30),
        (310.0, 230.0, 100.0, 100.0),
        (-500.0, 10.0, 20.0, 20.0),
        (5.0, 2.0, 0.0, 0.0),
        (5.0, 2.0, 0.3, 200.0),
    ],
)
@pytest.mark.parametrize("found", [True, False])
def test_boxes_over_the_edge_are_drawn_without_an_error(box, found):
    drawn = draw_result(GREY, box, found=found, caption=Caption(1.0, 9999.0, "frame 123456789"))
    assert drawn.shape == GREY.shape and drawn.dtype == np.uint8


@pytest.mark.parametrize("box", [(np.nan, 0, 5, 5), (0, 0, np.inf, 5), (5, 5, -3, 5)])
def test_a_box_that_is_none_is_left_out(box):
    drawn = draw_result(GREY, box)
    np.testing.assert_array_equal(drawn, GREY)


def test_tiny_frames_take_text_too():
    drawn = draw_result(np.zeros((12, 16, 3), np.uint8), (2, 2, 5, 5), caption=Caption(0.5, 3.0))
    assert drawn.shape == (12, 16, 3)


def test_a_strip_shows_frames_with_truth_and_prediction(tmp_path):
    frames = [np.full((120, 160, 3), 20 * k, np.uint8) for k in range(10)]
    boxes = np.tile([20.0, 60.0, 40.0, 30.0], (10, 1))
    truth = np.tile([90.0, 60.0, 40.0, 30.0], (10, 1))
    truth[9] = 0
    track = Track(boxes, np.ones(10), np.arange(10) != 9, np.zeros(10))
    sheet = strip(frames, track, truth, count=4, columns=2, height=60)
    assert sheet.shape == (2 * 60 + 4, 2 * 80 + 4, 3)
    tiles = [sheet[y : y + 60, x : x + 80] for y in (0, 64) for x in (0, 84)]
    assert [int(np.median(t)) for t in tiles] == [0, 60, 120, 180]  # frames 0, 3, 6, 9
    assert near(tiles[1], FOUND).any() and near(tiles[1], TRUTH, 60).any()
    assert near(tiles[3], LOST).any() and not near(tiles[3], TRUTH, 60).any()
    write_strip(tmp_path / "strip.png", sheet)
    assert (tmp_path / "strip.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(BadDataError, match="10 frames were tracked, there are 3"):
        strip(frames[:3], track)
