"""Files in COCO's format: every kind of bad input, masks in all forms, images checked once."""

import copy
import gc
import json
from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from lightvit_bench.data import seg_check
from lightvit_bench.data.coco_check import check_instances, no_collection, read_instances
from lightvit_bench.data.coco_images import scan_images
from lightvit_bench.data.coco_masks import mask_problem, unpack_counts
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError

H, W = 48, 64
SQUARE = [[8, 6, 20, 6, 20, 16, 8, 16]]
CLASSES = ("cat", "dog")


def thing(number, image=1, category=7, bbox=(8, 6, 12, 10), mask=SQUARE, **more):
    box = list(bbox) if isinstance(bbox, tuple) else bbox
    return dict(id=number, image_id=image, category_id=category, bbox=box, area=120.0,
                iscrowd=0, segmentation=copy.deepcopy(mask), **more)  # fmt: skip


def content(*things) -> dict:
    return dict(
        images=[dict(id=i, file_name=f"{i}.jpg", height=H, width=W) for i in (1, 2, 3)],
        categories=[dict(id=9, name="dog"), dict(id=7, name="cat"), dict(id=4, name="cow")],
        annotations=list(things) or [thing(1), thing(2, image=3, category=9)],
    )


def check(told: dict, **options):
    return check_instances(told, "some.json", **{"classes": CLASSES, **options})


def only_problem(told: dict, **options) -> str:
    """The one problem, as the error says it."""
    found = check(told, **options)
    assert len(found.problems) == 1, found.problems
    with pytest.raises(BadDataError) as caught:
        found.require_clean()
    kind, detail = found.problems[0]
    assert f"{kind}: {detail}" in str(caught.value) and "some.json" in str(caught.value)
    assert "mend:" in str(caught.value)
    return f"{kind}: {detail}"


# -------------------------------------------------------------------------------- reading the file


def test_missing_file_says_where_and_how(tmp_path):
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco/annotations_trainval2017.zip").write_bytes(b"")
    with pytest.raises(MissingDataError) as caught:
        read_instances(tmp_path / "coco/annotations/instances_train2017.json", "COCO")
    told = str(caught.value)
    assert told.startswith("COCO not found.")
    for part in ("looked for:", "annotations/instances_train2017.json", "LIGHTVIT_DATA=",
                 "--cfg-options data_root=", "docs/datasets.md#coco", "make demo",
                 "annotations_trainval2017.zip", "unpack"):  # fmt: skip
        assert part in told


def test_a_folder_is_no_annotation_file(tmp_path):
    with pytest.raises(MissingDataError, match="not found"):
        read_instances(tmp_path)


@pytest.mark.parametrize(
    "data, why",
    [
        (b"", "empty"),
        (b"images: 3", "are not JSON"),
        (b"\x80\x81PK\x03\x04", "are not JSON(.|\n)*not text"),
        (json.dumps(content()).encode()[:-40], "are cut off"),
        (b'{"images": [], "annot', "are cut off(.|\n)*line 1"),
        (b"[" * 100_000, "JSON"),
        (b'[{"image_id": 1, "score": 0.5}]', "a list of 1, which is what results.json is"),
        (b'"text"', "a str"),
    ],
)
def test_files_that_are_no_json_or_another(tmp_path, data, why):
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(BadDataError, match=why) as caught:
        read_instances(path)
    assert str(path) in str(caught.value)


def test_reading_leaves_the_collector_as_it_was(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content()))
    assert read_instances(path) == content() and gc.isenabled()
    gc.disable()
    try:
        with no_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


# ----------------------------------------------------------------------------- sections and types


def without(table, key):
    def change(told):
        del told[table][0][key]

    return change


