"""Frames and annotation files of tracking data sets: what all of their readers share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from lightvit_bench.data.box_files import parse_boxes, parse_marks
from lightvit_bench.data.sequence import Annotation
from lightvit_bench.data.store import Store, Tree
from lightvit_bench.errors import BadDataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
# As stored: boxes are in stored pixels, so a camera's note on orientation is left aside.
_AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION

# In a JPEG's pixels 255 is followed by 0, by a restart (D0 ... D7) or by more of itself.
_MARK = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)


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
    # version.
    if kind == "JPEG" and _jpeg_is_cut(data):
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


def _jpeg_is_cut(data: bytes) -> bool:
    """Whether a JPEG stops before its end mark, by its segments (ITU-T T.81, annex B).

    Its headers may hold a thumbnail with an end of its own, and anything may follow its end: the
    film of a moving photograph. Where a mark is not in its place, the decoder is to say it.
    """
    at = 2
    while mark := _MARK.search(data, at):
        kind, at = data[mark.end() - 1], mark.end()
        if kind == 0xD9:
            return False
        at += max(int.from_bytes(data[at : at + 2], "big"), 2)  # the pixels behind it are no mark
    return True


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
                if not isinstance(names, NumberedNames):
                    self._no_twins(folder, names)
                kept = len(names) if self.at_most is None else min(len(names), self.at_most())
                return folder, names if kept == len(names) else [names[i] for i in range(kept)]
        raise BadDataError(
            "A sequence has no frame.",
            looked_for=[
                f"{self.store.place(folder)}/*{{{','.join(IMAGE_SUFFIXES)}}}"
                for folder in self.folders
            ],
        )

    def _no_twins(self, folder: str, names: Sequence[str]) -> None:
        """A frame that is there twice, or its mask beside it, would be two frames."""
        first: dict[str, str] = {}
        for name in names:
            other = first.setdefault(os.path.splitext(name)[0], name)
            if other != name:
                raise BadDataError(
                    "Two pictures of a sequence have one name.",
                    folder=self.store.place(folder),
                    pictures=f"{other} and {name}",
                    mend="keep frames of one kind there; masks belong in a folder of their own",
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
    """The truth's boxes in a text file: (N, 4) float64, by `box_files.parse_boxes`."""
    return parse_boxes(store.read(path), store.place(path), truth=True)


def read_marks(store: Store, path: str, rows: int, largest: int = 1) -> np.ndarray:
    """Whole numbers from 0 to `largest`, one a frame, on one line or many: (rows,) int64.

    `BadDataError` where there are not `rows` of them or one is another number.
    """
    marks = parse_marks(store.read(path), store.place(path), largest)
    if len(marks) != rows:
        raise BadDataError(
            f"{len(marks):,} marks for {rows:,} boxes.",
            file=store.place(path),
            expected="one for each line of boxes",
        )
    return marks


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
