"""Packs: what is in them, that they are whole or not there, and that a stopped one goes on."""

import io
import json
import os
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image, ImageOps

from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.pretrain import shards, sources
from lightvit_bench.pretrain.shards import member_names, pack_images, repack
from lightvit_bench.pretrain.sources import ShardSource, open_source

OPTIONS = {"short_side": 48, "images_per_shard": 4, "workers": 0}


def encode(height, width, seed=0, form="JPEG", mode="RGB", **options):
    grid = np.mgrid[0:height, 0:width].sum(0)[..., None] * (2 + seed % 3)
    image = ((grid + np.array([0, 40, 90])) % 256).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, form, **options)
    return file.getvalue()


@pytest.fixture
def images(tmp_path):
    """Eleven images: ordinary, small, turned, grey, PNG; a pack of three shards."""
    root = tmp_path / "images"
    turned = Image.Exif()
    turned[0x0112] = 6
    files = {f"a/{i}.jpg": encode(60, 80, i) for i in range(5)}
    files |= {
        "b/exact.JPEG": encode(48, 70),
        "b/grey.jpg": encode(48, 48, mode="L"),
        "b/small.jpg": encode(20, 30),
        "b/turned.jpg": encode(40, 30, exif=turned),
        "c/x.jpg": encode(50, 48, 1),
        "c/x.png": encode(50, 48, 2, form="PNG"),
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def names(source):
    return [source.name(i) for i in range(len(source))]


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_pack_is_tar_files_that_anybody_can_read(images, tmp_path):
    report = pack_images(images, tmp_path / "pack", **OPTIONS)
    assert (report.images, report.shards, report.kept, report.unreadable) == (11, 3, 0, ())
    held = {}
    for number in range(3):
        with tarfile.open(tmp_path / f"pack/shard-{number:05d}.tar") as tar:
            held |= {member.name: tar.extractfile(member).read() for member in tar}
    source = open_source(tmp_path / "pack")
    assert isinstance(source, ShardSource)
    assert names(source) == list(held)
    assert [source.read(i) for i in range(11)] == list(held.values())
    assert names(source)[5:] == ["b/exact.jpg", "b/grey.jpg", "b/small.jpg", "b/turned.jpg",
                                 "c/x.jpg", "c/x.png.jpg"]  # fmt: skip
    assert source.describe() == f"11 images in 3 shards in {tmp_path / 'pack'}"


def test_what_becomes_of_the_images(images, tmp_path):
    report = pack_images(images, tmp_path / "pack", **OPTIONS)
    source = open_source(tmp_path / "pack")
    packed = {source.name(i): source.read(i) for i in range(len(source))}
    sizes = {name: Image.open(io.BytesIO(data)).size for name, data in packed.items()}
    assert sizes["a/0.jpg"] == (64, 48) and sizes["b/turned.jpg"] == (40, 30)
    assert sizes["c/x.png.jpg"] == (48, 50), "the short side fits"
    for name in ("b/exact.jpg", "b/small.jpg", "c/x.jpg"):
        original = images / name.replace("exact.jpg", "exact.JPEG")
        assert packed[name] == original.read_bytes(), "copied byte for byte"
    assert report.copied == 3 and report.small == 2
    assert all(Image.open(io.BytesIO(data)).mode == "RGB" for data in packed.values())


def test_repacked_pixels_are_those_of_pillow():
    exif = Image.Exif()
    exif[0x0112] = 8
    encoded = encode(90, 120, exif=exif, quality=95)
    ours = Image.open(io.BytesIO(repack(encoded, 60, 100)[0]))
    theirs = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    theirs = theirs.resize((60, 80), Image.BICUBIC)
    assert ours.size == (60, 80) and ours.getexif().get(0x0112, 1) == 1
    difference = np.abs(np.asarray(ours).astype(int) - np.asarray(theirs))
    assert difference.mean() < 4  # of the colours' halved resolution; a wrong turn gives 60


def test_reads_in_place_from_one_descriptor(images, tmp_path, monkeypatch):
    pack_images(images, tmp_path / "pack", **OPTIONS)
    source = open_source(tmp_path / "pack")
    source.read(0)
    held = set(os.listdir("/proc/self/fd"))
    data = [source.read(i) for i in range(4)]
    assert set(os.listdir("/proc/self/fd")) == held
    there = pickle.loads(pickle.dumps(source))
    assert [there.read(i) for i in range(4)] == data

    monkeypatch.setattr(sources, "_OPEN_SHARDS", 2)
    for i in (0, 4, 8, 0, 4, 8):
        there.read(i)
        assert len(there._open) <= 2
    source.close(), there.close()
    assert len(os.listdir("/proc/self/fd")) == len(held) - 1


def test_digest_tells_of_names_and_sizes(images, tmp_path):
    for out, quality in (("one", 90), ("two", 90), ("three", 60)):
        pack_images(images, tmp_path / out, **OPTIONS, quality=quality)
    digests = [open_source(tmp_path / out).digest for out in ("one", "two", "three")]
    assert digests[0] == digests[1] != digests[2]
    assert content(tmp_path / "one") == content(tmp_path / "two"), "packing is reproducible"


@pytest.mark.slow
def test_several_processes_make_the_same_pack(images, tmp_path):
    pack_images(images, tmp_path / "one", **OPTIONS)
    pack_images(images, tmp_path / "two", **OPTIONS | {"workers": 2})
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_stopped_pack_goes_on(images, tmp_path, monkeypatch):
    pack_images(images, tmp_path / "undisturbed", **OPTIONS)
    out, made = tmp_path / "pack", []

    def stop(encoded, *options):
        made.append(encoded)
        if len(made) == 7:
            raise KeyboardInterrupt
        return repack(encoded, *options)

    monkeypatch.setattr(shards, "repack", stop)
    with pytest.raises(KeyboardInterrupt):
        pack_images(images, out, **OPTIONS)
    assert sorted(content(out)) == ["packing.json", "shard-00000.json", "shard-00000.tar"]
    with pytest.raises(BadDataError, match="not finished"):
        open_source(out)

    (out / ".shard-00001.tar.0123.part").touch()  # what a killed run leaves
    report = pack_images(images, out, **OPTIONS)
    assert report.kept == 1 and report.images == 11
    assert len(made) == 7 + 7, "the first shard's four are not made again"
    assert content(out) == content(tmp_path / "undisturbed")
    assert pack_images(images, out, **OPTIONS).kept == 3


@pytest.mark.parametrize("finished", [False, True])
def test_another_pack_is_not_mixed_in(images, tmp_path, finished):
    out = tmp_path / "pack"
    pack_images(images, out, **OPTIONS)
    if not finished:
        plan = json.loads((out / "pack.json").read_text())
        (out / "packing.json").write_text(json.dumps(plan))
        (out / "pack.json").unlink()
    with pytest.raises(ConfigError, match="quality: 90 there, 80 asked for"):
        pack_images(images, out, **OPTIONS, quality=80)
    with pytest.raises(ConfigError, match="images_per_shard: 4 there, 5 asked for"):
        pack_images(images, out, **OPTIONS | {"images_per_shard": 5})
    (images / "a/0.jpg").rename(images / "a/zero.jpg")
    with pytest.raises(ConfigError, match="of other names"):
        pack_images(images, out, **OPTIONS)
    (images / "a/zero.jpg").unlink()
    with pytest.raises(ConfigError, match="11 images there, 10 now"):
        pack_images(images, out, **OPTIONS)


def test_shards_of_unknown_origin_are_left_alone(images, tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/shard-00000.tar").write_bytes(b"somebody's")
    with pytest.raises(ConfigError, match="does not say of what"):
        pack_images(images, tmp_path / "pack", **OPTIONS)
    assert (tmp_path / "pack/shard-00000.tar").read_bytes() == b"somebody's"


def damage(path, how):
    if how == "absent":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data[:-1] if how == "shorter" else data + b"\0")


@pytest.mark.parametrize("how", ["absent", "shorter", "longer"])
@pytest.mark.parametrize("file", ["shard-00001.tar", "shard-00001.json"])
def test_a_damaged_shard_is_named_and_made_again(images, tmp_path, file, how):
    out = tmp_path / "pack"
    pack_images(images, out, **OPTIONS)
    before = content(out)
    damage(out / file, how)
    with pytest.raises(BadDataError, match="shard-00001") as caught:
        open_source(out)
    assert "tools/pack_images.py" in str(caught.value)
    assert pack_images(images, out, **OPTIONS).kept == 2
    assert content(out) == before


def test_a_shard_cut_off_after_opening_is_an_error(images, tmp_path):
    pack_images(images, tmp_path / "pack", **OPTIONS)
    source = open_source(tmp_path / "pack")
    os.truncate(tmp_path / "pack/shard-00000.tar", 600)
    with pytest.raises(OSError, match="ends before"):
        source.read(0)


def test_a_pack_of_another_format(images, tmp_path):
    pack_images(images, tmp_path / "pack", **OPTIONS)
    pack = json.loads((tmp_path / "pack/pack.json").read_text())
    (tmp_path / "pack/pack.json").write_text(json.dumps(pack | {"format": 99}))
    with pytest.raises(BadDataError, match=r"(?s)format 99.*update lightvit_bench"):
        open_source(tmp_path / "pack")
    with pytest.raises(BadDataError, match="format 99"):
        pack_images(images, tmp_path / "pack", **OPTIONS)


def test_unreadable_images_are_left_out_and_named(images, tmp_path):
    (images / "a/1.jpg").write_bytes((images / "a/1.jpg").read_bytes()[:-300])
    (images / "b/x.png").write_text("<html>")
    out = tmp_path / "pack"
    with pytest.raises(BadDataError, match="2 of 12 images cannot be read, 1 may") as caught:
        pack_images(images, out, **OPTIONS, max_unreadable=0.01)
    assert "a/1.jpg" in str(caught.value) and "--max-unreadable" in str(caught.value)
    report = pack_images(images, out, **OPTIONS, max_unreadable=0.2)
    assert report.kept == 3, "what was made before is kept"
    assert [name for name, _ in report.unreadable] == ["a/1.jpg", "b/x.png"]
    assert "b/x.png: not an image" in str(report)
    assert "a/1.jpg" not in names(open_source(out)) and report.images == 10
    assert [n for n, _ in json.loads((out / "pack.json").read_text())["unreadable"]] == [
        "a/1.jpg",
        "b/x.png",
    ]


def test_names_do_not_collide():
    given = ["a.JPG", "a.bmp", "a.jpg", "a.png", "a.png.jpg", "b.tiff", "c/d.jpeg"]
    members = member_names(given)
    assert members[2] == "a.jpg" and members[4] == "a.png.jpg" and members[6] == "c/d.jpg"
    assert len(set(members)) == len(given) and all(name.endswith(".jpg") for name in members)


def test_long_and_foreign_names_keep_their_offsets(images, tmp_path):
    folder = images / ("long" * 40) / ("ü" * 60)
    folder.mkdir(parents=True)
    data = encode(48, 50, 2)
    (folder / "x.jpg").write_bytes(data)
    pack_images(images, tmp_path / "pack", **OPTIONS)
    source = open_source(tmp_path / "pack")
    assert source.read(names(source).index(f"{'long' * 40}/{'ü' * 60}/x.jpg")) == data


@pytest.mark.parametrize("wrong", [{"short_side": 0}, {"quality": 101}, {"images_per_shard": 0}])
def test_options_out_of_range(images, tmp_path, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        pack_images(images, tmp_path / "pack", **OPTIONS | wrong)
    assert not (tmp_path / "pack").exists()


@pytest.mark.parametrize("wrong", [{"workers": -1}, {"max_unreadable": -0.1}, {"max_unreadable": 2},
                                   {"max_unreadable": float("nan")}])  # fmt: skip
def test_workers_and_shares_out_of_range(images, tmp_path, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        pack_images(images, tmp_path / "pack", **OPTIONS | wrong)


@pytest.mark.parametrize("out", ["images", "link", "images/a/..", "."])
def test_a_pack_does_not_take_the_place_of_its_source(images, tmp_path, out):
    (tmp_path / "link").symlink_to(images)
    before = names(open_source(images))
    for source in (images, tmp_path / "link"):
        with pytest.raises(ConfigError, match="its own source"):
            pack_images(source, tmp_path / out, **OPTIONS)
    assert names(open_source(images)) == before
    assert not (tmp_path / out / "packing.json").exists()


def test_a_pack_of_a_pack_is_made_elsewhere(images, tmp_path):
    pack_images(images, tmp_path / "one", **OPTIONS)
    before = content(tmp_path / "one")
    with pytest.raises(ConfigError, match="its own source"):
        pack_images(tmp_path / "one", tmp_path / "one", **OPTIONS | {"short_side": 24})
    assert content(tmp_path / "one") == before
    assert pack_images(tmp_path / "one", tmp_path / "two", **OPTIONS).copied == 11


def test_a_pack_below_its_source_confuses_nothing(images, tmp_path):
    digest = open_source(images).digest
    report = pack_images(images, images / "a/pack", **OPTIONS)
    assert open_source(images).digest == digest, "a pack's files are no images"
    assert pack_images(images, images / "a/pack", **OPTIONS).kept == report.shards
    assert isinstance(open_source(images / "a/pack"), ShardSource)
    pack_images(images, tmp_path / "outside", **OPTIONS)
    assert content(images / "a/pack") == content(tmp_path / "outside")


def test_names_that_are_no_text_are_packed_and_told(images, tmp_path):
    """Bytes that are not UTF-8, and a line break, in names of images good and bad."""
    good, bad = (os.fsdecode(name) for name in (b"a/\xff\n.jpg", b"a/\xfe\n.jpg"))
    (images / good).write_bytes(encode(48, 50))
    (images / bad).write_bytes(b"no image")
    report = pack_images(images, tmp_path / "pack", **OPTIONS)
    assert r"a/\udcfe\n.jpg: not an image" in str(report).encode().decode()
    source = open_source(tmp_path / "pack")
    assert source.read(names(source).index(good)) == encode(48, 50)
