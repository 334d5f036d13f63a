"""Result and annotation files: one line a frame, `x,y,w,h` or the seconds that it took.

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


def parse_boxes(data: bytes, where: str) -> np.ndarray:
    """`read_boxes` for the bytes of a file; `where` names it in messages."""
    return _parse(data, 4, where, "x,y,w,h")


def read_times(path: str | os.PathLike) -> np.ndarray:
    """Seconds a frame, one number a line: (N,) float64. Raises as `read_boxes` does."""
    return _parse(_read(path), 1, str(path), "seconds")[:, 0]


def parse_flags(data: bytes, where: str) -> np.ndarray:
    """Zeros and ones, one a line or all in one line with commas: (N,) bool.

    Raises:
        BadDataError: it is empty or holds anything else; the message gives the line.
    """
    text = np.frombuffer(data.replace(b"\r\n", b"\n").strip(), np.uint8)
    flags, between = text[::2] - ord("0"), text[1::2]
    if len(text) % 2 and flags.max() <= 1 and np.isin(between, (10, 44, 9, 32)).all():
        return flags.astype(bool)
    found = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        fields = _BETWEEN.split(line.strip(" \t,")) if line.strip() else []
        if not all(field in ("0", "1") for field in fields):
            raise BadDataError(f"{where}, line {number}, holds other than 0 and 1.", line=line[:80])
        found += [field == "1" for field in fields]
    if not found:
        raise BadDataError(f"{where} holds no flag.")
    return np.array(found)


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


def _parse(data: bytes, width: int, where: str, columns: str) -> np.ndarray:
    """(N, width) float64, by the fast way where the file is plain, line by line otherwise."""
    data = data.removeprefix(b"\xef\xbb\xbf")  # what some editors put first
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
    return _line_by_line(data, width, where, columns)


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


def _line_by_line(data: bytes, width: int, where: str, columns: str) -> np.ndarray:
    lines = data.decode("utf-8", "replace").split("\n")[:-1]
    if not any(line.strip() for line in lines):
        raise BadDataError(f"{where} is empty.", expected=f"{columns}, one line a frame")
    rows = []
    for number, line in enumerate(lines, 1):
        fields = _BETWEEN.split(line.strip(" \t"))
        values = [_number(field) for field in fields]
        if len(values) != width or None in values:
            last = ", the last one," if number == len(lines) else ""
            raise BadDataError(
                f"{where}, line {number}{last} is not {columns}.",
                line=repr(line[:80]),
                lines=f"{len(lines)} in the file",
            )
        rows.append(values)
    return np.array(rows, np.float64)


def _number(field: str) -> float | None:
    """NaN for a complex number, None for what is no number."""
    if _NUMBER.fullmatch(field):
        return float(field)
    return float("nan") if _COMPLEX.fullmatch(field) else None
