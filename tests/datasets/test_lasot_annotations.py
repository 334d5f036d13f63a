"""LaSOT's annotations in each layout, as folders and archives, and what is wrong with them."""

import shutil
import zipfile

import numpy as np
import pytest

from lightvit_bench.data import lasot
from lightvit_bench.data.lasot_annotations import LasotAnnotations, natural, parse_names
from lightvit_bench.errors import BadDataError, MissingDataError

NAMES = ("car-2", "car-10", "yoyo-1")
BOXES = "1,2,3,4\n5,6,7,8\n9,10,11,12\n"
TOOLKIT = ("annos/{}.txt", "annos/absent/{}.txt", "annos/att/{}.txt")
ASIDE = ("annos/{}.txt", "absent/{}.txt", "attributes/{}.txt")
LISTS = ("sequence_evaluation_config/testing_set.txt", "testing_set.txt")


def put(root, name, text):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def lay(root, layout):
    for i, name in enumerate(NAMES):
        marks = [0] * 14
        marks[i] = 1
        for pattern, text in zip(layout, (BOXES, "0\n0\n1\n", ",".join(map(str, marks)))):
            put(root, pattern.format(name), text)


def packed(folder, inside=""):
    path = folder.parent / f"{folder.name}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, inside + str(file.relative_to(folder)))
    return path


@pytest.mark.parametrize("form", ["folder", "zip", "zip of the folder"])
@pytest.mark.parametrize("layout", [TOOLKIT, ASIDE])
@pytest.mark.parametrize("listed", LISTS)
def test_both_layouts_and_lists(tmp_path, form, layout, listed):
    root = tmp_path / "anno"
    lay(root, layout)
    put(root, listed, "yoyo-1\ncar-2")  # no end of the last line
    path = root if form == "folder" else packed(root, "anno/" if "of" in form else "")
    truth = LasotAnnotations(path)
    assert truth.known == NAMES and truth.names == ("yoyo-1", "car-2") and len(truth) == 2
    car = truth["car-10"]
    assert car.boxes_xywh.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    assert car.absent.tolist() == [False, False, True]
    assert car.attributes.nonzero()[0].tolist() == [1]
    assert "car-2" in truth and "car-3" not in truth
    with pytest.raises(ValueError):
        car.boxes_xywh[0] = 0  # the next who asks gets the same


def test_the_toolkits_own_folder_without_a_list(tmp_path):
    lay(tmp_path, TOOLKIT)
    truth = LasotAnnotations(tmp_path / "annos")
    assert truth.names == truth.known == NAMES  # in natural order
    assert truth["yoyo-1"].attributes[2]


@pytest.mark.parametrize("prefix", ["", "CLASS/"])
def test_the_data_sets_own_layout(tmp_path, prefix):
    for name in NAMES:
        place = prefix.replace("CLASS", name.split("-")[0]) + name
        put(tmp_path, f"{place}/groundtruth.txt", BOXES)
        put(tmp_path, f"{place}/full_occlusion.txt", "0,1,0")
        put(tmp_path, f"{place}/out_of_view.txt", "0,0,1\n")
        put(tmp_path, f"{place}/img/00000001.jpg", "")
    truth = LasotAnnotations(tmp_path)
    assert truth.names == NAMES
    assert truth["car-2"].absent.tolist() == [False, True, True]
    assert truth["car-2"].attributes is None
    one = LasotAnnotations(tmp_path / place)
    assert one.names == ("yoyo-1",) and len(one["yoyo-1"].boxes_xywh) == 3
    assert LasotAnnotations(packed(tmp_path)).names == NAMES
    (tmp_path / place / "out_of_view.txt").unlink()
    with pytest.raises(MissingDataError, match="out_of_view.txt"):
        LasotAnnotations(tmp_path)["yoyo-1"]
    shutil.copytree(tmp_path / prefix.replace("CLASS", "car") / "car-2", tmp_path / "more/car-2")
    with pytest.raises(BadDataError, match="two sequences are called car-2"):
        LasotAnnotations(tmp_path)


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(MissingDataError, match="nowhere"):
        LasotAnnotations(tmp_path / "nowhere")
    with pytest.raises(MissingDataError, match="in a layout that is known"):
        LasotAnnotations(tmp_path)
    (tmp_path / "a.zip").write_text("no archive")
    with pytest.raises(BadDataError, match="(?s)zip archive cannot be read.*a.zip"):
        LasotAnnotations(tmp_path / "a.zip")

    root = tmp_path / "anno"
    lay(root, ASIDE)
    put(root, "testing_set.txt", "car-2\ncar-3\n")
    with pytest.raises(MissingDataError, match=r"(?s)1 sequences are not.*car-3.*car-2"):
        LasotAnnotations(root)
    (root / "testing_set.txt").unlink()
    put(root, "absent/car-2.txt", "0\n0\n")
    put(root, "attributes/car-10.txt", "0,1")
    (root / "absent/yoyo-1.txt").unlink()
    for path in (root, packed(root)):
        truth = LasotAnnotations(path)
        with pytest.raises(BadDataError, match=r"(?s)car-2.*3 in .*annos.car-2.*2 in .*absent"):
            truth["car-2"]
        with pytest.raises(BadDataError, match="2 flags, not 14"):
            truth["car-10"]
        with pytest.raises(MissingDataError, match="absent/yoyo-1.txt"):
            truth["yoyo-1"]


