"""Pairs made of still photographs."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError
from lightvit_bench.tracking.synthetic.pairs import MIX, SyntheticPairs
from lightvit_bench.tracking.synthetic.regions import propose
from lightvit_bench.tracking.synthetic.render import (
    FAR,
    Camera,
    Light,
    Pose,
    apply,
    edges,
    near_edge,
    paste,
    placed,
    random_pose,
    warp,
)
from lightvit_bench.tracking.synthetic.scene import Painter
from lightvit_bench.tracking.synthetic.sources import (
    Photos,
    blob,
    cut,
    hull_of,
    photos_below,
    rectangle,
)
from lightvit_bench.tracking.synthetic.stock import Target

GREEN = (20, 250, 20)


@dataclass(frozen=True)
class Ellipse:
    """A green ellipse in a photograph of 240 x 180 pixels."""

    path: Path
    category: str

    @property
    def place(self) -> str:
        return str(self.path)

    def image(self) -> np.ndarray:
        return cv2.imread(self.place)[..., ::-1].copy()

    def mask(self) -> np.ndarray:
        mask = np.zeros((180, 240), np.uint8)
        cv2.ellipse(mask, (120, 70), (30, 20), 0, 0, 360, 1, -1)
        return mask.astype(bool)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    """Photographs without green: grey and purple blotches."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(3)
    for i in range(6):
        blotches = cv2.resize(rng.integers(60, 200, (9, 12), dtype=np.uint8), (240, 180))
        photo = cv2.merge([blotches, blotches // 2, blotches])
        cv2.imwrite(str(folder / f"{i}.png"), photo)
    return photos_below(folder)


@pytest.fixture(scope="module")
def objects(photos, tmp_path_factory) -> list[Ellipse]:
    folder = tmp_path_factory.mktemp("objects")
    found = []
    for i, path in enumerate(photos[:3]):
        photo = cv2.imread(str(path))
        found.append(Ellipse(folder / f"{i}.png", category=f"kind {i % 2}"))
        photo[found[-1].mask()] = GREEN[::-1]
        cv2.imwrite(found[-1].place, photo)
    return found


@pytest.fixture(scope="module")
def pairs(objects, photos) -> SyntheticPairs:
    return SyntheticPairs(objects, photos)


@pytest.fixture
def plain(monkeypatch):
    """No light, no camera, no other pieces: what is green is the target."""
    monkeypatch.setattr(Light, "__call__", lambda self, picture: picture)
    monkeypatch.setattr(Camera, "__call__", lambda self, rng, picture: picture)
    monkeypatch.setattr(Painter, "_company", lambda *args: None)
    monkeypatch.setattr(Painter, "_occlude", lambda *args: None)


def green_box(patch):
    """Left, top, right, bottom of what is green in a crop."""
    excess = patch[..., 1].astype(int) - patch[..., [0, 2]].max(2)
    rows, columns = np.nonzero(excess > 90)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def corners(box, pixels):
    return np.array([*(box[:2] - box[2:] / 2), *(box[:2] + box[2:] / 2)]) * pixels


@pytest.mark.parametrize("kind", ["object", "pasted_object"])
def test_the_box_is_tight(pairs, plain, kind):
    """In any pose, bent, mirrored, or cut by the frame's edge."""
    checked = bent = 0
    for seed in range(120):
        rng = np.random.default_rng((5, seed))
        if kind == "object":
            target = pairs.stock.in_place(rng, object_=True)
        else:
            target = pairs.stock.piece(rng, object_=True)
        _, view = pairs._views(rng, target, amount=1.0)
        view = replace(view, photo=0, size=64.0, mirrored=seed % 2 == 0, grey=False)
        patch, box = pairs.painter.look(rng, view, target)
        assert patch.shape == (256, 256, 3)
        expected = corners(box, 256)
        if expected.min() < 2 or expected.max() > 254:
            continue
        np.testing.assert_allclose(green_box(patch), expected, atol=2.0)
        checked += 1
        bent += np.abs(green_box(patch) - expected).max() > 1.2
    assert checked > 60
    assert bent < 0.2 * checked  # by an outline's soft edge and the square's rounding


def test_the_box_follows_a_flipped_pair(objects, plain):
    """Whole samples, of which half are flipped; frames are as small as a third of the crop."""
    mix = {**dict.fromkeys(MIX, 0.0), "object": 1.0}
    pairs = SyntheticPairs(objects, [], mix=mix, negative_rate=0.0)
    checked = 0
    for number in range(40):
        sample = pairs[number]
        expected = corners(sample["box"], 256)
        grey = np.ptp(sample["search"], axis=2).max() == 0
        if not grey and expected.min() > 2 and expected.max() < 254:
            np.testing.assert_allclose(green_box(sample["search"]), expected, atol=4)
            checked += 1
    assert checked > 25


def test_a_template_shows_its_target_in_the_middle(pairs, plain):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        target = pairs.stock.in_place(rng, object_=True)
        view, _ = pairs._views(rng, target, amount=0.0)
        patch, box = pairs.painter.look(rng, replace(view, grey=False), target)
        assert patch.shape == (128, 128, 3)
        assert np.abs(box[:2] - 0.5).max() < 0.08
        assert np.sqrt(box[2] * box[3]) == pytest.approx(0.5, abs=0.1)


def test_a_sample_is_a_function_of_its_draw(pairs, objects, photos):
    class Draw(int):
        seed, number = 4, 9

    again = SyntheticPairs(objects, photos)[Draw(3)]
    first = pairs[Draw(0)]
    assert first.keys() == {"template", "search", "box", "present"}
    for key, value in first.items():
        np.testing.assert_array_equal(value, again[key])
    np.testing.assert_array_equal(
        pairs[9]["search"], pairs.sample(np.random.default_rng((0, 9)))["search"]
    )
    assert not np.array_equal(pairs[10]["search"], pairs[9]["search"])
    assert not np.array_equal(first["search"], pairs[9]["search"])


def test_samples_keep_their_promises(pairs):
    absent = 0
    for number in range(300):
        sample = pairs[number]
        box = sample["box"]
        assert sample["template"].shape == (128, 128, 3)
        assert sample["search"].shape == (256, 256, 3)
        assert sample["template"].dtype == sample["search"].dtype == np.uint8
        assert sample["template"].flags.c_contiguous and sample["search"].flags.c_contiguous
        assert box.shape == (4,) and box.dtype == np.float32 and np.isfinite(box).all()
        assert isinstance(sample["present"], bool)
        if sample["present"]:
            assert (box[2:] > 0).all() and 0 < box[0] < 1 and 0 < box[1] < 1
        else:
            assert not box.any()
            absent += 1
    assert 0.06 < absent / 300 < 0.2


def test_another_search_region(objects, photos):
    pairs = SyntheticPairs(objects, photos, search_size=128, search_factor=2.0)
    assert pairs.centre_jitter == 1.0
    sizes = []
    for number in range(40):
        sample = pairs[number]
        assert sample["search"].shape == (128, 128, 3)
        if sample["present"]:
            sizes.append(float(np.sqrt(np.prod(sample["box"][2:]))))
            assert (np.abs(sample["box"][:2] - 0.5) < 0.35).all()
    assert 0.4 < np.median(sizes) < 0.6


def test_no_target_in_a_negative_pair(objects, photos, plain):
    """Green ellipses are the only targets; a scene without one has no green."""
    pairs = SyntheticPairs(objects, photos, mix={"pasted_piece": 0.0, "region": 0.0})
    for seed in range(20):
        rng = np.random.default_rng(seed)
        target = pairs.stock.piece(rng, object_=True)
        _, view = pairs._views(rng, target, 1.0)
        backdrop = int(rng.integers(len(photos)))
        patch = pairs.painter.without(rng, replace(view, photo=backdrop), target)
        excess = patch[..., 1].astype(int) - patch[..., [0, 2]].max(2)
        assert patch.shape == (256, 256, 3) and excess.max() < 60


def test_every_pair_can_be_negative(objects, photos):
    pairs = SyntheticPairs(objects, photos, negative_rate=1.0)
    samples = [pairs[number] for number in range(60)]
    assert not any(sample["present"] or sample["box"].any() for sample in samples)
    flat = sum(np.ptp(sample["search"], axis=(0, 1)).max() == 0 for sample in samples)
    assert 1 <= flat <= 12


def test_a_hidden_target_is_absent(pairs, plain, monkeypatch):
    def hide(self, rng, picture, view, box, origin, cover):
        cover *= 1 - self.hides

    monkeypatch.setattr(Painter, "_occlude", hide)
    outcomes = {}
    for hides in (0.7, 0.85):
        monkeypatch.setattr(Painter, "hides", hides, raising=False)
        outcomes[hides] = [pairs[number]["present"] for number in range(80)]
    lost = sum(before and not after for before, after in zip(*outcomes.values(), strict=True))
    assert 8 < lost < 35  # a quarter of the search regions have something before the target


def test_kinds_are_drawn_by_mix(objects, photos):
    for kind in MIX:
        pairs = SyntheticPairs(objects, photos, mix={**dict.fromkeys(MIX, 0.0), kind: 1.0})
        target = pairs._draw_target(np.random.default_rng(0))
        assert (target.piece is None) == (kind in ("object", "region"))
    only = SyntheticPairs(None, photos)
    assert not only.stock.objects
    assert {only[number]["present"] for number in range(30)} == {True, False}


def test_mistakes_are_told(objects, photos, tmp_path):
    with pytest.raises(ConfigError, match="mix has shares"):
        SyntheticPairs(objects, photos, mix={"cars": 1.0})
    for share in (float("nan"), float("inf"), -0.1):
        with pytest.raises(ConfigError, match="mix has shares"):
            SyntheticPairs(objects, photos, mix={"region": share})
    with pytest.raises(ConfigError, match="no kind"):
        SyntheticPairs(None, photos, mix={"region": 0.0, "pasted_piece": 0.0})
    with pytest.raises(ConfigError, match="need photographs"):
        SyntheticPairs(None, [])
    with pytest.raises(MissingDataError, match="no photographs"):
        SyntheticPairs(None, tmp_path)
    with pytest.raises(MissingDataError, match="cannot be read"):
        SyntheticPairs(None, [tmp_path / "none.jpg"])
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(BadDataError, match="torn.jpg"):
        SyntheticPairs(None, tmp_path)
    cv2.imwrite(str(tmp_path / "torn.jpg"), np.zeros((30, 200, 3), np.uint8))
    with pytest.raises(BadDataError, match="200 x 30"):
        SyntheticPairs(None, tmp_path)


@pytest.mark.parametrize("size", [(50, 8000), (40, 9900), (8000, 50), (50, 700), (50, 400)])
def test_long_photographs_have_pieces_at_least(tmp_path, size):
    """Shrunk to 96 pixels they are a pixel wide, or none."""
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "long.png"), noise)
    pairs = SyntheticPairs(None, tmp_path)
    assert len(pairs.stock.regions) < 6
    for draw in range(8):
        assert pairs[draw]["search"].shape == (256, 256, 3)


