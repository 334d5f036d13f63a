"""Our own format: round trips, the manifest, the fingerprint, and encoders of another make."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import fields, replace

import pytest
import safetensors.torch
import torch

import lightvit_bench.checkpoint.encoder as encoder_module
from lightvit_bench.checkpoint import (
    HeadCountWarning,
    Manifest,
    Parent,
    compare,
    fingerprint,
    load_encoder,
    load_into,
    read_extra,
    read_manifest,
    read_safetensors,
    save_encoder,
)
from lightvit_bench.checkpoint.fingerprint import fixed_image
from lightvit_bench.checkpoint.manifest import KEY, from_json
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.vit import VisionTransformer, ViTPreset
from lightvit_bench.vit.position import resample_table


def make(seed=0, **kwargs):
    """A test encoder whose every tensor is away from its start."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        encoder = VisionTransformer("vit_test", **kwargs)
        for parameter in encoder.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return encoder


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def image():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "enc.safetensors"
    save_encoder(path, make(), recipe="mae", epochs=400)
    return path


def rewrite(path, tensors=None, **changes):
    """Write a checkpoint again with other tensors or manifest fields (None removes a field)."""
    old, metadata = read_safetensors(path)
    values = {**json.loads(metadata[KEY]), **changes}
    values = {name: value for name, value in values.items() if value != "absent"}
    safetensors.torch.save_file(tensors or old, path, {KEY: json.dumps(values)})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"final_norm": False},
        {"cls_token": False},
        {"layer_scale": 0.1},
        {"rel_pos": True},
        {"rel_pos": True, "cls_token": False, "layer_scale": 0.1, "final_norm": False},
        {"img_size": (48, 80)},
        {"img_size": (48, 80), "rel_pos": True},
    ],
    ids=str,
)
def test_round_trip_is_bit_exact(options, tmp_path, image):
    encoder = make(**options)
    save_encoder(tmp_path / "x.safetensors", encoder, recipe="mae")
    loaded = load_encoder(tmp_path / "x.safetensors", "vit_test")
    assert equal(encoder, loaded) and loaded.grid == encoder.grid
    assert torch.equal(encoder.eval()(image), loaded.eval()(image))


def test_manifest_says_what_was_saved(tmp_path):
    path, parents = tmp_path / "x.safetensors", (Parent("a.pth", "0" * 64),)
    written = save_encoder(
        path,
        make(final_norm=False, img_size=(32, 64)),
        recipe="d2mae",
        epochs=7,
        parents=parents,
        extra={"head": {"weight": torch.ones(3, 32)}, "none": {}},
        image_mean=(0.5, 0.5, 0.5),
        image_std=(0.25, 0.25, 0.25),
        heads_from="converter",
    )
    manifest = read_manifest(path)
    assert manifest == written
    assert (manifest.preset, manifest.heads, manifest.width) == ("vit_test", 4, 32)
    assert (manifest.grid, manifest.norm, manifest.epochs) == ((2, 4), "none", 7)
    assert manifest.parents == parents and manifest.extra == ("head",)
    assert manifest.image_mean == (0.5, 0.5, 0.5) and manifest.heads_from == "converter"
    assert torch.equal(read_extra(path, "head")["weight"], torch.ones(3, 32))
    assert "extra.head.weight" in read_safetensors(path)[0]
    with pytest.raises(CheckpointError, match="keeps no 'fc_norm'"):
        read_extra(path, "fc_norm")


def test_manifest_is_read_without_the_tensors(saved, monkeypatch):
    monkeypatch.setattr(encoder_module, "read_safetensors", None)
    assert read_manifest(saved).recipe == "mae"


def test_saving_leaves_the_encoder_and_the_random_state_alone(tmp_path):
    encoder = make(drop_path=0.3).train()
    encoder.blocks[0].requires_grad_(False)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    save_encoder(tmp_path / "x.safetensors", encoder, recipe="mae")
    load_into(encoder, tmp_path / "x.safetensors")
    assert torch.equal(state, torch.random.get_rng_state())
    assert encoder.training and not encoder.blocks[0].attn.qkv.weight.requires_grad
    assert encoder.blocks[1].attn.qkv.weight.requires_grad


