"""One's own sequences, and what a decoder makes of frames of every kind."""

import io

import numpy as np
import pytest
from PIL import Image
from tracking_files import (
    H,
    W,
    below,
    boxes,
    encoded,
    lasot_sequence,
    lines,
    picture,
    write_archive,
    write_files,
)

from lightvit_bench.data.frame_folder import open_folder
from lightvit_bench.data.frames import NumberedNames, decode_image, frame_names, natural
from lightvit_bench.errors import BadDataError, MissingDataError


def test_a_folder_of_sequences_and_a_single_one(tmp_path):
    files = lasot_sequence("seq10", hidden=[1]) | below("more", lasot_sequence("seq9"))
    root = write_files(tmp_path / "mine", files)
    assert [s.name for s in open_folder(root)] == ["seq9", "seq10"]
    (one,) = open_folder(root / "seq10")
    assert one.name == "seq10" and one.dataset == "folder"
    assert one.annotation.visible.tolist() == [True, False, True]
    zipped = open_folder(write_archive(tmp_path / "mine.zip", files))
    assert [s.name for s in zipped] == ["seq9", "seq10"]
    np.testing.assert_array_equal(zipped[1].annotation.boxes_xywh, boxes(3))
    top = {name.lstrip("/"): data for name, data in lasot_sequence("").items()}
    (alone,) = open_folder(write_archive(tmp_path / "alone.zip", top))
    assert alone.name == "alone" and len(alone) == 3


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".JPG", ".tiff"])
def test_frames_beside_the_boxes_in_natural_order(tmp_path, suffix):
    """Marks may be absent; f9 comes before f10."""
    files = {f"f{i}{suffix}": encoded(picture(i), suffix.lower()) for i in range(8, 12)}
    root = write_files(
        tmp_path / "s", files | {"groundtruth.txt": lines(boxes(4)), "notes.md": b""}
    )
    (one,) = open_folder(root)
    reds = [int(one.frames[i][..., 0].mean().round()) for i in range(len(one))]
    assert np.abs(np.array(reds) - [80, 90, 100, 110]).max() <= 3
    assert one.annotation.visible.all()


def test_the_first_box_alone_and_other_counts(tmp_path):
    files = lasot_sequence("a", 4)
    del files["a/full_occlusion.txt"], files["a/out_of_view.txt"]
    (one,) = open_folder(write_files(tmp_path / "1", files | {"a/groundtruth.txt": b"1,2,3,4\n"}))
    assert one.annotation.usable.tolist() == [True, False, False, False]
    for count in (2, 3, 5):
        content = files | {"a/groundtruth.txt": lines(boxes(count))}
        (one,) = open_folder(write_files(tmp_path / f"n{count}", content))
        with pytest.raises(BadDataError, match=f"{count} boxes for 4 frames") as caught:
            _ = one.annotation
        assert "groundtruth.txt" in str(caught.value) and "a/img" in str(caught.value)


def test_folders_without_boxes_and_nothing_at_all(tmp_path):
    files = lasot_sequence("a") | {"b/img/1.jpg": b"", "c/1.png": b""}
    with pytest.raises(BadDataError, match="2 folders of frames") as caught:
        open_folder(write_files(tmp_path / "x", files))
    assert str(tmp_path / "x/b") in str(caught.value) and "/c" in str(caught.value)
    with pytest.raises(MissingDataError, match="docs/datasets.md#own-sequences"):
        open_folder(write_files(tmp_path / "y", {"readme": b""}))
    twice = below("p", lasot_sequence("a")) | below("q", lasot_sequence("a"))
    with pytest.raises(BadDataError, match="Two sequences are called a"):
        open_folder(write_files(tmp_path / "z", twice))


def test_the_real_sequence(shared):
    (bag,) = open_folder(shared / "data/sequences")
    assert bag.name == "bag" and len(bag) == 196
    truth = bag.annotation
    assert truth.boxes_xywh[0].tolist() == [291.83, 124.71, 150.35, 139.58]
    assert truth.usable.all() and truth.boxes_xywh.shape == (196, 4)
    assert bag.frames[195].dtype == np.uint8 and bag.frames[195].ndim == 3


def test_names_are_a_rule_where_they_can_be():
    rule = frame_names([f"{i:08d}.jpg" for i in reversed(range(1, 2001))] + ["a.txt"])
    assert rule == NumberedNames(1, 8, ".jpg", 2000)
    assert rule[0] == "00000001.jpg" and rule[-1] == "00002000.jpg" and len(list(rule)) == 2000
    wide = frame_names(f"{i}.jpg" for i in range(120))
    assert isinstance(wide, NumberedNames) and wide[9] == "9.jpg" and wide[110] == "110.jpg"
    for gap in (["1.jpg", "3.jpg"], ["1.jpg", "2.png"], ["01.jpg", "2.jpg"], ["a1.jpg", "b2.jpg"]):
        assert list(frame_names(reversed(gap))) == gap
    names = [
        "a.jpg",
        "a1.jpg",
        "1.jpg",
        "1a.jpg",
        "x10y2.jpg",
        "x10y10.jpg",
        "x9y1.jpg",
        "\u0661.jpg",
    ]
    assert sorted(names, key=natural)[-4:-1] == ["x9y1.jpg", "x10y2.jpg", "x10y10.jpg"]
    assert list(frame_names([])) == []


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (H, W, 3)).astype(np.uint8)


