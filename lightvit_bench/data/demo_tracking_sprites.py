"""What moves through the demo videos: pictures with an outline, drawn once and warped per frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lightvit_bench.data.demo_shapes import draw_shape
from lightvit_bench.data.demo_tracking_motion import Pose

_CANVAS = 560  # pixels that a shape is drawn on; its radius is about a fifth of that
_LEVELS = 5  # halvings of a sprite, so that small ones are not warped from large ones


@dataclass(frozen=True, eq=False)
class Sprite:
    """A picture to be warped into frames.

    Attributes:
        levels: (h, w, 4) uint8 each, half as large as the one before: colours multiplied by the
            alpha, and the alpha. The shadow is part of it: black, half transparent.
        solid: (h, w) bool, the object itself without its shadow, at the largest level.
        outline: (N, 2) points of the object's convex hull, in the sprite's coordinates.
        inner: (M, 2) points spread evenly over the object, in the sprite's coordinates.
    """

    levels: tuple[np.ndarray, ...]
    solid: np.ndarray
    outline: np.ndarray
    inner: np.ndarray

    def covers(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool: which of (N, 2) points, in the sprite's coordinates, lie on the object."""
        h, w = self.solid.shape
        half = max(h, w) / 2
        x = np.floor(points[:, 0] * half + w / 2).astype(int)
        y = np.floor(points[:, 1] * half + h / 2).astype(int)
        inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
        return inside & self.solid[np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)]


def make_sprite(colour: np.ndarray, solid: np.ndarray, shadow: float = 0.45) -> Sprite:
    """A sprite of `colour` (h, w, 3), 0 to 255, where `solid` (h, w) bool; it casts a shadow."""
    pad = round(0.14 * np.sqrt(solid.size))
    solid = np.pad(solid, pad)
    colour = np.pad(colour.astype(np.float32), ((pad, pad), (pad, pad), (0, 0)))
    alpha = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), 0.8)
    shift = np.float32([[1, 0, 0.3 * pad], [0, 1, 0.4 * pad]])
    cast = cv2.warpAffine(solid.astype(np.float32), shift, solid.shape[::-1])
    cast = shadow * cv2.GaussianBlur(cast, (0, 0), 0.25 * pad)
    whole = np.dstack([colour * alpha[..., None], 255 * (alpha + (1 - alpha) * cast)])
    levels = [np.uint8(np.clip(whole + 0.5, 0, 255))]
    while len(levels) < _LEVELS and min(levels[-1].shape[:2]) > 12:
        h, w = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))

    h, w = solid.shape
    half = max(h, w) / 2
    rows, columns = np.nonzero(solid)
    corners = np.concatenate(
        [np.column_stack([columns + dx, rows + dy]) for dx in (0, 1) for dy in (0, 1)]
    )
    hull = cv2.convexHull(corners.astype(np.int32))[:, 0].astype(float)
    step = max(1, round(np.sqrt(len(rows) / 500)))  # about 500 points
    grid = (rows % step == 0) & (columns % step == 0)
    inner = np.column_stack([columns[grid] + 0.5, rows[grid] + 0.5])
    middle = np.array([w / 2, h / 2])
    return Sprite(tuple(levels), solid, (hull - middle) / half, (inner - middle) / half)


def shape_sprite(
    rng: np.random.Generator, shape: str, photograph: np.ndarray | None = None, share: float = 0.6
) -> Sprite:
    """One of the demo shapes, `share` of its colour a piece of `photograph` (H, W, 3)."""
    while True:  # draw_shape puts it anywhere, over the edge too
        layer = draw_shape(rng, shape, 1, (_CANVAS, _CANVAS), -2.2)
        edge = layer.inside.copy()
        edge[1:-1, 1:-1] = False
        if not edge.any():
            break
    rows, columns = layer.inside.any(1).nonzero()[0], layer.inside.any(0).nonzero()[0]
    cut = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    colour, solid = layer.fill[cut], layer.inside[cut]
    if photograph is not None:
        piece = photo_piece(rng, photograph, solid.shape, (0.35, 0.7))
        colour = (1 - share) * colour + share * piece
    return make_sprite(colour, solid)