def test_half_precision_is_stored_in_float32(tmp_path):
    half = make().half()
    save_encoder(tmp_path / "x.safetensors", half, recipe="mae")
    loaded = load_encoder(tmp_path / "x.safetensors")
    assert loaded.pos_embed.dtype == torch.float32
    assert torch.equal(loaded.pos_embed, half.pos_embed.float())


# the manifest's refusals
WRONG = {
    "preset": [7, "", "vit_tset"],
    "heads": ["4", 0, True, 2],
    "width": [64],
    "depth": [2],
    "patch": [8],
    "grid": [[4], [4, 4, 4], [4, 0], "44", 4],
    "cls_token": [1, "yes", None],
    "norm": ["last", None, True],
    "layer_scale": [0.1],
    "rel_pos": [0],
    "image_mean": [[0.5], 0.5, ["a", "b", "c"], [0.5, 0.5, None]],
    "image_std": [[1, 1, float("inf")]],
    "recipe": [None, 3],
    "epochs": ["400", -1, 1.5],
    "parents": ["a.pth", [{"name": "a"}], [{"name": "a", "sha256": 3}], [["a", "b"]]],
    "heads_from": ["me"],
    "extra": ["head", [3]],
    "fingerprint": [None, {}, {"tokens": {}, "normed": None}],
    "format_version": [0, "1", None],
}


def test_every_field_of_the_manifest_is_tested():
    assert set(WRONG) == {field.name for field in fields(Manifest)}


@pytest.mark.parametrize("field", WRONG)
def test_wrong_fields_are_refused(field, saved):
    for value in WRONG[field]:
        rewrite(saved, **{field: value})
        with pytest.raises(CheckpointError) as error:
            read_manifest(saved)
        assert str(saved) in str(error.value), value
        assert field in str(error.value), value


@pytest.mark.parametrize("field", WRONG)
def test_missing_fields_are_refused(field, saved):
    rewrite(saved, **{field: "absent"})
    with pytest.raises(CheckpointError, match=f"missing fields[^~]*{field}|no valid {field}"):
        read_manifest(saved)


def test_unknown_fields_and_later_formats_are_refused(saved):
    rewrite(saved, colour="blue")
    with pytest.raises(CheckpointError, match="unknown fields[^~]*colour"):
        read_manifest(saved)
    rewrite(saved, format_version=2)
    with pytest.raises(CheckpointError, match="has format 2[^~]*update lightvit_bench"):
        load_encoder(saved)


@pytest.mark.parametrize("text", ["{", "[]", "3", ""])
def test_a_manifest_that_is_none_is_refused(text):
    with pytest.raises(CheckpointError, match="not (JSON|a JSON object)[^~]*some.safetensors"):
        from_json(text, "some.safetensors")


# heads
def test_another_head_count_is_refused_with_the_reason(saved, monkeypatch):
    two = ViTPreset("vit_test_h2", width=32, depth=3, heads=2, img_size=64)
    monkeypatch.setitem(encoder_module.get_preset.__globals__["PRESETS"], two.name, two)
    for load in (
        lambda: load_encoder(saved, "vit_test_h2"),
        lambda: load_into(VisionTransformer(two), saved),
    ):
        with pytest.raises(CheckpointError, match="is a vit_test, not a vit_test_h2") as error:
            load()
        assert "features are garbage" in str(error.value)
        assert "heads 4 in the file, 2 asked for" in str(error.value)


def test_tiny_with_3_heads_asked_for_as_12_is_refused(tmp_path):
    path = tmp_path / "deit.safetensors"
    save_encoder(path, VisionTransformer("vit_tiny_p16_h3"), recipe="deit")
    with pytest.raises(CheckpointError, match="with 12 heads instead of 3"):
        load_encoder(path, "vit_tiny_p16_h12")


def test_an_unknown_preset_lists_near_names(saved):
    with pytest.raises(ConfigError, match="vit_test"):
        load_encoder(saved, "vit_tset")


def test_unverified_heads_warn_at_every_load(tmp_path):
    save_encoder(tmp_path / "x.safetensors", make(), recipe="timm", heads_from="unverified")
    with pytest.warns(HeadCountWarning, match="4 heads"):
        load_encoder(tmp_path / "x.safetensors")


def test_known_heads_do_not_warn(saved):
    with warnings.catch_warnings():
        warnings.simplefilter("error", HeadCountWarning)
        load_encoder(saved)


# fingerprints
def tamper_scale(state):
    state["blocks.1.attn.proj.weight"] *= 1.05


