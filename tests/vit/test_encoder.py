"""The encoder: golden numbers, timm as an oracle, and every way of running it."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lightvit_bench.errors import ConfigError
from lightvit_bench.vit import PRESETS, VisionTransformer, ViTPreset, get_preset

DATA = Path(__file__).resolve().parent.parent / "data/vit_test.json"


def wave(name, shape, scale):
    """Values of a name and place, without a random generator: the same anywhere."""
    place = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (torch.sin(0.37 * place**2 + zlib.crc32(name.encode()) % 1000) * scale).view(*shape)


def make(**options):
    """A `vit_test` in eval mode with fixed weights, none at its start."""
    encoder = VisionTransformer("vit_test", **options).eval()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
            scale = 0.5 if "rel_pos" in name else (2 / fan_in) ** 0.5
            near_one = "norm" in name and name.endswith("weight") or name.endswith("gamma")
            parameter.copy_(wave(name, parameter.shape, scale) + near_one)
    return encoder


def image_of(*shape):
    return wave("image", shape, 1.0).float()


def rows_of(tensor):
    """A tensor in a few numbers, as the golden file has them."""
    flat = tensor.detach().double().flatten()
    at = [(len(flat) - 1) * i // 7 for i in range(8)]
    return {
        "shape": list(tensor.shape),
        "std": flat.std().item(),
        "l2": flat.norm().item(),
        "v": flat[at].tolist(),
    }


@torch.no_grad()
def golden_cases():
    """Every number in tests/data/vit_test.json; `python tests/vit/test_encoder.py` writes it."""
    plain, image = make(), image_of(2, 3, 64, 64)
    cases = {
        "plain": plain(image),
        "not_square": plain(image_of(1, 3, 48, 80)),
        "padded": plain(image_of(1, 3, 50, 33)),
        "no_cls": make(cls_token=False)(image),
        "no_norm": make(final_norm=False)(image),
        "layer_scale": make(layer_scale=0.1)(image),
        "rel_pos": make(rel_pos=True)(image),
        "rel_pos_other_grid": make(rel_pos=True)(image_of(1, 3, 48, 80)),
    }
    tokens = plain.with_cls(plain.patchify(image))
    cases["logits"] = plain.run_blocks(tokens, logits_of=[1]).logits[1]
    for i, feature_map in enumerate(plain.forward_maps(image, [0, 2])):
        cases[f"map_{i}"] = feature_map
    return {name: rows_of(tensor) for name, tensor in cases.items()}


def close(a, b, tolerance=1e-5):
    return torch.allclose(a, b, atol=tolerance, rtol=tolerance)


# golden numbers
def test_golden_numbers():
    expected, measured = json.loads(DATA.read_text()), golden_cases()
    assert list(expected) == list(measured)
    for name, numbers in expected.items():
        assert numbers.pop("shape") == measured[name].pop("shape"), name
        for key, value in numbers.items():
            assert measured[name][key] == pytest.approx(value, rel=1e-4, abs=1e-4), (name, key)


def test_equals_timms_own_transformer():
    from timm.models.vision_transformer import VisionTransformer as TimmViT  # after our vit

    ours = make()
    theirs = TimmViT(img_size=64, patch_size=16, embed_dim=32, depth=3, num_heads=4,
                     num_classes=0, global_pool="").eval()  # fmt: skip
    theirs.load_state_dict(ours.state_dict())
    image = image_of(2, 3, 64, 64)
    with torch.no_grad():
        assert close(ours(image), theirs.forward_features(image))


def test_golden_numbers_of_the_authors(shared, golden):
    """MAE-Lite's student on a quarter of the patches: latent and last logits."""
    reference = json.loads((shared / "golden/reference.json").read_text())
    state = golden.mae("mae_tiny", "student.", 192, 96)
    encoder = VisionTransformer("vit_tiny_p16_h12").eval()
    encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
    inputs = golden.inputs()
    keep = inputs["ids_shuffle"][:, :49, None].expand(-1, -1, 192)
    with torch.no_grad():
        tokens = encoder.with_cls(encoder.patchify(inputs["image"]).gather(1, keep))
        run = encoder.run_blocks(tokens, logits_of=[11])
        latent = encoder.norm(run.tokens)
    for tensor, expected in (
        (latent, reference["mae_tiny"]["latent"]),
        (run.logits[11], reference["d_mae_tiny"]["student_logits"]),
    ):
        values = tensor.flatten()[expected["at"]].tolist()
        assert values == pytest.approx(expected["v"], rel=1e-4, abs=1e-4)
        assert tensor.norm().item() == pytest.approx(expected["l2"], rel=1e-5)


