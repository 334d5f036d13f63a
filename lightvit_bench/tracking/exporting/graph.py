"""The network rewritten for one frame: the same numbers for fewer operations.

What a trained `OneStreamTracker` computes to the last few bits (tests compare them), and leaves out
what nothing reads:

* Pixels come as bytes; normalisation is part of the patch embedding's weights.
* A block that eliminates candidates chooses first, from the one row of its attention that the
  choice depends on, and then computes the queries of the tokens that stay.
* The last block computes the search tokens alone; the template's end with its keys and values.
* Sizes and offsets are read at one cell, so that their branches of the head see the 9 x 9 tokens
  that their four 3 x 3 convolutions reach from there, and not the whole grid.
* The affine parts of norms, the scale of queries and batch norms are part of the weights beside
  them. Leaving tokens are left out by copying rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lightvit_bench.tracking.crops import hann_window
from lightvit_bench.tracking.heads import ConvHead, MlpHead, probability
from lightvit_bench.tracking.network import OneStreamTracker
from lightvit_bench.tracking.pruning import gaussian_prior, kept, middle_token
from lightvit_bench.vit.blocks import Block

REACH = 4  # cells that four 3 x 3 convolutions look to each side


class Linear(nn.Module):
    """x W^T + b with weights that are computed here and not trained."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.register_buffer("weight", weight.detach().clone())
        self.register_buffer("bias", bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


def behind_norm(norm: nn.LayerNorm, weight: Tensor, bias: Tensor) -> Linear:
    """A linear layer that takes what a norm gives before its own weight and bias."""
    return Linear(weight * norm.weight, bias + weight @ norm.bias)


class PatchEmbedding(nn.Module):
    """Images (B, S, S, 3) uint8, RGB -> tokens (B, h*w, D) with positions, as `patchify` gives.

    Each channel's mean, rounded, is taken off before the product: whole numbers within +-255 are
    exact in bfloat16 too, and small ones lose less there and in int8.
    """

    def __init__(
        self,
        projection: nn.Conv2d,
        positions: Tensor,
        mean: Sequence[float],
        std: Sequence[float],
    ):
        super().__init__()
        self.patch = projection.kernel_size[0]
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (mean, std))
        middle = (255 * mean).round()
        weight = projection.weight.detach().double() / (255 * std).view(1, 3, 1, 1)
        rest = (weight * (middle - 255 * mean).view(1, 3, 1, 1)).sum((1, 2, 3))
        bias = projection.bias.detach().double() + rest
        self.register_buffer("middle", middle.float().repeat(self.patch))  # of a row of a patch
        self.register_buffer("weight", weight.permute(0, 2, 3, 1).flatten(1).float())
        self.register_buffer("positions", (positions.detach().double() + bias).float())

    def forward(self, image: Tensor) -> Tensor:
        side = image.shape[1] // self.patch
        row = 3 * self.patch
        x = image.reshape(-1, side, self.patch, side, row).permute(0, 1, 3, 2, 4)
        x = (x.float() - self.middle).reshape(-1, side * side, self.patch * row)
        return F.linear(x, self.weight) + self.positions


class FrameBlock(nn.Module):
    """A transformer block in parts: norm, keys and values, queries, attention, MLP."""

    def __init__(self, block: Block):
        super().__init__()
        attention = block.attn
        self.heads, self.head_dim = attention.num_heads, attention.head_dim
        self.width, self.eps = self.heads * self.head_dim, block.norm1.eps
        weights, biases = attention.qkv.weight.chunk(3), attention.qkv.bias.chunk(3)
        self.query = behind_norm(
            block.norm1, attention.scale * weights[0], attention.scale * biases[0]
        )
        self.key = behind_norm(block.norm1, weights[1], biases[1])
        self.value = behind_norm(block.norm1, weights[2], biases[2])
        self.proj = Linear(attention.proj.weight, attention.proj.bias)
        self.fc1 = behind_norm(block.norm2, block.mlp.fc1.weight, block.mlp.fc1.bias)
        self.fc2 = Linear(block.mlp.fc2.weight, block.mlp.fc2.bias)

    def norm(self, x: Tensor) -> Tensor:
        """Tokens (B, L, D), centred and scaled; weight and bias are in what comes behind."""
        return F.layer_norm(x, (self.width,), eps=self.eps)

    def keys_values(self, normed: Tensor) -> tuple[Tensor, Tensor]:
        """(B, heads, head_dim, L) and (B, heads, L, head_dim)."""
        return (
            self._split(self.key(normed)).permute(0, 2, 3, 1),
            self._split(self.value(normed)).permute(0, 2, 1, 3),
        )

    def weights(self, normed: Tensor, keys: Tensor) -> Tensor:
        """Attention of queries (B, n, D) to all keys: (B, heads, n, L)."""
        return (self._split(self.query(normed)).permute(0, 2, 1, 3) @ keys).softmax(dim=-1)

    def attend(self, normed: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """What attention adds to tokens (B, n, D)."""
        mixed = (self.weights(normed, keys) @ values).permute(0, 2, 1, 3)
        return self.proj(mixed.reshape(normed.shape[0], -1, self.width))

    def feed(self, x: Tensor) -> Tensor:
        """x + MLP(norm(x))."""
        return x + self.fc2(F.gelu(self.fc1(self.norm(x))))

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1, self.heads, self.head_dim)


