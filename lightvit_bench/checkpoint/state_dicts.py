"""Published state dicts, taken apart: where the encoder is, what belongs to it, what does not.

The numbered rules are the nine loader rules for MAE-Lite's checkpoints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from lightvit_bench.errors import CheckpointError
from lightvit_bench.vit.blocks import RelativePosition
from lightvit_bench.vit.position import square_grid
from lightvit_bench.vit.presets import HieraPreset, ViTPreset

TOP_KEYS = ("model", "model_state", "state_dict", "net")  # rule 7
# Rule 1: longest first, and only at the start of a name.
ENCODER_PREFIXES = (
    "module.base_encoder.", "module.model.", "base_encoder.", "module.", "model.", "",
)  # fmt: skip
# Rule 2: what must never reach the encoder.
FOREIGN = {
    "tch_model.": "teacher of the distillation",
    "momentum_encoder.": "momentum encoder of the contrastive pre-training",
    "attn_adapter.": "adapter of the distillation",
    "predictor.": "predictor of the contrastive loss",
}
STEM = "patch_embed.proj.weight"

COMMON_BLOCK_PARTS = {
    f"{part}.{kind}"
    for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    for kind in ("weight", "bias")
}
COMMON_STEM_PARTS = {"pos_embed", STEM, "patch_embed.proj.bias"}
# kind of encoder -> names outside the blocks, names in a block
PARTS = {
    ViTPreset: (
        COMMON_STEM_PARTS | {"cls_token", "norm.weight", "norm.bias"},
        COMMON_BLOCK_PARTS
        | {"ls1.gamma", "ls2.gamma", "attn.rel_pos.relative_position_bias_table"},
    ),
    HieraPreset: (COMMON_STEM_PARTS, COMMON_BLOCK_PARTS | {"proj.weight", "proj.bias"}),
}
RENAMED = {
    "gamma_1": "ls1.gamma",
    "gamma_2": "ls2.gamma",
    "attn.relative_position_bias_table": "attn.rel_pos.relative_position_bias_table",
}


class HeadCountWarning(UserWarning):
    """The head count is somebody's word: neither the tensors nor a manifest tell it."""


def merge_qkv_bias(q_bias: Tensor, v_bias: Tensor) -> Tensor:
    """BEiT's q and v biases (D,) as one qkv bias (3 D,) with a zero k bias (rule 5). Exact."""
    return torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])


def split_qkv_bias(qkv_bias: Tensor, *, drop_key_bias: bool = False) -> tuple[Tensor, Tensor]:
    """A qkv bias (3 D,) as BEiT's q and v biases (rule 5).

    BEiT has no k bias b. It adds q·b to all logits of a query alike: the softmax, and so the
    output, is the same without it up to rounding, the logits themselves are not. Hence a k bias
    other than zero is dropped only on demand.

    Raises:
        CheckpointError: the k bias is not zero and `drop_key_bias` is not set.
    """
    q_bias, k_bias, v_bias = qkv_bias.chunk(3)
    if k_bias.any() and not drop_key_bias:
        raise CheckpointError(
            "the bias of the keys is not zero, and separate q and v biases cannot hold it.",
            do="drop_key_bias=True drops it: equal output, other attention logits",
        )
    return q_bias.clone(), v_bias.clone()


def unwrap(content: Any) -> tuple[dict[str, Tensor], str, list[str]]:
    """The state dict in a loaded file, the top key it was under, the other top keys (rule 7)."""
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"the file holds no state dict but a {type(content).__name__}.",
            do="save a dict of tensors: torch.save(model.state_dict(), ...)",
        )
    for top in TOP_KEYS:
        if isinstance(content.get(top), Mapping):
            state, others = content[top], [str(key) for key in content if key != top]
            break
    else:
        top, state, others = "", content, []
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(
            "the file holds no tensors where a state dict is looked for.",
            looked_under=", ".join(TOP_KEYS) + ", and at the top",
            found=", ".join(str(key) for key in list(content)[:10]) or "nothing",
        )
    return tensors, top, others


def kind_of(stem: Tensor) -> type[ViTPreset | HieraPreset]:
    """The kind of encoder that a patch embedding (D, 3, p, p) belongs to.

    Hiera's patches overlap: 7 x 7 pixels at a stride of 4.
    """
    return HieraPreset if stem.shape[-1] == 7 else ViTPreset


def encoder_prefix(names: Mapping[str, Any] | set[str]) -> str | None:
    """The prefix under which an encoder's stem is, None if there is none (rule 1)."""
    return next((prefix for prefix in ENCODER_PREFIXES if prefix + STEM in names), None)


