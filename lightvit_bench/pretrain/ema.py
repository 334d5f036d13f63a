"""A moving average of the weights, beside the ones that are trained.

mmengine's EMAHook copies the whole model, averages parameter by parameter, and exchanges the two in
checkpoints. This one holds the trained parameters alone, averages them in one call that neither
waits for the GPU nor asks it for a number, and leaves a checkpoint's `state_dict` as it is trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor, nn

from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.openmmlab.bare import bare_model

KEY = "weight_average"  # in a run's checkpoint


@HOOKS.register_module()
class WeightAverage(Hook):
    """Keeps average = d * average + (1 - d) * weights, after each optimiser step.

    Args:
        decay: d, in the long run. The first steps use less, min(decay, (1 + n) / (10 + n)) in step
            n from 1, for else a short run would average little but its random start.

    The average is in a run's checkpoint under `weight_average`; a resumed run goes on with it bit
    for bit. `ExportEncoder` writes it to a file of its own.

    Raises:
        ConfigError: decay is not between 0 and 1.
        CheckpointError: a run that had no average, or one of other weights, is resumed with one.
    """

    # Before the checkpoint is saved, and before a picture or a log can ask for it.
    priority = "ABOVE_NORMAL"

    def __init__(self, decay: float = 0.9999):
        if not 0 < decay < 1:
            raise ConfigError(f"WeightAverage with decay={decay!r}.", set="decay between 0 and 1")
        self.decay = decay
        self.average: dict[str, Tensor] | None = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take the average of the run that is resumed."""
        if not runner._resume:
            return
        average, weights = checkpoint.get(KEY), trained_parameters(bare_model(runner))
        shapes = {name: weight.shape for name, weight in weights.items()}
        if average is None or {name: value.shape for name, value in average.items()} != shapes:
            raise CheckpointError(
                f"{runner._load_from} holds no average of this model's weights to go on with.",
                do="resume without WeightAverage in custom_hooks, or start anew with it",
            )
        self.average = {name: value.clone() for name, value in average.items()}

    def before_train(self, runner) -> None:
        """Start from the initial weights, or bring a resumed average to the device."""
        weights = trained_parameters(bare_model(runner))
        start = self.average or {name: weight.detach() for name, weight in weights.items()}
        self.average = {
            name: start[name].to(weight.device, copy=True) for name, weight in weights.items()
        }

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Average; an iteration is one optimiser step, however many parts its batch has."""
        step = runner.iter + 1
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = trained_parameters(bare_model(runner))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.values()), [weights[name] for name in self.average], 1 - decay
            )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Put the average beside the weights."""
        checkpoint[KEY] = {name: value.cpu() for name, value in self.average.items()}

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """The model with averaged weights; on leaving it has its own back, bit for bit."""
        weights = trained_parameters(model)
        own = {name: weight.detach().clone() for name, weight in weights.items()}
        try:
            copy_weights(weights, self.average)
            yield
        finally:
            copy_weights(weights, own)


def find_average(runner) -> WeightAverage | None:
    """The runner's `WeightAverage`, once it has started; None if there is none."""
    for hook in runner.hooks:
        if isinstance(hook, WeightAverage) and hook.average is not None:
            return hook
    return None


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are trained, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def copy_weights(into: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    """Copy values into parameters, by name."""
    for name, parameter in into.items():
        parameter.copy_(values[name])
