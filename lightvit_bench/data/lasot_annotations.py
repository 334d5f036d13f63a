"""LaSOT's annotations without its pictures: all that judging a tracker needs.

Read from a folder or a zip archive, in whichever layout is found there:

    annos/SEQ.txt, annos/absent/SEQ.txt, annos/att/SEQ.txt        the MATLAB toolkit, or its `annos`
        sequence_evaluation_config/testing_set.txt                beside them
    annos/SEQ.txt, absent/SEQ.txt, attributes/SEQ.txt             the same, side by side
        testing_set.txt
    SEQ/groundtruth.txt, SEQ/full_occlusion.txt, SEQ/out_of_view.txt      the data set; CLASS/SEQ
        testing_set.txt, where there is one                               too, or one SEQ itself

In the data set's own layout a target is absent where it is fully occluded or out of view, and
nothing tells of attributes.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightvit_bench.data.box_files import parse_boxes, parse_flags
from lightvit_bench.errors import BadDataError, MissingDataError, near_matches

_ATTRIBUTES = 14
_NAMED = 10
_LAYOUT = "annos/SEQ.txt and annos/absent/ or absent/, or SEQ/groundtruth.txt"


@dataclass(frozen=True, eq=False)
class LasotTruth:
    """One sequence: boxes_xywh (N, 4) float64 as in the file, pixels counted from 1; absent (N,)
    bool; attributes (14,) bool in the columns' order, None where nothing tells of them."""

    boxes_xywh: np.ndarray
    absent: np.ndarray
    attributes: np.ndarray | None


class LasotAnnotations:
    """The annotations at a path; `annotations[name]` reads those of a sequence.

    Attributes:
        path: where they lie.
        known: every sequence that is annotated there, in natural order.
        names: the sequences to judge by default: the test set where a list of it is there, else
            all that are known.

    Raises:
        MissingDataError: nothing is at `path`, or annotations of listed sequences are missing.
        BadDataError: the archive or a list cannot be read.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._files = _open(self.path)
        self._layout, self._places, listed = _recognise(self._files)
        self._read: dict[str, LasotTruth] = {}
        self.known = tuple(sorted(self._places, key=natural))
        self.names = self.known
        if listed is not None:
            self.names = parse_names(self._files.read(listed), self._files.where(listed))
            self.check_known(self.names, self._files.where(listed))

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> LasotTruth:
        """The truth of a sequence.

        Raises:
            MissingDataError: the sequence, or one of its files, is not there.
            BadDataError: a file cannot be read, or its length is not that of the others.
        """
        if name not in self._read:
            self.check_known([name], "the sequence asked for")
            self._read[name] = self._load(name)
        return self._read[name]

    def _load(self, name: str) -> LasotTruth:
        place, where = self._places[name], self._files.where
        boxes_file = self._layout.boxes.format(place)
        boxes = parse_boxes(self._files.read(boxes_file), where(boxes_file))
        absent = np.zeros(len(boxes), bool)
        for file in (pattern.format(place) for pattern in self._layout.absent):
            flags = parse_flags(self._files.read(file), where(file))
            if len(flags) != len(boxes):
                raise BadDataError(
                    f"{name}: boxes and flags are not of the same frames.",
                    boxes=f"{len(boxes)} in {where(boxes_file)}",
                    flags=f"{len(flags)} in {where(file)}",
                )
            absent |= flags
        attributes = None
        file = (self._layout.attributes or "").format(place)
        if file and self._files.has(file):
            attributes = parse_flags(self._files.read(file), where(file))
            if len(attributes) != _ATTRIBUTES:
                raise BadDataError(f"{where(file)} has {len(attributes)} flags, not {_ATTRIBUTES}.")
        for array in (boxes, absent):
            array.flags.writeable = False  # it is handed out again and again
        return LasotTruth(boxes, absent, attributes)

    def check_known(self, names: Iterable[str], source: str) -> None:
        """MissingDataError that lists those of `names` that are not annotated here."""
        missing = [name for name in names if name not in self._places]
        if missing:
            raise MissingDataError(
                f"{len(missing)} sequences are not annotated.",
                sequences=shortened(missing),
                named_by=source,
                looked_for=str(self.path),
                near=", ".join(near_matches(missing[0], self.known)[:5]),
            )


def parse_names(data: bytes, where: str) -> tuple[str, ...]:
    """The sequence names of a list, one a line, empty lines left out.

    Raises:
        BadDataError: there is none, one is there twice, or one is no plain name.
    """
    names = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    names = [name for name in names if name]
    if not names:
        raise BadDataError(f"{where} names no sequence.")
    for number, name in enumerate(names, 1):
        if name in (".", "..") or re.search(r"[/\\\0\s]", name):
            raise BadDataError(f"{where}: name {number} is no sequence's.", name=repr(name[:80]))
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BadDataError(f"{where} names sequences twice.", sequences=shortened(twice))
    return tuple(names)


def natural(name: str) -> list[tuple[int, str]]:
    """A key to sort names by: `car-2` before `car-10`."""
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name)]


def shortened(names: Iterable[str], limit: int = _NAMED) -> list[str]:
    """Names for a message: the first ones, and how many more."""
    names = list(names)
    more = [f"and {len(names) - limit} more"] if len(names) > limit else []
    return names[:limit] + more


class _Folder:
    """Files below a folder."""

    def __init__(self, root: Path):
        self.root = root

    def where(self, name: str) -> str:
        return str(self.root / name)

    def has(self, name: str) -> bool:
        return (self.root / name).is_file()

    def entries(self, folder: str) -> list[tuple[str, bool]]:
        """(name, whether it is a folder) of what lies in a folder; nothing where there is none."""
        try:
            with os.scandir(self.root / folder) as found:
                return sorted((entry.name, entry.is_dir()) for entry in found)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, name: str) -> bytes:
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise _not_there(self.where(name)) from None


class _Archive:
    """Files of a zip archive, below the one folder that it was packed as, if it was."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self.zip = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise BadDataError(f"{path} is no readable zip archive.", cause=str(error)) from None
        files = [name for name in self.zip.namelist() if not name.endswith("/")]
        tops = {name.split("/", 1)[0] for name in files}
        inner = {name.split("/")[1] for name in files if name.count("/")}
        self.top = ""
        if len(tops) == 1 and inner & {"annos", "absent", "testing_set.txt"}:
            self.top = f"{tops.pop()}/"
        self.files = {name.removeprefix(self.top) for name in files}
        self.folders: dict[str, set[tuple[str, bool]]] = {}
        for name in self.files:
            parts = name.split("/")
            for depth, part in enumerate(parts):
                held = self.folders.setdefault("/".join(parts[:depth]), set())
                held.add((part, depth < len(parts) - 1))

    def where(self, name: str) -> str:
        return f"{self.path}:{self.top}{name}"

    def has(self, name: str) -> bool:
        return name in self.files

    def entries(self, folder: str) -> list[tuple[str, bool]]:
        return sorted(self.folders.get(folder, ()))

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise _not_there(self.where(name))
        try:
            return self.zip.read(self.top + name)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
            raise BadDataError(f"{self.where(name)} cannot be read.", cause=str(error)) from None


