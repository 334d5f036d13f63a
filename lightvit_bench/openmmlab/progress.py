"""Progress for people: a line now and then, where mmengine's log would be pages."""

from __future__ import annotations

import time

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class ProgressLines(Hook):
    """Prints iteration, loss and remaining time every `interval` iterations.

    Goes with `log_level = "ERROR"`, which silences mmengine's own log.
    """

    def __init__(self, interval: int = 20):
        self.interval = interval

    def before_train(self, runner) -> None:
        """Start the clock."""
        self.started, self.first = time.monotonic(), runner.iter

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Print a line when it is time for one."""
        done = batch_idx + 1
        if done % self.interval and done != runner.max_iters:
            return
        pace = (time.monotonic() - self.started) / (done - self.first)
        left = round(pace * (runner.max_iters - done))
        print(
            f"  iteration {done}/{runner.max_iters}   loss {outputs['loss'].item():.2f}   "
            f"{left} s left",
            flush=True,
        )
