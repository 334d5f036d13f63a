"""Blocks of a document that a tool writes, between two comments that a reader does not see.

    <!-- begin: NAME (made by COMMAND; do not edit) -->
    ...
    <!-- end: NAME -->

Only what lies between is ever replaced, and a block is never made: the markers say where a person
wants it. Standard library only.
"""

from __future__ import annotations

import re

from lightvit_bench.errors import BadDataError

_NAME = r"[\w.]+(?:-[\w.]+)*"
# A line that is a marker, or would be one if it were spelled right.
_LIKE = re.compile(rf"^[ \t]*<!--\s*(begin|end)\b\s*:?\s*({_NAME})?.*$", re.MULTILINE)
_BEGIN = re.compile(rf"<!-- begin: {_NAME} \(made by .+; do not edit\) -->")
_END = re.compile(rf"<!-- end: {_NAME} -->")


def block_of(text: str, name: str) -> str:
    """What is in a block, without the empty lines around it.

    Raises:
        BadDataError: a marker is missing, there twice or misspelled; or another block's markers
            are in between.
    """
    start, end = _inside(text, name)
    return text[start:end].strip("\n")


def replace_block(text: str, name: str, body: str) -> str:
    """The text with another body in a block; all other lines as they were.

    Raises:
        BadDataError: as `block_of`, or the body has a line that is a marker.
    """
    if line := _LIKE.search(body):
        raise BadDataError(
            f"what goes into the block {name} has a marker of its own.", line=line.group().strip()
        )
    start, end = _inside(text, name)
    body = body.strip("\n")
    return text[:start] + (f"\n{body}\n\n" if body else "") + text[end:]


def has_block(text: str, name: str) -> bool:
    """Whether a block's markers, or one of them, are in the text."""
    return any(found.group(2) == name for found in _LIKE.finditer(text))


def _inside(text: str, name: str) -> tuple[int, int]:
    """Where the lines between the markers begin and end."""
    if not re.fullmatch(_NAME, name):
        raise BadDataError(
            f"{name!r} is no name of a block: letters and digits, with '.', '_' and '-'."
        )
    wanted = (f"<!-- begin: {name} (made by COMMAND; do not edit) -->", f"<!-- end: {name} -->")
    places = {}
    for kind, pattern, form in (("begin", _BEGIN, wanted[0]), ("end", _END, wanted[1])):
        found = [m for m in _LIKE.finditer(text) if (m.group(1), m.group(2)) == (kind, name)]
        lines = [text.count("\n", 0, m.start()) + 1 for m in found]
        if len(found) != 1:
            count = f"{len(found)} times" if found else "missing"
            at = {"lines": ", ".join(map(str, lines))} if lines else {}
            raise BadDataError(
                f"the {kind} of the block {name} is {count}.", **at, wanted=f"one line {form}"
            )
        if not pattern.fullmatch(found[0].group()):
            raise BadDataError(
                f"the {kind} of the block {name} is misspelled in line {lines[0]}.",
                found=found[0].group().strip(),
                wanted=form,
            )
        places[kind] = found[0]
    start, end = places["begin"].end() + 1, places["end"].start()
    if start > end:
        raise BadDataError(f"the end of the block {name} stands before its begin.")
    if other := _LIKE.search(text, start, end):
        raise BadDataError(
            f"a marker of another block is inside the block {name}.", line=other.group().strip()
        )
    return start, end
