"""Decoding, and the augmentation of masked pre-training: a random resized crop and a flip.

The recipe is MAE-Lite's (torchvision's RandomResizedCrop with Pillow's antialiased filters, the
filter drawn for each image). OpenCV decodes ordinary JPEGs and torch resizes: Pillow's result to
within two grey levels, half as fast again (docs/pretraining_data.md has the table). What is not an
ordinary JPEG is Pillow's to decode or to refuse.
"""

from __future__ import annotations

import io
import math
import random
import struct
import warnings
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.nn import functional

from lightvit_bench.errors import ConfigError

MAX_PIXELS = 300_000_000  # more is taken for a decompression bomb; Pillow's own limit is 179 M
# Sides that a reduced decoding leaves, as a multiple of the result's. At 2 the result is off by 0.3
# grey levels in the mean, as with Pillow's `reducing_gap` of 2; at 1 by more than twice that.
REDUCING_GAP = 2.0
MODES = ("bilinear", "bicubic")
# Of Pillow's readers, whatever a file is named: others are written for other ends, and that of EPS
# has Ghostscript run the program that such a file is. (An MPO is the JPEG reader's.)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")

Box = tuple[int, int, int, int]
_PLAIN = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_FLAGS = {  # OpenCV names its reduced flags for BGR, which is their lowest bit
    1: _PLAIN,
    2: _PLAIN | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: _PLAIN | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: _PLAIN | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG markers that start with the size
_BARE = {0x01, *range(0xD0, 0xD9)}  # JPEG markers without a length


class UnreadableImage(Exception):
    """Bytes that give no image; the text says why."""


def because(error: Exception) -> str:
    """Why an image cannot be read, in a few words and without its path."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image (JPEG, PNG, WebP, BMP, TIFF)"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@dataclass(frozen=True)
class Header:
    """What is known of an encoded image before its pixels are decoded.

    width, height: as it is shown, the EXIF orientation applied. channels: 3 for colour. pillow: the
    image, opened and not decoded, where Pillow is to decode it; None for an ordinary JPEG.
    """

    width: int
    height: int
    channels: int = 3
    orientation: int = 1
    pillow: Image.Image | None = field(default=None, compare=False, repr=False)


def open_image(encoded: bytes) -> Header:
    """Read an image's size without decoding it.

    Raises:
        UnreadableImage: the bytes are no image, or one of more than `MAX_PIXELS`.
    """
    header = _jpeg_header(encoded)
    if header is None:
        if not encoded:
            raise UnreadableImage("empty file")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image = Image.open(io.BytesIO(encoded), formats=FORMATS)
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        except Exception as error:  # Pillow's readers raise what they meet
            raise UnreadableImage(because(error)) from error
        width, height = image.size[::-1] if turned else image.size
        header = Header(width, height, pillow=image)
    if header.width * header.height > MAX_PIXELS:
        raise UnreadableImage(f"{header.width} x {header.height} pixels, over {MAX_PIXELS:,}")
    return header


def decode(encoded: bytes, header: Header, reduce: int = 1) -> np.ndarray:
    """The image as uint8 (H, W, 3), RGB, upright; perhaps not contiguous.

    reduce: 1, 2, 4 or 8, for an ordinary JPEG only: every side is divided by it, rounded up. Grey,
    palette, CMYK and 16-bit images become 8-bit RGB, and transparency is dropped, as Pillow does.

    Raises:
        UnreadableImage: damaged or cut off.
    """
    if header.pillow is not None:
        return _decode_with_pillow(header.pillow)
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), _FLAGS[reduce])
    if image is None:
        raise UnreadableImage("a damaged JPEG")
    return _upright(image, header.orientation)


def draw_crop(
    rng: random.Random | np.random.Generator,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Box:
    """Top, left, height and width of a random crop, drawn as torchvision's RandomResizedCrop does.

    scale: bounds of the crop's part of the area; ratio: of its width / height. Ten attempts, then
    the largest central crop whose ratio is within the bounds.
    """
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(10):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * rng.random())
        aspect = math.exp(low + (high - low) * rng.random())
        crop_w, crop_h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < crop_w <= width and 0 < crop_h <= height:
            top = int(rng.random() * (height - crop_h + 1))
            left = int(rng.random() * (width - crop_w + 1))
            return top, left, crop_h, crop_w
    crop_h = min(height, max(1, round(width / ratio[0])))
    crop_w = min(width, max(1, round(height * ratio[1])))
    return (height - crop_h) // 2, (width - crop_w) // 2, crop_h, crop_w


def reduction(height: int, width: int, out: tuple[int, int]) -> int:
    """By how much a JPEG may be decoded smaller when a part of that size becomes `out` (H, W)."""
    room = min(height / out[0], width / out[1]) / REDUCING_GAP
    return next((by for by in (8, 4, 2) if room >= by), 1)


def resize(image: np.ndarray, size: tuple[int, int], mode: str) -> torch.Tensor:
    """A uint8 image (H, W, 3) as a uint8 tensor (3, *size), antialiased as Pillow does it.

    mode: "bilinear" or "bicubic".
    """
    batch = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    return functional.interpolate(batch, size, mode=mode, antialias=True)[0].contiguous()


@dataclass(frozen=True)
class RandomResizedCropFlip:
    """A random part of an image, resized to a square and flipped or not.

    Called with the encoded image and a generator; gives a uint8 tensor (3, size, size), RGB. Raises
    UnreadableImage.
    """

    size: int = 224
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolations: tuple[str, ...] = MODES
    flip: float = 0.5

    def __post_init__(self):
        wrong = [f"interpolation {mode!r}" for mode in self.interpolations if mode not in MODES]
        if not self.interpolations:
            wrong.append("no interpolation")
        if self.size < 1:
            wrong.append(f"crop_size {self.size}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            wrong.append(f"scale {tuple(self.scale)}, of which 0 < low <= high <= 1 is asked")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            wrong.append(f"ratio {tuple(self.ratio)}, of which 0 < low <= high is asked")
        if wrong:
            raise ConfigError(
                f"the random crop cannot be drawn: {'; '.join(wrong)}.",
                interpolations=f"of {', '.join(MODES)}",
                set="train_dataloader.dataset",
            )

    def __call__(
        self, encoded: bytes, rng: random.Random | np.random.Generator, header: Header | None = None
    ) -> torch.Tensor:
        """See the class; `header` saves reading it again."""
        header = header or open_image(encoded)
        box = draw_crop(rng, header.height, header.width, self.scale, self.ratio)
        mode = self.interpolations[int(rng.random() * len(self.interpolations))]
        flip = rng.random() < self.flip
        crop = resize(cut(encoded, header, box, (self.size,) * 2), (self.size,) * 2, mode)
        return crop.flip(2) if flip else crop


def cut(encoded: bytes, header: Header, box: Box, out: tuple[int, int]) -> np.ndarray:
    """The part `box` of an image, perhaps decoded smaller, for resizing to `out` (H, W).

    Where it is decoded smaller, the box is moved to whole pixels of what is decoded: by at most
    half a part in `REDUCING_GAP * out`, instead of shifting the picture against its box.
    """
    by = 1 if header.pillow is not None else reduction(box[2], box[3], out)
    top, left = round(box[0] / by), round(box[1] / by)
    bottom, right = round((box[0] + box[2]) / by), round((box[1] + box[3]) / by)
    return decode(encoded, header, by)[top:bottom, left:right]


def _jpeg_header(encoded: bytes) -> Header | None:
    """The header of a whole 8-bit JPEG, grey or of three colours; None for anything else.

    Raises UnreadableImage where the end marker is missing: cut off, and perhaps filled up with
    zeros, which decoders take for a picture that ends in grey.
    """
    if encoded[:3] != b"\xff\xd8\xff":
        return None
    at, orientation, found = 2, 1, None
    try:
        while True:
            at = encoded.index(b"\xff", at) + 1
            marker = encoded[at]
            if marker in (0x00, 0xFF) or marker in _BARE:
                at += marker != 0xFF  # 0xff may be repeated before a marker
                continue
            (length,) = struct.unpack_from(">H", encoded, at + 1)
            if marker == 0xDA:  # the pixels: no further header
                break
            if marker in _FRAMES:
                found = struct.unpack_from(">BHHB", encoded, at + 3)
            elif marker == 0xE1 and encoded[at + 3 : at + 9] == b"Exif\0\0":
                orientation = _exif_orientation(encoded[at + 9 : at + 1 + length])
            at += 1 + length
    except (ValueError, IndexError, struct.error):
        return None
    if found is None:
        return None
    if encoded.rfind(b"\xff\xd9", at) < 0:  # behind the headers: a thumbnail has its own
        raise UnreadableImage("truncated: a JPEG without its end")
    bits, height, width, channels = found
    if bits != 8 or channels not in (1, 3) or not height or not width:
        return None
    if orientation >= 5:
        height, width = width, height
    return Header(width, height, channels, orientation)


def _exif_orientation(tiff: bytes) -> int:
    """Tag 274 of an EXIF block, 1 (upright) where it is absent or out of range."""
    try:
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for i in range(count):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, start + 2 + 12 * i)
            if tag == 274 and kind == 3:
                (value,) = struct.unpack_from(f"{order}H", tiff, start + 10 + 12 * i)
                return value if 1 <= value <= 8 else 1
    except (KeyError, struct.error):
        pass
    return 1


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """A view of (H, W, 3) pixels as EXIF's orientation (1 to 8) says to show them."""
    if orientation >= 5:  # rows and columns change places
        image = image.transpose(1, 0, 2)
    down = orientation in (3, 4, 7, 8)
    across = orientation in (2, 3, 6, 7)
    return image[:: -1 if down else 1, :: -1 if across else 1]


def _decode_with_pillow(image: Image.Image) -> np.ndarray:
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits of grey, which convert() would cut off at 255
            grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255)
            return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
        if image.mode == "F":
            raise UnreadableImage("pixels of floating point, whose range is not known")
        return np.array(image.convert("RGB"))  # a copy: torch wants to be able to write
    except UnreadableImage:
        raise
    except Exception as error:  # Pillow's decoders raise what they meet
        raise UnreadableImage(because(error)) from error