def having(table, key, value):
    def change(told):
        told[table][0][key] = value

    return change


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda t: t.pop("images"), "no section 'images'; the file's are: categories, annot"),
        (lambda t: t.pop("annotations"), "no section 'annotations'"),
        (lambda t: t.pop("categories"), "no section 'categories'"),
        (lambda t: t.update(annotations={}), "'annotations' is a dict, not a list"),
        (lambda t: t["images"].insert(1, "x"), "entry 1 of 'images' is a str"),
        (without("images", "id"), "image number 0 .* has no 'id'"),
        (without("images", "width"), "image 1 has no 'width'"),
        (without("images", "file_name"), "image 1 has no 'file_name'"),
        (having("images", "height", "48"), "image 1 has height '48', not an integer"),
        (having("images", "height", 0), "image 1 is 0 x 64 pixels"),
        (having("images", "file_name", 3), "image 1 has file_name 3, not a text"),
        (having("images", "file_name", "a\0.jpg"), "no file can be called"),
        (having("images", "file_name", "\ud800.jpg"), "no file can be called"),
        (having("images", "id", 2), "1 ids are used twice or more in images: 2"),
        (without("categories", "name"), "category 9 has no 'name'"),
        (having("categories", "id", 7), "1 ids are used twice or more in categories: 7"),
        (having("categories", "name", "cat"), "1 names are used twice .* in categories: cat"),
        (without("annotations", "bbox"), "object 1 has no 'bbox', its keys are: id, image_id"),
        (without("annotations", "image_id"), "object 1 has no 'image_id'"),
        (without("annotations", "category_id"), "object 1 has no 'category_id'"),
        (having("annotations", "id", 2), "1 ids are used twice or more in objects: 2"),
        (having("annotations", "id", True), "object True has id True, not an integer"),
        (having("annotations", "id", 2**70), "not an integer"),
        (having("annotations", "image_id", 1.0), "object 1 has image_id 1.0, not an integer"),
        (having("annotations", "category_id", None), "object 1 has category_id None"),
        (having("annotations", "bbox", [1, 2, 3]), "object 1 has bbox .1, 2, 3., not the four"),
        (having("annotations", "bbox", [1, 2, 3, "4"]), "object 1 has bbox"),
        (having("annotations", "bbox", [1, 2, 3, None]), "object 1 has bbox"),
        (having("annotations", "bbox", [1, 2, 3, 10**40]), "object 1 has bbox"),
        (having("annotations", "bbox", None), "object 1 has bbox None"),
        (having("annotations", "area", "big"), "object 1 has area 'big', no number"),
        (having("annotations", "iscrowd", 2), "object 1 has iscrowd 2, not 0 or 1"),
        (having("annotations", "iscrowd", None), "object 1 has iscrowd None, not 0 or 1"),
    ],
)
def test_what_is_not_cocos_format(change, why):
    told = content()
    change(told)
    with pytest.raises(BadDataError, match=why) as caught:
        check(told)
    assert "some.json" in str(caught.value) and "docs/datasets.md#coco" in str(caught.value)


def test_area_is_needed_where_a_metric_takes_it():
    told = content()
    del told["annotations"][1]["area"]
    assert check(told).use.all()
    with pytest.raises(BadDataError, match="object 2 has no 'area'"):
        check(told, evaluated=True)


def test_test_images_without_annotations():
    told = content()
    del told["annotations"]
    found = check(told, evaluated=True)
    assert len(found.use) == 0 and [len(rows) for rows in found.by_image()] == [0, 0, 0]
    assert "no annotations" in found.notices[0]


# ----------------------------------------------------------------------------------------- objects


def test_objects_get_classes_by_name_and_images_by_id():
    found = check(content(thing(1, image=3, category=9), thing(2), thing(3, image=3)))
    found.require_clean()
    assert found.category_ids == [7, 9]  # the config's order, not the file's
    assert found.label.tolist() == [1, 0, 0] and found.image.tolist() == [2, 0, 2]
    assert [rows.tolist() for rows in found.by_image()] == [[1], [], [0, 2]]
    assert found.boxes[0].tolist() == [8, 6, 20, 16] and not found.notices


def test_no_object_at_all():
    told = {**content(), "annotations": []}
    found = check(told)
    assert found.boxes.shape == (0, 4) and not found.problems and not found.notices


