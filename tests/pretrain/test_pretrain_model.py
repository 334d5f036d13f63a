"""The model that the runner trains: every method's losses, precision, exports, wrong configs."""

import json
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from torch._inductor import config as inductor_config

import lightvit_bench.registry  # noqa: F401
from lightvit_bench.checkpoint import load_encoder, save_encoder
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.vit import VisionTransformer
from lightvit_bench.vit.presets import PRESETS

DATA = Path(__file__).resolve().parent.parent / "data/pretrain_vit_test.json"
TEACHER = dict(preset="vit_test", init="random")
METHODS = {
    "mae": {},
    "raw_pixels": dict(norm_pixels=False),
    "dmae": dict(distill=dict(teacher=TEACHER, attention=[(3, 3)])),
    "layers": dict(distill=dict(teacher=TEACHER, attention=[(1, 2), (3, 3)])),
    "hidden": dict(distill=dict(teacher=TEACHER, attention=[(3, 3)], hidden=[(2, 3)])),
    "d2mae": dict(decode_after=2, distill=dict(teacher=TEACHER, attention=[(4, 3)])),
    "inner": dict(decode_after=2, distill=dict(teacher=TEACHER, attention=[(3, 3)])),
    "tinymim": dict(decoder=None, mask_ratio=0, distill=dict(teacher=TEACHER, relation=[(3, 2)])),
}


# What each part of these needs of the last block tapped differs.
ODD = {
    "hidden_last": dict(decode_after=2, distill=dict(teacher=TEACHER, hidden=[(3, 3)])),
    "hidden_behind": dict(decode_after=2, distill=dict(teacher=TEACHER, hidden=[(4, 3)])),
    "both_behind": dict(
        decode_after=1,
        distill=dict(teacher=TEACHER, hidden=[(4, 3), (2, 1)], attention=[(4, 3)]),
    ),
    "layer_scale": dict(
        backbone=dict(preset="vit_test", layer_scale=0.1),
        decode_after=2,
        distill=dict(teacher=TEACHER, attention=[(3, 3)]),
    ),
    "unmasked_hidden": dict(
        decoder=None, mask_ratio=0, distill=dict(teacher=TEACHER, hidden=[(2, 3)])
    ),
    "unmasked_attention": dict(
        backbone=dict(preset="vit_test", rel_pos=True),
        decoder=None,
        mask_ratio=0,
        distill=dict(teacher=TEACHER, attention=[(3, 3)]),
    ),
    "no_cls": dict(
        backbone=dict(preset="vit_test", cls_token=False),
        distill=dict(teacher=dict(TEACHER, cls_token=False), attention=[(3, 3)]),
    ),
    "hiera": dict(
        backbone=dict(preset="hiera_test"),
        mask_ratio=0.4,
        distill=dict(teacher=dict(TEACHER, preset="hiera_test"), attention=[(-1, -1)]),
    ),
}


def build(**changes):
    config = dict(
        type="Pretraining",
        data_preprocessor=dict(
            type="PixelNormalizer", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
        ),
        backbone=dict(preset="vit_test"),
        decoder=dict(width=16, depth=1, heads=2),
    )
    torch.manual_seed(0)
    return MODELS.build({**config, **changes})


def wave(name, shape, scale):
    """Values of a name and place, without a random generator: the same anywhere."""
    place = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (torch.sin(0.37 * place**2 + zlib.crc32(name.encode()) % 1000) * scale).view(*shape)


@torch.no_grad()
def with_fixed_weights(model):
    modules = {"": model, "teacher.": None if model.teacher is None else model.teacher.encoder}
    for start, module in modules.items():
        for name, parameter in () if module is None else module.named_parameters():
            if "pos_embed" not in name:
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
                values = wave(start + name, parameter.shape, (2 / fan_in) ** 0.5)
                parameter.copy_(values + ("norm" in name and name.endswith("weight")))
    return model.eval()


def fixed_batch():
    image = wave("image", (2, 3, 64, 64), 1.0).float()
    order = torch.stack([torch.arange(16) * 5 % 16, torch.arange(16) * 7 % 16])
    return image, order


@torch.no_grad()
def golden_losses():
    """What is in tests/data/pretrain_vit_test.json; running this file writes it."""
    return {
        name: {
            part: loss.item()
            for part, loss in with_fixed_weights(build(**method))(*fixed_batch()).items()
        }
        for name, method in METHODS.items()
    }


def test_golden_losses():
    expected, measured = json.loads(DATA.read_text()), golden_losses()
    assert measured.keys() == expected.keys()
    for name, losses in expected.items():
        assert measured[name] == pytest.approx(losses, rel=1e-4), name


