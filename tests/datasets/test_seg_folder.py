"""The start-up check of an image and mask folder: every kind of bad input, the cache, skipping."""

import os
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from lightvit_bench.data import seg_check
from lightvit_bench.data.seg_folder import SegPair, find_pairs, scan
from lightvit_bench.errors import BadDataError, MissingDataError

VALID = [*range(11), 255]
H, W = 40, 56


def noise(*shape, dtype=np.uint8, high=256):
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


def encoded(image: Image.Image, fmt: str = "JPEG", **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTVIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Five good pairs a.jpg .. e.jpg below images/ and annotations/."""
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    for k, name in enumerate("abcde"):
        Image.fromarray(noise(H, W, 3)).save(root / f"images/{name}.jpg")
        mask = np.full((H, W), k, np.uint8)
        mask[0] = 255
        Image.fromarray(mask).save(root / f"annotations/{name}.png")
    return root


def pairs_of(root: Path, **options) -> list[SegPair]:
    return find_pairs(root, "images", "annotations", dataset_name="CamVid", **options)


def scan_of(root: Path, **options):
    return scan(pairs_of(root), **{"valid_ids": VALID, **options})


def only_problem(root: Path, **options):
    report = scan_of(root, **options)
    assert len(report.problems) == 1, report.problems
    return report.problems[0]


@pytest.fixture
def decodes(monkeypatch) -> list[Path]:
    """Paths of the files that were decoded, in the order they were."""
    seen, real = [], seg_check.decode

    def counting(path, corrupt):
        seen.append(path)
        return real(path, corrupt)

    monkeypatch.setattr(seg_check, "decode", counting)
    return seen


# -------------------------------------------------------------------------------- finding pairs


def test_pairs_are_sorted_recursive_and_without_hidden_files(folder):
    for part, suffix in (("images", "jpg"), ("annotations", "png")):
        (folder / part / "sub").mkdir()
        (folder / part / f"a.{suffix}").rename(folder / part / "sub" / f"x.{suffix}")
    (folder / "images/._b.jpg").write_bytes(b"what macOS leaves behind")
    (folder / "images/notes.txt").write_text("not an image")
    found = pairs_of(folder)
    assert [str(p.image.relative_to(folder / "images")) for p in found] == [
        "b.jpg",
        "c.jpg",
        "d.jpg",
        "e.jpg",
        "sub/x.jpg",
    ]
    assert found[-1].mask == folder / "annotations/sub/x.png"


def test_long_suffixes_choose_among_masks(folder):
    (folder / "annotations/a.png").rename(folder / "annotations/a_ids.png")
    (folder / "annotations/a_colour.png").write_bytes(b"")
    for name in "bcde":
        (folder / f"images/{name}.jpg").unlink()
    found = pairs_of(folder, mask_suffix="_ids.png")
    assert [p.mask.name for p in found] == ["a_ids.png"]


def test_missing_root_has_the_form_of_the_design():
    with pytest.raises(MissingDataError) as caught:
        find_pairs(
            "data/ade/ADEChallengeData2016",
            "images/training",
            "annotations/training",
            dataset_name="ADE20K",
        )
    assert (
        str(caught.value)
        == """ADE20K not found.
  looked for: data/ade/ADEChallengeData2016/images/training
  set:        LIGHTVIT_DATA=/path/to/datasets   or   --cfg-options data_root=...
  layout:     docs/datasets.md#ade20k           without data: make demo"""
    )


def test_missing_mask_folder_shows_what_is_in_the_root(folder):
    (folder / "annotations").rename(folder / "labels")
    with pytest.raises(MissingDataError) as caught:
        pairs_of(folder)
    text = str(caught.value)
    assert f"looked for: {folder / 'annotations'}" in text
    assert "with images, labels" in text and "docs/datasets.md#camvid" in text