@pytest.mark.parametrize(
    "odd, why",
    [
        (thing(5, image=8), "unknown image: object 5, image_id 8"),
        (thing(5, category=3), "unknown category: object 5, category_id 3"),
        (thing(5, bbox=(1, float("nan"), 3, 4)), r"bad box: object 5, bbox [1, nan, 3, 4]"),
        (thing(5, bbox=(1, 2, float("inf"), 4)), r"bad box: object 5, bbox [1, 2, inf, 4]"),
        (thing(5, bbox=(1, 2, -3, 4)), r"bad box: object 5, bbox [1, 2, -3, 4]"),
        ({**thing(5), "area": -1.0}, "bad area: object 5, area -1.0"),
        ({**thing(5), "area": float("nan")}, "bad area: object 5, area nan"),
    ],
)
def test_objects_that_stop_a_run(odd, why):
    assert only_problem(content(thing(1), odd)) == why


def test_all_kinds_are_told_at_once_and_few_of_each():
    many = [thing(n, image=99) for n in range(10, 30)]
    with pytest.raises(BadDataError) as caught:
        check(content(*many, thing(1, category=2))).require_clean()
    told = str(caught.value)
    assert "unknown image (20), unknown category (1)" in told
    assert "object 14, image_id 99" in told and "object 15" not in told
    assert "unknown image: and 15 more" in told and "category_id 2" in told


@pytest.mark.parametrize(
    "box, area, left_out",
    [
        ((8, 6, 0, 10), 120, "smaller than a pixel or without area"),
        ((8, 6, 12, 0.5), 120, "smaller than a pixel or without area"),
        ((8, 6, 12, 10), 0, "smaller than a pixel or without area"),
        ((64, 6, 12, 10), 120, "outside of their image"),
        ((-12, 6, 12, 10), 120, "outside of their image"),
        ((8, -30, 12, 10), 120, "outside of their image"),
    ],
)
def test_boxes_that_are_left_out_and_counted(box, area, left_out):
    found = check(content(thing(1), {**thing(2, bbox=box), "area": area}))
    found.require_clean()
    assert found.use.tolist() == [True, False]
    assert len(found.notices) == 1
    assert found.notices[0].startswith("1 objects left out, ")
    assert left_out in found.notices[0] and "(ids 2)" in found.notices[0]


def test_boxes_are_cut_to_their_image():
    found = check(content(thing(1, bbox=(-5, 40, 20, 20)), thing(2, bbox=(60, 6, 4.5, 10))))
    assert found.boxes.tolist() == [[0, 40, 15, 48], [60, 6, 64, 16]]
    assert found.use.all()
    assert len(found.notices) == 1  # half a pixel, as rounding leaves it, is none
    assert (
        "1 objects reach beyond their image" in found.notices[0] and "(ids 1)" in found.notices[0]
    )


def test_categories_that_the_config_leaves_out_are_counted():
    found = check(content(thing(1), *(thing(n, category=4) for n in (2, 3))))
    found.require_clean()
    assert found.use.tolist() == [True, False, False]
    assert "2 objects left out" in found.notices[0] and "cow (2)" in found.notices[0]


def test_objects_marked_ignore_are_left_out_as_by_mmdet():
    found = check(content(thing(1), thing(2, ignore=1)))
    assert found.use.tolist() == [True, False] and "'ignore'" in found.notices[0]


def test_classes_that_the_file_does_not_have():
    with pytest.raises(ConfigError) as caught:
        check(content(), classes=("cat", "dogs", "Cow"))
    told = str(caught.value)
    assert "2 of the config's 3 classes" in told and "some.json" in told and "metainfo" in told
    assert "'dogs': the file has 'dog'" in told and "'Cow': the file has 'cow'" in told


# ------------------------------------------------------------------------------------------- masks


def forms() -> dict:
    """One shape, H x W, as polygons, as a list of run lengths and packed."""
    packed = coco_mask.merge(coco_mask.frPyObjects(SQUARE, H, W))
    packed["counts"] = packed["counts"].decode()
    column = coco_mask.decode(packed).ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], column, [1 - column[-1]]])))
    runs = np.diff(np.concatenate([[0], edges])).tolist()
    return dict(polygons=SQUARE, packed=packed, list=dict(size=[H, W], counts=runs))


@pytest.mark.parametrize("form", ["polygons", "packed", "list"])
def test_masks_of_all_forms_are_fine(form):
    assert check(content(thing(1, mask=forms()[form])), masks=True).problems == ()


