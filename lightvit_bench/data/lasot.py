"""LaSOT (1,400 sequences of 70 classes) and LaSOT-ext (150 of 15 other classes).

Of a sequence `CLASS/CLASS-N/`:
    img/%08d.jpg           frames, from 00000001.jpg
    groundtruth.txt        a line for each frame: x,y,w,h in whole pixels, counted from 1
    full_occlusion.txt     one line of 0 and 1, divided by commas: the target is hidden
    out_of_view.txt        likewise: the target has left the picture
    nlp.txt                a sentence on the target; not read here
A target is visible where neither mark is set (as pytracking has it).
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from lightvit_bench.data.frames import (
    StoredFrames,
    annotation,
    home_of,
    read_boxes,
    read_marks,
)
from lightvit_bench.data.sequence import Annotation, Sequence
from lightvit_bench.data.set_checks import (
    Say,
    check_whole,
    not_found,
    open_root,
    require_split,
)
from lightvit_bench.data.store import Store, find_folders
from lightvit_bench.errors import BadDataError

SPLITS = ("train", "test", "all")
_NAME = re.compile(r"([A-Za-z0-9_]+)-([1-9][0-9]*)")
_PER_CLASS, _EXT_PER_CLASS, _EXT_CLASSES = 20, 10, 15
# The official toolkit cuts results of this sequence to the number of its boxes: it has more frames.
_SURPLUS_FRAMES = {"monkey-17"}


def test_names() -> list[str]:
    """The 280 sequences of protocol II's test set, in the toolkit's order."""
    text = (Path(__file__).parent / "splits/lasot_test.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def expected_names(split: str) -> list[str]:
    """The names of LaSOT's split: 280 of "test", 1,120 of "train", 1,400 of "all"."""
    require_split("LaSOT", split, SPLITS)
    test = test_names()
    if split == "test":
        return test
    classes = sorted({name.rpartition("-")[0] for name in test})
    every = [f"{label}-{number}" for label in classes for number in range(1, _PER_CLASS + 1)]
    return every if split == "all" else sorted(set(every) - set(test), key=every.index)


def open_lasot(
    root: str | Path,
    split: str = "test",
    *,
    expect_all: bool = False,
    say: Say | None = None,
) -> list[Sequence]:
    """The sequences of LaSOT's split that are below `root`, in the official order.

    Args:
        root: holds `CLASS/CLASS-N/` or `CLASS-N/`, as folders, in `CLASS.zip` for each class, or in
            one archive; or is such an archive.
        split: "test" (280, protocol II), "train" (the other 1,120) or "all".
        expect_all: whether a missing sequence is an error; otherwise `say` is told (default:
            a line on stderr).

    Raises:
        MissingDataError: there is no such root, or no sequence of the split below it.
        BadDataError: an archive cannot be read, a name is there twice, or sequences are missing.
    """
    wanted = expected_names(split)
    places = _places("LaSOT", "lasot", root)
    found = [name for name in wanted if name in places]
    if not found:
        raise not_found(
            f"LaSOT {split}", "lasot", open_root("LaSOT", "lasot", root), "CLASS/CLASS-N/"
        )
    missing = [name for name in wanted if name not in places]
    check_whole(f"LaSOT {split}", "lasot", len(found), len(wanted), missing, expect_all, say)
    return [_sequence("lasot", name, *places[name]) for name in found]


def open_lasot_ext(
    root: str | Path,
    split: str = "test",
    *,
    expect_all: bool = False,
    say: Say | None = None,
) -> list[Sequence]:
    """The sequences of LaSOT-ext below `root`; all 150 are for testing. As `open_lasot` otherwise.

    Sequences of LaSOT's own 70 classes, if they lie there too, are left out.
    """
    require_split("LaSOT-ext", split, ("test", "all"))
    places = _places("LaSOT-ext", "lasot-ext", root)
    old = {name.rpartition("-")[0] for name in test_names()}
    classes = sorted({name.rpartition("-")[0] for name in places} - old)
    if not classes:
        tree = open_root("LaSOT-ext", "lasot-ext", root)
        raise not_found("LaSOT-ext", "lasot-ext", tree, "CLASS/CLASS-N/ of the 15 new classes")
    every = [f"{label}-{number}" for label in classes for number in range(1, _EXT_PER_CLASS + 1)]
    unknown = [n for n in places if n.rpartition("-")[0] in classes and n not in every]
    if unknown or len(classes) > _EXT_CLASSES:
        raise BadDataError(
            "A folder holds sequences that LaSOT-ext does not have.",
            root=str(root),
            unknown=unknown[:5] or [f"{len(classes)} classes instead of {_EXT_CLASSES}"],
            layout="docs/datasets.md#lasot-ext",
        )
    missing = [name for name in every if name not in places]
    if len(classes) < _EXT_CLASSES:
        missing.append(f"{_EXT_CLASSES - len(classes)} whole classes")
    found, expected = [n for n in every if n in places], _EXT_CLASSES * _EXT_PER_CLASS
    check_whole("LaSOT-ext", "lasot-ext", len(found), expected, missing, expect_all, say)
    return [_sequence("lasot-ext", name, *places[name]) for name in found]


def _places(title: str, anchor: str, root: str | Path) -> dict[str, tuple[Store, str]]:
    """Name of each sequence below `root` -> its store and folder."""
    tree = open_root(title, anchor, root)
    places: dict[str, tuple[Store, str]] = {}
    for folder in find_folders(tree, _NAME.fullmatch, depth=3):
        name = folder.rpartition("/")[2]
        if name in places:
            raise BadDataError(
                f"{title}: the sequence {name} is there twice.",
                one=places[name][0].place(places[name][1]),
                other=tree.place(folder),
            )
        places[name] = (home_of(tree, folder), folder)
    return places


def _sequence(dataset: str, name: str, store: Store, folder: str) -> Sequence:
    boxes = partial(_count_boxes, store, folder) if name in _SURPLUS_FRAMES else None
    frames = StoredFrames(store, (f"{folder}/img",), at_most=boxes)
    return Sequence(dataset, name, frames, partial(load_annotation, store, folder, frames))


def _count_boxes(store: Store, folder: str) -> int:
    return len(read_boxes(store, f"{folder}/groundtruth.txt"))


def load_annotation(
    store: Store,
    folder: str,
    frames: StoredFrames,
    need_marks: bool = True,
    first_box_suffices: bool = False,
) -> Annotation:
    """The truth of a sequence folder in LaSOT's layout.

    need_marks: whether full_occlusion.txt and out_of_view.txt must be there; a file that is absent
    otherwise says that the target is always in sight.
    """
    prefix = f"{folder}/" if folder else ""
    boxes = read_boxes(store, f"{prefix}groundtruth.txt")
    visible = None
    for name in ("full_occlusion.txt", "out_of_view.txt"):
        path = prefix + name
        if need_marks or store.exists(path):
            marks = read_marks(store, path, len(boxes)) == 0
            visible = marks if visible is None else visible & marks
    place = store.place(f"{prefix}groundtruth.txt")
    return annotation(boxes, frames, place, visible, first_box_suffices=first_box_suffices)