@pytest.mark.parametrize(
    "name, anchor, section",
    [("ADE20K", None, "ade20k"), ("the demo data", None, "demo-data"), ("CamVid", "x", "x")],
)
def test_the_error_points_at_a_section_of_the_docs(tmp_path, name, anchor, section):
    with pytest.raises(MissingDataError, match=f"docs/datasets.md#{section} "):
        find_pairs(tmp_path / "no", "i", "a", dataset_name=name, anchor=anchor)


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(folder, monkeypatch):
    (folder / "images/locked").mkdir()
    real = os.scandir

    def locked(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(BadDataError, match="cannot be listed") as caught:
        pairs_of(folder)
    assert "images/locked" in str(caught.value) and "Permission denied" in str(caught.value)


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".png"])
def test_other_suffixes_are_named_when_nothing_matches(folder, suffix):
    for path in list((folder / "images").iterdir()):
        path.rename(path.with_suffix(suffix))
    with pytest.raises(MissingDataError) as caught:
        pairs_of(folder)
    text = str(caught.value)
    assert "no file ends with .jpg" in text and f"5 of {suffix}" in text


def test_empty_folder_is_said_to_be_empty(folder):
    for path in list((folder / "annotations").iterdir()):
        path.unlink()
    with pytest.raises(MissingDataError, match="no file at all"):
        pairs_of(folder)


def test_missing_partners_of_both_sides_are_counted_and_named(folder):
    (folder / "annotations/b.png").unlink()
    (folder / "images/d.jpg").rename(folder / "images/d.JPG")
    (folder / "images/e.jpg").unlink()
    with pytest.raises(BadDataError) as caught:
        pairs_of(folder)
    text = str(caught.value)
    assert "1 of 3 images have no mask, 2 of 4 masks have no image" in text
    assert "without mask:  b.jpg" in text
    assert "without image: d.png" in text and "e.png" in text
    assert "1 of .JPG" in text  # the likely reason


def test_only_the_first_ten_missing_partners_are_listed(folder):
    for k in range(14):
        (folder / f"images/z{k:02d}.jpg").write_bytes(b"")
    with pytest.raises(BadDataError) as caught:
        pairs_of(folder)
    text = str(caught.value)
    assert "14 of 19 images" in text and "z09.jpg" in text and "and 4 more" in text
    assert "z10.jpg" not in text


# -------------------------------------------------------------------------------------- a good set


def test_a_clean_set_gives_all_pairs_counts_and_sizes(folder):
    Image.fromarray(noise(30, 90, 3)).save(folder / "images/a.jpg")
    Image.fromarray(np.full((30, 90), 7, np.uint8)).save(folder / "annotations/a.png")
    report = scan_of(folder)
    assert report.problems == () and report.skipped == []
    assert report.require_clean() == pairs_of(folder)
    assert (report.smallest_hw, report.largest_hw) == ((30, W), (H, 90))
    expected = np.zeros(256, np.int64)
    expected[7], expected[255], expected[1:5] = 30 * 90, 4 * W, (H - 1) * W
    np.testing.assert_array_equal(report.pixels, expected)
    assert report.pixels.dtype == np.int64


def test_palette_masks_are_ids_not_colours(folder):
    ids = noise(H, W, high=11)
    mask = Image.fromarray(ids).convert("L")
    mask.putpalette([200, 10, 10] * 256)  # every id the same colour
    mask.save(folder / "annotations/a.png")
    assert Image.open(folder / "annotations/a.png").mode == "P"
    before = scan(pairs_of(folder)[1:], valid_ids=VALID).pixels
    report = scan_of(folder)
    assert report.problems == ()
    np.testing.assert_array_equal(report.pixels - before, np.bincount(ids.ravel(), minlength=256))


def test_an_image_turned_by_exif_is_measured_as_opencv_loads_it(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(H, W, 3)).save(folder / "images/a.jpg", exif=exif)
    assert cv2.imread(str(folder / "images/a.jpg")).shape[:2] == (W, H)
    problem = only_problem(folder)
    assert problem.kind == "sizes differ" and "EXIF orientation 6" in problem.detail
    Image.fromarray(np.zeros((W, H), np.uint8)).save(folder / "annotations/a.png")
    assert scan_of(folder).problems == ()


