"""Every config of pre-training builds, takes a step, and holds its recipe number by number."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner import Runner

from lightvit_bench.checkpoint import read_manifest, save_encoder, sha256
from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.openmmlab.run import train
from lightvit_bench.pretrain.build import build_encoder

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(path.stem for path in (ROOT / "configs/pretrain").glob("*.py"))
AUTHORS = [name for name in CONFIGS if name != "tinymim_tiny"]
TEACHERS = {
    "vit_base_p16": "checkpoints/mae_base.safetensors",
    "hiera_base": "checkpoints/hiera_base.safetensors",
}
IMAGENET = 1_281_167


def load(name):
    return load_config(ROOT / f"configs/pretrain/{name}.py")


def built(name):
    """The model of a config, with a teacher of random weights."""
    cfg = load(name)
    if "distill" in cfg.model:
        cfg.model.distill.teacher.init = "random"
    return MODELS.build(cfg.model)


def test_count():
    """A config that is added is tested; one that vanishes is missed."""
    assert CONFIGS == sorted(
        ["mae_tiny", "dmae_tiny", "d2mae_tiny", "mae_small", "dmae_small", "mae_base"]
        + ["mae_hiera_tiny", "dmae_hiera_tiny", "tinymim_tiny"]
    )


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """A file of random weights for each teacher."""
    torch.manual_seed(0)
    folder, files = tmp_path_factory.mktemp("teachers"), {}
    for preset in TEACHERS:
        files[preset] = folder / f"{preset}.safetensors"
        options = {"q_pool": 2} if preset.startswith("hiera") else {}
        save_encoder(files[preset], build_encoder(preset, **options), recipe="mae")
    return files


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_one_training_step(name, teachers, demo_root, tmp_path, monkeypatch):
    """Everything as configured but the size of crops and batches, the teacher and the data."""
    monkeypatch.chdir(ROOT)
    cfg = load(name)
    options = [
        f"data_root={demo_root / 'images/training'}",
        "train_dataloader.dataset.crop_size=64",
        "model.backbone.img_size=64",
        "train_dataloader.batch_size=2",
        "train_dataloader.num_workers=0",
        "train_cfg.max_iters=1",
        "default_hooks.checkpoint.save_last=False",  # gigabytes, for a ViT-Base
        "param_scheduler=None",  # whose first step is one of learning rate 0
        "log_level=ERROR",
    ]
    teacher = None
    if "distill" in cfg.model:
        teacher = teachers[cfg.model.distill.teacher.preset]
        options += [f"teacher={teacher}", "model.distill.teacher.img_size=64"]
    before, losses = {}, {}
    call_hook = Runner.call_hook

    def remember(self, hook, **kwargs):
        if hook == "before_train_iter":
            before.update({k: v.clone() for k, v in self.model.state_dict().items()})
        if hook == "after_train_iter":
            losses.update(kwargs["outputs"])
        return call_hook(self, hook, **kwargs)

    monkeypatch.setattr(Runner, "call_hook", remember)
    runner = train(f"configs/pretrain/{name}.py", work_dir=str(tmp_path), cfg_options=options)
    rates = {group["lr"] for group in runner.optim_wrapper.optimizer.param_groups}
    scaled = cfg.optim_wrapper.optimizer.lr * 2 / cfg.auto_scale_lr.base_batch_size
    assert list(rates) == [pytest.approx(scaled)]  # two images an iteration

    recipe = name.split("_")[0]
    parts = {
        "mae": {"loss_pixels"},
        "dmae": {"loss_pixels", "loss_attention"},
        "d2mae": {"loss_pixels", "loss_attention"},
        "tinymim": {"loss_relation"},
    }[recipe]
    assert set(losses) == {*parts, "loss"}
    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())

    after = runner.model.state_dict()
    moved = {key for key in after if not torch.equal(before[key], after[key])}
    trained = {key for key, p in runner.model.named_parameters() if p.requires_grad}
    assert moved <= trained
    starts = ["method.encoder.blocks.0.", "method.encoder.blocks.11.attn.qkv."]
    if recipe != "tinymim":
        starts += ["method.decoder.blocks.0.", "method.decoder.pred."]
    if "attention" in cfg.model.get("distill", {}):
        starts.append("distillation.attention_adapters.")
    if recipe == "d2mae":
        starts.append("method.logits_block.")
    for start in starts:
        assert any(key.startswith(start) for key in moved), start
    assert all(torch.isfinite(value).all() for value in after.values())

    manifest = read_manifest(tmp_path / f"{name}.safetensors")
    assert (manifest.recipe, manifest.preset) == (recipe, cfg.model.backbone.preset)
    hashes = [parent.sha256 for parent in manifest.parents]
    assert hashes == ([] if teacher is None else [sha256(teacher)])
    assert (tmp_path / "pictures/latest.jpg").exists() == (recipe != "tinymim")


@pytest.mark.parametrize("name", CONFIGS)
def test_header_says_what_comes_out_and_where_it_goes(name):
    text = (ROOT / f"configs/pretrain/{name}.py").read_text()
    header = re.match(r"(#.*\n)+", text)[0]
    assert f"work_dirs/pretrain/{name}/{name}.safetensors" in header or "says where" in header
    assert "unched like" in header or f"tools/train.py configs/pretrain/{name}.py" in header
    named = re.findall(r"configs/[\w*/]+\.py", text)
    named += [f"configs/pretrain/{file}" for file in re.findall(r"(?<![\w/*])\w+\.py", header)
              if file not in ("train.py", "convert_checkpoint.py", "main_pretrain.py")]  # fmt: skip
    for pattern in named:
        assert any(ROOT.glob(pattern)), pattern


@pytest.mark.parametrize("name", CONFIGS)
def test_next_command_fits_the_encoder(name):
    """The config that the printed command names takes an encoder of this preset."""
    cfg = load(name)
    then = cfg.default_hooks.export.get("then")
    if cfg.model.backbone.preset == "vit_small_p16_h12":
        assert then is None  # no downstream config is of its size
        return
    config, key, value = re.fullmatch(
        r"tools/train\.py (\S+) --cfg-options (\w+)=(\S+)", then
    ).groups()
    assert value == "{path}"
    target = load_config(ROOT / config).model
    part = target.backbone if key == "init" else target.distill.teacher
    assert part.preset == cfg.model.backbone.preset


@pytest.mark.parametrize("name", AUTHORS)
def test_the_authors_recipe(name):
    """MAE-Lite's numbers, which all of its pre-trainings share."""
    cfg = load(name)
    loader, optim = cfg.train_dataloader, cfg.optim_wrapper
    assert 8 * loader.batch_size == cfg.auto_scale_lr.base_batch_size == 4096
    assert cfg.auto_scale_lr.enable is True and loader.drop_last is True
    assert loader.dataset == dict(
        type="PretrainImages",
        data_root="data/imagenet/train",
        crop_size=224,
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        interpolations=("bilinear", "bicubic"),
        flip=0.5,
        min_side=0,
        max_unreadable=0.001,
    )
    assert optim.optimizer == dict(
        type="AdamW", lr=2.4e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.05, fused=True
    )
    assert optim.optimizer.lr == pytest.approx(1.5e-4 * 4096 / 256)
    assert (optim.type, optim.dtype, optim.loss_scale) == ("AmpOptimWrapper", "float16", "dynamic")
    assert optim.clip_grad is None
    assert optim.constructor == "PretrainOptimConstructor" and optim.paramwise_cfg.clean is False
    assert cfg.train_cfg == dict(type="EpochIterLoop", max_epochs=400)
    assert cfg.param_scheduler == [
        dict(type="WarmupCosineLR", warmup=40, by_epoch=True, convert_to_iter_based=True)
    ]
    assert cfg.default_hooks.checkpoint.interval == 10 and cfg.default_hooks.checkpoint.by_epoch
    assert cfg.randomness.seed == 0
    model = cfg.model
    assert (model.backbone.img_size, model.backbone.init) == (224, "random")
    assert model.backbone.drop_path == 0 and model.norm_pixels is True
    assert model.data_preprocessor.mean == [123.675, 116.28, 103.53]
    assert model.data_preprocessor.std == [58.395, 57.12, 57.375]
    assert model.mask_ratio == (0.4 if "hiera" in name else 0.75)
    assert model.get("decode_after") == (8 if name == "d2mae_tiny" else None)
    decoder = {"small": (192, 1, 6), "base": (512, 8, 16)}.get(name.split("_")[-1], (96, 1, 3))
    assert (model.decoder.width, model.decoder.depth, model.decoder.heads) == decoder


