"""Pairs to train a tracker on, made of still photographs: no video is needed.

    pairs = SyntheticPairs("data/coco", "data/photos")
    pairs.sample(np.random.default_rng(0))
    # {"template": (128, 128, 3) uint8, "search": (256, 256, 3) uint8, "box": (4,), "present": True}

Four kinds of target: an object of COCO where it stands; such an object cut out and set before
another photograph; a piece of any photograph cut out by a random outline or by its colours, set
before another; a region of any photograph that stands out, where it is. Both views show the target
in poses, sizes and light of their own. How much they differ is drawn anew for each pair, mostly
little and now and then much, as between the frames of a video. Pieces set before photographs bring
others along, similar ones among them, beside the target or partly over it.

The box is the tight box of the target as if nothing covered it, but ends where the frame ends. The
search region is cut around a shifted and scaled box, as in OSTrack's training. Crops are cut as
they are when tracking.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from lightvit_bench.data.coco_stills import SPLITS, coco_cutouts
from lightvit_bench.errors import ConfigError
from lightvit_bench.tracking.synthetic.render import random_light
from lightvit_bench.tracking.synthetic.scene import Painter, View
from lightvit_bench.tracking.synthetic.sources import Cutout, photos_below
from lightvit_bench.tracking.synthetic.stock import Stock, Target
from lightvit_bench.tracking.training.augment import mirrored

MIX = {"object": 0.3, "pasted_object": 0.25, "pasted_piece": 0.25, "region": 0.2}


class SyntheticPairs:
    """Pairs of a template and a search region with the target's box, as a data set of `size`.

    Args:
        coco: outlined objects, or COCO's folder, for those of train and val; None for none.
        photos: photographs without boxes: files, or a folder.
        template_size, search_size: pixels a side of the crops.
        template_factor, search_factor: of the crop's side to the root of the box's area.
        negative_rate: share of pairs without the target in the search region; some more arise
            where it happens to be covered.
        centre_jitter: of the search region, in halves of the target's size; None: 3 at a factor of
            4, and less for a smaller region so that the target's centre stays as far inside.
        scale_jitter: standard deviation of the log of its width and height.
        template_jitter: the same of the template's box, and of its place: users draw boxes loosely.
        mix: how often each kind of target of `MIX` is drawn.
        short_side: photographs are shrunk to this.
        size: what `len` says.
    """

    def __init__(
        self,
        coco: Sequence[Cutout] | str | Path | None,
        photos: Sequence[Path] | str | Path,
        *,
        template_size: int = 128,
        search_size: int = 256,
        template_factor: float = 2.0,
        search_factor: float = 4.0,
        negative_rate: float = 0.1,
        centre_jitter: float | None = None,
        scale_jitter: float = 0.25,
        template_jitter: float = 0.04,
        mix: dict[str, float] | None = None,
        short_side: int = 320,
        size: int = 60_000,
    ):
        if isinstance(coco, (str, Path)):
            coco = [cutout for split in SPLITS for cutout in coco_cutouts(coco, split)]
        files = photos_below(Path(photos)) if isinstance(photos, (str, Path)) else list(photos)
        self.template_size, self.template_factor = template_size, template_factor
        self.search_size, self.search_factor = search_size, search_factor
        self.negative_rate, self.size = negative_rate, size
        if centre_jitter is None:
            centre_jitter = min(3.0, max(2 * (search_factor / 2 - 0.5), 0.0))
        self.centre_jitter, self.scale_jitter = centre_jitter, scale_jitter
        self.template_jitter = template_jitter
        self.stock = Stock(coco or [], files, short_side)
        self.painter = Painter(self.stock, max(search_size, template_size))
        shares = {**MIX, **(mix or {})}
        if set(shares) != set(MIX) or not all(0 <= share < math.inf for share in shares.values()):
            raise ConfigError(f"mix has shares of {', '.join(MIX)}, not {mix}.")
        able = dict.fromkeys(MIX, True) | {"region": bool(self.stock.regions)}
        able["object"] = able["pasted_object"] = bool(self.stock.objects)
        weights = np.array([share if able[kind] else 0.0 for kind, share in shares.items()])
        if weights.sum() <= 0:
            raise ConfigError("no kind of target is left in mix.", mix=str(mix))
        self._kinds, self._upto = list(shares), np.cumsum(weights / weights.sum())
        self._upto[np.flatnonzero(weights)[-1] :] = 1.0  # whatever the sum was rounded to

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, draw: int) -> dict:
        """The sample of a draw with `seed` and `number`; of a plain number with seed 0."""
        seed, number = getattr(draw, "seed", 0), getattr(draw, "number", int(draw))
        return self.sample(np.random.default_rng((seed, number)))

    def sample(self, rng: np.random.Generator) -> dict:
        """A pair.

        Returns:
            template (T, T, 3) uint8 and search (S, S, 3) uint8, RGB; box (4,) float32: centre x,
            centre y, width, height as fractions of the search region, which it may partly leave;
            zeros without the target; present: bool.
        """
        target = self._draw_target(rng)
        amount = min(abs(rng.standard_t(2)) * 0.8, 4.0)
        template, search = self._views(rng, target, amount)
        first, _ = self.painter.look(rng, template, target)
        if rng.random() < self.negative_rate:
            second, box = self._without(rng, search, target), None
        else:
            second, box = self.painter.look(rng, search, target)
        present = box is not None
        if box is None:
            box = np.zeros(4, np.float32)
        if rng.random() < 0.5:
            first = cv2.flip(first, 1)
            second, flipped = mirrored(second, box)
            box = flipped if present else box
        return dict(template=first, search=second, box=box, present=present)

    def _draw_target(self, rng: np.random.Generator) -> Target:
        kind = self._kinds[int(np.searchsorted(self._upto, rng.random(), side="right"))]
        if kind.startswith("pasted"):
            return self.stock.piece(rng, object_=kind == "pasted_object")
        return self.stock.in_place(rng, object_=kind == "object")

    def _without(self, rng: np.random.Generator, view: View, target: Target) -> np.ndarray:
        """A search region without the target."""
        which = rng.random()
        if which < 0.1:
            return self.painter.empty(rng, view.pixels)
        if 0.5 < which < 0.75 and target.piece is not None:
            return self.painter.without(rng, view, target)  # the same scene
        photo, spot, zoom = self._backdrop(rng, view.size)
        view = replace(view, photo=photo, spot=spot, zoom=zoom)
        other = self._draw_target(rng)
        if which < 0.5 and other.thing.photo != target.thing.photo:
            return self.painter.look(rng, view, other)[0]  # another thing in its middle
        return self.painter.without(rng, view, target)

    def _views(self, rng: np.random.Generator, target: Target, amount: float) -> tuple[View, View]:
        """The two looks: sizes in pixels, backgrounds, how many others are about."""
        largest = 1.05 * self.search_size / self.search_factor
        size = largest * (1.0 if rng.random() < 0.5 else math.exp(rng.uniform(-0.9, 0)))
        first = size * math.exp(min(max(rng.normal(0, 0.12 * amount), -0.5), 0.5))
        photo, spot, zoom = self._backdrop(rng, size)
        turned = rng.random() < 0.1
        others = int(rng.choice(4, p=(0.3, 0.35, 0.2, 0.15)))
        few = target.piece is None and rng.random() < 0.7
        template = View(
            pixels=self.template_size,
            factor=self.template_factor,
            size=min(first, 2.2 * self.template_size / self.template_factor),
            photo=photo,
            spot=spot,
            zoom=zoom * first / size,
            amount=0.3 * amount,
            centre_jitter=2 * self.template_jitter,
            scale_jitter=self.template_jitter,
            company=0 if few else int(rng.integers(0, others + 1)),
            mirrored=False,
            template=True,
            light=random_light(rng, 1.0),
            grey=rng.random() < 0.05,
        )
        if rng.random() < 0.15:
            photo, spot, zoom = self._backdrop(rng, size)
        else:
            moved = rng.normal(0, 0.4 * amount * size / zoom, 2)
            spot = (spot[0] + float(moved[0]), spot[1] + float(moved[1]))
        search = replace(
            template,
            pixels=self.search_size,
            factor=self.search_factor,
            size=size,
            photo=photo,
            spot=spot,
            zoom=zoom * math.exp(rng.normal(0, 0.05 * amount)),
            amount=amount,
            centre_jitter=self.centre_jitter,
            scale_jitter=self.scale_jitter,
            company=0 if few else others,
            mirrored=turned,
            template=False,
        )
        return template, search

    def _backdrop(
        self, rng: np.random.Generator, size: float
    ) -> tuple[int, tuple[float, float], float]:
        """A photograph, a place in it and a zoom at which the search region is mostly filled."""
        photo = int(rng.integers(len(self.stock.photos)))
        height, width = self.stock.photos[photo].shape[:2]
        side = self.search_factor * size
        zoom = side / min(height, width) * math.exp(rng.uniform(-0.2, 0.9))
        spot = []
        for length in (width, height):
            rim = min(0.5 * side / zoom, 0.5 * length)
            spot.append(float(rng.uniform(rim, length - rim)))
        return photo, (spot[0], spot[1]), zoom
