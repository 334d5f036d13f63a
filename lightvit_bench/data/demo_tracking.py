"""Generated tracking data in LaSOT's layout: textured targets over moving photographs.

    ROOT/star/star-1/img/00000001.jpg ...  groundtruth.txt  full_occlusion.txt  out_of_view.txt
                     nlp.txt
    ROOT/testing_set.txt  ROOT/attributes/star-1.txt  ROOT/demo.json

Boxes are LaSOT's: `x,y,w,h`, whole pixels counted from 1. Where the target is flagged as absent
(wholly hidden, or out of the picture) the box is `0,0,0,0`, as in most of LaSOT's absent frames.
An occluded target's box is the whole target's, that of one at the edge ends at the edge.
`attributes/NAME.txt` has LaSOT's 14 flags in the order of `ATTRIBUTES`; those that can be counted
(sizes, speed, occlusion) are, by LaSOT's definitions.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from lightvit_bench.data import demo_folder
from lightvit_bench.data.demo_ade import load_photographs
from lightvit_bench.data.demo_shapes import SHAPES
from lightvit_bench.data.demo_tracking_scene import KINDS, DemoFrame, DemoScene
from lightvit_bench.data.roots import write_whole

ATTRIBUTES = tuple("IV POC DEF MB CM ROT BC VC SV FOC FM OV LR ARC".split())
_BY_TRAIT = {"light": "IV", "fast": "MB", "turning": "ROT", "distractor": "BC"}
_KINDS = tuple(kind for kind in KINDS if kind != "mixed")
_VERSION = 1  # raise it when videos change: finished folders are then made again
_MADE_BY = "lightvit_bench.data.demo_tracking"
_OURS = re.compile(
    r"demo\.json|testing_set\.txt|attributes/[a-z]+-\d+\.txt|([a-z]+)/\1-\d+/"
    r"(img/\d{8}\.jpg|(groundtruth|full_occlusion|out_of_view|nlp)\.txt)"
)


@dataclass(frozen=True)
class DemoSequences:
    """What lies in `root`; `made` is False when it was there already, `note` is for the user."""

    root: Path
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    frames: int
    size: tuple[int, int]
    seed: int
    photographs: tuple[str, ...]
    made: bool
    note: str = ""


def make_demo_sequences(
    root: str | Path,
    *,
    sequences: int = 6,
    frames: int = 120,
    size: tuple[int, int] = (640, 480),
    seed: int = 0,
) -> DemoSequences:
    """Write `sequences` videos of `frames` frames of `size` (width, height) below `root`.

    They take turns in kind (see `demo_tracking_scene.KINDS`) and shape, and one does not depend on
    how many there are. The same arguments, photographs and library versions give the same pixels.
    A finished folder is left as it is; an interrupted or differing one that this function made is
    made again. Takes about 10 ms a frame. Raises BadDataError when `root` holds anything else,
    ValueError for bad numbers.
    """
    root, size = Path(root), (int(size[0]), int(size[1]))
    if sequences < 1 or frames < 2 or min(size) < 64 or seed < 0:
        raise ValueError(
            "demo videos need a sequence, 2 frames, 64 pixels a side and a seed >= 0: "
            f"sequences={sequences}, frames={frames}, size={size}, seed={seed}"
        )
    photographs = load_photographs()
    plan = [_kind_and_shape(index) for index in range(sequences)]
    shapes = [shape for _, shape in plan]
    names = [f"{shape}-{shapes[:k].count(shape) + 1}" for k, shape in enumerate(shapes)]
    summary = dict(
        root=root,
        names=tuple(names),
        kinds=tuple(kind for kind, _ in plan),
        frames=frames,
        size=size,
        seed=seed,
        photographs=tuple(name for name, _ in photographs),
        note=""
        if photographs
        else "no photograph found (scikit-image and matplotlib are not installed): "
        "backgrounds are generated clouds",
    )
    state = {
        "made_by": _MADE_BY,
        "version": _VERSION,
        "finished": True,
        "frames": frames,
        "size": list(size),
        "seed": seed,
        "photographs": list(summary["photographs"]),
        "sequences": {name: kind for name, (kind, _) in zip(names, plan, strict=True)},
    }
    there = demo_folder.listing(root)
    if demo_folder.state(root) == state and set(_wanted(root, names, frames)) <= set(there):
        return DemoSequences(**summary, made=False)
    for path in demo_folder.own_files(root, there, _MADE_BY, _OURS):
        path.unlink()

    write_whole(root / "demo.json", json.dumps({**state, "finished": False}))
    for index, (name, (kind, shape)) in enumerate(zip(names, plan, strict=True)):
        scene = DemoScene(
            (seed, index), kind, shape=shape, frames=frames, size=size, photographs=photographs
        )
        flags = write_sequence(scene, root / shape / name)
        write_whole(root / "attributes" / f"{name}.txt", _line(flags))
    write_whole(root / "testing_set.txt", "\n".join(names) + "\n")
    for folder in sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True):
        if not any(folder.iterdir()):  # of an earlier call with more sequences
            folder.rmdir()
    write_whole(root / "demo.json", json.dumps(state, indent=1))
    return DemoSequences(**summary, made=True)


def write_sequence(scene: DemoScene, folder: Path) -> list[int]:
    """Write a scene as a folder of LaSOT's; returns its 14 attributes, 0 or 1."""
    (folder / "img").mkdir(parents=True, exist_ok=True)
    truth = []
    for index in range(len(scene)):
        frame = scene.frame(index)
        Image.fromarray(frame.image).save(folder / "img" / f"{index + 1:08d}.jpg", quality=90)
        truth.append(replace(frame, image=frame.image[:0]))  # a long video's would fill memory
    lines = [_line(lasot_box(frame.box_xywh)) for frame in truth]
    write_whole(folder / "groundtruth.txt", "\n".join(lines) + "\n")
    write_whole(folder / "full_occlusion.txt", _line([int(f.full_occlusion) for f in truth]))
    write_whole(folder / "out_of_view.txt", _line([int(f.out_of_view) for f in truth]))
    write_whole(folder / "nlp.txt", f"a textured {scene.shape} moving over a photograph")
    return attributes(scene, truth)


