"""What all tests share: where real data is, if it is anywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config) -> None:
    """Threads without a core each wait for one another, many times longer than they compute.

    Said before torch is imported, also for the tools that tests start. xdist's workers inherit it
    from the process that starts them, so that one has to know of them.
    """
    parallel = "PYTEST_XDIST_WORKER" in os.environ or getattr(config.option, "numprocesses", None)
    os.environ.setdefault("OMP_NUM_THREADS", "1" if parallel else "2")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden numbers and real data; a test that asks for it skips where it is not.

    `LIGHTVIT_SHARED` says where, `../shared` beside the repository otherwise.
    """
    folder = Path(os.environ.get("LIGHTVIT_SHARED", ROOT.parent / "shared"))
    if not folder.is_absolute():
        folder = ROOT / folder
    if not (folder / "golden").is_dir():
        pytest.skip(f"no shared data at {folder} (set LIGHTVIT_SHARED)")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path):
    """`shared/golden/weights.py` as a module: it makes checkpoints in the published layouts."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("golden_weights", shared / "golden/weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def repo() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def demo_root(tmp_path_factory) -> Path:
    """Generated data in ADE20K's layout: 12 pictures to train on, 4 to test on."""
    from lightvit_bench.data.demo_ade import make_demo_ade

    root = tmp_path_factory.mktemp("demo") / "ADEChallengeData2016"
    make_demo_ade(root, train=12, val=4, size=(96, 96))
    return root


@pytest.fixture(scope="session")
def demo_coco(tmp_path_factory) -> Path:
    """Generated data in COCO's layout: 10 pictures to train on, 4 to test on."""
    from lightvit_bench.data.demo_coco import make_demo_coco

    root = tmp_path_factory.mktemp("demo_coco") / "coco"
    make_demo_coco(root, train=10, val=4, size=(96, 96))
    return root


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory, demo_root) -> Path:
    """The demo's config with the encoder for tests: eight iterations of four crops of 64 px."""
    path = tmp_path_factory.mktemp("config") / "tiny.py"
    path.write_text(
        f"""
_base_ = {str(ROOT / "configs/demo/upernet_random_tiny.py")!r}
model = dict(
    data_preprocessor=dict(size=(64, 64), window=64),
    backbone=dict(preset="vit_test", img_size=64, out_blocks=(0, 1, 1, 2)),
    neck=dict(embed_dim=32),
    decode_head=dict(in_channels=[32] * 4, channels=16),
    auxiliary_head=dict(in_channels=32, channels=16),
    test_cfg=dict(mode="slide", crop_size=(64, 64), stride=(32, 32)),
)
crop = dict(type="RandomCrop", crop_size=(64, 64), cat_max_ratio=0.9)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    crop,
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
data = dict(data_root={str(demo_root)!r})
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline, **data))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=data)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=8, val_begin=9)
param_scheduler = [dict(type="PolyLR", power=1.0, by_epoch=False, begin=0, end=8)]
default_hooks = dict(checkpoint=dict(interval=3, max_keep_ckpts=-1))
"""
    )
    return path


@pytest.fixture(scope="session")
def tiny_detector(tmp_path_factory, demo_coco) -> Path:
    """A Mask R-CNN with the encoder for tests: six iterations of two demo pictures of 64 px."""
    path = tmp_path_factory.mktemp("detector") / "tiny_detector.py"
    path.write_text(
        f"""
_base_ = {str(ROOT / "configs/coco/mask_rcnn_dmae_tiny_cpu.py")!r}
image_size = (64, 64)
pooled = dict(out_channels=16)
few = dict(conv_out_channels=16, in_channels=16, num_classes=6)
model = dict(
    data_preprocessor=dict(pad_size_divisor=64),
    backbone=dict(
        preset="vit_test",
        init="random",
        rel_pos_size=64,
        window=2,
        global_blocks=(2,),
        out_blocks=(2,),
    ),
    neck=dict(in_channels=32, out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=pooled,
        bbox_head=dict(fc_out_channels=32, **few),
        mask_roi_extractor=pooled,
        mask_head=few,
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=16))),
    test_cfg=dict(rcnn=dict(score_thr=0.0)),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomResize", scale=image_size, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(
        type="CropToMasks",
        crop_type="absolute",
        crop_size=image_size,
        allow_negative_crop=True,
    ),
    dict(type="FilterAnnotations", min_gt_bbox_wh=(1e-2, 1e-2), by_mask=True, keep_empty=False),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=image_size, keep_ratio=True),
    dict(type="PackDetInputs"),
]
data = dict(type="DemoCOCO", data_root={str(demo_coco)!r})
loading = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline, **data))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **data), **loading)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=6, val_begin=7)
param_scheduler = [dict(type="PolyLR", power=1.0, by_epoch=False, begin=0, end=6)]
default_hooks = dict(checkpoint=dict(interval=3, max_keep_ckpts=-1))
custom_hooks = [dict(type="ReplayableIterations"), dict(type="ProgressLines", interval=6)]
log_level = "ERROR"
"""
    )
    return path
