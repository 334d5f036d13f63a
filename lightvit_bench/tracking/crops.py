"""The arithmetic between a frame and the network's square inputs, as OSTrack has it.

numpy and OpenCV only. Boxes are (x, y, w, h) in pixels, floats; the first pixel's corner is 0, 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from lightvit_bench.errors import BadDataError

Box = tuple[float, float, float, float]
MARGIN = 10  # pixels that a clipped box keeps inside the frame, and its least width and height


class Square(NamedTuple):
    """A square of `side` whole pixels whose left upper corner is pixel (left, top) of a frame."""

    left: int
    top: int
    side: int


@dataclass(frozen=True)
class Crop:
    """A resized square: `patch` (size, size, 3) uint8, and pixels of it per pixel of the frame."""

    patch: np.ndarray
    scale: float


def square_around(box: Box, factor: float) -> Square:
    """The square around a box whose side is `factor` times the root of its area.

    The side is rounded up, the corner to the nearest pixel (a half to the even one).

    Raises:
        BadDataError: the square has no pixel.
    """
    x, y, w, h = box
    if not all(map(math.isfinite, box)) or w < 0 or h < 0 or w * h == 0:
        raise BadDataError(f"a box of {w:g} x {h:g} pixels at {x:g}, {y:g} cannot be cropped.")
    side = math.ceil(math.sqrt(w * h) * factor)
    return Square(round(x + 0.5 * w - 0.5 * side), round(y + 0.5 * h - 0.5 * side), side)


def crop(image: np.ndarray, square: Square, size: int, out: np.ndarray | None = None) -> Crop:
    """Cut a square out of an image (H, W, C) and resize it bilinearly to `size` pixels a side.

    `out` (size, size, C) takes the pixels if it is given, and is then the patch.

    What lies outside is black. Where the square reaches the right or lower edge or goes beyond, the
    image's last column or row is black as well: so the authors' padding has it.
    """
    height, width = image.shape[:2]
    left, top, side = square
    x1, x2 = max(left, 0), min(left + side, width - 1)
    y1, y2 = max(top, 0), min(top + side, height - 1)
    if x1 == left and y1 == top and x2 == left + side and y2 == top + side:
        patch = image[y1:y2, x1:x2]
    else:
        patch = np.zeros((side, side, *image.shape[2:]), image.dtype)
        if x2 > x1 and y2 > y1:
            patch[y1 - top : y2 - top, x1 - left : x2 - left] = image[y1:y2, x1:x2]
    made = cv2.resize(patch, (size, size), out, interpolation=cv2.INTER_LINEAR)
    return Crop(made, size / side)


def crop_around(image: np.ndarray, box: Box, factor: float, size: int) -> Crop:
    """`crop` of `square_around`."""
    return crop(image, square_around(box, factor), size)


def hann_window(cells: int) -> np.ndarray:
    """The window (cells, cells) that favours small motion: float32, highest in the middle, no zero.

    Per axis 0.5 (1 - cos(2 pi k / (cells + 1))), k = 1 ... cells.
    """
    k = np.arange(1, cells + 1, dtype=np.float32)
    axis = np.float32(0.5) * (1 - np.cos(np.float32(2 * math.pi / (cells + 1)) * k))
    return np.outer(axis, axis)


def box_to_frame(box: np.ndarray, around: Box, size: int, scale: float) -> Box:
    """A box in a search region -> the frame.

    Args:
        box: (4,) float32: centre x, centre y, width, height as fractions of the search region.
        around: the box that the region was cut around: its centre is the region's.
        size: the region's side in pixels of the network's input.
        scale: of the crop.
    """
    cx, cy, w, h = (np.asarray(box, np.float32) * np.float32(size) / np.float32(scale)).tolist()
    half = 0.5 * size / scale
    left = around[0] + 0.5 * around[2] - half
    top = around[1] + 0.5 * around[3] - half
    return (cx + left - 0.5 * w, cy + top - 0.5 * h, w, h)


def clip_box(box: Box, height: int, width: int, margin: int = MARGIN) -> Box:
    """Clip a box to a frame: at least `margin` pixels of it stay inside, and it is as large."""
    x1, y1, w, h = box
    x2, y2 = x1 + w, y1 + h
    x1, x2 = min(max(0, x1), width - margin), min(max(margin, x2), width)
    y1, y2 = min(max(0, y1), height - margin), min(max(margin, y2), height)
    return tuple(map(float, (x1, y1, max(margin, x2 - x1), max(margin, y2 - y1))))
