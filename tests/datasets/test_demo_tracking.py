"""The generated videos: layout, exact boxes and flags, determinism, care with folders."""

import json
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from lightvit_bench.data import demo_tracking
from lightvit_bench.data.demo_tracking import ATTRIBUTES, lasot_box, make_demo_sequences
from lightvit_bench.data.demo_tracking_motion import Bump, moments, pose
from lightvit_bench.data.demo_tracking_scene import KINDS, VISIBLE, DemoScene
from lightvit_bench.data.demo_tracking_sprites import make_sprite, paint
from lightvit_bench.data.lasot_annotations import LasotAnnotations
from lightvit_bench.errors import BadDataError

SMALL = dict(sequences=2, frames=5, size=(160, 120))


@pytest.fixture(scope="module")
def default_demo(tmp_path_factory):
    """The full-sized demo, its summary and the seconds it took."""
    root = tmp_path_factory.mktemp("demo") / "lasot"
    start = time.process_time()
    summary = make_demo_sequences(root)
    return root, summary, time.process_time() - start


@pytest.fixture(scope="module")
def stock():
    rng = np.random.default_rng(5)
    return [
        (f"photo{k}", cv2.resize(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8), (300, 200)))
        for k in range(3)
    ]


def content(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def table(path):
    return np.loadtxt(path, delimiter=",", ndmin=2)


def test_layout_is_lasots(default_demo):
    root, summary, _ = default_demo
    assert summary.made and len(summary.names) == 6 and len(set(summary.kinds)) == 6
    assert (root / "testing_set.txt").read_text().split() == list(summary.names)
    for name in summary.names:
        folder = root / name.split("-")[0] / name
        images = sorted(p.name for p in (folder / "img").iterdir())
        assert images == [f"{k:08d}.jpg" for k in range(1, 121)]
        assert Image.open(folder / "img" / images[0]).size == (640, 480)
        lines = (folder / "groundtruth.txt").read_text().splitlines()
        assert len(lines) == 120 and all(n.isdigit() for n in lines[0].split(","))
        for flags in ("full_occlusion.txt", "out_of_view.txt"):
            values = (folder / flags).read_text().split(",")  # one line, as LaSOT's
            assert len(values) == 120 and set(values) <= {"0", "1"}
        assert (folder / "nlp.txt").read_text().strip()
        assert table(root / "attributes" / f"{name}.txt").shape == (1, len(ATTRIBUTES)) == (1, 14)


def test_boxes_and_flags_agree(default_demo):
    root, summary, _ = default_demo
    hidden = gone = 0
    for name in summary.names:
        folder = root / name.split("-")[0] / name
        boxes = table(folder / "groundtruth.txt")
        absent = np.zeros(120, bool)
        for flags in ("full_occlusion.txt", "out_of_view.txt"):
            absent |= table(folder / flags)[0] > 0
        hidden += table(folder / "full_occlusion.txt").sum()
        gone += table(folder / "out_of_view.txt").sum()
        assert not absent[0]  # a tracker needs a first frame
        assert (boxes[absent] == 0).all() and (boxes[~absent][:, 2:] > 0).all()
        there = boxes[~absent]
        assert there[:, :2].min() >= 1  # counted from 1
        assert (there[:, :2] + there[:, 2:] - 1 <= (640, 480)).all()
        attributes = dict(
            zip(ATTRIBUTES, table(root / "attributes" / f"{name}.txt")[0], strict=True)
        )
        assert attributes["FOC"] == (table(folder / "full_occlusion.txt").any())
        assert attributes["OV"] == (table(folder / "out_of_view.txt").any())
    assert hidden >= 4 and gone >= 10


def test_the_judges_reader_reads_it(default_demo):
    root, summary, _ = default_demo
    truth = LasotAnnotations(root)
    assert truth.names == summary.names
    one = truth["triangle-1"]
    assert one.boxes_xywh.shape == (120, 4) and (one.boxes_xywh[one.absent] == 0).all()
    assert one.absent.sum() > 10


def test_it_takes_seconds(default_demo):
    *_, seconds = default_demo
    assert seconds < 60  # about 7 s; many times that would be a mistake, less may be a busy machine


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_motion_is_smooth_and_comes_back_near_where_it_left(kind, seed, stock):
    scene = DemoScene((seed, 7), kind, photographs=stock)
    truth = [scene.truth(k) for k in range(len(scene))]
    boxes = np.array([box or (np.nan,) * 4 for box, *_ in truth])
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    seen = np.array([share for *_, share in truth])
    assert seen[0] > 0.9 and boxes[0, 2:].min() > 12
    assert np.nanmax(abs(np.diff(centres, axis=0))) < 40  # pixels a frame, of 640
    absent = np.isnan(boxes[:, 0])
    assert absent.sum() < 60 and not absent[-1]
    assert absent.any() == bool({"leaving", "occlusion"} & set(scene.traits))
    for k in np.flatnonzero(np.diff(absent.astype(int)) == 1):
        back = k + 1 + np.argmin(absent[k + 1 :])
        assert np.hypot(*(centres[back] - centres[k])) < 300
    for box, occluded, away, share in truth:
        assert (box is None) == (occluded or away) and not (occluded and away)
        assert box is not None or share < VISIBLE


@pytest.mark.parametrize("kind, trait", [("scale", "size"), ("turning", "aspect")])
def test_kinds_keep_their_word(kind, trait, stock):
    for seed in range(4):
        scene = DemoScene(seed, kind, photographs=stock)
        boxes = np.array([scene.truth(k)[0] for k in range(120)])
        values = {"size": boxes[:, 2] * boxes[:, 3], "aspect": boxes[:, 2] / boxes[:, 3]}[trait]
        assert values.max() / values.min() > (4 if trait == "size" else 1.3)


@pytest.mark.parametrize("index", [0, 37, 80])
def test_the_box_is_around_the_painted_target(index, stock):
    """The target alone, repainted white without its shadow on black: its pixels span the box."""
    scene = DemoScene(3, "turning", photographs=stock)
    sprite = scene.target.sprite
    rows, columns = sprite.solid.any(1).nonzero()[0], sprite.solid.any(0).nonzero()[0]
    solid = sprite.solid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    white = make_sprite(np.full((*solid.shape, 3), 255), solid, shadow=0)
    paper = np.zeros((480, 640, 3), np.uint8)
    at = scene.target.pose(index)
    grown = at.matrix.copy()
    grown[:, :2] *= max(white.solid.shape) / max(sprite.solid.shape)
    paint(paper, white, [type(at)(grown)])
    rows, columns = (
        (paper[..., 0] > 127).any(1).nonzero()[0],
        (paper[..., 0] > 127).any(0).nonzero()[0],
    )
    x, y, w, h = scene.truth(index)[0]
    found = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    np.testing.assert_allclose((x, y, x + w, y + h), found, atol=1.6)


def test_the_target_is_where_the_truth_says_in_the_picture(stock):
    """Frames with and without the target differ in the box, and not outside."""
    scene = DemoScene(11, "scale", photographs=stock)
    for index in (0, 60, 119):
        frame = scene.frame(index)
        actor, scene.target = (
            scene.target,
            type(scene.target)(scene.target.sprite, lambda t: pose(np.array([-9e3, 0.0]), 50)),
        )
        x, y, w, h = map(round, frame.box_xywh)
        bare = scene._background(index)  # without grain
        scene.target = actor
        differs = abs(frame.image.astype(int) - bare).max(-1) > 40
        inside = differs[y : y + h, x : x + w].mean()
        differs[max(0, y - h // 2) : y + h + h // 2, max(0, x - w // 2) : x + w + w // 2] = False
        assert inside > 0.25 and differs.mean() < 1e-3


def test_what_is_seen_is_counted_behind_pillars(stock):
    scene = DemoScene(1, "occlusion", photographs=stock)
    shares = np.array([scene.truth(k)[3] for k in range(120)])
    assert shares.min() == 0 and ((shares > 0.2) & (shares < 0.8)).any() and shares[0] == 1
    # where nothing is seen, the pillar alone is in the target's place: no pixel of it
    index = int(shares.argmin())
    with_target = scene.frame(index).image
    scene.target = type(scene.target)(scene.target.sprite, lambda t: pose(np.array([-9e3, 0]), 50))
    gone = scene.frame(index).image
    centre = scene._centre(index).astype(int)
    cut = np.s_[centre[1] - 15 : centre[1] + 15, centre[0] - 15 : centre[0] + 15]
    np.testing.assert_array_equal(with_target[cut], gone[cut])


def test_frames_are_computed_alone_and_by_seed(stock):
    first, again = (DemoScene((4, 2), "mixed", photographs=stock) for _ in range(2))
    assert DemoScene((4, 3), "mixed", photographs=stock).truth(9) != first.truth(9)
    for index in (50, 3, 119):
        np.testing.assert_array_equal(first.frame(index).image, again.frame(index).image)
    assert first.frame(50).image.flags.c_contiguous and first.frame(50).image.dtype == np.uint8
    with pytest.raises(IndexError):
        first.frame(120)
    with pytest.raises(ValueError, match="no such"):
        DemoScene(0, "flying")


def test_lasot_boxes_are_whole_pixels_from_one():
    assert lasot_box((0.0, 0.0, 10.2, 5.0)) == (1, 1, 10, 5)
    assert lasot_box((9.6, 3.4, 0.1, 1.3)) == (11, 4, 1, 2)
    assert lasot_box(None) == (0, 0, 0, 0)


def test_bumps_and_moments():
    bump = Bump(50, 20, 0.5)
    assert [bump(t) for t in (29, 30, 70, 71)] == [0, 0, 0, 0] and bump(50) == bump(59) == 1
    at, half = moments(120, 2)
    assert len(at) == 2 and at[0] - half > 10 and at[1] + half < 120
    assert len(moments(480, 1)[0]) == 3


def test_the_same_seed_gives_the_same_bytes_and_more_sequences_change_nothing(tmp_path):
    for name, options in (("a", {}), ("b", {}), ("more", dict(sequences=3)), ("c", dict(seed=1))):
        make_demo_sequences(tmp_path / name, **{**SMALL, **options})
    a, b, more, c = (content(tmp_path / name) for name in ("a", "b", "more", "c"))
    assert a == b
    per_sequence = [name for name in a if "/" in name]
    assert len(per_sequence) == 2 * (5 + 4 + 1)
    assert all(more[name] == a[name] for name in per_sequence)
    images = [name for name in a if name.endswith("jpg")]
    assert all(a[name] != c[name] for name in images)


def test_a_finished_folder_is_left_alone_and_another_made_again(tmp_path):
    make_demo_sequences(tmp_path / "x", **SMALL)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert not make_demo_sequences(tmp_path / "x", **SMALL).made
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before

    assert make_demo_sequences(tmp_path / "x", **{**SMALL, "sequences": 1}).made
    make_demo_sequences(tmp_path / "y", **{**SMALL, "sequences": 1})
    assert content(tmp_path / "x") == content(tmp_path / "y")
    folders = [{p.relative_to(r) for p in r.rglob("*")} for r in (tmp_path / "x", tmp_path / "y")]
    assert folders[0] == folders[1]

    next((tmp_path / "x").rglob("00000003.jpg")).unlink()
    assert make_demo_sequences(tmp_path / "x", **{**SMALL, "sequences": 1}).made
    assert content(tmp_path / "x") == content(tmp_path / "y")


def test_an_interrupted_folder_is_made_again(tmp_path, monkeypatch):
    def killed(*args):
        raise KeyboardInterrupt

    real = demo_tracking.lasot_box
    monkeypatch.setattr(demo_tracking, "lasot_box", killed)
    with pytest.raises(KeyboardInterrupt):
        make_demo_sequences(tmp_path / "cut", **SMALL)
    monkeypatch.setattr(demo_tracking, "lasot_box", real)
    assert json.loads((tmp_path / "cut/demo.json").read_text())["finished"] is False
    assert make_demo_sequences(tmp_path / "cut", **SMALL).made
    make_demo_sequences(tmp_path / "whole", **SMALL)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_what_is_not_ours_is_refused_and_untouched(tmp_path):
    path = tmp_path / "airplane/airplane-1/groundtruth.txt"  # real LaSOT
    path.parent.mkdir(parents=True)
    path.write_text("1,2,3,4\n")
    with pytest.raises(BadDataError, match="airplane-1"):
        make_demo_sequences(tmp_path, **SMALL)
    (tmp_path / "demo.json").write_text('{"made_by": "lightvit_bench.data.demo_ade"}')
    with pytest.raises(BadDataError, match="something else"):
        make_demo_sequences(tmp_path, **SMALL)
    assert path.read_text() == "1,2,3,4\n"

    make_demo_sequences(tmp_path / "ours", **SMALL)
    mine = next((tmp_path / "ours").rglob("img")) / "mine.jpg"
    mine.write_bytes(b"mine")
    assert not make_demo_sequences(tmp_path / "ours", **SMALL).made
    with pytest.raises(BadDataError, match="mine.jpg"):
        make_demo_sequences(tmp_path / "ours", **{**SMALL, "seed": 1})
    (tmp_path / "file").write_text("a file")
    with pytest.raises(BadDataError, match="in its place"):
        make_demo_sequences(tmp_path / "file", **SMALL)


@pytest.mark.parametrize(
    "bad", [dict(sequences=0), dict(frames=1), dict(size=(32, 160)), dict(seed=-1)]
)
def test_bad_numbers_are_refused_before_anything_is_written(tmp_path, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        make_demo_sequences(tmp_path / "demo", **{**SMALL, **bad})
    assert not (tmp_path / "demo").exists()


def test_without_photographs_it_says_so_and_still_works(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_tracking, "load_photographs", lambda: [])
    summary = make_demo_sequences(tmp_path, **SMALL)
    assert summary.photographs == () and "no photograph found" in summary.note
    image = np.asarray(Image.open(next(tmp_path.rglob("00000001.jpg"))))
    assert image.std() > 8  # a texture, not one colour
