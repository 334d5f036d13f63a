"""Every detector's config builds and takes a training step on demo data; the authors' numbers."""

import pytest
import torch
from all_configs import DETECTION, ROOT
from mmengine.runner import Runner

from lightvit_bench.detection.heads_check import head_counts
from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.openmmlab.run import train

STARTS = ("d2mae", "mae", "mocov3", "deit", "random")
BASE = "configs/coco/mask_rcnn_dmae_tiny.py"
LARGE = "configs/coco/mask_rcnn_dmae_tiny_1024.py"
# `BASE` but for the start or the size, as shown below, and the step is of another start and size.
SAME_STEP = {LARGE, *(f"configs/coco/mask_rcnn_{start}_tiny.py" for start in STARTS)}


def step_number(pipeline, kind):
    return next(i for i, step in enumerate(pipeline) if step["type"] == kind)


def small_images(pipeline):
    """Options of a pipeline for images of 64 px."""
    small = dict(
        Resize=["scale=(64,64)"],
        RandomResize=["scale=(64,64)", "ratio_range=(1.0,2.0)"],
        CropToMasks=["crop_size=(64,64)"],
    )
    for at, step in enumerate(pipeline):
        yield from (f"{at}.{option}" for option in small.get(step["type"], ()))


@pytest.mark.slow
@pytest.mark.parametrize("config", [one for one in DETECTION if one not in SAME_STEP])
def test_one_training_step(config, demo_coco, tmp_path, monkeypatch):
    """Everything as configured but the size of images and batches, the checkpoint and the data."""
    monkeypatch.chdir(ROOT)
    cfg = load_config(config)
    steps = "train_dataloader.dataset.pipeline"
    options = [
        "init=random",
        f"data_root={demo_coco}",
        "train_dataloader.dataset.type=DemoCOCO",
        "val_dataloader.dataset.type=DemoCOCO",
        "test_dataloader.dataset.type=DemoCOCO",
        *(f"{steps}.{at}" for at in small_images(cfg.train_pipeline)),
        "model.data_preprocessor.pad_size_divisor=64",
        "train_dataloader.batch_size=2",
        "train_dataloader.num_workers=0",
        "train_dataloader.persistent_workers=False",
        "val_dataloader.num_workers=0",
        "val_dataloader.persistent_workers=False",
        "train_cfg.max_iters=1",
        "train_cfg.val_begin=2",
        "default_hooks.checkpoint.interval=2",
        "param_scheduler=None",
        "log_level=ERROR",
    ]
    if cfg.model.type == "MaskRCNN":
        options.append("model.train_cfg.rcnn.sampler.num=16")
    # The demo data's six classes.
    options += [f"{head}=6" for head, _ in head_counts(cfg.model, "model")]
    if cfg.model.backbone.type == "ViTBackbone":
        options.append("model.backbone.rel_pos_size=64")
    before = {}
    call_hook = Runner.call_hook

    def remember(self, name, **kwargs):
        if name == "before_train_iter":
            before.update({k: v.clone() for k, v in self.model.state_dict().items()})
        return call_hook(self, name, **kwargs)

    monkeypatch.setattr(Runner, "call_hook", remember)
    runner = train(config, work_dir=str(tmp_path), cfg_options=options)
    rates = {group["lr"] for group in runner.optim_wrapper.optimizer.param_groups}
    scaled = cfg.optim_wrapper.optimizer.lr * 2 / cfg.auto_scale_lr.base_batch_size
    # two images an iteration, no layer decay
    assert len(rates) == 1 and rates.pop() == pytest.approx(scaled)

    after = runner.model.state_dict()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    for part in ("backbone.", "neck.", *_heads(runner.model)):
        assert any(name.startswith(part) and name.endswith("weight") for name in moved), part
    assert all(torch.isfinite(value).all() for value in after.values())


def _heads(model):
    if model.__class__.__name__ != "MaskRCNN":
        return ("bbox_head.",)
    return "rpn_head.", "roi_head.bbox_head.", "roi_head.mask_head."