def test_pixels_are_those_that_are_stored():
    np.testing.assert_array_equal(decode_image(encoded(noise(), ".png"), "x"), noise())
    grey = decode_image(encoded(noise()[..., 0], ".png"), "x")
    np.testing.assert_array_equal(grey, np.repeat(noise()[..., :1], 3, axis=2))
    turned, plain, exif = io.BytesIO(), io.BytesIO(), Image.Exif()
    exif[274] = 6  # "turn me a quarter"
    Image.fromarray(noise()).save(turned, "JPEG", exif=exif)
    Image.fromarray(noise()).save(plain, "JPEG")
    image = decode_image(turned.getvalue(), "x")
    assert image.shape == (H, W, 3)
    np.testing.assert_array_equal(image, decode_image(plain.getvalue(), "x"))
    rgba = np.dstack([noise(), np.full((H, W), 9, np.uint8)])
    saved = io.BytesIO()
    Image.fromarray(rgba).save(saved, "PNG")
    np.testing.assert_array_equal(decode_image(saved.getvalue(), "x"), noise())


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_a_frame_cut_short_is_an_error(suffix):
    """Wherever it is cut: OpenCV may fill the rest with grey instead."""
    data = encoded(noise(), suffix)
    for left in [0, 1, 2, 4, 10, *range(12, len(data), max(1, len(data) // 40)), len(data) - 2]:
        with pytest.raises(BadDataError, match="img/7"):
            decode_image(data[:left], "img/7")


def test_a_jpeg_cut_short_behind_a_thumbnail_with_an_end_of_its_own():
    thumbnail, saved = io.BytesIO(), io.BytesIO()
    Image.fromarray(noise()).save(thumbnail, "JPEG")
    header = b"Exif\0\0" + thumbnail.getvalue()
    Image.fromarray(noise()).save(saved, "JPEG", exif=header)
    assert decode_image(saved.getvalue(), "x").shape == (H, W, 3)
    assert decode_image(saved.getvalue() + b"trailing \xff\xd9", "x").shape == (H, W, 3)
    for left in (len(header) + 30, len(saved.getvalue()) - 2):
        with pytest.raises(BadDataError, match="without its end"):
            decode_image(saved.getvalue()[:left], "x")


@pytest.mark.parametrize("data", [b"GIF89a" + bytes(40), b"#EXR" + bytes(40), b"\x76\x2f\x31\x01",
                                  b"P6\n2 2\n255\n" + bytes(12), b"#?RADIANCE\n"])  # fmt: skip
def test_other_formats_reach_no_decoder(data):
    with pytest.raises(BadDataError, match="no JPEG, PNG, WebP, BMP or TIFF"):
        decode_image(data, "x")


def test_a_jpeg_may_have_something_behind_its_end():
    """A phone's moving photograph ends in a film, where FF DA and FF D9 mean nothing."""
    for progressive in (False, True):
        saved = io.BytesIO()
        Image.fromarray(noise()).save(saved, "JPEG", progressive=progressive, restart_marker_rows=1)
        data = saved.getvalue()
        plain = decode_image(data, "x")
        for behind in (b"\0\0\0\x18ftypmp42 \xff\xda \xff\xd9 \xff\xda..", b"\xff\xda", bytes(9)):
            np.testing.assert_array_equal(decode_image(data + behind, "x"), plain)
        for left in range(20, len(data), 37):
            with pytest.raises(BadDataError, match="without its end"):
                decode_image(data[:left], "x")


def test_two_pictures_of_one_name_are_an_error(tmp_path):
    """Frames and masks side by side would be tracked as twice as many frames."""
    files = {"groundtruth.txt": lines(boxes(4))}
    for i in range(2):
        files |= {f"{i:08d}.jpg": encoded(picture(i)), f"{i:08d}.png": encoded(picture(i), ".png")}
    (one,) = open_folder(write_files(tmp_path / "s", files))
    with pytest.raises(BadDataError, match="(?s)one name.*00000000.jpg and 00000000.png"):
        len(one)


def test_a_picture_beside_folders_of_sequences_hides_none(tmp_path):
    files = below("a b", lasot_sequence("", 3)) | below("c", lasot_sequence("d"))
    files = {name.replace("//", "/"): data for name, data in files.items()}
    files |= {"readme.png": b"", "c/preview.jpg": b""}
    assert [s.name for s in open_folder(write_files(tmp_path / "own", files))] == ["a b", "d"]
    files["e/1.png"] = b""
    with pytest.raises(BadDataError, match="(?s)1 folders of frames.*own/e"):
        open_folder(write_files(tmp_path / "own", files))
    with pytest.raises(BadDataError, match="(?s)1 folders of frames.*bare"):
        open_folder(write_files(tmp_path / "bare", {"1.png": b"", "notes/a.md": b""}))


def test_a_sequence_is_called_as_its_folder_is(tmp_path):
    top = {name.lstrip("/"): data for name, data in lasot_sequence("").items()}
    assert open_folder(write_files(tmp_path / "street.v2", top))[0].name == "street.v2"
