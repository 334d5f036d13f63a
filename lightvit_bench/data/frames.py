"""Frames and annotation files of tracking data sets: what all of their readers share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from lightvit_bench.data.sequence import Annotation
from lightvit_bench.data.store import Store, Tree
from lightvit_bench.errors import BadDataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
# As stored: boxes are in stored pixels, so a camera's note on orientation is left aside.
_AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


def decode_image(data: bytes, place: str) -> np.ndarray:
    """Pixels of an encoded image: (H, W, 3) uint8, RGB, in the orientation that is stored.

    Grey images get three equal channels, transparency is dropped, 16 bits become 8. Only JPEG, PNG,
    WebP, BMP and TIFF reach a decoder. `BadDataError` names `place`.
    """
    kind = _kind(data)
    if kind is None:
        why = "it is no JPEG, PNG, WebP, BMP or TIFF image" if data else "it is empty"
        raise _unreadable(place, why)
    # OpenCV has taken JPEGs cut short and filled the rest with grey; here it must not depend on its
    # version. Behind the last start of a scan: a thumbnail in the headers has an end of its own.
    if kind == "JPEG" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise _unreadable(place, "a JPEG without its end: the file is cut short")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _AS_STORED)
    except cv2.error as error:
        raise _unreadable(place, str(error.err or error)) from error
    if image is None:
        raise _unreadable(place, f"the {kind} data is damaged or cut short")
    return image


def _kind(data: bytes) -> str | None:
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[:2] == b"BM":
        return "BMP"
    return "TIFF" if data[:4] in (b"II*\0", b"MM\0*") else None


def _unreadable(place: str, why: str) -> BadDataError:
    return BadDataError("A frame cannot be read.", frame=place, because=why)


def natural(name: str) -> tuple[list, str]:
    """A key that sorts `frame_9.jpg` before `frame_10.jpg`."""
    parts: list = re.split(r"([0-9]+)", name)
    parts[1::2] = map(int, parts[1::2])
    return parts, name


def frame_names(files: Iterable[str]) -> Sequence[str]:
    """The images among `files`, in natural order.

    Numbered without a gap (`00000001.jpg`, ...), they are kept as a rule and not as strings:
    TrackingNet has 14 million of them.
    """
    names = sorted((n for n in files if n.lower().endswith(IMAGE_SUFFIXES)), key=natural)
    numbered = re.fullmatch(r"([0-9]+)(\.\w+)", names[0]) if names else None
    if numbered:
        first, suffix = numbered.groups()
        rule = NumberedNames(int(first), len(first), suffix, len(names))
        if all(name == rule[i] for i, name in enumerate(names)):
            return rule
    return names


@dataclass(frozen=True)
class NumberedNames(Sequence):
    """`first`, `first` + 1, ... as names of at least `width` digits and a suffix."""

    first: int
    width: int
    suffix: str
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> str:
        if not -self.count <= index < self.count:
            raise IndexError(f"frame {index} of {self.count}")
        return f"{self.first + index % self.count:0{self.width}d}{self.suffix}"


@dataclass(frozen=True)
class StoredFrames:
    """The images of one folder, listed when first needed, decoded one by one.

    Attributes:
        folders: where they may lie, "" for the store's top; the first with an image in it counts.
        at_most: how many frames count, or what says so when it is asked; None for all.
    """

    store: Store
    folders: tuple[str, ...]
    at_most: Callable[[], int] | None = None

    @cached_property
    def _found(self) -> tuple[str, Sequence[str]]:
        for folder in self.folders:
            names = frame_names(self.store.list(folder).files)
            if names:
                kept = len(names) if self.at_most is None else min(len(names), self.at_most())
                return folder, names if kept == len(names) else [names[i] for i in range(kept)]
        raise BadDataError(
            "A sequence has no frame.",
            looked_for=[
                f"{self.store.place(folder)}/*{{{','.join(IMAGE_SUFFIXES)}}}"
                for folder in self.folders
            ],
        )

    def __len__(self) -> int:
        return len(self._found[1])

    def __getitem__(self, index: int) -> np.ndarray:
        """Frame `index`, from 0: (H, W, 3) uint8, RGB."""
        path = self._path(index)
        return decode_image(self.store.read(path), self.store.place(path))

    def name(self, index: int) -> str:
        """Where frame `index` lies, for messages."""
        return self.store.place(self._path(index))

    def _path(self, index: int) -> str:
        folder, names = self._found
        if not 0 <= index < len(names):
            raise IndexError(f"frame {index} of {len(names)}")
        return f"{folder}/{names[index]}" if folder else names[index]


def home_of(store: Store, folder: str) -> Store:
    """Where `folder` lies, if in one part of a tree: what reads from there asks nobody else."""
    return store.home(folder) if isinstance(store, Tree) else store


def read_boxes(store: Store, path: str) -> np.ndarray:
    """Boxes of a text file, one `x,y,w,h` a line: (N, 4) float64, as they are in the file.

    Commas, tabs or spaces divide the numbers; `nan` is one, infinity is not. Empty lines at the end
    do not count. `BadDataError` names the file and the line.
    """
    lines = _text(store, path).rstrip().splitlines()
    rows = [line.replace(",", " ").split() for line in lines]
    try:
        boxes = np.array(rows, np.float64)
        if boxes.ndim == 2 and boxes.shape[1] == 4 and not np.isinf(boxes).any():
            return boxes
    except ValueError:
        pass
    for number, row in enumerate(rows, 1):
        if len(row) != 4 or not all(map(_is_number, row)):
            raise BadDataError(
                "A line of boxes is not four numbers.",
                file=store.place(path),
                line=f"{number}: {lines[number - 1][:80]!r}",
                expected="x,y,w,h",
            )
    raise BadDataError("A file of boxes is empty.", file=store.place(path))


def read_marks(store: Store, path: str, rows: int, largest: int = 1) -> np.ndarray:
    """Whole numbers from 0 to `largest`, one a frame, on one line or many: (rows,) int64.

    `BadDataError` where there are not `rows` of them or one is another number.
    """
    words = _text(store, path).replace(",", " ").split()
    allowed = {str(value) for value in range(largest + 1)}
    odd = next((word for word in words if word not in allowed), None)
    if odd is not None:
        raise BadDataError(
            f"A file of marks holds something else than 0 to {largest}.",
            file=store.place(path),
            found=repr(odd[:40]),
        )
    if len(words) != rows:
        raise BadDataError(
            f"{len(words):,} marks for {rows:,} boxes.",
            file=store.place(path),
            expected="one for each line of boxes",
        )
    return np.array(words, np.int64)


def annotation(
    boxes: np.ndarray,
    frames: StoredFrames,
    place: str,
    visible: np.ndarray | None = None,
    covered: np.ndarray | None = None,
    first_box_suffices: bool = False,
) -> Annotation:
    """The truth of a sequence, checked against its number of frames.

    Args:
        place: the file of the boxes, for messages.
        visible, covered: as many as boxes; by default all visible, and nothing said on `covered`.
        first_box_suffices: with one box and more frames, the others are unknown (NaN).

    Raises:
        BadDataError: frames and boxes differ in number; it names both.
    """
    count = len(frames)
    if first_box_suffices and len(boxes) == 1:
        boxes = np.concatenate([boxes, np.full((count - 1, 4), np.nan)])
        visible = covered = None
    if len(boxes) != count:
        also = "; a single box, the first, would do too" if first_box_suffices else ""
        raise BadDataError(
            f"{len(boxes):,} boxes for {count:,} frames.",
            boxes=place,
            frames=os.path.dirname(frames.name(0)),
            expected=f"one line for each frame{also}",
        )
    return Annotation(
        boxes_xywh=boxes,
        visible=np.ones(count, bool) if visible is None else visible,
        covered=np.full(count, np.nan) if covered is None else covered,
    )


def _text(store: Store, path: str) -> str:
    data = store.read(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadDataError("A file is not text.", file=store.place(path)) from None


def _is_number(word: str) -> bool:
    try:
        return abs(float(word)) != float("inf")
    except ValueError:
        return False
