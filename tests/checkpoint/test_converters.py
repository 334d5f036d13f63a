"""The nine loader rules, on files in the published layouts; and each converter end to end."""

from __future__ import annotations

import json

import layouts
import pytest
import torch

from lightvit_bench.checkpoint import (
    CONVERTERS,
    HeadCountWarning,
    convert,
    convert_file,
    encoder_of,
    get_converter,
    load_encoder,
    matching_converters,
    merge_qkv_bias,
    read_extra,
    read_manifest,
    split_qkv_bias,
)
from lightvit_bench.checkpoint.state_dicts import (
    ENCODER_PREFIXES,
    FOREIGN,
    STEM,
    Draft,
    encoder_prefix,
)
from lightvit_bench.errors import CheckpointError
from lightvit_bench.vit import VisionTransformer

LITE = "mae-lite-pretrain"
TUNED = "mae-lite-finetune"
STUDENT = layouts.encoder() | layouts.norm("norm", layouts.WIDTH)


@pytest.fixture(scope="module")
def student():
    return layouts.student()


@pytest.fixture(scope="module")
def image():
    return torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(3))


def assert_encoder_is(conversion, state, names):
    assert set(conversion.encoder) == set(names)
    for name in names:
        assert torch.equal(conversion.encoder[name], state[name]), name


# rule 1: prefixes, longest first, at the start only
@pytest.mark.parametrize("prefix", ["module.model.", "model.", "module.", ""])
def test_rule_1_every_prefix_gives_the_same_encoder(prefix, student):
    assert_encoder_is(convert(layouts.mae(prefix), LITE), student, STUDENT)


def test_rule_1_longest_prefix_first_and_at_the_start_only():
    names = {prefix + STEM for prefix in ENCODER_PREFIXES}
    for prefix in sorted(ENCODER_PREFIXES, key=len, reverse=True)[:-1]:
        found = encoder_prefix(names)
        assert len(found) == len(prefix)
        names.remove(found + STEM)
    assert encoder_prefix(names) == "" and encoder_prefix({"x." + STEM}) is None
    content = {"model." + STEM: torch.ones(192, 3, 16, 16), "model.a.model.b": torch.ones(1)}
    assert set(Draft.of(content).left) == {STEM, "a.model.b"}


@pytest.mark.parametrize("outer", ["module.", ""])
def test_rule_1_unprefixed_teacher_is_not_taken_apart(outer, student):
    """Upstream's str.replace("model.", "") turns `tch_model.x` into `tch_x`."""
    conversion = convert(layouts.dmae(outer), LITE)
    assert_encoder_is(conversion, student, STUDENT)
    teachers = conversion.dropped[FOREIGN["tch_model."]]
    assert len(teachers) == len(layouts.teacher())
    assert all(name.startswith(f"{outer}tch_model.") for name in teachers)


# rule 2: no teacher, momentum encoder, adapter or predictor
@pytest.mark.parametrize("outer", ["module.", ""])
def test_rule_2_foreign_parts_stay_out_and_are_reported(outer, student):
    conversion = convert(layouts.dmae(outer), LITE)
    assert conversion.dropped[FOREIGN["attn_adapter."]] == [f"{outer}attn_adapter.adapter11.weight"]
    moco = convert(layouts.moco(outer), "mocov3")
    base = {
        name.removeprefix(f"{outer}base_encoder."): tensor
        for name, tensor in layouts.moco(outer)["model"].items()
        if "base_encoder" in name
    }
    assert_encoder_is(moco, base, STUDENT)
    assert len(moco.dropped[FOREIGN["momentum_encoder."]]) > 10
    assert moco.dropped[FOREIGN["predictor."]] == [f"{outer}predictor.0.weight"]
    assert len(moco.dropped["projector of the contrastive loss"]) == 5


def test_rule_2_bare_file_with_foreign_parts(student):
    content = student | layouts.under("tch_model.", layouts.teacher())
    assert_encoder_is(convert(content, LITE), student, STUDENT)


# rule 3: depth comes from the architecture
def test_rule_3_d2_drops_the_thirteenth_block(student):
    conversion = convert(layouts.d2mae(), LITE)
    assert not any(name.startswith("blocks.12.") for name in conversion.encoder)
    dropped = conversion.dropped["block of the distillation, behind the encoder"]
    assert sorted(dropped) == sorted(
        f"module.model.blocks.12.{part}"
        for part in ("norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias")
    )
    assert len(encoder_of(conversion).blocks) == 12


