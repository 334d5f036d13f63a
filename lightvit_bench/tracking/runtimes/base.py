"""What the runtimes of exported trackers share: shapes, threads, and the box from the outputs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.tracking.answers import Answer, box_of
from lightvit_bench.tracking.checks import check_whole
from lightvit_bench.tracking.runtimes.exported import Exported

INPUTS = ("template", "search", "box_wh")
OUTPUTS = ("cell", "score", "size", "offset")
MOST_THREADS = 4  # of the default; more gain nothing on so small a network


def usable_threads() -> int:
    """CPU threads used by default: one a core that this process may run on, four at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, MOST_THREADS))


def checked_threads(threads: int | None) -> int:
    """A number of threads, the default for None."""
    if threads is None:
        return usable_threads()
    check_whole("threads", threads, 1, 1024)
    return threads


def is_input(given: np.ndarray, own: np.ndarray) -> bool:
    """Whether an array is a network's own input, as a whole, and need not be copied there."""
    first = 0 if len(own) > 1 else 1  # of a single entry, numpy may say any stride
    return given.ctypes.data == own.ctypes.data and given.strides[first:] == own.strides[first:]


class ExportedModel:
    """A `tracker.Model` of an exported file. A subclass computes `_embed` and `_run`.

    Attributes:
        spec: the file's `Exported`; settings: its settings.
        runtime, version, precision, threads: what computes, and how.
        buffer: (S, S, 3) uint8, the network's own input for one target.
        batches: how many targets are worth computing at once, largest first.
    """

    runtime = ""
    version = ""
    batches: tuple[int, ...] = (1,)

    def __init__(self, about: Exported, threads: int, precision: str):
        self.spec, self.settings = about, about.settings
        self.threads, self.precision = threads, precision

    @property
    def name(self) -> str:
        """As "OpenVINO 2026.4.1, bf16, 2 threads"."""
        threads = f"{self.threads} thread" + "s" * (self.threads > 1)
        return f"{self.runtime} {self.version}, {self.precision}, {threads}"

    @property
    def buffer(self) -> np.ndarray:
        return self.regions(1)[0]

    def regions(self, targets: int) -> np.ndarray:
        """The network's input for a number of targets, (N, S, S, 3) uint8: cut regions into it."""
        raise NotImplementedError

    def embed(self, template: np.ndarray) -> np.ndarray:
        """The template's tokens (1, Lz, D) float32, as they enter the first block."""
        side = self.spec.template_size
        if template.shape != (side, side, 3) or template.dtype != np.uint8:
            raise BadDataError(
                f"a template is ({side}, {side}, 3) uint8, not {template.shape} {template.dtype}."
            )
        return self._embed(np.ascontiguousarray(template)[None])

    def find(self, embedded: Any, search: np.ndarray, box_wh: tuple[float, float]) -> Answer:
        """Where the target is in a search region: see `answers.Model`."""
        return self.find_all([embedded], search[None], [box_wh])[0]

    def find_all(
        self,
        embedded: Sequence[np.ndarray],
        searches: np.ndarray,
        boxes_wh: Sequence[tuple[float, float]],
    ) -> list[Answer]:
        """`find` for several targets in one batch: searches (N, S, S, 3) uint8.

        `searches` may be `regions(N)` itself, which is then not copied.

        Raises:
            ConfigError: the file was exported for another number of targets.
        """
        count, side = len(embedded), self.spec.search_size
        if searches.shape != (count, side, side, 3) or searches.dtype != np.uint8:
            raise BadDataError(
                f"search regions are ({count}, {side}, {side}, 3) uint8, not {searches.shape} "
                f"{searches.dtype}."
            )
        cell, score, size, offset = self._run(embedded, searches, boxes_wh)
        grid = (self.spec.grid, self.spec.grid)
        return [
            Answer(box_of(int(cell[i]), size[i], offset[i], grid), float(score[i]))
            for i in range(count)
        ]

    def can_batch(self, targets: int) -> bool:
        """Whether `find_all` takes this number of targets."""
        return self.spec.batch in (0, targets)

    def _check_batch(self, targets: int) -> None:
        if not self.can_batch(targets):
            raise ConfigError(
                f"the tracker was exported for {self.spec.batch} target"
                + "s" * (self.spec.batch > 1)
                + f" at once, not {targets}.",
                do="export it with --batch any",
            )

    def _embed(self, image: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _run(
        self, embedded: Sequence[np.ndarray], searches: np.ndarray, boxes_wh: Sequence
    ) -> tuple[np.ndarray, ...]:
        raise NotImplementedError
