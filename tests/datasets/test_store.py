"""Folders and archives as one tree: names, damage, zip64, workers, and nothing kept open."""

import multiprocessing
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lightvit_bench.data.store import FolderStore, Tree, ZipStore, find_folders, open_tree
from lightvit_bench.data.zip_index import zip_index
from lightvit_bench.errors import BadDataError, MissingDataError

FILES = {
    "cup/cup-1/groundtruth.txt": b"1,2,3,4\n" * 50,
    "cup/cup-1/img/00000001.jpg": bytes(range(256)) * 9,
    "cup/cup-1/img/00000002.jpg": b"",
    "cup/cup-10/img/00000001.jpg": b"ten",
    "top.txt": "gr\u00fcn".encode(),
    "n\u00e4me/x": b"umlaut",
}


def write_zip(path: Path, files: dict[str, bytes], method=zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.fixture(params=["folder", "stored", "deflated", "zip64"])
def tree(request, tmp_path) -> Tree:
    if request.param == "folder":
        for name, data in FILES.items():
            (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / name).write_bytes(data)
        return open_tree(tmp_path / "set")
    if request.param == "zip64":
        return open_tree(write_zip64(tmp_path / "set.zip", FILES))
    method = zipfile.ZIP_STORED if request.param == "stored" else zipfile.ZIP_DEFLATED
    return open_tree(write_zip(tmp_path / "set.zip", FILES, method))


def write_zip64(path: Path, files: dict[str, bytes]) -> Path:
    """Every size, place and count in 64 bits, as in archives of more than 4 GiB."""
    import zlib

    body, entries = b"", b""
    for name, data in files.items():
        raw, header, crc = name.encode(), len(body), zlib.crc32(data)
        local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 45, 0x800, 0, 0, 0, crc, *[2**32 - 1] * 2,
                            len(raw), 20)  # fmt: skip
        body += local + raw + struct.pack("<HHQQ", 1, 16, len(data), len(data)) + data
        wide = struct.pack("<HHI", 0x5455, 4, 7)  # another field stands before it
        wide += struct.pack("<HHQQQ", 1, 24, len(data), len(data), header)
        entries += struct.pack("<4sHHHHHHI", b"PK\1\2", 45, 45, 0x800, 0, 0, 0, crc)
        entries += struct.pack("<IIHHHHHII", *[2**32 - 1] * 2, len(raw), len(wide), 0, 0, 0, 0,
                               2**32 - 1)  # fmt: skip
        entries += raw + wide
    end = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, len(files), len(files),
                      len(entries), len(body))  # fmt: skip
    end += struct.pack("<4sIQI", b"PK\6\7", 0, len(body) + len(entries), 1)
    end += struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, *[2**16 - 1] * 2, *[2**32 - 1] * 2, 0)
    path.write_bytes(body + entries + end)
    with zipfile.ZipFile(path) as archive:  # the standard library agrees that it is an archive
        assert archive.read("top.txt") == files["top.txt"]
    return path


def test_folders_and_archives_read_alike(tree):
    assert tree.list() == (["cup", "n\u00e4me"], ["top.txt"])
    assert tree.list("cup") == (["cup-1", "cup-10"], [])
    assert tree.list("cup/cup-1") == (["img"], ["groundtruth.txt"])
    assert tree.list("cup/cup-1/img").files == ["00000001.jpg", "00000002.jpg"]
    assert tree.list("nothing") == ([], [])
    for name, data in FILES.items():
        assert tree.read(name) == data
        assert tree.exists(name)
    assert tree.exists("cup/cup-1") and not tree.exists("cup/cup-2")
    assert not tree.exists("cup/cup-1/img/0000000.jpg")
    assert list(find_folders(tree, lambda name: "-" in name, 3)) == ["cup/cup-1", "cup/cup-10"]
    with pytest.raises(BadDataError, match="00000003.jpg"):
        tree.read("cup/cup-1/img/00000003.jpg")


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "cup/../../secret", "a\0b"])
def test_no_name_leads_out(tree, path):
    (Path(tree.root).parent / "secret").write_text("no")
    with pytest.raises(BadDataError, match="leads out"):
        tree.read(path)
    with pytest.raises(BadDataError, match="leads out"):
        tree.exists(path)