def test_rule_3_a_deeper_file_of_another_kind_is_refused():
    content = layouts.classifier()
    content["model"] |= layouts.under("module.model.", layouts.fill(layouts.block(12, 192)))
    with pytest.raises(CheckpointError, match="no place") as error:
        convert(content, TUNED)
    assert any("blocks.12." in name for name in error.value.details["unexpected"])


def test_rule_3_a_shallower_file_is_refused():
    content = layouts.mae()
    for name in [name for name in content["model"] if ".blocks.11." in name]:
        del content["model"][name]
    with pytest.raises(CheckpointError, match="does not fit") as error:
        encoder_of(convert(content, LITE))
    assert "blocks.11.norm1.weight" in error.value.details["missing"]


# rule 4: norm, fc_norm and the norm of depth 8
def test_rule_4_d2_norm_is_kept_aside(student):
    conversion = convert(layouts.d2mae(), LITE)
    assert "norm.weight" not in conversion.encoder
    assert torch.equal(conversion.extra["norm_depth8"]["weight"], student["norm.weight"])
    assert isinstance(encoder_of(conversion).norm, torch.nn.Identity)
    assert "final norm  none" in str(conversion)


def test_rule_4_d2_stripped_of_its_thirteenth_block_needs_the_recipe():
    content = layouts.dmae()
    assert convert(content, LITE).recipe == "dmae"
    forced = convert(content, LITE, recipe="d2mae")
    assert forced.recipe == "d2mae" and "norm.weight" not in forced.encoder
    with pytest.raises(CheckpointError, match="the file is one of 'd2mae'"):
        convert(layouts.d2mae(), LITE, recipe="mae")


def test_rule_4_fc_norm_is_no_final_norm():
    content = layouts.classifier()
    conversion = convert(content, TUNED)
    assert set(conversion.extra) == {"fc_norm", "head"}
    assert set(conversion.encoder) == set(layouts.encoder())
    content["model"] |= layouts.under("module.model.", layouts.fill(layouts.norm("norm", 192)))
    both = convert(content, TUNED)
    assert set(both.extra) == {"fc_norm", "head", "norm"} and "norm.weight" not in both.encoder


# rule 5: biases, gamma, indices
def test_rule_5_q_and_v_biases_become_one_with_zero_keys():
    state = layouts.rpe(2023, "")["model"]
    conversion = convert({"model": state}, TUNED)
    bias = conversion.encoder["blocks.3.attn.qkv.bias"]
    assert torch.equal(bias[:192], state["blocks.3.attn.q_bias"])
    assert torch.equal(bias[384:], state["blocks.3.attn.v_bias"])
    assert not bias[192:384].any() and bias.shape == (576,)


@pytest.mark.parametrize("year", [2023, 2025])
def test_rule_5_gamma_and_tables_find_their_places(year):
    state = layouts.rpe(year, "")["model"]
    conversion = convert(layouts.rpe(year), TUNED)
    table = conversion.encoder["blocks.5.attn.rel_pos.relative_position_bias_table"]
    assert torch.equal(table, state["blocks.5.attn.relative_position_bias_table"])
    assert len(conversion.dropped["index, recomputed by the encoder"]) == 12
    encoder = encoder_of(conversion)
    assert ("blocks.0.ls1.gamma" in conversion.encoder) == (year == 2023)
    if year == 2023:
        assert torch.equal(encoder.blocks[2].ls2.gamma, state["blocks.2.gamma_2"])
    index = encoder.blocks[7].attn.rel_pos.relative_position_index.view(197, 197)
    assert torch.equal(index, state["blocks.7.attn.relative_position_index"])


def test_rule_5_an_index_in_another_order_is_refused():
    content = layouts.rpe(2025)
    name = "module.model.blocks.4.attn.relative_position_index"
    content["model"][name] = content["model"][name].T.contiguous()
    with pytest.raises(CheckpointError, match="another order"):
        convert(content, TUNED)


def test_rule_5_split_is_the_inverse_of_merge_and_refuses_a_key_bias():
    q, v = torch.arange(4.0), torch.arange(4.0, 8.0)
    again = split_qkv_bias(merge_qkv_bias(q, v))
    assert torch.equal(again[0], q) and torch.equal(again[1], v)
    with pytest.raises(CheckpointError, match="keys is not zero"):
        split_qkv_bias(torch.ones(12))
    q, v = split_qkv_bias(torch.arange(12.0), drop_key_bias=True)
    assert q.tolist() == [0, 1, 2, 3] and v.tolist() == [8, 9, 10, 11]


