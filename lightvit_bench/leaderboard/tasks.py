"""The tasks of the leaderboard, and what the figures of each mean."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A figure of a task.

    Attributes:
        key: in a record's `values`, in published rows and in the CSV: "miou".
        title: for people: "mIoU".
        unit: "%", "ms", "frames/s" or "".
        higher: whether more is better.
        decimals: shown.
    """

    key: str
    title: str
    unit: str = "%"
    higher: bool = True
    decimals: int = 1


@dataclass(frozen=True)
class Task:
    """A task: its key, its name, and its metrics, the one that ranks first."""

    key: str
    title: str
    metrics: tuple[Metric, ...]

    @property
    def main(self) -> Metric:
        """The metric that rows are ranked by."""
        return self.metrics[0]

    def metric(self, key: str) -> Metric | None:
        """The metric of that key, None if the task has none."""
        return next((one for one in self.metrics if one.key == key), None)


TASKS: dict[str, Task] = {
    task.key: task
    for task in (
        Task("classification", "Image classification", (Metric("top1", "top-1"),)),
        Task(
            "segmentation",
            "Semantic segmentation",
            (Metric("miou", "mIoU"), Metric("macc", "mAcc"), Metric("aacc", "aAcc")),
        ),
        Task(
            "detection",
            "Object detection",
            (
                Metric("box_ap", "box AP"),
                Metric("mask_ap", "mask AP"),
                Metric("box_ap50", "box AP50"),
                Metric("mask_ap50", "mask AP50"),
            ),
        ),
        Task(
            "tracking",
            "Single-object tracking",
            (
                Metric("auc", "AUC"),
                Metric("precision", "P"),
                Metric("norm_precision", "P_norm"),
                Metric("op50", "OP50"),
                Metric("op75", "OP75"),
            ),
        ),
        # GOT-10k's figures, and TrackingNet's, are other quantities than LaSOT's
        Task(
            "tracking-ao",
            "Single-object tracking by GOT-10k's rules",
            (Metric("ao", "AO"), Metric("sr50", "SR50"), Metric("sr75", "SR75")),
        ),
        Task(
            "tracking-latency",
            "Trackers' time on a CPU",
            (
                Metric("track_ms", "ms a frame", "ms", higher=False),
                Metric("frames_per_second", "frames/s, decoding included", "frames/s"),
                Metric("network_ms", "network", "ms", higher=False),
                Metric("auc", "AUC"),
                Metric("peak_memory_mb", "memory", "MB", higher=False, decimals=0),
            ),
        ),
        Task(
            "detection-speed",
            "Detectors' time on a CPU",
            (
                Metric("model_ms", "ms a step", "ms", higher=False, decimals=0),
                Metric("encoder_ms", "encoder", "ms", higher=False, decimals=0),
            ),
        ),
        Task(
            "pretraining-speed",
            "Pre-training's speed",
            (
                Metric("images_per_second", "images/s", "images/s"),
                Metric("times_as_fast_as_plain", "ratio to a plain one", "", decimals=2),
            ),
        ),
        Task(
            "backbone-speed",
            "Backbones' speed",
            (
                Metric("model_ms", "ms a step", "ms", higher=False),
                Metric("times_as_fast_as_mmseg", "ratio to mmsegmentation's", "", decimals=2),
            ),
        ),
        Task(
            "pairs-speed",
            "Pairs to train trackers on",
            (Metric("pairs_per_second", "pairs/s", "pairs/s", decimals=0),),
        ),
        Task(
            "page-speed",
            "This page's speed",
            (
                Metric("sort_ms", "sorting", "ms", higher=False, decimals=0),
                Metric("filter_ms", "filtering", "ms", higher=False, decimals=0),
                Metric("search_ms", "searching", "ms", higher=False, decimals=0),
                Metric("details_ms", "a row's details", "ms", higher=False, decimals=0),
                Metric("load_ms", "loading", "ms", higher=False, decimals=0),
            ),
        ),
        Task(
            "tracking-soak",
            "Trackers over many frames",
            (
                Metric("update_ms", "ms a frame", "ms", higher=False),
                Metric("memory_mb_at_the_end", "memory at the end", "MB", higher=False, decimals=0),
            ),
        ),
    )
}
