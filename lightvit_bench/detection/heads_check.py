"""Heads and data sets of a config that differ in their classes, told before anything is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdet.registry import DATASETS
from mmengine.config import Config

from lightvit_bench.errors import ConfigError

SPLITS = ("train", "val", "test")
# Parts of a model whose num_classes, if they have one, are not the data set's.
OTHERS = ("backbone", "rpn_head", "semantic_head")


def check_heads(cfg: Config) -> None:
    """`ConfigError` if a head of `cfg.model` has more or fewer classes than a data set of `cfg`.

    With fewer a training dies of an index in the middle of a loss, with more it learns, and fails
    at its first test. Data sets whose number of classes cannot be told from the config are left to
    what they say themselves.
    """
    counts = {
        place: count
        for split in SPLITS
        for place, count in class_counts(
            (cfg.get(f"{split}_dataloader") or {}).get("dataset"), f"{split}_dataloader.dataset"
        )
    }
    heads = dict(head_counts(cfg.model, "model"))
    wrong = {
        (head, place): (own, count)
        for head, own in heads.items()
        for place, count in counts.items()
        if own != count
    }
    if not wrong:
        return
    (head, place), (own, count) = next(iter(wrong.items()))
    message = f"{head} is {own}, and {place} has {_classes(count)}."
    if len(set(counts.values())) > 1:
        raise ConfigError(
            message,
            data_sets=[f"{place}: {_classes(count)}" for place, count in counts.items()],
            set="type or metainfo=dict(classes=(...)) of all data sets to the same classes, and "
            "num_classes of the heads to their number",
        )
    raise ConfigError(
        message,
        set="--cfg-options " + " ".join(f"{head}={count}" for head in heads),
        or_set="metainfo=dict(classes=(...)) of the data sets, if theirs are not the wanted ones",
    )


def head_counts(section: Any, path: str) -> Iterator[tuple[str, int]]:
    """The place, dotted, and the value of every `num_classes` of heads below a model's config."""
    entries = section.items() if isinstance(section, Mapping) else enumerate(section)
    for key, value in entries:
        place = f"{path}.{key}"
        if key == "num_classes" and isinstance(value, int):
            yield place, value
        elif isinstance(value, Mapping | list | tuple) and key not in OTHERS:
            yield from head_counts(value, place)


def class_counts(dataset: Any, path: str) -> Iterator[tuple[str, int]]:
    """The place, dotted, and the number of classes of a data set, or of those that it wraps."""
    if not isinstance(dataset, Mapping):
        return
    if "dataset" in dataset:  # RepeatDataset, ClassBalancedDataset, ...
        yield from class_counts(dataset["dataset"], f"{path}.dataset")
    for number, one in enumerate(dataset.get("datasets") or ()):  # ConcatDataset
        yield from class_counts(one, f"{path}.datasets.{number}")
    classes = _names(dataset)
    if isinstance(classes, Sequence) and not isinstance(classes, str) and classes:
        yield path, len(classes)


def _names(dataset: Mapping) -> Any:
    """`metainfo.classes`, a file's lines where it names one; else those of the data set's class."""
    told = dict(dataset.get("metainfo") or {}).get("classes")
    if isinstance(told, str):  # which mmengine reads, a class a line
        return Path(told).read_text().split("\n") if Path(told).is_file() else None
    if told is not None:
        return told
    kind = dataset.get("type")
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    return (getattr(kind, "METAINFO", None) or {}).get("classes")


def _classes(count: int) -> str:
    return f"{count} class" + "es" * (count != 1)
