"""Result files as trackers write them, and files that must not be guessed at."""

import numpy as np
import pytest

from lightvit_bench.data.box_files import (
    parse_boxes,
    parse_flags,
    parse_marks,
    read_boxes,
    read_times,
    write_boxes,
    write_times,
)
from lightvit_bench.errors import BadDataError, MissingDataError

ROWS = [[1, 2.5, 30, 40], [-1.25, 0, 3e2, 0.5]]


@pytest.mark.parametrize(
    "text",
    [
        "1,2.5,30,40\n-1.25,0,3e2,.5\n",
        "1\t2.5\t30\t40\n-1.25\t0\t300.\t5E-1\n",
        "1 2.5 30 40\n-1.25 0 +300 0.5",  # no line end after the last
        "1, 2.5, 30, 40\n-1.25, 0, 300, 0.5\n",
        "   1.00e+00   2.50e+00   3.00e+01   4.00e+01\n  -1.25e+00   0   3e+02   5e-01\n",  # MATLAB
        "1,2.5 30\t40\r\n-1.25 , 0,300,0.5\r\n\r\n",
        "1\t2.5\t30\t40 \r-1.25\t0\t300\t0.5\r",
        "\t1,2.5,30,40\n-1.25 0 300 0.5\n",
        "\ufeff1,2.5,30,40\n-1.25,0,300,0.5\n",
    ],
    ids=["comma", "tab", "space", "comma space", "columns", "mixed", "old Mac", "by line", "mark"],
)
def test_every_separator_is_read(tmp_path, text):
    file = tmp_path / "a.txt"
    file.write_bytes(text.encode())
    boxes = read_boxes(file)
    assert boxes.tolist() == ROWS and boxes.dtype == np.float64
    boxes[0, 0] = 7  # it is the caller's own


@pytest.mark.parametrize("separator", [",", "\t", " ", " , "])
def test_nan_and_infinity_are_numbers(tmp_path, separator):
    file = tmp_path / "a.txt"
    file.write_text(separator.join(["nan", "NaN", "-Inf", "infinity"]) + "\n")
    np.testing.assert_array_equal(read_boxes(file), [[np.nan, np.nan, -np.inf, np.inf]])


