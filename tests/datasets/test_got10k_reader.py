"""GOT-10k from folders and its own archives."""

import numpy as np
import pytest
from tracking_files import below, boxes, encoded, lines, picture, write_archive, write_files

from lightvit_bench.data.got10k import open_got10k
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError


def sequence(split: str, number: int, count: int = 3, first_only: bool = False):
    name = f"GOT-10k_{split.title()}_{number:06d}"
    files = {f"{name}/{i + 1:08d}.jpg": encoded(picture(i)) for i in range(count)}
    rows = boxes(count, shift=0.25)[: 1 if first_only else count]
    files[f"{name}/groundtruth.txt"] = lines(rows, "%.4f")
    if not first_only:
        files |= {
            f"{name}/absence.label": b"0\n1\n0\n",
            f"{name}/cover.label": b"8\n0\n3\n",
            f"{name}/cut_by_image.label": b"0\n0\n1\n",
        }
    return files | {f"{name}/meta_info.ini": b"[METAINFO]\nanno_fps: 10Hz\n"}


TRAIN = sequence("train", 1) | sequence("train", 2) | sequence("train", 7000)
VAL, TEST = sequence("val", 4), sequence("test", 9, first_only=True)


@pytest.fixture(params=["folders", "zips", "full zips", "one zip", "top zips"])
def root(request, tmp_path):
    root = tmp_path / "got10k"
    parts = {"train": TRAIN, "val": VAL, "test": TEST}
    whole = {k: v for split, files in parts.items() for k, v in below(split, files).items()}
    if request.param == "folders":
        return write_files(root, whole)
    if request.param == "one zip":
        return write_archive(tmp_path / "got10k.zip", whole)
    base = root / "full_data" if request.param == "full zips" else root
    train = base if request.param == "top zips" else base / "train_data"
    write_archive(train / "GOT-10k_Train_split_01.zip", sequence("train", 1) | sequence("train", 2))
    write_archive(train / "GOT-10k_Train_split_15.zip", sequence("train", 7000))
    write_archive(base / "val_data.zip", below("val", VAL))
    write_archive(base / "test_data.zip", below("test", TEST))
    return root


def test_every_form_gives_the_same(root):
    said = []
    train = open_got10k(root, "train", say=said.append)
    assert [s.name[-6:] for s in train] == ["000001", "000002", "007000"]
    assert "GOT-10k train: 3 of the 9,335" in said[0] and "Train_000003" in said[0]
    truth = train[2].annotation
    np.testing.assert_array_equal(truth.boxes_xywh, boxes(3, 0.25))
    assert truth.visible.tolist() == [True, False, True]
    assert truth.covered.tolist() == [1, 0, 0.375]
    assert np.abs(train[2].frames[2].astype(int) - picture(2)).max() <= 3
    assert [s.name for s in open_got10k(root, "val", say=said.append)] == ["GOT-10k_Val_000004"]


def test_the_test_split_has_one_box(root):
    (only,) = open_got10k(root, "test", say=[].append)
    truth = only.annotation
    assert len(truth.boxes_xywh) == len(only) == 3
    np.testing.assert_array_equal(truth.boxes_xywh[0], boxes(1, 0.25)[0])
    assert np.isnan(truth.boxes_xywh[1:]).all()
    assert truth.usable.tolist() == [True, False, False]


def test_one_box_will_not_do_to_train_on(tmp_path):
    files = below("train", sequence("train", 1))
    files["train/GOT-10k_Train_000001/groundtruth.txt"] = b"1,2,3,4\n"
    (only,) = open_got10k(write_files(tmp_path, files), say=[].append)
    with pytest.raises(BadDataError, match="3 marks for 1 boxes"):
        _ = only.annotation


@pytest.mark.parametrize("content", [b"8\n9\n0\n", b"8\n-1\n0\n", b"8\n0.5\n0\n"])
def test_cover_is_counted_in_eighths(tmp_path, content):
    files = below("val", VAL) | {"val/GOT-10k_Val_000004/cover.label": content}
    (only,) = open_got10k(write_files(tmp_path, files), "val", say=[].append)
    with pytest.raises(BadDataError, match="cover.label"):
        _ = only.annotation


def test_lists_of_sequences(root, tmp_path):
    """Numbers count from 0, names from 1, as in the lists that OSTrack has."""
    chosen = tmp_path / "list.txt"
    chosen.write_text("# these\n1\nGOT-10k_Train_007000\n\n")
    left = open_got10k(root, "train", exclude=chosen, say=[].append)
    assert [s.name[-6:] for s in left] == ["000001"]
    taken, said = open_got10k(root, "train", only=chosen, expect_all=True), []
    assert [s.name[-6:] for s in taken] == ["000002", "007000"]
    open_got10k(root, "train", exclude=chosen, say=said.append)
    assert "1 of the 9,333" in said[0]


def test_lists_that_do_not_fit(root, tmp_path):
    chosen = tmp_path / "list.txt"
    with pytest.raises(MissingDataError, match="exclude="):
        open_got10k(root, exclude=chosen)
    for wrong in ("9335", "GOT-10k_Val_000001", "-1"):
        chosen.write_text(f"0\n{wrong}\n")
        with pytest.raises(ConfigError, match=f"line 2.*{wrong}"):
            open_got10k(root, exclude=chosen)


def test_all_are_expected_and_another_split_is_not_taken(root, tmp_path):
    with pytest.raises(BadDataError, match="1 of the 180"):
        open_got10k(root, "val", expect_all=True)
    with pytest.raises(MissingDataError, match="docs/datasets.md#got-10k"):
        open_got10k(write_files(tmp_path / "other", below("val", VAL)), "train")


def test_only_the_splits_own_archives_are_opened(tmp_path):
    write_archive(tmp_path / "val_data.zip", VAL)
    (tmp_path / "test_data.zip").write_bytes(b"cut short")
    assert len(open_got10k(tmp_path, "val", say=[].append)) == 1
    with pytest.raises(BadDataError, match="test_data.zip"):
        open_got10k(tmp_path, "test")


def test_a_list_may_begin_with_a_byte_order_mark(root, tmp_path):
    (tmp_path / "list.txt").write_bytes("\ufeffGOT-10k_Train_000001\n".encode())
    names = [s.name for s in open_got10k(root, only=tmp_path / "list.txt", say=[].append)]
    assert names == ["GOT-10k_Train_000001"]