def lasot_box(box: tuple[float, float, float, float] | None) -> tuple[int, int, int, int]:
    """A box in pixels from 0, 0 -> the whole pixels it covers, counted from 1; zeros for None."""
    if box is None:
        return (0, 0, 0, 0)
    x, y, w, h = box
    left, top = round(x), round(y)
    return (left + 1, top + 1, max(1, round(x + w) - left), max(1, round(y + h) - top))


def attributes(scene: DemoScene, truth: list[DemoFrame]) -> list[int]:
    """LaSOT's 14 attributes of a video, in the order of `ATTRIBUTES`.

    Scale variation and aspect ratio change: beyond a factor of two from the first frame. Fast
    motion: further than the target's own size in a frame. Low resolution: below 1,000 pixels.
    Partial occlusion: a fifth hidden inside the picture. The rest is what the scene was made for.
    """
    boxes = np.array([f.box_xywh or (np.nan,) * 4 for f in truth])
    area, aspect = boxes[:, 2] * boxes[:, 3], boxes[:, 2] / boxes[:, 3]
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    steps = np.hypot(*np.diff(centres, axis=0).T)
    whole = (boxes[:, :2] > 0).all(1) & (boxes[:, :2] + boxes[:, 2:] < scene.size).all(1)
    found = {
        "CM",
        *(name for trait, name in _BY_TRAIT.items() if trait in scene.traits),
        *(("SV",) if _doubles(area) else ()),
        *(("ARC",) if _doubles(aspect[whole]) else ()),
        *(("FM",) if (steps > np.sqrt(area[1:])).any() else ()),
        *(("LR",) if (area < 1000).any() else ()),
        *(("POC",) if any(w and f.seen < 0.8 for w, f in zip(whole, truth, strict=True)) else ()),
        *(("FOC",) if any(f.full_occlusion for f in truth) else ()),
        *(("OV",) if any(f.out_of_view for f in truth) else ()),
    }
    return [int(name in found) for name in ATTRIBUTES]


def _doubles(values: np.ndarray) -> bool:
    ratio = values / values[0] if len(values) else values
    return bool(((ratio > 2) | (ratio < 0.5)).any())


def _kind_and_shape(index: int) -> tuple[str, str]:
    """Every kind and every shape in six videos; other pairs of them in the next six."""
    turn, place = divmod(index, len(_KINDS))
    return _KINDS[place], SHAPES[(place + turn) % len(SHAPES)]


def _line(values: list | tuple) -> str:
    return ",".join(map(str, values))


# ------------------------------------------------------------------------------------- the folder


def _wanted(root: Path, names: list[str], frames: int) -> list[Path]:
    files = [root / "testing_set.txt"]
    for name in names:
        folder = root / name.split("-")[0] / name
        files.append(root / "attributes" / f"{name}.txt")
        files += [folder / "img" / f"{k + 1:08d}.jpg" for k in range(frames)]
        files += [
            folder / f"{word}.txt"
            for word in ("groundtruth", "full_occlusion", "out_of_view", "nlp")
        ]
    return files


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m lightvit_bench.data.demo_tracking OUT")
    print(make_demo_sequences(sys.argv[1]))
