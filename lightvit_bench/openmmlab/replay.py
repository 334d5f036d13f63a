"""Runs that can be replayed: randomness is a function of the seed and the place in the run.

mmengine's resume restores weights, optimizer and schedule, and skips the images already seen, but
neither the augmentation's nor the model's random state. Instead of saving those states (one for
each loader worker, ahead of the model by the prefetched batches) they are not kept at all: each
sample is augmented, and each iteration run, with generators seeded by its number. A run that was
killed and resumed is then the undisturbed run bit for bit, with any number of loader workers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, HOOKS


class Draw(int):
    """A sample's index that remembers the seed and the number of the draw it came from."""

    def __new__(cls, index: int, seed: int, number: int):
        draw = super().__new__(cls, index)
        draw.seed, draw.number = seed, number
        return draw

    def __reduce__(self):
        return Draw, (int(self), self.seed, self.number)

    def seed_generators(self) -> None:
        """Seed `random` and `numpy.random`, which the data transforms draw from."""
        state = np.random.SeedSequence((self.seed, self.number)).generate_state(2)
        random.seed(int(state[0]))
        np.random.seed(int(state[1]))


@DATA_SAMPLERS.register_module()
class ReplayableSampler(InfiniteSampler):
    """mmengine's InfiniteSampler, yielding `Draw`s numbered from the start of the run."""

    first = 0

    def skip(self, num_samples: int) -> None:
        """Start after the `num_samples` draws (of this rank) that a resumed run has made."""
        super().skip(num_samples)
        self.first = num_samples

    def __iter__(self) -> Iterator[Draw]:
        for i, index in enumerate(self.indices, self.first):
            yield Draw(index, self.seed, i * self.world_size + self.rank)


class Replayable:
    """Mixin for datasets: a sample asked for by a `Draw` is augmented as that draw always is."""

    def __getitem__(self, index: int) -> dict:
        if isinstance(index, Draw):
            index.seed_generators()
        return super().__getitem__(index)


@HOOKS.register_module()
class ReplayableIterations(Hook):
    """Seeds torch by seed, rank and iteration, so that dropout replays after a resume."""

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        state = np.random.SeedSequence((runner.seed, runner.rank, batch_idx)).generate_state(1)
        torch.manual_seed(int(state[0]))
