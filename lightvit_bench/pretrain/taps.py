"""What a distillation reads off an encoder, computed with no more work than it needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from lightvit_bench.errors import ConfigError
from lightvit_bench.vit import VisionTransformer


@dataclass(frozen=True)
class Wanted:
    """Blocks to tap, counted from 1 as the papers do.

    Attributes:
        logits: attention logits before the softmax, CLS token included.
        hidden: inputs of the blocks behind their first norm.
        relations: queries, keys and values.
    """

    logits: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    relations: tuple[int, ...] = ()

    @property
    def last(self) -> int:
        """The last block tapped, 0 if none is."""
        return max((*self.logits, *self.hidden, *self.relations), default=0)

    def check(self, depth: int, whose: str) -> None:
        """Raise `ConfigError` for a block that an encoder of this depth has not."""
        for kind in ("logits", "hidden", "relations"):
            for block in getattr(self, kind):
                if not 1 <= block <= depth:
                    raise ConfigError(
                        f"the distillation reads block {block} of the {whose}, which has {depth}.",
                        set="model.distill, pairs of (student's block, teacher's block) from 1",
                    )


@dataclass
class Taps:
    """What was read, by block from 1.

    Attributes:
        logits: (B, heads, L, L).
        hidden: (B, L, D).
        relations: queries, keys, values, each (B, heads, L, D / heads).
    """

    logits: dict[int, Tensor] = field(default_factory=dict)
    hidden: dict[int, Tensor] = field(default_factory=dict)
    relations: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)


def tap_blocks(
    encoder: VisionTransformer,
    tokens: Tensor,
    wanted: Wanted,
    *,
    start: int = 0,
    stop: int | None = None,
    cut: bool = False,
    grid: tuple[int, int] | None = None,
) -> tuple[Tensor, Taps]:
    """Run blocks on tokens (B, L, D) and read what is wanted of them; returns tokens and taps.

    `start` counts from 0, `stop` is exclusive. With `cut` the last of these blocks is run only as
    far as its taps need, and the tokens are those in front of it: a teacher's last block neither
    attends nor feeds. `grid` is needed where the blocks have relative positions.
    """
    taps = Taps()
    stop = len(encoder.blocks) if stop is None else stop
    pauses = {block - 1 for block in (*wanted.hidden, *wanted.relations)}  # in front of these
    pauses = sorted(i for i in pauses if start <= i < stop)
    run_to = stop - 1 if cut else stop
    for i in (*pauses, run_to):
        run = encoder.run_blocks(
            tokens, grid=grid, start=start, stop=i, logits_of=_from_zero(wanted)
        )
        tokens, start = run.tokens, max(start, i)
        taps.logits.update({k + 1: logits for k, logits in run.logits.items()})
        if i in pauses:
            normed = encoder.blocks[i].norm1(tokens)
            if i + 1 in wanted.hidden:
                taps.hidden[i + 1] = normed
            if i + 1 in wanted.relations:
                taps.relations[i + 1] = encoder.blocks[i].attn.queries_keys_values(normed)
    if cut and stop in wanted.logits:
        taps.logits[stop] = encoder.blocks[stop - 1].attention_logits(tokens, grid)
    return tokens, taps


def freeze_behind(encoder: VisionTransformer, wanted: Wanted) -> None:
    """Freeze what gets no gradient when the last tap is the last use of an encoder.

    That is what its block does not need for the tap, and the blocks behind it.
    """
    block = encoder.blocks[wanted.last - 1]
    needed = [block.norm1]
    if wanted.last in (*wanted.logits, *wanted.relations):
        needed.append(block.attn.qkv)
    if wanted.last in wanted.logits and block.attn.rel_pos is not None:
        needed.append(block.attn.rel_pos)
    kept = {id(parameter) for module in needed for parameter in module.parameters()}
    for module in encoder.blocks[wanted.last - 1 :]:
        for parameter in module.parameters():
            parameter.requires_grad_(id(parameter) in kept)


def _from_zero(wanted: Wanted) -> tuple[int, ...]:
    return tuple(block - 1 for block in wanted.logits)
