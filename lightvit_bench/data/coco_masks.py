"""COCO's three forms of a mask, checked before C code that trusts them gets them.

    [[x1, y1, x2, y2, x3, y3, ...], ...]                 polygons, in pixels
    {"size": [height, width], "counts": [n0, n1, ...]}   run lengths, column by column
    {"size": [height, width], "counts": "ijk..."}        the same, packed into a string

pycocotools 2.0.11 decodes runs that do not fill the image to whatever is in memory, takes four
numbers for a box instead of a polygon, and mmdet drops odd polygons without a word.
"""

from __future__ import annotations

import math

import numpy as np

_FARTHEST = 2.0**16  # pixels; pycocotools walks along an edge in steps of a fifth of a pixel
_LONGEST = 6  # characters of one packed count: 5 bits each, for 32 bits with the sign's


def mask_problem(mask: object, height: int, width: int) -> str | None:
    """What is wrong with an object's `segmentation`, for an image of this size; None if nothing."""
    if isinstance(mask, list):
        return _polygons_problem(mask)
    if not isinstance(mask, dict):
        return f"a {type(mask).__name__} is neither polygons nor run lengths"
    absent = [key for key in ("size", "counts") if key not in mask]
    if absent:
        return f"run lengths without {absent[0]!r}"
    if mask["size"] != [height, width]:
        return f"run lengths of size {mask['size']}, the image's is {[height, width]}"
    counts = mask["counts"]
    if isinstance(counts, str):
        runs = unpack_counts(counts)
        if runs is None:
            return "its packed run lengths are cut off or no such string"
        least, total = int(runs.min()) if len(runs) else 0, int(runs.sum())
    elif isinstance(counts, list):
        try:
            least, total = min(counts, default=0), sum(counts)
        except TypeError:
            least, total = None, None
        if not isinstance(total, int):  # one float makes the sum a float
            return "its run lengths are not all integers"
    else:
        return f"its counts are a {type(counts).__name__}, not a list or a string"
    if least < 0:
        return f"a run length of {least}"
    if total != height * width:
        return f"its run lengths sum up to {total:,}, the image has {height * width:,} pixels"
    return None


def unpack_counts(packed: str) -> np.ndarray | None:
    """The run lengths (int64) in a string of COCO's; None if it is not such a string.

    Characters 48 to 111 carry six bits: 32 says that the number goes on, the others are five of
    its bits, the lowest first, 16 of the last one its sign. From the fourth on, a number is the
    difference to the one two before.
    """
    codes = np.frombuffer(packed.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 48
    if not len(codes):
        return codes
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return None
    last = np.flatnonzero((codes & 32) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > _LONGEST + 1:
        return None
    shift = 5 * (np.arange(len(codes)) - np.repeat(first, lengths))
    numbers = np.add.reduceat((codes & 31) << shift, first)
    numbers -= np.where(codes[last] & 16, np.int64(1) << (5 * lengths), 0)
    for start in (1, 2):
        numbers[start::2] = np.cumsum(numbers[start::2])
    return numbers


def _polygons_problem(polygons: list) -> str | None:
    for polygon in polygons:
        if not isinstance(polygon, list):
            return f"a polygon is a {type(polygon).__name__}, not a list of numbers"
        if len(polygon) % 2:
            return f"a polygon of {len(polygon)} numbers, which are no pairs of x and y"
        if len(polygon) < 6:
            return f"a polygon of {len(polygon) // 2} points, at least 3 make one"
        try:
            finite = math.isfinite(sum(polygon))
        except TypeError:
            return "a polygon with something that is no number"
        if not finite:
            return "a polygon with a number that is not finite"
        if min(polygon) < -_FARTHEST or max(polygon) > _FARTHEST:
            return f"a polygon from {min(polygon):g} to {max(polygon):g} pixels"
    return None
