"""Decoding and the random crop, against Pillow and torchvision's rules."""

import io
import math
import os
import random
import struct
import subprocess
import zlib

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image, ImageOps

from lightvit_bench.errors import ConfigError
from lightvit_bench.pretrain import augment
from lightvit_bench.pretrain.augment import (
    RandomResizedCropFlip,
    UnreadableImage,
    cut,
    decode,
    draw_crop,
    open_image,
    reduction,
    resize,
)


def picture(height, width, seed=0):
    """Smooth shapes with edges and some grain, uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(rng.uniform(4, 40) * x + rng.uniform(4, 40) * y) for _ in range(3)]
    image = 128 + 70 * np.stack(waves, 2) + 30 * (x > 0.4)[..., None]
    return (image + rng.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)


def encode(image, form="JPEG", **options):
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, form, **({"quality": 90} if form == "JPEG" else {}) | options)
    return file.getvalue()


def whole(encoded):
    return np.asarray(decode(encoded, open_image(encoded)))


def with_pillow(encoded):
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB"))


def apart(ours, theirs):
    return np.abs(np.asarray(ours).astype(int) - np.asarray(theirs).astype(int))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("box", [(10, 20, 200, 240), (0, 0, 90, 70), (3, 5, 224, 224)])
def test_a_crop_is_pillows_to_two_grey_levels(mode, box):
    encoded = encode(picture(260, 330))
    top, left, height, width = box
    ours = resize(cut(encoded, open_image(encoded), box, (96, 96)), (96, 96), mode)
    assert ours.shape == (3, 96, 96) and ours.dtype == torch.uint8 and ours.is_contiguous()
    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    image = image.crop((left, top, left + width, top + height))
    theirs = np.asarray(image.resize((96, 96), getattr(Image, mode.upper())))
    difference = apart(ours.permute(1, 2, 0), theirs)
    assert difference.max() <= 2 and difference.mean() < 0.05  # seen: 1, 0.01


def test_a_large_image_is_decoded_smaller(monkeypatch):
    encoded = encode(picture(1500, 2000))
    sizes = []

    def watched(*arguments):
        sizes.append(decode(*arguments).shape[:2])
        return decode(*arguments)

    monkeypatch.setattr(augment, "decode", watched)
    box = (96, 200, 1000, 1200)
    ours = resize(cut(encoded, open_image(encoded), box, (96, 96)), (96, 96), "bicubic")
    assert sizes == [(375, 500)]
    image = Image.open(io.BytesIO(encoded)).crop((200, 96, 1400, 1096))
    difference = apart(ours.permute(1, 2, 0), image.resize((96, 96), Image.BICUBIC))
    assert difference.mean() < 1 and difference.max() <= 12  # seen: 0.4, 4


@pytest.mark.parametrize(
    "crop, by",
    [((447, 600), 1), ((448, 600), 1), ((896, 900), 2), ((1792, 4000), 4), ((3584,) * 2, 8)],
)
def test_what_a_reduction_leaves_is_twice_what_is_needed(crop, by):
    assert reduction(*crop, (224, 224)) == by


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_orientation(orientation, order):
    exif = Image.Exif()
    exif.endian = order
    exif[0x0110] = "camera"
    exif[0x0112] = orientation
    encoded = encode(picture(40, 64), exif=exif)
    header = open_image(encoded)
    assert header.pillow is None, "an ordinary JPEG"
    assert (header.height, header.width) == ((40, 64) if orientation < 5 else (64, 40))
    assert apart(whole(encoded), with_pillow(encoded)).max() <= 1


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA", "LA", "1"])
def test_every_kind_gives_what_pillow_gives(mode):
    image = Image.fromarray(picture(50, 70)).convert(mode)
    encoded = encode(image, "JPEG" if mode in ("L", "CMYK") else "PNG")
    ours = whole(encoded)
    assert ours.shape == (50, 70, 3) and ours.dtype == np.uint8
    assert apart(ours, with_pillow(encoded)).max() <= 1


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "TIFF"])
def test_other_formats(form):
    encoded = encode(picture(50, 70), form)
    assert (whole(encoded) == with_pillow(encoded)).all()


def test_an_mpo_is_its_first_picture():
    """The JPEG reader of Pillow takes it too; there is no other."""
    second = Image.fromarray(picture(40, 50, 1))
    encoded = encode(picture(40, 50), "MPO", save_all=True, append_images=[second])
    opened = Image.open(io.BytesIO(encoded), formats=augment.FORMATS)
    assert opened.format == "MPO" and opened.n_frames == 2
    assert apart(whole(encoded), with_pillow(encoded)).max() <= 1


@pytest.mark.parametrize("form", ["EPS", "ICO", "PPM", "GIF", "JPEG2000"])
def test_other_formats_are_unreadable_and_start_nothing(form, monkeypatch):
    """An EPS, named .jpg or otherwise, would be a program that Pillow has Ghostscript run."""
    encoded = encode(picture(32, 32), form)
    started = []

    def start(*arguments, **_):
        started.append(arguments)
        raise OSError("started")

    for module, name in ((subprocess, "Popen"), (os, "system"), (os, "posix_spawn")):
        monkeypatch.setattr(module, name, start)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    with pytest.raises(UnreadableImage) as caught:
        whole(encoded)
    assert not started
    assert "not an image (JPEG, PNG" in str(caught.value)


def test_sixteen_bit_grey_keeps_its_upper_bits():
    deep = np.linspace(0, 65535, 40 * 50).astype(np.uint16).reshape(40, 50)
    ours = whole(encode(Image.fromarray(deep), "PNG"))
    assert (ours == (deep >> 8)[..., None]).all()


def test_progressive_and_grey_jpegs_take_the_fast_way():
    for encoded in (encode(picture(64, 64), progressive=True), encode(picture(64, 64)[..., 0])):
        assert open_image(encoded).pillow is None
        assert apart(whole(encoded), with_pillow(encoded)).max() <= 1


@pytest.mark.parametrize("part", [0.02, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_unreadable(part, progressive):
    encoded = encode(picture(120, 160), progressive=progressive)
    encoded = encoded[: int(part * len(encoded))]
    with pytest.raises(UnreadableImage, match=r"\w"):
        whole(encoded)


@pytest.mark.parametrize("lost", [2, 300, 3000])
def test_a_truncated_jpeg_filled_up_with_zeros_is_unreadable(lost):
    encoded = encode(picture(120, 160))
    with pytest.raises(UnreadableImage, match="truncated"):
        whole(encoded[:-lost] + bytes(lost))


def test_a_thumbnail_does_not_hide_truncation():
    """An EXIF thumbnail ends with an end marker of its own."""
    encoded = encode(picture(120, 160))
    thumbnail = encode(picture(16, 16))
    block = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    encoded = encoded[:2] + block + encoded[2:]
    assert whole(encoded).shape == (120, 160, 3)
    with pytest.raises(UnreadableImage, match="truncated"):
        whole(encoded[:-300] + bytes(300))


def test_bytes_behind_a_whole_jpeg_do_no_harm():
    encoded = encode(picture(60, 80))
    assert (whole(encoded + bytes(100)) == whole(encoded)).all()


@pytest.mark.parametrize(
    "encoded", [b"", b"<html>", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0", b"\x89PNG\r\n"]
)
def test_what_is_no_image(encoded):
    with pytest.raises(UnreadableImage, match=r"\w"):
        open_image(encoded)


def test_a_truncated_png_is_unreadable():
    encoded = encode(picture(50, 70), "PNG")
    with pytest.raises(UnreadableImage):
        whole(encoded[: len(encoded) // 2])


def test_a_decompression_bomb_is_not_decoded():
    encoded = bytearray(encode(picture(16, 16)))
    at = encoded.index(b"\xff\xc0")
    encoded[at + 5 : at + 9] = struct.pack(">HH", 20_000, 20_000)
    with pytest.raises(UnreadableImage, match="20000 x 20000"):
        open_image(bytes(encoded))
    png = bytearray(encode(picture(16, 16), "PNG"))
    png[16:24] = struct.pack(">II", 40_000, 40_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    with pytest.raises(UnreadableImage, match="decompression bomb"):
        open_image(bytes(png))


def test_crops_are_drawn_as_torchvision_draws_them():
    """Area uniform in scale, ratio log-uniform, position uniform."""
    rng = random.Random(0)
    boxes = [draw_crop(rng, 1000, 1000, (0.2, 0.5), (3 / 4, 4 / 3)) for _ in range(4000)]
    top, left, height, width = np.array(boxes, float).T
    area, ratio = height * width / 1e6, np.log(width / height) / math.log(4 / 3)
    for drawn, low, high in (
        (area, 0.2, 0.5),
        (ratio, -1, 1),
        (top / (1000 - height), 0, 1),
        (left / (1000 - width), 0, 1),
    ):
        drawn = np.sort((drawn - low) / (high - low))
        steps = np.linspace(0, 1, len(drawn))
        assert np.abs(drawn - steps).max() < 0.035  # Kolmogorov-Smirnov, p below 0.001


@pytest.mark.parametrize(
    "size, box",
    [((100, 1000), (0, 433, 100, 133)), ((1000, 90), (440, 0, 120, 90)), ((1, 1), (0, 0, 1, 1))],
)
def test_an_image_without_room_gives_its_centre(size, box):
    assert draw_crop(random.Random(0), *size, (0.9, 1.0), (3 / 4, 4 / 3)) == box


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (500, 2)])
def test_the_smallest_images_are_enlarged(size):
    encoded = encode(picture(*size))
    assert RandomResizedCropFlip(32)(encoded, random.Random(0)).shape == (3, 32, 32)


def test_either_generator_and_the_same_crop_for_the_same_state():
    encoded, crop = encode(picture(90, 120)), RandomResizedCropFlip(48)
    for make in (random.Random, np.random.default_rng):
        first, again, other = (crop(encoded, make(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, again) and not torch.equal(first, other)


def test_half_are_flipped_and_both_filters_are_used(monkeypatch):
    encoded, modes = encode(picture(40, 40)), []
    monkeypatch.setattr(augment, "resize", lambda *a: modes.append(a[2]) or resize(*a))
    plain, flipped = (
        RandomResizedCropFlip(24, interpolations=("bilinear", "bicubic"), flip=p) for p in (0, 1)
    )
    mixed, turned = RandomResizedCropFlip(24), 0
    for seed in range(200):
        straight, mirrored, drawn = (
            c(encoded, random.Random(seed)) for c in (plain, flipped, mixed)
        )
        assert torch.equal(straight, mirrored.flip(2))
        turned += torch.equal(drawn, mirrored)
    assert 70 < turned < 130
    assert 200 < modes.count("bicubic") < 400 and len(modes) == 600


@pytest.mark.parametrize(
    "wrong", [{"scale": (0.5, 0.2)}, {"ratio": (0, 1)}, {"interpolations": ("area",)}, {"size": 0}]
)
def test_a_crop_that_cannot_be_drawn(wrong):
    with pytest.raises(ConfigError, match="cannot be drawn"):
        RandomResizedCropFlip(**wrong)


def test_real_photographs_are_pillows(shared):
    """On photographs: within two grey levels of Pillow's crop."""
    files = sorted((shared / "data/in1k_mini").rglob("*.jpg"))[::40]
    if not files:
        pytest.skip("no photographs there")
    for i, path in enumerate(files):
        encoded = path.read_bytes()
        header = open_image(encoded)
        assert header.pillow is None
        box = draw_crop(random.Random(i), header.height, header.width, (0.08, 1), (3 / 4, 4 / 3))
        mode = ("bilinear", "bicubic")[i % 2]
        ours = resize(cut(encoded, header, box, (224, 224)), (224, 224), mode)
        image = Image.open(path).convert("RGB")
        image = image.crop((box[1], box[0], box[1] + box[3], box[0] + box[2]))
        theirs = image.resize((224, 224), getattr(Image, mode.upper()))
        difference = apart(ours.permute(1, 2, 0), theirs)
        assert difference.max() <= 2 and difference.mean() < 0.05  # seen: 2, 0.003
