"""The model of a run, without what distributed training puts around it."""

from __future__ import annotations

from mmengine.model import is_model_wrapper
from torch import nn


def bare_model(runner) -> nn.Module:
    """The runner's model itself: parameters have the names that they have on one device."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
