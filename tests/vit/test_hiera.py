"""The hierarchical encoder against timm's, masked and whole."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from lightvit_bench.errors import ConfigError
from lightvit_bench.vit import Hiera, HieraPreset, VisionTransformer, get_preset
from lightvit_bench.vit.hiera import to_units, within_units
from lightvit_bench.vit.position import resample_table

# isort: split
from timm.models.hiera import Hiera as TimmHiera  # after vit, which prepares its import

PRESETS = ("hiera_test", "hiera_tiny")


def norm(width, **kwargs):
    return nn.LayerNorm(width, eps=1e-6, **kwargs)


def make(preset="hiera_test", seed=0, **options):
    """An encoder whose every tensor is away from its start."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        encoder = Hiera(preset, **options)
        for parameter in encoder.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    return encoder.eval()


def timms(encoder):
    """timm's own model with the same weights, made for the encoder's grid."""
    preset = encoder.preset
    model = TimmHiera(
        img_size=tuple(side * preset.patch for side in encoder.grid),
        embed_dim=preset.width,
        num_heads=preset.heads,
        stages=preset.stages,
        q_pool=encoder.q_pool,
        num_classes=0,
        norm_layer=norm,
    )
    wrong = model.load_state_dict(encoder.state_dict(), strict=False)
    assert set(wrong.missing_keys) == {"head.norm.weight", "head.norm.bias"}
    assert not wrong.unexpected_keys
    return model.eval()


