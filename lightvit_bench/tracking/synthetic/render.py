"""Drawing for synthetic pairs: placing, warping and blending pieces; light, blur and noise.

Transforms are 3 x 3, act on continuous pixel coordinates (a pixel's centre is at 0.5) and lead from
the source to the picture drawn. Pictures are (H, W, 3) uint8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from lightvit_bench.tracking.crops import Box
from lightvit_bench.tracking.synthetic.sources import rectangle

Edges = tuple[int, int, int, int]  # left, top, right, bottom of a frame, whole pixels
FAR: Edges = (-(10**6), -(10**6), 10**6, 10**6)

_TO_CENTRES = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
_TO_CORNERS = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])


@dataclass(frozen=True)
class Pose:
    """How something is seen: turned (radians), stretched, sheared, mirrored, slanted.

    stretch: log of width over height gained; slant: perspective, per unit of half its size.
    """

    turn: float = 0.0
    stretch: float = 0.0
    shear: float = 0.0
    mirrored: bool = False
    slant: tuple[float, float] = (0.0, 0.0)

    def matrix(self, hull: np.ndarray) -> np.ndarray:
        """The transform of something with this hull, about its centre."""
        low, high = hull.min(0), hull.max(0)
        half = 0.5 * float(max(high - low))
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        along = math.exp(0.5 * self.stretch)
        linear = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, self.shear], [0, 1]])
        linear = np.array([[along], [1 / along]]) * linear
        if self.mirrored:
            linear = linear * np.array([-1, 1])
        result = np.eye(3)
        result[:2, :2] = linear
        result[:2, 2] = -linear @ (0.5 * (low + high))
        if self.slant != (0.0, 0.0):
            lean = np.eye(3)
            lean[2, :2] = np.array(self.slant) / half
            result = lean @ result
        return result


def random_pose(rng: np.random.Generator, amount: float, flat: bool = False) -> Pose:
    """A pose away from the plain one by about `amount` (1: 10 degrees, 10 percent of aspect).

    flat: of a whole photograph, whose edges show: it turns less and does not lean.
    """
    turn, stretch, shear, *slant = (rng.normal(0, 1, 5) * amount).tolist()
    limit = 15 if flat else 60
    bent = not flat and rng.random() < 0.4
    return Pose(
        turn=math.radians(min(max(10 * turn, -limit), limit)),
        stretch=min(max(0.1 * stretch, -0.5), 0.5),
        shear=min(max(0.05 * shear, -0.3), 0.3),
        slant=tuple(min(max(0.06 * s, -0.2), 0.2) for s in slant) if bent else (0.0, 0.0),
    )


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Transform points (N, 2)."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    return moved[:, :2] / moved[:, 2:]


def shift(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def scaling(factor: float) -> np.ndarray:
    return np.diag([factor, factor, 1.0])


def placed(hull: np.ndarray, pose: Pose, size: float, centre: tuple[float, float]) -> np.ndarray:
    """The transform that shows a hull in a pose, root of its tight box's area `size`, at `centre`.

    The centre is that of the tight box.
    """
    matrix = pose.matrix(hull)
    points = apply(matrix, hull)
    low, high = points.min(0), points.max(0)
    factor = size / math.sqrt(float(np.prod(high - low)))
    middle = 0.5 * factor * (low + high)
    return shift(centre[0] - middle[0], centre[1] - middle[1]) @ scaling(factor) @ matrix


def warp(
    source: np.ndarray, matrix: np.ndarray, size: tuple[int, int], border: int = cv2.BORDER_CONSTANT
) -> np.ndarray:
    """`source` as `matrix` shows it in a picture of `size` (width, height); shrunk without jags."""
    factor = math.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    if factor < 0.6:
        height, width = source.shape[:2]
        new = (max(round(width * factor * 1.25), 2), max(round(height * factor * 1.25), 2))
        source = cv2.resize(source, new, interpolation=cv2.INTER_AREA)
        matrix = matrix @ np.diag([width / new[0], height / new[1], 1])
    matrix = _TO_CENTRES @ matrix @ _TO_CORNERS
    if matrix[2, 0] == 0 and matrix[2, 1] == 0:
        return cv2.warpAffine(
            source, matrix[:2] / matrix[2, 2], size, flags=cv2.INTER_LINEAR, borderMode=border
        )
    return cv2.warpPerspective(source, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)


def paste(
    picture: np.ndarray, piece: np.ndarray, matrix: np.ndarray, cover: np.ndarray | None = None
) -> np.ndarray | None:
    """Blend a piece (h, w, 4) into a picture, in place.

    Args:
        cover: (H, W) float32, how much of the target shows; what the piece hides is taken off it.

    Returns:
        (H, W) float32, the piece's alpha in the picture, where `cover` is None; else None.
    """
    height, width = piece.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    points = apply(matrix, corners)
    left, top = np.maximum(np.floor(points.min(0)).astype(int), 0).tolist()
    right = min(math.ceil(points[:, 0].max()), picture.shape[1])
    bottom = min(math.ceil(points[:, 1].max()), picture.shape[0])
    alpha = np.zeros(picture.shape[:2], np.float32) if cover is None else None
    if right > left and bottom > top:
        drawn = warp(piece, shift(-left, -top) @ matrix, (right - left, bottom - top))
        share = drawn[..., 3] * np.float32(1 / 255)
        part = picture[top:bottom, left:right]
        colour = cv2.cvtColor(drawn, cv2.COLOR_RGBA2RGB)
        part[:] = cv2.blendLinear(colour, np.ascontiguousarray(part), share, 1 - share)
        if cover is None:
            alpha[top:bottom, left:right] = share
        else:
            cover[top:bottom, left:right] *= 1 - share
    return alpha


def bend(rng: np.random.Generator, piece: np.ndarray, amount: float) -> np.ndarray:
    """Deform a piece (h, w, 4) smoothly, by about `amount` of its size: limbs move, cloth flows."""
    height, width = piece.shape[:2]
    rim = max(round(0.5 * amount * max(height, width)), 1)
    piece = cv2.copyMakeBorder(piece, rim, rim, rim, rim, cv2.BORDER_CONSTANT)
    height, width = piece.shape[:2]
    field = rng.normal(0, amount, (4, 4, 2)).astype(np.float32)
    field *= np.float32(0.5 * math.sqrt(height * width))
    field = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
    field[..., 0] += np.arange(width, dtype=np.float32)
    field[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    return cv2.remap(piece, field, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def edges(shape: tuple, matrix: np.ndarray, box: Box) -> Edges:
    """The frame that a warped photograph of `shape` fills, but with all of the target's box in it.

    Upright, and within the photograph where that is turned by less than a quarter.
    """
    points = apply(matrix, rectangle((0, 0, shape[1], shape[0])))
    (_, left, right, _), (_, top, bottom, _) = np.sort(points, axis=0).T.tolist()
    return (
        math.floor(min(math.ceil(left), box[0])),
        math.floor(min(math.ceil(top), box[1])),
        math.ceil(max(math.floor(right), box[0] + box[2])),
        math.ceil(max(math.floor(bottom), box[1] + box[3])),
    )


def near_edge(rng: np.random.Generator, frame: Edges, box: Box, rate: float) -> tuple[Edges, Box]:
    """With a probability of `rate` a side of the frame is near or cuts up to 40 percent of the box.

    Returns:
        The frame, and the box within it.
    """
    if rng.random() >= rate:
        return frame, box
    x, y, w, h = box
    side, deep = int(rng.integers(4)), rng.uniform(-0.8, 0.4)
    at = round([x + deep * w, y + deep * h, x + w - deep * w, y + h - deep * h][side])
    sides = list(frame)
    sides[side] = max(frame[side], at) if side < 2 else min(frame[side], at)
    x1, y1 = max(x, sides[0]), max(y, sides[1])
    x2, y2 = min(x + w, sides[2]), min(y + h, sides[3])
    if min(x2 - x1, y2 - y1) < 2:
        return frame, box
    return (sides[0], sides[1], sides[2], sides[3]), (x1, y1, x2 - x1, y2 - y1)


@dataclass(frozen=True)
class Light:
    """A tone curve: out = (gain x in) ** gamma about mid grey with contrast, per channel."""

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    contrast: float = 1.0
    turn: float = 0.0  # of the hue, radians
    saturation: float = 1.0

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Of (H, W, 3), or (H, W, 4), whose alpha stays."""
        ramp = np.arange(256, dtype=np.float32)[:, None] / 255
        curve = np.clip(ramp * np.array(self.gain, np.float32), 0, 1) ** np.float32(self.gamma)
        curve = np.clip((curve - 0.45) * self.contrast + 0.45, 0, 1) * 255
        table = np.round(curve).astype(np.uint8)
        if picture.shape[2] == 4:
            table = np.concatenate([table, np.arange(256, dtype=np.uint8)[:, None]], 1)
        picture = cv2.LUT(picture, np.ascontiguousarray(table)[None])
        if self.turn or self.saturation != 1:
            picture = cv2.transform(picture, self._mixing(picture.shape[2]))
        return picture

    def _mixing(self, channels: int) -> np.ndarray:
        """The linear map that turns the hue about the grey axis and scales the distance from it."""
        grey = np.full((3, 3), 1 / 3)
        cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
        turned = math.cos(self.turn) * (np.eye(3) - grey) + math.sin(self.turn) * cross
        result = np.eye(channels)
        result[:3, :3] = grey + self.saturation * turned
        return result.astype(np.float32)


