"""What a tracker asks of a network, and how its answers are taken.

numpy only. Whatever computes a network for the tracker (PyTorch, OpenVINO, ONNX Runtime, a test) is
a `Model`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np

from lightvit_bench.errors import ConfigError
from lightvit_bench.tracking.checks import check_kind, check_number, check_whole
from lightvit_bench.tracking.crops import hann_window


class Region(Protocol):
    """What a tracker needs to know of a network: see `NetworkSpec`."""

    template_size: int
    search_size: int
    template_factor: float
    search_factor: float


class Answer(NamedTuple):
    """What a network says of a search region.

    box: (4,) float32, centre x, centre y, width, height as fractions of the region, of the cell
    where score times a Hann window is highest. score: of that cell.
    """

    box: np.ndarray
    score: float


class Model(Protocol):
    """A network that computes. It keeps nothing of a target between calls, so trackers may share
    one, in one thread.

    `buffer`, where a model has one, is (S, S, 3) uint8: a region that is cut into it is not copied
    again.
    """

    spec: Region
    settings: Settings

    def embed(self, template: np.ndarray) -> Any:
        """What can be computed once from a template (T, T, 3) uint8, RGB."""

    def find(self, embedded: Any, search: np.ndarray, box_wh: tuple[float, float]) -> Answer:
        """Where the target is in a search region (S, S, 3) uint8, RGB.

        `box_wh`: the last box's width and height as fractions of the region.
        """


class ArrayMaps(NamedTuple):
    """A head's maps of one search region, float32: score (h, w), size (2, h, w), offset (2, h, w).

    As `heads.Maps`, without the batch.
    """

    score: np.ndarray
    size: np.ndarray
    offset: np.ndarray


class FromMaps:
    """`Model.find` for a model that computes whole maps."""

    def maps(self, embedded: Any, search: np.ndarray, box_wh: tuple[float, float]) -> ArrayMaps:
        """The maps of a search region; arguments as of `Model.find`."""
        raise NotImplementedError

    def find(self, embedded: Any, search: np.ndarray, box_wh: tuple[float, float]) -> Answer:
        """The box and score of the best cell of the maps."""
        maps = self.maps(embedded, search, box_wh)
        cell = int(np.argmax(_window(len(maps.score)) * maps.score))
        return Answer(box_at(maps, cell), float(maps.score.flat[cell]))


@dataclass(frozen=True)
class Settings:
    """How a network's answers are taken; kept beside its weights.

    Attributes:
        found_above: score from which the target counts as found.
        hold: whether a target that is not found is looked for where it was last found. Without,
            the box moves on whatever the score, as the authors' does.
        flat_below: grey levels (0 to 256). Where the lowest and the highest value of each channel
            are closer than this in the whole search region, it shows no target whatever the score;
            0: the score alone decides.
    """

    found_above: float = 0.25
    hold: bool = True
    flat_below: int = 4  # compression leaves up to 3 in an even frame

    def __post_init__(self):
        check_number("found_above", self.found_above)
        check_kind("hold", self.hold, bool)
        check_whole("flat_below, in grey levels,", self.flat_below, 0, 256)
        if not 0 <= self.found_above <= 1:
            raise ConfigError(f"found_above is a score from 0 to 1, not {self.found_above}.")


def with_settings(settings: Settings, **changes: Any) -> Settings:
    """A copy with changes; unknown names are a `ConfigError`."""
    try:
        return replace(settings, **changes)
    except TypeError as error:
        raise ConfigError(f"settings of a tracker: {error}") from None


@lru_cache(maxsize=8)
def _window(cells: int) -> np.ndarray:
    return hann_window(cells)


def box_at(maps: ArrayMaps, cell: int) -> np.ndarray:
    """The box (4,) float32 that a cell speaks of: centre x, centre y, width, height, as fractions
    of the search region."""
    size, offset = (one.reshape(2, -1)[:, cell] for one in (maps.size, maps.offset))
    return box_of(cell, size, offset, maps.score.shape)


def box_of(cell: int, size: np.ndarray, offset: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The box (4,) float32 of a cell of a grid (rows, columns), from its size and offset (2,)."""
    rows, columns = grid
    row, column = divmod(cell, columns)
    centre = (np.float32([column, row]) + offset) / np.float32([columns, rows])
    return np.concatenate([centre, size]).astype(np.float32)
