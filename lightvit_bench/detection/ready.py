"""Detectors made ready to run: mixed precision that leaves boxes alone, and a CPU's layout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

HALVES = (torch.float16, torch.bfloat16)


def prepare_detector(model: nn.Module, *, distributed: bool = False) -> None:
    """Keep boxes in float32; on a CPU, put the channels of convolutions last.

    Pooled regions come with their channels first, in which a CPU's convolutions are slower, in
    bfloat16 several times. Not where processes share gradients, whose buckets know one layout.
    """
    keep_boxes_in_float32(model)
    if not distributed and next(model.parameters()).device.type == "cpu":
        model.to(memory_format=torch.channels_last)


def keep_boxes_in_float32(model: nn.Module) -> None:
    """Let a detector of mmdetection compute boxes in float32, whatever autocast does.

    mmdetection makes anchors, proposals and regions in the type of the maps. In bfloat16, with its
    8 bits, a region at 600 px then lies on a raster of 4 px, and a small object is not where it
    is; in float16 beyond 512 px on one of half a pixel. (mmcv's NMS and RoIAlign have no bfloat16
    at all.) Here whatever a head predicts becomes float32 as it leaves the head, and so do the
    maps that regions are pooled from. Convolutions stay in the type of autocast.
    """
    for module in model.modules():
        if hasattr(module, "predict_by_feat"):
            module.register_forward_hook(_widen_output)
        if hasattr(module, "roi_layers"):
            module.register_forward_pre_hook(_widen_input)


def _widen_output(module: nn.Module, inputs: Any, output: Any) -> Any:
    return _widened(output)


def _widen_input(module: nn.Module, inputs: tuple) -> tuple:
    return _widened(inputs)


def _widened(value: Any) -> Any:
    """Tensors of half precision in nested tuples and lists as float32."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in HALVES else value
    if isinstance(value, tuple | list):
        return type(value)(_widened(one) for one in value)
    return value