class FrameGraph(nn.Module):
    """Template tokens and a search region -> the best cell and what the head says there.

    Inputs: template (B, Lz, D) float32, as `TemplateGraph` gives it; search (B, S, S, 3) uint8,
    RGB; with a prior (`wants_box`) box_wh (B, 2), the last box's width and height as fractions of
    the region. Outputs: cell (B,) int64 in raster order, where score times the Hann window is
    highest; score (B,); size (B, 2) and offset (B, 2), as in `heads.Maps`.
    """

    def __init__(self, network: OneStreamTracker, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        network = network.eval()
        backbone, spec = network.backbone, network.spec
        self.embed = PatchEmbedding(backbone.patch_embed.proj, backbone.pos_embed, mean, std)
        self.blocks = nn.ModuleList(map(FrameBlock, backbone.blocks))
        self.norm = backbone.norm
        self.length = network.template_positions.shape[1]
        self.middle = middle_token(network.template_grid)
        self.grid = network.search_grid
        self.stages = spec.eliminate or ((spec.prune_after - 1,) if spec.prune_after else ())
        self.keep = spec.keep
        self.wants_box = spec.prune_after > 0
        head = FrameConvHead if spec.head == "conv" else FrameMlpHead
        self.head = head(network.head, self.grid)

    def forward(
        self, template: Tensor, search: Tensor, box_wh: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = torch.cat([template, self.embed(search)], dim=1)
        length, places = self.length, None
        for i, block in enumerate(self.blocks):
            normed = block.norm(x)
            keys, values = block.keys_values(normed)
            if i in self.stages:
                left = x.shape[1] - length
                if (keep := kept(left, self.keep)) < left:
                    chosen = self._choose(block, normed, keys, keep, box_wh)
                    places = chosen if places is None else places.gather(1, chosen)
                    x, normed = (_keep_rows(one, length, chosen) for one in (x, normed))
            if block is self.blocks[-1]:
                x, normed = x[:, length:], normed[:, length:]
            x = block.feed(x + block.attend(normed, keys, values))
        return self.head(self.norm(x), places)

    def _choose(
        self, block: FrameBlock, normed: Tensor, keys: Tensor, keep: int, box_wh: Tensor | None
    ) -> Tensor:
        """Which search tokens stay: (B, keep)."""
        row = block.weights(normed[:, self.middle : self.middle + 1], keys)
        scores = row[:, :, 0, self.length :].mean(dim=1)
        if self.wants_box:
            scores = scores * gaussian_prior(box_wh, self.grid)
        return scores.topk(keep, dim=1).indices


class TemplateGraph(nn.Module):
    """The template (1, T, T, 3) uint8, RGB -> its tokens (1, Lz, D): once for each target."""

    def __init__(self, network: OneStreamTracker, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.embed = PatchEmbedding(
            network.backbone.patch_embed.proj, network.template_positions, mean, std
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.embed(image)


class FrameConvHead(nn.Module):
    """`ConvHead`: the score everywhere, size and offset at the best cell alone."""

    def __init__(self, head: ConvHead, grid: tuple[int, int]):
        super().__init__()
        self.grid = grid
        self.score = nn.Sequential()
        for layer in _fused(head.score):
            self.score.extend([layer, nn.ReLU()])
        self.score.append(head.score[-1])
        self.size, self.offset = (
            nn.ModuleList([*_fused(branch), branch[-1]]) for branch in (head.size, head.offset)
        )
        self.register_buffer("window", _window(grid))

    def forward(
        self, tokens: Tensor, places: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        (rows, columns), width = self.grid, tokens.shape[2]
        whole = tokens if places is None else _restore(tokens, places, rows * columns)
        score = self.score(whole.permute(0, 2, 1).reshape(-1, width, rows, columns))
        score = probability(score).flatten(1)
        cell = (score * self.window).argmax(dim=1, keepdim=True)
        near, inside = self._around(whole, cell)
        size, offset = (self._at_cell(branch, near, inside) for branch in (self.size, self.offset))
        return cell[:, 0], score.gather(1, cell)[:, 0], probability(size), offset

    def _around(self, whole: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, D, 9, 9) around cells (B, 1), zero outside; and which are inside, 0 or 1."""
        (rows, columns), width = self.grid, whole.shape[2]
        steps = torch.arange(-REACH, REACH + 1, device=whole.device)
        row = (cell // columns + steps)[:, :, None]  # (B, 9, 1)
        column = (cell % columns + steps)[:, None, :]
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        inside = inside.float().unsqueeze(1)
        at = row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)
        near = _rows(whole, at.flatten(1)).permute(0, 2, 1).reshape(-1, width, *inside.shape[2:])
        return near * inside, inside

    def _at_cell(self, branch: nn.ModuleList, near: Tensor, inside: Tensor) -> Tensor:
        """A branch's value (B, 2) in the middle of `near`. Each layer pads with zeros outside the
        grid, so that what it computes there is taken off again."""
        x = near
        for i, layer in enumerate(branch[:-1]):
            edge = i + 1
            x = F.relu(F.conv2d(x, layer.weight, layer.bias))
            if i < len(branch) - 2:
                x = x * inside[:, :, edge:-edge, edge:-edge]
        return branch[-1](x)[:, :, 0, 0]


class FrameMlpHead(nn.Module):
    """`MlpHead`: the score of each token left, the box of the best."""

    def __init__(self, head: MlpHead, grid: tuple[int, int]):
        super().__init__()
        self.score, self.box, self.count = head.score, head.box, grid[0] * grid[1]
        self.register_buffer("window", _window(grid))

    def forward(
        self, tokens: Tensor, places: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        score = probability(self.score(tokens))
        cells = score if places is None else _restore(score, places, self.count)
        cells = cells[:, :, 0]
        cell = (cells * self.window).argmax(dim=1, keepdim=True)
        index = cell
        if places is not None:
            index = (places == cell).float().argmax(dim=1, keepdim=True)
        size, offset = self.box(_rows(tokens, index))[:, 0].chunk(2, dim=1)
        return cell[:, 0], cells.gather(1, cell)[:, 0], probability(size), offset


def _window(grid: tuple[int, int]) -> Tensor:
    return torch.from_numpy(hann_window(grid[0])).reshape(1, -1)


def _fused(branch: nn.Sequential) -> list[nn.Conv2d]:
    """The four 3 x 3 convolutions of a branch, batch norms folded in."""
    return [fuse_conv_bn_eval(layer[0], layer[1]) for layer in branch[:-1]]


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows (B, n) of values (B, L, C) -> (B, n, C).

    One gather along one axis, which runtimes copy row by row; `torch.gather` would compute an
    address for every number.
    """
    batch, length, width = values.shape
    first = torch.arange(batch, device=values.device)[:, None] * length
    flat = values.reshape(-1, width).index_select(0, (index + first).reshape(-1))
    return flat.reshape(batch, -1, width)


def _keep_rows(tokens: Tensor, length: int, chosen: Tensor) -> Tensor:
    """The template's tokens and the search tokens chosen (B, n)."""
    return torch.cat([tokens[:, :length], _rows(tokens[:, length:], chosen)], dim=1)


def _restore(values: Tensor, places: Tensor, count: int) -> Tensor:
    """Values (B, K, C) of the tokens left -> the whole grid (B, count, C), zeros elsewhere."""
    batch, left, width = values.shape
    behind = torch.full((batch, count), left, dtype=torch.int64, device=values.device)
    order = torch.arange(left, device=values.device).expand(batch, -1)
    source = behind.scatter(1, places, order)  # the row each cell takes; the last one is zero
    zero = values.new_zeros(batch, 1, width)
    return _rows(torch.cat([values, zero], dim=1), source)