def test_what_a_mac_leaves_behind_is_no_photograph(tmp_path):
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "album.jpg").mkdir()
    for name in ("1.jpg", "._1.jpg", "__MACOSX/1.jpg", "album.jpg/2.JPG"):
        (tmp_path / name).write_bytes(b"")
    assert photos_below(tmp_path) == [tmp_path / "1.jpg", tmp_path / "album.jpg/2.JPG"]


def test_photos_are_shrunk_and_kept(tmp_path):
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[:, :, 2] = 200  # OpenCV writes blue, green, red
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    photos = Photos([tmp_path / "a.png"], short_side=50)
    assert photos[0].shape == (50, 100, 3) and photos[0][0, 0].tolist() == [200, 0, 0]
    assert photos[0] is photos[0]
    unkept = Photos([tmp_path / "a.png"], keep=0)
    assert unkept[0] is not unkept[0]


def test_hulls_are_of_pixel_corners():
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 10:17] = 255
    hull = hull_of(mask, left=100)
    assert hull.min(0).tolist() == [110, 5] and hull.max(0).tolist() == [117, 9]
    assert hull_of(np.zeros((4, 4), np.uint8)) is None


def test_placing_and_warping_agree():
    """A piece of known extent lands where its hull's transform says, in any pose."""
    photo = np.full((80, 100, 3), 255, np.uint8)
    mask = np.full((40, 60), 255, np.uint8)
    piece = cut(photo, 20, 20, mask)
    assert piece.shape == (46, 66, 4)
    hull = hull_of(piece[..., 3])
    for seed in range(20):
        pose = random_pose(np.random.default_rng(seed), 1.5)
        matrix = placed(hull, pose, 70.0, (90.0, 80.0))
        points = apply(matrix, hull)
        low, high = points.min(0), points.max(0)
        np.testing.assert_allclose((low + high) / 2, [90, 80], atol=1e-6)
        assert np.sqrt(np.prod(high - low)) == pytest.approx(70)
        picture = np.zeros((160, 180, 3), np.uint8)
        alpha = paste(picture, piece, matrix)
        rows, columns = np.nonzero(alpha >= 0.5)
        np.testing.assert_allclose([columns.min(), rows.min()], low, atol=1.5)
        np.testing.assert_allclose([columns.max() + 1, rows.max() + 1], high, atol=1.5)
        np.testing.assert_allclose(picture[..., 0], alpha * 255, atol=2)