def bar_sprite(
    rng: np.random.Generator, photograph: np.ndarray, width: float, length: float
) -> Sprite:
    """An upright bar of `width` x `length` pixels that shows a piece of `photograph`."""
    w, h = max(4, round(width)), max(4, round(length))
    colour = photo_piece(rng, photograph, (h, w), (0.5, 0.9)) * rng.uniform(0.6, 1.0, 3)
    colour *= (1 - 0.35 * np.linspace(-1, 1, w) ** 2)[:, None]  # rounded, as a pillar is
    return make_sprite(colour, np.ones((h, w), bool), shadow=0.3)


def photo_piece(
    rng: np.random.Generator,
    photograph: np.ndarray,
    size: tuple[int, int],
    share: tuple[float, float],
) -> np.ndarray:
    """A piece of a photograph at `size` (h, w), in its proportions: (h, w, 3) float32, 0 to 255.

    It takes a part of the largest such piece, drawn from the range `share` (lengths, not areas).
    """
    height, width = photograph.shape[:2]
    scale = rng.uniform(*share) * min(height / size[0], width / size[1])
    h, w = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    piece = np.ascontiguousarray(photograph[top : top + h, left : left + w])
    how = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    return np.clip(cv2.resize(piece, size[::-1], interpolation=how).astype(np.float32), 0, 255)


def paint(picture: np.ndarray, sprite: Sprite, poses: Sequence[Pose]) -> None:
    """Lay a sprite over a picture (H, W, 3) uint8, in place.

    Several poses, those of the time that the shutter is open, give motion blur.
    """
    height, width = picture.shape[:2]
    h, w = sprite.levels[0].shape[:2]
    half = max(h, w) / 2
    frame = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / (2 * half)
    corners = np.concatenate([pose.apply(frame) for pose in poses])
    x1, y1 = np.maximum(np.floor(corners.min(0)).astype(int) - 1, 0)
    x2, y2 = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, (width, height))
    if x2 <= x1 or y2 <= y1:
        return
    warped = [_warp(sprite, pose, (x1, y1), (x2, y2)) for pose in poses]
    if len(warped) > 1:
        mean = sum(part.astype(np.uint16) for part in warped) // len(warped)
        warped = [mean.astype(np.uint8)]
    clear = cv2.cvtColor(255 - warped[0][..., 3], cv2.COLOR_GRAY2RGB)
    window = picture[y1:y2, x1:x2]
    window[:] = cv2.add(
        cv2.multiply(window, clear, scale=1 / 255), np.ascontiguousarray(warped[0][..., :3])
    )


def _warp(sprite: Sprite, pose: Pose, first: tuple, last: tuple) -> np.ndarray:
    """The sprite in the part of a picture from pixel `first` to before `last`: (h, w, 4) uint8."""
    h, w = sprite.levels[0].shape[:2]
    half = max(h, w) / 2
    linear = pose.matrix[:, :2]
    stretch = np.linalg.norm(linear, 2) / half  # pixels of the picture a pixel of the sprite
    number = int(np.clip(np.floor(-np.log2(stretch)), 0, len(sprite.levels) - 1))
    level = sprite.levels[number]
    lh, lw = level.shape[:2]
    # OpenCV counts from the middles of pixels, the poses from their corners.
    to_picture = linear / half @ np.diag([w / lw, h / lh])
    shift = pose.matrix[:, 2] - first - to_picture @ [(lw - 1) / 2, (lh - 1) / 2] - 0.5
    size = (int(last[0] - first[0]), int(last[1] - first[1]))
    return cv2.warpAffine(level, np.column_stack([to_picture, shift]), size)