# ----------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_jpeg_is_found_at_any_cut(folder, fraction):
    whole = encoded(Image.fromarray(noise(200, 300, 3)), quality=95)
    (folder / "images/c.jpg").write_bytes(whole[: int(len(whole) * fraction)])
    Image.fromarray(np.zeros((200, 300), np.uint8)).save(folder / "annotations/c.png")
    problem = only_problem(folder)
    assert (problem.path, problem.kind) == (folder / "images/c.jpg", "corrupt image")


def test_a_truncated_jpeg_that_opencv_takes_is_found_whatever_pillow_was_set_to(
    folder, monkeypatch
):
    whole = encoded(Image.fromarray(noise(200, 300, 3)), quality=95)
    (folder / "images/c.jpg").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((200, 300), np.uint8)).save(folder / "annotations/c.png")
    assert cv2.imread(str(folder / "images/c.jpg")) is not None  # why Pillow decodes here
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert only_problem(folder).kind == "corrupt image"
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True  # and it is put back


@pytest.mark.parametrize("content", [b"<html>404</html>", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_corrupt(folder, content):
    (folder / "images/a.jpg").write_bytes(content)
    assert only_problem(folder).kind == "corrupt image"


@pytest.mark.parametrize("flipped", [60, -14], ids=["in the pixels", "in their checksum"])
def test_a_mask_with_one_flipped_bit_is_corrupt(folder, flipped):
    path = folder / "annotations/a.png"
    damaged = bytearray(encoded(Image.fromarray(noise(H, W, high=11)), "PNG"))
    damaged[flipped] ^= 1  # the end chunk has 12 bytes, before it stands the pixels' checksum
    path.write_bytes(damaged)
    problem = only_problem(folder)
    assert (problem.path, problem.kind) == (path, "corrupt mask")


@pytest.mark.parametrize("lost", [13, 20, 300])
def test_a_mask_that_lost_its_end_is_corrupt(folder, lost):
    path = folder / "annotations/a.png"
    whole = encoded(Image.fromarray(noise(H, W, high=11)), "PNG")
    path.write_bytes(whole[:-lost])
    problem = only_problem(folder)
    assert (problem.path, problem.kind) == (path, "corrupt mask")


def test_an_empty_file_is_named_as_such(folder):
    (folder / "images/a.jpg").write_bytes(b"")
    problem = only_problem(folder)
    assert (problem.kind, problem.detail) == ("empty file", "0 bytes")


PNG_RGB16 = cv2.imencode(".png", noise(H, W, 3, dtype=np.uint16, high=65536))[1].tobytes()
BAD_IMAGES = {
    "grey JPEG": (encoded(Image.fromarray(noise(H, W))), "image of one channel"),
    "grey with alpha": (
        encoded(Image.fromarray(noise(H, W)).convert("LA"), "PNG"),
        "image of one channel",
    ),
    "bilevel": (encoded(Image.fromarray(noise(H, W)).convert("1"), "PNG"), "image of one channel"),
    "16-bit grey": (
        encoded(Image.fromarray(noise(H, W, dtype=np.uint16, high=65536)), "PNG"),
        "image of 16 bits",
    ),
    "16-bit RGB": (PNG_RGB16, "image of 16 bits"),
    "palette": (
        encoded(Image.fromarray(noise(H, W, 3)).convert("P"), "PNG"),
        "image not 8-bit RGB",
    ),
    "alpha": (encoded(Image.fromarray(noise(H, W, 4)), "PNG"), "image not 8-bit RGB"),
    "CMYK": (encoded(Image.fromarray(noise(H, W, 3)).convert("CMYK")), "image not 8-bit RGB"),
}


@pytest.mark.parametrize("content, kind", BAD_IMAGES.values(), ids=list(BAD_IMAGES))
def test_images_of_another_type(folder, content, kind):
    (folder / "images/b.jpg").write_bytes(content)
    assert only_problem(folder).kind == kind
    with pytest.raises(BadDataError) as caught:
        scan_of(folder).require_clean(skip_corrupt=True)
    text = str(caught.value)
    assert f"1 of 10 files cannot be used: {kind} (1)" in text and "images/b.jpg" in text
    assert "convert it" in text and "skip_corrupt" not in text


@pytest.mark.parametrize(
    "name", ["grey JPEG", "16-bit grey", "16-bit RGB", "palette", "alpha", "CMYK"]
)
def test_the_conversion_that_the_error_names_works(folder, name):
    content, kind = BAD_IMAGES[name]
    p = str(folder / "images/b.jpg")
    Path(p).write_bytes(content)
    command = seg_check.REMEDY[kind].split("in OpenCV ")[-1].split("in Pillow ")[-1]
    eval(command, {"cv2": cv2, "Image": Image, "p": p})
    assert scan_of(folder).problems == ()


def test_grey_is_taken_where_a_data_set_is_known_to_have_it(folder):
    (folder / "images/b.jpg").write_bytes(BAD_IMAGES["grey JPEG"][0])
    assert scan_of(folder, allow_grey=True).problems == ()
    assert only_problem(folder).kind == "image of one channel"  # not from the other one's cache
    (folder / "images/b.jpg").write_bytes(BAD_IMAGES["16-bit grey"][0])
    assert only_problem(folder, allow_grey=True).kind == "image of 16 bits"


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.fromarray(noise(H, W, 3)), "PNG"),
        encoded(Image.fromarray(noise(H, W, 4)), "PNG"),
        encoded(Image.fromarray(np.ones((H, W), np.uint16)), "PNG"),
        encoded(Image.fromarray(noise(H, W)).convert("1"), "PNG"),
    ],
    ids=["RGB colours", "RGBA", "16 bits", "1 bit"],
)
def test_masks_that_do_not_hold_8_bit_ids(folder, content):
    (folder / "annotations/a.png").write_bytes(content)
    problem = only_problem(folder)
    assert (problem.path, problem.kind) == (folder / "annotations/a.png", "mask not 8-bit ids")