def test_rule_5_dropping_the_key_bias_changes_logits_and_not_the_output():
    torch.manual_seed(0)
    encoder = VisionTransformer("vit_test").eval()
    attention = encoder.blocks[0].attn
    torch.nn.init.normal_(attention.qkv.bias)
    x = torch.randn(1, 5, 32)
    with torch.no_grad():
        before, logits_before = attention(x, want_logits=True)
        pair = split_qkv_bias(attention.qkv.bias, drop_key_bias=True)
        attention.qkv.bias.copy_(merge_qkv_bias(*pair))
        after, logits_after = attention(x, want_logits=True)
    assert torch.allclose(before, after, atol=1e-5)
    assert not torch.allclose(logits_before, logits_after, atol=1e-2)


def test_rule_5_half_a_pair_of_biases_is_refused():
    content = layouts.rpe(2023)
    del content["model"]["module.model.blocks.0.attn.v_bias"]
    with pytest.raises(CheckpointError, match="contradict"):
        convert(content, TUNED)


# rule 6: heads
@pytest.mark.parametrize(
    ("name", "content", "preset", "heads"),
    [
        (LITE, layouts.mae, "vit_tiny_p16_h12", 12),
        (TUNED, layouts.classifier, "vit_tiny_p16_h12", 12),
        ("mocov3", layouts.moco, "vit_tiny_p16_h12", 12),
        ("facebook-mae", layouts.facebook, "vit_base_p16", 12),
        ("deit", layouts.supervised, "vit_tiny_p16_h3", 3),
        ("deit", lambda: layouts.supervised(384), "vit_small_p16_h6", 6),
        ("deit", lambda: layouts.supervised(768), "vit_base_p16", 12),
        (TUNED, lambda: layouts.hollow(layouts.encoder(384)), "vit_small_p16_h12", 12),
    ],
)
def test_rule_6_the_source_tells_the_heads(name, content, preset, heads):
    conversion = convert(content(), name)
    assert conversion.preset.name == preset and conversion.preset.heads == heads
    assert conversion.heads_from == "converter"


def test_rule_6_a_preset_against_the_source_is_refused():
    with pytest.raises(CheckpointError, match="3 heads.* contradicts"):
        convert(layouts.mae(), LITE, preset="vit_tiny_p16_h3")
    with pytest.raises(CheckpointError, match="contradicts"):
        convert(layouts.supervised(), "deit", preset="vit_tiny_p16_h12")


def test_rule_6_timm_needs_the_preset_and_warns():
    with pytest.raises(CheckpointError, match="--preset") as error:
        convert(layouts.supervised(), "timm")
    assert "vit_tiny_p16_h3" in str(error.value)
    with pytest.warns(HeadCountWarning, match="3 heads"):
        conversion = convert(layouts.supervised(), "timm", preset="vit_tiny_p16_h3")
    assert conversion.heads_from == "unverified" and "WARNING" in str(conversion)
    with pytest.raises(CheckpointError, match="contradicts"):
        convert(layouts.supervised(), "timm", preset="vit_base_p16")


# rule 7: top keys
@pytest.mark.parametrize("top", ["model", "model_state", "state_dict", "net", None])
def test_rule_7_top_keys(top, student):
    content = student if top is None else {top: student, "epoch": 3, "args": None}
    conversion = convert(content, LITE)
    assert_encoder_is(conversion, student, STUDENT)
    if top:
        assert conversion.dropped["state of the training run"] == ["epoch", "args"]


@pytest.mark.parametrize("content", [[1, 2], {"weights": {}}, {"model": {}}, {}, torch.ones(2)])
def test_rule_7_no_state_dict(content):
    with pytest.raises(CheckpointError, match="no (state dict|tensors)"):
        convert(content, LITE)


# rule 8: nothing is lost unnoticed
def test_rule_8_unknown_tensors_are_refused_and_dropped_only_on_demand(student):
    content = student | {"blocks.0.attn.temperature": torch.ones(1)}
    with pytest.raises(CheckpointError) as error:
        convert(content, LITE)
    assert error.value.details["unexpected"] == ["blocks.0.attn.temperature"]
    conversion = convert(content, LITE, drop=["blocks.0.attn.temperature"])
    assert conversion.dropped["dropped on demand"] == ["blocks.0.attn.temperature"]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        (LITE, layouts.mae),
        (LITE, layouts.d2mae),
        (TUNED, lambda: layouts.rpe(2023)),
        ("mocov3", layouts.moco),
        ("facebook_mae", layouts.facebook),
        ("deit", layouts.supervised),
    ],
)
def test_rule_8_every_tensor_is_accounted_for(name, make):
    content = make()
    conversion = convert(content, name)
    state = content.get("model", content)
    merged = sum(name.endswith("attn.q_bias") for name in state)
    dropped = {n for names in conversion.dropped.values() for n in names} & set(state)
    aside = sum(len(group) for group in conversion.extra.values())
    assert len(conversion.encoder) + merged + len(dropped) + aside == len(state)
    for reason in conversion.dropped:
        assert reason in str(conversion)


