"""Records of detection: damaged results are told by their number, and coverage has to follow."""

import json

import pytest
from claims import claimed, with_options

from lightvit_bench.bench.record import measured_record, write_record
from lightvit_bench.errors import BadDataError
from lightvit_bench.metrics.coco import find_engine, truth_of
from lightvit_bench.verification import verify_record
from lightvit_bench.verification.keeping import from_ranges, stored_coco
from lightvit_bench.verification.objects import FIGURES
from lightvit_bench.verification.protocols import object_protocol

SIZE = [40, 50]


def mask_of(x, y, w, h):
    import numpy as np
    from pycocotools import mask

    pixels = np.zeros(SIZE, np.uint8, order="F")
    pixels[y : y + h, x : x + w] = 1
    packed = mask.encode(pixels)
    return {"size": SIZE, "counts": packed["counts"].decode()}


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """Annotations of three pictures, results that are all right, and a record of both."""
    home = tmp_path_factory.mktemp("coco")
    images = [
        dict(id=10 + n, file_name=f"{n:03d}.jpg", height=SIZE[0], width=SIZE[1]) for n in range(3)
    ]
    objects, results = [], []
    for number, image in enumerate(images):
        box = [5 + number, 6, 12, 10]
        shared = dict(image_id=image["id"], category_id=1 + number % 2, bbox=box)
        x, y, w, h = box
        polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        objects.append(dict(id=number + 1, area=120, iscrowd=0, segmentation=polygon, **shared))
        results.append(dict(shared, score=0.9, segmentation=mask_of(*box)))
    content = dict(
        images=images, annotations=objects, categories=[dict(id=i, name=f"c{i}") for i in (1, 2)]
    )
    (home / "truth.json").write_text(json.dumps(content))
    (home / "results.json").write_text(json.dumps(results))
    return home, record_of(home), results


def record_of(home, evaluated=3, **changes):
    names = [f"{n:03d}" for n in range(3)]
    values = {f"{kind}_{name}": 100.0 for kind in ("box", "mask") for name in FIGURES}
    values |= {
        f"{kind}_ap_{size}": None for kind in ("box", "mask") for size in ("medium", "large")
    }
    options = {"images": "0-1"} if evaluated == 2 else {}
    fields = dict(
        dataset="COCO",
        split="truth",
        protocol=object_protocol("COCO", "truth.json", names, (1, 2), (1, 2)),
        expected=3,
        evaluated=evaluated,
        predictions=stored_coco(home / "results.json", home / "results.json", **options),
        truth=stored_coco(home / "truth.json", home / "truth.json"),
    )
    record = measured_record("detection", "x", values, **{**fields, **changes})
    return write_record(record, home / f"records-{evaluated}-{len(list(home.iterdir()))}")


def places(home):
    return dict(predictions=home / "results.json", truth=home / "truth.json")


def problems(path, home):
    found = verify_record(path, **places(home))
    assert not found.ok and found.lines()[-1] == "NOT verified"
    return " ".join(found.problems)


def test_what_is_right_is_verified(coco):
    home, path, _ = coco
    found = verify_record(path, **places(home))
    assert found.ok and len(found.checks) == 12, found.lines()


def test_coverage_and_protocol_have_to_follow(coco):
    home, path, _ = coco
    assert "3 are judged" in problems(claimed(path, evaluated=2), home)
    assert "is of 3, and the record says that 5000" in problems(claimed(path, expected=5000), home)
    for changes in (
        dict(protocol="coco-val2017@coco-ap"),
        dict(protocol="coco-3-images-x@coco-ap"),
    ):
        assert "does not follow" in problems(claimed(path, **changes), home)
    part = with_options(path, "predictions", categories="1")
    assert "does not follow" in problems(part, home)


def test_a_figure_that_the_files_do_not_give_is_left_out(coco):
    """mask_ap50 is recorded, and there is no mask_ap that says masks were scored."""
    home, path, _ = coco
    boxes = {f"box_{name}": 100.0 for name in FIGURES}
    boxes |= {"box_ap_medium": None, "box_ap_large": None}
    assert verify_record(claimed(path, values=boxes), **places(home)).ok
    said = problems(claimed(path, values={**boxes, "mask_ap50": 99.0}), home)
    assert "give no mask_ap50, of which the record has a value" in said


