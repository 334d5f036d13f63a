"""Exported trackers over a data set: what tools/test.py runs of a NAME.xml or NAME.onnx.

No PyTorch here: the processes that track import this alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.tracking.answers import Region, Settings, with_settings
from lightvit_bench.tracking.runtimes.load import RUNTIMES, load_model
from lightvit_bench.tracking.watching.follow import AnyTracker, warm_up

_CROPS = ("template_size", "search_size", "template_factor", "search_factor")


@dataclass(frozen=True)
class TestedFile:
    """An exported tracker to run.

    Attributes:
        identity: what of it must be the same for results to lie in one folder.
        precision: that is computed in, and was asked for; None: as the file says.
    """

    __test__ = False  # a name for people; pytest takes it for a test's

    file: Path
    settings: Settings
    identity: dict[str, Any]
    precision: str | None

    def prepare(self) -> None:
        """The file is there."""

    def starter(self, threads: int) -> partial[AnyTracker]:
        """What gives the tracker in a process of its own; it can be pickled."""
        return partial(start_exported, self.file, self.settings, threads, self.precision)


def is_exported(path: Path) -> bool:
    """Whether a file's name is that of an exported tracker."""
    return path.suffix in {one.suffix for name, one in RUNTIMES.items() if name != "torch"}


def exported_of(
    spec: Region, config: str, file: Path, changed: dict, precision: str | None, device: str
) -> TestedFile:
    """An exported tracker, which has to cut out what the config's does.

    Args:
        spec: of the config's network. changed: settings in place of the file's own.

    Raises:
        CheckpointError: it is missing, damaged, or of other crops. ConfigError: not for a CPU.
        MissingDataError: its runtime is not installed.
    """
    if device != "cpu":
        raise ConfigError(
            f"--device {device} is not for exported trackers: their runtimes compute on the CPU.",
            file=str(file),
        )
    model = load_model(file, threads=1, precision=precision)
    about = model.spec
    differ = [name for name in _CROPS if getattr(about, name) != getattr(spec, name)]
    if differ:
        raise CheckpointError(
            "the exported tracker is of another network than the config's.",
            file=str(file),
            differs=[
                f"{name}: {getattr(about, name)} in the file, {getattr(spec, name)} in {config}"
                for name in differ
            ],
            set="--cfg-options model.network.NAME=...",
        )
    settings = with_settings(model.settings, **changed)
    identity = dict(
        # The file holds the digest of its weights, which may lie beside it.
        checkpoint=hashlib.sha256(file.read_bytes()).hexdigest(),
        network={name: getattr(about, name) for name in _CROPS},
        source=about.source,
        runtime=f"{model.runtime} {model.version}",
        precision=model.precision,
    )
    return TestedFile(file, settings, identity, precision)


def start_exported(
    file: Path, settings: Settings, threads: int, precision: str | None
) -> AnyTracker:
    """The tracker of an exported file that computes with so many threads, warm."""
    import cv2

    from lightvit_bench.tracking.tracker import Tracker

    cv2.setNumThreads(threads)
    tracker = Tracker(load_model(file, threads=threads, precision=precision), settings)
    warm_up(tracker)
    return tracker