def _open(path: Path) -> _Folder | _Archive:
    if path.is_dir():
        return _Folder(path)
    if path.is_file():
        return _Archive(path)
    raise MissingDataError("no annotations.", looked_for=str(path), layout=_LAYOUT)


def _not_there(where: str) -> MissingDataError:
    return MissingDataError("a file of the annotations is not there.", looked_for=where)


@dataclass(frozen=True)
class _Layout:
    """Where files are, {} standing for a sequence's place: its boxes, the files of flags that
    together (OR) say where it is absent, its attributes."""

    boxes: str
    absent: tuple[str, ...]
    attributes: str | None = None


_FLAGS = ("full_occlusion.txt", "out_of_view.txt")
_OWN = _Layout("{}/groundtruth.txt", tuple(f"{{}}/{file}" for file in _FLAGS))


def _recognise(files: _Folder | _Archive) -> tuple[_Layout, dict[str, str], str | None]:
    """The layout, the place of each sequence, and the list of the test set if there is one."""
    lists = ("testing_set.txt", "sequence_evaluation_config/testing_set.txt")
    listed = next((name for name in lists if files.has(name)), None)
    for boxes, absent, attributes in (
        ("annos", "annos/absent", "annos/att"),
        ("annos", "absent", "attributes"),
        ("", "absent", "att"),  # the toolkit's `annos` itself
    ):
        texts = [name for name, is_dir in files.entries(boxes) if not is_dir]
        names = {name[:-4] for name in texts if name.endswith(".txt")}
        if names and files.entries(absent):
            pattern = f"{boxes}/{{}}.txt".lstrip("/")
            layout = _Layout(pattern, (f"{absent}/{{}}.txt",), f"{attributes}/{{}}.txt")
            return layout, {name: name for name in names}, listed
    if isinstance(files, _Folder) and files.has("groundtruth.txt"):
        return _Layout("groundtruth.txt", _FLAGS), {files.root.resolve().name: ""}, None
    places = _own_places(files)
    if not places:
        raise MissingDataError(
            "no annotations in a layout that is known.", looked_for=files.where(""), layout=_LAYOUT
        )
    return _OWN, places, listed


def _own_places(files: _Folder | _Archive) -> dict[str, str]:
    """Sequence -> its folder, one or two levels down."""
    places: dict[str, str] = {}

    def add(name: str, place: str) -> None:
        if name in places:
            raise BadDataError(
                f"two sequences are called {name}.",
                folders=[files.where(places[name]), files.where(place)],
            )
        places[name] = place

    for outer in (name for name, is_dir in files.entries("") if is_dir):
        if files.has(f"{outer}/groundtruth.txt"):
            add(outer, outer)
            continue
        for inner in (name for name, is_dir in files.entries(outer) if is_dir):
            if files.has(f"{outer}/{inner}/groundtruth.txt"):
                add(inner, f"{outer}/{inner}")
    return places
