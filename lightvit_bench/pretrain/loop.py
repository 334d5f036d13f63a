"""The loop of pre-training: as long as so many epochs, counted and resumed in iterations."""

from __future__ import annotations

import logging
import time

import torch
from mmengine.logging import print_log
from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator

from lightvit_bench.errors import ConfigError
from lightvit_bench.pretrain.signals import Interrupted, StopSignals, wait_for_ranks


@LOOPS.register_module()
class EpochIterLoop(IterBasedTrainLoop):
    """An iteration is one optimiser step on one batch; hooks see one long epoch.

        train_cfg = dict(type="EpochIterLoop", max_epochs=400)

    Args:
        max_epochs: length of the run, and of its schedule, in epochs of the sampler.
        max_iters: stop after so many iterations, in the middle of the schedule.

    Attributes:
        epoch_length: iterations of an epoch.
        waited: seconds spent waiting for batches, since the process started.
        saved: the newest checkpoint of this run, written by it or gone on from; None before.

    On SIGTERM, SIGUSR1 and Ctrl-C hooks are called with `on_stop` at the end of the iteration,
    where `RunCheckpoint` saves, and the process ends.

    Raises:
        ConfigError: no epoch, or a sampler made for another batch.
    """

    def __init__(self, runner, dataloader, max_epochs: int, max_iters: int | None = None):
        # Not IterBasedTrainLoop's, which warns of a data set without classes and palette.
        BaseLoop.__init__(self, runner, dataloader)
        for name, value in (("max_epochs", max_epochs), ("max_iters", max_iters)):
            if value is not None and (value != int(value) or value < 1):
                raise ConfigError(f"train_cfg.{name}={value} is not a number of {name[4:]}.")
        sampler, batch = self.dataloader.sampler, self.dataloader.batch_size * runner.world_size
        epoch_size = getattr(sampler, "epoch_size", None)
        if epoch_size is not None and epoch_size % batch:
            raise ConfigError(
                f"an epoch of {epoch_size:,} images is not made of batches of {batch:,}.",
                set="train_dataloader.sampler.batch to that (it is, by default)",
            )
        self.epoch_length = len(self.dataloader)
        self._max_epochs = int(max_epochs)
        whole = self._max_epochs * self.epoch_length
        self._max_iters = whole if max_iters is None else min(int(max_iters), whole)
        self._epoch = self._iter = 0
        self.val_begin, self.val_interval = 1, self._max_iters + 1
        self.stop_training = False  # mmengine's hooks may set it
        self.dataloader_iterator = _InfiniteDataloaderIterator(self.dataloader)
        self.waited = 0.0
        self.saved: str | None = None

    def run(self) -> torch.nn.Module:
        """Train from the current iteration to the last one."""
        runner = self.runner
        if runner._resume:
            self.saved = runner._load_from
        with StopSignals(runner.timestamp) as stop:
            try:
                runner.call_hook("before_train")
                runner.call_hook("before_train_epoch")
                self.dataloader_iterator.skip_iter(self._iter)
                if self._iter >= self._max_iters:
                    print_log(f"nothing left to do: {self._iter:,} iterations are", "current")
                runner.model.train()
                while self._iter < self._max_iters and not self.stop_training:
                    began = time.perf_counter()
                    batch = next(self.dataloader_iterator)
                    self.waited += time.perf_counter() - began
                    self.run_iter(batch, stop)
                runner.call_hook("after_train_epoch")
                runner.call_hook("after_train")
            finally:
                self._close()
        return runner.model

    def run_iter(self, data_batch: dict, stop: StopSignals) -> None:
        """One step; its hooks see the number of iterations before it, as mmengine's do."""
        runner, at = self.runner, dict(batch_idx=self._iter, data_batch=data_batch)
        runner.call_hook("before_train_iter", **at)
        outputs = runner.model.train_step(data_batch, optim_wrapper=runner.optim_wrapper)
        runner.call_hook("after_train_iter", **at, outputs=outputs)
        if stop.due(self._iter) and self._iter + 1 < self._max_iters:
            self._leave(stop)
        self._iter += 1
        self._epoch = self._iter // self.epoch_length

    def _leave(self, stop: StopSignals) -> None:
        self.runner.call_hook("on_stop")
        print_log(
            f"{stop.name()}: stopped after iteration {self._iter + 1} of {self._max_iters}. "
            f"Saved in {self.saved}; the same command with --resume goes on from there.",
            logger="current",
            level=logging.WARNING,
        )
        wait_for_ranks(f"{stop.key}/left")
        raise Interrupted(stop.signum)

    def _close(self) -> None:
        """End the loader's workers now, however the run ended: nobody holds their iterator."""
        self.dataloader_iterator._iterator = self.dataloader._iterator = None
