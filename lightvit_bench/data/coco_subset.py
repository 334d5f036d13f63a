"""A few images of a data set in COCO's format, as a data set of its own."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from lightvit_bench.data.coco_check import read_instances
from lightvit_bench.data.roots import write_whole
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Subset:
    """How much of a data set was taken; crowds are among the objects."""

    images: int
    objects: int
    classes: int


def write_subset(
    annotations: str | Path,
    images_dir: str | Path,
    out: str | Path,
    *,
    images: int = 20,
    least_area: float = 0.0,
) -> Subset:
    """Write the first `images` images, by id, that have objects, all of `least_area` or more.

    `out` gets COCO's layout with the same images in both splits, so that a model is trained and
    tested on them: annotations/instances_{train,val}2017.json, and links {train,val}2017 to the
    folder of images. All categories stay. `least_area` is in square pixels, as the file has them.

    Raises:
        ConfigError: fewer than one image is asked for, or `out` is there already.
        MissingDataError, BadDataError: the file or the folder is not there, the file cannot be
            read, or it has fewer such images.
    """
    out, folder = Path(out), Path(images_dir)
    if images < 1:
        raise ConfigError(f"{images} images are none.", set="--images to 1 or more")
    if out.exists():
        raise ConfigError(f"{out} is there already.", do="name a folder that is not")
    if not folder.is_dir():
        raise MissingDataError("there is no such folder of images.", looked_for=str(folder))
    content = read_instances(annotations)
    objects = defaultdict(list)
    for one in content["annotations"]:
        objects[one["image_id"]].append(one)
    fit = [
        image
        for image in sorted(content["images"], key=lambda image: image["id"])
        if objects[image["id"]] and all(one["area"] >= least_area for one in objects[image["id"]])
    ]
    if len(fit) < images:
        raise BadDataError(
            f"{len(fit)} images have objects, all of {least_area:g} square pixels or more.",
            file=str(annotations),
            set=f"--images to {len(fit)} or less, or --least-area to less",
        )
    chosen = fit[:images]
    kept = [one for image in chosen for one in objects[image["id"]]]
    text = json.dumps({**content, "images": chosen, "annotations": kept})
    for split in SPLITS:
        write_whole(out / "annotations" / f"instances_{split}2017.json", text)
        (out / f"{split}2017").symlink_to(folder.absolute(), target_is_directory=True)
    return Subset(len(chosen), len(kept), len({one["category_id"] for one in kept}))
