"""One demo video: a textured target over a moving photograph, and the truth about it.

Any frame is computed on its own, from the seed and its number. The truth is geometry, not pixels:
the box of the target's outline at the middle of the exposure, cut at the picture's edges, as if
nothing stood before the target; what is seen of it is counted on points spread over it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lightvit_bench.data.demo_ade import clouds, load_photographs
from lightvit_bench.data.demo_shapes import SHAPES
from lightvit_bench.data.demo_tracking_motion import Bump, Pose, Wave, moments, pose, wave
from lightvit_bench.data.demo_tracking_sprites import (
    Sprite,
    bar_sprite,
    paint,
    photo_piece,
    shape_sprite,
)

# What a kind of video is about. All have camera motion, slow turning and some change of size.
KINDS = {
    "scale": ("scale", "aspect"),
    "occlusion": ("occlusion",),
    "leaving": ("leaving",),
    "distractor": ("distractor",),
    "light": ("light", "fast"),
    "turning": ("turning", "aspect"),
    "mixed": ("scale", "turning", "occlusion", "leaving", "distractor", "light"),
}
VISIBLE = 0.05  # share of the target to be seen; below, it is flagged
_SHUTTER = 0.5  # share of the time between two frames that the shutter is open
_BLUR_STEP = 2.0  # pixels between the poses that motion blur is summed from
_MOST_POSES = 9

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class DemoFrame:
    """A frame and its truth.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        box_xywh: the target's box cut at the picture's edges, floats, the left upper corner of the
            picture is 0, 0. None while the target cannot be seen.
        full_occlusion: less than `VISIBLE` of what is inside the picture can be seen.
        out_of_view: less than `VISIBLE` of the target is inside the picture.
        seen: the share of the target that can be seen, 0 to 1.
    """

    image: np.ndarray
    box_xywh: Box | None
    full_occlusion: bool
    out_of_view: bool
    seen: float


@dataclass(frozen=True, eq=False)
class _Actor:
    sprite: Sprite
    pose: Callable[[float], Pose]


class DemoScene:
    """A video of `frames` frames of `size` (width, height); the same arguments, the same pixels.

    Args:
        seed: a number, or several, as numpy's generators take them.
        kind: one of `KINDS`.
        shape: of the target, one of the demo shapes; drawn where it is None.
        photographs: (name, RGB) pairs for backgrounds and textures; None takes the public-domain
            ones that scikit-image and matplotlib install, and noise where these are not.
    """

    def __init__(
        self,
        seed: int | Sequence[int],
        kind: str = "mixed",
        *,
        shape: str | None = None,
        frames: int = 120,
        size: tuple[int, int] = (640, 480),
        photographs: Sequence[tuple[str, np.ndarray]] | None = None,
    ):
        if kind not in KINDS or shape not in (None, *SHAPES):
            raise ValueError(f"no such demo video: kind {kind!r} ({', '.join(KINDS)}), {shape!r}")
        if frames < 2 or min(size) < 64:
            raise ValueError(f"a demo video has 2 frames and 64 pixels a side: {frames}, {size}")
        rng = np.random.default_rng(seed)
        photographs = load_photographs() if photographs is None else photographs
        pictures = [picture for _, picture in photographs]
        if not pictures:
            pictures = [np.uint8(clouds(rng, (480, 640))) for _ in range(3)]
        order = rng.permutation(len(pictures))
        self._back, self._skin, self._wall = (pictures[k] for k in np.resize(order, 3))
        self.kind, self.frames, self.size = kind, frames, size
        self.traits = KINDS[kind]
        self.shape = shape or SHAPES[rng.integers(len(SHAPES))]
        self._seed = np.atleast_1d(seed).tolist()
        self._unit = min(size) / 480
        self._plan_camera(rng)
        self._plan_light(rng)
        self._plan_target(rng)
        self._behind, self._before = [], []
        if "distractor" in self.traits:
            self._plan_distractors(rng)
        if "occlusion" in self.traits:
            self._plan_occluders(rng)
        self._grain = rng.normal(0, 2.5, (size[1] + 64, size[0] + 64, 3)).astype(np.float32)
        self._grain = np.round(self._grain).astype(np.int8)

    def __len__(self) -> int:
        return self.frames

    def frame(self, index: int) -> DemoFrame:
        """Frame `index`, from 0. Raises IndexError."""
        if not 0 <= index < self.frames:
            raise IndexError(f"frame {index} of {self.frames}")
        picture = self._background(index)
        for actor in (*self._behind, self.target, *self._before):
            paint(picture, actor.sprite, self._exposure(actor, index))
        if "light" in self.traits:
            gamma, gain = self._gamma(index), self._gain(index)
            table = 255 * gain * (np.arange(256)[:, None] / 255) ** gamma * self._tint
            picture = cv2.LUT(picture, np.uint8(np.clip(table + 0.5, 0, 255))[None])
        top, left = np.random.default_rng([*self._seed, index]).integers(0, 64, 2)
        grain = self._grain[top : top + self.size[1], left : left + self.size[0]]
        return DemoFrame(cv2.add(picture, grain, dtype=cv2.CV_8U), *self.truth(index))

    def truth(self, index: int) -> tuple[Box | None, bool, bool, float]:
        """What `frame` says beside the image, without computing the image."""
        width, height = self.size
        at = self.target.pose(index)
        points = at.apply(self.target.sprite.inner)
        inside = ((points >= 0) & (points < (width, height))).all(1)
        hidden = np.zeros(len(points), bool)
        for actor in self._before:
            hidden |= actor.sprite.covers(actor.pose(index).invert(points))
        seen = float(np.mean(inside & ~hidden))
        away = float(np.mean(inside)) < VISIBLE
        occluded = not away and float(np.mean(~hidden[inside])) < VISIBLE
        if away or occluded:
            return None, occluded, away, seen
        outline = at.apply(self.target.sprite.outline)
        x1, y1 = np.clip(outline.min(0), 0, (width, height)).tolist()
        x2, y2 = np.clip(outline.max(0), 0, (width, height)).tolist()
        return (x1, y1, x2 - x1, y2 - y1), occluded, away, seen

    def _exposure(self, actor: _Actor, index: int) -> list[Pose]:
        """Poses of the open shutter's time, around `index`."""
        ends = [actor.pose(index - _SHUTTER / 2), actor.pose(index + _SHUTTER / 2)]
        path = np.abs(ends[1].matrix - ends[0].matrix).sum(1).max()
        count = int(np.clip(np.ceil(path / _BLUR_STEP), 1, _MOST_POSES))
        if count == 1:
            return [actor.pose(index)]
        return [actor.pose(index + t) for t in np.linspace(-_SHUTTER / 2, _SHUTTER / 2, count)]

    # ------------------------------------------------------------------------------- the camera

    def _plan_camera(self, rng: np.random.Generator) -> None:
        width, height = self.size
        margin = 1.45  # the background is larger than the picture, so that the camera can move
        piece = photo_piece(
            rng, self._back, (round(margin * height), round(margin * width)), (0.85, 1.0)
        )
        self._background_picture = np.uint8(piece)
        self._pan = [
            wave(rng, 0, (0.075 * side, (110, 190)), (0.012 * side, (28, 46)))
            for side in (width, height)
        ]
        shake = 0.018 * height if "fast" in self.traits else 0.0
        self._shake = [wave(rng, 0, (shake, (9, 14))) for _ in range(2)]
        self._zoom = wave(rng, 1.06, (0.05, (120, 220)))
        self._roll = wave(rng, 0, (0.035, (130, 240)))

    def _camera(self, t: float) -> np.ndarray:
        """(2, 3): background pixels -> picture pixels."""
        height, width = self._background_picture.shape[:2]
        zoom, roll = self._zoom(t), self._roll(t)
        linear = zoom * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        shift = [p(t) + s(t) for p, s in zip(self._pan, self._shake, strict=True)]
        middle = np.array(self.size) / 2 + shift
        return np.column_stack([linear, middle - linear @ [width / 2, height / 2]])

    def _background(self, index: int) -> np.ndarray:
        ends = [self._camera(index + t) for t in (-_SHUTTER / 2, _SHUTTER / 2)]
        moved = float(np.abs(ends[1] - ends[0])[:, 2].max())
        times = [0.0] if moved < 1.5 else np.linspace(-_SHUTTER / 2, _SHUTTER / 2, 4)
        total = 0
        for t in times:
            total = total + cv2.warpAffine(
                self._background_picture,
                self._camera(index + t),
                self.size,
                borderMode=cv2.BORDER_REFLECT_101,
            ).astype(np.uint16)
        return np.uint8(total // len(times))

    def _plan_light(self, rng: np.random.Generator) -> None:
        """Day and dusk: the gain falls by half and rises again, colours shift."""
        self._tint = rng.uniform(0.9, 1.05, 3)
        at, half = moments(self.frames, 1)
        dips = [Bump(t, 1.1 * half, 0.4) for t in at]
        depth = rng.uniform(0.45, 0.6)
        flicker: Wave = wave(rng, 1.0, (0.06, (16, 30)))
        self._gain = lambda t: flicker(t) * (1 - depth * max(dip(t) for dip in dips))
        self._gamma = wave(rng, 1.05, (0.2, (70, 120)))

    # ------------------------------------------------------------------------------- the target

    def _plan_target(self, rng: np.random.Generator) -> None:
        width, height = self.size
        self._sprite = shape_sprite(rng, self.shape, self._skin, rng.uniform(0.35, 0.65))
        self._reach = rng.uniform(44, 64) * self._unit  # half its longer side, shadow included
        fast = "fast" in self.traits
        swing, period = (0.2, (34, 48)) if fast else (0.15, (75, 130))
        path = [
            wave(
                rng, side * rng.uniform(0.42, 0.58), (swing * side, period), (0.02 * side, (24, 40))
            )
            for side in (width, height)
        ]
        growth = wave(rng, 0, (0.85 if "scale" in self.traits else 0.2, (85, 130)))
        spin = rng.choice([-1, 1]) * rng.uniform(0.05, 0.08) if "turning" in self.traits else 0
        tilt = wave(rng, rng.uniform(-0.5, 0.5), (0.2, (50, 90)))
        narrow = 0.27 if "aspect" in self.traits else 0.04
        squeeze = wave(rng, 0.98 - narrow, (narrow, (55, 95)))
        exits = self._plan_exits(rng, path) if "leaving" in self.traits else []

        def centre(t: float) -> np.ndarray:
            place = np.array([path[0](t), path[1](t)])
            for axis, outside, bump in exits:
                share = bump(t)
                place[axis] = (1 - share) * place[axis] + share * outside
            return place

        def stand(t: float) -> Pose:
            radius = self._reach * np.exp(growth(t) - 0.1)
            return pose(centre(t), radius, tilt(t) + spin * t, squeeze(t))

        self._centre, self.target = centre, _Actor(self._sprite, stand)

    def _plan_exits(
        self, rng: np.random.Generator, path: list[Wave]
    ) -> list[tuple[int, float, Bump]]:
        """(axis, coordinate outside, when): it comes back at the edge where it left."""
        events = 2 if "occlusion" in self.traits else 1
        at, half = moments(self.frames, events)
        exits = []
        for t in at[events - 1 :: events]:
            axis = int(rng.random() < 0.3)
            away = 1.9 * self._reach
            near_start = path[axis](t) < self.size[axis] / 2  # it takes the shorter way out
            outside = -away if near_start else self.size[axis] + away
            exits.append((axis, outside, Bump(t, half, 0.25)))
        return exits

    # ------------------------------------------------------------------------------- the others

    def _plan_distractors(self, rng: np.random.Generator) -> None:
        """Targets' likes that come close to it, pass before or behind it, and go."""
        at, half = moments(self.frames, 2)
        for number, t in enumerate(at[:2]):
            sprite = shape_sprite(rng, self.shape, self._skin, rng.uniform(0.35, 0.65))
            for _ in range(50):  # one that is not there when the video begins
                path = [
                    wave(rng, side * rng.uniform(0.2, 0.8), (0.16 * side, (70, 120)))
                    for side in self.size
                ]
                if np.hypot(*(np.array([p(0) for p in path]) - self._centre(0))) > 3 * self._reach:
                    break
            else:
                continue
            visit = Bump(t, 1.2 * half, 0.05)
            bow = pose(np.zeros(2), 1.1 * self._reach, rng.uniform(0, 2 * np.pi)).matrix[:, 0]
            tilt = wave(rng, 0, (0.4, (60, 90)))
            radius = self._reach * rng.uniform(0.85, 1.0)

            def stand(t, path=path, visit=visit, bow=bow, tilt=tilt, radius=radius) -> Pose:
                near = 0.97 * visit(t)
                place = (1 - near) * np.array([p(t) for p in path])
                return pose(place + near * (self._centre(t) + bow), radius, tilt(t), 0.95)

            (self._before if number % 2 else self._behind).append(_Actor(sprite, stand))

    def _plan_occluders(self, rng: np.random.Generator) -> None:
        """Two pillars pass: a narrow one hides a part of the target, a broad one all of it."""
        at, _ = moments(self.frames, 2)
        for number, t in enumerate(at):
            extent = np.ptp(self.target.pose(t).apply(self._sprite.outline), axis=0)[0]
            full = number % 2 == 0
            width = extent * 1.5 + 12 * self._unit if full else 0.4 * extent
            # Against the target's own motion, and far away when the video begins.
            drift = self._centre(t + 1)[0] - self._centre(t - 1)[0]
            far = abs(self._centre(0)[0] - self._centre(t)[0]) + width / 2 + 2.2 * self._reach
            speed = -np.sign(drift or 1) * max(rng.uniform(6, 7.5) * self._unit, far / t)
            length = 2.6 * max(self.size)
            sprite = bar_sprite(rng, self._wall, width / 2, length / 2)
            # The longer side, padding included, is the unit of a sprite's coordinates.
            radius = max(sprite.solid.shape)
            angle, where = rng.uniform(-0.12, 0.12), self._centre(t)

            def stand(s, t=t, where=where, speed=speed, angle=angle, radius=radius) -> Pose:
                return pose(where + [speed * (s - t), 0.0], radius, angle)

            self._before.append(_Actor(sprite, stand))
