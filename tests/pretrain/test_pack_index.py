"""A pack's JSON files: whatever is wrong in them is told, with what to do, and nothing is read."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from lightvit_bench.errors import BadDataError
from lightvit_bench.pretrain.shards import pack_images
from lightvit_bench.pretrain.sources import open_source

OPTIONS = {"short_side": 16, "images_per_shard": 2, "workers": 0}
INDEX = "shard-00001.json"
DELETE = "(left out)"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder of three images, and its pack of two shards."""
    folder = tmp_path_factory.mktemp("packs")
    (folder / "images").mkdir()
    for i in range(3):
        Image.fromarray(np.full((20, 20, 3), 60 * i, np.uint8)).save(folder / f"images/{i}.jpg")
    pack_images(folder / "images", folder / "pack", **OPTIONS)
    return folder


@pytest.fixture
def pack(whole, tmp_path):
    out = tmp_path / "pack"
    out.mkdir()
    for path in (whole / "pack").iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return out


def change(path, **changes):
    content = json.loads(path.read_text())
    content = {k: v for k, v in (content | changes).items() if v is not DELETE}
    path.write_text(json.dumps(content))


def refused(pack, file, *needles):
    with pytest.raises(BadDataError) as caught:
        open_source(pack)
    assert str(caught.value).startswith(file), caught.value
    assert "tools/pack_images.py" in str(caught.value) and str(pack / file) in str(caught.value)
    for needle in needles:
        assert needle in str(caught.value)


def test_the_pack_is_whole(pack):
    assert len(open_source(pack)) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"shards": ["../evil"]},
        {"shards": ["/evil"]},
        {"shards": ["shard-00000/../shard-00001", "shard-00001"]},
        {"shards": ["shard-00000\n", "shard-00001"]},
        {"shards": ["shard-0000٣"]},
        {"shards": ["shard-1"]},
        {"shards": ["shard-00000", "shard-00000"]},
        {"shards": []},
        {"shards": [1]},
        {"shards": [["shard-00000"]]},
        {"shards": "shard-00000"},
        {"shards": DELETE},
        {"images": "3"},
        {"images": True},
        {"images": -3},
        {"images": 4},
        {"images": 3.0},
        {"images": 10**40},
        {"images": None},
        {"bytes": DELETE},
        {"bytes": "many"},
        {"unreadable": 0},
        {"unreadable": [["x.jpg"]]},
        {"unreadable": [["x.jpg", "empty"]]},
        {"options": []},
        {"options": {"quality": "90"}},
        {"source": None},
        {"source": {"images": 3}},
        {"source": {"images": "3", "digest": ""}},
        {"format": "1"},
        {"format": True},
        {"format": 0},
        {"format": DELETE},
    ],
    ids=str,
)
def test_a_damaged_pack_json(pack, changes):
    change(pack / "pack.json", **changes)
    refused(pack, "pack.json", "is damaged: " + next(iter(changes)).replace("unreadable", ""))


@pytest.mark.parametrize(
    "changes",
    [
        {"tar": "../shard-00001.tar"},
        {"tar": "shard-00000.tar"},
        {"tar": 5},
        {"tar": DELETE},
        {"bytes": None},
        {"bytes": -1},
        {"bytes": 1e300},
        {"sha256": 0},
        {"copied": "0"},
        {"copied": 2},
        {"small": DELETE},
        {"unreadable": DELETE},
        {"members": DELETE},
        {"members": {"2.jpg": [512, 3]}},
        {"members": [5]},
        {"members": [["2.jpg", 512]]},
        {"members": [["2.jpg", 512, 3, 4]]},
        {"members": [[2, 512, 3]]},
        {"members": [["", 512, 3]]},
        {"members": [["a\0b.jpg", 512, 3]]},
        {"members": [["\ud800.jpg", 512, 3]]},
        {"members": [["2.jpg", "512", 3]]},
        {"members": [["2.jpg", -1, 3]]},
        {"members": [["2.jpg", 512, -3]]},
        {"members": [["2.jpg", 512, 3.0]]},
        {"members": [["2.jpg", 512, True]]},
        {"members": [["2.jpg", 0, 10**12]]},
        {"members": [["2.jpg", 10**30, 3]]},
    ],
    ids=str,
)
def test_a_damaged_index(whole, pack, changes):
    before = (pack / INDEX).read_bytes()
    change(pack / INDEX, **changes)
    refused(pack, INDEX, "is damaged: " + next(iter(changes)).rstrip("s"), "again")
    assert pack_images(whole / "images", pack, **OPTIONS).kept == 1
    assert (pack / INDEX).read_bytes() == before and len(open_source(pack)) == 3


@pytest.mark.parametrize("file", ["pack.json", INDEX])
@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "3", '"text"', "{}", "{", "[" * 100_000, '{"format": 1e999}',
     '{"format": ' + "9" * 5000 + "}", "\0", "NaN"],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_files_that_are_no_index_at_all(pack, file, text):
    (pack / file).write_text(text)
    refused(pack, file)


@pytest.mark.parametrize("file", ["pack.json", INDEX])
def test_bytes_that_are_no_text_and_a_folder_in_its_place(pack, file):
    (pack / file).write_bytes(b"\xff\xfe{")
    refused(pack, file, "cannot be read")
    (pack / file).unlink()
    (pack / file).mkdir()
    refused(pack, file, "cannot be read", "directory")


def test_counts_of_pack_and_shards_agree(pack):
    content = json.loads((pack / INDEX).read_text())
    change(pack / INDEX, members=content["members"] * 2)
    with pytest.raises(BadDataError, match="tells of 3 images .* of 4") as caught:
        open_source(pack)
    assert "tools/pack_images.py" in str(caught.value)


@pytest.mark.parametrize("file", ["pack.json", INDEX])
def test_a_later_format_says_to_update(pack, file):
    change(pack / file, format=2)
    with pytest.raises(BadDataError, match=r"(?s)format 2.*reads 1.*update lightvit_bench"):
        open_source(pack)


@pytest.mark.parametrize("file", ["pack.json", "packing.json"])
@pytest.mark.parametrize(
    "changes", [{"options": 5}, {"source": []}, {"source": {"images": "3", "digest": "x"}}], ids=str
)
def test_packing_on_from_a_damaged_plan(whole, pack, file, changes):
    (pack / "pack.json").rename(pack / file)
    change(pack / file, **changes)
    with pytest.raises(BadDataError, match=rf"^{file} is damaged: {next(iter(changes))}"):
        pack_images(whole / "images", pack, **OPTIONS)
    (pack / file).write_text("[1]")
    with pytest.raises(BadDataError, match="into another folder, or remove this one"):
        pack_images(whole / "images", pack, **OPTIONS)


def test_a_damaged_end_of_pack_json_is_mended_by_packing_again(whole, pack):
    before = (pack / "pack.json").read_bytes()
    change(pack / "pack.json", shards=["../evil"], images=-1)
    assert pack_images(whole / "images", pack, **OPTIONS).kept == 2
    assert (pack / "pack.json").read_bytes() == before


def test_an_index_of_other_images_is_not_kept(whole, pack):
    """The right types, and fewer images than the shard is of."""
    content = json.loads((pack / "shard-00000.json").read_text())
    change(pack / "shard-00000.json", members=content["members"][:1])
    assert pack_images(whole / "images", pack, **OPTIONS).kept == 1
    source = open_source(pack)
    assert Image.open(io.BytesIO(source.read(1))).size == (16, 16)
