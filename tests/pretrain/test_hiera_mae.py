"""Hiera's masked autoencoder against one written out slowly, in the published layout."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightvit_bench.errors import ConfigError
from lightvit_bench.pretrain.hiera import (
    PUBLISHED,
    HieraMaskedAutoencoder,
    published_names,
    tap_hiera,
)
from lightvit_bench.pretrain.mae import reconstruct
from lightvit_bench.pretrain.masking import Masking, random_order
from lightvit_bench.pretrain.taps import Wanted
from lightvit_bench.vit import Hiera

# isort: split
from timm.models.hiera import Hiera as TimmHiera  # after vit, which prepares its import
from timm.models.hiera import HieraBlock

DECODER = dict(width=96, depth=1, heads=3)


def norm(width, **kwargs):
    return nn.LayerNorm(width, eps=1e-6, **kwargs)


def make(preset="hiera_test", seed=0, **options):
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = HieraMaskedAutoencoder(Hiera(preset, q_pool=2), **{**DECODER, **options})
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    return model


def published(model):
    """A model's tensors as the authors name and order them, the inverse of `published_names`."""
    inverse = {ours: theirs for theirs, ours in PUBLISHED.items()}
    inverse |= {"encoder.": "", "decoder.mask_token": "mask_token"}
    state = {}
    for name, tensor in model.state_dict().items():
        start = max((s for s in inverse if name.startswith(s)), key=len)
        if name.startswith("decoder.pred."):
            tensor = torch.stack(
                [tensor[pixel * 3 + c] for c in range(3) for pixel in range(len(tensor) // 3)]
            )
        state[inverse[start] + name.removeprefix(start)] = tensor.clone()
    return state


def image_of(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def order_of(batch, units, seed=2):
    return random_order(batch, units, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def model():
    return make()


@pytest.fixture
def image():
    return image_of(2, 3, 128, 128)


@pytest.fixture
def masking(model):
    return model.masking(order_of(2, 16))


def slow_mae(state, preset, image, visible):
    """Loss, and predictions of every patch, of published tensors: loops, and timm's modules.

    `visible` (B, rows, columns) of mask units; patches are 16 pixels, channel before pixel.
    """
    encoder = TimmHiera(
        img_size=image.shape[-2:], embed_dim=preset.width, num_heads=1, stages=preset.stages,
        q_pool=2, num_classes=0, norm_layer=norm,
    ).eval()  # fmt: skip
    encoder.load_state_dict(state, strict=False)
    _, stages = encoder.forward_features(image, mask=visible.flatten(1), return_intermediates=True)
    batch, rows, columns = visible.shape
    heads = [f"multi_scale_fusion_heads.{i}." for i in range(2)]
    tokens = state["mask_token"].expand(batch, rows * 2 * columns * 2, -1).clone()
    for b in range(batch):
        seen = 0
        for y in range(rows):
            for x in range(columns):
                if not visible[b, y, x]:
                    continue
                fused = stages[3][b, seen].permute(2, 0, 1)
                for head, stage in zip(heads, stages, strict=False):
                    weight = state[head + "weight"]
                    unit = stage[b, seen].permute(2, 0, 1)[None]
                    conv = F.conv2d(unit, weight, state[head + "bias"], stride=weight.shape[-1])
                    fused = fused + conv[0]
                width = fused.shape[0]
                for i in range(2):
                    for j in range(2):
                        token = F.layer_norm(
                            fused[:, i, j], (width,), state["encoder_norm.weight"],
                            state["encoder_norm.bias"], 1e-6,
                        )  # fmt: skip
                        place = (2 * y + i) * 2 * columns + 2 * x + j
                        tokens[b, place] = F.linear(
                            token, state["decoder_embed.weight"], state["decoder_embed.bias"]
                        )
                seen += 1
    tokens = tokens + state["decoder_pos_embed"]
    block = HieraBlock(96, 96, heads=3, norm_layer=norm)
    part = "decoder_blocks.0."
    block.load_state_dict(
        {name.removeprefix(part): t for name, t in state.items() if name.startswith(part)}
    )
    tokens = block(tokens)
    tokens = F.layer_norm(
        tokens, (96,), state["decoder_norm.weight"], state["decoder_norm.bias"], 1e-6
    )
    pred = F.linear(tokens, state["decoder_pred.weight"], state["decoder_pred.bias"])
    losses = []
    for b in range(batch):
        for y in range(2 * rows):
            for x in range(2 * columns):
                if visible[b, y // 2, x // 2]:
                    continue
                cell = image[b, :, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16].flatten()
                label = (cell - cell.mean()) / (cell.var() + 1e-6).sqrt()
                losses.append((pred[b, y * 2 * columns + x] - label).square().mean())
    return torch.stack(losses).mean(), pred


def test_loss_and_predictions_are_the_published_ones(model, image, masking):
    state = published(model)
    visible = ~masking.hidden.view(2, 4, 4)
    with torch.no_grad():
        loss, pred = slow_mae(state, model.encoder.preset, image, visible)
        out = model.eval()(image, masking, everywhere=True)
    assert out.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    ours = out.pred.unflatten(-1, (16, 16, 3)).movedim(-1, -3).flatten(-3)
    assert torch.allclose(ours, pred, atol=1e-4)


def test_published_names_are_the_inverse(model):
    again = published_names(published(model))
    own = model.state_dict()
    assert set(again) == set(own)
    assert all(torch.equal(again[name], tensor) for name, tensor in own.items())


def test_the_authors_layout(shared):
    layout = json.loads((shared / "facts/layouts/mae_hiera_tiny.json").read_text())
    model = HieraMaskedAutoencoder(Hiera("hiera_tiny", q_pool=2), **DECODER)
    model.load_state_dict(published_names({k: torch.zeros(s) for k, s in layout.items()}))
    assert len(layout) == len(model.state_dict()) == 179


def test_size_and_numbers_of_the_recipe():
    model = HieraMaskedAutoencoder(Hiera("hiera_tiny", q_pool=2))
    assert sum(p.numel() for p in model.parameters()) == 6_973_838
    assert (model.units, model.kept, model.patch, model.grid) == (49, 29, 16, (14, 14))
    assert model.depth == 12 and model.heads_of(12) == 8 and model.width_of(12) == 368
    assert [tuple(h.weight.shape) for h in model.fusion_heads] == [(368, 46, 4, 4), (368, 92, 2, 2)]
    assert model.decoder.pos_embed.shape == (1, 196, 96) and model.decoder.pos_embed.requires_grad
    assert model.decoder.pos_embed.std().item() == pytest.approx(0.02, rel=0.05)


def test_masking_is_in_raster_order(model):
    order = order_of(3, 16)
    masking = model.masking(order)
    assert masking.keep.shape == (3, 9)
    for row, first in zip(masking.keep, order[:, :9], strict=True):
        assert row.tolist() == sorted(first.tolist())
    for row, rest in zip(masking.hide, order[:, 9:], strict=True):
        assert row.tolist() == sorted(rest.tolist())


def test_patches_belong_to_their_units(model, masking):
    patches = model.patch_masking(masking)
    grid = masking.hidden.view(2, 4, 4)
    hidden = grid.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1)
    assert torch.equal(patches.hidden, hidden)
    for b in range(2):
        assert sorted(patches.hide[b].tolist()) == hidden[b].nonzero().flatten().tolist()
        assert sorted(patches.keep[b].tolist()) == (~hidden[b]).nonzero().flatten().tolist()
    both = torch.cat([patches.keep, patches.hide], dim=1)
    assert torch.equal(both.gather(1, patches.restore), torch.arange(64).expand(2, -1))
    assert torch.equal(model.hidden_patches(masking), patches.hide)


def test_hidden_patches_alone_are_predicted(model, image, masking):
    some, every = model(image, masking), model(image, masking, everywhere=True)
    assert some.pred.shape == (2, 28, 768) and every.pred.shape == (2, 64, 768)
    assert some.latent.shape == (2, 36, 64)
    hidden = model.hidden_patches(masking)
    picked = every.pred.gather(1, hidden[..., None].expand(-1, -1, 768))
    assert torch.allclose(some.pred, picked, atol=1e-5)
    assert some.loss.item() == pytest.approx(every.loss.item(), rel=1e-5)


def test_everything_learns(model, image, masking):
    model(image, masking).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_a_perfect_prediction_paints_the_image(model, image, masking):
    masked, painted = reconstruct(model, image, masking)
    hidden = masking.hidden.view(2, 1, 4, 4)
    hidden = hidden.repeat_interleave(32, -1).repeat_interleave(32, -2).expand_as(image)
    assert torch.equal(masked, image.masked_fill(hidden, 0))
    assert torch.equal(painted[~hidden], image[~hidden])
    assert not torch.allclose(painted[hidden], image[hidden], atol=0.1)
    every = torch.arange(64).expand(2, -1)
    truth = model.targets(image, every)
    model.decoder.forward = lambda *args: truth
    assert torch.allclose(reconstruct(model, image, masking)[1], image, atol=1e-5)
    assert model(image, masking, everywhere=True).loss.item() == 0


def test_taps_of_a_teacher(model, image, masking):
    """A frozen encoder shows what the student's forward shows, and stops there."""
    wanted = Wanted(logits=(4, 6), hidden=(6,))
    out = model.eval()(image, masking, wanted)
    kept = 9 * 4
    assert out.taps.logits[6].shape == (2, 8, kept, kept)
    assert out.taps.logits[4].shape == (2, 4, kept, kept)
    assert out.taps.hidden[6].shape == (2, kept, 64)
    model.encoder.blocks[5].mlp.forward = None
    taps = tap_hiera(model.encoder, image, masking, wanted)
    for ours, theirs in ((out.taps.logits, taps.logits), (out.taps.hidden, taps.hidden)):
        assert set(ours) == set(theirs)
        assert all(torch.allclose(ours[i], theirs[i], atol=1e-5) for i in ours)


def test_student_and_teacher_have_the_same_tokens():
    """Another depth and width, the same units: maps of equal size, token by token."""
    student = make("hiera_tiny").eval()
    teacher = Hiera("hiera_base", q_pool=2).eval()
    image, masking = image_of(1, 3, 224, 224), student.masking(order_of(1, 49))
    with torch.no_grad():
        ours = student(image, masking, Wanted(logits=(12,))).taps.logits[12]
        theirs = tap_hiera(teacher, image, masking, Wanted(logits=(24,))).logits[24]
    assert ours.shape == theirs.shape == (1, 8, 116, 116)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Wanted(logits=(3,)), "within mask units(?s:.*)blocks 4 to 6"),
        (Wanted(hidden=(1,)), "within mask units"),
        (Wanted(logits=(7,)), "block 7 of the student, which has 6"),
        (Wanted(relations=(6,)), "cannot be distilled"),
    ],
)
def test_what_cannot_be_read_is_refused(model, image, masking, wanted, says):
    with pytest.raises(ConfigError, match=says):
        model(image, masking, wanted)
    with pytest.raises(ConfigError, match=says.replace("student", "teacher")):
        tap_hiera(model.encoder, image, masking, wanted)


@pytest.mark.parametrize("ratio", [0.97, 0.0])
def test_a_ratio_that_hides_all_or_nothing_is_refused(ratio):
    with pytest.raises(ConfigError, match="hides"):
        make(mask_ratio=ratio)


def test_pixels_as_they_are(image):
    model = make(norm_pixels=False)
    masking = Masking.of(order_of(2, 16), model.kept).ascending()
    hidden = model.hidden_patches(masking)
    target = model.targets(image, hidden)
    place = hidden[1, 5].item()
    y, x = 16 * (place // 8), 16 * (place % 8)
    cell = image[1, :, y : y + 16, x : x + 16].permute(1, 2, 0).flatten()
    assert torch.equal(target[1, 5], cell)


def test_half_precision_and_one_graph(model, image, masking):
    """What a training on a GPU does: autocast, and torch.compile without graph breaks."""
    wanted = Wanted(logits=(6,))
    expected = model(image, masking, wanted).loss
    with torch.autocast("cpu", torch.bfloat16):
        half = model(image, masking, wanted)
    assert half.loss.dtype == torch.float32
    assert half.loss.item() == pytest.approx(expected.item(), rel=0.05)
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    assert compiled(image, masking, wanted).loss.item() == pytest.approx(expected.item(), rel=1e-5)
