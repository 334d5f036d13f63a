"""Small exported trackers, each made once for all tests of a session, and what to ask them.

NAME.safetensors  the weights that the others hold
conv: elimination and the convolutional head; pruned: pruned with a prior, the head of tokens
NAME.xml  NAME.onnx  NAME-any.onnx (any number of targets at once)  NAME-3.onnx (three)
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lightvit_bench.tracking.answers import Settings
from lightvit_bench.tracking.exporting import write
from lightvit_bench.tracking.exporting.crops import FrameCrop
from lightvit_bench.tracking.files import load_tracker_model, save_tracker
from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker

SPECS = {
    "conv": dict(eliminate=(1,), keep=0.5, head_channels=16),
    "pruned": dict(eliminate=(), prune_after=1, keep=0.3, head="mlp"),
}
H, W = 120, 160
BOX = (60, 40, 30, 24)
SETTINGS = Settings(found_above=0.2, flat_below=3)
MEAN, STD = (0.45, 0.5, 0.4), (0.25, 0.2, 0.3)  # nobody's own


def tiny(tmp_path_factory, name: str) -> Path:
    """A file such as `conv-any.onnx`."""
    folder = tmp_path_factory.getbasetemp() / "tiny_export"
    path = folder / name
    if path.exists():
        return path
    folder.mkdir(exist_ok=True)
    kind, _, batch = path.stem.partition("-")
    if path.suffix == ".safetensors":
        about = dict(recipe=f"tiny {kind}", data="nothing", settings=SETTINGS)
        save_tracker(path, network(kind), **about, image_mean=MEAN, image_std=STD)
        return path
    weights = tiny(tmp_path_factory, f"{kind}.safetensors")
    with traced_once(kind):
        write.export_model(
            weights,
            path,
            crops(weights),
            format="onnx" if path.suffix == ".onnx" else "openvino",
            batch={"": 1, "any": 0, "3": 3}[batch],
        )
    return path


_traced = {}


@contextmanager
def traced_once(kind: str):
    """Have `export_model` trace a network of `SPECS` once: torch needs seconds for it."""
    real = write.onnx_parts

    def parts(*given):
        if kind not in _traced:
            _traced[kind] = real(*given)
        return _traced[kind]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "onnx_parts", parts)
        yield


def network(kind: str) -> OneStreamTracker:
    """Of width 32, with weights as uneven as trained ones."""
    torch.manual_seed(3)
    spec = NetworkSpec(preset="vit_test", template_size=32, search_size=64, **SPECS[kind])
    made = OneStreamTracker(spec).eval()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if "qkv.weight" in name or value.ndim == 1 or "pos" in name:
                value.add_(0.2 * torch.randn(value.shape, generator=generator))
        for one in made.modules():
            if isinstance(one, nn.BatchNorm2d):
                one.running_mean.normal_(0, 0.2, generator=generator)
                one.running_var.uniform_(0.5, 1.5, generator=generator)
        head = made.head
        lasts = (
            [(head.size[-1], -1.1), (head.offset[-1], 0.5)]
            if kind == "conv"
            else [(head.box[-1], torch.tensor([-1.1, -1.1, 0.5, 0.5]))]
        )
        for last, middle in lasts:  # boxes as large as the last one, so that they stay in the frame
            last.weight.mul_(0.3)
            last.bias.mul_(0.3).add_(middle)
    return made


def crops(weights: Path, count: int = 6) -> list[FrameCrop]:
    """Random questions, and PyTorch's answers."""
    model, rng = load_tracker_model(weights), np.random.default_rng(5)
    made = []
    for _ in range(count):
        template, search = (
            rng.integers(0, 256, (side // 4, side // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
            for side in (32, 64)
        )
        wh = tuple(rng.uniform(0.1, 0.5, 2))
        answer = model.find(model.embed(template), search, wh)
        made.append(FrameCrop(template, search, wh, 100.0, answer))
    return made


def video(frames: int = 12, seed: int = 6) -> list[np.ndarray]:
    """Frames (H, W, 3) that change: a drifting pattern with a rectangle that moves over it."""
    import cv2

    rng = np.random.default_rng(seed)
    wide = cv2.resize(rng.integers(0, 256, (12, 24, 3), np.uint8), (2 * W, H))
    made = []
    for i in range(frames):
        image = wide[:, 2 * i : 2 * i + W].copy()
        x, y, w, h = BOX[0] + i, BOX[1] + i // 2, BOX[2], BOX[3]
        image[y : y + h, x : x + w] = (250, 220, 30)
        image[y + 4 : y + h - 4 : 4, x : x + w] = (20, 30, 200)
        made.append(image)
    return made