def tamper_swap(state):
    for name in [name for name in state if name.startswith("blocks.0.")]:
        other = name.replace("blocks.0.", "blocks.1.")
        state[name], state[other] = state[other], state[name]


def tamper_nan(state):
    state["blocks.2.mlp.fc2.bias"][0] = float("nan")


def tamper_norm(state):
    state["norm.weight"] *= 1.01


def tamper_heads(state):
    """The rows of 4 heads in the order that 2 heads would read them."""
    weight = state["blocks.0.attn.qkv.weight"]
    state["blocks.0.attn.qkv.weight"] = weight.view(3, 4, 8, 32).transpose(1, 2).reshape(96, 32)


@pytest.mark.parametrize(
    "tamper", [tamper_scale, tamper_swap, tamper_nan, tamper_norm, tamper_heads]
)
def test_changed_weights_are_noticed(tamper, saved):
    tensors, _ = read_safetensors(saved)
    tamper(tensors)
    rewrite(saved, {name: tensor.clone() for name, tensor in tensors.items()})
    for load in (lambda: load_encoder(saved), lambda: load_into(make(1), saved)):
        with pytest.raises(CheckpointError, match="does not compute what it did") as error:
            load()
        assert "instead of" in str(error.value)


def test_a_wrong_head_count_shows_in_the_fingerprint():
    """Even of weights fresh from their start, whose attention is nearly even."""
    torch.manual_seed(0)
    four = VisionTransformer("vit_test")
    two = VisionTransformer(replace(four.preset, heads=2))
    two.load_state_dict(four.state_dict())
    assert compare(fingerprint(four), fingerprint(two))


def test_fingerprints_agree_across_settings():
    encoder = make()
    expected = fingerprint(encoder)
    by_hand = encoder.eval()(fixed_image(64, 64)).detach()
    assert expected.normed.std == pytest.approx(by_hand.std(correction=0).item(), rel=1e-6)
    assert expected.normed.v[-1] == pytest.approx(by_hand[0, -1, -1].item(), rel=1e-5)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert compare(expected, fingerprint(encoder.train())) == []
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("highest")


def test_small_differences_pass_and_larger_ones_do_not():
    encoder = make()
    expected = fingerprint(encoder)
    std = expected.tokens.std
    for factor, same in ((1e-4, True), (1e-2, False)):
        other = replace(expected, tokens=replace(expected.tokens, mean=expected.tokens.mean
                                                 + factor * std))  # fmt: skip
        assert (compare(expected, other) == []) is same
    assert compare(expected, replace(expected, normed=None))


def test_the_fixed_image_is_the_same_for_ever():
    image = fixed_image(64, 48)
    assert image.shape == (1, 3, 64, 48) and image.dtype == torch.float32
    assert image.min() >= -2 and image.max() < 2 and 1.0 < image.std() < 1.3
    assert image[0, 0, 0, 0] == image[0, 0, 3, 3] != image[0, 0, 4, 4]
    for channel, row, column in ((0, 0, 0), (1, 32, 20), (2, 63, 47)):  # in Python's own integers
        value = channel * 7919 + row // 4 * 104729 + column // 4 * 1299709 + 1
        for factor in (0x45D9F3B, 0x119DE1F3):
            value = ((value >> 16) ^ value) * factor % 2**32
        assert image[0, channel, row, column].item() == (value >> 8) / 2**22 - 2


def test_an_encoder_with_nan_is_not_saved(tmp_path):
    encoder = make()
    encoder.blocks[0].norm1.weight.data[0] = float("nan")
    with pytest.raises(CheckpointError, match="NaN"):
        save_encoder(tmp_path / "x.safetensors", encoder, recipe="mae")
    assert os.listdir(tmp_path) == []


