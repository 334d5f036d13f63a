"""Pairs of crops to train a tracker on, from videos with boxes: OSTrack's way.

    pairs = TrackingPairs([(lasot, 1), (got10k, 1)], samples_per_epoch=60_000)
    pairs[0]    # {"template": (128, 128, 3) uint8, "search": (256, 256, 3) uint8, "box", "present"}

Samples are as those of `tracking.synthetic.pairs.SyntheticPairs`; normalising is left to who uses
them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence as Listed

import numpy as np

from lightvit_bench.data.sequence import Sequence
from lightvit_bench.errors import BadDataError
from lightvit_bench.tracking.crops import Box, crop, square_around
from lightvit_bench.tracking.training.augment import JointAugmentation, augmented_crop
from lightvit_bench.tracking.training.pair_sampler import FramePair, PairSampler

_TRIES = 100  # pairs drawn for one sample, until one can be cropped


class TrackingPairs:
    """A data set of pairs drawn at random.

    Args:
        sets: the sequences of each data set, and its ratio.
        samples_per_epoch: what `len` says.
        gap: of `PairSampler`.
        centre_jitter, scale_jitter: of the box that the search region is cut around; the template
            is cut around its box.
        augment: mirror, grey and brighten; without it (to validate) only the jitter is random.
        unreadable: so many frames that cannot be read are warned of and replaced, for each process
            that draws; the next one is an error.
    """

    def __init__(
        self,
        sets: Listed[tuple[Listed[Sequence], float]],
        samples_per_epoch: int,
        *,
        gap: int = 200,
        template_size: int = 128,
        search_size: int = 256,
        template_factor: float = 2.0,
        search_factor: float = 4.0,
        centre_jitter: float = 3.0,
        scale_jitter: float = 0.25,
        augment: bool = True,
        unreadable: int = 10,
    ):
        self.sampler = PairSampler(sets, gap)
        self.samples_per_epoch = samples_per_epoch
        self.template_size, self.search_size = template_size, search_size
        self.template_factor, self.search_factor = template_factor, search_factor
        self.centre_jitter, self.scale_jitter = centre_jitter, scale_jitter
        self.augment = augment
        self.unreadable, self.found_unreadable = unreadable, 0

    def __len__(self) -> int:
        return self.samples_per_epoch

    def __getitem__(self, draw: int) -> dict:
        """The sample of a draw with `seed` and `number`; of a plain number with seed 0."""
        seed, number = getattr(draw, "seed", 0), getattr(draw, "number", int(draw))
        return self.sample(np.random.default_rng((seed, number)))

    def sample(self, rng: np.random.Generator) -> dict:
        """A pair.

        Returns:
            template (T, T, 3) uint8 and search (S, S, 3) uint8, RGB; box (4,) float32: centre x,
            centre y, width, height as fractions of the search region, with its centre inside but
            not always its edges; present: True.

        Raises:
            BadDataError: too many frames are unreadable, or no pair drawn can be cropped.
        """
        for _ in range(_TRIES):
            try:  # an annotation may be read here for the first time
                pair = self.sampler.draw(rng)
                frames = self._frames(pair)
            except BadDataError as error:
                self.found_unreadable += 1
                if self.found_unreadable > self.unreadable:
                    raise
                warnings.warn(f"a pair is drawn again: {error}", stacklevel=2)
                continue
            sample = self._crops(rng, pair, *frames)
            if sample is not None:
                return sample
        raise BadDataError(
            f"none of {_TRIES} pairs drawn can be cropped: boxes lie outside their frames.",
            last=f"{pair.sequence.dataset} {pair.sequence.name}, frames {pair.template} and "
            f"{pair.search}",
        )

    def _frames(self, pair: FramePair) -> tuple[np.ndarray, np.ndarray]:
        template = pair.sequence.frames[pair.template]
        same = pair.template == pair.search
        return template, template if same else pair.sequence.frames[pair.search]

    def _crops(
        self, rng: np.random.Generator, pair: FramePair, template: np.ndarray, search: np.ndarray
    ) -> dict | None:
        """The sample; None where a crop would show nothing, or the target's centre were outside."""
        boxes = pair.sequence.annotation.boxes_xywh
        joint = JointAugmentation.draw(rng) if self.augment else JointAugmentation()
        template, first = joint(template, tuple(boxes[pair.template].tolist()))
        search, second = joint(search, tuple(boxes[pair.search].tolist()))
        around = jittered(rng, second, self.centre_jitter, self.scale_jitter)
        squares = (
            square_around(first, self.template_factor),
            square_around(around, self.search_factor),
        )
        for frame, (left, top, side) in zip((template, search), squares, strict=True):
            height, width = frame.shape[:2]
            if left >= width - 1 or top >= height - 1 or left + side <= 0 or top + side <= 0:
                return None
        first_crop = crop(template, squares[0], self.template_size)
        second_crop = crop(search, squares[1], self.search_size)
        box = box_in_crop(second, around, second_crop.scale, self.search_size)
        if not (0 <= box[0] <= 1 and 0 <= box[1] <= 1):
            return None
        patches = first_crop.patch, second_crop.patch
        if self.augment:
            shown, _ = augmented_crop(rng, patches[0], box)
            sought, box = augmented_crop(rng, patches[1], box)
            patches = shown, sought
        return dict(template=patches[0], search=patches[1], box=box, present=True)


def jittered(rng: np.random.Generator, box: Box, centre: float, scale: float) -> Box:
    """A box of another size, elsewhere, so that the target is not always in the middle.

    Width and height are multiplied by exp(scale x normal), each by its own; then each coordinate of
    the centre moves by up to half of `centre` times the root of the new area.
    """
    x, y, w, h = box
    factors = np.exp(rng.standard_normal(2) * scale)
    new_w, new_h = w * float(factors[0]), h * float(factors[1])
    reach = math.sqrt(new_w * new_h) * centre
    dx, dy = (reach * (rng.random(2) - 0.5)).tolist()
    return (x + 0.5 * w + dx - 0.5 * new_w, y + 0.5 * h + dy - 0.5 * new_h, new_w, new_h)


def box_in_crop(box: Box, around: Box, scale: float, size: int) -> np.ndarray:
    """A box of a frame in the crop cut around another one.

    The inverse of `crops.box_to_frame`: the crop's centre is `around`'s, at 0.5. OSTrack's training
    has it at (size - 1) / 2 / size (127.5 / 256), half a pixel of the crop aside, but its tests
    take 0.5: ours agree with the tests.

    Args:
        scale: of the crop.
        size: of the crop, pixels.

    Returns:
        (4,) float32: centre x, centre y, width, height as fractions of the crop.
    """
    share = scale / size
    dx = box[0] + 0.5 * box[2] - around[0] - 0.5 * around[2]
    dy = box[1] + 0.5 * box[3] - around[1] - 0.5 * around[3]
    return np.array(
        [0.5 + dx * share, 0.5 + dy * share, box[2] * share, box[3] * share], np.float32
    )