# sizes, maps, CLS
@pytest.mark.parametrize("size", [(64, 64), (48, 80), (50, 33), (16, 16), (128, 32)])
@pytest.mark.parametrize("options", [{}, {"cls_token": False}, {"rel_pos": True}], ids=str)
def test_any_size(size, options):
    encoder = make(**options)
    image = image_of(1, 3, *size)
    grid = -(-size[0] // 16), -(-size[1] // 16)
    assert encoder.grid_of(image) == grid
    tokens = encoder(image)
    assert tokens.shape == (1, grid[0] * grid[1] + encoder.prefix_tokens, 32)
    assert tokens.isfinite().all()
    padded = F.pad(image, (0, grid[1] * 16 - size[1], 0, grid[0] * 16 - size[0]))
    assert torch.equal(encoder(padded), tokens)


def test_maps_are_in_the_order_asked_for():
    encoder, image = make(), image_of(2, 3, 48, 80)
    with torch.no_grad():
        run = encoder.run_blocks(encoder.with_cls(encoder.patchify(image)), outputs_of=[0, 1, 2])
        maps = encoder.forward_maps(image, [2, 0, -2])
    assert [m.shape for m in maps] == [(2, 32, 3, 5)] * 3
    for feature_map, block in zip(maps, (2, 0, 1), strict=True):
        for row, column in ((0, 0), (1, 3), (2, 4)):
            expected = run.outputs[block][:, 1 + row * 5 + column]
            assert close(feature_map[:, :, row, column], expected)


@pytest.mark.parametrize("blocks", [[3], [-4], [0, 7]])
def test_maps_of_blocks_that_are_not_there(blocks):
    with pytest.raises(ValueError, match="with 3 blocks"):
        make().forward_maps(image_of(1, 3, 64, 64), blocks)


def test_blocks_behind_the_last_map_are_not_run():
    encoder = make()
    encoder.blocks[2].forward = None
    assert len(encoder.forward_maps(image_of(1, 3, 64, 64), [1, 0])) == 2


def test_without_cls_token():
    encoder = make(cls_token=False)
    assert encoder.prefix_tokens == 0 and encoder.pos_embed.shape == (1, 16, 32)
    assert "cls_token" not in encoder.state_dict()
    tokens = encoder.patchify(image_of(1, 3, 64, 64))
    assert encoder.with_cls(tokens) is tokens
    assert encoder.to_map(tokens, (4, 4))[0, :, 1, 2].equal(tokens[0, 6])


def test_cls_token_comes_first_with_its_own_position():
    encoder, image = make(), image_of(1, 3, 32, 96)
    tokens = encoder.with_cls(encoder.patchify(image))
    assert torch.equal(tokens[0, 0], (encoder.cls_token + encoder.pos_embed[:, :1])[0, 0])


def test_another_position_table_may_be_given():
    encoder, image = make(), image_of(1, 3, 64, 64)
    table = wave("table", (1, 16, 32), 1.0).float()
    bare = encoder.patchify(image, positions=torch.zeros_like(table))
    assert close(encoder.patchify(image, positions=table), bare + table)
    assert close(encoder.patchify(image), bare + encoder.pos_embed[:, 1:])


def test_ranges_of_blocks_compose():
    encoder = make()
    tokens = encoder.with_cls(encoder.patchify(image_of(1, 3, 64, 64)))
    halfway = encoder.run_blocks(tokens, stop=1).tokens
    whole = encoder.run_blocks(tokens).tokens
    assert torch.equal(encoder.run_blocks(halfway, start=1).tokens, whole)
    assert not torch.equal(halfway, whole)


# masking
def test_visible_tokens_are_those_patches_and_no_others():
    """Gathered tokens equal patches embedded by hand; each sample runs as it would alone."""
    encoder, image = make(), image_of(2, 3, 64, 64)
    keep = torch.tensor([[3, 0, 9, 14], [15, 7, 1, 2]])
    tokens = encoder.patchify(image).gather(1, keep[:, :, None].expand(-1, -1, 32))
    weight = encoder.patch_embed.proj.weight.flatten(1)
    for sample in range(2):
        for k, place in enumerate(keep[sample].tolist()):
            row, column = 16 * (place // 4), 16 * (place % 4)
            patch = image[sample, :, row : row + 16, column : column + 16].flatten()
            by_hand = weight @ patch + encoder.patch_embed.proj.bias
            assert close(tokens[sample, k], by_hand + encoder.pos_embed[0, 1 + place])
    together = encoder.run_blocks(encoder.with_cls(tokens)).tokens
    for sample in range(2):
        alone = encoder.run_blocks(encoder.with_cls(tokens[sample : sample + 1])).tokens
        assert close(together[sample], alone[0])


def test_tokens_are_a_set():
    """Order changes nothing: positions are added before the blocks."""
    encoder = make()
    tokens = encoder.patchify(image_of(1, 3, 64, 64))
    order = torch.arange(15, -1, -1)
    forth = encoder.run_blocks(encoder.with_cls(tokens)).tokens[:, 1:]
    back = encoder.run_blocks(encoder.with_cls(tokens[:, order])).tokens[:, 1:]
    assert close(forth[:, order], back)


# attention logits
@pytest.mark.parametrize("rel_pos", [False, True])
def test_logits_are_those_the_fused_attention_uses(rel_pos):
    encoder = make(rel_pos=rel_pos)
    tokens = encoder.with_cls(encoder.patchify(image_of(2, 3, 64, 64)))
    run = encoder.run_blocks(tokens, grid=(4, 4), logits_of=[0])
    assert list(run.logits) == [0] and run.logits[0].shape == (2, 4, 17, 17)
    attention, normed = encoder.blocks[0].attn, encoder.blocks[0].norm1(tokens)
    q, k, v = attention.queries_keys_values(normed)
    bias = attention.rel_pos.for_grid((4, 4)) if rel_pos else None
    fused = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    assert close(run.logits[0].softmax(-1) @ v, fused)
    by_hand = q[1, 2, 5] @ k[1, 2, 9] / 8**0.5 + (bias[0, 2, 5, 9] if rel_pos else 0)
    assert close(run.logits[0][1, 2, 5, 9], by_hand)
    assert close(run.tokens, encoder.run_blocks(tokens, grid=(4, 4)).tokens)


def test_only_blocks_asked_for_leave_the_fused_attention(monkeypatch):
    calls = []
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or fused(*a, **k)
    )
    encoder = make()
    tokens = encoder.with_cls(encoder.patchify(image_of(1, 3, 64, 64)))
    for wanted, expected in (((), 3), ((1,), 2), ((0, 2), 1)):
        calls.clear()
        assert set(encoder.run_blocks(tokens, logits_of=wanted).logits) == set(wanted)
        assert len(calls) == expected


def test_logits_carry_gradients():
    encoder = make()
    tokens = encoder.with_cls(encoder.patchify(image_of(1, 3, 64, 64)))
    encoder.run_blocks(tokens, logits_of=[2]).logits[2].square().mean().backward()
    qkv = encoder.blocks[2].attn.qkv.weight.grad
    assert qkv[:64].abs().sum() > 0 and not qkv[64:].any()  # q and k, not v
    assert encoder.blocks[0].mlp.fc1.weight.grad.abs().sum() > 0


# LayerScale
def test_layer_scale_scales_each_branch():
    encoder = make(layer_scale=0.5)
    block = encoder.blocks[0]
    tokens = encoder.with_cls(encoder.patchify(image_of(1, 3, 64, 64)))
    attended = block.attn(block.norm1(tokens))[0]
    middle = tokens + block.ls1.gamma * attended
    expected = middle + block.ls2.gamma * block.mlp(block.norm2(middle))
    assert close(block(tokens)[0], expected)


def test_layer_scale_starts_at_its_gain():
    gamma = VisionTransformer("vit_test", layer_scale=0.1).blocks[1].ls2.gamma
    assert torch.equal(gamma, torch.full((32,), 0.1))
    assert not any(".ls" in name for name in VisionTransformer("vit_test").state_dict())


# relative positions
def slow_bias(table, rows, columns, cls_token):
    """BEiT's rule for one pair of tokens after another: (heads, L, L)."""
    places = [(r, c) for r in range(rows) for c in range(columns)]
    distances = (2 * rows - 1) * (2 * columns - 1)
    places = [None] * cls_token + places
    bias = torch.zeros(table.shape[1], len(places), len(places))
    for i, query in enumerate(places):
        for j, key in enumerate(places):
            if query is None and key is None:
                entry = distances + 2
            elif query is None:
                entry = distances
            elif key is None:
                entry = distances + 1
            else:
                row, column = query[0] - key[0] + rows - 1, query[1] - key[1] + columns - 1
                entry = row * (2 * columns - 1) + column
            bias[:, i, j] = table[entry]
    return bias


@pytest.mark.parametrize("size", [64, (32, 80)])
@pytest.mark.parametrize("cls_token", [True, False])
def test_relative_positions_against_the_slow_rule(size, cls_token):
    encoder = make(img_size=size, rel_pos=True, cls_token=cls_token)
    table = encoder.blocks[1].attn.rel_pos.relative_position_bias_table
    expected = slow_bias(table, *encoder.grid, cls_token)
    assert torch.equal(encoder.blocks[1].attn.rel_pos.for_grid(encoder.grid)[0], expected)


def test_relative_positions_change_the_output_by_that_bias():
    encoder = make(rel_pos=True)
    tokens = encoder.with_cls(encoder.patchify(image_of(1, 3, 64, 64)))
    attention = encoder.blocks[0].attn
    bias = slow_bias(attention.rel_pos.relative_position_bias_table, 4, 4, True)
    q, k, v = attention.queries_keys_values(encoder.blocks[0].norm1(tokens))
    by_hand = ((q @ k.transpose(-2, -1)) / 8**0.5 + bias).softmax(-1) @ v
    by_hand = attention.proj(by_hand.transpose(1, 2).flatten(2))
    assert close(encoder.blocks[0].attend(tokens, (4, 4))[0], tokens + by_hand)


@pytest.mark.parametrize("grid", [(3, 5), (6, 6), (4, 2)])
def test_relative_positions_on_another_grid(grid):
    """A linear function of the offset stays one within the old range; CLS entries are kept."""
    encoder = VisionTransformer("vit_test", rel_pos=True, img_size=96)
    relative = encoder.blocks[0].attn.rel_pos
    rows, columns = torch.meshgrid(torch.arange(-5.0, 6), torch.arange(-5.0, 6), indexing="ij")
    with torch.no_grad():
        relative.relative_position_bias_table[:-3] = (rows + 10 * columns).reshape(-1, 1)
        relative.relative_position_bias_table[-3:] = torch.tensor([[7.0], [8.0], [9.0]])
    bias = relative.for_grid(grid)
    length = 1 + grid[0] * grid[1]
    assert bias.shape == (1, 4, length, length)
    assert (bias[0, :, 0, 0] == 9).all() and (bias[0, :, 0, 1:] == 7).all()
    assert (bias[0, :, 1:, 0] == 8).all()
    patches = bias[0, 0, 1:, 1:].reshape(*grid, *grid)
    assert patches[1, 1, 1, 1].item() == pytest.approx(0, abs=1e-3)
    assert (patches[1, 1, 0, 1] > 0) and (patches[1, 1, 1, 0] > 5 * patches[1, 1, 0, 1])
    assert close(patches[0, 0, 1, 1], -patches[1, 1, 0, 0], 1e-3)


def test_relative_positions_start_at_zero_and_need_the_grid():
    encoder = VisionTransformer("vit_test", rel_pos=True)
    table = encoder.blocks[0].attn.rel_pos.relative_position_bias_table
    assert table.shape == (7 * 7 + 3, 4) and not table.any()
    assert not any("relative_position_index" in name for name in encoder.state_dict())
    with pytest.raises(ValueError, match="pass grid="):
        encoder.run_blocks(torch.zeros(1, 17, 32))


# training
def test_drop_path_acts_in_training_only():
    encoder = make(drop_path=0.9)
    image = image_of(4, 3, 64, 64)
    assert torch.equal(encoder(image), make()(image))
    torch.manual_seed(0)
    trained = encoder.train()(image)
    assert not close(trained, make()(image), 1e-2)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in encoder.blocks]
    assert rates == pytest.approx([0, 0.45, 0.9])