def test_only_registered_presets_are_saved(tmp_path):
    other = VisionTransformer(ViTPreset("vit_test", width=32, depth=3, heads=8, img_size=64))
    with pytest.raises(CheckpointError, match="not the registered"):
        save_encoder(tmp_path / "x.safetensors", other, recipe="mae")
    with pytest.raises(ValueError, match="no dots"):
        save_encoder(tmp_path / "x.safetensors", make(), recipe="mae", extra={"a.b": {"c": 1}})


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def half(tensors, path, metadata):
        path.write_bytes(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(safetensors.torch, "save_file", half)
    with pytest.raises(OSError, match="disk full"):
        save_encoder(tmp_path / "x.safetensors", make(), recipe="mae")
    assert os.listdir(tmp_path) == []


# encoders of another make
def test_another_size_resamples_the_positions(saved):
    source = load_encoder(saved)
    target = VisionTransformer("vit_test", img_size=(48, 96))
    report = load_into(target, saved)
    expected = resample_table(source.pos_embed, (4, 4), (3, 6), cls_token=True)
    assert torch.equal(target.pos_embed, expected) and target.grid == (3, 6)
    assert report.resampled == ("pos_embed",) and report.missing == () == report.unexpected
    assert torch.equal(load_encoder(saved, img_size=(48, 96)).pos_embed, expected)


@pytest.mark.parametrize("with_cls", [True, False])
@pytest.mark.parametrize("size", [64, (48, 96)])
def test_relative_positions_follow_grid_and_cls(with_cls, size, tmp_path, image):
    """Loaded into another grid, the bias equals what the source itself resamples for that grid."""
    path = tmp_path / "x.safetensors"
    source = make(rel_pos=True)
    save_encoder(path, source, recipe="finetuned")
    target = load_encoder(path, img_size=size, cls_token=with_cls)
    for ours, theirs in zip(target.blocks, source.blocks, strict=True):
        expected = theirs.attn.rel_pos.for_grid(target.grid)
        skip = 0 if with_cls else 1
        assert torch.allclose(
            ours.attn.rel_pos.for_grid(target.grid), expected[:, :, skip:, skip:], atol=1e-6
        )
    if with_cls and size == 64:
        assert torch.equal(target.eval()(image), source.eval()(image))


def test_no_cls_token_and_no_norm_are_left_out(saved):
    target = VisionTransformer("vit_test", cls_token=False, final_norm=False)
    report = load_into(target, saved)
    assert set(report.unexpected) == {"cls_token", "norm.weight", "norm.bias"}
    source = load_encoder(saved)
    assert torch.equal(target.pos_embed, source.pos_embed[:, 1:])
    assert torch.equal(target.blocks[2].mlp.fc2.weight, source.blocks[2].mlp.fc2.weight)
    assert report.norm == "none" and report.resampled == ()


def test_a_final_norm_is_never_made_up(tmp_path):
    path = tmp_path / "d2.safetensors"
    save_encoder(
        path,
        make(final_norm=False),
        recipe="d2mae",
        extra={"norm_depth8": {"weight": torch.full((32,), 3.0), "bias": torch.zeros(32)}},
    )
    assert isinstance(load_encoder(path).norm, torch.nn.Identity)
    target = VisionTransformer("vit_test")
    with pytest.raises(CheckpointError, match="no final norm[^~]*fresh_norm=True"):
        load_into(target, path)
    report = load_into(target, path, fresh_norm=True)
    assert report.norm == "fresh" and report.missing == ("norm.weight", "norm.bias")
    assert torch.equal(target.norm.weight, torch.ones(32)) and report.aside == ("norm_depth8",)


@pytest.mark.parametrize(
    ("options", "argument"),
    [({"layer_scale": 0.1}, "layer_scale=1.0"), ({"rel_pos": True}, "rel_pos=True")],
)
def test_parts_that_would_be_lost_are_refused(options, argument, tmp_path):
    save_encoder(tmp_path / "x.safetensors", make(**options), recipe="finetuned")
    with pytest.raises(CheckpointError, match=f"build it with {argument}"):
        load_into(VisionTransformer("vit_test"), tmp_path / "x.safetensors")
    assert equal(load_encoder(tmp_path / "x.safetensors"), make(**options))


def test_parts_that_the_file_lacks_start_as_built(saved, image):
    """The authors' segmentation recipe adds LayerScale 1 and zero tables to a pre-trained file."""
    target = VisionTransformer("vit_test", layer_scale=1.0, rel_pos=True)
    report = load_into(target, saved)
    assert len(report.missing) == 3 * 3 and "blocks.0.ls1.gamma" in report.missing
    assert torch.allclose(target.eval()(image), load_encoder(saved).eval()(image), atol=1e-5)


def test_a_missing_cls_token_is_refused(tmp_path):
    save_encoder(tmp_path / "x.safetensors", make(cls_token=False), recipe="mae")
    with pytest.raises(CheckpointError, match="no CLS token[^~]*cls_token=False"):
        load_into(VisionTransformer("vit_test"), tmp_path / "x.safetensors")


def test_training_options_are_taken(saved):
    encoder = load_encoder(saved, drop_path=0.2, checkpointing=True, train_positions=False)
    assert encoder.checkpointing and not encoder.pos_embed.requires_grad
    assert encoder.blocks[2].drop_path1.drop_prob == pytest.approx(0.2)
    assert equal(encoder, load_encoder(saved))


def test_the_report_is_readable(saved):
    report = load_into(VisionTransformer("vit_test", cls_token=False, img_size=96), saved)
    text = str(report)
    assert 4 <= len(text.splitlines()) <= 8
    for part in (str(saved), "vit_test, 4 heads", "recipe mae", "1 resampled", "1 unexpected",
                 "final norm: loaded", "unexpected: cls_token", report.sha256[:12]):  # fmt: skip
        assert part in text, part


def test_misfit_tensors_are_listed(saved):
    tensors, _ = read_safetensors(saved)
    tensors["blocks.9.norm1.weight"] = tensors.pop("blocks.1.norm1.weight")
    tensors["blocks.0.mlp.fc1.bias"] = torch.ones(5)
    rewrite(saved, tensors)
    with pytest.raises(CheckpointError, match="does not fit") as error:
        load_encoder(saved)
    details = error.value.details
    assert details["missing"] == ["blocks.1.norm1.weight"]
    assert details["unexpected"] == ["blocks.9.norm1.weight"]
    assert "blocks.0.mlp.fc1.bias: (5,) in the file, (128,)" in details["reshaped"][0]


def test_extra_tensors_must_be_the_manifests(saved):
    tensors, _ = read_safetensors(saved)
    rewrite(saved, tensors | {"extra.head.weight": torch.ones(2)})
    with pytest.raises(CheckpointError, match="not those of its manifest"):
        load_encoder(saved)


# files without manifest
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("options", [{}, {"rel_pos": True, "final_norm": False}], ids=str)
def test_a_bare_encoder_needs_the_preset_and_warns(suffix, options, tmp_path):
    path, encoder = tmp_path / f"bare.{suffix}", make(**options)
    if suffix == "pth":
        torch.save(encoder.state_dict(), path)
    else:
        safetensors.torch.save_file(encoder.state_dict(), path)
    with pytest.raises(CheckpointError, match="head count cannot be told"):
        load_encoder(path)
    with pytest.warns(HeadCountWarning, match="4 heads on the caller's word"):
        assert equal(load_encoder(path, "vit_test"), encoder)
    with pytest.warns(HeadCountWarning):
        report = load_into(make(3, **options), path)
    assert not report.verified and report.heads_from == "unverified"


def test_a_foreign_file_points_to_the_converter(tmp_path):
    state = VisionTransformer("vit_test").state_dict()
    head = {"head.weight": torch.ones(2, 32), "head.bias": torch.ones(2)}
    torch.save({"model": state | head}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="convert_checkpoint.py .*--from deit | timm"):
        load_encoder(tmp_path / "x.pth", "vit_test")
    torch.save(state | head, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="head.weight") as error:
        load_encoder(tmp_path / "x.pth", "vit_test")
    assert "deit | timm" in str(error.value)
    torch.save({"backbone.x": torch.ones(1)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="no converter's files look like it"):
        load_encoder(tmp_path / "x.pth", "vit_test")


# absent files
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("dmae_tiny", "mae_tiny_distill_400e.pth.tar {} --from mae-lite-pretrain"),
        ("d2mae_tiny", "mae_tiny_distill_d2_400e.pth.tar {} --from mae-lite-pretrain"),
        ("deit_tiny", "{} --from deit"),
        ("my_own", "SOURCE {} --from NAME"),
    ],
)
def test_three_ways_to_an_absent_initialisation(name, command):
    path = f"checkpoints/{name}.safetensors"
    for load in (load_encoder, read_manifest, lambda p: load_into(make(), p)):
        with pytest.raises(CheckpointError, match="not there") as error:
            load(path)
        text = str(error.value)
        assert "tools/convert_checkpoint.py " in text and command.format(path) in text
        assert "pre train:" in text
        assert "--cfg-options init=random" in text
