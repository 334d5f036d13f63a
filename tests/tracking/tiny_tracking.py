"""Small tracking data in the official layouts, and configs of a tracker of width 32."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import cv2
import forked
import numpy as np
import torch

from lightvit_bench.openmmlab.run import train

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ROOT / "tools/train.py"
H, W, FRAMES = 72, 96, 24


def frame(rng: np.random.Generator, box: tuple[int, int, int, int]) -> np.ndarray:
    """(H, W, 3): a striped rectangle before smooth noise."""
    coarse = rng.integers(0, 200, (5, 6, 3), np.uint8)
    image = cv2.resize(coarse, (W, H))
    x, y, w, h = box
    image[y : y + h, x : x + w] = (20, 220, 60)
    image[y : y + h : 4, x : x + w] = (250, 30, 30)
    return image


def boxes(number: int, count: int = FRAMES) -> list[tuple[int, int, int, int]]:
    """A path of its own for each sequence."""
    return [(10 + 2 * i, 12 + (i + 3 * number) % 20, 18 + number % 4, 22) for i in range(count)]


def _frames(folder: Path, number: int, first: int, name: str) -> str:
    """Frames in a folder; the text of their boxes."""
    folder.mkdir(parents=True)
    rng, found = np.random.default_rng(number), boxes(number)
    for i, box in enumerate(found):
        cv2.imwrite(str(folder / name.format(first + i)), frame(rng, box))
    return "".join(",".join(map(str, box)) + "\n" for box in found)


def write_lasot(root: Path, names: tuple[str, ...]) -> None:
    """Sequences such as `cat-2` in LaSOT's layout."""
    for number, name in enumerate(names):
        folder = root / name.rpartition("-")[0] / name
        text = _frames(folder / "img", number, 1, "{:08d}.jpg")
        (folder / "groundtruth.txt").write_text(text)
        for mark in ("full_occlusion", "out_of_view"):
            (folder / f"{mark}.txt").write_text(",".join("0" * FRAMES) + "\n")


def write_got10k(root: Path, split: str, count: int) -> None:
    """The first sequences of a split."""
    for number in range(1, count + 1):
        folder = root / split / f"GOT-10k_{split.title()}_{number:06d}"
        text = _frames(folder, 20 + number, 1, "{:08d}.jpg")
        (folder / "groundtruth.txt").write_text(text)
        (folder / "absence.label").write_text("0\n" * FRAMES)
        (folder / "cover.label").write_text("8\n" * FRAMES)


def write_trackingnet(root: Path, count: int) -> None:
    """Videos of TRAIN_0."""
    (root / "TRAIN_0/anno").mkdir(parents=True)
    for number in range(count):
        name = f"video_{number}"
        text = _frames(root / "TRAIN_0/frames" / name, 40 + number, 0, "{}.jpg")
        (root / f"TRAIN_0/anno/{name}.txt").write_text(text)


def write_coco(root: Path, count: int) -> None:
    """Images of one object, with its outline, as training set."""
    (root / "train2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    images, objects = [], []
    for number in range(1, count + 1):
        x, y, w, h = box = (12 + 3 * number, 15, 40, 36)
        file = f"{number:012d}.jpg"
        cv2.imwrite(str(root / "train2017" / file), frame(np.random.default_rng(number), box))
        images.append(dict(id=number, file_name=file, height=H, width=W))
        outline = [x, y, x + w, y, x + w, y + h, x, y + h]
        objects.append(
            dict(id=number, image_id=number, category_id=1, bbox=box, iscrowd=0, area=w * h,
                 segmentation=[outline])
        )  # fmt: skip
    content = dict(images=images, annotations=objects, categories=[dict(id=1, name="thing")])
    (root / "annotations/instances_train2017.json").write_text(json.dumps(content))


def write_all(root: Path) -> Path:
    """Every set that the configs name: a few sequences of each, some photographs."""
    write_lasot(root / "lasot", ("cat-2", "cat-4", "dog-2"))
    write_got10k(root / "got10k", "train", 2)
    write_got10k(root / "got10k", "val", 3)
    write_trackingnet(root / "trackingnet", 2)
    write_coco(root / "coco", 4)
    (root / "photos").mkdir()
    rng = np.random.default_rng(5)
    for number in range(3):
        image = cv2.resize(rng.integers(0, 256, (7, 9, 3), np.uint8), (240, 200))
        cv2.imwrite(str(root / f"photos/{number}.jpg"), image)
    return root


SMALL = """
_base_ = {base!r}
load_from = None
model = dict(
    backbone=dict(preset="vit_test", init="random", drop_path=0.1),
    network=dict(template_size=32, search_size=64, {network}),
    {model}
)
sizes = dict(data_root={root!r}, template_size=32, search_size=64)
train_dataloader = dict(
    batch_size=4, num_workers=2,
    dataset=dict(
        samples_per_epoch=8,
        sets=[
            dict(name="lasot", root="lasot", split="train", ratio=1),
            dict(name="coco", root="coco", split="train", ratio=1),
        ],
        **sizes,
    ),
)
val_dataloader = dict(
    batch_size=4, num_workers=0, dataset=dict(samples_per_epoch=10, **sizes)
)
del sizes
optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=4)
param_scheduler = [dict(type="MultiStepLR", by_epoch=True, milestones=[3], gamma=0.1)]
train_cfg = dict(max_epochs=4, val_interval=2)
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(by_epoch=False, interval=3, max_keep_ckpts=-1)
)
{more}
"""


def small_config(
    folder: Path,
    root: Path,
    base: str = "ostrack_dmae_tiny",
    *,
    network: str = "head_channels=16, eliminate=(1,), keep=0.5",
    model: str = "keep_schedule=dict(begin=1, end=3),",
    more: str = "",
    name: str = "small.py",
) -> Path:
    """A config of configs/lasot with the encoder for tests: eight iterations of four pairs."""
    path = folder / name
    base = str(ROOT / f"configs/lasot/{base}.py")
    path.write_text(
        SMALL.format(base=base, root=str(root), network=network, model=model, more=more)
    )
    return path


def run(config: Path | str, work_dir: Path, *options: str, **arguments):
    """Train on one thread, where equal runs are equal bit for bit; returns the runner."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train(
            str(config),
            work_dir=str(work_dir),
            cfg_options=["log_level=ERROR", "train_dataloader.num_workers=0", *options],
            **arguments,
        )
    finally:
        torch.set_num_threads(threads)


def start(config: Path, work_dir: Path, *arguments, path="", **environment):
    """tools/train.py in a process of its own; one thread, no GPU."""
    search = os.pathsep.join(filter(None, (str(path), os.environ.get("PYTHONPATH"))))
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": search}
    environment = {**os.environ, **one_thread, "CUDA_VISIBLE_DEVICES": "", **environment}
    command = [TRAIN, config, "--work-dir", work_dir, *arguments]
    return forked.Popen(command, cwd=ROOT, env=environment, merged=True)


def start_ranks(config: Path, work_dir: Path, count: int, path="") -> list[forked.Popen]:
    """As many processes of one training, told of each other as torchrun tells them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = dict(WORLD_SIZE=count, LOCAL_WORLD_SIZE=count, MASTER_ADDR="127.0.0.1",
                 MASTER_PORT=port)  # fmt: skip
    return [
        start(
            config, work_dir, "--launcher", "pytorch", path=path,
            **{name: str(value) for name, value in dict(group, RANK=i, LOCAL_RANK=i).items()},
        )
        for i in range(count)
    ]  # fmt: skip


def finish(process, code: int = 0) -> str:
    """Its output, once it has ended with `code`."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output
