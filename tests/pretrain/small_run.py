"""Pre-training runs of seconds: the configs of the project around encoders made for tests."""

from pathlib import Path

import torch

from lightvit_bench.checkpoint import save_encoder
from lightvit_bench.openmmlab.run import train
from lightvit_bench.vit import VisionTransformer

CONFIGS = Path(__file__).resolve().parents[2] / "configs/pretrain"
DISTILLED = "distill=dict(teacher=dict(preset='vit_test', init='random'), attention=[(3, 3)]),"


def small_config(folder: Path, images: Path, *, model: str = "", more: str = "") -> Path:
    """A config in `folder`: MAE of three blocks, 64 px, float32, three iterations of 4 images."""
    path = folder / "small.py"
    path.write_text(
        f"""
_base_ = {str(CONFIGS / "mae_tiny.py")!r}
model = dict(
    backbone=dict(preset="vit_test", img_size=64),
    decoder=dict(width=16, depth=1, heads=2),
    {model}
)
train_dataloader = dict(
    batch_size=4, num_workers=0, dataset=dict(data_root={str(images)!r}, crop_size=64)
)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(lr=1e-2))
auto_scale_lr = dict(base_batch_size=4)
param_scheduler = [
    dict(type="WarmupCosineLR", warmup=0.5, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=2)
default_hooks = dict(
    pictures=dict(interval=0), checkpoint=dict(interval=1, max_keep_ckpts=-1)
)
{more}
"""
    )
    return path


def small_teacher(path: Path) -> Path:
    """A teacher of random weights for `small_config`."""
    torch.manual_seed(7)
    save_encoder(path, VisionTransformer("vit_test"), recipe="mae")
    return path


def run(config: Path, work_dir: Path, *options: str, resume: bool = False):
    """Train on one thread, where equal runs are equal bit for bit; returns the runner."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train(
            str(config),
            work_dir=str(work_dir),
            resume=resume,
            cfg_options=["log_level=WARNING", *options],
        )
    finally:
        torch.set_num_threads(threads)