@pytest.mark.parametrize(
    "name, pairs",
    [
        ("dmae_tiny", [(12, 12)]),
        ("d2mae_tiny", [(13, 12)]),
        ("dmae_small", [(12, 12)]),
        ("dmae_hiera_tiny", [(12, 24)]),
    ],
)
def test_the_authors_distillation(name, pairs):
    distill = load(name).model.distill
    assert distill.attention == pairs and distill.hidden == []
    assert distill.attention_weight == distill.hidden_weight == 1.0
    preset = "hiera_base" if "hiera" in name else "vit_base_p16"
    assert distill.teacher == dict(preset=preset, init=TEACHERS[preset])
    heads = 8 if "hiera" in name else 12
    model = built(name)
    ((key, adapter),) = model.distillation.attention_adapters.items()
    assert adapter.weight.shape == (heads, heads, 1, 1) and adapter.bias is None
    assert model.recipe == name.split("_")[0]


@pytest.mark.parametrize("name", CONFIGS)
def test_distilled_differs_from_plain_in_the_teacher_alone(name):
    if not name.startswith("dmae"):
        return
    ours, base = load(name).to_dict(), load(name.removeprefix("d")).to_dict()
    ours["model"].pop("distill")
    for cfg in (ours, base):
        cfg["default_hooks"]["export"].pop("then", None)
    assert ours == base


