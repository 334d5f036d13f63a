"""Every config builds, takes a training step on demo data, and says how it is launched."""

import re
from pathlib import Path

import pytest
import torch
from all_configs import CONFIGS, DETECTION, PRETRAIN, ROOT, SEGMENTATION, TRACKING
from mmengine.runner import Runner

from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.openmmlab.run import train

# Those of pre-training take their step in tests/pretrain/test_pretrain_configs.py (two of them, the
# demo's, in tests/test_demo.py), those of trackers in tests/tracking/test_track_configs.py, those
# of detectors in tests/detection/test_coco_configs.py.
# These are `HEAD_dmae_tiny.py` but for the start, as shown below, and the step is of another start.
SAME_STEP = {f"configs/ade20k/{head}_{start}_tiny.py" for head in ("fpn", "upernet")
             for start in ("mae", "d2mae")}  # fmt: skip
VARIANTS = [c for c in CONFIGS if re.search("ade20k/.*_(dmae|d2mae|mae|deit|random)_", c)]


@pytest.fixture(scope="module")
def camvid_root(tmp_path_factory, demo_root) -> Path:
    """The demo pictures in CamVid's layout and ids (0 upwards)."""
    import cv2

    root = tmp_path_factory.mktemp("camvid")
    for split, source in (("train", "training"), ("val", "validation"), ("test", "validation")):
        for kind in ("images", "annotations"):
            (root / kind / split).mkdir(parents=True)
        for image in (demo_root / "images" / source).iterdir():
            (root / "images" / split / image.name).write_bytes(image.read_bytes())
        for mask in (demo_root / "annotations" / source).iterdir():
            ids = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED) - 1
            cv2.imwrite(str(root / "annotations" / split / mask.name), ids)
    return root


def test_count():
    """A config that is added is tested; one that vanishes is missed."""
    assert len(SEGMENTATION) == 17 and SAME_STEP < {*VARIANTS}
    assert len(PRETRAIN) == 11
    assert len(TRACKING) == 11
    assert len(DETECTION) == 14
    assert {Path(config).parts[1] for config in TRACKING} == {"lasot", "stills"}


@pytest.mark.slow
@pytest.mark.parametrize("config", [one for one in SEGMENTATION if one not in SAME_STEP])
def test_one_training_step(config, demo_root, camvid_root, tmp_path, monkeypatch):
    """Everything as configured but the size of crops and batches, the checkpoint and the data."""
    monkeypatch.chdir(ROOT)
    cfg = load_config(config)
    crop = next(i for i, step in enumerate(cfg.train_pipeline) if step["type"] == "RandomCrop")
    before = {}
    call_hook = Runner.call_hook

    def remember(self, name, **kwargs):
        if name == "before_train_iter":
            before.update({k: v.clone() for k, v in self.model.state_dict().items()})
        return call_hook(self, name, **kwargs)

    monkeypatch.setattr(Runner, "call_hook", remember)
    runner = train(
        config,
        work_dir=str(tmp_path),
        cfg_options=[
            "init=random",
            f"data_root={camvid_root if 'camvid' in config else demo_root}",
            f"train_dataloader.dataset.pipeline.{crop}.crop_size=(64,64)",
            "model.data_preprocessor.size=(64,64)",
            "model.data_preprocessor.window=64",
            "model.test_cfg.crop_size=(64,64)",
            "model.test_cfg.stride=(64,64)",
            *([] if cfg.model.backbone.type == "TimmBackbone" else ["model.backbone.img_size=64"]),
            "train_dataloader.batch_size=2",
            "train_dataloader.num_workers=0",
            "train_dataloader.persistent_workers=False",
            "train_cfg.max_iters=1",
            "train_cfg.val_begin=2",
            "default_hooks.checkpoint.interval=2",
            "param_scheduler=None",
            "log_level=ERROR",
        ],
    )
    rates = {group["lr"] for group in runner.optim_wrapper.optimizer.param_groups}
    scaled = cfg.optim_wrapper.optimizer.lr * 2 / cfg.auto_scale_lr.base_batch_size
    assert max(rates) == pytest.approx(scaled)  # two images an iteration

    after = runner.model.state_dict()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert any(name.startswith("backbone.") and name.endswith(".weight") for name in moved)
    assert any(name.startswith("decode_head") for name in moved)
    assert all(torch.isfinite(value).all() for value in after.values())


