"""Records of segmentation: what they say of classes, pictures and protocol has to follow."""

import numpy as np
import pytest
from claims import claimed, with_options
from PIL import Image

from lightvit_bench.bench.record import measured_record, write_record
from lightvit_bench.errors import BadDataError
from lightvit_bench.metrics.segmentation import confusion, scores
from lightvit_bench.verification import verify_record
from lightvit_bench.verification.keeping import stored_labels, stored_masks
from lightvit_bench.verification.protocols import Labels, names_sha256, picture_protocol

CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree"),
    *("sign symbol", "fence", "car", "pedestrian", "bicyclist"),
)
LABELS = Labels(11, names_sha256(CLASSES), 0, 255)
ADE = [f"ADE_val_{number:08d}" for number in range(1, 2001)]


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    """As many masks as CamVid's test set has, and predictions of all and of four of them."""
    home = tmp_path_factory.mktemp("camvid")
    rng = np.random.default_rng(0)
    for part in ("test", "all", "four"):
        (home / part).mkdir()
    for number in range(233):
        mask = rng.integers(0, 11, (4, 4)).astype(np.uint8)
        found = np.where(rng.random((4, 4)) < 0.3, rng.integers(0, 11, (4, 4)), mask)
        mask[0, 0] = 255
        Image.fromarray(mask).save(home / f"test/{number:04d}.png")
        for part in ("all", "four")[: 1 + (number < 4)]:
            Image.fromarray(found.astype(np.uint8)).save(home / f"{part}/{number:04d}.png")
    return home


def recorded(camvid, part):
    """The record of the predictions in a folder, and where its files are."""
    names = sorted(path.stem for path in (camvid / part).iterdir())
    masks = {name: camvid / f"test/{name}.png" for name in names}
    matrix = sum(
        confusion(np.array(Image.open(camvid / part / f"{n}.png")), np.array(Image.open(m)), 11)
        for n, m in masks.items()
    )
    whole = scores(matrix)
    how = dict(first=0, ignore=255)
    record = measured_record(
        *("segmentation", "x", {"miou": whole.miou, "macc": whole.macc, "aacc": whole.aacc}),
        dataset="CamVid",
        split="test",
        protocol="camvid-test@single-scale",
        expected=233,
        evaluated=len(names),
        predictions=stored_labels(
            camvid / part, names, classes=11, class_digest=LABELS.digest, **how
        ),
        truth=stored_masks(masks, camvid / "test", **how),
    )
    return write_record(record, camvid / f"records-{part}"), dict(
        predictions=camvid / part, truth=camvid / "test"
    )


@pytest.fixture(scope="module")
def four(camvid):
    return recorded(camvid, "four")


def problems(path, places):
    found = verify_record(path, **places)
    assert not found.ok and found.lines()[-1] == "NOT verified"
    return " ".join(found.problems)


def test_a_part_of_a_set_is_not_the_whole(camvid, four):
    path, places = four
    assert verify_record(path, **places).ok  # four of 233, and it says so
    for evaluated in (3, 233):
        said = problems(claimed(path, evaluated=evaluated), places)
        assert f"4 are judged, and the record says that {evaluated} were" in said
    assert "says that None were" in problems(claimed(path, evaluated=None, expected=None), places)
    said = problems(claimed(path, expected=4), places)
    assert "camvid-test@single-scale is of 233, and the record says that 4 were expected" in said
    whole, places = recorded(camvid, "all")
    assert verify_record(whole, **places).ok


def test_a_protocol_follows_from_names_classes_and_truth(camvid, four, tmp_path):
    path, places = four
    for protocol in ("ade20k-val@single-scale", "camvid-val@single-scale", None):
        assert "does not follow" in problems(claimed(path, protocol=protocol), places)
    for changes in (dict(dataset="ADE20K"), dict(split="val"), dict(dataset=None)):
        assert "does not follow" in problems(claimed(path, **changes), places)
    # other classes, or another value ignored, are another protocol
    other = names_sha256([*CLASSES[1:], CLASSES[0]])
    said = problems(with_options(path, "predictions", class_digest=other), places)
    assert f"camvid-test-11-classes-{other[:8]}@single-scale" in said
    ignoring = with_options(with_options(path, "predictions", ignore=3), "truth", ignore=3)
    assert "no score" in problems(ignoring, places)  # void is then no class
    # four pictures alone are a set of their own
    alone = tmp_path / "test"
    alone.mkdir()
    for file in sorted((camvid / "test").iterdir())[:4]:
        (alone / file.name).write_bytes(file.read_bytes())
    assert "camvid-4-images-" in problems(path, {**places, "truth": alone})
    own, _ = picture_protocol("CamVid", "test", [f"{n:04d}" for n in range(4)], LABELS)
    small = claimed(path, protocol=own, expected=4)
    assert verify_record(small, predictions=places["predictions"], truth=alone).ok
    assert verify_record(small, **places).ok


