"""Images in a folder: which, in what order, and what is said when there are none."""

import hashlib
import os
import pickle
from contextlib import contextmanager

import pytest

from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.pretrain.sources import (
    FolderSource,
    Names,
    allowed_unreadable,
    named_reasons,
    open_source,
)


@pytest.fixture
def tree(tmp_path):
    for name in ("b/2.JPEG", "b/10.jpg", "a/deep/x.PNG", "top.webp", "a/.hidden.jpg", "a/notes.txt",
                 ".cache/y.jpg", "é/ü.tif"):  # fmt: skip
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "images"


NAMES = ["a/deep/x.PNG", "b/10.jpg", "b/2.JPEG", "top.webp", "é/ü.tif"]


def names(source):
    return [source.name(i) for i in range(len(source))]


def test_images_by_suffix_in_the_order_of_their_names(tree):
    source = open_source(tree)
    assert names(source) == NAMES
    assert source.read(2) == b"b/2.JPEG"
    assert source.describe() == f"5 image files in {tree}"


@pytest.mark.parametrize("index", [-1, 5])
def test_no_image_of_another_number(tree, index):
    with pytest.raises(IndexError, match="of 5"):
        open_source(tree).read(index)


def test_order_does_not_depend_on_the_listing(tree, monkeypatch):
    digest = open_source(tree).digest

    scandir = os.scandir

    @contextmanager
    def backwards(folder):
        with scandir(folder) as entries:
            yield sorted(entries, key=lambda entry: entry.name, reverse=True)

    monkeypatch.setattr(os, "scandir", backwards)
    assert open_source(tree).digest == digest


def test_digest_is_of_the_names(tree):
    digest = open_source(tree).digest
    assert digest == hashlib.sha256("".join(f"{name}\0" for name in NAMES).encode()).hexdigest()
    (tree / "top.webp").rename(tree / "tap.webp")
    assert open_source(tree).digest != digest


def test_it_travels_to_a_worker(tree):
    source = pickle.loads(pickle.dumps(open_source(tree)))
    assert names(source) == NAMES and source.read(0) == b"a/deep/x.PNG"


def test_links_are_followed_and_loops_end(tree, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/z.jpg").write_bytes(b"z")
    (tree / "linked").symlink_to(tmp_path / "elsewhere")
    (tree / "a/loop").symlink_to(tree)
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "elsewhere")
    assert names(open_source(tree)) == [*NAMES[:3], "linked/z.jpg", *NAMES[3:]]


def test_a_broken_link_is_an_image_that_cannot_be_read(tree):
    (tree / "b/gone.jpg").symlink_to(tree / "nowhere.jpg")
    source = open_source(tree)
    assert "b/gone.jpg" in names(source)
    with pytest.raises(FileNotFoundError):
        source.read(names(source).index("b/gone.jpg"))


def test_names_that_are_no_text(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.jpg")).write_bytes(b"raw")
    source = pickle.loads(pickle.dumps(FolderSource(tmp_path)))
    assert source.read(0) == b"raw"


def test_no_folder_says_which_knob(tmp_path):
    with pytest.raises(MissingDataError, match="data_root=") as caught:
        open_source(tmp_path / "absent")
    assert str(tmp_path / "absent") in str(caught.value)
    (tmp_path / "file").touch()
    with pytest.raises(MissingDataError, match="not a folder"):
        open_source(tmp_path / "file")


def test_no_images_says_what_was_looked_for_and_what_is_there(tmp_path):
    with pytest.raises(BadDataError, match="no file at all"):
        open_source(tmp_path)
    (tmp_path / "part.tar").touch()
    with pytest.raises(BadDataError, match=r"\.jpg,\.jpeg") as caught:
        open_source(tmp_path)
    assert "part.tar" in str(caught.value)


def test_a_folder_that_cannot_be_listed_is_named(tree, monkeypatch):
    scandir = os.scandir

    def refuse(folder):
        if folder.endswith("deep"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(BadDataError, match=r"(?s)deep.*Permission denied"):
        open_source(tree)


def test_messages_name_files_in_a_line_each(tmp_path):
    (tmp_path / os.fsdecode(b"a\xff\nb.txt")).touch()
    with pytest.raises(BadDataError) as caught:
        open_source(tmp_path)
    assert r"a\udcff\nb.txt" in str(caught.value)


@pytest.mark.parametrize(
    "images, share, allowed", [(1000, 0.001, 1), (999, 0.001, 1), (5000, 0.001, 5), (12, 1, 12),
                               (5, 0.01, 1), (1_281_167, 0, 0)],
)  # fmt: skip
def test_how_many_may_be_unreadable(images, share, allowed):
    assert allowed_unreadable(images, share) == allowed


def test_unreadable_images_are_listed_and_counted():
    pairs = [(f"{i}\n.jpg", "empty file") for i in range(23)]
    lines = named_reasons(iter(pairs))
    assert lines[0] == r"0\n.jpg: empty file" and len(lines) == 21 and lines[-1] == "and 3 more"
    assert len(named_reasons(pairs[:20])) == 20 and named_reasons([]) == []


def test_names_of_nothing():
    assert len(Names([])) == 0
