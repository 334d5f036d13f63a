"""Hierarchical encoders in our files, and the published files they come from."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import layouts
import pytest
import safetensors.torch
import torch

from lightvit_bench.checkpoint import (
    HeadCountWarning,
    convert,
    convert_file,
    default_hint,
    encoder_of,
    fingerprint,
    load_encoder,
    load_into,
    matching_converters,
    read_extra,
    read_manifest,
    read_safetensors,
    save_encoder,
)
from lightvit_bench.checkpoint.hints import PUBLISHED
from lightvit_bench.checkpoint.manifest import KEY
from lightvit_bench.checkpoint.state_dicts import FOREIGN
from lightvit_bench.errors import CheckpointError
from lightvit_bench.vit import Hiera, VisionTransformer, get_preset
from lightvit_bench.vit.position import resample_table

LITE, META = "mae-lite-hiera", "meta-hiera"
FUSION = "fusion of the stages, for the decoder"
DECODER = "decoder of the pre-training"


def make(seed=0, **options):
    """A test encoder whose every tensor is away from its start."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        encoder = Hiera("hiera_test", **options)
        for parameter in encoder.parameters():
            parameter += 0.05 * torch.randn(parameter.shape)
    return encoder.eval()


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def image():
    return torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "hiera.safetensors"
    save_encoder(path, make(), recipe="dmae", epochs=400)
    return path


# our own format
@pytest.mark.parametrize("options", [{}, {"q_pool": 2}, {"img_size": (64, 160)}], ids=str)
def test_round_trip_is_bit_exact(options, tmp_path, image):
    encoder = make(**options)
    path = tmp_path / "x.safetensors"
    manifest = save_encoder(path, encoder, recipe="mae")
    assert read_manifest(path) == manifest
    loaded = load_encoder(path, "hiera_test").eval()
    assert equal(encoder, loaded) and loaded.grid == encoder.grid and loaded.q_pool == 3
    encoder.set_q_pool(3)
    assert torch.equal(encoder(image), loaded(image))


def test_manifest_of_a_hiera(saved):
    manifest = read_manifest(saved)
    assert (manifest.preset, manifest.width, manifest.heads) == ("hiera_test", 8, 1)
    assert (manifest.depth, manifest.patch, manifest.grid) == (6, 4, (32, 32))
    assert (manifest.norm, manifest.cls_token, manifest.recipe) == ("none", False, "dmae")
    assert manifest.fingerprint.normed is None


def test_pooling_is_the_users_choice_and_no_part_of_the_file(saved, image):
    """A masked autoencoder's teacher, loaded with two poolings from a file of three."""
    teacher = load_encoder(saved, "hiera_test", q_pool=2).eval()
    assert teacher.q_pool == 2 and teacher.strides[-1] == 16
    assert equal(teacher, make())
    assert fingerprint(teacher) == fingerprint(make())
    assert teacher.q_pool == 2  # the fingerprint left it alone
    assert torch.equal(teacher(image), make(q_pool=2)(image))


def test_positions_are_resampled_to_another_size(saved):
    encoder = Hiera("hiera_test", img_size=(64, 96))
    report = load_into(encoder, saved)
    expected = resample_table(make().pos_embed, (32, 32), (16, 24), cls_token=False)
    assert torch.equal(encoder.pos_embed, expected)
    assert report.resampled == ("pos_embed",) and report.norm == "none" and not report.missing
    assert "hiera_test, 1 to 8 heads" in str(report) and "recipe dmae" in str(report)


def test_a_changed_tensor_is_noticed(saved):
    tensors, metadata = read_safetensors(saved)
    tensors["blocks.4.proj.weight"] = -tensors["blocks.4.proj.weight"]
    safetensors.torch.save_file(tensors, saved, metadata)
    with pytest.raises(CheckpointError, match="does not compute what it did"):
        load_encoder(saved)


def test_a_file_of_another_architecture_is_refused(saved, tmp_path):
    with pytest.raises(CheckpointError, match="is a hiera_test, not a hiera_tiny") as error:
        load_encoder(saved, "hiera_tiny")
    assert "stages (1, 1, 2, 2) in the file, (1, 2, 7, 2) asked for" in str(error.value)
    with pytest.raises(CheckpointError, match="is a hiera_test, not a vit_test") as error:
        load_into(VisionTransformer("vit_test"), saved)
    assert "stages (1, 1, 2, 2) in the file, none asked for" in str(error.value)
    plain = tmp_path / "vit.safetensors"
    save_encoder(plain, VisionTransformer("vit_test"), recipe="mae")
    with pytest.raises(CheckpointError, match="is a vit_test, not a hiera_test"):
        load_into(Hiera("hiera_test"), plain)


