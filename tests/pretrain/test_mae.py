"""The masked autoencoder against a slow one that hides, encodes and compares patch by patch."""

import pytest
import torch
import torch.nn.functional as F

from lightvit_bench.errors import ConfigError
from lightvit_bench.pretrain.decoder import Decoder
from lightvit_bench.pretrain.mae import MaskedAutoencoder, normalise_patches, reconstruct
from lightvit_bench.pretrain.masking import random_order
from lightvit_bench.pretrain.taps import Wanted
from lightvit_bench.vit import VisionTransformer
from lightvit_bench.vit.patches import take_patches, to_image, to_patches


def make(seed=0, **options) -> MaskedAutoencoder:
    """A small autoencoder in eval mode; biases and norms are not at their start."""
    torch.manual_seed(seed)
    encoder = VisionTransformer("vit_test")
    decoder = Decoder(32, encoder.grid, 16, width=16, depth=2, heads=2)
    model = MaskedAutoencoder(encoder, decoder, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 64, 64, generator=generator), random_order(2, 16, generator=generator)


def slow_mae(model, image, order):
    """Loss, latent and all predictions of one image (3, 64, 64), written as the paper tells it."""
    encoder, decoder = model.encoder, model.decoder
    kept = int(16 * 0.25)
    embedded = encoder.patch_embed.proj(image[None])[0].flatten(1).T  # (16, 32)
    tokens = [encoder.cls_token[0, 0] + encoder.pos_embed[0, 0]]
    tokens += [embedded[i] + encoder.pos_embed[0, 1 + i] for i in order[:kept].tolist()]
    x = torch.stack(tokens)[None]
    for block in encoder.blocks:
        x = block(x)[0]
    latent = encoder.norm(x)
    small = decoder.embed(latent)[0]
    rows = [small[0]] + [decoder.mask_token[0, 0]] * 16
    for place, i in enumerate(order[:kept].tolist()):
        rows[1 + i] = small[1 + place]
    x = (torch.stack(rows) + decoder.pos_embed[0])[None]
    for block in decoder.blocks:
        x = block(x)[0]
    pred = decoder.pred(decoder.norm(x))[0, 1:]
    errors = []
    for i in order[kept:].tolist():
        top, left = 16 * (i // 4), 16 * (i % 4)
        pixels = image[:, top : top + 16, left : left + 16].permute(1, 2, 0).flatten()
        wanted = (pixels - pixels.mean()) / (pixels.var() + 1e-6) ** 0.5
        errors.append(((pred[i] - wanted) ** 2).mean())
    return torch.stack(errors).mean(), latent[0], pred


def test_equals_the_slow_one(batch):
    image, order = batch
    model = make()
    output = model(image, model.masking(order), everywhere=True)
    slow = [slow_mae(model, *pair) for pair in zip(image, order, strict=True)]
    assert output.loss.item() == pytest.approx(torch.stack([s[0] for s in slow]).mean().item())
    torch.testing.assert_close(output.latent, torch.stack([s[1] for s in slow]))
    torch.testing.assert_close(output.pred, torch.stack([s[2] for s in slow]))


def test_predicting_hidden_patches_alone_changes_nothing(batch):
    image, order = batch
    model = make()
    masking = model.masking(order)
    alone, everywhere = (model(image, masking, everywhere=everywhere) for everywhere in (0, 1))
    torch.testing.assert_close(alone.loss, everywhere.loss)
    for b in range(2):
        torch.testing.assert_close(alone.pred[b], everywhere.pred[b, masking.hide[b]])


def test_hidden_pixels_do_not_reach_the_encoder(batch):
    image, order = batch
    model = make()
    masking = model.masking(order)
    hidden = to_image(
        masking.hidden[..., None].expand(-1, -1, 16 * 16 * 3).float(), model.grid
    ).bool()
    changed = torch.where(hidden, torch.randn_like(image), image)
    before, after = (model(x, masking) for x in (image, changed))
    assert torch.equal(before.latent, after.latent) and torch.equal(before.pred, after.pred)
    assert not torch.equal(before.loss, after.loss)


def test_raw_pixels_as_target(batch):
    image, order = batch
    model = make(norm_pixels=False)
    masking = model.masking(order)
    output = model(image, masking)
    patches = to_patches(image, 16)
    wanted = torch.stack([patches[b, masking.hide[b]] for b in range(2)])
    torch.testing.assert_close(output.loss, F.mse_loss(output.pred, wanted))


def test_the_decoder_reads_the_normed_output_of_inner_blocks(batch):
    image, order = batch
    decoupled, whole = make(decode_after=2), make()
    whole.load_state_dict(decoupled.state_dict())
    whole.encoder.blocks = whole.encoder.blocks[:2]
    masking = decoupled.masking(order)
    inner = decoupled(image, masking)
    tokens = whole.encoder.with_cls(whole.encoder.patchify(image, keep=masking.keep))
    latent = whole.encoder.norm(whole.encoder.run_blocks(tokens).tokens)
    torch.testing.assert_close(inner.latent, latent)
    inner.loss.backward()
    assert all(p.grad is None for p in decoupled.encoder.blocks[2].parameters())


def test_the_last_blocks_logits_come_from_all_blocks_before_it(batch):
    """D²-MAE: an extra block that ends with its logits; its gradient reaches every other block."""
    image, order = batch
    model = make(decode_after=2, logits_block=True)
    assert model.depth == 4
    masking = model.masking(order)
    logits = model(image, masking, Wanted(logits=(4,))).taps.logits[4]
    tokens = model.encoder.with_cls(model.encoder.patchify(image, keep=masking.keep))
    x = model.logits_block.norm1(model.encoder.run_blocks(tokens).tokens)
    q, k, _ = model.logits_block.attn.qkv(x).reshape(2, 5, 3, 4, 8).permute(2, 0, 3, 1, 4)
    torch.testing.assert_close(logits, q @ k.transpose(-2, -1) / 8**0.5)
    logits.square().mean().backward()
    for block in model.encoder.blocks:  # no gradient is stopped on the way
        assert block.attn.qkv.weight.grad.abs().sum() > 0
    values = model.logits_block.attn.qkv.weight.grad[2 * 32 :]
    assert torch.equal(values, torch.zeros_like(values))


@pytest.mark.parametrize("after", [0, 4])
def test_a_decoder_behind_the_encoder_is_refused(after):
    with pytest.raises(ConfigError, match="model.decode_after"):
        make(decode_after=after)


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_patches_are_normalised_by_the_unbiased_variance(scale):
    patches = scale * torch.randn(2, 3, 48, generator=torch.Generator().manual_seed(0)) + 1
    mean, var = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
    torch.testing.assert_close(
        normalise_patches(patches), (patches - mean) / (var + 1e-6) ** 0.5, atol=1e-4, rtol=1e-4
    )


def test_patches_of_an_image_and_back():
    image = torch.randn(2, 3, 32, 48)
    patches = to_patches(image, 16)
    assert torch.equal(patches[1, 4].view(16, 16, 3), image[1, :, 16:, 16:32].permute(1, 2, 0))
    assert torch.equal(to_image(patches, (2, 3)), image)
    some = take_patches(image, 16, torch.tensor([[5, 0], [4, 4]]))
    assert torch.equal(some[0, 0], image[0, :, 16:, 32:])
    assert torch.equal(some[1, 1], image[1, :, 16:, 16:32])


def test_reconstruction_keeps_what_was_seen(batch):
    image, order = batch
    model = make()
    masking = model.masking(order)
    masked, painted = reconstruct(model, image, masking)
    seen = ~to_image(masking.hidden[..., None].expand(-1, -1, 768).float(), model.grid).bool()
    assert torch.equal(masked[seen], image[seen]) and torch.equal(painted[seen], image[seen])
    assert (masked[~seen] == 0).all()
    # predictions are given the true patches' mean and deviation
    pred = model(image, masking, everywhere=True).pred
    i = masking.hide[0, 0]
    true = to_patches(image, 16)[0, i]
    wanted = pred[0, i] * (true.var() + 1e-6).sqrt() + true.mean()
    torch.testing.assert_close(to_patches(painted, 16)[0, i], wanted)
