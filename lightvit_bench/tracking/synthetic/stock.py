"""What synthetic pairs can show: photographs, and the things in them to follow or to cut out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightvit_bench.errors import ConfigError
from lightvit_bench.tracking.synthetic.regions import propose
from lightvit_bench.tracking.synthetic.sources import (
    LEAST,
    Cutout,
    Photos,
    Thing,
    blob,
    cut,
    hull_of,
    things_of_cutouts,
)

_LARGE = 0.3  # of a photograph's shorter side: larger things have little around them


@dataclass(frozen=True)
class Target:
    """What is followed: in its photograph (`piece` None), or a piece (h, w, 4) to paste.

    hull: (N, 2) float64, in pixels of the photograph or of the piece.
    """

    thing: Thing
    hull: np.ndarray
    piece: np.ndarray | None


class Stock:
    """Photographs, decoded here and now, and what is in them: thousands, not a million.

    Args:
        cutouts: outlined objects; their photographs are added to `photos`.
        photos: files.
        short_side: photographs are shrunk to this.

    Attributes:
        objects: the outlined ones.
        regions: proposals in all photographs; `pieces`: those of them with an outline.
    """

    def __init__(self, cutouts: Sequence[Cutout], photos: Sequence[Path], short_side: int):
        sources = {str(path): path for path in photos}
        for cutout in cutouts:
            sources.setdefault(cutout.place, cutout.image)
        if not sources:
            raise ConfigError("synthetic pairs need photographs.", set="coco=..., photos=...")
        self.photos = Photos(list(sources.values()), short_side)
        self.photos.preload()
        numbers = {place: number for number, place in enumerate(sources)}
        self.objects = things_of_cutouts(cutouts, self.photos, numbers)
        self.regions = [
            thing
            for i in range(len(self.photos))
            for thing in propose(self.photos[i], i, np.random.default_rng((7, i)))
        ]
        self.pieces = [thing for thing in self.regions if thing.mask is not None]
        self._alike: dict[object, list[Thing]] = {}
        for thing in self.objects:
            self._alike.setdefault(thing.kind, []).append(thing)

    def in_place(self, rng: np.random.Generator, object_: bool) -> Target:
        """An object, or a region, where it stands; large ones less often."""
        among = self.objects if object_ else self.regions
        for _ in range(5):
            thing = among[int(rng.integers(len(among)))]
            if thing.size < _LARGE * min(self.photos[thing.photo].shape[:2]):
                break
        return Target(thing, thing.hull, None)

    def piece(self, rng: np.random.Generator, object_: bool, like: Thing | None = None) -> Target:
        """Something cut out: an object, or a region by its colours or by a random outline.

        With `like` another object of its kind where there is one, or a piece of its photograph.
        """
        while True:
            if object_ and self.objects:
                alike = self._alike.get(like.kind) if like is not None else None
                among = alike or self.objects
                thing = among[int(rng.integers(len(among)))]
                if thing is like:
                    object_ = False
                    continue
            elif self.pieces and rng.random() < 0.5:
                thing = self.pieces[int(rng.integers(len(self.pieces)))]
            else:
                thing = self._random_piece(rng, None if like is None else like.photo)
            piece = cut(self.photos[thing.photo], thing.left, thing.top, thing.mask)
            hull = hull_of(piece[..., 3])
            if hull is not None and np.prod(hull.max(0) - hull.min(0)) > (0.6 * LEAST) ** 2:
                return Target(thing, hull, piece)
            object_ = False

    def _random_piece(self, rng: np.random.Generator, photo: int | None) -> Thing:
        """The most varied of three random places of a photograph, under a random outline."""
        if photo is None:
            photo = int(rng.integers(len(self.photos)))
        height, width = self.photos[photo].shape[:2]
        side = min(height, width) * math.exp(rng.uniform(math.log(0.15), math.log(0.6)))
        along = math.exp(rng.normal(0, 0.35))
        w = int(min(max(side * along, LEAST), width))
        h = int(min(max(side / along, LEAST), height))
        best = None
        for x, y in rng.random((3, 2)).tolist():
            left, top = int(x * (width - w)), int(y * (height - h))
            part = self.photos[photo][top : top + h : 4, left : left + w : 4]
            varied = float(part.std(axis=(0, 1)).sum())
            if best is None or varied > best[0]:
                best = varied, left, top
        _, left, top = best
        mask = blob(rng, w, h)
        return Thing(photo, left, top, mask, hull_of(mask, left, top), photo)
