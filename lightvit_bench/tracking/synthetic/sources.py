"""What synthetic pairs are made of: photographs kept decoded, and things in them to follow.

Coordinates are continuous pixels of the photograph as it is kept (its shorter side is at most
`short_side`): the top left pixel covers 0 ... 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from lightvit_bench.data.frames import decode_image
from lightvit_bench.errors import BadDataError, MissingDataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
LEAST = 20  # pixels: the least root of the area of a thing to follow
LONGEST = 5  # times as long as it is wide, at most
_RIM = 3  # pixels around a cutout without alpha


class Cutout(Protocol):
    """An outlined object of a photograph, as `lightvit_bench.data.coco_stills` has them."""

    @property
    def place(self) -> str:
        """Where the photograph lies: one text for each photograph."""

    @property
    def category(self) -> str: ...

    def image(self) -> np.ndarray:
        """The photograph (H, W, 3) uint8, RGB."""

    def mask(self) -> np.ndarray:
        """(H, W) bool: the object's pixels in it."""


@dataclass(frozen=True)
class Thing:
    """Something in a photograph that can be followed.

    Attributes:
        photo: number of the photograph.
        left, top: of the mask's first pixel.
        mask: (h, w) uint8, 255 is the thing; None for a rectangle without an outline.
        hull: (N, 2) float64, the convex hull of its pixels' corners.
        kind: things of one kind look alike.
    """

    photo: int
    left: int
    top: int
    mask: np.ndarray | None
    hull: np.ndarray
    kind: object = None

    @property
    def size(self) -> float:
        """Root of the area of the tight box, pixels."""
        return math.sqrt(float(np.prod(np.ptp(self.hull, axis=0))))

    @property
    def fit(self) -> bool:
        """Whether it can be followed: no speck, no streak."""
        sides = np.ptp(self.hull, axis=0)
        return self.size >= LEAST and float(sides.max()) < LONGEST * float(sides.min())


def hull_of(mask: np.ndarray, left: float = 0, top: float = 0) -> np.ndarray | None:
    """Convex hull (N, 2) float64 of the corners of the pixels of at least 128; None if none is."""
    contours, _ = cv2.findContours(
        (mask >= 128).view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    if not contours:
        return None
    points = cv2.convexHull(np.concatenate(contours))[:, 0]
    corners = (points[:, None] + np.array([[0, 0], [1, 0], [0, 1], [1, 1]])).reshape(-1, 2)
    return cv2.convexHull(corners.astype(np.int32))[:, 0] + np.array([left, top], np.float64)


def rectangle(box: Sequence[float]) -> np.ndarray:
    """The corners (4, 2) of a box (x, y, w, h)."""
    x, y, w, h = box
    return np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], np.float64)


class Photos:
    """Photographs by number, decoded once, RGB, no larger than needed.

    Args:
        sources: files, or what gives a picture (H, W, 3) uint8, RGB.
        short_side: larger ones are shrunk to it.
        keep: so many of them (the first) stay in memory, about 0.3 MB each; others are decoded
            every time.
    """

    def __init__(
        self,
        sources: Sequence[Path | Callable[[], np.ndarray]],
        short_side: int = 320,
        keep: int = 4000,
    ):
        self.sources, self.short_side, self.keep = list(sources), short_side, keep
        self._kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, number: int) -> np.ndarray:
        photo = self._kept.get(number)
        if photo is None:
            photo = self._decode(self.sources[number])
            if number < self.keep:
                self._kept[number] = photo
        return photo

    def preload(self) -> None:
        """Decode now what is kept, so that forked workers share it."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.__getitem__, range(min(len(self), self.keep))))

    def _decode(self, source: Path | Callable[[], np.ndarray]) -> np.ndarray:
        photo = source() if callable(source) else _read(source)
        height, width = photo.shape[:2]
        if min(height, width) < 2 * LEAST:
            raise BadDataError(
                f"a photograph of {width} x {height} pixels is too small.",
                file=str(source),
            )
        share = self.short_side / min(height, width)
        if share >= 1:
            return photo
        size = (round(width * share), round(height * share))
        return cv2.resize(photo, size, interpolation=cv2.INTER_AREA)


def _read(path: Path) -> np.ndarray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MissingDataError("a photograph cannot be read.", file=str(path)) from error
    return decode_image(data, str(path))


def photos_below(root: Path) -> list[Path]:
    """All pictures below a folder, sorted; hidden ones are left out, such as a Mac's `._1.jpg`."""
    found = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part[0] == "." or part == "__MACOSX" for part in path.relative_to(root).parts)
    )
    if not found:
        raise MissingDataError("there are no photographs.", looked_for=str(root))
    return found


