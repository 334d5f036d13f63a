"""GOT-10k: 9,335 training, 180 validation and 180 test sequences of 10 frames a second.

Of a sequence `GOT-10k_Train_%06d/` (`..._Val_...`, `..._Test_...`):
    %08d.jpg           frames, from 00000001.jpg
    groundtruth.txt    a line for each frame: x,y,w,h, with fractions; in the test split the first
                       line alone: scores come from the authors' server
    absence.label      a line for each frame: 1 where the target cannot be seen
    cover.label        a line for each frame, 0 to 8: how many eighths of the target can be seen
    cut_by_image.label a line for each frame: 1 where the picture's edge cuts the target; not read
    meta_info.ini      class, resolution, frame rate; not read
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
from lightvit_bench.errors import ConfigError, MissingDataError

COUNTS = {"train": 9335, "val": 180, "test": 180}


def open_got10k(
    root: str | Path,
    split: str = "train",
    *,
    only: str | Path | None = None,
    exclude: str | Path | None = None,
    expect_all: bool = False,
    say: Say | None = None,
) -> list[Sequence]:
    """The sequences of GOT-10k's split, by number.

    Args:
        root: holds `train/`, `val/`, `test/` with the sequences; or the archives as they are
            distributed: `train_data/GOT-10k_Train_split_*.zip`, `val_data.zip`, `test_data.zip`
            (the folder `full_data` around them may be there); or is one archive.
        only, exclude: text files of the sequences to take, or to leave out, one a line: a name, or
            a number that counts from 0 as in OSTrack's lists (0 is GOT-10k_Train_000001). Trackers
            for VOT are trained on "vottrain", which is "train" without the sequences that VOT took
            over; neither that list nor its complement is part of this project.
        expect_all, say: as in `open_lasot`; what a list leaves out is not missing.

    Raises:
        MissingDataError: no such root or list, or no sequence of the split below it.
        ConfigError: the list names what the split does not have.
        BadDataError: an archive cannot be read, or sequences are missing.
    """
    require_split("GOT-10k", split, COUNTS)
    title, root = f"GOT-10k {split}", Path(root)
    wanted = [f"GOT-10k_{split.title()}_{n:06d}" for n in range(1, COUNTS[split] + 1)]
    kept = set(wanted) if only is None else _listed(Path(only), wanted, "only")
    kept -= set() if exclude is None else _listed(Path(exclude), wanted, "exclude")
    wanted = [name for name in wanted if name in kept]

    bases = (root, root / "full_data")
    places = [base / part for base in bases for part in (split, f"{split}_data")]
    others = [other for other in COUNTS if other != split]
    tree = open_root(
        title,
        "got-10k",
        *bases,
        *places,
        archives=lambda name: not any(other in name for other in others),  # val_data.zip
    )
    named = re.compile(rf"GOT-10k_{split.title()}_[0-9]{{6}}").fullmatch
    found: dict[str, tuple[Store, str]] = {}
    for folder in find_folders(tree, named, depth=4):
        found.setdefault(folder.rpartition("/")[2], (tree, folder))
    names = [name for name in wanted if name in found]
    if not names:
        example = f"{split}/GOT-10k_{split.title()}_000001/"
        raise not_found(title, "got-10k", tree, f"{example} or {split}_data*.zip")
    missing = [name for name in wanted if name not in found]
    check_whole(title, "got-10k", len(names), len(wanted), missing, expect_all, say)
    return [_sequence(name, *found[name], first_only=split == "test") for name in names]


def _listed(path: Path, names: list[str], option: str) -> set[str]:
    if not path.is_file():
        raise MissingDataError(
            "there is no such list of sequences.",
            looked_for=str(path),
            set=f"{option}=...",
            layout="docs/datasets.md#got-10k",
        )
    known, listed = set(names), set()
    text = path.read_bytes().decode("utf-8-sig", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        name = names[int(word)] if word.isdecimal() and int(word) < len(names) else word
        if name not in known:
            raise ConfigError(
                f"line {number} of the list names no sequence of the split: {word[:60]!r}.",
                list=str(path),
                expected=f"{names[0]}, or a number from 0 to {len(names) - 1}",
            )
        listed.add(name)
    return listed


def _sequence(name: str, store: Store, folder: str, first_only: bool) -> Sequence:
    store = home_of(store, folder)
    frames = StoredFrames(store, (folder,))
    load = partial(_load, store, folder, frames, first_only)
    return Sequence("got10k", name, frames, load)


def _load(store: Store, folder: str, frames: StoredFrames, first_only: bool) -> Annotation:
    path = f"{folder}/groundtruth.txt"
    boxes = read_boxes(store, path)
    if first_only and len(boxes) == 1:
        return annotation(boxes, frames, store.place(path), first_box_suffices=True)
    absent = read_marks(store, f"{folder}/absence.label", len(boxes))
    cover = read_marks(store, f"{folder}/cover.label", len(boxes), largest=8)
    return annotation(boxes, frames, store.place(path), absent == 0, cover / 8)