@pytest.mark.parametrize("name", [*METHODS, *ODD])
def test_every_trained_parameter_gets_a_gradient(name):
    """As distributed training wants it; and what a teacher is made of is no part of the model."""
    model = build(**{**METHODS, **ODD}[name])
    image = torch.randn(2, 3, *model.image_size, generator=torch.Generator().manual_seed(0))
    sum(model(image).values()).backward()
    idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle
    assert not [n for n in model.state_dict() if "teacher" in n]
    trains = {n for n, p in model.named_parameters() if p.requires_grad}
    assert ("method.encoder.pos_embed" in trains) == (name == "hiera")
    assert "method.encoder.blocks.0.attn.qkv.weight" in trains


def test_what_tinymim_cannot_train_is_frozen():
    """What lies behind the relations cannot learn and is frozen."""
    frozen = {n for n, p in build(**METHODS["tinymim"]).named_parameters() if not p.requires_grad}
    assert {"method.encoder.blocks.2.mlp.fc1.weight", "method.encoder.norm.weight"} <= frozen
    assert "method.encoder.blocks.2.attn.qkv.weight" not in frozen


@pytest.mark.parametrize("name", ["mae", "d2mae", "tinymim"])
def test_bfloat16_stays_near_float32(name):
    model = with_fixed_weights(build(**METHODS[name]))
    exact = model(*fixed_batch())
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(*fixed_batch())
    for part, loss in exact.items():
        assert rough[part].dtype == torch.float32
        assert rough[part].item() == pytest.approx(loss.item(), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, backend", [("d2mae", "aot_eager"), ("tinymim", "aot_eager"), ("one_block", "inductor")]
)
@inductor_config.patch({"cpp.vec_isa_ok": True})  # else g++ is asked for 8 s
def test_compiled_equals_eager(name, backend, monkeypatch):
    """inductor takes a minute for three blocks: it gets one; of the others the graph is run."""
    shallow = replace(PRESETS["vit_test"], name="vit_shallow", depth=1)
    monkeypatch.setitem(PRESETS, "vit_shallow", shallow)
    small = dict(preset="vit_shallow")
    relation = dict(teacher=dict(small, init="random"), relation=[(1, 1)])
    one_block = dict(backbone=small, decoder=None, mask_ratio=0, distill=relation)
    method = {**METHODS, "one_block": one_block}[name]
    compile_, graphs = torch.compile, []

    def compiling(function, **options):
        graphs.append(options)
        return compile_(function, backend=backend, **options)

    monkeypatch.setattr(torch, "compile", compiling)
    losses, gradients = [], []
    for compiled in (False, True):
        model = with_fixed_weights(build(**method, compile=compiled))
        losses.append(model(*fixed_batch()))
        sum(losses[-1].values()).backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
        assert len(graphs) == 2 * compiled  # the teacher's and the losses'
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-4)


def test_masks_follow_from_torchs_seed():
    model = build()
    image = fixed_batch()[0]
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(model(image)["loss_pixels"].item())
    assert losses[0] == losses[1] != losses[2]


