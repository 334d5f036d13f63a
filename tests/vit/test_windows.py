"""Attention in windows and decomposed relative positions, against slow rules."""

import math

import pytest
import torch
import torch.nn.functional as F

from lightvit_bench.checkpoint.fit import transfer
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.vit import VisionTransformer
from lightvit_bench.vit.decomposed import DecomposedRelativePosition
from lightvit_bench.vit.windows import into_windows, out_of_windows


def encoder(seed=0, **options):
    """A ViT of three blocks without CLS token; weights by the seed alone."""
    torch.manual_seed(seed)
    return VisionTransformer("vit_test", cls_token=False, final_norm=False, **options).eval()


def fill_tables(model, seed=1):
    """Relative positions that matter: they start at zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, table in model.named_parameters():
        if ".rel_pos." in name:
            table.data.normal_(generator=generator)
    return model


def picture(height, width, batch=2):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(3))


def slow_table(table, side, stretch):
    """rows[query, key] of one axis, as detectron2 makes it of its table."""
    if stretch and len(table) != 2 * side - 1:
        table = F.interpolate(table.T[None], size=2 * side - 1, mode="linear")[0].T
    middle = len(table) // 2
    return [[table[middle + i - k] for k in range(side)] for i in range(side)]


def slow_attention(attn, tokens, grid):
    """One image's attention, logit by logit: (h*w, D) -> (h*w, D)."""
    heads, size = attn.num_heads, attn.head_dim
    qkv = attn.qkv(tokens).reshape(len(tokens), 3, heads, size)
    rows = slow_table(attn.rel_pos.rows, grid[0], attn.rel_pos.stretch)
    columns = slow_table(attn.rel_pos.columns, grid[1], attn.rel_pos.stretch)
    out = torch.zeros(len(tokens), heads, size)
    for head in range(heads):
        q, k, v = (qkv[:, part, head] for part in range(3))
        logits = torch.zeros(len(tokens), len(tokens))
        for a in range(len(tokens)):
            for b in range(len(tokens)):
                (i, j), (m, n) = divmod(a, grid[1]), divmod(b, grid[1])
                logits[a, b] = q[a] @ k[b] / math.sqrt(size) + q[a] @ (rows[i][m] + columns[j][n])
        out[:, head] = logits.softmax(-1) @ v
    return attn.proj(out.flatten(1))


def slow_block(block, tokens, grid):
    """One image through a block, window by window; what lacks to a whole window is zeros."""
    normed = block.norm1(tokens).reshape(*grid, -1)
    rows, columns = (min(block.window or side, side) for side in grid)
    attended = torch.zeros_like(normed)
    for top in range(0, grid[0], rows):
        for left in range(0, grid[1], columns):
            window = torch.zeros(rows, columns, normed.shape[-1])
            inside = normed[top : top + rows, left : left + columns]
            window[: inside.shape[0], : inside.shape[1]] = inside
            done = slow_attention(block.attn, window.flatten(0, 1), (rows, columns))
            done = done.reshape(rows, columns, -1)[: inside.shape[0], : inside.shape[1]]
            attended[top : top + rows, left : left + columns] = done
    tokens = tokens + attended.flatten(0, 1)
    return tokens + block.mlp(block.norm2(tokens))


