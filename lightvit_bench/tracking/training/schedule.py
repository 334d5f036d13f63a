"""How much of the search region a network keeps in training, from its first iteration on."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class KeepSchedule:
    """All tokens up to epoch `begin`, then along half a cosine to the share `keep` at epoch `end`.

    OSTrack's: 20 and 100 of 300 epochs, in whole epochs. Pruning once is annealed from the start
    of its second training: 0 and 10 of 50.
    """

    begin: int = 20
    end: int = 100

    def __call__(self, epoch: int, keep: float) -> float:
        """The share kept during `epoch`, from 0."""
        if epoch < self.begin:
            return 1.0
        if epoch >= self.end:
            return keep
        done = (epoch - self.begin) / (self.end - self.begin)
        return keep + (1 - keep) * (math.cos(math.pi * done) + 1) / 2
