"""timm's transformer block, taught relative positions and to show its attention logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Attention as TimmAttention
from timm.layers import RelPosBias, resize_rel_pos_bias_table
from timm.layers.pos_embed_rel import gen_relative_position_index
from timm.models.vision_transformer import Block as TimmBlock
from torch import Tensor, nn

from lightvit_bench.vit.decomposed import DecomposedRelativePosition
from lightvit_bench.vit.windows import into_windows, out_of_windows, window_within


class RelativePosition(RelPosBias):
    """BEiT's relative position bias: a table over (row, column) offsets, plus three CLS entries.

    Zero start, as in BEiT and MAE-Lite's fine-tuning (timm's own start is random).
    """

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.relative_position_bias_table.data.zero_()

    def for_grid(self, grid: tuple[int, int]) -> Tensor:
        """The bias (1, heads, L, L) for a token grid; another than the table's own is resampled."""
        if tuple(grid) == tuple(self.window_size):
            return self.get_bias()
        distances = (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3 * self.prefix_tokens
        heads = self.relative_position_bias_table.shape[1]
        table = resize_rel_pos_bias_table(
            self.relative_position_bias_table,
            new_window_size=grid,
            new_bias_shape=(distances, heads),
            old_window_size=self.window_size,
        )
        index = gen_relative_position_index(
            grid, class_token=self.prefix_tokens > 0, device=table.device
        )
        return table[index.view(-1)].view(*index.shape, heads).permute(2, 0, 1)[None]


class Attention(TimmAttention):
    """Multi-head self-attention that can return its logits.

    Without a request for logits the fused `scaled_dot_product_attention` runs; with one, this
    block alone computes softmax(logits) @ v by hand, at the cost of one L x L matrix per head.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.rel_pos: RelativePosition | DecomposedRelativePosition | None = None

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project tokens (B, L, D) to three (B, heads, L, head_dim)."""
        batch, length, _ = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.num_heads, self.head_dim)
        return qkv.permute(2, 0, 3, 1, 4).unbind(0)

    def logits(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        """q k^T / sqrt(head_dim) (+ bias), before the softmax: (B, heads, L, L)."""
        logits = (q * self.scale) @ k.transpose(-2, -1)
        return logits if bias is None else logits + bias

    def logits_alone(
        self, x: Tensor, bias: Tensor | None = None, grid: tuple[int, int] | None = None
    ) -> Tensor:
        """The logits that `forward` would compute from tokens (B, L, D), without the values."""
        batch, length, width = x.shape
        weight, offset = self.qkv.weight[: 2 * width], self.qkv.bias
        qk = F.linear(x, weight, None if offset is None else offset[: 2 * width])
        qk = qk.reshape(batch, length, 2, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        return self.logits(*self._with_positions(*qk.unbind(0), grid), bias)

    def forward(
        self,
        x: Tensor,
        bias: Tensor | None = None,
        want_logits: bool | slice = False,
        grid: tuple[int, int] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend. Returns the tokens (B, L, D) and the logits, None unless asked for.

        `grid` is needed with decomposed relative positions alone. Of the logits, a slice asks for
        the rows of these queries alone, (B, heads, rows, L); the fused attention then runs as
        without.
        """
        q, k, v = self.queries_keys_values(x)
        q, k = self._with_positions(q, k, grid)
        if bias is not None:
            bias = bias.to(q.dtype)  # fused attention wants one dtype, also under autocast
        rows = want_logits if isinstance(want_logits, slice) else None
        if want_logits is True or _fused_is_slow(q):
            logits = self.logits(q, k, bias)
            x = logits.softmax(dim=-1) @ v
            logits = logits if rows is None else logits[:, :, rows]
        else:
            x = self._fused(q, k, v, bias)
            if rows is not None:
                of_rows = None if bias is None else bias[:, :, rows]
                logits = self.logits(q[:, :, rows], k, of_rows)
        return self.proj(x.transpose(1, 2).flatten(2)), logits if want_logits else None

    def _with_positions(
        self, q: Tensor, k: Tensor, grid: tuple[int, int] | None
    ) -> tuple[Tensor, Tensor]:
        """Queries and keys with decomposed relative positions in them, where there are any."""
        if not isinstance(self.rel_pos, DecomposedRelativePosition):
            return q, k
        return self.rel_pos.fold(q, k, self.scale, _needed(grid))

    def _fused(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        """softmax(logits) @ v; the fast kernels want values as wide as queries and keys."""
        wider = q.shape[-1] - v.shape[-1]
        if not wider:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = F.scaled_dot_product_attention(
            q, k, F.pad(v, (0, wider)), attn_mask=bias, scale=self.scale
        )
        return x[..., : v.shape[-1]]


def _needed(grid: tuple[int, int] | None) -> tuple[int, int]:
    if grid is None:
        raise ValueError(
            "relative positions need the full grid of tokens: pass grid=(rows, columns)"
        )
    return grid


def _fused_is_slow(q: Tensor) -> bool:
    """Whether attention by hand is faster than the fused one for queries (B, heads, L, d).

    It is where a CPU trains in bfloat16: the fused backward pass has no fast kernel for it there
    (torch 2.13, two AMX cores, batch 32: 34 ms at L = 50 and 23 ms at 197, by hand 3.4 and 7.4).
    Long sequences stay fused, for the memory.
    """
    trains = torch.is_grad_enabled() and q.requires_grad
    return trains and q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[-2] <= 512


class LogitsBlock(nn.Module):
    """The part of a block that its attention logits need: `norm1` and `attn.qkv`.

    D²-MAE's student ends with one (MAE-Lite keeps the rows for the values, too, which nothing
    reads; so do we, for its files to fit).
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, num_heads=heads, qkv_bias=True)
        del self.attn.proj
        nn.init.xavier_uniform_(self.attn.qkv.weight)
        nn.init.zeros_(self.attn.qkv.bias)


class Block(TimmBlock):
    """Pre-norm transformer block: `attend`, then `feed`, each with its residual.

    The two halves are methods of their own so that a caller may work on the tokens between them
    (candidate elimination in a tracker).

    Args:
        rel_pos: a table of relative positions, or None.
        window: side in tokens of the windows that attention stays within; None for the whole grid.
            There is then no token besides the grid's.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        rel_pos: RelativePosition | DecomposedRelativePosition | None = None,
        window: int | None = None,
        **kwargs,
    ):
        super().__init__(width, heads, qkv_bias=True, attn_layer=Attention, **kwargs)
        self.attn.rel_pos = rel_pos
        self.window = window

    def attend(
        self,
        x: Tensor,
        grid: tuple[int, int] | None = None,
        want_logits: bool | slice = False,
    ) -> tuple[Tensor, Tensor | None]:
        """x + attention(norm(x)), and the logits asked for: all, or the rows of some queries.

        `grid` is needed where the block has relative positions or windows. Raises `ValueError` for
        logits of a block whose windows are smaller than the grid: it has none between all tokens.
        """
        normed = self.norm1(x)
        if not self._cuts(grid):
            attended, logits = self.attn(normed, self._bias(grid), want_logits, grid)
        elif want_logits is not False:
            raise self._no_logits()
        else:
            sides = window_within(grid, self.window)
            windows = into_windows(normed, grid, sides)
            attended, logits = self.attn(windows, self._bias(sides), grid=sides)
            attended = out_of_windows(attended, grid, sides)
        return x + self.drop_path1(self.ls1(attended)), logits

    def attention_logits(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """The logits of `attend` for tokens (B, L, D), and nothing else of the block."""
        if self._cuts(grid):
            raise self._no_logits()
        return self.attn.logits_alone(self.norm1(x), self._bias(grid), grid)

    def _cuts(self, grid: tuple[int, int] | None) -> bool:
        """Whether attention is within windows smaller than the grid."""
        if self.window is None:
            return False
        return window_within(_needed(grid), self.window) != tuple(grid)

    def _no_logits(self) -> ValueError:
        return ValueError(f"attention in windows of {self.window} tokens has no logits to show")

    def _bias(self, grid: tuple[int, int] | None) -> Tensor | None:
        """The bias (1, heads, L, L) of BEiT's positions; others are in queries and keys."""
        if self.attn.rel_pos is None or isinstance(self.attn.rel_pos, DecomposedRelativePosition):
            return None
        return self.attn.rel_pos.for_grid(_needed(grid))

    def feed(self, x: Tensor) -> Tensor:
        """x + MLP(norm(x))."""
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))

    def forward(
        self, x: Tensor, grid: tuple[int, int] | None = None, want_logits: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, L, D) in and out, with the attention logits where asked for."""
        x, logits = self.attend(x, grid, want_logits)
        return self.feed(x), logits