def things_of_cutouts(
    cutouts: Sequence[Cutout], photos: Photos, numbers: dict[str, int]
) -> list[Thing]:
    """Outlined objects that are fit to follow as their photograph is kept.

    Args:
        numbers: of the photographs by their places.
    """
    things = []
    for cutout in cutouts:
        photo = numbers[cutout.place]
        height, width = photos[photo].shape[:2]
        mask = cutout.mask().view(np.uint8) * np.uint8(255)
        if mask.shape != (height, width):
            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
        thing = thing_of(mask, photo, ("category", cutout.category))
        if thing is not None and thing.fit:
            things.append(thing)
    return things


def thing_of(mask: np.ndarray, photo: int, kind: object) -> Thing | None:
    """What a mask of a whole photograph (H, W) uint8 shows; None for nothing."""
    hull = hull_of(mask)
    if hull is None:
        return None
    (left, top), (right, bottom) = hull.min(0).astype(int), hull.max(0).astype(int)
    return Thing(photo, left, top, mask[top:bottom, left:right].copy(), hull, kind)


def cut(photo: np.ndarray, left: int, top: int, mask: np.ndarray) -> np.ndarray:
    """A piece of a photograph with soft edges: (h + 6, w + 6, 4) uint8, the last channel is alpha.

    The outline is drawn in by a pixel, for there the surroundings shine through.
    """
    height, width = mask.shape
    y1, x1 = top - _RIM, left - _RIM
    y2, x2 = top + height + _RIM, left + width + _RIM
    inner = photo[max(y1, 0) : y2, max(x1, 0) : x2]
    colour = cv2.copyMakeBorder(
        inner,
        max(-y1, 0),
        max(y2 - photo.shape[0], 0),
        max(-x1, 0),
        max(x2 - photo.shape[1], 0),
        cv2.BORDER_REPLICATE,
    )
    alpha = cv2.copyMakeBorder(mask, _RIM, _RIM, _RIM, _RIM, cv2.BORDER_CONSTANT)
    alpha = cv2.GaussianBlur(cv2.erode(alpha, np.ones((3, 3), np.uint8)), (3, 3), 0)
    return cv2.merge((*cv2.split(colour), alpha))


def blob(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A random closed shape (height, width) uint8 that fills its box: smooth, polygon or ellipse.

    A few are rounded rectangles.
    """
    corners = int(rng.integers(3, 9))
    which = rng.random()
    if which < 0.6:  # radius = a few harmonics of the angle
        angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        waves = np.arange(1, 6)
        heights = rng.normal(0, 0.35, 5) / waves
        radius = 1 + np.cos(angle[:, None] * waves + rng.uniform(0, 2 * np.pi, 5)) @ heights
        radius = np.maximum(radius, 0.2)
    elif which < 0.8:
        angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
        angle[:3] = np.array([0, 2.1, 4.2]) + rng.uniform(-0.5, 0.5, 3)
        angle.sort()
        radius = rng.uniform(0.6, 1.0, len(angle))
    else:  # a superellipse: from ellipse to rectangle
        angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        power = rng.choice([2.0, 2.0, 4.0, 10.0])
        radius = (np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power) ** (-1 / power)
    points = np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None]
    points -= points.min(0)
    points *= np.array([width - 1, height - 1]) / np.maximum(points.max(0), 1e-6)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 255)
    return mask
