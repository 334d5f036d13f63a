"""mmdetection's data set of COCO's format, checked file by file before a run starts.

What mmdet's own leaves to chance is decided here: an image that holds only crowds has no object to
learn from, boxes lie inside their image, a class is the category of its name whatever the order of
the file, and a mask that no decoder can make sense of stops the run with the object's number.
"""

from __future__ import annotations

import os.path as osp
import sys
from collections.abc import Iterable, Iterator

from mmdet.datasets import CocoDataset
from mmengine.dist import barrier, get_rank
from mmengine.registry import DATASETS

from lightvit_bench.data.coco_check import (
    Instances,
    check_instances,
    no_collection,
    read_instances,
)
from lightvit_bench.data.coco_images import ImagesReport, scan_images
from lightvit_bench.data.demo_coco import CLASSES as DEMO_CLASSES
from lightvit_bench.data.demo_coco import PALETTE as DEMO_PALETTE
from lightvit_bench.data.roots import resolve_root
from lightvit_bench.errors import BadDataError, ConfigError, near_matches
from lightvit_bench.openmmlab.replay import Replayable


class CheckedCoco(Replayable, CocoDataset):
    """Images and one annotation file in COCO's format, all of it checked before use.

    Args:
        data_root: `data/...` is looked for below $LIGHTVIT_DATA where that is set.
        ann_file: absolute, or relative to `data_root`.
        data_prefix: `img`, the folder of the images.
        skip_corrupt: leave out images that are missing or cannot be decoded, and say so, instead
            of stopping.
        metainfo: `classes` by the file's names, and maybe a `palette` of as many colours.

    The others are mmdet's. Label k is class k of the config; `cat_ids[k]` its id in the file.

    Raises:
        MissingDataError, BadDataError: see `lightvit_bench.data.coco_check` and `coco_images`; or
            no image is left.
        ConfigError: classes that are not the file's, or arguments that contradict themselves.
    """

    name = "the data set"

    def __init__(self, *, data_root: str = "", skip_corrupt: bool = False, **kwargs):
        self.skip_corrupt = skip_corrupt
        if kwargs.get("backend_args"):
            raise ConfigError(
                f"{self.name} reads files of this machine, backend_args has no meaning for it.",
                do="leave backend_args out",
            )
        root = str(resolve_root(data_root)) if data_root else ""
        super().__init__(data_root=root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """mmdet's list of samples, from annotations and images that were found to be good."""
        classes = self._checked_classes()
        for value, knob in ((self.ann_file, "ann_file"), (self.data_prefix.get("img"), "img")):
            if not value:
                knob = "data_prefix=dict(img=...)" if knob == "img" else "ann_file=..."
                raise ConfigError(
                    f"{self.name} needs to know where its files are.",
                    set=f"{knob} in the config",
                    layout="docs/datasets.md#coco",
                )
        with no_collection():
            content = read_instances(self.ann_file, self.name)
            found = check_instances(
                content,
                self.ann_file,
                classes=classes,
                masks=_wants_masks(self.pipeline.transforms),
                evaluated=self.test_mode,
            )
            found.require_clean()
            rows = self._good_images(found)
            self._tell(f"{osp.basename(self.ann_file)}: {line}" for line in found.notices)
            self.cat_ids = found.category_ids
            self.cat2label = {number: label for label, number in enumerate(self.cat_ids)}
            return self._samples(found, rows)

    def filter_data(self) -> list[dict]:
        """Of a training set, the images that `filter_cfg` leaves: filter_empty_gt, min_size.

        With filter_empty_gt those without an object that counts, crowds aside, go; mmdet keeps an
        image with crowds only. Of a test set none goes.
        """
        samples, wanted = self.data_list, self.filter_cfg or {}
        unknown = sorted(set(wanted) - {"filter_empty_gt", "min_size"})
        if unknown:
            raise ConfigError(
                f"filter_cfg of {self.name} has no {unknown[0]!r}.",
                known="filter_empty_gt, min_size",
                did_you_mean=near_matches(unknown[0], ("filter_empty_gt", "min_size"))[0],
            )
        if self.test_mode:
            kept = samples
        else:
            least, with_object = wanted.get("min_size", 0), wanted.get("filter_empty_gt", False)
            kept = [
                sample
                for sample in samples
                if min(sample["height"], sample["width"]) >= least
                and not (with_object and all(i["ignore_flag"] for i in sample["instances"]))
            ]
        if not kept:
            raise BadDataError(
                f"{self.name}: no image is left to use of {len(samples):,}.",
                file=self.ann_file,
                filter_cfg=str(self.filter_cfg),
                hint="with filter_empty_gt only images with an object of the config's classes, "
                "of a pixel or more and no crowd, are used; boxes are in pixels, not 0 to 1",
            )
        return kept

    def _checked_classes(self) -> tuple[str, ...]:
        """The config's classes; COCO's own palette is cut to them, or dropped if too short."""
        classes, palette = self._metainfo.get("classes"), self._metainfo.get("palette")
        example = "metainfo=dict(classes=('cat', 'dog'), palette=[(220, 20, 60), (0, 0, 142)])"
        if isinstance(classes, str) or not classes:
            raise ConfigError(
                f"The classes of {self.name} are {classes!r}, not a sequence of names.",
                set=f"{example}; one class alone is written ('cat',)",
            )
        twice = sorted({name for name in classes if list(classes).count(name) > 1})
        if twice:
            raise ConfigError(f"A class of {self.name} is named twice: {twice[0]!r}.", set=example)
        own = palette is not None and palette != self.METAINFO.get("palette")
        if isinstance(palette, list | tuple) and len(palette) != len(classes):
            if own:
                raise ConfigError(
                    f"{self.name} has {len(classes)} classes and {len(palette)} colours.",
                    set=example,
                )
            if len(palette) > len(classes):
                self._metainfo["palette"] = palette[: len(classes)]
            else:
                del self._metainfo["palette"]  # overlays then make colours, one a class
        self._metainfo["classes"] = tuple(classes)
        return tuple(classes)

    def _good_images(self, found: Instances) -> list[int]:
        """The rows of the images that are there and sound."""
        if not found.images:
            raise BadDataError(f"{self.name} names no image.", file=self.ann_file)
        report = self._scan_once(found)
        rows = report.require_clean(self.name, skip_corrupt=self.skip_corrupt)
        if report.skipped:
            line = (
                f"{len(report.skipped):,} of {len(found.images):,} images left out (skip_corrupt)"
            )
            if self.test_mode:
                objects = found.by_image()
                lost = sum(len(objects[problem.row]) for problem in report.skipped)
                line += (
                    f"; CocoAP scores the others alone, mmdet's CocoMetric counts their {lost:,} "
                    "objects as missed"
                )
            self._tell([line])
            self._tell([f"  {line}" for line in report.named(report.skipped)], title=False)
        return rows

    def _scan_once(self, found: Instances) -> ImagesReport:
        """Scan on the first process; the others then read its cached result."""

        def check(progress: bool = False) -> ImagesReport:
            return scan_images(
                [osp.join(self.data_prefix["img"], image["file_name"]) for image in found.images],
                [(image["height"], image["width"]) for image in found.images],
                turned=turns_images(self.pipeline.transforms),
                progress=progress,
            )

        if get_rank() != 0:
            barrier()
            return check()
        try:
            return check(progress=True)
        finally:
            barrier()  # also after an error: the others wait

    def _samples(self, found: Instances, rows: list[int]) -> list[dict]:
        """What mmdet's LoadImageFromFile and LoadAnnotations take, one an image."""
        with_masks = _wants_masks(self.pipeline.transforms) is not False
        boxes, labels, crowd = found.boxes.tolist(), found.label.tolist(), found.crowd.tolist()
        objects, samples = found.by_image(), []
        for row in rows:
            image = {**found.images[row], "img_id": found.images[row]["id"]}
            sample = self.parse_data_info(dict(raw_img_info=image, raw_ann_info=[]))
            for at in objects[row].tolist():
                instance = dict(bbox=boxes[at], bbox_label=labels[at], ignore_flag=int(crowd[at]))
                mask = found.annotations[at].get("segmentation")
                if with_masks and mask:
                    instance["mask"] = mask
                sample["instances"].append(instance)
            samples.append(sample)
        return samples

    def _tell(self, lines: Iterable[str], *, title: bool = True) -> None:
        """Say on standard error, which no log level silences, what is left out."""
        if get_rank() == 0:
            for line in lines:
                print(f"{self.name}: {line}" if title else line, file=sys.stderr)


def _steps(transforms: list) -> Iterator[object]:
    """All transforms of a pipeline, those inside of others too."""
    for step in transforms:
        yield step
        inner = getattr(step, "transforms", None)
        inner = getattr(inner, "transforms", inner)  # a Compose in its place
        if isinstance(inner, list | tuple):
            flat = [one for some in inner for one in (some if isinstance(some, list) else [some])]
            yield from _steps(flat)


def _wants_masks(transforms: list) -> bool | None:
    """Whether the pipeline loads masks; None where it loads no annotations at all."""
    asked = [step.with_mask for step in _steps(transforms) if hasattr(step, "with_mask")]
    return any(asked) if asked else None


def turns_images(transforms: list) -> bool:
    """Whether images are loaded as their EXIF orientation has them, as OpenCV does if not told."""
    asked = [step.color_type for step in _steps(transforms) if hasattr(step, "color_type")]
    return not any("ignore_orientation" in str(kind) or kind == "unchanged" for kind in asked)


@DATASETS.register_module()
class COCO(CheckedCoco):
    """COCO 2017: 80 classes. Other data in its format by `metainfo`, with their classes."""

    name = "COCO"


@DATASETS.register_module()
class DemoCOCO(CheckedCoco):
    """Generated demo data in COCO's layout (`lightvit_bench.data.demo_coco`)."""

    name = "the demo data"
    METAINFO = dict(classes=DEMO_CLASSES, palette=DEMO_PALETTE)
