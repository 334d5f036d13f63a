"""Which sequences a tracker is tested on: the `test_set` of its config."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from lightvit_bench.data.roots import resolve_root
from lightvit_bench.data.sequence import Sequence
from lightvit_bench.data.set_checks import check_listed, set_by
from lightvit_bench.data.tracking_sets import SETS, open_set
from lightvit_bench.errors import ConfigError, MissingDataError, near_matches, printable
from lightvit_bench.tracking.answers import Settings
from lightvit_bench.tracking.running.judged import check_judgeable

_KNOWN = ("name", "root", "split", "data_root", "sequences")
_LIST = "testing_set.txt"  # of a folder of sequences, if it has one
_DEMO = Path("data/demo/tracking")


def setting_names() -> tuple[str, ...]:
    """Settings of the tracker that a `test_set` may replace."""
    return tuple(field.name for field in fields(Settings))


def open_test_set(section: dict, config: str) -> tuple[str, str, list[Sequence], Path]:
    """The data set of a config's section: name, split, sequences, root.

    Every sequence of the split has to be there, or those of `sequences`.
    """
    if "name" not in section or "root" not in section:
        raise ConfigError(
            f"{config} does not say what to run a tracker over.",
            needs='test_set = dict(name="lasot", root="lasot", split="test", data_root="data")',
            names=", ".join(name for name in SETS if name != "coco"),
        )
    known = (*_KNOWN, *setting_names())
    for key in section:
        if key not in known:
            raise ConfigError(
                f"test_set knows no {key!r}.", near=", ".join(near_matches(key, known))
            )
    name, split = section["name"], section.get("split")
    if name == "folder":  # has no splits: a config's may stay when its set is changed
        split = None
    split = split or (name in SETS and (SETS[name].protocol or SETS[name].splits[0])) or ""
    check_judgeable(name, split)
    root = Path(section["root"])
    below = Path(section.get("data_root", "")) / root
    if root.exists() and not resolve_root(below).exists():
        below = root
    chosen = section.get("sequences")
    if chosen is None:
        with _set_here(below):
            every = list(open_set(name, below, split, expect_all=True))
        if name == "folder":
            names = {one.name for one in every}
            check_listed("The folder of sequences", resolve_root(below), _LIST, names)
        return name, split, every, below
    wanted = _names(chosen)
    with _set_here(below):
        some = open_set(name, below, split, say=lambda message: None)
    found = {one.name: one for one in some}
    absent = [one for one in wanted if one not in found]
    if absent or not wanted:
        raise ConfigError(
            "test_set.sequences names what is not there.",
            names=[printable(str(one)) for one in absent[:5]] or "nothing",
            near=", ".join(near_matches(str(absent[0]), found)[:5]) if absent else "",
        )
    return name, split, [found[one] for one in wanted], below


@contextmanager
def _set_here(root: Path) -> Iterator[None]:
    """Errors on a test set that is not there name what says where it is."""
    try:
        with set_by("--cfg-options test_set.root=FOLDER test_set.data_root=."):
            yield
    except MissingDataError as error:
        if root == _DEMO:
            error.details["or"] = [f"make demo   (it makes {_DEMO})"]
        raise


def _names(chosen: object) -> list[str]:
    """The names that `test_set.sequences` gives: one, several, or a file of them, one a line."""
    if isinstance(chosen, str) and Path(chosen).is_file():
        try:
            lines = Path(chosen).read_text(encoding="utf-8-sig").splitlines()
        except ValueError:
            raise ConfigError("a list of sequences is not text (UTF-8).", file=chosen) from None
        chosen = [name for line in lines if (name := line.strip())]
    elif isinstance(chosen, str) and chosen.endswith(".txt"):
        raise ConfigError("there is no such list of sequences.", looked_for=chosen)
    names = list(chosen) if isinstance(chosen, list | tuple) else [chosen]
    if not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"test_set.sequences={chosen!r}: these are not names.",
            do="write names that look like numbers into a file, one a line: "
            "test_set.sequences=NAMES.txt",
        )
    return list(dict.fromkeys(names))
