"""LaSOT and LaSOT-ext from folders and archives, whole and not."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from tracking_files import (
    below,
    boxes,
    encoded,
    lasot_sequence,
    lines,
    picture,
    write_archive,
    write_files,
)

from lightvit_bench.data import lasot, store
from lightvit_bench.data.lasot import expected_names, open_lasot, open_lasot_ext
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError

TEST, TRAIN = "cup-1", "cup-2"  # of the official lists


def three(test=TEST, train=TRAIN) -> dict[str, bytes]:
    return below("cup", lasot_sequence(test, 4, hidden=[2], out=[3]) | lasot_sequence(train, 3))


@pytest.fixture(params=["classes", "flat", "class zips", "flat class zips", "one zip", "wrapped"])
def root(request, tmp_path) -> Path:
    dog = below("dog", lasot_sequence("dog-1"))
    flat = {name.partition("/")[2]: data for name, data in three().items()}
    if request.param == "classes":
        return write_files(tmp_path / "lasot", three() | dog)
    if request.param == "flat":
        return write_files(tmp_path / "lasot", flat | lasot_sequence("dog-1"))
    if request.param in ("class zips", "flat class zips"):
        write_archive(
            tmp_path / "lasot/cup.zip", three() if request.param == "class zips" else flat
        )
        write_archive(tmp_path / "lasot/dog.zip", dog)
        return tmp_path / "lasot"
    wrapped = below("LaSOTBenchmark", three() | dog)
    if request.param == "wrapped":
        return write_files(tmp_path / "lasot", wrapped)
    return write_archive(tmp_path / "lasot.zip", wrapped)


def test_every_form_gives_the_same(root):
    said = []
    test = open_lasot(root, "test", say=said.append)
    assert [sequence.name for sequence in test] == [TEST, "dog-1"]
    assert [s.name for s in open_lasot(root, "train", say=said.append)] == [TRAIN]
    assert [s.name for s in open_lasot(root, "all", say=said.append)] == [TEST, TRAIN, "dog-1"]
    assert said[0].startswith("LaSOT test: 2 of the 280 sequences. Missing: airplane-1, ")
    assert said[0].endswith("and 273 more.")
    assert "1 of the 1,120" in said[1] and "3 of the 1,400" in said[2]

    cup = test[0]
    assert cup.dataset == "lasot" and not cup.still and len(cup) == 4
    truth = cup.annotation
    np.testing.assert_array_equal(truth.boxes_xywh, boxes(4))  # not shifted
    assert truth.visible.tolist() == [True, True, False, False]
    assert np.isnan(truth.covered).all()
    for i in range(4):
        assert np.abs(cup.frames[i].astype(int) - picture(i)).max() <= 3, "RGB, in order"
        assert cup.frames.name(i).endswith(f"cup-1/img/{i + 1:08d}.jpg")
    with pytest.raises(IndexError):
        cup.frames[4]


def test_the_official_lists():
    test, train, every = (expected_names(split) for split in ("test", "train", "all"))
    assert (len(test), len(train), len(every)) == (280, 1120, 1400)
    assert len(set(test)) == 280 and set(test) | set(train) == set(every)
    assert len({name.split("-")[0] for name in train}) == 70
    assert test[0] == "airplane-1" and test[-1] == "volleyball-19"


def test_the_list_is_the_toolkits(shared):
    import zipfile

    with zipfile.ZipFile(shared / "data/lasot_test_annotations.zip") as archive:
        assert archive.read("testing_set.txt").decode().split() == lasot.test_names()


def test_testing_needs_all_of_them(root):
    with pytest.raises(BadDataError, match="2 of the 280") as caught:
        open_lasot(root, "test", expect_all=True)
    assert "missing: " in str(caught.value) and "airplane-1" in str(caught.value)
    assert "docs/datasets.md#lasot" in str(caught.value)


def test_the_whole_test_set_is_taken_without_a_word_and_without_reading_files(
    tmp_path, monkeypatch
):
    files = {}
    for name in expected_names("test"):
        files[f"{name.rpartition('-')[0]}/{name}/groundtruth.txt"] = b"not read"
    write_files(tmp_path, files)
    monkeypatch.setattr(store.FolderStore, "read", None)
    listed, real = [], store.FolderStore.list

    def spy(self, folder=""):
        listed.append(folder)
        return real(self, folder)

    monkeypatch.setattr(store.FolderStore, "list", spy)
    sequences = open_lasot(tmp_path, "test", expect_all=True, say=pytest.fail)
    assert len(sequences) == 280
    assert not [folder for folder in listed if "-" in folder], "no sequence is looked into"
    assert len(pickle.dumps(sequences)) < 280 * 400


def test_what_is_wrong_in_a_sequence_is_named(tmp_path):
    files = three()
    cases = {
        "cup/cup-1/groundtruth.txt": [
            (lines(boxes(3)), "4 marks for 3 boxes"),
            (lines(boxes(4)) + b"1,2,3\n", "(?s)line 5, the last.*'1,2,3'"),
            (lines(boxes(3)) + b"1,2,x,4\n", "line 4"),
            (lines(boxes(3)) + b"1,2,inf,4\n", "line 4"),
            (lines(boxes(3)) + b"1,,1,5,5\n", "(?s)line 4.*'1,,1,5,5'"),
            (lines(boxes(2)) + b"\n" + lines(boxes(2)), "(?s)line 3 .*''"),
            (b"", "is empty"),
            (b"\xff\xfe1,2", "line 1"),
        ],
        "cup/cup-1/full_occlusion.txt": [(b"0,0,2,0", "'2'"), (b"0,0,0", "3 marks for 4 boxes")],
        "cup/cup-1/out_of_view.txt": [(None, "out_of_view.txt")],
        "cup/cup-1/img/00000004.jpg": [(None, "4 boxes for 3 frames")],
        "cup/cup-1/img/00000005.jpg": [(encoded(picture(4)), "4 boxes for 5 frames")],
    }
    for path, wrongs in cases.items():
        for number, (content, message) in enumerate(wrongs):
            changed = {k: v for k, v in (files | {path: content}).items() if v is not None}
            root = write_files(tmp_path / f"{path.replace('/', '_')}{number}", changed)
            sequence = open_lasot(root, "test", say=[].append)[0]
            with pytest.raises(BadDataError, match=message) as caught:
                _ = sequence.annotation
            assert str(root / "cup/cup-1") in str(caught.value)


def test_tabs_spaces_windows_lines_and_nan(tmp_path):
    text = b"\xef\xbb\xbf1\t2\t3\t4\r\n5, 6, 7, 8\r\n9 10 11 12\r\nnan,nan,nan,nan\r\n\r\n"
    root = write_files(tmp_path, three() | {"cup/cup-1/groundtruth.txt": text})
    truth = open_lasot(root, "test", say=[].append)[0].annotation
    expected = np.vstack([np.arange(1, 13).reshape(3, 4), np.full((1, 4), np.nan)])
    np.testing.assert_array_equal(truth.boxes_xywh, expected)


def test_the_sequence_with_more_frames_than_boxes(tmp_path):
    """The toolkit cuts monkey-17's results to its boxes; no other sequence is forgiven."""
    files = lasot_sequence("monkey-17", 3) | {"monkey-17/img/00000004.jpg": encoded(picture(3))}
    sequence = open_lasot(write_files(tmp_path, files), "test", say=[].append)[0]
    assert len(sequence) == 3 == len(sequence.annotation.visible)


