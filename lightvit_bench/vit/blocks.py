"""timm's transformer block, taught relative positions and to show its attention logits."""

from __future__ import annotations

import torch.nn.functional as F
from timm.layers import Attention as TimmAttention
from timm.layers import RelPosBias, resize_rel_pos_bias_table
from timm.layers.pos_embed_rel import gen_relative_position_index
from timm.models.vision_transformer import Block as TimmBlock
from torch import Tensor


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
        self.rel_pos: RelativePosition | None = None

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project tokens (B, L, D) to three (B, heads, L, head_dim)."""
        batch, length, _ = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.num_heads, self.head_dim)
        return qkv.permute(2, 0, 3, 1, 4).unbind(0)

    def logits(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        """q k^T / sqrt(head_dim) (+ bias), before the softmax: (B, heads, L, L)."""
        logits = (q * self.scale) @ k.transpose(-2, -1)
        return logits if bias is None else logits + bias

    def forward(
        self, x: Tensor, bias: Tensor | None = None, want_logits: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attend. Returns the tokens (B, L, D) and the logits, None unless asked for."""
        q, k, v = self.queries_keys_values(x)
        if bias is not None:
            bias = bias.to(q.dtype)  # fused attention wants one dtype, also under autocast
        logits = self.logits(q, k, bias) if want_logits else None
        if logits is None:
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            x = logits.softmax(dim=-1) @ v
        return self.proj(x.transpose(1, 2).flatten(2)), logits


class Block(TimmBlock):
    """Pre-norm transformer block: `attend`, then `feed`, each with its residual.

    The two halves are methods of their own so that a caller may work on the tokens between them
    (candidate elimination in a tracker) or around attention alone (windows in a detector).
    """

    def __init__(self, width: int, heads: int, *, rel_pos_grid=None, prefix_tokens=1, **kwargs):
        super().__init__(width, heads, qkv_bias=True, attn_layer=Attention, **kwargs)
        if rel_pos_grid is not None:
            self.attn.rel_pos = RelativePosition(rel_pos_grid, heads, prefix_tokens=prefix_tokens)

    def attend(
        self, x: Tensor, grid: tuple[int, int] | None = None, want_logits: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """x + attention(norm(x)). `grid` is needed where the block has relative positions."""
        bias = None
        if self.attn.rel_pos is not None:
            if grid is None:
                raise ValueError(
                    "relative positions need the full grid of tokens: pass grid=(rows, columns)"
                )
            bias = self.attn.rel_pos.for_grid(grid)
        attended, logits = self.attn(self.norm1(x), bias, want_logits)
        return x + self.drop_path1(self.ls1(attended)), logits

    def feed(self, x: Tensor) -> Tensor:
        """x + MLP(norm(x))."""
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))

    def forward(
        self, x: Tensor, grid: tuple[int, int] | None = None, want_logits: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, L, D) in and out, with the attention logits where asked for."""
        x, logits = self.attend(x, grid, want_logits)
        return self.feed(x), logits
