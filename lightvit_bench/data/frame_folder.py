"""A folder of one's own sequences, in LaSOT's layout or simpler.

Of a sequence `NAME/`:
    img/*.jpg, or *.jpg    frames in natural order (9 before 10); also png, webp, bmp, tif
    groundtruth.txt        a line for each frame: x,y,w,h; or one line, the box in the first frame
    full_occlusion.txt     0 and 1, one for each frame: the target is hidden; may be absent
    out_of_view.txt        likewise: the target has left the picture; may be absent
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lightvit_bench.data.frames import IMAGE_SUFFIXES, StoredFrames, home_of, natural
from lightvit_bench.data.lasot import load_annotation
from lightvit_bench.data.sequence import Sequence
from lightvit_bench.data.set_checks import Say, named_few, not_found, open_root
from lightvit_bench.data.store import Store, Tree
from lightvit_bench.errors import BadDataError

_TITLE, _ANCHOR = "The folder of sequences", "own-sequences"
_TRUTH = "groundtruth.txt"


def open_folder(
    root: str | Path,
    split: str = "all",
    *,
    expect_all: bool = False,
    say: Say | None = None,
) -> list[Sequence]:
    """The sequences below `root`, by name; `root` may be a sequence itself, or a zip archive.

    `split`, `expect_all` and `say` are taken so that all readers are called alike: there are no
    splits, and nothing says how many sequences there should be.

    Raises:
        MissingDataError: no such folder, or no sequence in it.
        BadDataError: frames without groundtruth.txt, or two sequences of one name.
    """
    tree = open_root(_TITLE, _ANCHOR, root)
    found, bare = [], []
    _look(tree, "", 3, found, bare)
    if bare:
        raise BadDataError(
            f"{len(bare):,} folders of frames have no {_TRUTH}.",
            folders=named_few([tree.place(folder) for folder in bare]),
            expected="x,y,w,h for each frame, or for the first",
            layout=f"docs/datasets.md#{_ANCHOR}",
        )
    if not found:
        raise not_found(_TITLE, _ANCHOR, tree, f"NAME/{_TRUTH} and NAME/img/*.jpg")
    places: dict[str, str] = {}
    for folder in found:
        name = folder.rpartition("/")[2] or tree.name
        if name in places:
            raise BadDataError(
                f"Two sequences are called {name}.",
                one=tree.place(places[name]),
                other=tree.place(folder),
            )
        places[name] = folder
    names = sorted(places, key=natural)
    return [_sequence(name, home_of(tree, places[name]), places[name]) for name in names]


def _look(tree: Tree, folder: str, depth: int, found: list[str], bare: list[str]) -> None:
    """Collect the sequences at or below `folder`, and folders of frames without boxes.

    Pictures beside folders of sequences are no frames: what lies below is looked at first.
    """
    listing = tree.list(folder)
    if _TRUTH in listing.files:
        found.append(folder)
        return
    before = len(found) + len(bare)
    if depth:
        for name in listing.folders:
            _look(tree, f"{folder}/{name}" if folder else name, depth - 1, found, bare)
    pictures = any(name.lower().endswith(IMAGE_SUFFIXES) for name in listing.files)
    if pictures and len(found) + len(bare) == before:
        bare.append(folder.removesuffix("/img"))


def _sequence(name: str, store: Store, folder: str) -> Sequence:
    frames = StoredFrames(store, (f"{folder}/img" if folder else "img", folder))
    load = partial(
        load_annotation, store, folder, frames, need_marks=False, first_box_suffices=True
    )
    return Sequence("folder", name, frames, load)