@pytest.mark.parametrize("name", ["../a", "/a", "x/../../a", "./../a", ".//a"])
def test_an_archive_with_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    path = write_zip(tmp_path / "a.zip", {"ok": b"1", name: b"2"})
    with pytest.raises(BadDataError, match="leads elsewhere"):
        open_tree(path)


def test_names_with_backslashes_are_told_apart(tmp_path):
    """Copying the archive again would not help."""
    path = write_zip(tmp_path / "a.zip", {"ok": b"1", "x\\a": b"2"})
    with pytest.raises(BadDataError, match="(?s)backslashes.*x.+a.*pack it by another") as caught:
        open_tree(path)
    assert "copy" not in str(caught.value)


def test_members_may_be_named_from_the_dot(tmp_path):
    files = {"./": b"", "./cup/./cup-1/a": b"1", "./cup/b": b"2", "cup/c": b"3", "./.x": b"4"}
    tree = open_tree(write_zip(tmp_path / "a.zip", files))
    assert tree.list() == (["cup"], [])
    assert tree.list("cup") == (["cup-1"], ["b", "c"])
    assert [tree.read(f"cup/{name}") for name in ("cup-1/a", "b", "c")] == [b"1", b"2", b"3"]


def test_a_broken_archive_among_others_may_be_moved_away(tmp_path):
    write_zip(tmp_path / "cup.zip", {"cup/a": b"1"})
    (tmp_path / "backup.zip").write_bytes(b"PK\3\4 half a download")
    with pytest.raises(BadDataError, match="(?s)backup.zip.*or move it away, if it is no part"):
        open_tree(tmp_path)
    with pytest.raises(BadDataError) as caught:
        open_tree(tmp_path / "backup.zip")
    assert "move it away" not in str(caught.value)


def test_hidden_files_are_not_listed(tmp_path):
    files = {"__MACOSX/cup/._1.jpg": b"", "cup/._1.jpg": b"", "cup/1.jpg": b"", ".DS_Store": b""}
    tree = open_tree(write_zip(tmp_path / "a.zip", files))
    assert tree.list() == (["cup"], [])
    assert tree.list("cup").files == ["1.jpg"]


def test_archives_in_a_folder_join_it(tmp_path):
    write_zip(tmp_path / "cup.zip", {"cup/cup-1/a": b"zip", "cup/cup-1/b": b"zip"})
    write_zip(tmp_path / "dog.ZIP", {"dog/dog-1/a": b"dog"})
    (tmp_path / "cup/cup-1").mkdir(parents=True)
    (tmp_path / "cup/cup-1/a").write_bytes(b"folder")
    tree = open_tree(tmp_path)
    assert tree.list().folders == ["cup", "dog"]
    assert tree.list("cup/cup-1").files == ["a", "b"]
    assert tree.read("cup/cup-1/a") == b"folder", "the folder comes first"
    assert tree.read("cup/cup-1/b") == b"zip"
    assert tree.place("cup/cup-1/b") == f"{tmp_path / 'cup.zip'}: cup/cup-1/b"
    assert tree.home("dog/dog-1") == ZipStore(str(tmp_path / "dog.ZIP"))
    assert tree.home("cup/cup-1") is tree, "it is in two places"
    assert open_tree(tmp_path, archives=lambda name: name != "dog.zip").list().folders == ["cup"]


def test_nothing_there(tmp_path):
    with pytest.raises(MissingDataError, match="absent"):
        open_tree(tmp_path / "absent")
    with pytest.raises(MissingDataError, match="no such zip"):
        ZipStore(str(tmp_path / "absent.zip")).list()


@pytest.mark.parametrize("left", [0, 10, 21, 22, 100, 0.5, -1, -22, -23])
def test_a_truncated_archive_is_an_error_when_it_is_opened(tmp_path, left):
    path = write_zip(tmp_path / "cup.zip", FILES)
    data = path.read_bytes()
    path.write_bytes(data[: int(left * len(data)) if isinstance(left, float) else left])
    with pytest.raises(BadDataError, match="cup.zip"):
        open_tree(tmp_path)


def test_any_damaged_byte_is_an_error_or_harmless(tmp_path):
    """Whatever byte is wrong: the right bytes are read, or an error names the archive."""
    path = write_zip(tmp_path / "cup.zip", {"cup/a.txt": b"some text, some text", "cup/b": b"x"})
    good = path.read_bytes()
    errors = 0
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
        os.utime(path, ns=(at, at))  # the same size: the clock is too coarse to tell them apart
        try:
            tree = open_tree(path)
            assert tree.read("cup/a.txt") == b"some text, some text"
        except BadDataError as error:
            assert "cup.zip" in str(error)
            errors += 1
    assert errors > len(good) // 3


