"""A tracked video in one picture: some of its frames side by side, with truth and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from lightvit_bench.errors import BadDataError
from lightvit_bench.tracking.watching.draw import Caption, draw_result
from lightvit_bench.tracking.watching.follow import Track
from lightvit_bench.writing import whole_file

_GAP = 4  # white pixels between frames


def strip(
    frames: Sequence[np.ndarray],
    track: Track,
    truth_xywh: np.ndarray | None = None,
    *,
    count: int = 8,
    columns: int = 4,
    height: int = 240,
) -> np.ndarray:
    """`count` frames of a track, evenly spread, first and last among them: (H, W, 3) uint8 RGB.

    Args:
        frames: all frames, decoded when asked for.
        truth_xywh: (N, 4), drawn in blue where it has a size.
        height: of each frame, in pixels; widths follow.
    """
    if len(frames) < len(track) or not len(track):
        raise BadDataError(f"{len(track)} frames were tracked, there are {len(frames)} pictures.")
    if truth_xywh is not None and len(truth_xywh) < len(track):
        raise BadDataError(f"{len(track)} frames were tracked, the truth has {len(truth_xywh)}.")
    tiles = []
    for index in np.linspace(0, len(track) - 1, min(count, len(track))).round().astype(int):
        truth = None if truth_xywh is None else tuple(map(float, truth_xywh[index]))
        image = frames[int(index)]
        zoom = height / image.shape[0]
        size = (max(1, round(image.shape[1] * zoom)), height)
        how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
        tiles.append(
            draw_result(
                cv2.resize(image, size, interpolation=how),
                tuple(track.boxes[index] * zoom),
                found=bool(track.found[index]),
                caption=Caption(score=float(track.scores[index]), frame=f"frame {index}"),
                truth_xywh=None
                if truth is None or not min(truth[2:]) > 0
                else tuple(value * zoom for value in truth),
            )
        )
    width = max(tile.shape[1] for tile in tiles)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full(
        (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, np.uint8
    )
    for number, tile in enumerate(tiles):
        y, x = (number // columns) * (height + _GAP), (number % columns) * (width + _GAP)
        sheet[y : y + height, x : x + tile.shape[1]] = tile
    return sheet


def write_strip(path: str | Path, sheet: np.ndarray) -> None:
    """Write a strip as PNG, whole or not at all."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(sheet[..., ::-1]))
    if not done:
        raise BadDataError("the strip could not be encoded.", file=str(path))
    with whole_file(path) as aside:
        aside.write_bytes(data.tobytes())