def random_light(rng: np.random.Generator, amount: float) -> Light:
    """Light that differs by about `amount` (1: 15 percent in brightness)."""
    a, b, c, d, *channels = np.clip(rng.normal(0, 1, 7) * amount, -2.2, 2.2).tolist()
    mixed = rng.random() < 0.25
    return Light(
        gain=tuple(math.exp(0.15 * a + 0.04 * x) for x in channels),
        gamma=math.exp(0.12 * b),
        contrast=math.exp(0.12 * c),
        turn=0.12 * d if mixed else 0.0,
        saturation=math.exp(0.3 * b) if mixed else 1.0,
    )


def recoloured(rng: np.random.Generator) -> Light:
    """Light under which something is no longer itself."""
    turn = rng.uniform(1.2, 2 * math.pi - 1.2)
    gain = np.exp(rng.normal(0, 0.3, 3))
    return Light(gain=tuple(gain.tolist()), gamma=math.exp(rng.normal(0, 0.3)), turn=turn)


class Camera:
    """What spoils a picture: focus, motion, sensor noise, uneven light, compression."""

    def __init__(self, largest: int):
        noise = np.random.default_rng(0).normal(128, 32, (largest + 64, largest + 64, 3))
        self.noise = np.clip(np.round(noise), 0, 255).astype(np.uint8)

    def __call__(self, rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
        height, width = picture.shape[:2]
        focus, streak, shade, grain, jpeg = rng.random(5).tolist()
        if focus < 0.12:
            picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.6))
        if streak < 0.12:
            picture = cv2.filter2D(picture, -1, _streak(rng))
        if shade < 0.12:
            ends = rng.uniform(0.4, 1.0, (2, 2)).astype(np.float32)
            light = cv2.resize(ends, (width, height))
            picture = cv2.blendLinear(picture, np.zeros_like(picture), light, 1 - light)
        if grain < 0.2 and max(height, width) <= len(self.noise) - 64:
            y, x = rng.integers(0, 64, 2).tolist()
            share = rng.uniform(0.05, 0.45)
            noise = self.noise[y : y + height, x : x + width]
            picture = cv2.addWeighted(picture, 1, noise, share, -128 * share)
        if jpeg < 0.2:
            quality = int(rng.integers(25, 90))
            _, code = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
            picture = cv2.imdecode(code, cv2.IMREAD_COLOR)
        return picture


def _streak(rng: np.random.Generator) -> np.ndarray:
    """A motion blur's kernel: a line of 3 to 9 pixels in some direction."""
    side = int(rng.choice([3, 5, 5, 7, 9]))
    angle = rng.uniform(0, math.pi)
    half = (side - 1) / 2
    kernel = np.zeros((side, side), np.float32)
    for t in np.linspace(-half, half, 2 * side):
        kernel[round(half + t * math.sin(angle)), round(half + t * math.cos(angle))] += 1
    return kernel / kernel.sum()