def test_rule_8_reshaped_tensors_are_listed(student):
    content = student | {"blocks.1.mlp.fc1.bias": torch.ones(7)}
    with pytest.raises(CheckpointError, match="does not fit") as error:
        encoder_of(convert(content, LITE))
    assert "blocks.1.mlp.fc1.bias: (7,) in the file, (768,)" in str(error.value)


# rule 9: DINO's layout is not known: no guess
def test_rule_9_unknown_layouts_are_refused():
    with pytest.raises(CheckpointError, match="no converter 'dino-tiny'"):
        get_converter("dino-tiny")
    dino = {"teacher": {}, "student": layouts.under("module.backbone.", layouts.student())}
    with pytest.raises(CheckpointError, match="no tensors where") as error:
        convert(dino, LITE)
    assert "teacher, student" in str(error.value)
    assert matching_converters(dino) == []


def test_names_of_converters():
    assert get_converter("MAE-lite-pretrain") is CONVERTERS["mae-lite-pretrain"]
    with pytest.raises(CheckpointError, match="mae-lite-pretrain"):
        get_converter("mae_lite_pretrian")
    with pytest.raises(CheckpointError, match="knows no recipe 'simmim'"):
        convert(layouts.mae(), LITE, recipe="simmim")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (layouts.mae, LITE),
        (layouts.dmae, LITE),
        (layouts.classifier, TUNED),
        (layouts.moco, "mocov3"),
        (layouts.facebook, "facebook_mae"),
        (layouts.supervised, "deit"),
        (layouts.supervised, "timm"),
    ],
)
def test_files_are_recognised_as_their_own_converters(make, expected):
    assert expected.replace("_", "-") in matching_converters(make())


def test_the_wrong_converter_names_the_right_one():
    with pytest.raises(CheckpointError, match="looks like: *mae-lite-finetune"):
        convert(layouts.classifier(), LITE)
    with pytest.raises(CheckpointError, match="looks like: *mae-lite-pretrain"):
        convert(layouts.mae(), "deit")


def test_distilled_deit_and_hierarchical_encoders_are_refused():
    distilled = layouts.supervised() | {"dist_token": torch.zeros(1, 1, 192)}
    with pytest.raises(CheckpointError, match="distilled DeiT"):
        convert(distilled, "deit")
    hiera = {"patch_embed.proj.weight": torch.zeros(46, 3, 7, 7), "mask_token": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="width 46"):
        convert(hiera, LITE)


def test_facebook_with_and_without_decoder():
    full, bare = (convert(layouts.facebook(with_decoder=d), "facebook-mae") for d in (True, False))
    assert set(full.encoder) == set(bare.encoder) and "norm.weight" in full.encoder
    assert len(full.dropped["decoder of the pre-training"]) == len(layouts.decoder())
    assert bare.dropped == {}


END_TO_END = {
    "mae": (LITE, layouts.mae, "mae", "final", 400, ()),
    "dmae": (LITE, layouts.dmae, "dmae", "final", None, ()),
    "d2mae": (LITE, layouts.d2mae, "d2mae", "none", None, ("norm_depth8",)),
    "finetuned": (TUNED, layouts.classifier, "finetuned", "none", 300, ("head", "fc_norm")),
    "rpe2023": (TUNED, lambda: layouts.rpe(2023), "finetuned", "none", 1000, ("head", "fc_norm")),
    "rpe2025": (TUNED, lambda: layouts.rpe(2025), "finetuned", "none", 1000, ("head", "fc_norm")),
    "mocov3": ("mocov3", layouts.moco, "mocov3", "final", None, ()),
    "deit": ("deit", layouts.supervised, "deit", "final", None, ("head",)),
}