@pytest.mark.parametrize(
    ("change", "because"),
    [
        (dict(image_id=[1]), "image_id [1] is of no image"),
        (dict(image_id=True), "image_id True is of no image"),
        (dict(image_id=10**30), "image_id"),
        (dict(category_id=[1]), "category_id [1] is no category"),
        (dict(category_id=10**30), "category_id"),
        (dict(bbox="abc"), "bbox abc is not x, y, width, height"),
        (dict(bbox=[1, 2]), "bbox [1, 2] is not"),
        (dict(bbox=None), "bbox None is not"),
        (dict(bbox=[1, 2, float("nan"), 3]), "bbox [1, 2, nan, 3]"),
        (dict(bbox=[1, 2, 10**400, 3]), "bbox"),
        (dict(score="x"), "score x is no finite number"),
        (dict(score=float("nan")), "score nan is no finite number"),
        (dict(mask_score=None), "mask_score None is no finite number"),
        (dict(segmentation="x"), "segmentation x is no packed run lengths"),
        (dict(segmentation=[[1, 2, 3, 4, 5, 6]]), "is no packed run lengths"),
        (dict(segmentation={"size": SIZE, "counts": "zz~"}), "segmentation: its"),
        (dict(segmentation={"size": [1, 2], "counts": "1"}), "run lengths of size"),
    ],
)
def test_a_damaged_result_is_told_by_its_number(coco, change, because, tmp_path):
    home, path, results = coco
    file = tmp_path / "damaged.json"
    file.write_text(json.dumps([results[0], {**results[1], **change}, results[2]]))
    found = verify_record(path, predictions=file, truth=home / "truth.json")
    (said,) = [one for one in found.problems if "no score can be computed" in one]
    assert because in said and "damaged.json" in said and "result:  2" in said
    assert not found.ok


def test_damaged_annotations_are_told(coco, tmp_path):
    home, path, _ = coco
    content = json.loads((home / "truth.json").read_text())
    for change, because in (
        (dict(images=[3]), "number 1 of its images has no whole id"),
        (dict(categories=[{"name": "c1"}]), "number 1 of its categories has no whole id"),
        (dict(annotations={}), "its annotations are no list"),
        (dict(annotations=[{**content["annotations"][0], "image_id": []}]), "image_id and"),
        (dict(annotations=[{**content["annotations"][0], "segmentation": "x"}]), "scored against"),
    ):
        file = tmp_path / "truth.json"
        file.write_text(json.dumps({**content, **change}))
        found = verify_record(path, predictions=home / "results.json", truth=file)
        assert because in " ".join(found.problems) and not found.ok


@pytest.mark.parametrize("ranges", ["0-9", "x", "-1", "1-0", "0 0", "0-" + "9" * 30, "5"])
def test_odd_ranges_are_refused(coco, ranges):
    home, path, _ = coco
    assert "no score can be computed" in problems(
        with_options(path, "predictions", images=ranges), home
    )


def test_ranges_hold_no_more_than_fits():
    with pytest.raises(ValueError, match="at most"):
        from_ranges("0-10000000")
    assert from_ranges("0-2 7") == [0, 1, 2, 7]


def test_options_of_coco_are_checked(coco):
    home, path, _ = coco
    with pytest.raises(BadDataError) as error:
        verify_record(with_options(path, "predictions", images=3), **places(home))
    assert error.value.details["field"] == ["predictions.options.images"]


def test_cocos_standard_id_is_of_all_its_categories():
    every = [i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
    names = [f"{n:012d}" for n in range(5000)]

    def of(title="COCO", file="instances_val2017.json", images=names, scored=every, known=every):
        return object_protocol(title, file, images, scored, known)

    assert len(every) == 80 and of() == "coco-val2017@coco-ap"
    others = [
        of(scored=every[:2]),
        of(scored=every[2:4]),
        of(known=[*every, 91]),
        of(images=names[:-1]),
        of(images=names[:9]),
        of(images=names[:9], scored=every[:2]),
        of(file="mine.json"),
        of(title="DemoCOCO", scored=every[:3]),
    ]
    assert len(set(others)) == len(others) - 1  # [2] and [6] are the same pictures and categories
    assert others[2] == others[6] and others[0].startswith("coco-val2017-2-categories-")
    assert all("coco-val2017@" not in one for one in others)


def test_a_truth_without_ids_is_refused_before_it_is_scored():
    engine = find_engine("auto")
    for key in ("images", "categories", "annotations"):
        content = {"images": [], "categories": [], "annotations": [], key: [{"id": "x"}]}
        with pytest.raises(BadDataError, match=f"here is not .* number 1 of its {key}"):
            truth_of(content, "here", engine, masks=False)
