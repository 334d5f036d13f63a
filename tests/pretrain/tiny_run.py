"""Pre-trainings small enough for tests, with a ViT of width 32.

`write_config` and `start`: nothing but the trainer, ten images, in a process of its own.
`small_config` and `run`: a config of the project with all its hooks, in this process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import forked
import numpy as np
import torch

from lightvit_bench.checkpoint import save_encoder
from lightvit_bench.openmmlab.run import train
from lightvit_bench.vit import VisionTransformer

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ROOT / "tools/train.py"
CONFIGS = ROOT / "configs/pretrain"
DISTILLED = "distill=dict(teacher=dict(preset='vit_test', init='random'), attention=[(3, 3)]),"

CONFIG = """
default_scope = "mmengine"
custom_imports = dict(imports=["lightvit_bench.registry"{imports}])
randomness = dict(seed=3)
model = dict(
    type="Pretraining",
    data_preprocessor=dict(type="PixelNormalizer", mean=[120.0] * 3, std=[60.0] * 3),
    backbone=dict(preset="vit_test", init="random", img_size=64, drop_path=0.1),
    decoder=dict(width=16, depth=1, heads=2),
    mask_ratio=0.75,
    accumulate=1,
)
train_dataloader = dict(
    batch_size={batch},
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="EpochSampler"),
    collate_fn=dict(type="collate_images"),
    dataset=dict(type="PretrainImages", data_root={data_root!r}, crop_size=64),
)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-2, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    constructor="PretrainOptimConstructor",
)
auto_scale_lr = dict(enable=True, base_batch_size=4)
param_scheduler = [
    dict(type="WarmupCosineLR", warmup=1, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(type="EpochIterLoop", max_epochs=3)
default_hooks = dict(
    runtime_info=None,
    timer=None,
    sampler_seed=None,
    logger=dict(type="TrainingLog", interval=2),
    checkpoint=dict(type="RunCheckpoint", by_epoch=True, interval=1),
)
custom_hooks = [dict(type="ReplayableIterations"){hooks}]
visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
"""


def write_images(root: Path, count: int = 10) -> Path:
    """Smooth pictures in `root`."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = rng.integers(0, 256, (4, 5, 3), np.uint8)
        cv2.imwrite(str(root / f"image_{i}.png"), cv2.resize(coarse, (80, 72)))
    return root


def write_config(folder: Path, name: str = "tiny.py", *, hooks="", imports="", batch=2) -> Path:
    """The config, its images beside it."""
    images = folder / "images"
    if not images.exists():
        write_images(images)
    path = folder / name
    path.write_text(CONFIG.format(hooks=hooks, imports=imports, batch=batch, data_root=str(images)))
    return path


def start(config, work_dir, *arguments, path="", ranks: int = 1, **environment):
    """tools/train.py in a process of its own, or under torchrun; one thread, no GPU."""
    arguments = [str(config), "--work-dir", str(work_dir), *map(str, arguments)]
    if ranks > 1:
        port = 29950 + os.getpid() % 40
        command = [
            sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}",
            f"--master-port={port}", str(TRAIN), "--launcher", "pytorch", *arguments,
        ]  # fmt: skip
    search = os.pathsep.join(filter(None, (str(path), os.environ.get("PYTHONPATH"))))
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": search}
    environment = {**os.environ, **one_thread, "CUDA_VISIBLE_DEVICES": "", **environment}
    if ranks == 1:
        return forked.Popen([TRAIN, *arguments], cwd=ROOT, env=environment, merged=True)
    return subprocess.Popen(
        command,
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process, code: int = 0) -> str:
    """Its output, once it has ended with `code`."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


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