def test_a_damaged_archive_is_named(tmp_path):
    root = tmp_path / "anno"
    lay(root, ASIDE)
    path = packed(root)
    data = bytearray(path.read_bytes())
    at = data.index(b"5,6,7,8")
    data[at] = ord("6")  # the checksum is another one now
    path.write_bytes(data)
    truth = LasotAnnotations(path)
    failures = 0
    for name in NAMES:
        try:
            truth[name]
        except BadDataError as error:
            failures += 1
            assert "cannot be read" in str(error) and name in str(error)
    assert failures == 1


def test_lists_of_names():
    assert parse_names(b"a-1\r\n\n b-2 \n", "list") == ("a-1", "b-2")
    assert parse_names(b"\xef\xbb\xbfa b\nc\n", "list") == ("a b", "c")
    for text, message in (
        (b"\n", "names no sequence"),
        (b"a-1\na-1\n", "(?s)twice.*a-1"),
        (b"a-1\n../b\n", "name 2 is no sequence's"),
        (b"a\x07b\n", "name 1 is no sequence's"),
    ):
        with pytest.raises(BadDataError, match=message):
            parse_names(text, "list")
    assert sorted(["a-10", "b-1", "a-9"], key=natural) == ["a-9", "a-10", "b-1"]


def test_the_real_test_set(shared):
    truth = LasotAnnotations(shared / "data/lasot_test_annotations.zip")
    assert len(truth.names) == 280
    truths = [truth[name] for name in truth.names]
    assert sum(len(t.boxes_xywh) for t in truths) == 685360
    assert sum(int(t.absent.sum()) for t in truths) == 18346
    counts = np.sum([t.attributes for t in truths], axis=0)
    assert counts.tolist() == [47, 187, 142, 89, 86, 175, 100, 33, 273, 118, 53, 104, 141, 249]


def test_a_real_sequence_in_the_data_sets_layout(shared):
    truth = LasotAnnotations(shared / "data/sequences")
    assert truth.names == ("bag",)
    assert len(truth["bag"].boxes_xywh) == len(truth["bag"].absent) == 196
    assert truth["bag"].boxes_xywh[0].tolist() == [291.83, 124.71, 150.35, 139.58]


def test_of_all_of_lasot_the_test_set_is_judged_by_default(tmp_path):
    for name in lasot.expected_names("all"):
        put(tmp_path, f"{name.rpartition('-')[0]}/{name}/groundtruth.txt", BOXES)
    truth = LasotAnnotations(tmp_path)
    assert len(truth.known) == 1400 and truth.names == tuple(lasot.test_names())
    shutil.rmtree(tmp_path / "airplane/airplane-1")  # of the test set: nothing is left out unsaid
    assert len(LasotAnnotations(tmp_path).names) == 1399


def test_the_data_set_in_archives_of_its_classes(tmp_path):
    for name in NAMES:
        label = name.split("-")[0]
        put(tmp_path / label, f"{label}/{name}/groundtruth.txt", BOXES)
        put(tmp_path / label, f"{label}/{name}/full_occlusion.txt", "0,0,1")
        put(tmp_path / label, f"{label}/{name}/out_of_view.txt", "0,0,0")
    (tmp_path / "lasot").mkdir()
    for label in ("car", "yoyo"):
        packed(tmp_path / label).rename(tmp_path / f"lasot/{label}.zip")
    assert LasotAnnotations(tmp_path / "lasot").names == NAMES
    truth = LasotAnnotations(tmp_path / "lasot/car.zip")
    assert truth.names == NAMES[:2] and truth["car-10"].absent.tolist() == [False, False, True]
    one = LasotAnnotations(packed(tmp_path / "car/car/car-2"))  # a sequence alone, in an archive
    assert one.names == ("car-2",) and len(one["car-2"].boxes_xywh) == 3
    deep = LasotAnnotations(packed(tmp_path / "car", "LaSOT/"))
    assert deep.names == NAMES[:2]


def test_ones_own_sequences_need_no_flags(tmp_path):
    put(tmp_path, "a b/groundtruth.txt", BOXES)
    put(tmp_path, "street-1/groundtruth.txt", BOXES)
    put(tmp_path, "street-1/out_of_view.txt", "0,1,0")
    truth = LasotAnnotations(tmp_path)
    assert truth.names == ("a b", "street-1") and not truth["a b"].absent.any()
    assert truth["street-1"].absent.tolist() == [False, True, False]
    put(tmp_path, "atv/atv-1/groundtruth.txt", BOXES)  # LaSOT-ext's have both files
    with pytest.raises(MissingDataError, match="atv-1/full_occlusion.txt"):
        LasotAnnotations(tmp_path)["atv-1"]
    put(tmp_path, "a b/groundtruth.txt", "1,2,inf,4\n")
    with pytest.raises(BadDataError, match="a b/groundtruth.txt, line 1"):
        LasotAnnotations(tmp_path)["a b"]


@pytest.mark.parametrize("form", ["folder", "zip", "zip of the folder"])
def test_what_a_mac_leaves_behind_is_no_annotation(tmp_path, form):
    root = tmp_path / "anno"
    lay(root, TOOLKIT)
    put(root, "annos/._car-2.txt", "Mac OS X")
    put(root, ".DS_Store", "Mac OS X")
    path = root
    if form != "folder":
        path = packed(root, "anno/" if "of" in form else "")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("__MACOSX/anno/annos/._car-2.txt", "Mac OS X")
    assert LasotAnnotations(path).names == NAMES
