"""Generated segmentation data in ADE20K's layout: shapes on photographs, with exact masks.

Something to train on in a minute, without a download. Each class is a shape with a texture and a
family of colours of its own; colour, size, rotation, overlap, light and noise vary, and every sixth
object wears the colour of no family, so that colour alone does not solve it. Behind them lie crops
of the photographs that scikit-image and matplotlib install, all public domain or CC0.

A shape is rasterised once, into a boolean mask without soft edges. The same mask chooses the pixels
that are painted and the pixels that are labelled: labels are exact to the pixel.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lightvit_bench.data import demo_folder
from lightvit_bench.data.demo_shapes import SHAPES, Layer, draw_shape
from lightvit_bench.data.roots import write_whole

CLASSES = ("photograph", *SHAPES)  # ids 1.. in this order; 0 is ADE20K's "other", unused here
PALETTE = (
    (120, 120, 120),
    (230, 76, 60),
    (96, 190, 84),
    (250, 190, 40),
    (190, 92, 214),
    (40, 190, 190),
    (70, 110, 235),
)

# Package, file, and the colours a grey photograph is given (of its shadows and its lights).
_PHOTOGRAPHS = (
    ("skimage", "data/astronaut.png", None),
    ("skimage", "data/chelsea.png", None),
    ("skimage", "data/coffee.png", None),
    ("skimage", "data/rocket.jpg", None),
    ("skimage", "data/brick.png", ((60, 34, 28), (226, 170, 146))),
    ("skimage", "data/grass.png", ((18, 30, 10), (196, 206, 122))),
    ("skimage", "data/gravel.png", ((44, 40, 38), (216, 206, 192))),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", None),
)
NO_PHOTOGRAPH = (
    "no photograph found (scikit-image and matplotlib are not installed): "
    "backgrounds are generated clouds"
)
_SPLITS = (("training", "train"), ("validation", "val"))  # folder, word in the file names
_TRAIN_PART = 0.65  # of a photograph's longer side; validation gets the rest, they share no pixel
_VERSION = 1  # raise it when pictures change: finished folders are then made again
_MADE_BY = "lightvit_bench.data.demo_ade"
_OURS = re.compile(
    r"demo\.json|images/(training|validation)/ADE_(train|val)_\d{8}\.jpg"
    r"|annotations/(training|validation)/ADE_(train|val)_\d{8}\.png"
)


@dataclass(frozen=True)
class DemoSummary:
    """What lies in `root`; `made` is False when it was there already, `note` is for the user."""

    root: Path
    train: int
    val: int
    size: tuple[int, int]
    seed: int
    photographs: tuple[str, ...]
    made: bool
    note: str = ""


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture before compression: image (H, W, 3) uint8 RGB, mask (H, W) uint8, and its parts.

    background: (H, W, 3) float32, 0 to 255. layers: from the rearmost to the foremost.
    """

    image: np.ndarray
    mask: np.ndarray
    background: np.ndarray
    layers: tuple[Layer, ...]


def make_demo_ade(
    root: str | Path,
    *,
    train: int = 120,
    val: int = 30,
    size: tuple[int, int] = (160, 160),
    seed: int = 0,
) -> DemoSummary:
    """Write `train` and `val` pictures of `size` (height, width) with masks below `root`.

    The same arguments, photographs and library versions give the same pixels. A finished folder is
    left as it is; an interrupted or differing one that this function made is made again. Takes
    about 20 ms a picture of 160 pixels. Raises BadDataError when `root` holds anything else,
    ValueError for bad numbers.
    """
    root, size = Path(root), (int(size[0]), int(size[1]))
    if min(train, val) < 1 or min(size) < 32 or seed < 0:
        raise ValueError(
            "demo data needs a picture a split, 32 pixels a side and a seed >= 0: "
            f"train={train}, val={val}, size={size}, seed={seed}"
        )
    photographs = load_photographs()
    names = tuple(name for name, _ in photographs)
    note = "" if names else NO_PHOTOGRAPH
    summary = dict(
        root=root, train=train, val=val, size=size, seed=seed, photographs=names, note=note
    )
    state = {
        "made_by": _MADE_BY,
        "version": _VERSION,
        "finished": True,
        "train": train,
        "val": val,
        "size": list(size),
        "seed": seed,
        "photographs": list(names),
        "classes": list(CLASSES),
    }
    plan = [
        (split, index, *_paths(root, split, index))
        for split, count in enumerate((train, val))
        for index in range(count)
    ]

    there = demo_folder.listing(root)
    files = [path for *_, image, mask in plan for path in (image, mask)]
    if demo_folder.state(root) == state and set(files) <= set(there):
        return DemoSummary(**summary, made=False)
    for path in demo_folder.own_files(root, there, _MADE_BY, _OURS):
        path.unlink()

    write_whole(root / "demo.json", json.dumps({**state, "finished": False}))
    for folder in {path.parent for path in files}:
        folder.mkdir(parents=True, exist_ok=True)
    for split, index, image_path, mask_path in plan:
        scene = make_scene(
            np.random.default_rng([seed, split, index]), photographs, size, train=split == 0
        )
        _write_pair(scene, image_path, mask_path)
    write_whole(root / "demo.json", json.dumps(state, indent=1))
    return DemoSummary(**summary, made=True)