@pytest.mark.parametrize("size", [(64, 64), (80, 48), (32, 96), (96, 80)])
@torch.no_grad()
def test_against_the_slow_rule(size):
    """Blocks 0 and 2 in windows of 3 tokens, block 1 over the whole image."""
    model = fill_tables(encoder(rel_pos="decomposed", window=3, global_blocks=(1,)))
    image, grid = picture(*size), (size[0] // 16, size[1] // 16)
    expected = []
    for tokens in model.patchify(image):
        for block in model.blocks:
            tokens = slow_block(block, tokens, grid)
        expected.append(tokens)
    torch.testing.assert_close(model(image), torch.stack(expected), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "size, window", [((64, 64), 4), ((64, 48), 4), ((48, 64), 14), ((64, 64), 9)]
)
@pytest.mark.parametrize("global_blocks", [(), (1,), (0, 1, 2)])
@torch.no_grad()
def test_windows_that_cover_the_image_change_nothing(size, window, global_blocks):
    """With relative positions at their start, zero, it is the plain encoder."""
    plain, image = encoder(), picture(*size)
    ours = encoder(window=window, global_blocks=global_blocks, rel_pos="decomposed")
    missing = ours.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing and all(".rel_pos." in name for name in missing)
    torch.testing.assert_close(ours(image), plain(image), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_smaller_windows_and_filled_tables_change_the_output():
    plain, image = encoder(), picture(64, 64)
    small = encoder(window=2)
    small.load_state_dict(plain.state_dict())
    assert (small(image) - plain(image)).abs().max() > 1e-2
    filled = fill_tables(encoder(window=14, rel_pos="decomposed"))
    assert (filled(image) - plain(image)).abs().max() > 1e-2


@torch.no_grad()
def test_windows_do_not_see_one_another_but_in_global_blocks():
    image = picture(64, 64, batch=1)
    other = image.clone()
    other[..., 48:, 48:] += 1  # the last window of 2 x 2 tokens
    for global_blocks, seen in (((), False), ((1,), True)):
        model = encoder(window=2, global_blocks=global_blocks)
        first_window = (model(image) - model(other)).reshape(4, 4, -1)[:2, :2].abs().max()
        assert (first_window > 1e-5) == seen


def test_into_windows_and_back():
    tokens = torch.arange(2 * 5 * 7 * 3.0).reshape(2, 35, 3)
    windows = into_windows(tokens, (5, 7), (3, 4))
    assert windows.shape == (2 * 2 * 2, 12, 3)
    assert windows[1, :3].tolist() == tokens[0, 4:7].tolist()  # first row, from column 4
    assert (windows[1, 3] == 0).all() and (windows[7, 8:] == 0).all()  # beside, and below
    assert torch.equal(out_of_windows(windows, (5, 7), (3, 4)), tokens)


def test_folding_is_the_sum_of_both_products():
    torch.manual_seed(0)
    table = DecomposedRelativePosition((3, 4), 8)
    torch.nn.init.normal_(table.rows), torch.nn.init.normal_(table.columns)
    q, k = torch.randn(2, 5, 12, 8), torch.randn(2, 5, 12, 8)
    folded_q, folded_k = table.fold(q, k, 0.25, (3, 4))
    assert folded_q.shape == folded_k.shape == (2, 5, 12, 8 + 3 + 4)
    logits = 0.25 * folded_q @ folded_k.transpose(-2, -1)
    a, b = 1 * 4 + 2, 2 * 4 + 0  # from (1, 2) to (2, 0)
    offset = table.rows[1 - 2 + 2] + table.columns[2 - 0 + 3]
    expected = 0.25 * (q[:, :, a] * k[:, :, b]).sum(-1) + q[:, :, a] @ offset
    torch.testing.assert_close(logits[:, :, a, b], expected)


@pytest.mark.parametrize("training", [False, True])
def test_no_bias_is_materialised(monkeypatch, training):
    """The fused attention runs in every block, without a mask."""
    calls, fused = [], F.scaled_dot_product_attention

    def spy(q, k, v, attn_mask=None, **options):
        calls.append((q.shape[-2], attn_mask))
        return fused(q, k, v, attn_mask=attn_mask, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    model = fill_tables(encoder(rel_pos="decomposed", window=2, global_blocks=(2,)))
    model.train(training)(picture(64, 64)).sum().backward()
    assert calls == [(4, None), (4, None), (16, None)]


def test_gradients_reach_both_tables():
    model = fill_tables(encoder(rel_pos="decomposed", window=2, global_blocks=(1,)))
    model(picture(64, 64)).square().sum().backward()
    for block in model.blocks:
        assert block.attn.rel_pos.rows.grad.abs().min() > 0
        assert block.attn.rel_pos.columns.grad.abs().min() > 0


def test_zero_tables_get_gradients():
    """They start at zero and must leave it."""
    model = encoder(rel_pos="decomposed", window=2)
    model(picture(64, 64)).square().sum().backward()
    assert model.blocks[0].attn.rel_pos.rows.grad.abs().max() > 0


@pytest.mark.parametrize("rel_pos", [False, True, "decomposed"])
def test_checkpointing_gives_equal_gradients(rel_pos):
    gradients = []
    for checkpointing in (False, True):
        model = encoder(
            rel_pos=rel_pos, window=3, global_blocks=(1,), checkpointing=checkpointing
        ).train()
        model(picture(64, 64)).square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_sizes_of_the_tables():
    """ViTDet's at 640 px: 27 entries an axis in windows of 14, 79 in global blocks."""
    model = VisionTransformer(
        "vit_tiny_p16_h12",
        cls_token=False,
        final_norm=False,
        rel_pos="decomposed",
        rel_pos_size=640,
        window=14,
        global_blocks=(2, 5, 8, 11),
    )
    sides = [tuple(block.attn.rel_pos.rows.shape) for block in model.blocks]
    assert sides == [(79, 16) if i in (2, 5, 8, 11) else (27, 16) for i in range(12)]
    assert model.pos_embed.shape == (1, 196, 192)  # as it was pre-trained


@torch.no_grad()
def test_beits_relative_positions_go_with_windows():
    """Each window is attended to as an image of its own would be, with the same table."""
    model = fill_tables(encoder(rel_pos=True, window=2))
    assert [block.attn.rel_pos.window_size for block in model.blocks] == [(2, 2)] * 3
    tokens, block = torch.randn(1, 4 * 5, 32), model.blocks[0]
    together = block.attend(tokens, (4, 5))[0].reshape(4, 5, 32)
    apart = block.attend(tokens.reshape(4, 5, 32)[2:, 2:4].reshape(1, 4, 32), (2, 2))[0]
    torch.testing.assert_close(together[2:, 2:4].reshape(1, 4, 32), apart)


@torch.no_grad()
def test_beits_tables_are_resampled_to_the_windows():
    torch.manual_seed(0)
    plain = fill_tables(VisionTransformer("vit_test", final_norm=False, rel_pos=True))
    model = encoder(rel_pos=True, window=2, global_blocks=(1,))
    done = transfer(plain, model, "file")
    tables = {f"blocks.{i}.attn.rel_pos.relative_position_bias_table" for i in (0, 2)}
    assert set(done.resampled) == tables  # block 1 sees the whole grid, as it did
    entries = [len(block.attn.rel_pos.relative_position_bias_table) for block in model.blocks]
    assert entries == [9, 49, 9]


def test_relative_positions_of_another_kind_are_refused():
    beit = VisionTransformer("vit_test", cls_token=False, final_norm=False, rel_pos=True)
    with pytest.raises(CheckpointError, match="neither can be made"):
        transfer(beit, encoder(rel_pos="decomposed"), "file")
    with pytest.raises(CheckpointError, match="rel_pos='decomposed'"):
        transfer(encoder(rel_pos="decomposed"), encoder(), "file")


def test_logits_are_shown_where_windows_cover_the_image_alone():
    model, tokens = encoder(window=4, rel_pos="decomposed"), torch.randn(1, 16, 32)
    logits = model.run_blocks(tokens, grid=(4, 4), logits_of=[0]).logits[0]
    assert logits.shape == (1, 4, 16, 16)
    alone = model.blocks[0].attention_logits(tokens, (4, 4))
    torch.testing.assert_close(alone, logits)
    with pytest.raises(ValueError, match="windows"):
        encoder(window=2).run_blocks(tokens, grid=(4, 4), logits_of=[0])
    with pytest.raises(ValueError, match="windows"):
        encoder(window=2).blocks[0].attention_logits(tokens, (4, 4))


def test_refusals():
    with pytest.raises(ConfigError, match="CLS"):
        VisionTransformer("vit_test", window=2)
    with pytest.raises(ConfigError, match="0 to 2"):
        encoder(window=2, global_blocks=(3,))
    with pytest.raises(ConfigError, match="at least 1"):
        encoder(window=0)
    with pytest.raises(ConfigError, match="decomposed"):
        encoder(rel_pos="decompose")
    with pytest.raises(ValueError, match="grid"):
        encoder(window=2).blocks[0].attend(torch.zeros(1, 16, 32))