def test_damaged_members_are_named(tmp_path):
    path = tmp_path / "cup.zip"
    noise = np.random.default_rng(0).bytes(5000)
    write_zip(path, {"cup/1.jpg": noise, "cup/2.jpg": noise})
    data = bytearray(path.read_bytes())
    data[2500] ^= 0xFF
    path.write_bytes(data)
    tree = open_tree(path)
    with pytest.raises(BadDataError) as caught:
        tree.read("cup/1.jpg")
    assert str(path) in str(caught.value) and "cup/1.jpg" in str(caught.value)
    assert tree.read("cup/2.jpg") == noise


def test_a_member_that_unpacks_to_more_than_it_says_is_not_unpacked(tmp_path):
    path = write_zip(tmp_path / "bomb.zip", {"a": b"\0" * 10_000_000})
    data = path.read_bytes()
    said = struct.pack("<I", 10_000_000)
    assert data.count(said) == 2
    path.write_bytes(data.replace(said, struct.pack("<I", 100)))
    with pytest.raises(BadDataError, match="another size than its 100 bytes"):
        open_tree(path).read("a")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_and_encryption_are_named(tmp_path, method):
    path = write_zip(tmp_path / "a.zip", {"a": b"x" * 100}, method)
    with pytest.raises(BadDataError, match="method"):
        open_tree(path).read("a")
    path = write_zip(tmp_path / "b.zip", {"a": b"x" * 100})
    data = path.read_bytes().replace(b"PK\1\2\x14\x03\x14\0\0\0", b"PK\1\2\x14\x03\x14\0\1\0")
    path.write_bytes(data)
    with pytest.raises(BadDataError, match="encrypted"):
        open_tree(path).read("a")


def test_the_last_of_two_members_of_one_name_counts(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for data in (b"old", b"new"):
            with pytest.warns(UserWarning) if data == b"new" else open(os.devnull):
                archive.writestr("a", data)
    tree = open_tree(tmp_path / "a.zip")
    assert tree.list().files == ["a"]
    assert tree.read("a") == b"new" == zipfile.ZipFile(tmp_path / "a.zip").read("a")


def test_something_before_the_archive_and_a_comment_behind_it(tmp_path):
    path = write_zip(tmp_path / "a.zip", FILES)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"PK is in here"
    path.write_bytes(b"#!/bin/sh\n" * 100 + path.read_bytes())
    assert open_tree(path).read("top.txt") == FILES["top.txt"]


def test_an_archive_that_is_replaced_is_read_again(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a": b"1"})
    tree = open_tree(path)
    assert tree.read("a") == b"1"
    write_zip(path, {"b": b"two"})
    assert tree.list().files == ["b"]


def _read_all(tree: Tree, seed: int, queue) -> None:
    order = np.random.default_rng(seed).permutation(200)
    queue.put(all(tree.read(f"cup/{i}") == bytes([i]) * (i + 1) for i in order))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_read_one_archive_at_once(tmp_path, start):
    write_zip(tmp_path / "cup.zip", {f"cup/{i}": bytes([i]) * (i + 1) for i in range(200)})
    tree = open_tree(tmp_path)
    tree.read("cup/7")  # the parent has used it before
    context = multiprocessing.get_context(start)
    queue = context.Queue()
    workers = [context.Process(target=_read_all, args=(tree, seed, queue)) for seed in range(3)]
    for worker in workers:
        worker.start()
    results = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert results == [True] * 3


def test_nothing_is_open_and_little_is_pickled(tmp_path):
    write_zip(tmp_path / "cup.zip", {f"cup/{i:08d}.jpg": b"x" for i in range(5000)})
    before = len(os.listdir("/proc/self/fd"))
    tree = open_tree(tmp_path)
    tree.read("cup/00000007.jpg")
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(pickle.dumps(tree)) < 1000
    index = zip_index(str(tmp_path / "cup.zip"))
    assert index.files(b"cup")[-1] == b"00004999.jpg"
    assert isinstance(tree.parts[0], FolderStore)