def test_complex_numbers_are_no_boxes(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("1,2,3+4.5i,4\n1,2,-3i,4\n1,2,3,4\n")
    np.testing.assert_array_equal(
        read_boxes(file), [[1, 2, np.nan, 4], [1, 2, np.nan, 4], [1, 2, 3, 4]]
    )


@pytest.mark.parametrize(
    "second",
    [
        "1,2,3",
        "1,2,3,",
        "1,2,,4",
        "1,2,3,4,5",
        "1,2,3,x",
        "1,2,3,4x",
        "1,2,3,1.2.3",
        "1,2,3,1-2",
        "1,2,3,e",
        "1,2,3,-",
        "1,2,3,na",
        "1,2,3,0x10",
        "1,2,3,1_0",
        "1,2,3;4",
        "",
        "1 2 3",
        "1 2 3 4 5",
        "1\t2\t3",
        "1,2,3 ,4, 5",
        "1,2,3,\N{ARABIC-INDIC DIGIT FOUR}",
    ],
)
def test_lines_that_are_no_box_are_named(tmp_path, second):
    file = tmp_path / "cat-1.txt"
    separator = "," if "," in second or ";" in second else second[1:2] or " "
    sound = separator.join("1234") + "\n"
    for lines, number in (([sound, second + "\n", sound], 2), ([second + "\n", sound], 1)):
        file.write_text("".join(lines), encoding="utf-8")
        with pytest.raises(BadDataError, match=rf"cat-1.txt, line {number} is not x,y,w,h"):
            read_boxes(file)


def test_numbers_too_many_in_one_line_do_not_make_up_for_another(tmp_path):
    file = tmp_path / "a.txt"
    for text in ("1,2,3\n4,5,6,7,8\n", "1 2 3\n4 5 6 7 8\n"):
        file.write_text(text)
        with pytest.raises(BadDataError, match="line 1"):
            read_boxes(file)


def test_a_file_cut_short_says_so(tmp_path):
    file = tmp_path / "a.txt"
    whole = "".join(f"{i},2,3,4\n" for i in range(10))
    for cut in (len(whole) - 3, len(whole) - 5):
        file.write_text(whole[:cut])
        with pytest.raises(BadDataError, match="line 10, the last one"):
            read_boxes(file)
    file.write_bytes(b"\0" * 64)
    with pytest.raises(BadDataError, match="line 1"):
        read_boxes(file)
    for nothing in ("", "\n\n", "  \n"):
        file.write_text(nothing)
        with pytest.raises(BadDataError, match="is empty"):
            read_boxes(file)
    with pytest.raises(MissingDataError, match="b.txt"):
        read_boxes(tmp_path / "b.txt")


def test_boxes_come_back_with_four_decimals(tmp_path):
    boxes = np.random.default_rng(0).normal(100, 300, (500, 4))
    boxes[3] = [1, 20, 0.5, -0.00001]
    boxes[4] = np.nan
    write_boxes(tmp_path / "a.txt", boxes)
    np.testing.assert_allclose(read_boxes(tmp_path / "a.txt"), boxes, atol=0.5001e-4)
    lines = (tmp_path / "a.txt").read_text().split("\n")
    assert lines[3] == "1,20,0.5,0" and lines[-1] == "" and len(lines) == 501
    with pytest.raises(ValueError, match="shape"):
        write_boxes(tmp_path / "b.txt", boxes[:, :3])
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_times_come_back(tmp_path):
    write_times(tmp_path / "a_time.txt", [0.25, 1e-5])
    assert read_times(tmp_path / "a_time.txt").tolist() == [0.25, 1e-5]
    (tmp_path / "a_time.txt").write_text("0.1\n0.2 s\n")
    with pytest.raises(BadDataError, match="line 2.* is not seconds"):
        read_times(tmp_path / "a_time.txt")


def test_flags_in_a_line_or_one_a_line():
    for text in (
        b"0,1,1",
        b"0\n1\n1\n",
        b"0\r\n1\r\n1\r\n",
        b"0, 1, 1\n",
        b"0,1,1,\n",
        b"\xef\xbb\xbf0,1,1\n",
        b"\xef\xbb\xbf0, 1,1",
    ):
        assert parse_flags(text, "f").tolist() == [False, True, True], text
    for text, line in (
        (b"0\n2\n", 2),
        (b"0,01,1", 1),
        (b"0\nx\n1", 2),
        (b"0,,1", 1),
        (b"0\n-1\n", 2),
    ):
        with pytest.raises(BadDataError, match=f"line {line}"):
            parse_flags(text, "f")
    with pytest.raises(BadDataError, match="no flag"):
        parse_flags(b"\n", "f")


@pytest.mark.parametrize("odd", ["inf", "-Infinity", "2+3i", "4j"])
def test_a_truth_is_finite_or_unknown(odd):
    text = f"1,2,3,4\nnan,nan,nan,nan\n1,{odd},5,5\n1,2,3,4\n".encode()
    assert parse_boxes(text, "result").shape == (4, 4)
    with pytest.raises(BadDataError, match="truth.txt, line 3 is not x,y,w,h"):
        parse_boxes(text, "truth.txt", truth=True)
    known = parse_boxes(text.replace(odd.encode(), b"7"), "truth.txt", truth=True)
    assert np.isnan(known[1]).all() and known[2].tolist() == [1, 7, 5, 5]


def test_marks_of_more_than_two_kinds():
    for text in (b"8\n0\n3\n", b"\xef\xbb\xbf8,0,3", b"8,  0,3"):
        assert parse_marks(text, "cover", largest=8).tolist() == [8, 0, 3]
    with pytest.raises(BadDataError, match="(?s)line 2, holds other than 0 to 8.*'9'"):
        parse_marks(b"8\n9\n", "cover", largest=8)