def test_pixels_are_normalised_on_the_way_in():
    model = build()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    inputs = model.data_preprocessor({"inputs": images})["inputs"]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    wanted = (images / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(inputs, wanted)
    assert torch.equal(model.data_preprocessor.pixels(inputs), images)


def test_pictures_leave_the_run_as_it_was():
    model = build().train()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    state = torch.get_rng_state()
    original, masked, painted = model.reconstruct(images, seed=3)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert torch.equal(original, images)
    grey = (masked == torch.tensor([124, 116, 104]).view(3, 1, 1)).all(dim=1)
    assert grey.float().mean() == pytest.approx(0.75, abs=0.01)
    assert torch.equal(
        painted[~grey[:, None].expand_as(painted)], images[~grey[:, None].expand_as(images)]
    )
    assert torch.equal(model.reconstruct(images, seed=3)[1], masked)
    assert not torch.equal(model.reconstruct(images, seed=4)[1], masked)


@pytest.mark.parametrize(
    ("name", "recipe", "norm"),
    [("mae", "mae", True), ("dmae", "dmae", True), ("d2mae", "d2mae", False),
     ("tinymim", "tinymim", False)],
)  # fmt: skip
def test_what_goes_downstream(name, recipe, norm, tmp_path):
    """The encoder alone, with a final norm only where it was trained behind the last block."""
    model = with_fixed_weights(build(**METHODS[name]))
    exported = model.exported()
    assert exported.recipe == model.recipe == recipe
    assert ("norm.weight" in exported.encoder.state_dict()) == norm
    assert len(exported.encoder.blocks) == 3
    assert list(exported.extra) == (["norm_depth2"] if name == "d2mae" else [])
    file = tmp_path / "encoder.safetensors"
    save_encoder(file, exported.encoder, recipe=recipe, extra=exported.extra)
    loaded, image = load_encoder(file, final_norm=False), fixed_batch()[0]
    ours = model.method.encoder
    with torch.no_grad():
        tokens = ours.run_blocks(ours.with_cls(ours.patchify(image))).tokens
        torch.testing.assert_close(loaded(image), tokens)
    exported.encoder.cls_token.data.zero_()  # a copy
    assert ours.cls_token.abs().sum() > 0


def test_a_teacher_and_a_start_from_files(tmp_path):
    torch.manual_seed(3)
    encoder = VisionTransformer("vit_test")
    file = tmp_path / "teacher.safetensors"
    save_encoder(file, encoder, recipe="mae")
    model = build(
        backbone=dict(preset="vit_test", init=str(file)),
        distill=dict(teacher=dict(preset="vit_test", init=str(file)), attention=[(3, 3)]),
    )
    model.init_weights()
    for own in (model.method.encoder, model.teacher.encoder):
        assert torch.equal(own.blocks[2].attn.qkv.weight, encoder.blocks[2].attn.qkv.weight)
    (parent,) = model.parents
    assert parent.name == "teacher.safetensors" and len(parent.sha256) == 64
    assert model.exported().parents == [parent]
    with pytest.raises(CheckpointError, match="not there"):
        build(distill=dict(teacher=dict(preset="vit_test", init="none.pt"), attention=[(3, 3)]))
    with pytest.raises(CheckpointError, match="is a vit_test, not a vit_base_p16"):
        build(distill=dict(teacher=dict(preset="vit_base_p16", init=str(file)), attention=[(3, 3)]))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(mask_ratio=1.0), "hides every token"),
        (dict(decoder=None), "learns nothing"),
        (dict(decoder=None, distill=METHODS["tinymim"]["distill"]), "mask_ratio=0"),
        (dict(distill=METHODS["tinymim"]["distill"]), "not from masked ones"),
        (dict(decode_after=2), "blocks 3 to 3 would learn nothing"),
        (dict(distill=dict(teacher=dict(TEACHER, preset="hiera_test"), attention=[(3, 3)])),
         "tokens are of other kinds"),
        (dict(distill=dict(teacher=dict(TEACHER, img_size=96), attention=[(3, 3)])),
         "other sizes"),
        (dict(distill=dict(teacher=dict(TEACHER, cls_token=False), attention=[(3, 3)])),
         "one has a CLS token"),
        (dict(backbone=dict(preset="vit_test", rel_pos=True)), "model.backbone has relative"),
        (dict(distill=dict(teacher=dict(TEACHER, rel_pos=True), attention=[(3, 3)])),
         "teacher has relative positions"),
        (dict(decoder=None, mask_ratio=0, distill=dict(teacher=TEACHER, hidden=[(4, 3)])),
         "block 4 of the student, which has 3"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(changes, says):
    with pytest.raises(ConfigError, match=says):
        build(**changes)


def test_teachers_of_another_size_and_blocks_from_the_end():
    """Pairs and adapters follow from the two presets."""
    teacher = dict(preset="vit_small_p16_h6", img_size=64, init="random")
    model = build(distill=dict(teacher=teacher, attention=[(-1, -1), (-3, 4)], hidden=[(2, -2)]))
    assert model.distillation.pairs["attention"] == ((3, 12), (1, 4))
    assert model.distillation.pairs["hidden"] == ((2, 11),)
    shapes = {name: tuple(p.shape) for name, p in model.distillation.named_parameters()}
    assert shapes["attention_adapters.3_from_12.weight"] == (6, 4, 1, 1)
    assert shapes["hidden_adapters.2_from_11.weight"] == (384, 32)
    assert set(model(*fixed_batch())) == {"loss_pixels", "loss_attention", "loss_hidden"}


@pytest.mark.parametrize(
    "order", [torch.arange(16)[None].float(), torch.arange(17)[None], torch.arange(16)]
)
def test_what_is_no_order_is_refused(order):
    with pytest.raises(ValueError, match="argsort of noise"):
        build()(fixed_batch()[0], order)


def test_images_of_another_size_are_refused():
    with pytest.raises(ConfigError, match="crop_size"):
        build()(torch.zeros(1, 3, 96, 96))


if __name__ == "__main__":
    DATA.write_text(json.dumps(golden_losses(), indent=1) + "\n")
