"""Check one image and its label mask: do they decode, are they of the right type, do they fit?

Pillow decodes, because OpenCV takes a truncated JPEG without a word and fills the rest with grey.
What no decoder notices is not found here either, such as wrong pixels in a JPEG of full length.
`seg_folder` runs this over a whole data set.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

CORRUPT_IMAGE = "corrupt image"
CORRUPT_MASK = "corrupt mask"
EMPTY_FILE = "empty file"
UNREADABLE = "unreadable file"
GREY_IMAGE = "image of one channel"
DEEP_IMAGE = "image of 16 bits"
IMAGE_TYPE = "image not 8-bit RGB"
MASK_TYPE = "mask not 8-bit ids"
SIZES_DIFFER = "sizes differ"
IDS_OUT_OF_RANGE = "mask ids out of range"

SKIPPABLE = frozenset({CORRUPT_IMAGE, CORRUPT_MASK, EMPTY_FILE})

_AGAIN = "corrupt or empty files: copy or unpack them again"
REMEDY = {
    CORRUPT_IMAGE: _AGAIN,
    CORRUPT_MASK: _AGAIN,
    EMPTY_FILE: _AGAIN,
    UNREADABLE: "unreadable files: check their permissions and the disk",
    GREY_IMAGE: "one channel: convert it to three, in Pillow Image.open(p).convert('RGB').save(p)",
    DEEP_IMAGE: "16 bits: convert it to 8 and RGB, in OpenCV cv2.imwrite(p, cv2.imread(p))",
    IMAGE_TYPE: "palette, alpha, CMYK: convert it, in Pillow Image.open(p).convert('RGB').save(p)",
    MASK_TYPE: "masks: 8-bit grey or palette PNGs of one class id a pixel; turn colours into ids",
    SIZES_DIFFER: "sizes: a mask has the height and width of its image",
    IDS_OUT_OF_RANGE: "ids: map them to the classes of the config, or to its void id",
}

_PNG = b"\x89PNG\r\n\x1a\n"
_DEPTH_BYTE = 24  # of a PNG: 8 signature, 8 chunk head, 4 width, 4 height, then the bit depth
_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 lay the image on its side


@dataclass(frozen=True)
class SegPair:
    """An image and the mask that labels its pixels."""

    image: Path
    mask: Path


@dataclass(frozen=True)
class Problem:
    """One file that cannot be used: `kind` is one of this module's constants."""

    path: Path
    kind: str
    detail: str


@dataclass(frozen=True, eq=False)
class PairCheck:
    """One pair's problems; (H, W) of its image and pixels per mask id (256,), None if unknown."""

    problems: tuple[Problem, ...]
    hw: tuple[int, int] | None
    pixels: np.ndarray | None


def check_pair(pair: SegPair, valid_ids: Collection[int], allow_grey: bool = False) -> PairCheck:
    """Decode both files and list what is wrong; `pixels` is counted only where both decode.

    `hw` is the image as OpenCV loads it, turned by its EXIF orientation. No file makes it raise.
    """
    problems: list[Problem] = []
    image, depth = _decoded(pair.image, CORRUPT_IMAGE, problems)
    if image:
        kind = _image_kind(image.mode, depth, allow_grey)
        if kind:
            problems.append(Problem(pair.image, kind, _mode_text(image, depth)))

    mask, depth = _decoded(pair.mask, CORRUPT_MASK, problems)
    pixels = None
    if mask and (mask.mode == "P" or (mask.mode == "L" and depth in (None, 8))):
        pixels = np.array(mask.histogram(), np.int64)  # of a palette mask: its indices, not colours
        outside = [i for i in np.flatnonzero(pixels).tolist() if i not in valid_ids]
        if outside:
            problems.append(
                Problem(pair.mask, IDS_OUT_OF_RANGE, _ids_text(outside, pixels, valid_ids))
            )
    elif mask:  # grey PNGs of 2 or 4 bits too: decoders stretch their ids over 0..255
        problems.append(Problem(pair.mask, MASK_TYPE, _mode_text(mask, depth)))

    hw, turned = shown_hw(image) if image else (None, "")
    if image and mask and (mask.height, mask.width) != hw:
        problems.append(
            Problem(
                pair.mask,
                SIZES_DIFFER,
                f"mask {mask.height} x {mask.width}, image {hw[0]} x {hw[1]}"
                f"{turned} (height x width)",
            )
        )
    return PairCheck(tuple(problems), hw, pixels if image else None)


class DecodeError(Exception):
    """What is wrong with a file: (kind, detail)."""


def _decoded(
    path: Path, corrupt: str, problems: list[Problem]
) -> tuple[Image.Image | None, int | None]:
    try:
        return decode(path, corrupt)
    except DecodeError as error:
        problems.append(Problem(path, *error.args))
        return None, None


def decode(path: Path, corrupt: str) -> tuple[Image.Image, int | None]:
    """The decoded file and, for a PNG, its bits per channel as stored; else DecodeError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DecodeError(UNREADABLE, error.strerror or str(error)) from error
    if not data:
        raise DecodeError(EMPTY_FILE, "0 bytes")
    depth = data[_DEPTH_BYTE] if data.startswith(_PNG) and len(data) > _DEPTH_BYTE else None
    try:
        if depth is not None:
            Image.open(BytesIO(data)).verify()  # checksums, which load() does not look at
        image = Image.open(BytesIO(data))
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise a dozen types on bad bytes
        text = "not an image" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise DecodeError(corrupt, text or type(error).__name__) from error
    return image, depth


def picture_problem(path: Path) -> str | None:
    """Why a picture cannot be decoded to its end; None if it can, whatever its type."""
    try:
        decode(path, CORRUPT_IMAGE)
    except DecodeError as error:
        return ", ".join(error.args)
    return None


def _image_kind(mode: str, depth: int | None, allow_grey: bool) -> str | None:
    if depth == 16 or mode[0] in "IF":  # Pillow shows a 16-bit RGB PNG as plain RGB
        return DEEP_IMAGE
    if mode == "RGB" or (mode == "L" and allow_grey):
        return None
    return GREY_IMAGE if mode in ("L", "LA", "La", "1") else IMAGE_TYPE


def _mode_text(image: Image.Image, depth: int | None) -> str:
    return f"Pillow mode {image.mode}" + (f", {depth} bits a channel" if depth else "")


def shown_hw(image: Image.Image) -> tuple[tuple[int, int], str]:
    """(H, W) after the EXIF orientation, which OpenCV follows; and a word if that turned it."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF, which matters to no pixel
        orientation = 1
    if orientation in (5, 6, 7, 8):
        return (image.width, image.height), f" after its EXIF orientation {orientation}"
    return (image.height, image.width), ""


def _ids_text(outside: list[int], pixels: np.ndarray, valid: Collection[int]) -> str:
    named = ", ".join(f"{i} ({pixels[i]} px)" for i in outside[:5])
    more = f" and {len(outside) - 5} more ids" if len(outside) > 5 else ""
    runs: list[list[int]] = []
    for i in sorted(valid):
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    allowed = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
    return f"{named}{more}; allowed: {allowed}"
