"""Small data sets in the official layouts, for the tests of their readers."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np

H, W = 24, 32


def picture(number: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB, plain: red tells the number, blue is 255."""
    return np.full((H, W, 3), (10 * number, 100, 255), np.uint8)


def encoded(image: np.ndarray, suffix: str = ".jpg") -> bytes:
    """An RGB or grey image as a file's bytes."""
    bgr = image[..., ::-1] if image.ndim == 3 else image
    return cv2.imencode(suffix, bgr)[1].tobytes()


def boxes(count: int, shift: float = 0) -> np.ndarray:
    """(count, 4), different in every row."""
    return np.array([[i + shift, 2 + i, 5 + i, 6] for i in range(count)], np.float64)


def lines(rows: np.ndarray, form: str = "%g") -> bytes:
    """Boxes as a file's text."""
    return "".join(",".join(form % v for v in row) + "\n" for row in rows).encode()


def lasot_sequence(name: str, count: int = 3, hidden=(), out=()) -> dict[str, bytes]:
    """A sequence's files, by path below its own folder's place."""
    marks = [",".join(str(int(i in where)) for i in range(count)) for where in (hidden, out)]
    files = {f"{name}/img/{i + 1:08d}.jpg": encoded(picture(i)) for i in range(count)}
    return files | {
        f"{name}/groundtruth.txt": lines(boxes(count)),
        f"{name}/full_occlusion.txt": f"{marks[0]}\n".encode(),
        f"{name}/out_of_view.txt": f"{marks[1]}\n".encode(),
        f"{name}/nlp.txt": b"a thing\n",
    }


def below(prefix: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """The same files, deeper."""
    return {f"{prefix}/{name}": data for name, data in files.items()}


def write_files(root: Path, files: dict[str, bytes]) -> Path:
    """The files below a folder."""
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    """The files in a zip archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path