def test_a_shrunken_picture_stays_in_place():
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[40:120, 60:180] = 255
    small = warp(picture, np.diag([0.25, 0.25, 1.0]), (75, 50))
    rows, columns = np.nonzero(small[..., 0] > 127)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 29, 15, 44)


def test_cover_is_what_shows():
    picture, cover = np.zeros((50, 50, 3), np.uint8), np.ones((50, 50), np.float32)
    piece = np.full((20, 20, 4), 255, np.uint8)
    assert paste(picture, piece, np.array([[1, 0, 10], [0, 1, 5], [0, 0, 1.0]]), cover) is None
    assert cover.sum() == pytest.approx(50 * 50 - 400, abs=1)
    assert picture[..., 0].sum() / 255 == pytest.approx(400, abs=1)


def test_edges_of_frames():
    box = (40.0, 30.0, 20.0, 10.0)
    assert edges((80, 100, 3), np.eye(3), box) == (0, 0, 100, 80)
    assert edges((80, 100, 3), Pose(mirrored=True).matrix(rectangle((0, 0, 100, 80))), box)[2] >= 50
    cuts = set()
    for seed in range(200):
        frame, left = near_edge(np.random.default_rng(seed), FAR, box, 1.0)
        cuts |= {i for i in range(4) if frame[i] != FAR[i]}
        assert left[2] >= 0.6 * 20 - 1 and left[3] >= 0.6 * 10 - 1
        assert frame[0] <= left[0] and left[0] + left[2] <= frame[2]
        assert frame[1] <= left[1] and left[1] + left[3] <= frame[3]
    assert cuts == {0, 1, 2, 3}
    assert near_edge(np.random.default_rng(0), FAR, box, 0.0) == (FAR, box)