PACKED = forms()["packed"]["counts"]


@pytest.mark.parametrize(
    "mask, why",
    [
        ([[8, 6, 20, 6, 20, 16, 8]], "a polygon of 7 numbers"),
        ([SQUARE[0], [8, 6, 20, 6]], "a polygon of 2 points"),
        ([8, 6, 20, 6, 20, 16], "a polygon is a int"),
        ([[8, 6, 20, 6, 20, "16"]], "no number"),
        ([[8, 6, 20, 6, 20, float("nan")]], "not finite"),
        ([[8, 6, 20, 6, float("inf"), 3]], "not finite"),
        ([[8, 6, 20, 6, 1e9, 3]], "to 1e.09 pixels"),
        ("polygon", "a str is neither polygons nor run lengths"),
        (dict(counts=[1]), "run lengths without 'size'"),
        (dict(size=[H, W]), "run lengths without 'counts'"),
        (dict(size=[W, H], counts=[H * W]), r"of size \[64, 48\], the image's is \[48, 64\]"),
        (dict(size=[H, W], counts=[H * W - 1]), "sum up to 3,071, the image has 3,072 pixels"),
        (dict(size=[H, W], counts=[]), "sum up to 0"),
        (dict(size=[H, W], counts=[-1, H * W + 1]), "a run length of -1"),
        (dict(size=[H, W], counts=[0.5, H * W - 0.5]), "not all integers"),
        (dict(size=[H, W], counts=["a", 4]), "not all integers"),
        (dict(size=[H, W], counts=7), "its counts are a int"),
        (dict(size=[H, W], counts=PACKED[:-1]), "sum up to|cut off"),
        (dict(size=[H, W], counts=PACKED + "0" * 3 + "5"), "sum up to"),
        (dict(size=[H, W], counts=PACKED[:4] + "~" + PACKED[5:]), "cut off or no such string"),
        (dict(size=[H, W], counts="é"), "cut off or no such string"),
        (dict(size=[H, W], counts="P" * 60), "cut off or no such string"),
        (dict(size=[H, W], counts=""), "sum up to 0"),
    ],
)
def test_malformed_masks(mask, why):
    import re

    assert re.search(f"bad mask: object 5, .*({why})", only_problem(content(thing(5, mask=mask))))


@pytest.mark.parametrize("mask", [None, [], {}])
def test_object_without_a_mask(mask):
    told = content(thing(1), thing(5, mask=mask))
    assert "no mask: object 5, and the pipeline asks for masks (with_mask=True)" in only_problem(
        told, masks=True
    )
    assert not check(told).problems and not check(told, masks=False).problems


def test_masks_are_not_looked_at_where_nothing_loads_them():
    assert not check(content(thing(5, mask=[[1]])), masks=False).problems


def test_packed_run_lengths_are_pycocotools_own():
    random = np.random.default_rng(0)
    for share in (0.0, 0.01, 0.3, 0.7, 1.0):
        for size in ((1, 1), (37, 53), (700, 900)):
            bitmap = (random.random(size) < share).astype(np.uint8)
            packed = coco_mask.encode(np.asfortranarray(bitmap))["counts"].decode()
            runs = unpack_counts(packed)
            assert runs.sum() == bitmap.size
            back = np.repeat(np.arange(len(runs)) % 2, runs).reshape(size, order="F")
            assert (back == bitmap).all()
            mask = {"size": list(size), "counts": packed}
            assert mask_problem(mask, *size) is None


# ------------------------------------------------------------------------------------------ images


