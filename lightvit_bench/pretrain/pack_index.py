"""The JSON files of a pack, checked: what passes here can be trusted by whoever reads the tars.

A pack may come from somebody else, or from a disk that lost a part of it. Nothing in these files
names a file outside the pack's folder or a place outside a tar, and every number and text is of its
type; anything else is a BadDataError that says what is wrong, and what to do.
"""

from __future__ import annotations

import json
import os
import re
import reprlib
from contextlib import contextmanager
from pathlib import Path

from lightvit_bench.errors import BadDataError, printable

PACK, PACKING = "pack.json", "packing.json"  # of a finished pack, and of one in the making
FORMAT = 1  # of the packs: raise it when an older reader would read nonsense
AGAIN = "tools/pack_images.py SOURCE OUT   again: it keeps the whole shards and makes the rest"
_ANEW = "tools/pack_images.py SOURCE OUT   into another folder, or remove this one first"
_SHARD = re.compile(r"shard-[0-9]{5,}")


def shard_name(number: int) -> str:
    """The name of a shard's files, without their suffixes."""
    return f"shard-{number:05d}"


def read_plan(path: Path) -> dict:
    """`pack.json` or `packing.json`: `format`, `options` and `source`, and what else it holds.

    Raises:
        BadDataError: it is absent, damaged, or of a later format.
    """
    plan = _read(path, _ANEW)
    with _damaged(path, _ANEW):
        for name in _value(plan, "options", dict):
            _count(plan["options"], name, "options.")
        source = _value(plan, "source", dict)
        _count(source, "images", "source.")
        _value(source, "digest", str, "source.")
    return plan


def read_pack(root: Path) -> dict:
    """The `pack.json` of a finished pack, all of it.

    Raises:
        BadDataError: it is absent, damaged, or of a later format.
    """
    path = root / PACK
    pack = read_plan(path)
    with _damaged(path, AGAIN):
        for name in ("images", "bytes"):
            _count(pack, name)
        shards = _value(pack, "shards", list)
        wrong = [s for s in shards if type(s) is not str or not _SHARD.fullmatch(s)]
        if wrong:
            raise _Wrong(f"shards holds {_short(wrong[0])}, which is no name of a shard")
        if not shards or len(set(shards)) < len(shards):
            raise _Wrong("shards names one twice" if shards else "shards is empty")
        accounted = pack["images"] + len(_unreadable(pack))
        if accounted != pack["source"]["images"]:
            of = pack["source"]["images"]
            raise _Wrong(f"images and unreadable make {accounted:,}, source.images is {of:,}")
    return pack


def read_index(root: Path, shard: str) -> dict:
    """A shard's `shard-NNNNN.json`, of which the tar file has been seen to have the size.

    Raises:
        BadDataError: either file is absent or damaged, or the index is of a later format.
    """
    path = root / f"{shard}.json"
    index = _read(path, AGAIN)
    with _damaged(path, AGAIN):
        if index.get("tar") != f"{shard}.tar":
            raise _Wrong(f"tar is {_short(index.get('tar'))}, not {shard}.tar")
        for name in ("bytes", "copied", "small"):
            _count(index, name)
        _value(index, "sha256", str)
        _unreadable(index)
        members, end = _value(index, "members", list), index["bytes"]
        for number, member in enumerate(members):
            if not _is_member(member, end):
                raise _Wrong(
                    f"member {number} is {_short(member)}, not [name, offset, size] of {end} bytes"
                )
        for name in ("copied", "small"):
            if index[name] > len(members):
                raise _Wrong(f"{name} is {index[name]:,} of {len(members):,} members")
    tar = root / f"{shard}.tar"
    held = tar.stat().st_size if tar.is_file() else None
    if held != end:
        is_ = "is not there" if held is None else f"has {held:,} bytes"
        raise BadDataError(f"{tar.name} {is_}, its index says {end:,}.", shard=str(tar), run=AGAIN)
    return index


class _Wrong(Exception):
    """What is wrong with a file, in a few words."""


@contextmanager
def _damaged(path: Path, run: str):
    try:
        yield
    except _Wrong as wrong:
        message = f"{path.name} is damaged: {printable(str(wrong))}."
        raise BadDataError(message, file=str(path), run=run) from None


def _read(path: Path, run: str) -> dict:
    """A JSON file's object, of a format that is known."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        absent = isinstance(error, FileNotFoundError)
        why = {} if absent else {"because": getattr(error, "strerror", None) or str(error)}
        reason = "is not there" if absent else "cannot be read"
        raise BadDataError(f"{path.name} {reason}.", file=str(path), **why, run=run) from error
    with _damaged(path, run):
        if type(content) is not dict:
            raise _Wrong(f"it holds {_short(content)}, not an object")
        version = _count(content, "format")
        if version < 1:
            raise _Wrong(f"format is {version}")
    if version > FORMAT:
        raise BadDataError(
            f"{path.name} is of format {_short(version)}, this version reads {FORMAT}.",
            file=str(path),
            do="update lightvit_bench, or pack into another folder",
        )
    return content


def _value(content: dict, name: str, kind: type, within: str = ""):
    if name not in content:
        raise _Wrong(f"{within}{name} is missing")
    if type(content[name]) is not kind:  # a bool is an int to isinstance
        raise _Wrong(f"{within}{name} is {_short(content[name])}")
    return content[name]


def _count(content: dict, name: str, within: str = "") -> int:
    value = _value(content, name, int, within)
    if not 0 <= value < 1 << 63:
        raise _Wrong(f"{within}{name} is {_short(value)}")
    return value


def _unreadable(content: dict) -> list:
    pairs = _value(content, "unreadable", list)
    for pair in pairs:
        if type(pair) is not list or [type(part) for part in pair] != [str, str]:
            raise _Wrong(f"unreadable holds {_short(pair)}, not [name, reason]")
    return pairs


def _is_member(member, end: int) -> bool:
    if type(member) is not list or len(member) != 3:
        return False
    name, offset, size = member
    return (
        _is_name(name)
        and type(offset) is int
        and type(size) is int
        and 0 <= offset
        and 0 <= size
        and offset + size <= end
    )


def _is_name(name) -> bool:
    if type(name) is not str or not name or "\0" in name:
        return False
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return False
    return True


def _short(value) -> str:
    """A value from a damaged file, short and printable."""
    return reprlib.repr(value)