def test_standard_ids_are_of_standard_scoring():
    def of(title, split, names, labels):
        return picture_protocol(title, split, names, labels)[0]

    ade = Labels(150, "2133f0a0e71146d00a14482f872bc5888f66d706f90f1b1333a7eb5025989af9", 1, 255)
    test = [f"{n}" for n in range(233)]
    assert picture_protocol("ADE20K", "validation", ADE, ade) == ("ade20k-val@single-scale", "val")
    assert of("CamVid", "test", test, LABELS) == "camvid-test@single-scale"
    assert of("CamVid", "val", test[:101], LABELS) == "camvid-val@single-scale"
    two = names_sha256(["sky", "building"])
    others = [
        of("CamVid", "test", test, Labels(2, two, 0, 255)),
        of("CamVid", "test", test, Labels(11, LABELS.digest, 0, 3)),
        of("CamVid", "test", test, Labels(11, LABELS.digest, 1, 255)),
        of("ADE20K", "validation", ADE, Labels(150, ade.digest, 0, 255)),
        of("ADE20K", "validation", ADE[:-1], ade),
        of("ADE20K", "validation", [*ADE[:-1], "another"], ade),
        of("demo pictures", "validation", ADE, ade),
        of("CamVid", "test", test[:101], LABELS),
        of("CamVid", "test", ["x"] * 233, LABELS),
        of("CamVid", "test", test[:9], LABELS),
        of("CamVid", "test", test[:9], Labels(2, two, 0, 255)),
        of("CamVid", "test", test[:9], Labels(11, LABELS.digest, 0, 3)),
    ]
    assert others[:3] == [
        f"camvid-test-2-classes-{two[:8]}@single-scale",
        "camvid-test-ignore-3@single-scale",
        "camvid-test-first-1@single-scale",
    ]
    assert others[3] == "ade20k-val-first-0@single-scale"
    assert len(set(others)) == len(others)
    assert all("-images-" in one for one in others[4:])


@pytest.mark.parametrize(
    ("what", "changes", "field"),
    [
        ("predictions", dict(first=None), "predictions.options.first"),
        ("truth", dict(suffix=None), "truth.options.suffix"),
        ("truth", dict(suffix="/../x.png"), "truth.options.suffix"),
        ("truth", dict(suffix=""), "truth.options.suffix"),
        ("truth", dict(ending=3), "truth.options.ending"),
        ("predictions", dict(classes=100_000), "predictions.options.classes"),
        ("predictions", dict(classes=10**12), "predictions.options.classes"),
        ("predictions", dict(classes="11"), "predictions.options.classes"),
        ("predictions", dict(first=10**30), "predictions.options.first"),
        ("truth", dict(first=1), "truth.options.first"),
        ("predictions", dict(class_digest="x"), "predictions.options.class_digest"),
        ("predictions", dict(speed=1), "predictions.options.speed"),
    ],
)
def test_options_are_checked(four, what, changes, field):
    path, places = four
    with pytest.raises(BadDataError) as error:
        verify_record(with_options(path, what, **changes), **places)
    assert error.value.details["field"] == [field]


def test_more_classes_than_a_picture_can_hold_take_no_more_memory(four):
    path, places = four
    found = verify_record(with_options(path, "predictions", classes=65_536), **places)
    assert all(one.ok for one in found.checks) and len(found.checks) == 3
    assert "camvid-test-65536-classes" in found.problems[0]


def test_zero_labels_are_taken_off_as_mmsegmentation_does(tmp_path):
    """Class k is k + 1 in the mask; 0 and 255 are ignored, whatever was predicted there."""
    mask = np.array([[0, 255, 1], [2, 2, 1]], np.uint8)
    found = np.array([[1, 2, 1], [2, 1, 1]], np.uint8)
    for name, values in (("truth", mask), ("found", found)):
        (tmp_path / name).mkdir()
        Image.fromarray(values).save(tmp_path / name / "a.png")
    how = dict(first=1, ignore=255)
    labels = Labels(2, names_sha256("ab"), **how)
    record = measured_record(
        *("segmentation", "x", {"miou": 100 * (2 / 3 + 1 / 2) / 2, "macc": 75.0, "aacc": 75.0}),
        dataset="mine",
        protocol=picture_protocol("mine", "", ["a"], labels)[0],
        expected=1,
        evaluated=1,
        predictions=stored_labels(
            tmp_path / "found", ["a"], classes=2, class_digest=labels.digest, **how
        ),
        truth=stored_masks({"a": tmp_path / "truth/a.png"}, tmp_path / "truth", **how),
    )
    path = write_record(record, tmp_path / "records")
    found = verify_record(path, predictions=tmp_path / "found", truth=tmp_path / "truth")
    assert found.ok, found.lines()