def make_scene(
    rng: np.random.Generator,
    photographs: Sequence[tuple[str, np.ndarray]],
    size: tuple[int, int],
    train: bool,
) -> Scene:
    """One picture. `photographs` are (name, RGB) pairs; `train` chooses their part to crop from."""
    light = rng.uniform(0, 2 * np.pi)  # one direction for a whole picture
    background = crop_background(rng, photographs, size, train)
    kinds = rng.permutation(len(SHAPES))[: rng.integers(4, len(SHAPES) + 1)].tolist()
    kinds += rng.integers(0, len(SHAPES), rng.integers(0, 3)).tolist()
    layers = tuple(draw_shape(rng, SHAPES[kind], kind + 2, size, light) for kind in kinds)
    image, mask = compose(background, layers)
    return Scene(expose(rng, image, light), mask, background, layers)


def expose(rng: np.random.Generator, image: np.ndarray, light: float) -> np.ndarray:
    """The photograph of `image` (H, W, 3) float32, which is changed: (H, W, 3) uint8.

    Light from the angle `light`, its brightness, and a camera's noise.
    """
    h, w = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j].astype(np.float32)
    image *= (1 + rng.uniform(0, 0.2) * (x * np.cos(light) + y * np.sin(light)))[..., None]
    image *= np.float32(rng.uniform(0.85, 1.1))
    image += rng.normal(0, rng.uniform(1.5, 5), (h, w, 1)).astype(np.float32)
    image += rng.normal(0, 2, (h, w, 3)).astype(np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)


def compose(background: np.ndarray, layers: Sequence[Layer]) -> tuple[np.ndarray, np.ndarray]:
    """Lay `layers` on `background`, each over the ones before: image float32, mask uint8."""
    image = background.astype(np.float32)
    mask = np.ones(image.shape[:2], np.uint8)
    for layer in layers:
        image *= layer.shadow[..., None]
        image[layer.inside] = layer.fill[layer.inside]
        mask[layer.inside] = layer.class_id
    return image, mask


def crop_background(
    rng: np.random.Generator,
    photographs: Sequence[tuple[str, np.ndarray]],
    size: tuple[int, int],
    train: bool,
) -> np.ndarray:
    """A piece of a photograph: (H, W, 3) float32; clouds where there are no photographs."""
    if not photographs:
        return clouds(rng, size)
    _, photo = photographs[rng.integers(len(photographs))]
    along = 0 if photo.shape[0] >= photo.shape[1] else 1
    cut = round(photo.shape[along] * _TRAIN_PART)
    part = np.split(photo, [cut], axis=along)[0 if train else 1]
    scale = rng.uniform(0.6, 1) * min(part.shape[0] / size[0], part.shape[1] / size[1])
    h, w = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
    top, left = rng.integers(part.shape[0] - h + 1), rng.integers(part.shape[1] - w + 1)
    crop = part[top : top + h, left : left + w]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    how = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    crop = cv2.resize(np.ascontiguousarray(crop), size[::-1], interpolation=how)
    tint = rng.uniform(0.92, 1.08, 3)
    graded = 255 * (crop / np.float32(255)) ** np.float32(rng.uniform(0.75, 1.15)) * tint
    return np.clip(graded, 0, 255).astype(np.float32)


def clouds(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Noise of several scales between two colours: what stands in for photographs."""
    field = np.zeros(size, np.float32)
    for cells in (3, 6, 12, 24, 48):
        coarse = rng.random((cells, cells), dtype=np.float32)
        field += cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC) / cells**0.7
    field = (field - field.min()) / (field.max() - field.min())
    dark, bright = rng.uniform(20, 110, 3), rng.uniform(140, 235, 3)
    return (dark + (bright - dark) * field[..., None]).astype(np.float32)


def load_photographs() -> list[tuple[str, np.ndarray]]:
    found = []
    for package, file, tint in _PHOTOGRAPHS:
        spec = find_spec(package)  # looks the folder up and imports nothing
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            path = Path(folder) / file
            if path.is_file():
                found.append((f"{package}/{file}", _load(path, tint)))
                break
    return found


def _load(path: Path, tint: tuple | None) -> np.ndarray:
    with Image.open(path) as image:
        if tint is None:
            return np.asarray(image.convert("RGB"))
        grey = np.asarray(image.convert("L"), np.float32)[..., None] / 255
    dark, bright = np.array(tint, np.float32)
    return (dark + (bright - dark) * grey).astype(np.uint8)


# ------------------------------------------------------------------------------------- the folder


def _paths(root: Path, split: int, index: int) -> tuple[Path, Path]:
    folder, word = _SPLITS[split]
    name = f"ADE_{word}_{index + 1:08d}"
    return root / "images" / folder / f"{name}.jpg", root / "annotations" / folder / f"{name}.png"


def _write_pair(scene: Scene, image_path: Path, mask_path: Path) -> None:
    Image.fromarray(scene.mask).save(mask_path)
    save_picture(scene.image, image_path)


def save_picture(image: np.ndarray, path: Path) -> None:
    """Write (H, W, 3) uint8 as JPEG: 4:4:4 and high quality, edges stay where the mask has them."""
    Image.fromarray(image).save(path, quality=93, subsampling=0)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m lightvit_bench.data.demo_ade OUT")
    print(make_demo_ade(sys.argv[1]))
