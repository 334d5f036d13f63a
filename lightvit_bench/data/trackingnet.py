"""TrackingNet: 30,132 training videos in 12 chunks, 511 for testing.

Of a chunk `TRAIN_0` ... `TRAIN_11`, or `TEST`:
    anno/VIDEO.txt         a line for each frame: x,y,w,h; in TEST the first line alone: scores come
                           from the authors' server
    frames/VIDEO/0.jpg     frames, numbered from 0 without leading zeros; or, as distributed,
    zips/VIDEO.zip         the same frames in an archive for each video
No mark says whether a target can be seen: all count as visible.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from lightvit_bench.data.frames import StoredFrames, annotation, home_of, read_boxes
from lightvit_bench.data.sequence import Annotation, Sequence
from lightvit_bench.data.set_checks import (
    Say,
    check_whole,
    not_found,
    open_root,
    require_split,
)
from lightvit_bench.data.store import FolderStore, Store, Tree, ZipStore
from lightvit_bench.errors import BadDataError, ConfigError

CHUNKS = tuple(range(12))
COUNTS = {"train": 30132, "test": 511}


def open_trackingnet(
    root: str | Path,
    split: str = "train",
    *,
    chunks: Iterable[int] = CHUNKS,
    expect_all: bool = False,
    say: Say | None = None,
) -> list[Sequence]:
    """The videos of TrackingNet's split, by chunk and name.

    Args:
        root: holds the chunks' folders, or an archive for each chunk (`TRAIN_0.zip`), or is one
            archive of all. Frames lie in `frames/` or in `zips/` of a folder.
        chunks: which of the training chunks; others need not be there.
        expect_all, say: as in `open_lasot`. A chunk's videos are those it has a file of boxes for,
            so that of some chunks alone only absent frames are noticed.

    Raises:
        MissingDataError: no such root, or nothing of the split below it.
        BadDataError: an archive cannot be read, a chunk or videos are missing.
        ConfigError: a chunk that TrackingNet does not have.
    """
    require_split("TrackingNet", split, COUNTS)
    chunks = sorted(set(chunks))
    if not set(chunks) <= set(CHUNKS) or not chunks:
        raise ConfigError(f"chunks={chunks} of TrackingNet.", expected="some of 0 to 11")
    labels = ["TEST"] if split == "test" else [f"TRAIN_{chunk}" for chunk in chunks]
    title, anchor = f"TrackingNet {split}", "trackingnet"
    other = "train_" if split == "test" else "test"
    tree = open_root(title, anchor, root, archives=lambda name: not name.startswith(other))
    sequences, missing = [], []
    for label in labels:
        chunk = _chunk(tree, label)
        if chunk is None:
            missing.append(f"all of {label}")
            continue
        videos, bare = _videos(*chunk)
        sequences += [_sequence(*chunk, video, split, zipped) for video, zipped in videos]
        missing += [f"frames of {label}/{video}" for video in bare]
    if not sequences:
        raise not_found(title, anchor, tree, f"{labels[0]}/anno/ with {labels[0]}/frames/ or zips/")
    names = {sequence.name for sequence in sequences}
    if len(names) != len(sequences):
        raise BadDataError(f"{title}: videos of one name in two chunks.", root=tree.root)
    whole = split == "test" or chunks == list(CHUNKS)
    expected = COUNTS[split] if whole else len(sequences) + len(missing)
    check_whole(title, anchor, len(sequences), expected, missing, expect_all, say)
    return sequences


def _chunk(tree: Tree, label: str) -> tuple[Store, str] | None:
    """A chunk's store and folder; an archive of a chunk may hold `anno/` at its top."""
    if tree.list(f"{label}/anno").files:
        return home_of(tree, label), label
    for part in tree.parts:
        if isinstance(part, ZipStore) and Path(part.root).stem == label:
            if part.list("anno").files:
                return part, ""
    return None


def _videos(store: Store, chunk: str) -> tuple[list[tuple[str, bool]], list[str]]:
    """Videos with a file of boxes: (name, whether the frames are in an archive), and without any.

    Three folders are listed, and no file is looked at: a chunk has 2,500 videos.
    """
    texts = store.list(_join(chunk, "anno")).files
    names = [name[: -len(".txt")] for name in texts if name.endswith(".txt")]
    folders = set(store.list(_join(chunk, "frames")).folders)
    archives = set(store.list(_join(chunk, "zips")).files)
    videos = [(n, n not in folders) for n in names if n in folders or f"{n}.zip" in archives]
    there = {name for name, _ in videos}
    return videos, [name for name in names if name not in there]


def _sequence(store: Store, chunk: str, video: str, split: str, zipped: bool) -> Sequence:
    if zipped:
        archive = ZipStore(_archive(store, _join(chunk, f"zips/{video}.zip")))
        frames = StoredFrames(archive, ("", video, f"frames/{video}"))
    else:
        frames = StoredFrames(store, (_join(chunk, f"frames/{video}"),))
    path = _join(chunk, f"anno/{video}.txt")
    load = partial(_load, store, path, frames, first_only=split == "test")
    return Sequence("trackingnet", video, frames, load)


def _archive(store: Store, path: str) -> str:
    """The path on this machine of a video's archive."""
    for part in store.parts if isinstance(store, Tree) else (store,):
        if isinstance(part, FolderStore) and (part is store or part.exists(path)):
            return f"{part.root}/{path}"
    raise BadDataError(
        "An archive of a video lies in another archive.",
        archive=store.place(path),
        mend="unpack the outer archive; those of the videos may stay as they are",
    )


def _load(store: Store, path: str, frames: StoredFrames, first_only: bool) -> Annotation:
    boxes = read_boxes(store, path)
    return annotation(boxes, frames, store.place(path), first_box_suffices=first_only)


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)
