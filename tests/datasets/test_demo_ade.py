"""The generated segmentation data: layout, exact masks, determinism, care with folders."""

import json
import re
import time

import numpy as np
import pytest
from PIL import Image

from lightvit_bench.data import demo_ade
from lightvit_bench.data.demo_ade import CLASSES, PALETTE, compose, make_demo_ade, make_scene
from lightvit_bench.data.demo_shapes import Layer
from lightvit_bench.data.seg_folder import find_pairs, scan
from lightvit_bench.errors import BadDataError

SMALL = dict(train=6, val=3, size=(64, 80))


@pytest.fixture(scope="module")
def default_demo(tmp_path_factory):
    """The full-sized demo, its summary and the seconds it took."""
    root = tmp_path_factory.mktemp("demo") / "ade"
    start = time.process_time()
    summary = make_demo_ade(root)
    return root, summary, time.process_time() - start


def content(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def photographs():
    rng = np.random.default_rng(5)
    return [(f"photo{k}", rng.integers(0, 256, (200, 300, 3), dtype=np.uint8)) for k in range(2)]


def test_layout_is_ade20ks_and_passes_the_start_up_check(default_demo, tmp_path):
    root, summary, _ = default_demo
    assert summary.made and (summary.train, summary.val) == (120, 30)
    total = {}
    for split, word, count in (("training", "train", 120), ("validation", "val", 30)):
        pairs = find_pairs(
            root, f"images/{split}", f"annotations/{split}", dataset_name="Demo data"
        )
        assert [p.image.name for p in pairs] == [
            f"ADE_{word}_{k:08d}.jpg" for k in range(1, count + 1)
        ]
        report = scan(pairs, valid_ids=range(1, len(CLASSES) + 1), cache_dir=tmp_path)
        assert report.require_clean() == pairs
        assert report.smallest_hw == report.largest_hw == (160, 160)
        total[split] = report.pixels[1 : len(CLASSES) + 1] / report.pixels.sum()
    for split, share in total.items():
        assert share[0] < 0.75, split  # the commonest class is not all there is
        assert share[1:].min() > 0.02, (split, share)
    assert summary.note == "" or "clouds" in summary.note


def test_it_takes_seconds(default_demo):
    *_, seconds = default_demo
    assert seconds < 15  # about 2 s; ten times that would be a mistake, less may be a busy machine


def test_classes_and_colours_belong_together():
    assert len(CLASSES) == len(PALETTE) == len(set(CLASSES)) == len(set(PALETTE)) == 7
    assert CLASSES[0] == "photograph"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    a, b, c = (tmp_path / name for name in "abc")
    for root, seed in ((a, 3), (b, 3), (c, 4)):
        make_demo_ade(root, **SMALL, seed=seed)
    first, second, other = content(a), content(b), content(c)
    assert first == second
    masks = [name for name in first if name.endswith(".png")]
    assert len(masks) == 9 and all(first[name] != other[name] for name in masks)


def test_a_picture_does_not_depend_on_how_many_there_are(tmp_path):
    make_demo_ade(tmp_path / "few", **SMALL)
    make_demo_ade(tmp_path / "more", **{**SMALL, "train": 8, "val": 4})
    few, more = content(tmp_path / "few"), content(tmp_path / "more")
    assert all(more[name] == few[name] for name in few if name != "demo.json")


def test_training_and_validation_differ_and_share_no_pixel_of_a_photograph(tmp_path):
    photo = np.zeros((100, 200, 3), np.uint8)
    photo[:, :130] = (250, 0, 0)  # 65 % of the longer side
    photo[:, 130:] = (0, 0, 250)
    for train, strong, weak in ((True, 0, 2), (False, 2, 0)):
        for seed in range(20):
            rng = np.random.default_rng(seed)
            scene = make_scene(rng, [("photo", photo)], (64, 64), train)
            assert scene.background[..., weak].max() < 5 < 100 < scene.background[..., strong].min()
    make_demo_ade(tmp_path, **SMALL)
    files = content(tmp_path)
    assert (
        files["annotations/training/ADE_train_00000001.png"]
        != files["annotations/validation/ADE_val_00000001.png"]
    )


@pytest.mark.parametrize("seed", range(12))
def test_the_labels_are_the_painted_pixels_exactly(seed):
    scene = make_scene(np.random.default_rng(seed), photographs(), (96, 128), train=True)
    # Paint every object in its class's colour, without shadows: colours must spell the mask.
    flat = [
        Layer(
            layer.inside,
            layer.class_id,
            np.broadcast_to(np.float32(PALETTE[layer.class_id - 1]), (96, 128, 3)),
            np.ones((96, 128), np.float32),
        )
        for layer in scene.layers
    ]
    painted, _ = compose(np.broadcast_to(np.float32(PALETTE[0]), (96, 128, 3)), flat)
    np.testing.assert_array_equal(painted, np.float32(PALETTE)[scene.mask - 1])
    # And by hand, from the front backwards: the first object over a pixel labels it.
    expected = np.ones((96, 128), np.uint8)
    undecided = np.ones((96, 128), bool)
    for layer in reversed(scene.layers):
        expected[undecided & layer.inside] = layer.class_id
        undecided &= ~layer.inside
    np.testing.assert_array_equal(scene.mask, expected)


def test_files_hold_the_scene(tmp_path):
    make_demo_ade(tmp_path, **SMALL, seed=9)
    scene = make_scene(
        np.random.default_rng([9, 1, 2]), demo_ade.load_photographs(), (64, 80), train=False
    )
    mask = Image.open(tmp_path / "annotations/validation/ADE_val_00000003.png")
    assert mask.mode == "L"
    np.testing.assert_array_equal(np.asarray(mask), scene.mask)
    image = np.asarray(Image.open(tmp_path / "images/validation/ADE_val_00000003.jpg"), np.float32)
    assert abs(image - scene.image).mean() < 4  # JPEG's error, not another picture


@pytest.mark.parametrize(
    "name, inside, outside",
    [
        ("disc", [(0, 0), (0.9, 0)], [(0.8, 0.8), (1.1, 0)]),
        ("square", [(0, 0), (0.8, 0.8)], [(0.9, 0)]),
        ("triangle", [(0, 0), (0, -1.1)], [(0.9, -0.9), (0, 0.7)]),
        ("star", [(0, 0), (0, -1.1), (0, 0.5)], [(0, 0.7), (0.6, -0.7), (0, -1.3)]),
        ("ring", [(0.8, 0), (0, -1.0)], [(0, 0), (0.3, 0.3), (1.1, 0)]),
        ("cross", [(0, 0), (1.0, 0), (0, 1.0)], [(0.5, 0.5), (1.0, 0.5)]),
    ],
)
def test_shapes_have_their_form(name, inside, outside):
    from lightvit_bench.data.demo_shapes import _KINDS

    def depth(points):
        u, v = np.array(points, np.float32).T
        return _KINDS[name].edge(u, v)

    assert (depth(inside) > 0).all() and (depth(outside) < 0).all()
    grid = np.mgrid[-2:2:401j, -2:2:401j].astype(np.float32)
    assert np.hypot(*grid)[_KINDS[name].edge(*grid) > 0].max() < 1.5  # fits the drawn window


def test_a_finished_folder_is_left_alone(tmp_path):
    make_demo_ade(tmp_path, **SMALL)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    again = make_demo_ade(tmp_path, **SMALL)
    assert not again.made
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("change", [dict(seed=1), dict(train=4), dict(size=(80, 64))])
def test_other_parameters_make_it_again_without_leftovers(tmp_path, change):
    make_demo_ade(tmp_path / "old", **SMALL)
    make_demo_ade(tmp_path / "new", **{**SMALL, **change})
    assert make_demo_ade(tmp_path / "old", **{**SMALL, **change}).made
    assert content(tmp_path / "old") == content(tmp_path / "new")


def test_an_interrupted_folder_is_made_again(tmp_path, monkeypatch):
    real, calls = demo_ade._write_pair, []

    def killed(*args):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(args)
        real(*args)

    monkeypatch.setattr(demo_ade, "_write_pair", killed)
    with pytest.raises(KeyboardInterrupt):
        make_demo_ade(tmp_path / "cut", **SMALL)
    monkeypatch.undo()
    half = content(tmp_path / "cut")
    assert len(half) == 9 and json.loads(half["demo.json"])["finished"] is False
    assert make_demo_ade(tmp_path / "cut", **SMALL).made
    make_demo_ade(tmp_path / "whole", **SMALL)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_a_lost_file_makes_it_again(tmp_path):
    make_demo_ade(tmp_path, **SMALL)
    before = content(tmp_path)
    (tmp_path / "annotations/training/ADE_train_00000002.png").unlink()
    assert make_demo_ade(tmp_path, **SMALL).made
    assert content(tmp_path) == before


def refused(root, **options):
    before = content(root) if root.is_dir() else root.read_bytes()
    with pytest.raises(BadDataError) as caught:
        make_demo_ade(root, **{**SMALL, **options})
    assert (content(root) if root.is_dir() else root.read_bytes()) == before  # nothing was touched
    return str(caught.value)


def test_a_folder_with_something_else_is_refused_and_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("the only copy")
    assert "thesis.tex" in refused(tmp_path)


def test_real_ade20k_in_the_same_layout_is_refused(tmp_path):
    path = tmp_path / "images/training/ADE_train_00000001.jpg"  # a name the demo would use, too
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a real photograph")
    assert path.name in refused(tmp_path)
    (tmp_path / "demo.json").write_text('{"made_by": "someone else"}')
    assert path.name in refused(tmp_path)


def test_a_foreign_file_in_a_demo_folder_stops_a_remake_but_not_a_visit(tmp_path):
    make_demo_ade(tmp_path, **SMALL)
    (tmp_path / "images/training/mine.jpg").write_bytes(b"mine")
    assert not make_demo_ade(tmp_path, **SMALL).made
    assert "mine.jpg" in refused(tmp_path, seed=1)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "demo").write_text("a file")
    assert "a file is in its place" in refused(tmp_path / "demo")


def test_an_empty_folder_and_hidden_files_are_welcome(tmp_path):
    (tmp_path / ".gitkeep").write_text("")
    assert make_demo_ade(tmp_path, **SMALL).made
    assert (tmp_path / ".gitkeep").exists()


def test_without_photographs_it_says_so_and_still_works(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_ade, "_PHOTOGRAPHS", (("no_such_package", "a.png", None),))
    summary = make_demo_ade(tmp_path, **SMALL)
    assert summary.photographs == () and "no photograph found" in summary.note
    image = np.asarray(Image.open(tmp_path / "images/training/ADE_train_00000001.jpg"))
    mask = np.asarray(Image.open(tmp_path / "annotations/training/ADE_train_00000001.png"))
    assert image[mask == 1].std() > 8  # a texture, not one colour


@pytest.mark.parametrize("bad", [dict(train=0), dict(val=0), dict(size=(16, 160)), dict(seed=-1)])
def test_bad_numbers_are_refused_before_anything_is_written(tmp_path, bad):
    with pytest.raises(ValueError, match=re.escape(str(list(bad.values())[0]))):
        make_demo_ade(tmp_path / "demo", **bad)
    assert not (tmp_path / "demo").exists()