@pytest.mark.parametrize("config", CONFIGS)
def test_opens_with_what_it_is(config):
    assert (ROOT / config).read_text().startswith("# ")


@pytest.mark.parametrize("config", VARIANTS)
def test_variants_differ_in_the_start_alone(config):
    """`HEAD_START_tiny.py` is `HEAD_dmae_tiny.py` with another initialisation."""
    head, start, _ = Path(config).stem.split("_")
    ours = load_config(ROOT / config).to_dict()
    base = load_config(ROOT / f"configs/ade20k/{head}_dmae_tiny.py").to_dict()
    assert ours["model"]["backbone"].pop("init") == (
        "random" if start == "random" else f"checkpoints/{start}_tiny.safetensors"
    )
    base["model"]["backbone"].pop("init")
    if start == "deit":
        assert ours["model"]["backbone"].pop("preset") == "vit_tiny_p16_h3"
        base["model"]["backbone"].pop("preset")
    if start == "random":
        assert ours["optim_wrapper"].pop("paramwise_cfg") == {"layer_decay_rate": 1.0}
        base["optim_wrapper"].pop("paramwise_cfg")
    assert ours == base


def test_hiera_differs_in_the_model_alone():
    ours = load_config(ROOT / "configs/ade20k/fpn_hiera_tiny.py").to_dict()
    base = load_config(ROOT / "configs/ade20k/fpn_dmae_tiny.py").to_dict()
    model, other = ours["model"], base["model"]
    assert model["backbone"]["init"] == "checkpoints/dmae_hiera_tiny.safetensors"
    assert model["backbone"]["drop_path"] == other["backbone"]["drop_path"]
    assert model["data_preprocessor"].pop("patch") == 32
    for part in ("decode_head", "data_preprocessor", "train_cfg", "test_cfg"):
        assert model[part] == other[part]
    made = {"model", "backbone", "data_preprocessor"}  # by the model's own base files
    assert {k: v for k, v in ours.items() if k not in made} == {
        k: v for k, v in base.items() if k not in made
    }


def test_the_authors_fpn_recipe():
    """The numbers of MAE-Lite's ADE20K recipe, in the config that claims to be it."""
    cfg = load_config(ROOT / "configs/ade20k/fpn_dmae_tiny.py")
    backbone, optim = cfg.model.backbone, cfg.optim_wrapper
    assert (backbone.preset, backbone.out_blocks) == ("vit_tiny_p16_h12", (3, 5, 7, 11))
    assert (backbone.drop_path, backbone.layer_scale, backbone.rel_pos) == (0.1, 1.0, True)
    assert backbone.img_size == 512
    assert cfg.model.decode_head.channels == 128 and cfg.model.decode_head.dropout_ratio == 0.1
    assert cfg.model.decode_head.feature_strides == [4, 8, 16, 32]
    assert cfg.model.test_cfg == dict(mode="slide", crop_size=(512, 512), stride=(341, 341))
    assert optim.type == "OptimWrapper"  # float32, as theirs ran
    assert optim.optimizer == dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05)
    assert optim.paramwise_cfg.layer_decay_rate == 0.8
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[1].end == 160000
    warmup, decay = cfg.param_scheduler
    assert (warmup.start_factor, warmup.end, decay.power, decay.eta_min) == (1e-6, 1500, 1.0, 0)
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=16)
    assert cfg.randomness.seed == 0
