"""The pairs that configs name, and how well the boxes of held-out ones are found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import DATASETS, METRICS
from torch.utils.data import Dataset

from lightvit_bench.data.coco_stills import coco_cutouts
from lightvit_bench.data.roots import resolve_root
from lightvit_bench.data.tracking_sets import open_set
from lightvit_bench.errors import ConfigError
from lightvit_bench.tracking.synthetic.pairs import SyntheticPairs
from lightvit_bench.tracking.training.pairs import TrackingPairs


class _Pairs(Dataset):
    """What mmengine asks of a data set, around one that gives pairs.

    Pairs are built once, before the loader's workers are forked, which then share their memory;
    with `mp_start_method="spawn"` each would get a copy.
    """

    metainfo: dict = {}

    def __init__(self, pairs: TrackingPairs | SyntheticPairs):
        self.pairs = pairs

    def full_init(self) -> None:
        """Nothing is left to be done; mmengine asks."""

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, draw: int) -> dict:
        cv2.setNumThreads(0)  # the worker is one of several
        sample = self.pairs[draw]
        return {**sample, "present": np.bool_(sample["present"])}


@DATASETS.register_module()
class VideoPairs(_Pairs):
    """Pairs of frames from annotated videos and stills (`TrackingPairs`).

    Args:
        sets: for each data set `name` (see `data.tracking_sets`), `root` below `data_root`,
            `split`, `ratio` (0: the set is left out, and need not be there), and what its reader
            takes beside.
        samples_per_epoch: what `len` says; the lengths in `train_cfg` are made of it
            (`prepare.settle_epochs`).
        data_root: folder that the sets' own are in; `data` may lie elsewhere (`LIGHTVIT_DATA`).
        check: of each set, so many annotations are read at start-up, evenly spread; all of a set
            that has no more.
        pairs: of `TrackingPairs`.

    Raises:
        ConfigError: no set, or a ratio, name, split or option that there is not.
        MissingDataError: a set is not there.
        BadDataError: a set is damaged, or an annotation or first frame that is looked at.
    """

    def __init__(
        self,
        sets: Sequence[dict],
        samples_per_epoch: int,
        data_root: str = "data",
        check: int = 1500,
        skip_corrupt: bool | None = None,
        **pairs,
    ):
        _refuse_skipping(skip_corrupt, "unreadable=10   (frames that are replaced)")
        opened = []
        for number, one in enumerate(map(dict, sets)):
            if "name" not in one:
                raise ConfigError(f"dataset.sets.{number} has no name.", example="name='lasot'")
            ratio, name = _ratio(one.pop("ratio", 1.0), number), one.pop("name")
            root = resolve_root(Path(data_root) / one.pop("root", name))
            if ratio == 0:
                print_log(f"{name}: left out, ratio 0", "current")
                continue
            sequences = open_set(name, root, one.pop("split", None), **one)
            print_log(f"{name}: {len(sequences):,} sequences in {root}, ratio {ratio:g}", "current")
            if is_main_process():  # the others' would be the same
                look_into(name, sequences, check)
            opened.append((sequences, ratio))
        if not opened:
            raise ConfigError(
                "there is no data set to draw pairs from.",
                set="dataset.sets to one or more with a ratio above 0",
            )
        super().__init__(TrackingPairs(opened, samples_per_epoch, **pairs))


def _ratio(value: object, number: int) -> float:
    """A ratio of a config's set, checked before a data set is looked for."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        value = math.nan
    if not 0 <= value < math.inf:
        raise ConfigError(
            f"dataset.sets.{number}.ratio is no number from 0 up.",
            set="ratios of any sum; 0 leaves a set out",
        )
    return value


def look_into(name: str, sequences: Sequence, most: int) -> None:
    """Read annotations of a set, and a frame: `BadDataError` now and not in the tenth hour.

    LaSOT's and GOT-10k's validation are read whole, in some seconds; the tens of thousands of
    others would take minutes, and what is wrong with a copy mostly shows in many places.
    """
    count = min(most, len(sequences))
    if count < 1:
        return
    print_log(f"{name}: reading {count:,} of {len(sequences):,} annotations", "current")
    for number in np.linspace(0, len(sequences) - 1, count).round().astype(int).tolist():
        sequence = sequences[number]
        sequence.annotation  # noqa: B018  (reading is all that is wanted)
    sequence.frames[0]


@DATASETS.register_module()
class StillPairs(_Pairs):
    """Pairs made of still photographs (`SyntheticPairs`).

    Args:
        photos: folder below `data_root` of photographs.
        coco: folder below it in COCO's layout, None for none; its `splits` are used.
        data_root: folder that the others are in.
        pairs: of `SyntheticPairs`.
    """

    def __init__(
        self,
        photos: str,
        coco: str | None = None,
        splits: Sequence[str] = ("train",),
        data_root: str = "data",
        skip_corrupt: bool | None = None,
        **pairs,
    ):
        _refuse_skipping(skip_corrupt, "photos to a folder of readable pictures")
        cutouts = []
        for split in splits if coco is not None else ():
            cutouts += coco_cutouts(resolve_root(Path(data_root) / coco), split)
        super().__init__(SyntheticPairs(cutouts, resolve_root(Path(data_root) / photos), **pairs))


def _refuse_skipping(skip_corrupt: bool | None, instead: str) -> None:
    if skip_corrupt:
        raise ConfigError("skip_corrupt is not for pairs of a tracker.", set=f"dataset.{instead}")


@METRICS.register_module()
class PairIoU(BaseMetric):
    """Boxes found in held-out pairs.

    `IoU`: mean overlap in per cent, of the pairs that show the target, and `score`, their mean
    highest score. `score_absent`: the same of pairs that do not show it. Those of no pair are left
    out.
    """

    default_prefix = ""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Collect what the model predicts."""
        self.results.extend(data_samples)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The means."""
        there = [one for one in results if one["present"]]
        gone = [one["score"] for one in results if not one["present"]]
        metrics = {}
        if there:
            metrics["IoU"] = 100 * float(np.mean([one["iou"] for one in there]))
            metrics["score"] = float(np.mean([one["score"] for one in there]))
        if gone:
            metrics["score_absent"] = float(np.mean(gone))
        return metrics