def image_of(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def some_units(batch, units, kept, seed=2):
    noise = torch.rand(batch, units, generator=torch.Generator().manual_seed(seed))
    return noise.argsort(dim=1)[:, :kept].sort(dim=1).values


def as_mask(keep, units):
    return torch.zeros(len(keep), units, dtype=torch.bool).scatter(1, keep, True)


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("q_pool", [1, 2, 3])
@pytest.mark.parametrize("preset", PRESETS)
def test_maps_are_timms(preset, q_pool):
    encoder = make(preset, q_pool=q_pool)
    side = encoder.preset.img_size
    image = image_of(2, 3, side, side)
    expected = timms(encoder).forward_intermediates(image, intermediates_only=True)
    for ours, theirs, stride in zip(
        encoder.forward_maps(image), expected, encoder.strides, strict=True
    ):
        assert ours.shape == theirs.shape == (2, ours.shape[1], side // stride, side // stride)
        assert torch.allclose(ours, theirs, atol=5e-5)


@pytest.mark.parametrize("q_pool", [2, 3])
@pytest.mark.parametrize("preset", PRESETS)
def test_masked_stages_are_timms(preset, q_pool):
    encoder = make(preset, q_pool=q_pool)
    side = encoder.preset.img_size
    image, units = image_of(2, 3, side, side), (side // 32) ** 2
    keep = some_units(2, units, units * 6 // 10)
    tokens, stages = timms(encoder).forward_features(
        image, mask=as_mask(keep, units), return_intermediates=True
    )
    run = encoder.run(image, keep)
    assert len(run.stages) == 4
    for ours, theirs in zip(run.stages, stages, strict=True):
        assert ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=5e-5)
    # in timm's own order of tokens: places within a unit first
    last = run.stages[-1]
    unordered = last.flatten(2, 3).transpose(1, 2).flatten(1, 2)
    assert torch.allclose(unordered.sort(dim=1).values, tokens.sort(dim=1).values, atol=5e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_logits_are_those_of_timms_attention(masked):
    """Of the last block, and of one that pools its queries."""
    encoder = make(q_pool=3)
    image, keep = image_of(2, 3, 128, 128), some_units(2, 16, 9) if masked else None
    theirs, inputs = timms(encoder), {}
    for i in (4, 5):
        theirs.blocks[i].attn.register_forward_hook(
            lambda module, args, output, i=i: inputs.__setitem__(i, args[0])
        )
    theirs.forward_features(image, mask=None if keep is None else as_mask(keep, 16))
    run = encoder.run(image, keep, logits_of=(4, 5), normed_of=(5,))
    for i, x in inputs.items():
        attention = theirs.blocks[i].attn
        q, k, _ = attention.qkv(x).view(2, x.shape[1], 3, 8, -1).permute(2, 0, 3, 1, 4)
        if i == 4:  # pooled: the maximum over the four tokens that become one
            q = q.view(2, 8, 4, -1, q.shape[-1]).amax(dim=2)
        expected = (q * attention.scale) @ k.transpose(-1, -2)
        assert run.logits[i].shape == expected.shape
        assert torch.allclose(run.logits[i], expected, atol=1e-4)
    assert torch.allclose(run.normed[5], inputs[5], atol=1e-5)
    # asking changes nothing else
    for ours, plain in zip(run.stages, encoder.run(image, keep).stages, strict=True):
        assert torch.allclose(ours, plain, atol=1e-5)


def test_until_computes_the_logits_and_nothing_behind_them():
    encoder = make(q_pool=2)
    image, keep = image_of(2, 3, 128, 128), some_units(2, 16, 9)
    whole = encoder.run(image, keep, logits_of=(3,), normed_of=(3,))

    def refuse(*args, **kwargs):
        raise AssertionError("computed for nothing")

    encoder.blocks[3].mlp.forward = encoder.blocks[3].attn.proj.forward = refuse
    encoder.blocks[4].forward = refuse
    encoder.blocks[3].attn.qkv.forward = refuse  # queries and keys come from its rows
    run = encoder.run(image, keep, logits_of=(3,), normed_of=(3,), until=3)
    assert torch.allclose(run.logits[3], whole.logits[3], atol=1e-5)
    assert torch.equal(run.normed[3], whole.normed[3])
    assert len(run.stages) == 2


def test_hidden_pixels_do_not_leak():
    """The patch convolution overlaps the units' edges."""
    encoder = make("hiera_tiny", q_pool=2)
    image, keep = image_of(1, 3, 224, 224), some_units(1, 49, 29)
    hidden = ~as_mask(keep, 49).view(1, 1, 7, 7)
    hidden = hidden.repeat_interleave(32, -1).repeat_interleave(32, -2)
    before = encoder.run(image, keep)
    after = encoder.run(torch.where(hidden, torch.full((), 7.0), image), keep)
    for a, b in zip(before.stages, after.stages, strict=True):
        assert torch.equal(a, b)
    other = encoder.run(torch.where(hidden, image, torch.full((), 7.0)), keep)
    assert not torch.allclose(before.stages[0], other.stages[0], atol=0.1)


def test_units_in_any_order_are_the_same_units():
    encoder = make(q_pool=2)
    image, keep = image_of(1, 3, 128, 128), some_units(1, 16, 9)
    forth, back = encoder.run(image, keep), encoder.run(image, keep.flip(1))
    for a, b in zip(forth.stages, back.stages, strict=True):
        assert torch.allclose(a, b.flip(1), atol=1e-5)


def test_attention_within_units_lags_one_block():
    kinds = [make("hiera_tiny").is_global(i) for i in range(12)]
    assert kinds == [False] * 4 + [True] * 8  # block 3 opens the third stage
    with pytest.raises(ValueError, match="within mask units"):
        make().run(image_of(1, 3, 128, 128), logits_of=(2,))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_units_hold_neighbours(levels):
    side = 2**levels
    h, w = 2 * side, 3 * side
    raster = torch.arange(h * w).view(1, h * w, 1)
    small = within_units(to_units(raster, (h, w), levels))
    expected = raster.view(2, side, 3, side).transpose(1, 2).reshape(1, 6, side, side, 1)
    assert torch.equal(small, expected)
    # the first four of the order are one token of the next stage
    first = to_units(raster, (h, w), levels).view(4, -1, 6)[:, 0, 0]
    assert sorted(first.tolist()) == [0, 1, w, w + 1]


def test_another_image_size_is_timms_with_a_resampled_table():
    encoder = make()
    large = make(img_size=(192, 256))
    state = encoder.state_dict()
    state["pos_embed"] = resample_table(encoder.pos_embed, (32, 32), (48, 64), cls_token=False)
    large.load_state_dict(state)
    image = image_of(1, 3, 192, 256)
    expected = timms(large).forward_intermediates(image, intermediates_only=True)
    for ours, theirs in zip(encoder.forward_maps(image), expected, strict=True):
        assert torch.allclose(ours, theirs, atol=5e-5)


def test_a_size_that_is_no_multiple_of_a_unit_is_padded_and_cut():
    encoder = make()
    image = image_of(1, 3, 100, 130)
    maps = encoder.forward_maps(image)
    assert [tuple(m.shape[-2:]) for m in maps] == [(25, 33), (13, 17), (7, 9), (4, 5)]
    padded = nn.functional.pad(image, (0, 30, 0, 28))
    for ours, full in zip(maps, encoder.forward_maps(padded), strict=True):
        assert torch.equal(ours, full[:, :, : ours.shape[2], : ours.shape[3]])


def test_stages_asked_for_and_no_more():
    encoder = make()
    image = image_of(2, 3, 128, 128)
    maps = encoder.forward_maps(image)
    for picked, i in zip(encoder.forward_maps(image, (2, 0, -3)), (2, 0, 1), strict=True):
        assert torch.equal(picked, maps[i])
    assert torch.equal(encoder(image), maps[3].flatten(2).transpose(1, 2))
    encoder.blocks[2].forward = None
    assert torch.equal(encoder.forward_maps(image, (1,))[0], maps[1])
    with pytest.raises(ValueError, match="4 stages"):
        encoder.forward_maps(image, (4,))


def test_no_parameter_depends_on_pooling():
    deep, shallow = make(q_pool=3), make(q_pool=2)
    shallow.load_state_dict(deep.state_dict())
    image = image_of(1, 3, 128, 128)
    assert shallow(image).shape == (1, 64, 64) and deep(image).shape == (1, 16, 64)
    shallow.set_q_pool(3)
    assert shallow.strides == (4, 8, 16, 32)
    assert torch.equal(shallow(image), deep(image))
    with pytest.raises(ValueError, match="q_pool=4"):
        shallow.set_q_pool(4)


def test_checkpointing_changes_no_gradient():
    image = image_of(1, 3, 64, 64)
    grads = []
    for checkpointing in (False, True):
        encoder = make(checkpointing=checkpointing).train()
        with torch.enable_grad():
            encoder(image).square().mean().backward()
        grads.append([p.grad for p in encoder.parameters()])
    for a, b in zip(*grads, strict=True):
        assert a.abs().sum() > 0 and torch.allclose(a, b)


def test_drop_path_grows_linearly():
    encoder = Hiera("hiera_test", drop_path=0.5)
    rates = [getattr(block.drop_path2, "drop_prob", 0.0) for block in encoder.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_start():
    torch.manual_seed(0)
    encoder = Hiera("hiera_tiny")
    weight = encoder.blocks[5].attn.qkv.weight
    assert weight.abs().max() <= (6 / sum(weight.shape)) ** 0.5 < 1.01 * weight.abs().max()
    conv = encoder.patch_embed.proj.weight
    assert conv.abs().max() <= (6 / (46 + 147)) ** 0.5 < 1.01 * conv.abs().max()
    assert encoder.pos_embed.std().item() == pytest.approx(0.02, rel=0.01)
    assert not encoder.blocks[3].proj.bias.any()


def test_presets():
    tiny, base = get_preset("hiera_tiny"), get_preset("hiera_base")
    assert (tiny.depth, tiny.widths, tiny.stage_heads) == (12, (46, 92, 184, 368), (1, 2, 4, 8))
    assert (tiny.stage_ends, tiny.unit, tiny.unit_pixels) == ((0, 2, 9, 11), 8, 32)
    assert (base.depth, base.widths[-1], base.stages) == (24, 768, (2, 3, 16, 3))
    assert sum(p.numel() for p in Hiera("hiera_tiny").parameters()) == 6_694_966 - 736 - 369_000
    encoder = Hiera("hiera_tiny")
    assert (encoder.heads_of(1), encoder.heads_of(4), encoder.heads_of(12)) == (1, 4, 8)
    assert (encoder.width_of(1), encoder.width_of(2), encoder.width_of(12)) == (46, 46, 368)


def test_names_are_the_published_ones(shared):
    layout = json.loads((shared / "facts/layouts/hiera_tiny_finetuned.json").read_text())
    shapes = {name: list(tensor.shape) for name, tensor in Hiera("hiera_tiny").state_dict().items()}
    behind = ("norm.", "head.")
    assert shapes == {name: s for name, s in layout.items() if not name.startswith(behind)}


def test_a_preset_of_the_other_kind_is_refused():
    with pytest.raises(ConfigError, match="another kind(?s:.*)vit_base_p16"):
        VisionTransformer("hiera_tiny")
    with pytest.raises(ConfigError, match="another kind(?s:.*)hiera_base"):
        Hiera("vit_tiny_p16_h12")
    with pytest.raises(ConfigError, match="no encoder preset 'hiera'"):
        Hiera("hiera")
    with pytest.raises(ConfigError, match="multiple of 32 pixels"):
        Hiera("hiera_test", img_size=100)
    Hiera(HieraPreset("mine", width=4, stages=(1, 1, 1, 1), img_size=32))
