"""LaSOT's annotations without its pictures: all that judging a tracker needs.

Read from a folder, a zip archive, or a folder with archives in it, in whichever layout is there:

    annos/SEQ.txt, annos/absent/SEQ.txt, annos/att/SEQ.txt        the MATLAB toolkit, or its `annos`
        sequence_evaluation_config/testing_set.txt                beside them
    annos/SEQ.txt, absent/SEQ.txt, attributes/SEQ.txt             the same, side by side
        testing_set.txt
    SEQ/groundtruth.txt, SEQ/full_occlusion.txt, SEQ/out_of_view.txt      the data set; CLASS/SEQ,
        testing_set.txt, where there is one                               CLASS.zip, or one SEQ

In the data set's own layout a target is absent where it is fully occluded or out of view, and
nothing tells of attributes. One's own sequences lie alike; of theirs, a file of flags may be absent
(`data.frame_folder`).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from lightvit_bench.data.box_files import parse_boxes, parse_flags
from lightvit_bench.data.frames import home_of
from lightvit_bench.data.lasot import expected_names, test_names
from lightvit_bench.data.store import Store, Tree, open_tree
from lightvit_bench.errors import BadDataError, MissingDataError, near_matches

_ATTRIBUTES = 14
_NAMED = 10
_DEEPEST = 3  # levels down to a sequence: ALL/CLASS/SEQ
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
        names: the sequences to judge by default: those of a list of the test set that lies there;
            else the 280 of LaSOT's, where all of them are annotated; else all that are known.

    Raises:
        MissingDataError: nothing is at `path`, or annotations of listed sequences are missing.
        BadDataError: the archive or a list cannot be read.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._layout, self._places, listed = _recognise(_open(self.path))
        self._read: dict[str, LasotTruth] = {}
        self.known = tuple(sorted(self._places, key=natural))
        test = tuple(test_names())
        self.names = test if set(test) <= set(self.known) else self.known
        if listed is not None:
            source = listed.where()
            self.names = parse_names(listed.read(), source)
            self.check_known(self.names, source)

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
        place, layout = self._places[name], self._layout
        boxes_file = place.below(layout.boxes)
        boxes = parse_boxes(boxes_file.read(), boxes_file.where(), truth=True)
        absent = np.zeros(len(boxes), bool)
        for file in map(place.below, layout.absent):
            if layout.own and not _needs_flags(name, place.folder) and not file.there():
                continue
            flags = parse_flags(file.read(), file.where())
            if len(flags) != len(boxes):
                raise BadDataError(
                    f"{name}: boxes and flags are not of the same frames.",
                    boxes=f"{len(boxes)} in {boxes_file.where()}",
                    flags=f"{len(flags)} in {file.where()}",
                )
            absent |= flags
        attributes = None
        file = place.below(layout.attributes) if layout.attributes else None
        if file is not None and file.there():
            attributes = parse_flags(file.read(), file.where())
            if len(attributes) != _ATTRIBUTES:
                raise BadDataError(
                    f"{file.where()} has {len(attributes)} flags, not {_ATTRIBUTES}."
                )
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
    names = [line.strip() for line in data.decode("utf-8-sig", "replace").splitlines()]
    names = [name for name in names if name]
    if not names:
        raise BadDataError(f"{where} names no sequence.")
    for number, name in enumerate(names, 1):
        if name in (".", "..") or re.search(r"[/\\]", name) or not name.isprintable():
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


@dataclass(frozen=True)
class _Place:
    """A file or folder of a store; `name` is what {} stands for in a layout's patterns."""

    store: Store
    folder: str
    name: str = ""

    def below(self, pattern: str) -> _Place:
        """The file of that pattern below this folder."""
        file = pattern.format(self.name)
        return _Place(self.store, f"{self.folder}/{file}" if self.folder else file)

    def there(self) -> bool:
        return self.store.exists(self.folder)

    def where(self) -> str:
        return self.store.place(self.folder)

    def read(self) -> bytes:
        if not self.there():
            raise MissingDataError(
                "a file of the annotations is not there.", looked_for=self.where()
            )
        return self.store.read(self.folder)


def _open(path: Path) -> Tree:
    if not path.exists():
        raise MissingDataError("no annotations.", looked_for=str(path), layout=_LAYOUT)
    return open_tree(path)


@dataclass(frozen=True)
class _Layout:
    """Where files are, {} standing for a sequence's name: its boxes, the files of flags that
    together (OR) say where it is absent, its attributes. own: one's own may have fewer flags."""

    boxes: str
    absent: tuple[str, ...]
    attributes: str | None = None
    own: bool = False


_OWN = _Layout("groundtruth.txt", ("full_occlusion.txt", "out_of_view.txt"), own=True)


def _recognise(tree: Tree) -> tuple[_Layout, dict[str, _Place], _Place | None]:
    """The layout, the place of each sequence, and the list of the test set if there is one."""
    top, _ = tree.list()
    for base in ("", *top[: len(top) == 1]):  # an archive may hold the one folder it was packed as
        root = _Place(tree, base)
        lists = ("testing_set.txt", "sequence_evaluation_config/testing_set.txt")
        listed = next((file for file in map(root.below, lists) if file.there()), None)
        for boxes, absent, attributes in (
            ("annos", "annos/absent", "annos/att"),
            ("annos", "absent", "attributes"),
            ("", "absent", "att"),  # the toolkit's `annos` itself
        ):
            texts = tree.list(root.below(boxes).folder.rstrip("/")).files
            names = [name[:-4] for name in texts if name.endswith(".txt")]
            if names and any(tree.list(root.below(absent).folder)):
                patterns = [f"{part}/{{}}.txt".lstrip("/") for part in (boxes, absent, attributes)]
                layout = _Layout(patterns[0], (patterns[1],), patterns[2])
                return layout, {name: _Place(tree, base, name) for name in names}, listed
        if listed is not None:
            break
    places: dict[str, _Place] = {}
    _find_own(tree, "", _DEEPEST, places)
    if not places:
        raise MissingDataError(
            "no annotations in a layout that is known.", looked_for=tree.place(""), layout=_LAYOUT
        )
    return _OWN, places, listed


def _find_own(store: Store, folder: str, deeper: int, places: dict[str, _Place]) -> None:
    """Sequence -> its place, at `folder` or below; what is in a sequence is not looked at."""
    listing = store.list(folder)
    if "groundtruth.txt" in listing.files:
        name = folder.rpartition("/")[2] or store.name
        if name in places:
            raise BadDataError(
                f"two sequences are called {name}.",
                folders=[places[name].where(), store.place(folder)],
            )
        places[name] = _Place(store, folder, name)
    elif deeper:
        for name in listing.folders:
            inner = f"{folder}/{name}" if folder else name
            _find_own(home_of(store, inner), inner, deeper - 1, places)


def _needs_flags(name: str, folder: str) -> bool:
    """Whether a sequence is LaSOT's, by name, or lies as LaSOT-ext's do: CLASS/CLASS-N."""
    return folder.split("/")[-2:-1] == [name.rpartition("-")[0]] or name in _lasot_names()


@cache
def _lasot_names() -> frozenset[str]:
    return frozenset(expected_names("all"))
