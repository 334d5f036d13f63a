"""Output statistics of an encoder on a fixed image: do these weights still compute the same thing?

Shapes cannot tell a 3-head from a 12-head ViT-Tiny, or a file whose blocks were swapped; what the
encoder computes can. Stored at saving, checked at every load.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from lightvit_bench.vit import Encoder, Hiera

TOLERANCE = 1e-3  # relative to the spread of the values; another BLAS differs by about 1e-5
ENTRIES = 8


@dataclass(frozen=True)
class TensorSummary:
    """A tensor in a few numbers: mean, std, l2 and the entries `v` at the flat positions `at`."""

    mean: float
    std: float
    l2: float
    at: tuple[int, ...]
    v: tuple[float, ...]


@dataclass(frozen=True)
class Fingerprint:
    """Summaries of the last block's tokens, and of the final norm's output where there is one.

    A Hiera's tokens are those of its downstream form, whatever the `q_pool` of the one at hand.
    """

    tokens: TensorSummary
    normed: TensorSummary | None


def fixed_image(height: int, width: int) -> Tensor:
    """An image (1, 3, height, width) in [-2, 2), from integers alone: the same on any machine.

    Cells of 4 x 4 pixels, each of a pseudo-random colour (a multiplicative hash of its place).
    """
    channel = torch.arange(3).view(3, 1, 1)
    row = torch.arange(height).view(1, -1, 1) // 4
    column = torch.arange(width).view(1, 1, -1) // 4
    value = (channel * 7919 + row * 104729 + column * 1299709 + 1) & 0xFFFFFFFF
    for factor in (0x45D9F3B, 0x119DE1F3):  # 32-bit arithmetic in int64: nothing overflows
        value = (((value >> 16) ^ value) * factor) & 0xFFFFFFFF
    return ((value >> 8).to(torch.float32) / 2**22 - 2)[None]


def summarise(tensor: Tensor) -> TensorSummary:
    """Summary of a tensor of any shape, in float64."""
    flat = tensor.detach().double().flatten()
    at = [(len(flat) - 1) * i // (ENTRIES - 1) for i in range(ENTRIES)]
    return TensorSummary(
        mean=flat.mean().item(),
        std=flat.std(correction=0).item(),
        l2=flat.norm().item(),
        at=tuple(at),
        v=tuple(flat[at].tolist()),
    )


@torch.no_grad()
def fingerprint(encoder: Encoder) -> Fingerprint:
    """Run the encoder on the fixed image, of the size its position table is made for.

    Float32 on the CPU, in eval mode, on a copy: the encoder given is left as it is, and so is
    torch's random state.
    """
    encoder = copy.deepcopy(encoder).float().cpu().eval()
    image = fixed_image(*(side * encoder.preset.patch for side in encoder.grid))
    with exact_float32():
        if isinstance(encoder, Hiera):
            encoder.set_q_pool(encoder.preset.q_pool)
            return Fingerprint(summarise(encoder(image)), None)
        tokens = encoder.with_cls(encoder.patchify(image))
        tokens = encoder.run_blocks(tokens, grid=encoder.grid).tokens
        normed = encoder.norm(tokens)
    has_norm = not isinstance(encoder.norm, torch.nn.Identity)
    return Fingerprint(summarise(tokens), summarise(normed) if has_norm else None)


@contextmanager
def exact_float32() -> Iterator[None]:
    """No autocast and no reduced-precision products, whatever the program has chosen."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast("cpu", enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def compare(
    expected: Fingerprint, measured: Fingerprint, tolerance: float = TOLERANCE
) -> list[str]:
    """The differences beyond the tolerance, each as a readable line; empty if there are none."""
    lines = summary_differences("tokens", expected.tokens, measured.tokens, tolerance)
    if expected.normed is not None and measured.normed is not None:
        return lines + summary_differences("normed", expected.normed, measured.normed, tolerance)
    if expected.normed is not measured.normed:
        lines.append("normed: one of the two has no final norm")
    return lines


def summary_differences(
    name: str, expected: TensorSummary, measured: TensorSummary, tolerance: float = TOLERANCE
) -> list[str]:
    """The differences between two summaries of a tensor called `name`, as in `compare`."""
    if expected.at != measured.at:
        return [f"{name}: of another size"]
    pairs = [
        ("mean", expected.mean, measured.mean, expected.std),
        ("std", expected.std, measured.std, expected.std),
        ("l2", expected.l2, measured.l2, expected.l2),
    ]
    entries = zip(expected.at, expected.v, measured.v, strict=True)
    pairs += [(f"entry {at}", a, b, expected.std) for at, a, b in entries]
    return [
        f"{name} {what}: {b:.5g} instead of {a:.5g}"
        for what, a, b, scale in pairs
        if not abs(a - b) <= tolerance * scale  # true for NaN as well
    ]
