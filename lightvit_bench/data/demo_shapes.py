"""The objects of the demo data: six shapes, each with a texture and a family of colours.

Shape coordinates: u to the right and v down before rotation, in units of the object's radius. A
shape is a function of (u, v) that is positive inside and there about the distance to the edge.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Field = np.ndarray  # float32 (h, w): one number a pixel


@dataclass(frozen=True, eq=False)
class Layer:
    """One object on a whole picture.

    inside: (H, W) bool, the object's pixels, hard-edged. fill: (H, W, 3) float32, 0 to 255, its
    colours there. shadow: (H, W) float32, what its shadow multiplies the layers below with.
    """

    inside: np.ndarray
    class_id: int
    fill: np.ndarray
    shadow: np.ndarray


def _disc(u: Field, v: Field) -> Field:
    return 1 - np.hypot(u, v)


def _square(u: Field, v: Field) -> Field:
    return 0.86 - np.maximum(abs(u), abs(v))


def _triangle(u: Field, v: Field) -> Field:
    sides = [u * np.sin(a) + v * np.cos(a) for a in (0, 2 * np.pi / 3, 4 * np.pi / 3)]
    return 0.6 - np.maximum.reduce(sides)


def _fold(u: Field, v: Field) -> Field:
    """The angle to the nearest of five points of a star, -pi/5 to pi/5."""
    fifth = 2 * np.pi / 5
    return (np.arctan2(u, -v) + fifth / 2) % fifth - fifth / 2


def _star(u: Field, v: Field) -> Field:
    radius, angle = np.hypot(u, v), abs(_fold(u, v))
    x, y = radius * np.cos(angle), radius * np.sin(angle)  # the point of the star lies along x
    tip, notch = np.array([1.2, 0.0]), 0.58 * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
    edge = (notch - tip) / np.linalg.norm(notch - tip)
    return edge[1] * (tip[0] - x) - edge[0] * (tip[1] - y)


def _ring(u: Field, v: Field) -> Field:
    radius = np.hypot(u, v)
    return np.minimum(1.05 - radius, radius - 0.5)


def _cross(u: Field, v: Field) -> Field:
    upright = np.minimum(0.37 - abs(u), 1.05 - abs(v))
    return np.maximum(upright, np.minimum(0.37 - abs(v), 1.05 - abs(u)))


def _wave(x: Field, period: float) -> Field:
    """A soft-edged stripe pattern: 0 to 1."""
    return np.clip(0.5 + 2.5 * np.sin(2 * np.pi * x / period), 0, 1)


def _dots(u: Field, v: Field, period: float) -> Field:
    row = np.floor(v / period)
    x, y = (u / period + 0.5 * (row % 2)) % 1 - 0.5, (v / period) % 1 - 0.5
    return np.clip((0.3 - np.hypot(x, y)) * 12, 0, 1)


def _gingham(u: Field, v: Field, period: float) -> Field:
    return 0.5 * _wave(u, period) + 0.5 * _wave(v, period)


def _stripes(u: Field, v: Field, period: float) -> Field:
    return _wave(u + v, 1.3 * period)


def _facets(u: Field, v: Field, period: float) -> Field:
    return (_fold(u, v) > 0).astype(np.float32)


def _segments(u: Field, v: Field, period: float) -> Field:
    return np.clip(0.5 + 6 * np.sin(np.arctan2(v, u) * round(1.6 / period)), 0, 1)


def _lattice(u: Field, v: Field, period: float) -> Field:
    return np.maximum(_wave(u + v, 0.8 * period), _wave(u - v, 0.8 * period))


@dataclass(frozen=True)
class _Kind:
    edge: Callable[[Field, Field], Field]
    texture: Callable[[Field, Field, float], Field]
    hue: float
    second: tuple[float, float]  # saturation and value of the texture's second colour, of the first
    size: float = 1.0  # evens out the areas of the classes


_KINDS = {
    "disc": _Kind(_disc, _dots, 0.00, (0.15, 1.15), 0.92),
    "square": _Kind(_square, _gingham, 0.34, (0.35, 1.35), 0.92),
    "triangle": _Kind(_triangle, _stripes, 0.12, (1.0, 0.5), 1.16),
    "star": _Kind(_star, _facets, 0.82, (0.9, 0.58), 1.2),
    "ring": _Kind(_ring, _segments, 0.49, (0.05, 1.25), 1.06),
    "cross": _Kind(_cross, _lattice, 0.62, (0.5, 1.4), 1.14),
}
SHAPES = tuple(_KINDS)


def draw_shape(
    rng: np.random.Generator, name: str, class_id: int, size: tuple[int, int], light: float
) -> Layer:
    """An object of class `name`, placed, turned, coloured and lit from the angle `light`."""
    h, w = size
    radius = min(size) * _KINDS[name].size * rng.uniform(0.13, 0.24)
    centre = (w * rng.uniform(0.08, 0.92), h * rng.uniform(0.08, 0.92))
    return draw_shape_at(rng, name, class_id, size, light, radius, centre)


def draw_shape_at(
    rng: np.random.Generator,
    name: str,
    class_id: int,
    size: tuple[int, int],
    light: float,
    radius: float,
    centre: tuple[float, float],
) -> Layer:
    """As `draw_shape`, of `radius` pixels around `centre` (x, y)."""
    kind = _KINDS[name]
    (h, w), (cx, cy) = size, centre
    turn, squeeze = rng.uniform(0, 2 * np.pi), rng.uniform(0.82, 1.0)
    period = rng.uniform(0.34, 0.5)
    first, second = _colours(rng, kind)

    # Only the pixels around the object are computed; no shape reaches 1.5 radii from its centre.
    rows, columns = _around(cy, 1.5 * radius, h), _around(cx, 1.5 * radius, w)
    window = np.s_[rows.start : rows.stop, columns.start : columns.stop]
    x = (np.array(columns, np.float32) - np.float32(cx)) / np.float32(radius)
    y = (np.array(rows, np.float32)[:, None] - np.float32(cy)) / np.float32(radius)
    u = np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y
    v = (np.float32(np.cos(turn)) * y - np.float32(np.sin(turn)) * x) / np.float32(squeeze)
    depth = kind.edge(u, v)
    colours = first + (second - first) * kind.texture(u, v, period)[..., None]
    colours *= _relief(depth, x, y, light, ball=name == "disc")[..., None]

    inside = np.zeros(size, bool)
    inside[window] = depth > 0
    fill = np.zeros((*size, 3), np.float32)
    fill[window] = np.clip(colours, 0, 255)

    dx, dy = -0.14 * radius * np.cos(light), -0.14 * radius * np.sin(light)
    cast = cv2.warpAffine(inside.astype(np.float32), np.float32([[1, 0, dx], [0, 1, dy]]), (w, h))
    soft = cv2.GaussianBlur(cast, (0, 0), max(1.0, 0.12 * radius))
    return Layer(inside, class_id, fill, 1 - np.float32(rng.uniform(0.3, 0.55)) * soft)


def _around(centre: float, reach: float, length: int) -> range:
    return range(max(0, int(centre - reach)), min(length, int(centre + reach) + 2))


def _colours(rng: np.random.Generator, kind: _Kind) -> tuple[np.ndarray, np.ndarray]:
    hue = rng.random() if rng.random() < 1 / 6 else kind.hue + rng.normal(0, 0.03)
    saturation, value = rng.uniform(0.55, 0.95), rng.uniform(0.55, 0.9)
    pair = [(saturation, value), (saturation * kind.second[0], value * kind.second[1])]
    first, second = (
        255 * np.array(colorsys.hsv_to_rgb(hue % 1, min(s, 1), min(v, 1)), np.float32)
        for s, v in pair
    )
    return first, second


def _relief(depth: Field, x: Field, y: Field, light: float, ball: bool) -> Field:
    """Brightness of the surface: a rounded rim or a whole ball; light comes from angle `light`."""
    gy, gx = np.gradient(depth)
    steep = np.maximum(np.hypot(gx, gy), 1e-6)
    towards = -(gx * np.cos(light) + gy * np.sin(light)) / steep  # -1 to 1: the rim faces the light
    rim = np.clip(1 - depth / (0.9 if ball else 0.16), 0, 1)
    if ball:
        spot = np.hypot(x - 0.42 * np.cos(light), y - 0.42 * np.sin(light))
        return 0.95 + 0.42 * towards * rim + 0.5 * np.exp(-((spot / 0.22) ** 2))
    return 1 + 0.38 * towards * rim
