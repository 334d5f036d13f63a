"""Boxes, scores and speed drawn on frames, readable on any background. numpy and OpenCV only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

FOUND = (72, 230, 110)  # RGB
LOST = (255, 72, 64)
TRUTH = (80, 190, 255)
_INK = (12, 14, 18)  # under lines and behind text
_FONT = cv2.FONT_HERSHEY_DUPLEX
_SHIFT = 4  # fraction bits of coordinates given to OpenCV
_VEIL = 0.8  # how much of what is behind text is covered


@dataclass(frozen=True)
class Caption:
    """What is written on a frame; what is None is left out."""

    score: float | None = None
    fps: float | None = None
    frame: str = ""


def draw_result(
    image: np.ndarray,
    box_xywh: tuple[float, float, float, float] | None,
    *,
    found: bool = True,
    caption: Caption | None = None,
    truth_xywh: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """A copy of a frame (H, W, 3) uint8 RGB with the tracker's box, and the truth's if given.

    Green is the tracker's box, thin and blue the truth's. A lost target's box is dashed and red,
    and says so. The score stands at the box, frames a second and the frame's number in the left
    upper corner. Boxes may be fractional, cross the edges or lie
    outside; one that is not finite is left out.
    """
    canvas = np.ascontiguousarray(image).copy()
    caption = caption or Caption()
    colour = FOUND if found else LOST
    if box_xywh is not None:
        _frame(canvas, box_xywh, colour, dashed=not found)
    if truth_xywh is not None:
        _frame(canvas, truth_xywh, TRUTH, dashed=False, thin=True)
    if box_xywh is not None:
        words = [] if found else ["LOST"]
        words += [] if caption.score is None else [f"{caption.score:.2f}"]
        if words and all(map(math.isfinite, box_xywh)):
            _label_at_box(canvas, "  ".join(words), box_xywh, colour)
    speed = [] if caption.fps is None else [f"{caption.fps:.0f} frames/s"]
    words = [*speed, *([caption.frame] if caption.frame else [])]
    if words:
        edge = round(8 * _scale(canvas))
        _label(canvas, "   ".join(words), (edge, edge), (240, 242, 245))
    return canvas


def _scale(image: np.ndarray) -> float:
    """Line widths and letters grow with the picture; 1 at 480 lines."""
    return float(np.clip(min(image.shape[:2]) / 480, 0.7, 6))


def _frame(image: np.ndarray, box: tuple, colour: tuple, *, dashed: bool, thin=False) -> None:
    corners = _corners(image, box)
    if corners is None:
        return
    scale = _scale(image)
    width = max(1, round((1.3 if thin else 2.2) * scale))
    paths = (
        _dashes(corners, 11 * scale, 7 * scale) if dashed else [np.vstack([corners, corners[:1]])]
    )
    fixed = [np.int32(np.round((path - 0.5) * 2**_SHIFT)) for path in paths]
    for pen, ink in ((width + 2 * max(1, round(scale)), _INK), (width, colour)):
        cv2.polylines(image, fixed, False, ink, pen, cv2.LINE_AA, _SHIFT)


def _corners(image: np.ndarray, box: tuple) -> np.ndarray | None:
    """(4, 2) corners, no further than a picture's size away (OpenCV's coordinates are short)."""
    x, y, w, h = map(float, box)
    if not all(map(math.isfinite, (x, y, w, h))) or w < 0 or h < 0:
        return None
    height, width = image.shape[:2]
    x1, x2 = np.clip([x, x + w], -width, 2 * width)
    y1, y2 = np.clip([y, y + h], -height, 2 * height)
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])


def _dashes(corners: np.ndarray, dash: float, gap: float) -> list[np.ndarray]:
    """The sides of a box as dashes that begin and end at its corners."""
    paths = []
    for start, end in zip(corners, np.roll(corners, -1, 0), strict=True):
        length = float(np.hypot(*(end - start)))
        count = max(1, round((length + gap) / (dash + gap)))
        piece = max(length - (count - 1) * gap, 0.3 * length) / count
        for k in range(count):
            first = k * (length - piece) / max(count - 1, 1)
            ends = np.array([[first], [first + piece]]) / max(length, 1e-9)
            paths.append(start + ends * (end - start))
    return paths


def _label_at_box(image: np.ndarray, text: str, box: tuple, colour: tuple) -> None:
    """Above the box where there is room, else below it, else inside at its lower edge."""
    height, width = image.shape[:2]
    w, h = _label_size(image, text)
    gap = round(5 * _scale(image))
    corners = _corners(image, box)
    if corners is None:
        return
    (x1, y1), (_, y2) = corners[0], corners[2]
    y = y1 - h - gap
    if y < 0:
        y = y2 + gap if y2 + gap + h <= height else min(y2, height) - h - gap
    _label(image, text, (round(x1), round(y)), colour)


def _label_size(image: np.ndarray, text: str) -> tuple[int, int]:
    scale = _scale(image)
    (w, h), _ = cv2.getTextSize(text, _FONT, 0.52 * scale, max(1, round(scale)))
    return w + round(12 * scale), h + round(11 * scale)


def _label(image: np.ndarray, text: str, corner: tuple[int, int], colour: tuple) -> None:
    """Text on a dark veil; moved into the picture where it would stick out."""
    height, width = image.shape[:2]
    scale = _scale(image)
    w, h = _label_size(image, text)
    x, y = max(0, min(corner[0], width - w)), max(0, min(corner[1], height - h))
    window = image[y : y + h, x : x + w]
    window[:] = cv2.addWeighted(window, 1 - _VEIL, np.full_like(window, _INK), _VEIL, 0)
    at = (x + round(6 * scale), y + h - round(5.5 * scale))
    cv2.putText(image, text, at, _FONT, 0.52 * scale, colour, max(1, round(scale)), cv2.LINE_AA)
