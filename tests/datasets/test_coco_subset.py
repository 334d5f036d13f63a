"""A few images as a data set to train and to test on."""

import json
import subprocess
import sys

import pytest

from lightvit_bench.data.coco_subset import write_subset
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError


def arguments(demo_coco):
    return demo_coco / "annotations/instances_train2017.json", demo_coco / "train2017"


def read(path):
    return json.loads(path.read_text())


def test_the_first_images_with_objects_in_both_splits(demo_coco, tmp_path):
    subset = write_subset(*arguments(demo_coco), tmp_path / "out", images=3)
    train, val = (
        read(tmp_path / f"out/annotations/instances_{split}2017.json") for split in ("train", "val")
    )
    assert train == val
    assert [image["id"] for image in train["images"]] == [1, 3, 4]  # the second has no object
    whole = read(demo_coco / "annotations/instances_train2017.json")
    kept = [one for one in whole["annotations"] if one["image_id"] in (1, 3, 4)]
    assert train["annotations"] == kept and train["categories"] == whole["categories"]
    assert (subset.images, subset.objects) == (3, len(kept))
    assert subset.classes == len({one["category_id"] for one in kept})
    for split in ("train", "val"):
        for image in train["images"]:
            assert (tmp_path / "out" / f"{split}2017" / image["file_name"]).is_file()


def test_images_with_a_smaller_object_are_passed_over(demo_coco, tmp_path):
    whole = read(demo_coco / "annotations/instances_train2017.json")
    smallest = {}
    for one in whole["annotations"]:
        key = one["image_id"]
        smallest[key] = min(one["area"], smallest.get(key, 1e9))
    limit = sorted(smallest.values())[-2]  # two images reach it
    write_subset(*arguments(demo_coco), tmp_path / "out", images=2, least_area=limit)
    taken = read(tmp_path / "out/annotations/instances_val2017.json")["images"]
    assert {image["id"] for image in taken} == {k for k, v in smallest.items() if v >= limit}
    with pytest.raises(BadDataError, match="2 images have"):
        write_subset(*arguments(demo_coco), tmp_path / "more", images=3, least_area=limit)
    assert not (tmp_path / "more").exists()


def test_refusals(demo_coco, tmp_path):
    file, folder = arguments(demo_coco)
    with pytest.raises(ConfigError, match="there already"):
        write_subset(file, folder, tmp_path)
    with pytest.raises(MissingDataError, match="folder"):
        write_subset(file, tmp_path / "no", tmp_path / "out")
    with pytest.raises(ConfigError, match="none"):
        write_subset(file, folder, tmp_path / "out", images=0)


def test_the_tool(demo_coco, repo, tmp_path):
    file, folder = arguments(demo_coco)
    command = [sys.executable, repo / "tools/subset_coco.py", file, folder, tmp_path / "out"]
    done = subprocess.run([*command, "--images", "2"], capture_output=True, text=True, cwd=repo)
    assert done.returncode == 0, done.stderr
    assert "2 images," in done.stdout
    done = subprocess.run(command, capture_output=True, text=True, cwd=repo)
    assert done.returncode == 2 and "there already" in done.stderr
