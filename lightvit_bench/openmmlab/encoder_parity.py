"""The file of an encoder compared with PyTorch, in the runtime it is for, on pictures."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import torch

from lightvit_bench.checkpoint.fingerprint import exact_float32
from lightvit_bench.data.demo_ade import load_photographs
from lightvit_bench.data.frames import IMAGE_SUFFIXES, natural
from lightvit_bench.data.seg_check import picture_problem
from lightvit_bench.errors import BadDataError, CheckpointError, MissingDataError
from lightvit_bench.openmmlab.backbone import EncoderBackbone
from lightvit_bench.openvino_core import core

PICTURES = 3  # the first is run alone, then all as a batch
# Largest difference of an entry that is let pass, over the standard deviation of its map. ViT-Tiny
# and Hiera-Tiny in float32, random and trained, at 128 to 512 px, in both runtimes: at most 1.5e-5.
# In bfloat16, which a runtime must not choose by itself: 2.6e-2 and more.
BOUND = 1e-3

Maps = Sequence[np.ndarray]
Session = Callable[[np.ndarray], Maps]  # (B, H, W, 3) uint8 RGB -> maps (B, C, h, w)


@dataclass(frozen=True)
class ExportedMap:
    """An output of the file, and how far it is from PyTorch's.

    Attributes:
        shape: (C, h, w), of one image.
        stride: pixels from one entry to the next.
        spread: standard deviation of PyTorch's map.
        max_difference, mean_difference: absolute ones of the entries, over `spread`.
    """

    name: str
    shape: tuple[int, int, int]
    stride: int
    spread: float
    max_difference: float
    mean_difference: float


def runtime_of(format: str) -> tuple[Callable[[Path], Session], str]:
    """What opens a file of a format, on as many threads as torch has; its name and version."""
    name = "onnxruntime" if format == "onnx" else "openvino"
    try:
        package = importlib.import_module(name)
    except ImportError as error:
        raise MissingDataError(
            f"{name}, which {format} files are checked with, is not installed.",
            do=f"pip install 'lightvit_bench[{format}]'",
            cause=str(error),
        ) from None
    start = _start_onnxruntime if format == "onnx" else _start_openvino
    return partial(start, package), f"{name} {package.__version__.split('-')[0]}"


def _start_onnxruntime(package: ModuleType, path: Path) -> Session:
    options = package.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = package.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"image": images})


def _start_openvino(package: ModuleType, path: Path) -> Session:
    wishes = {  # it takes bfloat16 by itself where the CPU is fast at it
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    model = core().compile_model(path, "CPU", wishes)
    return lambda images: list(model(images).to_tuple())


def load_pictures(
    size: tuple[int, int], folder: str | PathLike | None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of `PICTURES` pictures, and the middle of each: (PICTURES, H, W, 3) uint8 RGB.

    Pictures that are too small are enlarged; a folder of fewer gives some of them again.
    """
    if folder is None:
        found = load_photographs()
        if not found:
            raise MissingDataError(
                "scikit-image, whose photographs the file is checked on, is not installed.",
                do="pip install scikit-image, or give a folder of pictures: --crops FOLDER",
            )
    else:
        names = sorted((p.name for p in Path(folder).glob("*")), key=natural)
        names = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
        if not names:
            raise MissingDataError(
                "there are no pictures to check the file on.",
                looked_for=f"{Path(folder) / '*'}{{{','.join(IMAGE_SUFFIXES)}}}",
                set="--crops FOLDER",
            )
        found = [(name, _read(Path(folder) / name)) for name in names[:PICTURES]]
    chosen = [found[i % len(found)] for i in range(PICTURES)]
    names = tuple(dict.fromkeys(name for name, _ in chosen))
    return names, np.stack([_middle(picture, size) for _, picture in chosen])


def _read(path: Path) -> np.ndarray:
    problem = picture_problem(path)
    picture = None if problem else cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise BadDataError(f"{path} cannot be used: {problem or 'OpenCV does not read it'}.")
    return picture


def _middle(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle (h, w) of a picture (H, W, 3), enlarged where it is smaller."""
    scale = max(1.0, *(wanted / side for wanted, side in zip(size, picture.shape, strict=False)))
    if scale > 1:
        sides = [max(s, round(scale * o)) for s, o in zip(size, picture.shape, strict=False)]
        picture = cv2.resize(picture, sides[::-1], interpolation=cv2.INTER_LINEAR)
    top, left = ((have - want) // 2 for have, want in zip(picture.shape, size, strict=False))
    return picture[top : top + size[0], left : left + size[1]]


@torch.no_grad()
def compare(
    session: Session,
    backbone: EncoderBackbone,
    images: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    strides: Sequence[int],
) -> tuple[ExportedMap, ...]:
    """The maps of a file beside those of a backbone in float32, of one image and of all.

    `images` are (B, H, W, 3) uint8 RGB. The reference normalises them as a config's preprocessor
    does, (x - mean) / std.
    """
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    pixels = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    backbone = backbone.float().cpu().eval()
    with exact_float32():
        wanted = [[one.numpy() for one in backbone(batch)] for batch in (pixels[:1], pixels)]
    found = [session(batch) for batch in (images[:1], images)]
    outputs = []
    for i, stride in enumerate(strides):
        spread = float(wanted[1][i].std())
        apart = [np.abs(f[i] - w[i]) for f, w in zip(found, wanted, strict=True)]
        with np.errstate(divide="ignore", invalid="ignore"):
            outputs.append(
                ExportedMap(
                    name=f"map{i}",
                    shape=wanted[1][i].shape[1:],
                    stride=stride,
                    spread=spread,
                    max_difference=float(np.divide(max(a.max() for a in apart), spread)),
                    mean_difference=float(np.divide(max(a.mean() for a in apart), spread)),
                )
            )
    return tuple(outputs)


def refuse_differences(outputs: Sequence[ExportedMap], runtime: str, out: Path) -> None:
    wrong = [one for one in outputs if not one.max_difference <= BOUND]  # NaN is wrong too
    if wrong:
        raise CheckpointError(
            f"the file was not written: in {runtime} it does not compute what PyTorch does.",
            file=str(out),
            differs=[
                f"{one.name} by {one.max_difference:.1e} of its standard deviation" for one in wrong
            ],
            allowed=f"{BOUND:g}",
        )
