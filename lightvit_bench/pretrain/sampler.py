"""Which image comes when in pre-training: whole epochs, without end, any place reached at once.

The draws of a run are numbered over its ranks. Number p is place `p % epoch length` of epoch
`p // epoch length`, whose order is a function of the seed and the epoch: nothing of the past is
needed to go on from any number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from lightvit_bench.errors import ConfigError
from lightvit_bench.openmmlab.replay import Draw


@DATA_SAMPLERS.register_module()
class EpochSampler(Sampler):
    """Draws every image at most once an epoch, endlessly, the ranks taking turns.

    Args:
        batch: images of one optimiser step over all ranks. An epoch is the whole steps that the
            data set gives; the images left over differ from epoch to epoch.
        seed: equal on all ranks; by default one that the ranks agree on.

    Yields `Draw`s whose numbers are unique over the run and its ranks.

    Raises:
        ConfigError: fewer images than a batch.
    """

    def __init__(
        self, dataset: Sized, seed: int | None = None, shuffle: bool = True, batch: int = 1
    ):
        self.rank, self.world_size = get_dist_info()
        self.size, self.shuffle = len(dataset), shuffle
        if batch < 1:
            raise ConfigError(f"a batch of {batch} images.", set="train_dataloader.batch_size")
        if self.size < batch:
            raise ConfigError(
                f"{self.size:,} images are fewer than a batch of {batch:,}.",
                set="train_dataloader.batch_size, which counts once for each process",
            )
        self.epoch_size = self.size // batch * batch
        self.seed = sync_random_seed() if seed is None else seed
        self.first = 0

    def __len__(self) -> int:
        """Draws of this rank in an epoch."""
        return self.epoch_size // self.world_size

    def skip(self, num_samples: int) -> None:
        """Start after the `num_samples` draws (of this rank) that a resumed run has made."""
        self.first = num_samples

    def epoch_of(self, number: int) -> int:
        """The epoch, from 0, that draw `number` belongs to."""
        return number // self.epoch_size

    def __iter__(self) -> Iterator[Draw]:
        number, epoch, order = self.first * self.world_size + self.rank, -1, None
        while True:
            if self.epoch_of(number) != epoch:
                epoch = self.epoch_of(number)
                order = self._order(epoch)
            yield Draw(int(order[number % self.epoch_size]), self.seed, number)
            number += self.world_size

    def _order(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.size)
        return np.random.default_rng((self.seed, epoch)).permutation(self.size)
