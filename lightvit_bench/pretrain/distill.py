"""Distillation losses: attention maps (D-MAE, D²-MAE), hidden states, and relations (TinyMIM)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lightvit_bench.errors import ConfigError
from lightvit_bench.pretrain.taps import Taps, Wanted

Pairs = Sequence[tuple[int, int]]  # (student's block, teacher's block), both from 1
KINDS = ("attention", "hidden", "relation")


class Distillation(nn.Module):
    """The losses of a student's taps against a teacher's, and the adapters between them.

    Args:
        student, teacher: models that tell `depth`, `heads_of(block)` and `width_of(block)`.
        attention: pairs of blocks whose attention logits are compared, before the softmax and
            CLS token included, through a 1 x 1 convolution over heads (MAE-Lite's code; its paper
            says attention maps).
        hidden: pairs whose inputs, behind the block's first norm, are compared through a linear
            layer (optional in MAE-Lite's code).
        relation: pairs whose query-key and value-value relations are compared (TinyMIM, Ren et
            al. 2023, section 3.2), in as many heads as the teacher has.
        attention_weight, hidden_weight, relation_weight: factors of the losses.

    Raises:
        ConfigError: a block that one of the two has not, nothing to distil, or a student's width
            that the teacher's heads do not divide.
    """

    def __init__(
        self,
        student,
        teacher,
        *,
        attention: Pairs = (),
        hidden: Pairs = (),
        relation: Pairs = (),
        attention_weight: float = 1.0,
        hidden_weight: float = 1.0,
        relation_weight: float = 1.0,
    ):
        super().__init__()
        pairs = zip(KINDS, (attention, hidden, relation), strict=True)
        self.pairs = {kind: checked_pairs(kind, given) for kind, given in pairs}
        self.weights = {
            "attention": attention_weight, "hidden": hidden_weight, "relation": relation_weight,
        }  # fmt: skip
        if not any(self.pairs.values()):
            raise ConfigError(
                "there is a teacher, and nothing to learn from it.",
                set="model.distill.attention=[(12,12)] (or hidden, or relation)",
            )
        self.of_student, self.of_teacher = self._wanted(0), self._wanted(1)
        self.of_student.check(student.depth, "student")
        self.of_teacher.check(teacher.depth, "teacher")
        # torch's own start, as the authors leave it. Names as in their files, but for the number
        # of the student's block, which there counts from 0.
        self.attention_adapters = nn.ModuleDict(
            {
                _name(s, t): nn.Conv2d(student.heads_of(s), teacher.heads_of(t), 1, bias=False)
                for s, t in self.pairs["attention"]
            }
        )
        self.hidden_adapters = nn.ModuleDict(
            {
                _name(s, t): nn.Linear(student.width_of(s), teacher.width_of(t))
                for s, t in self.pairs["hidden"]
            }
        )
        for s, t in self.pairs["relation"]:
            if student.width_of(s) % teacher.heads_of(t):
                raise ConfigError(
                    f"the student's width {student.width_of(s)} cannot be cut into the teacher's "
                    f"{teacher.heads_of(t)} heads, as relations need it.",
                    set="another student or teacher preset, or model.distill.attention",
                )

    def _wanted(self, side: int) -> Wanted:
        blocks = {
            kind: tuple(sorted({pair[side] for pair in pairs}))
            for kind, pairs in self.pairs.items()
        }
        return Wanted(blocks["attention"], blocks["hidden"], blocks["relation"])

    def forward(self, student: Taps, teacher: Taps) -> dict[str, Tensor]:
        """The weighted losses by name, each summed over its pairs."""
        parts = {
            "loss_attention": (
                self.weights["attention"],
                [
                    attention_loss(
                        student.logits[s], teacher.logits[t], self.attention_adapters[_name(s, t)]
                    )
                    for s, t in self.pairs["attention"]
                ],
            ),
            "loss_hidden": (
                self.weights["hidden"],
                [
                    F.mse_loss(
                        self.hidden_adapters[_name(s, t)](student.hidden[s]).float(),
                        teacher.hidden[t].float(),
                    )
                    for s, t in self.pairs["hidden"]
                ],
            ),
            "loss_relation": (
                self.weights["relation"],
                [
                    relation_loss(student.relations[s], teacher.relations[t])
                    for s, t in self.pairs["relation"]
                ],
            ),
        }
        return {name: weight * sum(losses) for name, (weight, losses) in parts.items() if losses}


def attention_loss(student: Tensor, teacher: Tensor, adapter: nn.Module) -> Tensor:
    """Mean squared error of adapted logits (B, heads_s, L, L) to a teacher's (B, heads_t, L, L)."""
    return F.mse_loss(adapter(student).float(), teacher.float())


def relation_loss(
    student: tuple[Tensor, Tensor, Tensor], teacher: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """TinyMIM's loss: KL(teacher || student) of the QK and the VV relations, summed.

    Queries, keys and values are (B, heads, L, D / heads). A relation is softmax(a b^T / sqrt(d))
    over all tokens; the divergence is summed over a row and averaged over rows, heads and images.
    """
    heads = teacher[0].shape[1]
    (sq, sk, sv), (tq, tk, tv) = ([_in_heads(x, heads) for x in student], teacher)
    return _divergence(sq, sk, tq, tk) + _divergence(sv, sv, tv, tv)


def _divergence(sa: Tensor, sb: Tensor, ta: Tensor, tb: Tensor) -> Tensor:
    log_p = _relation(sa, sb).log_softmax(dim=-1)
    log_q = _relation(ta, tb).log_softmax(dim=-1)
    return F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(-1).mean()


def _relation(a: Tensor, b: Tensor) -> Tensor:
    return ((a * a.shape[-1] ** -0.5) @ b.transpose(-2, -1)).float()


def _in_heads(x: Tensor, heads: int) -> Tensor:
    """The same channels in another number of heads: (B, h, L, d) -> (B, heads, L, h*d/heads)."""
    batch, own, length, width = x.shape
    if own == heads:
        return x
    joined = x.transpose(1, 2).reshape(batch, length, own * width)
    return joined.reshape(batch, length, heads, -1).transpose(1, 2)


def _name(student: int, teacher: int) -> str:
    return f"{student}_from_{teacher}"


def checked_pairs(
    kind: str, pairs: Pairs, depths: tuple[int, int] = (0, 0)
) -> tuple[tuple[int, int], ...]:
    """Pairs as a config gives them, lists or tuples of two numbers.

    Negative ones count from the end of the student and the teacher, whose `depths` these are.

    Raises:
        ConfigError: they are not that, or a pair comes twice.
    """
    try:
        checked = tuple(
            tuple(
                int(block) + (depth + 1 if int(block) < 0 else 0)
                for block, depth in zip(pair, depths, strict=True)
            )
            for pair in pairs
        )
    except (TypeError, ValueError):
        raise ConfigError(
            f"model.distill.{kind}={pairs!r} is not a list of pairs of blocks.",
            example="[(12, 12)]: the student's 12th block learns from the teacher's 12th",
        ) from None
    if len(set(checked)) != len(checked):
        raise ConfigError(f"model.distill.{kind} names a pair twice: {checked}.")
    return checked
