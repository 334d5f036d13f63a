"""The tracking data sets by the names that configs and tools use.

sequences = open_set("lasot", "data/lasot", "test", expect_all=True)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path

from lightvit_bench.data.coco_stills import open_coco
from lightvit_bench.data.frame_folder import open_folder
from lightvit_bench.data.got10k import open_got10k
from lightvit_bench.data.lasot import open_lasot, open_lasot_ext
from lightvit_bench.data.roots import resolve_root
from lightvit_bench.data.sequence import Sequence
from lightvit_bench.data.trackingnet import open_trackingnet
from lightvit_bench.errors import ConfigError, near_matches


@dataclass(frozen=True)
class TrackingSet:
    """A data set by name.

    Attributes:
        splits: those it has.
        protocol: the split that its scores are reported on, where there is one.
        server: whether the truth of that split is not public, so that its authors give the score.
        open: reads it: (root, split, *, expect_all, say, ...) -> sequences.
    """

    title: str
    splits: tuple[str, ...]
    protocol: str | None
    open: Callable[..., SequenceOf[Sequence]]
    server: bool = False


SETS = {
    "lasot": TrackingSet("LaSOT", ("train", "test", "all"), "test", open_lasot),
    "lasot-ext": TrackingSet("LaSOT-ext", ("test", "all"), "test", open_lasot_ext),
    "got10k": TrackingSet("GOT-10k", ("train", "val", "test"), "test", open_got10k, server=True),
    "trackingnet": TrackingSet(
        "TrackingNet", ("train", "test"), "test", open_trackingnet, server=True
    ),
    "coco": TrackingSet("COCO", ("train", "val"), None, open_coco),
    "folder": TrackingSet("a folder of sequences", ("all",), None, open_folder),
}


def open_set(
    name: str, root: str | Path, split: str | None = None, **options: object
) -> SequenceOf[Sequence]:
    """The sequences of a data set's split.

    Args:
        name: one of `SETS`.
        root: where it lies; a leading `data/` stands for `LIGHTVIT_DATA` where that is set.
        split: by default the one that scores are reported on, else the first.
        options: of the reader: `expect_all` (a missing sequence is an error), `say` (is told of
            them otherwise), GOT-10k's `only` and `exclude`, TrackingNet's `chunks`.

    Opening lists folders and the archives' lists of members. Frames are listed and boxes are read
    when a sequence is first used.

    Raises:
        ConfigError: an unknown name, split or option.
        MissingDataError: nothing of it lies at `root`.
        BadDataError: what lies there is damaged or, with `expect_all`, not whole.
    """
    if name not in SETS:
        raise ConfigError(
            f"there is no tracking data set {name!r}.", known=", ".join(near_matches(name, SETS))
        )
    chosen = SETS[name]
    split = split or chosen.protocol or chosen.splits[0]
    if split not in chosen.splits:
        raise ConfigError(f"{chosen.title} has no split {split!r}.", splits=chosen.splits)
    known = inspect.signature(chosen.open).parameters
    odd = [option for option in options if option not in known]
    if odd:
        raise ConfigError(
            f"the reader of {chosen.title} has no option {odd[0]!r}.",
            options=", ".join(option for option in known if option not in ("root", "split")),
        )
    return chosen.open(resolve_root(root), split, **options)