@pytest.mark.parametrize(
    "name, units, kept, visible",
    [
        ("mae_tiny", 196, 49, 50),  # and the CLS token
        ("d2mae_tiny", 196, 49, 50),
        ("mae_base", 196, 49, 50),
        ("mae_hiera_tiny", 49, 29, 116),  # 2 x 2 tokens of a unit in the last stage
    ],
)
def test_counts_in_the_comments(name, units, kept, visible):
    method = built(name).method
    assert (method.units, method.kept) == (units, kept)
    order = torch.arange(units)[None]
    with torch.no_grad():
        image = torch.zeros(1, 3, 224, 224)
        latent = method(image, method.masking(order)).latent
    assert latent.flatten(1, -2).shape[1] == visible


def test_arithmetic_in_the_comments():
    text = "".join(
        (ROOT / "configs" / path).read_text()
        for path in (
            "_base_/datasets/imagenet_pretrain.py",
            "_base_/schedules/pretrain_400e.py",
            "_base_/pretrain_runtime.py",
            "pretrain/tinymim_tiny.py",
        )
    )
    epoch = IMAGENET // 4096
    for said in (
        f"{IMAGENET:,} // 4096 = {epoch}",
        f"{IMAGENET % 4096:,} images left over",
        f"400 * {epoch} = {400 * epoch:,}",
        f"in 40 epochs ({40 * epoch:,} iterations)",
        f"{5 * epoch:,} iterations are five epochs",
        f"{IMAGENET:,} // 2048 = {IMAGENET // 2048}",
    ):
        assert said in text, said
    assert load("mae_tiny").default_hooks.pictures.interval == 5 * epoch


def test_tinymim():
    """The numbers of TinyMIM's README and main_pretrain.py."""
    cfg = load("tinymim_tiny")
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=32 * 64)
    assert cfg.train_dataloader.batch_size * 8 == 2048
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1.5e-4 * 2048 / 256)
    assert cfg.optim_wrapper.optimizer.betas == (0.9, 0.95)
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.05
    assert cfg.optim_wrapper.clip_grad is None
    assert cfg.train_cfg.max_epochs == 300 and cfg.param_scheduler[0].warmup == 15
    dataset = cfg.train_dataloader.dataset
    assert (dataset.scale, dataset.interpolations) == ((0.2, 1.0), ("bicubic",))
    assert cfg.model.backbone.drop_path == 0.1
    assert cfg.model.decoder is None and cfg.model.mask_ratio == 0
    assert cfg.model.distill.relation == [(12, 12)] and "attention" not in cfg.model.distill
    model = built("tinymim_tiny")
    assert not model.masked and model.recipe == "tinymim"
    assert not list(model.distillation.parameters())  # as many heads as the teacher: no adapter
