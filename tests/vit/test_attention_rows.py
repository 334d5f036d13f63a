"""Some rows of the attention logits, asked for by a slice, against all of them."""

import pytest
import torch

from lightvit_bench.vit import VisionTransformer
from lightvit_bench.vit.blocks import Block

ROWS = slice(3, 4)


@pytest.fixture
def block():
    torch.manual_seed(0)
    return Block(32, 4).eval()


@pytest.mark.parametrize("rows", [slice(0, 1), slice(3, 4), slice(2, 6), slice(None)])
def test_rows_are_those_of_all_logits(block, rows):
    tokens = torch.randn(2, 9, 32)
    whole_out, whole = block(tokens, want_logits=True)
    out, some = block(tokens, want_logits=rows)
    assert whole.shape == (2, 4, 9, 9)
    assert torch.allclose(some, whole[:, :, rows], atol=1e-5)
    assert torch.allclose(out, whole_out, atol=1e-5)
    alone, none = block(tokens)
    assert none is None and torch.allclose(alone, out, atol=1e-6)


def test_rows_by_hand(block):
    tokens = torch.randn(1, 7, 32)
    _, logits = block.attend(tokens, want_logits=ROWS)
    x = block.norm1(tokens)
    qkv = x @ block.attn.qkv.weight.T + block.attn.qkv.bias
    query, key, _ = qkv[0].reshape(7, 3, 4, 8).unbind(1)
    for head in range(4):
        expected = query[3, head] @ key[:, head].T / 8**0.5
        assert torch.allclose(logits[0, head, 0], expected, atol=1e-5)


def test_rows_with_relative_positions():
    torch.manual_seed(0)
    encoder = VisionTransformer("vit_test", rel_pos=True).eval()
    with torch.no_grad():
        for block in encoder.blocks:
            block.attn.rel_pos.relative_position_bias_table.normal_()
    tokens, block = torch.randn(2, 17, 32), encoder.blocks[0]
    out, whole = block(tokens, encoder.grid, want_logits=True)
    same, some = block(tokens, encoder.grid, want_logits=ROWS)
    assert torch.allclose(some, whole[:, :, ROWS], atol=1e-5)
    assert torch.allclose(same, out, atol=1e-5)
    bias_free = block.attn.logits(*block.attn.queries_keys_values(block.norm1(tokens))[:2])
    assert not torch.allclose(some, bias_free[:, :, ROWS], atol=1e-3)


def test_rows_where_attention_is_by_hand_in_bfloat16(block):
    """A CPU that trains in bfloat16 leaves the fused attention."""
    tokens = torch.randn(2, 9, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, whole = block(tokens.requires_grad_(), want_logits=True)
        out, some = block(tokens, want_logits=ROWS)
    assert some.shape == (2, 4, 1, 9) and torch.equal(some, whole[:, :, ROWS])
    out.sum().backward()
    assert tokens.grad.isfinite().all()


def test_gradients_reach_queries_and_keys_through_rows(block):
    tokens = torch.randn(2, 9, 32)
    _, logits = block.attend(tokens, want_logits=ROWS)
    logits.square().sum().backward()
    query, key, value = block.attn.qkv.weight.grad.chunk(3)
    assert query.any() and key.any() and not value.any()
