"""mmsegmentation's data sets, checked file by file before a run starts.

A mask without its image or a truncated JPEG is reported at start-up with its name, not as a crash
(or a silent grey area: OpenCV decodes truncated JPEGs) thousands of iterations later.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from mmengine.dist import barrier, get_rank
from mmengine.registry import DATASETS
from mmseg.datasets import ADE20KDataset, BaseSegDataset

from lightvit_bench.data.demo_ade import CLASSES as DEMO_CLASSES
from lightvit_bench.data.demo_ade import PALETTE as DEMO_PALETTE
from lightvit_bench.data.roots import resolve_root
from lightvit_bench.data.seg_folder import ScanReport, find_pairs, scan
from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.openmmlab.replay import Replayable


class CheckedSegmentation(Replayable, BaseSegDataset):
    """Images and masks of equal name in two folders, every file decoded once before use.

    Args:
        data_root: `data/...` is looked for below $LIGHTVIT_DATA where that is set.
        skip_corrupt: leave out files that cannot be decoded, and say so, instead of stopping.

    Raises:
        MissingDataError, BadDataError: see `lightvit_bench.data.seg_folder`; or no image can
            fill the training crop.
        ConfigError: an `ann_file` is given, which would choose among the pairs.
    """

    name = "the data set"
    ignored_ids: tuple[int, ...] = (255,)
    allow_grey = False

    def __init__(self, *, data_root: str, skip_corrupt: bool = False, **kwargs):
        self.skip_corrupt = skip_corrupt
        super().__init__(data_root=str(resolve_root(data_root)), **kwargs)

    def valid_ids(self) -> set[int]:
        """The mask values that mean a class or "ignored", as they stand in the files."""
        first = int(self.reduce_zero_label)
        return {*range(first, first + len(self.METAINFO["classes"])), *self.ignored_ids}

    def load_data_list(self) -> list[dict]:
        """mmsegmentation's list of samples, from pairs of files that were found to be good."""
        if self.ann_file:
            raise ConfigError(
                f"{self.name} takes all pairs of its folders, ann_file={self.ann_file!r} none.",
                do="leave ann_file out; a part of the data goes into folders of its own",
            )
        image_dir, mask_dir = (  # mmengine has joined them to the root
            Path(self.data_prefix[key]).absolute() for key in ("img_path", "seg_map_path")
        )
        pairs = find_pairs(
            self.data_root,
            image_dir,
            mask_dir,
            image_suffix=self.img_suffix,
            mask_suffix=self.seg_map_suffix,
            dataset_name=self.name,
        )
        report = self._scan_once(pairs)
        good = report.require_clean(skip_corrupt=self.skip_corrupt)
        self._tell_skipped(report)
        self._check_crop(report)
        return [
            dict(
                img_path=str(pair.image),
                seg_map_path=str(pair.mask),
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for pair in good
        ]

    def _scan_once(self, pairs: list) -> ScanReport:
        """Scan on the first process; the others then read its cached result."""
        check = partial(scan, pairs, valid_ids=self.valid_ids(), allow_grey=self.allow_grey)
        if get_rank() != 0:
            barrier()
            return check()
        try:
            return check(progress=True)
        finally:
            barrier()  # also after an error: the others wait

    def _tell_skipped(self, report: ScanReport) -> None:
        """Name on standard error, which no log level silences, what is left out and why."""
        if get_rank() == 0 and report.skipped:
            left_out = f"{len(report.skipped)} of {len(report.pairs)} pairs"
            print(f"{self.name}: {left_out} left out (skip_corrupt)", file=sys.stderr)
            for problem in report.problems:
                print(f"  {problem.path}: {problem.kind}, {problem.detail}", file=sys.stderr)

    def _check_crop(self, report: ScanReport) -> None:
        """Refuse a training crop that no image can fill, however the pipeline enlarges it."""
        transforms = self.pipeline.transforms
        at = next((i for i, step in enumerate(transforms) if hasattr(step, "crop_size")), None)
        if at is None:
            return
        crop = transforms[at].crop_size
        resizes = [step for step in transforms[:at] if "Resize" in type(step).__name__]
        height, width = report.largest_hw
        resizes = [step for step in transforms[:at] if "Resize" in type(step).__name__]
        if resizes:
            scale, ratios = (getattr(resizes[0], key, None) for key in ("scale", "ratio_range"))
            if len(resizes) > 1 or not ratios or not isinstance(scale[0], int | float):
                return  # what other ways of resizing make of an image is not known here
            # RandomResize: no long side exceeds the scale's longer one, no short one its shorter
            short, long = sorted(side * max(ratios) for side in scale)
            if report.smallest_hw == report.largest_hw:
                factor = min(long / max(height, width), short / min(height, width))
                height, width = height * factor, width * factor
            else:  # images of several shapes: the crop may lie either way
                height, width = (long, short) if crop[0] >= crop[1] else (short, long)
        if crop[0] > round(height) or crop[1] > round(width):
            raise BadDataError(
                f"the crop {crop[0]} x {crop[1]} is larger than any image of {self.name}.",
                largest=f"{round(height)} x {round(width)} (height x width), after resizing",
                set="crop_size in the config to less, or the scale of RandomResize to more",
            )


@DATASETS.register_module()
class ADE20K(CheckedSegmentation, ADE20KDataset):
    """ADE20K (SceneParse150): 150 classes, mask value 0 is ignored, class k is value k + 1."""

    name = "ADE20K"
    ignored_ids = (0, 255)
    allow_grey = True  # the official training set has a few


@DATASETS.register_module()
class DemoADE(CheckedSegmentation):
    """Generated demo data in ADE20K's layout (`lightvit_bench.data.demo_ade`)."""

    name = "the demo data"
    ignored_ids = (0, 255)
    METAINFO = dict(classes=DEMO_CLASSES, palette=DEMO_PALETTE)

    def __init__(self, **kwargs):
        super().__init__(reduce_zero_label=True, **kwargs)


@DATASETS.register_module()
class CamVid(CheckedSegmentation):
    """CamVid: 11 classes with values 0 to 10, 255 is void."""

    name = "CamVid"
    METAINFO = dict(
        classes=(
            "sky", "building", "pole", "road", "pavement", "tree",
            "sign symbol", "fence", "car", "pedestrian", "bicyclist",
        ),
        palette=[
            [128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222],
            [128, 128, 0], [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0],
            [0, 128, 192],
        ],
    )  # fmt: skip