def test_the_authors_recipe():
    """The numbers of MAE-Lite's mask_rcnn_vitdet_t_100ep, in the config that claims to be it."""
    cfg = load_config(ROOT / BASE)
    backbone, model = cfg.model.backbone, cfg.model
    assert (backbone.preset, backbone.window) == ("vit_tiny_p16_h12", 14)
    assert (backbone.global_blocks, backbone.out_blocks) == ((2, 5, 8, 11), (11,))
    assert (backbone.rel_pos, backbone.rel_pos_size) == ("decomposed", 640)
    assert "img_size" not in backbone and "drop_path" not in backbone
    assert backbone.checkpointing is True
    assert model.neck.scales == (4, 2, 1, 0.5) and model.neck.num_outs == 5
    assert model.neck.out_channels == 256 and model.rpn_head.num_convs == 2
    assert model.roi_head.bbox_head.type == "Shared4Conv1FCBBoxHead"
    assert model.roi_head.mask_head.num_convs == 4
    norms = (model.neck, model.roi_head.bbox_head, model.roi_head.mask_head)
    assert all(part.norm_cfg == dict(type="LN2d", eps=1e-6) for part in norms)
    assert model.data_preprocessor.bgr_to_rgb and model.data_preprocessor.pad_size_divisor == 640

    resize = cfg.train_pipeline[step_number(cfg.train_pipeline, "RandomResize")]
    assert (resize.scale, resize.ratio_range, resize.keep_ratio) == ((640, 640), (0.1, 2.0), True)
    crop = cfg.train_pipeline[step_number(cfg.train_pipeline, "CropToMasks")]
    assert crop.crop_size == (640, 640) and crop.allow_negative_crop
    assert cfg.test_pipeline[1].scale == (640, 640) and cfg.test_pipeline[1].keep_ratio

    wrapper, (warmup, steps) = cfg.optim_wrapper, cfg.param_scheduler
    assert wrapper.type == "AmpOptimWrapper" and "constructor" not in wrapper
    assert wrapper.optimizer == dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05)
    assert cfg.train_cfg.max_iters == 100 * 118000 // 64 == 184375
    assert (warmup.start_factor, warmup.end) == (0.001, 250)
    assert steps.milestones == [184375 * 24 // 27, 184375 * 26 // 27] and steps.gamma == 0.1
    assert cfg.train_dataloader.batch_size == 64
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=64)


def test_what_is_decayed():
    """detectron2's rule: all but positions and the encoder's norms."""
    from mmengine.optim import build_optim_wrapper

    from lightvit_bench.openmmlab.model import build_model

    cfg = load_config(ROOT / BASE)
    cfg.optim_wrapper.type = "OptimWrapper"
    model = build_model(cfg)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    spared = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in spared}
    wanted = {"backbone.encoder.pos_embed"}
    for block in range(12):
        for norm in ("norm1", "norm2"):
            wanted |= {f"backbone.encoder.blocks.{block}.{norm}.{x}" for x in ("weight", "bias")}
    assert names == wanted
    assert {group["weight_decay"] for group in groups} == {0.0, 0.05}


@pytest.mark.parametrize("start", STARTS)
def test_variants_differ_in_the_start_alone(start):
    ours = load_config(ROOT / f"configs/coco/mask_rcnn_{start}_tiny.py").to_dict()
    base = load_config(ROOT / BASE).to_dict()
    assert base["model"]["backbone"].pop("init") == "checkpoints/dmae_tiny.safetensors"
    assert ours["model"]["backbone"].pop("init") == (
        "random" if start == "random" else f"checkpoints/{start}_tiny.safetensors"
    )
    assert ours == base


def test_the_large_one_differs_in_the_size_alone():
    ours = load_config(ROOT / LARGE).to_dict()
    base = load_config(ROOT / BASE).to_dict()
    assert repr(base).replace("640", "1024") == repr(ours)


def test_boxes_alone_see_the_same_images():
    """The pipelines without masks are those with, less the masks."""
    with_masks = load_config(ROOT / BASE)
    for head in ("retinanet", "rtmdet"):
        cfg = load_config(ROOT / f"configs/coco/{head}_dmae_tiny.py")
        for key in ("train_pipeline", "test_pipeline"):
            ours = [dict(step) for step in cfg[key]]
            base = [dict(step) for step in with_masks[key]]
            for step in base:
                for mask in ("with_mask", "by_mask"):
                    step.pop(mask, None)
            assert ours == base
        assert cfg.val_evaluator == dict(type="CocoAP", metric="bbox")
        assert cfg.train_dataloader.dataset.pipeline == cfg.train_pipeline
        assert cfg.test_dataloader.dataset.pipeline == cfg.test_pipeline
        cfg.optim_wrapper.paramwise_cfg.pop("bypass_duplicate", None)
        assert cfg.optim_wrapper == with_masks.optim_wrapper
