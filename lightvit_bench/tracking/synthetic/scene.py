"""Scenes of synthetic pairs: a view of a target amid others, drawn no larger than its crop."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from lightvit_bench.tracking.crops import Box, crop, square_around
from lightvit_bench.tracking.synthetic.render import (
    FAR,
    Camera,
    Light,
    Pose,
    apply,
    bend,
    edges,
    near_edge,
    paste,
    placed,
    random_light,
    random_pose,
    recoloured,
    scaling,
    shift,
    warp,
)
from lightvit_bench.tracking.synthetic.sources import hull_of
from lightvit_bench.tracking.synthetic.stock import Stock, Target
from lightvit_bench.tracking.training.pairs import box_in_crop, jittered

HIDDEN = 0.8  # a target covered by more is absent


@dataclass(frozen=True)
class View:
    """One of the two looks at a scene.

    Attributes:
        pixels, factor: of the crop.
        size: root of the area of the target's box in the frame, pixels.
        photo: number of the photograph that is the background of pasted pieces.
        spot: (x, y) of that photograph which lies behind the target's centre.
        zoom: pixels of the frame per pixel of that photograph.
        amount: how far poses are from plain.
        centre_jitter, scale_jitter: of the box that the crop is cut around.
        company: how many other pieces there are.
        light: of the whole scene, both looks alike.
        grey: whether it has no colours, both looks alike.
        template: whether it is the first look.
    """

    pixels: int
    factor: float
    size: float
    photo: int
    spot: tuple[float, float]
    zoom: float
    amount: float
    centre_jitter: float
    scale_jitter: float
    company: int
    mirrored: bool
    template: bool
    light: Light
    grey: bool


class Painter:
    """Draws views.

    Args:
        largest: pixels a side of the largest crop.
    """

    def __init__(self, stock: Stock, largest: int):
        self.stock = stock
        self.camera = Camera(4 * largest)

    def look(
        self, rng: np.random.Generator, view: View, target: Target
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The crop of a view, and `box_in_crop`'s box; None where the target is hidden."""
        piece, hull = target.piece, target.hull
        if piece is not None and not view.template and rng.random() < 0.3:
            bent = bend(rng, piece, 0.03 + 0.04 * min(view.amount, 2))
            bent_hull = hull_of(bent[..., 3])
            if bent_hull is not None and len(bent_hull) > 3:
                piece, hull = bent, bent_hull
        flat = piece is None
        pose = random_pose(rng, view.amount * (0.6 if flat else 1.0), flat)
        if not flat and not view.template and rng.random() < 0.04:
            pose = replace(pose, turn=rng.uniform(-math.pi, math.pi))
        pose = replace(pose, mirrored=view.mirrored)
        matrix = placed(hull, pose, view.size, tuple(rng.random(2).tolist()))
        points = apply(matrix, hull)
        low, high = points.min(0), points.max(0)
        box = (*low.tolist(), *(high - low).tolist())
        frame = edges(self.stock.photos[target.thing.photo].shape, matrix, box) if flat else FAR
        frame, box = near_edge(rng, frame, box, 0.05 if view.template or flat else 0.12)
        around = jittered(rng, box, view.centre_jitter, view.scale_jitter)
        square = square_around(around, view.factor)
        # Two pixels more than the square: the crop must not think that the frame ends here.
        x1, y1 = max(square.left - 1, frame[0]), max(square.top - 1, frame[1])
        x2 = min(square.left + square.side + 2, frame[2])
        y2 = min(square.top + square.side + 2, frame[3])
        canvas = (max(x2 - x1, 1), max(y2 - y1, 1))
        origin = shift(-x1, -y1)
        if flat:
            photo = self.stock.photos[target.thing.photo]
            picture = warp(photo, origin @ matrix, canvas, cv2.BORDER_REPLICATE)
            cover = np.zeros(picture.shape[:2], np.float32)
            outline = np.round(apply(origin @ matrix, hull) * 16).astype(np.int32)
            cv2.fillConvexPoly(cover, outline, 1.0, shift=4)
        else:
            picture = self._background(view, (0.5 * (low + high)).tolist(), origin, pose, canvas)
            self._company(rng, picture, view, target, origin, None)
            drawn = random_light(rng, 0.3 * view.amount)(piece)
            cover = paste(picture, drawn, origin @ matrix)
        whole = float(cover.sum())
        if flat and view.company:
            self._company(rng, picture, view, target, origin, cover)
        if not view.template and rng.random() < 0.25:
            self._occlude(rng, picture, view, box, origin, cover)
        picture = self._taken(rng, picture, view)
        moved = square._replace(left=square.left - x1, top=square.top - y1)
        taken = crop(picture, moved, view.pixels)
        if float(cover.sum()) <= (1 - HIDDEN) * whole:
            return taken.patch, None
        return taken.patch, box_in_crop(box, around, taken.scale, view.pixels)

    def _taken(self, rng: np.random.Generator, picture: np.ndarray, view: View) -> np.ndarray:
        """Light and camera: before the crop, for what is outside a frame stays black."""
        picture = random_light(rng, 0.4 * view.amount + 0.1)(view.light(picture))
        if view.grey:
            picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        return self.camera(rng, picture)

    def _background(self, view, centre, origin, pose: Pose, canvas) -> np.ndarray:
        """The photograph behind pasted pieces, turned a little along with the target."""
        turn = 0.3 * max(min(pose.turn, 0.3), -0.3)
        cos, sin = math.cos(turn), math.sin(turn)
        side = -1.0 if view.mirrored else 1.0
        matrix = np.array([[cos * side, -sin, 0], [sin * side, cos, 0], [0, 0, 1.0]])
        spot = shift(-view.spot[0], -view.spot[1])
        matrix = origin @ shift(*centre) @ scaling(view.zoom) @ matrix @ spot
        return warp(self.stock.photos[view.photo], matrix, canvas, cv2.BORDER_REFLECT_101)

    def _company(self, rng, picture, view: View, target: Target, origin, cover) -> None:
        """Other pieces somewhere in the picture: under the target, or over it where it is there."""
        height, width = picture.shape[:2]
        centre = apply(origin, np.zeros((1, 2)))[0]
        for _ in range(view.company):
            which = rng.random()
            light = random_light(rng, 0.6)
            if which < 0.15 and target.piece is not None:  # the same thing in other colours
                other, light = target, recoloured(rng)
            elif which < 0.45:
                other = self.stock.piece(rng, rng.random() < 0.7, target.thing)
            else:
                other = self.stock.piece(rng, rng.random() < 0.5)
            place = rng.random(2) * np.array([width, height])
            if np.abs(place - centre).max() < 0.6 * view.size and rng.random() < 0.8:
                continue
            size = view.size * math.exp(min(max(rng.normal(0, 0.35), -1), 0.6))
            matrix = placed(other.hull, random_pose(rng, 1.0), size, tuple(place.tolist()))
            paste(picture, light(other.piece), matrix, cover)

    def _occlude(self, rng, picture, view: View, box: Box, origin, cover) -> None:
        """A piece over part of the target."""
        other = self.stock.piece(rng, rng.random() < 0.5)
        size = view.size * rng.uniform(0.5, 1.4)
        angle, far = rng.uniform(0, 2 * math.pi), rng.uniform(0.25, 0.9) * 0.5 * (view.size + size)
        x = box[0] + 0.5 * box[2] + far * math.cos(angle)
        y = box[1] + 0.5 * box[3] + far * math.sin(angle)
        pose = random_pose(rng, 1.5)
        paste(picture, other.piece, origin @ placed(other.hull, pose, size, (x, y)), cover)

    def without(self, rng: np.random.Generator, view: View, target: Target) -> np.ndarray:
        """The crop of a view without the target: its backdrop and, mostly, other pieces."""
        side = math.ceil(view.size * view.factor)
        origin = shift(0.5 * side, 0.5 * side)
        picture = self._background(view, (0, 0), origin, Pose(), (side, side))
        view = replace(view, company=max(view.company, int(rng.random() < 0.8)))
        empty = replace(target, piece=None)
        self._company(rng, picture, view, empty, origin, np.zeros((side, side), np.float32))
        picture = self._taken(rng, picture, view)
        return cv2.resize(picture, (view.pixels, view.pixels), interpolation=cv2.INTER_LINEAR)

    def empty(self, rng: np.random.Generator, pixels: int) -> np.ndarray:
        """Black, one colour, or noise."""
        colour = rng.integers(0, 256, 3, dtype=np.uint8) * np.uint8(rng.random() < 0.6)
        picture = np.broadcast_to(colour, (pixels, pixels, 3)).copy()
        if rng.random() < 0.4:
            y, x = rng.integers(0, 64, 2).tolist()
            noise = self.camera.noise[y : y + pixels, x : x + pixels]
            share = rng.uniform(0.2, 1.5)
            picture = cv2.addWeighted(picture, 1, noise, share, -128 * share)
        return picture