@pytest.mark.parametrize("rel_pos", [False, True])
def test_checkpointing_gives_equal_gradients(rel_pos):
    image, gradients = image_of(2, 3, 64, 64), []
    for checkpointing in (False, True):
        encoder = make(checkpointing=checkpointing, rel_pos=rel_pos).train()
        encoder(image).square().mean().backward()
        gradients.append({name: p.grad for name, p in encoder.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert gradient.abs().sum() > 0, name
        assert torch.equal(gradient, gradients[1][name]), name


def test_checkpointing_really_runs_blocks_again():
    runs = []
    encoder = make(checkpointing=True).train()
    encoder.blocks[1].norm1.register_forward_hook(lambda *_: runs.append(1))
    encoder(image_of(1, 3, 64, 64)).sum().backward()
    assert len(runs) == 2
    encoder.eval()(image_of(1, 3, 64, 64)).sum().backward()  # no memory to save: run once
    assert len(runs) == 3


def test_positions_may_be_fixed():
    encoder = VisionTransformer("vit_test", train_positions=False)
    assert not encoder.pos_embed.requires_grad
    assert VisionTransformer("vit_test").pos_embed.requires_grad


def test_start_of_the_weights():
    torch.manual_seed(0)
    encoder = VisionTransformer("vit_tiny_p16_h12")
    bound = (6 / (192 + 768)) ** 0.5
    fc1 = encoder.blocks[3].mlp.fc1
    assert fc1.weight.abs().max().item() == pytest.approx(bound, rel=1e-2)
    assert not fc1.bias.any() and not encoder.patch_embed.proj.bias.any()
    assert encoder.patch_embed.proj.weight.abs().max() <= (6 / (192 + 768)) ** 0.5
    assert encoder.cls_token.std().item() == pytest.approx(0.02, rel=0.3)


# presets
@pytest.mark.parametrize(
    ("preset", "count"),
    [("vit_tiny_p16_h12", 5_524_416), ("vit_tiny_p16_h3", 5_524_416), ("vit_base_p16", 85_798_656)],
)
def test_parameter_counts(preset, count):
    encoder = VisionTransformer(preset)
    assert sum(p.numel() for p in encoder.parameters()) == count
    assert len(encoder.state_dict()) == 150


def test_heads_change_the_output_and_no_shape():
    """The trap: 3-head weights fit a 12-head encoder."""
    twelve = VisionTransformer("vit_tiny_p16_h12")
    three = VisionTransformer("vit_tiny_p16_h3")
    three.load_state_dict(twelve.state_dict())
    assert twelve.blocks[0].attn.num_heads == 12 and three.blocks[0].attn.num_heads == 3
    image = image_of(1, 3, 64, 64)
    with torch.no_grad():
        assert not close(twelve.eval()(image), three.eval()(image), 1e-3)


def test_presets_are_whole():
    for name, preset in PRESETS.items():
        assert preset.name == name and preset.width % preset.heads == 0
        untold = (
            ("vit_base_p16", "vit_large_p16", "vit_test")
            if isinstance(preset, ViTPreset)
            else (name,)
        )
        assert f"_h{preset.heads}" in name or name in untold


def test_an_unknown_preset_lists_near_names():
    with pytest.raises(ConfigError, match="'vit_tiny_p16'") as error:
        VisionTransformer("vit_tiny_p16")
    assert "vit_tiny_p16_h3" in str(error.value) and "vit_tiny_p16_h12" in str(error.value)
    with pytest.raises(ConfigError, match="vit_base_p16"):
        get_preset("resnet50")


if __name__ == "__main__":
    DATA.write_text(json.dumps(golden_cases(), indent=1) + "\n")