@dataclass
class Draft:
    """A source's tensors on their way into an encoder.

    Every tensor ends in one place: `encoder`, `extra`, or `dropped` with a reason. `finish` raises
    for what is left, so that nothing is lost unnoticed (rule 8).
    """

    left: dict[str, Tensor]
    prefix: str
    top_key: str
    dropped: dict[str, list[str]] = field(default_factory=dict)
    extra: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    encoder: dict[str, Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, content: Any, drop: tuple[str, ...] = ()) -> Draft:
        """Find the encoder in a loaded file; foreign parts are dropped at once (rules 1, 2, 7)."""
        tensors, top_key, others = unwrap(content)
        prefix = encoder_prefix(tensors)
        if prefix is None:
            raise CheckpointError(
                "no vision transformer is in the file.",
                looked_for=f"[{' | '.join(p or '(bare)' for p in ENCODER_PREFIXES)}]{STEM}",
                found=", ".join(list(tensors)[:5]) + (", ..." if len(tensors) > 5 else ""),
            )
        draft = cls({}, prefix, top_key)
        for name in others:
            draft._drop(name, "state of the training run")
        for name, tensor in tensors.items():
            reason = foreign(name)
            if reason is not None:
                draft._drop(name, reason)
            elif not name.startswith(prefix):
                draft._drop(name, f"outside the encoder's prefix {prefix!r}")
            elif drop and name[len(prefix) :].startswith(drop):
                draft._drop(name, "dropped on demand")
            else:
                draft.left[name[len(prefix) :]] = tensor
        return draft

    def _drop(self, name: str, reason: str) -> None:
        self.dropped.setdefault(reason, []).append(name)

    def has(self, *starts: str) -> bool:
        """Whether some name begins with one of `starts`."""
        return any(name.startswith(starts) for name in self.left)

    def has_dropped(self, start: str) -> bool:
        """Whether a foreign part of that kind was in the file."""
        return FOREIGN[start] in self.dropped

    def drop(self, reason: str, *starts: str) -> None:
        """Drop what begins with one of `starts`."""
        for name in [name for name in self.left if name.startswith(starts)]:
            del self.left[name]
            self._drop(self.prefix + name, reason)

    def keep_aside(self, group: str, start: str) -> None:
        """Keep what begins with `start` as a group beside the encoder."""
        for name in [name for name in self.left if name.startswith(start)]:
            self.extra.setdefault(group, {})[name[len(start) :]] = self.left.pop(name)

    @property
    def width(self) -> int:
        """Channels of a token, from the patch embedding (D, 3, p, p)."""
        return self.left[STEM].shape[0]

    @property
    def kind(self) -> type[ViTPreset | HieraPreset]:
        """Whether the encoder is a plain ViT or a Hiera."""
        return kind_of(self.left[STEM])

    @property
    def stages(self) -> tuple[int, ...]:
        """Blocks of each stage of a Hiera: every stage but the first begins with a `proj`."""
        numbered = [re.match(r"blocks\.(\d+)\.(proj\.weight)?", name) for name in self.left]
        blocks = {int(match[1]) for match in numbered if match}
        starts = sorted({int(match[1]) for match in numbered if match and match[2]})
        bounds = [0, *starts, max(blocks, default=-1) + 1]
        return tuple(end - start for start, end in pairwise(bounds))

    def finish(self, preset: ViTPreset | HieraPreset) -> None:
        """Move what is left into the encoder under our names; raise for what has no place there.

        Raises:
            CheckpointError: tensors that the encoder has no place for, blocks beyond its depth,
                half a pair of q and v biases, or a relative position index unlike ours.
        """
        self._merge_biases()
        self._check_indices()
        unknown = []
        for name in list(self.left):
            target = encoder_name(name, preset)
            if target is None:
                unknown.append(name)
            else:
                self.encoder[target] = self.left.pop(name).float()
        if unknown:
            raise CheckpointError(
                f"{len(unknown)} tensors of the file have no place in a {preset.name}.",
                unexpected=unknown[:20] + ["..."] * (len(unknown) > 20),
                do="another --from may know them; --drop NAME leaves them out on purpose",
            )

    def _merge_biases(self) -> None:
        """attn.q_bias and attn.v_bias -> attn.qkv.bias (rule 5)."""
        for q_name in [name for name in self.left if name.endswith("attn.q_bias")]:
            stem = q_name.removesuffix("q_bias")
            if stem + "qkv.bias" in self.left or stem + "v_bias" not in self.left:
                raise CheckpointError(
                    "biases of one attention contradict each other.",
                    found=[name for name in self.left if name.startswith(stem) and "bias" in name],
                )
            pair = self.left.pop(q_name), self.left.pop(stem + "v_bias")
            self.left[stem + "qkv.bias"] = merge_qkv_bias(*pair)

    def _check_indices(self) -> None:
        """Drop the relative position indices, which our encoder computes (rule 5), if equal."""
        names = [name for name in self.left if name.endswith("attn.relative_position_index")]
        if names:
            side = square_grid(len(self.left[names[0]]) - 1)
            ours = RelativePosition(side, 1, prefix_tokens=1).relative_position_index
            for name in names:
                if not torch.equal(self.left[name].flatten(), ours):
                    raise CheckpointError(
                        "the file counts relative positions in another order than BEiT does.",
                        found=name,
                    )
        self.drop("index, recomputed by the encoder", *names)


def foreign(name: str) -> str | None:
    """Why a tensor is no part of the encoder, None if it may be one (rule 2)."""
    name = name.removeprefix("module.")
    return next((reason for start, reason in FOREIGN.items() if name.startswith(start)), None)


def encoder_name(name: str, preset: ViTPreset | HieraPreset) -> str | None:
    """Our encoder's name for a published one, None if it has no such tensor."""
    stem_parts, block_parts = PARTS[type(preset)]
    if name in stem_parts:
        return name
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    if match is None or int(match[1]) >= preset.depth:
        return None
    part = RENAMED.get(match[2], match[2])
    return f"blocks.{match[1]}.{part}" if part in block_parts else None
