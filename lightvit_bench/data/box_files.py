"""Result and annotation files: one line a frame, `x,y,w,h`, a mark or the seconds that it took.

All readers of tracking data read these files here, whether they lie in folders or in archives.
Reading is fast for what programs write (one separator throughout, plain numbers, NaN) and careful
for everything else; a file that cannot be read to its last line is an error that names the line.
"""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import numpy as np

from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.writing import whole_file

# All that can be part of a number, nan and inf included: what is left of a line are its separators.
_NUMBER_BYTES = b"0123456789.+-eEnNaAiIfFtTyY"
_TO_SPACES = bytes.maketrans(b",\t", b"  ")
_BOM = b"\xef\xbb\xbf"  # what some editors put first
_REAL = r"[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|nan|inf(?:inity)?)"
_NUMBER = re.compile(_REAL, re.IGNORECASE | re.ASCII)
_COMPLEX = re.compile(rf"(?:{_REAL}(?=[+-]))?{_REAL}[ij]", re.IGNORECASE | re.ASCII)
_BETWEEN = re.compile(r"[ \t]*,[ \t]*|[ \t]+")


def read_boxes(path: str | os.PathLike) -> np.ndarray:
    """The boxes of a file: (N, 4) float64, N >= 1.

    Numbers are separated by commas, tabs or spaces, and may be integers, NaN, infinite or have an
    exponent. A complex number reads as NaN: both mean that there is no such box.

    Raises:
        MissingDataError: there is no such file.
        BadDataError: it is empty, or a line does not hold four numbers.
    """
    return parse_boxes(_read(path), str(path))


def parse_boxes(data: bytes, where: str, truth: bool = False) -> np.ndarray:
    """`read_boxes` for the bytes of a file; `where` names it in messages.

    `truth`: of a data set, so that what is infinite or complex is an error too. NaN is not: a box
    may be unknown.
    """
    boxes = _parse(data, 4, where, "x,y,w,h", truth)
    if truth and np.isinf(boxes).any():
        row = int(np.flatnonzero(np.isinf(boxes).any(axis=1))[0])
        raise _bad_line(where, row + 1, len(boxes), "x,y,w,h", str(boxes[row].tolist()))
    return boxes


def read_times(path: str | os.PathLike) -> np.ndarray:
    """Seconds a frame, one number a line: (N,) float64. Raises as `read_boxes` does."""
    return _parse(_read(path), 1, str(path), "seconds")[:, 0]


def parse_flags(data: bytes, where: str) -> np.ndarray:
    """`parse_marks` of zeros and ones: (N,) bool."""
    return parse_marks(data, where) == 1


def parse_marks(data: bytes, where: str, largest: int = 1) -> np.ndarray:
    """Whole numbers from 0 to `largest` (9 at most), one a line or all in one: (N,) int64.

    Commas, tabs or spaces divide them.

    Raises:
        BadDataError: there is none, or anything else; the message gives the line.
    """
    data = data.removeprefix(_BOM)
    text = np.frombuffer(data.replace(b"\r\n", b"\n").strip(), np.uint8)
    marks, between = text[::2] - ord("0"), text[1::2]  # wraps around below "0"
    if len(text) % 2 and marks.max() <= largest and np.isin(between, (10, 44, 9, 32)).all():
        return marks.astype(np.int64)
    allowed = {str(value): value for value in range(largest + 1)}
    found: list[int] = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        fields = _BETWEEN.split(line.strip(" \t,")) if line.strip() else []
        odd = next((field for field in fields if field not in allowed), None)
        if odd is not None:
            known = "0 and 1" if largest == 1 else f"0 to {largest}"
            raise BadDataError(
                f"{where}, line {number}, holds other than {known}.",
                found=repr(odd[:40]),
                line=line[:80],
            )
        found += [allowed[field] for field in fields]
    if not found:
        raise BadDataError(f"{where} holds no flag.")
    return np.array(found, np.int64)


def write_boxes(path: str | os.PathLike, boxes: np.ndarray) -> None:
    """Write (N, 4) boxes as `x,y,w,h` lines with up to four decimals, whole or not at all."""
    boxes = np.asarray(boxes, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
        raise ValueError(f"boxes have shape (frames, 4) with a frame at least, not {boxes.shape}")
    write_text(path, boxes_text(boxes))


def boxes_text(boxes: np.ndarray, decimals: int = 4) -> str:
    """The lines of a box file, `x,y,w,h` each with up to `decimals` decimals."""
    return "".join(",".join(_short(v, decimals) for v in row) + "\n" for row in boxes.tolist())


def write_times(path: str | os.PathLike, seconds: np.ndarray) -> None:
    """Write (N,) seconds a frame, one a line with eight decimals, whole or not at all."""
    write_text(path, "".join(f"{value:.8f}\n" for value in np.asarray(seconds).tolist()))


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file whole or not at all."""
    with whole_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def _short(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _read(path: str | os.PathLike) -> bytes:
    try:
        return Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise MissingDataError("a result file is not there.", looked_for=str(path)) from None


def _parse(data: bytes, width: int, where: str, columns: str, truth: bool = False) -> np.ndarray:
    """(N, width) float64, by the fast way where the file is plain, line by line otherwise."""
    data = data.removeprefix(_BOM)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    data = data.rstrip(b"\n \t") + b"\n"
    for tidy in (False, True):
        text = _tidied(data) if tidy else data
        separators = text.translate(None, _NUMBER_BYTES)
        rows = separators.count(b"\n")
        if any(separators == (sep * (width - 1) + b"\n") * rows for sep in (b",", b"\t", b" ")):
            values = _plain_numbers(text.translate(_TO_SPACES))
            if len(values) == rows * width:
                return values.reshape(rows, width)
    return _line_by_line(data, width, where, columns, truth)


def _tidied(data: bytes) -> bytes:
    """Columns padded with spaces, as MATLAB saves them, with one separator between two numbers."""
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    for mark in (b",", b"\t", b"\n"):
        data = data.replace(b" " + mark, mark).replace(mark + b" ", mark)
    return data.lstrip(b" ")


def _plain_numbers(data: bytes) -> np.ndarray:
    """The numbers up to the first thing that is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a stop before the end
        try:
            return np.fromstring(data, np.float64, sep=" ")
        except ValueError:  # what the warning announces
            return np.empty(0)


def _line_by_line(data: bytes, width: int, where: str, columns: str, truth: bool) -> np.ndarray:
    lines = data.decode("utf-8", "replace").split("\n")[:-1]
    if not any(line.strip() for line in lines):
        raise BadDataError(f"{where} is empty.", expected=f"{columns}, one line a frame")
    rows = []
    for number, line in enumerate(lines, 1):
        fields = _BETWEEN.split(line.strip(" \t"))
        values = [_number(field, complex_too=not truth) for field in fields]
        if len(values) != width or None in values:
            raise _bad_line(where, number, len(lines), columns, repr(line[:80]))
        rows.append(values)
    return np.array(rows, np.float64)


def _bad_line(where: str, number: int, lines: int, columns: str, line: str) -> BadDataError:
    last = ", the last one," if number == lines else ""
    return BadDataError(
        f"{where}, line {number}{last} is not {columns}.",
        line=line,
        lines=f"{lines} in the file",
    )


def _number(field: str, complex_too: bool) -> float | None:
    """NaN for a complex number where it may be one, None for what is no number."""
    if _NUMBER.fullmatch(field):
        return float(field)
    return float("nan") if complex_too and _COMPLEX.fullmatch(field) else None