def encoded(size_hw=(H, W), orientation=None, mode="RGB", fmt="JPEG") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (*size_hw, 3)).astype(np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    buffer = BytesIO()
    image.save(buffer, fmt, exif=exif)
    return buffer.getvalue()


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Three good pictures, colour and grey, and a cache of their own."""
    monkeypatch.setenv("LIGHTVIT_CACHE", str(tmp_path / "cache"))
    paths = [tmp_path / f"images/{n}.jpg" for n in range(3)]
    paths[0].parent.mkdir()
    for path, mode in zip(paths, ("RGB", "L", "RGB"), strict=True):
        path.write_bytes(encoded(mode=mode))
    return paths


@pytest.fixture
def decodes(monkeypatch):
    from lightvit_bench.data import coco_images

    seen, real = [], seg_check.decode

    def counting(path, corrupt):
        seen.append(path)
        return real(path, corrupt)

    monkeypatch.setattr(coco_images, "decode", counting)
    return seen


def scan(paths, **options):
    return scan_images([str(p) for p in paths], [(H, W)] * len(paths), **options)


def test_good_images(pictures):
    report = scan(pictures)
    assert report.problems == () and report.require_clean("COCO") == [0, 1, 2]


def test_the_second_scan_decodes_nothing(pictures, decodes):
    pictures[1].write_bytes(b"")
    first = scan(pictures)
    assert len(decodes) == 3 and not first.from_cache
    second = scan(pictures)
    assert len(decodes) == 3 and second.from_cache and second.problems == first.problems
    pictures[1].write_bytes(encoded())
    assert scan(pictures).problems == () and len(decodes) == 6
    other = scan_images([str(p) for p in pictures], [(H, W), (H, W), (H, W + 1)])
    assert not other.from_cache and [p.row for p in other.problems] == [2]


def test_a_damaged_cache_is_scanned_again(pictures, decodes, tmp_path):
    scan(pictures)
    (kept,) = (tmp_path / "cache/scans").iterdir()
    for text in ("", "{}", '{"problems": [[9, "missing image", ""]]}', '{"problems": [[0]]}'):
        kept.write_text(text)
        assert scan(pictures).problems == ()
    assert len(decodes) == 15


def test_missing_corrupt_and_empty_images(pictures):
    pictures[0].unlink()
    pictures[1].write_bytes(pictures[1].read_bytes()[:300])
    report = scan(pictures)
    assert [(p.row, p.kind) for p in report.problems] == [
        (0, "missing image"),
        (1, "corrupt image"),
    ]
    with pytest.raises(BadDataError) as caught:
        report.require_clean("COCO")
    told = str(caught.value)
    assert "COCO: 2 of 3 images cannot be used" in told and "skip_corrupt=True" in told
    assert f"{pictures[0]}: missing image" in told and f"{pictures[1]}: corrupt image" in told
    assert report.require_clean("COCO", skip_corrupt=True) == [2]
    pictures[2].write_bytes(b"")
    with pytest.raises(BadDataError, match="no image would be left"):
        scan(pictures).require_clean("COCO", skip_corrupt=True)


def test_many_missing_images_are_counted_not_listed(pictures):
    absent = [pictures[0].with_name(f"absent{n:02}.jpg") for n in range(30)]
    with pytest.raises(BadDataError) as caught:
        scan([pictures[0], *absent]).require_clean("COCO")
    told = str(caught.value)
    assert "missing image (30)" in told and "absent09" in told and "absent10" not in told
    assert "and 20 more" in told


def test_no_image_is_there(pictures):
    report = scan([p.with_suffix(".png") for p in pictures])
    for skip in (False, True):
        with pytest.raises(MissingDataError, match="(?s)none of its 3 images.*LIGHTVIT_DATA"):
            report.require_clean("COCO", skip_corrupt=skip)


def test_sizes_are_not_forgiven(pictures):
    pictures[1].write_bytes(encoded((H, W + 2)))
    report = scan(pictures)
    with pytest.raises(BadDataError, match=f"{H} x {W + 2}, the annotations say {H} x {W} "):
        report.require_clean("COCO", skip_corrupt=True)


@pytest.mark.parametrize("orientation, turns", [(1, False), (3, False), (6, True), (8, True)])
def test_orientation_counts_as_opencv_has_it(pictures, orientation, turns):
    pictures[2].write_bytes(encoded(orientation=orientation))
    assert cv2.imread(str(pictures[2])).shape[:2] == ((W, H) if turns else (H, W))
    report = scan(pictures)
    assert bool(report.problems) == turns
    if turns:
        assert "color_ignore_orientation" in report.problems[0].detail
    kept = cv2.imread(str(pictures[2]), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    assert kept.shape[:2] == (H, W) and scan(pictures, turned=False).problems == ()