def test_an_unregistered_preset_is_not_saved(tmp_path):
    encoder = Hiera(replace(get_preset("hiera_test"), local_stages=1))
    with pytest.raises(CheckpointError, match="not the registered hiera_test"):
        save_encoder(tmp_path / "x.safetensors", encoder, recipe="mae")


def test_a_manifest_that_contradicts_the_preset_is_refused(saved):
    tensors, metadata = read_safetensors(saved)
    values = {**json.loads(metadata[KEY]), "depth": 12}
    safetensors.torch.save_file(tensors, saved, {KEY: json.dumps(values)})
    with pytest.raises(CheckpointError, match="contradicts the preset hiera_test"):
        read_manifest(saved)


def test_tensors_without_manifest(tmp_path):
    path = tmp_path / "bare.safetensors"
    safetensors.torch.save_file(make().state_dict(), path)
    with pytest.warns(HeadCountWarning, match="taken as hiera_test"):
        assert equal(load_encoder(path, "hiera_test"), make())
    with pytest.raises(CheckpointError, match="does not fit the encoder"):
        load_encoder(path, "vit_test")


# converters
def bare(content, prefix="module.model."):
    state = content.get("model", content)
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}


END_TO_END = {
    "mae": (layouts.mae_hiera, 400, ("encoder_norm",), {DECODER, FUSION}),
    "dmae": (
        layouts.dmae_hiera, None, ("encoder_norm",),
        {DECODER, FUSION, FOREIGN["tch_model."], FOREIGN["attn_adapter."]},
    ),
    "finetuned": (layouts.tuned_hiera, 300, ("head", "norm"), set()),
}  # fmt: skip


@pytest.mark.parametrize("recipe", END_TO_END)
def test_mae_lites_files_end_to_end(recipe, tmp_path):
    make_content, epochs, extra, dropped = END_TO_END[recipe]
    content = make_content()
    torch.save(content, tmp_path / "source.pth.tar")
    out = tmp_path / "out.safetensors"
    conversion = convert_file(tmp_path / "source.pth.tar", out, LITE)
    manifest = read_manifest(out)
    assert (manifest.preset, manifest.recipe, manifest.epochs) == ("hiera_tiny", recipe, epochs)
    assert manifest.extra == extra and manifest.heads_from == "converter"
    conversion.dropped.pop("state of the training run", None)  # start_epoch
    assert set(conversion.dropped) == dropped
    assert "hiera_tiny, 1 to 8 heads" in str(conversion)
    encoder, state = load_encoder(out, "hiera_tiny"), bare(content)
    assert set(encoder.state_dict()) == set(layouts.hiera())
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    for group in extra:
        for name, tensor in read_extra(out, group).items():
            assert torch.equal(tensor, state[f"{group}.{name}"])
    total = sum(map(len, conversion.dropped.values())) + len(conversion.encoder)
    total += sum(map(len, conversion.extra.values()))
    assert total == len(content["model"])


@pytest.mark.parametrize("prefix", ["module.model.", "model.", ""])
def test_every_prefix_gives_the_same_encoder(prefix):
    conversion = convert(layouts.mae_hiera(prefix), LITE)
    reference = convert(layouts.mae_hiera(), LITE)
    assert all(torch.equal(t, conversion.encoder[n]) for n, t in reference.encoder.items())


@pytest.mark.parametrize("tuned", [False, True])
def test_metas_base(tuned):
    conversion = convert(layouts.meta_hiera(tuned=tuned), META)
    assert conversion.preset is get_preset("hiera_base")
    assert conversion.recipe == ("mae_finetuned" if tuned else "mae")
    assert set(conversion.encoder) == set(layouts.hiera(96, layouts.BASE_STAGES))
    assert conversion.found_under == "model_state: (bare)"
    assert set(conversion.extra) == ({"norm", "head"} if tuned else {"encoder_norm"})
    assert encoder_of(conversion).blocks[23].attn.heads == 8


