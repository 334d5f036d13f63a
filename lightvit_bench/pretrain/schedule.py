"""The learning rate of pre-training: linear warm-up, then a cosine, both to and from zero."""

from __future__ import annotations

import math

from mmengine.optim import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS

from lightvit_bench.errors import ConfigError


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """The share of the full learning rate at iteration `step`, from 0, of `total`.

    step / warmup, then (1 + cos(pi * (step - warmup) / (total - warmup))) / 2: MAE-Lite's schedule.
    Its first iteration has no learning rate at all, as theirs.
    """
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ParamScheduler):
    """`warmup_cosine` as a scheduler of mmengine, in iterations.

        dict(type="WarmupCosineLR", warmup=40, by_epoch=True, convert_to_iter_based=True)

    The rate is computed from the iteration's number, never from the rate before: a resumed run has
    it exactly. A run that `train_cfg.max_iters` cuts short has the schedule of the whole one.

    Args:
        warmup: length of the warm-up; in epochs, fractions allowed, with `convert_to_iter_based`.
        end: length of the whole; mmengine gives that of the train loop.

    Raises:
        ConfigError: the warm-up is longer than the run, or the rate would change by epoch.
    """

    def __init__(self, optimizer, warmup: float, by_epoch: bool = False, **kwargs):
        if by_epoch:
            raise ConfigError(
                "WarmupCosineLR changes with every iteration.",
                set="convert_to_iter_based=True in param_scheduler",
            )
        self.warmup = int(warmup)
        end = kwargs.get("end")
        if self.warmup < 0 or (end is not None and self.warmup > end):
            raise ConfigError(
                f"a warm-up of {warmup:g} iterations in a run of {end}.",
                set=[
                    "--cfg-options param_scheduler.0.warmup=... (epochs) to less",
                    "or train_cfg.max_epochs=... to more",
                ],
            )
        super().__init__(optimizer, "lr", by_epoch=False, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls,
        optimizer,
        *,
        warmup: float,
        epoch_length: int,
        end: int,
        begin: int = 0,
        by_epoch: bool = True,
        **kwargs,
    ) -> WarmupCosineLR:
        """The scheduler in iterations of a config in epochs."""
        return cls(
            optimizer,
            warmup=round(warmup * epoch_length),
            begin=begin * epoch_length,
            end=end * epoch_length,
            **kwargs,
        )

    def _get_value(self) -> list[float]:
        share = warmup_cosine(self.last_step, self.warmup, self.end - self.begin)
        return [base * share for base in self.base_values]