@pytest.mark.parametrize("case", END_TO_END)
def test_end_to_end(case, tmp_path, image):
    """A file of torch.save becomes one of ours, which loads by itself and computes the same."""
    name, make, recipe, norm, epochs, extra = END_TO_END[case]
    torch.save(make(), tmp_path / "source.pth.tar")
    conversion = convert_file(tmp_path / "source.pth.tar", tmp_path / "out.safetensors", name)
    manifest = read_manifest(tmp_path / "out.safetensors")
    assert (manifest.recipe, manifest.norm, manifest.epochs) == (recipe, norm, epochs)
    assert manifest.extra == extra and manifest.heads_from == "converter"
    assert manifest.rel_pos == case.startswith("rpe") and manifest.layer_scale == (
        case == "rpe2023"
    )
    assert manifest.parents[0].name == "source.pth.tar" and len(manifest.parents[0].sha256) == 64
    encoder = load_encoder(tmp_path / "out.safetensors", manifest.preset).eval()
    with torch.no_grad():
        assert torch.equal(encoder(image), encoder_of(conversion).eval()(image))
    for group in extra:
        kept = read_extra(tmp_path / "out.safetensors", group)
        assert all(torch.equal(kept[k], t) for k, t in conversion.extra[group].items())


# against the numbers of the authors' own code
def close_to(tensor, expected):
    flat = tensor.double().flatten()
    assert flat[expected["at"]].tolist() == pytest.approx(expected["v"], rel=1e-4, abs=1e-4)
    assert flat.std().item() == pytest.approx(expected["std"], rel=1e-4)
    assert flat.norm().item() == pytest.approx(expected["l2"], rel=1e-4)


def masked_latent(encoder, golden):
    """Visible tokens alone, as in pre-training: 49 of 196, and CLS."""
    inputs = golden.inputs()
    keep = inputs["ids_shuffle"][:, :49, None].expand(-1, -1, encoder.preset.width)
    with torch.no_grad():
        tokens = encoder.patchify(inputs["image"]).gather(1, keep)
        run = encoder.run_blocks(encoder.with_cls(tokens), logits_of=[11])
        return encoder.norm(run.tokens), run.logits[11]


@pytest.fixture(scope="module")
def golden_contents(golden):
    return golden.checkpoints()


@pytest.fixture(scope="module")
def reference(shared):
    return json.loads((shared / "golden/reference.json").read_text())


@pytest.mark.parametrize("file", ["mae_tiny_400e.pth.tar", "mae_tiny_distill_400e.pth.tar"])
def test_golden_student_through_files(file, golden, golden_contents, reference, tmp_path):
    out = tmp_path / "out.safetensors"
    torch.save(golden_contents[file], tmp_path / file)
    convert_file(tmp_path / file, out, LITE)
    tokens, logits = masked_latent(load_encoder(out).eval(), golden)
    close_to(tokens, reference["mae_tiny"]["latent"])
    close_to(logits, reference["d_mae_tiny"]["student_logits"])


def test_golden_teacher(golden, golden_contents, reference):
    conversion = convert(golden_contents["mae_base_1600e.pth.tar"], "facebook-mae")
    tokens, logits = masked_latent(encoder_of(conversion).eval(), golden)
    close_to(tokens, reference["d_mae_tiny"]["teacher_latent"])
    close_to(logits, reference["d_mae_tiny"]["teacher_logits"])


def test_golden_layouts_have_the_published_names(shared):
    """The generators of these tests agree with the layouts given as facts."""
    layout = {
        name: tuple(shape)
        for name, shape in json.loads(
            (shared / "facts/layouts/mae_tiny_d2.json").read_text()
        ).items()
    }
    ours = {name: tuple(t.shape) for name, t in layouts.student().items()}
    assert ours | layouts.block(12, 192, "norm1", "attn.qkv") == layout
    tuned = json.loads((shared / "facts/layouts/vit_tiny_finetuned.json").read_text())
    names = {name.removeprefix("module.model.") for name in layouts.classifier()["model"]}
    assert names == set(tuned)


def test_golden_tracker_is_refused(golden_contents):
    with pytest.raises(CheckpointError, match="no vision transformer"):
        convert(golden_contents["OSTrack_ep0300.pth.tar"], LITE)


def test_fine_tuned_deit_of_mae_lite_is_not_taken_for_three_heads():
    """Their `deit_tiny_300e` has 12 heads and would fit DeiT's 3 in every shape (rule 6)."""
    state = layouts.supervised()
    state = {name.replace("norm.", "fc_norm.", 1) if name.startswith("norm.") else name: tensor
             for name, tensor in state.items()}  # fmt: skip
    for prefix in ("", "module.model."):
        content = {"model": {prefix + name: tensor for name, tensor in state.items()}}
        with pytest.raises(CheckpointError, match="--from mae-lite-finetune"):
            convert(content, "deit")
        assert convert(content, "mae-lite-finetune").preset.heads == 12