def test_a_bare_file_of_the_encoders_names_needs_a_preset_alone(tmp_path):
    content = layouts.fill(layouts.hiera(), "meta")
    torch.save(content, tmp_path / "bare.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeadCountWarning)
        encoder = load_encoder(tmp_path / "bare.pth", "hiera_tiny", q_pool=2)
    assert torch.equal(encoder.pos_embed, content["pos_embed"])


@pytest.mark.parametrize(
    ("width", "stages", "name"),
    [
        (96, (1, 2, 7, 2), "Hiera-Tiny"),  # the blocks of MAE-Lite's, twice as wide
        (96, (1, 2, 11, 2), "Hiera-Small"),
        (112, (2, 3, 16, 3), "Hiera-Base-Plus"),
    ],
)
def test_metas_other_sizes_are_refused_by_name(width, stages, name):
    content = layouts.meta_hiera(width, stages)
    with pytest.raises(CheckpointError, match="no Hiera of this size") as error:
        convert(content, META)
    assert f"width {width}, stages of {'-'.join(map(str, stages))} blocks" in str(error.value)
    assert f"Meta's {name}" in str(error.value) and "hiera_base: width 96" in str(error.value)
    with pytest.raises(CheckpointError, match="looks like: *meta-hiera"):
        convert(content, LITE)


def test_the_wrong_converter_names_the_right_one():
    for name in ("mae-lite-pretrain", "facebook-mae", "deit"):
        with pytest.raises(CheckpointError, match=r"Hiera\) of width 46(?s:.*)mae-lite-hiera"):
            convert(layouts.mae_hiera(), name)
    with pytest.raises(CheckpointError, match="a plain ViT of width 192(?s:.*)mae-lite-pretrain"):
        convert(layouts.mae(), LITE)
    with pytest.raises(CheckpointError, match="a plain ViT of width 768(?s:.*)facebook-mae"):
        convert(layouts.facebook(), META)
    with pytest.raises(CheckpointError, match="looks like: *meta-hiera"):
        convert(layouts.meta_hiera(), LITE)
    with pytest.raises(CheckpointError, match="looks like: *mae-lite-hiera"):
        convert(layouts.mae_hiera(), META)
    assert matching_converters(layouts.dmae_hiera()) == [LITE]
    assert matching_converters(layouts.meta_hiera(tuned=True)) == [META]


def test_contradictions_are_refused():
    with pytest.raises(CheckpointError, match="hiera_base .*contradicts the source"):
        convert(layouts.mae_hiera(), LITE, preset="hiera_base")
    with pytest.raises(CheckpointError, match="contradicts the source"):
        convert(layouts.mae_hiera(), LITE, preset="vit_tiny_p16_h12")
    assert convert(layouts.mae_hiera(), LITE, preset="hiera_tiny").preset.width == 46
    with pytest.raises(CheckpointError, match="the file is one of 'dmae'"):
        convert(layouts.dmae_hiera(), LITE, recipe="mae")
    with pytest.raises(CheckpointError, match="the file is one of 'finetuned'"):
        convert(layouts.tuned_hiera(), LITE, recipe="mae")
    assert convert(layouts.mae_hiera(), LITE, recipe="dmae").recipe == "dmae"  # a stripped file
    tuned = convert(layouts.tuned_hiera(), LITE, recipe="dmae_finetuned")
    assert tuned.recipe == "dmae_finetuned"
    with pytest.raises(CheckpointError, match="the file is one of 'mae'"):
        convert(layouts.meta_hiera(), META, recipe="mae_finetuned")
    with pytest.raises(CheckpointError, match="knows no recipe 'd2mae'"):
        convert(layouts.mae_hiera(), LITE, recipe="d2mae")


def test_unknown_tensors_are_refused():
    content = layouts.mae_hiera()
    content["model"]["module.model.cls_token"] = torch.zeros(1, 1, 46)
    content["model"]["module.model.blocks.3.ls1.gamma"] = torch.zeros(184)
    with pytest.raises(CheckpointError, match="2 tensors of the file have no place in a hiera"):
        convert(content, LITE)


def test_published_files_are_known_by_name():
    for name in ("mae_hiera_tiny", "dmae_hiera_tiny", "hiera_base"):
        source, converter = PUBLISHED[name]
        hint = default_hint(f"checkpoints/{name}.safetensors")["convert"]
        assert source in hint and hint.endswith(converter)
    assert PUBLISHED["hiera_base"][1] == META and PUBLISHED["dmae_hiera_tiny"][1] == LITE


def test_golden_layouts_have_the_published_names(shared):
    """The generators of these tests agree with the layouts given as facts."""

    def facts(name):
        text = (shared / f"facts/layouts/{name}.json").read_text()
        return {key: tuple(shape) for key, shape in json.loads(text).items()}

    assert layouts.hiera() | layouts.hiera_decoder() == facts("mae_hiera_tiny")
    tuned = layouts.hiera() | layouts.hiera_classifier()
    assert set(tuned) == set(facts("hiera_tiny_finetuned"))