def test_blobs_fill_their_box():
    for seed in range(30):
        mask = blob(np.random.default_rng(seed), 50, 30)
        assert mask.shape == (30, 50) and set(np.unique(mask)) <= {0, 255}
        hull = hull_of(mask)
        assert np.ptp(hull, axis=0) == pytest.approx([50, 30], abs=3)


def test_proposals_find_what_stands_out():
    photo = np.full((200, 260, 3), 90, np.uint8)
    photo += np.random.default_rng(0).integers(0, 20, photo.shape, dtype=np.uint8)
    cv2.ellipse(photo, (90, 110), (40, 30), 0, 0, 360, (230, 40, 30), -1)
    things = propose(photo, 7, np.random.default_rng(0))
    assert things and all(thing.photo == 7 for thing in things)
    mask = np.zeros(photo.shape[:2], bool)
    best = things[0]
    mask[best.top :, best.left :][: best.mask.shape[0], : best.mask.shape[1]] = best.mask > 127
    red = photo[..., 0] > 200
    assert (mask & red).sum() > 0.95 * mask.sum()  # its outline holds nothing else
    assert (mask & red).sum() > 0.4 * red.sum()


def test_a_target_and_its_piece_agree(pairs):
    target = pairs.stock.piece(np.random.default_rng(0), object_=True)
    assert isinstance(target, Target) and target.piece.shape[2] == 4
    inner = target.piece[20:22, 30:32]
    assert (inner[..., :3] == GREEN).all() and (inner[..., 3] == 255).all()


def test_real_photographs(shared):
    """COCO's objects lie where its boxes say, in the photographs as kept."""
    from lightvit_bench.data.coco_stills import coco_cutouts

    cutouts = coco_cutouts(shared / "data/coco_mini", "val")[:60]
    pairs = SyntheticPairs(cutouts, [])
    assert 10 < len(pairs.stock.objects) < 60
    places = list(dict.fromkeys(cutout.place for cutout in cutouts))
    for thing in pairs.stock.objects:
        of_photo = [cutout for cutout in cutouts if cutout.place == places[thing.photo]]
        share = pairs.stock.photos[thing.photo].shape[1] / of_photo[0].size_hw[1]
        boxes = np.array([cutout.box_xywh for cutout in of_photo]) * share
        boxes[:, 2:] += boxes[:, :2]
        found = np.concatenate([thing.hull.min(0), thing.hull.max(0)])
        assert np.abs(boxes - found).max(1).min() < 2
    for number in range(10):
        pairs[number]


def test_workers_make_the_same_samples(pairs):
    from torch.utils.data import DataLoader, Subset

    def plain(batch):
        return batch[0]

    subset = Subset(pairs, range(6))
    alone = list(DataLoader(subset, batch_size=1, collate_fn=plain))
    helped = list(
        DataLoader(
            subset, batch_size=1, collate_fn=plain, num_workers=2, multiprocessing_context="fork"
        )
    )
    for one, other in zip(alone, helped, strict=True):
        for key, value in one.items():
            np.testing.assert_array_equal(value, other[key])
