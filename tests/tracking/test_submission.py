"""Archives for GOT-10k's and TrackingNet's servers."""

import zipfile

import numpy as np
import pytest

from lightvit_bench.data.box_files import write_boxes, write_times
from lightvit_bench.data.sequence import Annotation, Sequence
from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.tracking.judging.submission import write_got10k, write_trackingnet

FIRST = [10.25, 20.5, 30.125, 40]


def sequence(name, frames=3):
    """As a test set gives it: the first box alone."""
    boxes = np.full((frames, 4), np.nan)
    boxes[0] = FIRST
    marks = np.ones(frames, bool), np.full(frames, np.nan)
    return Sequence("test", name, range(frames), lambda: Annotation(boxes, *marks))


SET = [sequence("v_2"), sequence("v_1", 2)]


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    for s in SET:
        write_boxes(
            folder / f"{s.name}.txt", np.array([FIRST, [1.23456, 2, 3, 4], FIRST])[: len(s)]
        )
        write_times(folder / f"{s.name}_time.txt", [0.5] * len(s))
    return folder


def test_got10k_has_a_folder_a_sequence(results, tmp_path):
    out = tmp_path / "got.zip"
    assert write_got10k(results, SET, out) == 2
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            f"{name}/{name}_{part}.txt" for name in ("v_1", "v_2") for part in ("001", "time")
        ]
        text = archive.read("v_2/v_2_001.txt").decode()
        assert text.split("\n")[:2] == ["10.250,20.500,30.125,40.000", "1.235,2.000,3.000,4.000"]
        assert archive.read("v_1/v_1_time.txt") == b"0.50000000\n0.50000000\n"
    before = out.read_bytes()
    write_got10k(results, SET[::-1], out)
    assert out.read_bytes() == before


def test_trackingnet_is_flat(results, tmp_path):
    out = tmp_path / "tn.zip"
    assert write_trackingnet(results, SET, out) == 2
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == ["v_1.txt", "v_2.txt"]
        assert archive.read("v_1.txt") == b"10.25,20.5,30.125,40\n1.235,2,3,4\n"


def change(row, values):
    def apply(boxes):
        boxes[row] = values
        return boxes

    return apply


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda boxes: boxes[:2], "(?s)v_2.txt has another length.*2 boxes.*3 frames"),
        (lambda boxes: np.tile(boxes, (2, 1)), "(?s)v_2.txt has another length.*6 boxes.*3 frames"),
        (change(1, [1, np.nan, 3, 4]), "v_2.txt, line 2, is no box"),
        (change(2, [1, 2, -3, 4]), "v_2.txt, line 3, is no box"),
        (change(0, [10, 22, 30, 40]), "(?s)v_2.txt does not begin.*given: +10.25, 20.5"),
    ],
)
def test_results_are_checked_first(results, tmp_path, damage, message):
    boxes = np.array([FIRST, [1.0, 2, 3, 4], FIRST])
    write_boxes(results / "v_2.txt", damage(boxes))
    for write in (write_got10k, write_trackingnet):
        with pytest.raises(BadDataError, match=message):
            write(results, SET, tmp_path / "out.zip")
    assert not list(tmp_path.glob("*out.zip*"))


def test_a_first_box_cut_to_integers_will_do(results, tmp_path):
    write_boxes(results / "v_1.txt", np.array([[10, 20, 30, 40], FIRST]))
    write_trackingnet(results, SET, tmp_path / "out.zip")


def test_each_sequence_has_to_be_there(results, tmp_path):
    with pytest.raises(BadDataError, match=r"(?s)1 too many.*v_2"):
        write_trackingnet(results, SET[1:], tmp_path / "out.zip")
    write_times(results / "v_1_time.txt", [0.5])
    with pytest.raises(BadDataError, match="(?s)v_1_time.txt.*1 times, 2 frames"):
        write_got10k(results, SET, tmp_path / "out.zip")
    (results / "v_1_time.txt").unlink()
    with pytest.raises(MissingDataError, match="v_1_time.txt"):
        write_got10k(results, SET, tmp_path / "out.zip")
    (results / "v_1.txt").unlink()
    with pytest.raises(MissingDataError, match="missing: +v_1"):
        write_trackingnet(results, SET, tmp_path / "out.zip")
    with pytest.raises(MissingDataError, match="no sequence"):
        write_trackingnet(results, [], tmp_path / "out.zip")
    assert not list(tmp_path.glob("*out.zip*"))
