"""A loss that is made to be no number, for tests of how a run ends."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Poison(Hook):
    priority = "NORMAL"  # before the log

    def __init__(self, at, rank=0, value=float("nan")):
        self.at, self.rank, self.value = at, rank, value

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if batch_idx + 1 == self.at and runner.rank == self.rank:
            outputs["loss_pixels"].fill_(self.value)