def test_no_frames_and_unreadable_frames(tmp_path):
    files = three()
    files["cup/cup-1/img/00000002.jpg"] = files["cup/cup-1/img/00000002.jpg"][:-40]
    files["cup/cup-1/img/00000003.jpg"] = b"GIF89a" + bytes(50)
    files["cup/cup-1/img/00000004.jpg"] = b""
    bare = lasot_sequence("dog-1")
    files |= {name: data for name, data in bare.items() if "/img/" not in name}
    sequences = open_lasot(write_files(tmp_path, files), "test", say=[].append)
    for index, why in ((1, "JPEG"), (2, "no JPEG, PNG"), (3, "empty")):
        with pytest.raises(BadDataError, match=why) as caught:
            sequences[0].frames[index]
        assert f"cup-1/img/{index + 1:08d}.jpg" in str(caught.value)
    with pytest.raises(BadDataError, match="dog-1/img"):
        len(sequences[1])


def test_nothing_there(tmp_path):
    with pytest.raises(MissingDataError, match="docs/datasets.md#lasot") as caught:
        open_lasot(tmp_path / "absent")
    assert "LIGHTVIT_DATA" in str(caught.value) and str(tmp_path / "absent") in str(caught.value)
    (tmp_path / "stuff").mkdir()
    with pytest.raises(MissingDataError, match="stuff/"):
        open_lasot(tmp_path)
    with pytest.raises(ConfigError, match="'val'"):
        open_lasot(tmp_path, "val")


def test_a_sequence_that_is_there_twice(tmp_path):
    root = write_files(tmp_path, lasot_sequence("cup-1") | below("cup", lasot_sequence("cup-1")))
    with pytest.raises(BadDataError, match="cup-1 is there twice"):
        open_lasot(root)


EXT = [f"class{letter}" for letter in "abcdefghijklmno"]


def test_lasot_ext(tmp_path):
    """Fifteen classes that LaSOT does not have, ten sequences each, numbers in order."""
    gt = b"1,2,3,4\n"
    files = {f"{c}/{c}-{n}/groundtruth.txt": gt for c in EXT for n in range(1, 11)}
    root = write_files(tmp_path, files | below("cup", lasot_sequence("cup-1")))
    sequences = open_lasot_ext(root, expect_all=True)
    assert len(sequences) == 150
    assert [s.name for s in sequences[8:11]] == ["classa-9", "classa-10", "classb-1"]
    assert sequences[0].dataset == "lasot-ext"

    for n in range(1, 11):
        (root / f"classo/classo-{n}/groundtruth.txt").unlink()
        (root / f"classo/classo-{n}").rmdir()
    (root / "classb/classb-3").rename(root / "classb/.gone")
    with pytest.raises(BadDataError, match="139 of the 150") as caught:
        open_lasot_ext(root, expect_all=True)
    assert "classb-3, 1 whole classes" in str(caught.value)
    (root / "classb/.gone").rename(root / "classb/classb-11")
    with pytest.raises(BadDataError, match="classb-11"):
        open_lasot_ext(root)


def test_lasot_is_not_lasot_ext(tmp_path):
    with pytest.raises(MissingDataError, match="15 new classes"):
        open_lasot_ext(write_files(tmp_path, three()))
    with pytest.raises(ConfigError):
        open_lasot_ext(tmp_path, "train")
