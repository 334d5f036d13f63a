"""Which two frames make a pair: OSTrack's causal sampling, over several data sets.

The rules, those of the authors' code for one template and one search frame:

- A data set is drawn by the given ratios, then one of its sequences, each as likely as the other.
- A video counts if it has at least 20 frames and more than 4 usable ones (visible, with a box);
  otherwise data set and sequence are drawn again.
- The template is any usable frame but the last; the search frame is a usable one after it, less
  than `gap` frames later. Where there is none, another template is drawn and the gap grows by 5.
- A still picture gives both frames.
"""

from __future__ import annotations

from collections.abc import Sequence as Listed
from dataclasses import dataclass

import numpy as np

from lightvit_bench.data.sequence import Sequence
from lightvit_bench.errors import BadDataError, ConfigError

FEWEST_FRAMES = 20
FEWEST_USABLE = 5
WIDER = 5  # frames that the gap grows by
_DRAWS = 1000  # of a sequence, until one counts


@dataclass(frozen=True)
class FramePair:
    """Numbers of two frames of a sequence, template < search (equal for a still)."""

    sequence: Sequence
    template: int
    search: int


class PairSampler:
    """Draws pairs of frames.

    Args:
        sets: the sequences of each data set, and its ratio (of any sum).
        gap: the search frame comes less than this many frames after the template.

    Raises:
        ConfigError: no data set, an empty one, or no positive ratio.
    """

    def __init__(self, sets: Listed[tuple[Listed[Sequence], float]], gap: int = 200):
        ratios = np.array([ratio for _, ratio in sets], np.float64)
        if not len(sets) or not np.isfinite(ratios).all() or ratios.min() < 0 or not ratios.sum():
            raise ConfigError(
                "pairs are drawn from data sets by ratios that are not negative and not all 0.",
                ratios=str([ratio for _, ratio in sets]),
            )
        for i, (sequences, ratio) in enumerate(sets):
            if ratio and not len(sequences):
                raise ConfigError(f"data set {i} of {len(sets)} has no sequence to draw from.")
        if gap < 2:
            raise ConfigError(f"a gap of {gap} frames leaves no search frame: 2 or more.")
        self.sets, self.gap = [sequences for sequences, _ in sets], gap
        self._upto = np.cumsum(ratios / ratios.sum())
        self._upto[np.flatnonzero(ratios)[-1] :] = 1.0  # whatever the sum was rounded to

    def draw(self, rng: np.random.Generator) -> FramePair:
        """A pair.

        Raises:
            BadDataError: a thousand sequences drawn, and none had frames enough.
        """
        sequence = None
        for _ in range(_DRAWS):
            sequences = self.sets[int(np.searchsorted(self._upto, rng.random(), side="right"))]
            sequence = sequences[int(rng.integers(len(sequences)))]
            usable = np.flatnonzero(sequence.annotation.usable)
            if sequence.still:
                if len(usable):
                    return FramePair(sequence, int(usable[0]), int(usable[0]))
            elif len(sequence) >= FEWEST_FRAMES and len(usable) >= FEWEST_USABLE:
                template, search = causal_frames(rng, usable, self.gap)
                return FramePair(sequence, template, search)
        raise BadDataError(
            f"none of {_DRAWS} sequences drawn can be trained on: a video needs {FEWEST_FRAMES} "
            f"frames, {FEWEST_USABLE} of them with a visible target, a still a box.",
            last=f"{sequence.dataset} {sequence.name}",
        )


def causal_frames(rng: np.random.Generator, usable: np.ndarray, gap: int) -> tuple[int, int]:
    """Template and search frame out of at least two usable ones (sorted numbers)."""
    while True:
        # The last usable frame may be drawn, and found to have none after it, as by the authors;
        # the very last frame of the video they leave out, which comes to the same.
        template = int(usable[rng.integers(len(usable))])
        after = usable[np.searchsorted(usable, template, side="right") :]
        after = after[: np.searchsorted(after, template + gap)]
        if len(after):
            return template, int(after[rng.integers(len(after))])
        gap += WIDER