def test_a_grey_mask_of_4_bits_is_refused_because_decoders_stretch_it(folder):
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = (b"\x00" + b"\x11" * (W // 2)) * H  # id 1 in each nibble
    (folder / "annotations/a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", W, H, 4, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    assert np.asarray(Image.open(folder / "annotations/a.png")).max() == 17
    assert only_problem(folder).kind == "mask not 8-bit ids"


def test_a_mask_of_another_size(folder):
    Image.fromarray(np.zeros((W, H), np.uint8)).save(folder / "annotations/a.png")
    problem = only_problem(folder)
    assert problem.kind == "sizes differ"
    assert f"mask {W} x {H}, image {H} x {W}" in problem.detail


def test_ids_out_of_range_are_named_with_their_pixels(folder):
    mask = np.zeros((H, W), np.uint8)
    mask[0, :3], mask[1, :7] = 11, 200
    Image.fromarray(mask).save(folder / "annotations/a.png")
    problem = only_problem(folder)
    assert problem.kind == "mask ids out of range"
    assert problem.detail == "11 (3 px), 200 (7 px); allowed: 0-10, 255"
    assert scan_of(folder, valid_ids=range(256)).problems == ()


def test_a_file_that_cannot_be_read_is_not_remembered(folder, decodes):
    (folder / "images/a.jpg").unlink()
    (folder / "images/a.jpg").mkdir()  # reading it fails, also for root
    pairs = [SegPair(folder / f"images/{n}.jpg", folder / f"annotations/{n}.png") for n in "ab"]
    report = scan(pairs, valid_ids=VALID)
    assert [p.kind for p in report.problems] == ["unreadable file"] and report.skipped == []
    del decodes[:]
    assert not scan(pairs, valid_ids=VALID).from_cache and len(decodes) == 4


# ------------------------------------------------------------------------------- skipping, listing


def corrupt(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.write_bytes(path.read_bytes()[:-40])


def test_skip_corrupt_leaves_out_corrupt_pairs_only(folder):
    corrupt(folder, "images/a.jpg", "annotations/c.png")
    (folder / "images/e.jpg").write_bytes(b"")
    report = scan_of(folder)
    with pytest.raises(BadDataError) as caught:
        report.require_clean()
    text = str(caught.value)
    assert "3 of 10 files cannot be used" in text and "corrupt image (1)" in text
    assert "--cfg-options skip_corrupt=True   leaves out the 3 corrupt or empty" in text
    assert [p.image.name for p in report.require_clean(skip_corrupt=True)] == ["b.jpg", "d.jpg"]
    assert [p.image.name for p in report.skipped] == ["a.jpg", "c.jpg", "e.jpg"]
    counted = np.flatnonzero(report.pixels).tolist()
    assert counted == [1, 3, 255]  # skipped masks are not in the histogram


def test_other_problems_stay_errors_when_corrupt_files_are_skipped(folder):
    corrupt(folder, "images/a.jpg")
    Image.fromarray(np.full((H, W), 99, np.uint8)).save(folder / "annotations/b.png")
    report = scan_of(folder)
    with pytest.raises(BadDataError) as caught:
        report.require_clean()
    assert "the other files stay an error" in str(caught.value)
    with pytest.raises(BadDataError) as caught:
        report.require_clean(skip_corrupt=True)
    text = str(caught.value)
    assert "1 of 10 files" in text and "b.png" in text and "a.jpg" not in text


def test_nothing_but_corrupt_pairs_is_an_error_even_when_skipping(folder):
    corrupt(folder, *(f"images/{name}.jpg" for name in "abcde"))
    report = scan_of(folder)
    with pytest.raises(BadDataError, match="no pair would be left"):
        report.require_clean(skip_corrupt=True)
    assert report.smallest_hw is None and report.pixels.sum() == 0


def test_the_first_twenty_files_are_named(folder):
    for k in range(23):
        Image.fromarray(noise(H, W)).save(folder / f"images/z{k:02d}.jpg")
        Image.fromarray(np.zeros((H, W), np.uint8)).save(folder / f"annotations/z{k:02d}.png")
    with pytest.raises(BadDataError) as caught:
        scan_of(folder).require_clean()
    text = str(caught.value)
    assert "image of one channel (23)" in text and "and 3 more" in text
    assert "z19.jpg" in text and "z20.jpg" not in text


# -------------------------------------------------------------------------------------- the cache


def test_a_second_scan_decodes_nothing_and_says_the_same(folder, decodes):
    corrupt(folder, "images/a.jpg")
    Image.fromarray(np.full((H, W), 99, np.uint8)).save(folder / "annotations/b.png")
    first = scan_of(folder)
    assert not first.from_cache
    files = [path for pair in pairs_of(folder) for path in (pair.image, pair.mask)]
    assert sorted(decodes) == sorted(files)
    del decodes[:]
    second = scan_of(folder)
    assert second.from_cache and decodes == []
    assert second.problems == first.problems and len(first.problems) == 2
    assert (second.pairs, second.skipped) == (first.pairs, first.skipped)
    assert (second.smallest_hw, second.largest_hw) == (first.smallest_hw, first.largest_hw)
    np.testing.assert_array_equal(second.pixels, first.pixels)


def change_bytes(root):
    image = root / "images/c.jpg"
    image.write_bytes(image.read_bytes() + b"\0")


def change_time(root):
    os.utime(root / "annotations/c.png", ns=(1, 1))


def change_name(root):
    for path in (root / "images/c.jpg", root / "annotations/c.png"):
        path.rename(path.with_stem("c2"))


def change_count(root):
    for path in (root / "images/c.jpg", root / "annotations/c.png"):
        path.unlink()


@pytest.mark.parametrize("change", [change_bytes, change_time, change_name, change_count])
def test_any_change_of_a_file_scans_again(folder, decodes, change):
    scan_of(folder)
    del decodes[:]
    change(folder)
    assert not scan_of(folder).from_cache
    assert len(decodes) == 2 * len(pairs_of(folder))


def test_other_valid_ids_scan_again(folder):
    scan_of(folder)
    report = scan_of(folder, valid_ids=[0, 1, 2, 3])
    assert not report.from_cache
    assert [p.kind for p in report.problems] == ["mask ids out of range"] * 5


def test_a_moved_data_set_is_known_again_under_its_new_paths(folder, decodes, tmp_path):
    corrupt(folder, "images/a.jpg")
    scan_of(folder)
    moved = folder.rename(tmp_path / "elsewhere")
    del decodes[:]
    report = scan_of(moved)
    assert report.from_cache and decodes == []
    assert [p.path for p in report.problems] == [moved / "images/a.jpg"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        "null",
        '{"pixels": [1], "problems": [], "smallest_hw": null}',
        '{"pixels": "x"}',
    ],
)
def test_a_damaged_cache_is_rebuilt(folder, tmp_path, content):
    first = scan_of(folder, cache_dir=tmp_path / "own")
    (cached,) = (tmp_path / "own").iterdir()
    good = cached.read_text()
    cached.write_text(content)
    again = scan_of(folder, cache_dir=tmp_path / "own")
    assert not again.from_cache and cached.read_text() == good
    np.testing.assert_array_equal(again.pixels, first.pixels)


def test_a_place_that_cannot_hold_a_cache_is_no_error(folder, tmp_path):
    (tmp_path / "file").write_text("in the way")  # not even root makes a folder below a file
    for _ in range(2):
        report = scan_of(folder, cache_dir=tmp_path / "file" / "scans")
        assert report.require_clean() == pairs_of(folder) and not report.from_cache


def test_the_default_cache_is_below_lightvit_cache(folder, tmp_path):
    scan_of(folder)
    (cached,) = (tmp_path / "cache" / "scans").iterdir()
    assert cached.suffix == ".json"


# ------------------------------------------------------------------------------------------ others


def test_workers_and_progress_change_nothing_but_stderr(folder, tmp_path, capsys):
    corrupt(folder, "images/b.jpg", "images/d.jpg")
    reports = [
        scan_of(folder, workers=n, cache_dir=tmp_path / str(n), progress=True) for n in (1, 5)
    ]
    assert reports[0].problems == reports[1].problems and len(reports[0].problems) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "checking data: 5/5 pairs\n" * 2


def test_an_empty_scan_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="at least one pair"):
        scan([], valid_ids=VALID)


def test_the_data_and_metric_modules_import_neither_torch_nor_mm():
    code = (
        "import sys, lightvit_bench.data.demo_ade, lightvit_bench.data.seg_folder\n"
        "import lightvit_bench.metrics.segmentation\n"
        "bad = {'torch', 'mmengine', 'mmcv', 'mmseg', 'mmdet', 'timm', 'skimage', "
        "'matplotlib'}\n"
        "print(sorted(bad & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True
    )
    assert out.stdout.strip() == "[]"


def test_real_camvid_is_clean_and_has_the_known_counts(shared):
    root = shared / "data" / "camvid"
    found = {}
    for split in ("train", "val", "test"):
        pairs = find_pairs(root, f"images/{split}", f"annotations/{split}", dataset_name="CamVid")
        report = scan(pairs, valid_ids=VALID)
        assert report.require_clean() == pairs
        assert report.smallest_hw == report.largest_hw == (360, 480)
        assert report.pixels.sum() == len(pairs) * 360 * 480
        found[split] = len(pairs)
    assert found == {"train": 367, "val": 101, "test": 233}
