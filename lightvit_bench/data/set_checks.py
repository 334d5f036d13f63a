"""What readers of tracking data say when a set is absent or not whole."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightvit_bench.data.store import Tree, every_archive, open_tree
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError, printable

Say = Callable[[str], None]
_VARIABLE = "LIGHTVIT_DATA=/path/to/datasets"
_SET = f"{_VARIABLE}   or   --cfg-options data_root=..."
_NAMED = 5  # of many, how many a message names


def on_stderr(message: str) -> None:
    """What readers say, unless they are given another `say`."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def set_by(option: str) -> Iterator[None]:
    """Errors on a data set that is not there name `option` as what says where it is."""
    try:
        yield
    except MissingDataError as error:
        if error.details.get("set") == [_SET]:
            error.details["set"] = [f"{option}   or, for paths data/...,   {_VARIABLE}"]
        raise


def named_few(names: Sequence[str]) -> str:
    """The first few of many names, and how many more there are."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def require_split(title: str, split: str, known: Collection[str]) -> None:
    """ConfigError for a split that the data set does not have."""
    if split not in known:
        raise ConfigError(f"{title} has no split {split!r}.", splits=", ".join(known))


def open_root(
    title: str,
    anchor: str,
    *places: str | Path,
    archives: Callable[[str], bool] = every_archive,
) -> Tree:
    """`open_tree`, with an error that says how to set the place and what it should look like."""
    try:
        return open_tree(*places, archives=archives)
    except MissingDataError as error:
        raise MissingDataError(
            f"{title} not found.", **error.details, set=_SET, layout=f"docs/datasets.md#{anchor}"
        ) from None


def not_found(title: str, anchor: str, tree: Tree, looked_for: str) -> MissingDataError:
    """The error for a root that is there and holds nothing of the data set."""
    folders, files = tree.list()
    held = [*(f"{name}/" for name in folders), *files]
    return MissingDataError(
        f"{title} not found.",
        looked_for=looked_for,
        there_is=f"{tree.root} with {named_few(held) or 'nothing in it'}",
        set=_SET,
        layout=f"docs/datasets.md#{anchor}",
    )


def check_listed(title: str, root: str | Path, listed: str, found: Collection[str]) -> None:
    """BadDataError where a list `listed` in `root` names sequences that were not `found`."""
    tree = open_tree(root)
    if not tree.exists(listed):
        return
    wanted = tree.read(listed).decode("utf-8-sig", errors="replace").splitlines()
    names = dict.fromkeys(name for line in wanted if (name := line.strip()))
    missing = [name for name in names if name not in found]
    if missing:
        raise BadDataError(
            f"{title}: {len(names) - len(missing):,} of the {len(names):,} sequences.",
            missing=printable(named_few(missing)),
            listed=tree.place(listed),
            mend="complete the copy, or name those to run: test_set.sequences=NAMES.txt",
        )


def check_whole(
    title: str,
    anchor: str,
    found: int,
    expected: int,
    missing: Sequence[str],
    expect_all: bool,
    say: Say | None,
) -> None:
    """Say that sequences are missing; with `expect_all`, a BadDataError.

    A score of fewer sequences than a benchmark has is not its score; one can train on fewer.
    """
    if found == expected and not missing:
        return
    details = {"missing": named_few(list(missing))} if missing else {}
    message = f"{title}: {found:,} of the {expected:,} sequences."
    if expect_all:
        raise BadDataError(
            message,
            **details,
            mend="complete the copy; a score needs all of them",
            layout=f"docs/datasets.md#{anchor}",
        )
    absent = f" Missing: {details['missing']}." if missing else ""
    (say or on_stderr)(f"{message}{absent}")
