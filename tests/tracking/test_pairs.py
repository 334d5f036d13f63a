"""Pairs of crops from videos."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from lightvit_bench.data.sequence import Annotation, Sequence
from lightvit_bench.errors import BadDataError
from lightvit_bench.tracking.crops import box_to_frame
from lightvit_bench.tracking.training.augment import JointAugmentation
from lightvit_bench.tracking.training.pairs import TrackingPairs, box_in_crop, jittered

HEIGHT, WIDTH, FRAMES = 300, 400, 30


@dataclass
class Video:
    """A red rectangle that moves and grows over noise; `missing` frames cannot be read."""

    missing: frozenset = frozenset()
    outside: bool = False
    read: list = field(default_factory=list)

    def __len__(self):
        return FRAMES

    def name(self, index):
        return f"{index:04d}.jpg"

    def box(self, index):
        if self.outside:
            return (WIDTH + 500, 10, 40, 30)
        return (100 + 3 * index, 120 + index, 50 + index, 60 - index // 2)

    def __getitem__(self, index):
        if index in self.missing:
            raise BadDataError("a frame cannot be decoded.", file=self.name(index))
        self.read.append(index)
        noise = np.random.default_rng(index).integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        x, y, w, h = self.box(index)
        noise[y : y + h, x : x + w] = (230, 10, 10)
        return noise


def sequence(video, still=False, name="clip"):
    count = 1 if still else FRAMES
    boxes = np.array([video.box(i) for i in range(count)], np.float64)
    annotation = Annotation(boxes, np.ones(count, bool), np.full(count, np.nan))
    return Sequence("set", name, video, lambda: annotation, still)


def pairs(video=None, **options):
    return TrackingPairs([([sequence(video or Video())], 1)], 50, **options)


def corners(box, pixels):
    return np.array([*(box[:2] - box[2:] / 2), *(box[:2] + box[2:] / 2)]) * pixels


@pytest.mark.parametrize("augment", [True, False])
def test_the_box_is_the_rectangles(augment):
    """Flipped or not, jointly and for itself, the box follows its object."""
    data = pairs(augment=augment)
    checked = 0
    for number in range(60):
        sample = data[number]
        search = sample["search"]
        assert search.shape == (256, 256, 3) and search.dtype == np.uint8
        assert sample["template"].shape == (128, 128, 3)
        assert sample["box"].dtype == np.float32 and sample["present"] is True
        if np.ptp(search, axis=2).max() == 0:
            continue  # grey: red is no brighter than the noise
        expected = corners(sample["box"], 256)
        red = search[..., 0].astype(int) - search[..., 1]
        rows, columns = np.nonzero(red > 0.5 * red.max())
        actual = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(actual, np.clip(expected, 0, 256), atol=1.5)
        checked += 1
    assert checked > 45


class Halves(Video):
    """A target half red, half green."""

    def __getitem__(self, index):
        frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        x, y, w, h = (int(v) for v in self.box(index))
        frame[y : y + h, x : x + w] = (200, 0, 200)
        frame[y : y + h, x : x + w // 2] = (0, 200, 200)
        return frame


def test_flips_happen_to_both_and_to_each():
    """Which half of a two-coloured target is on the left."""

    data = pairs(Halves())
    seen = []
    for number in range(200):
        sample = data[number]
        sides = []
        for patch in (sample["template"], sample["search"]):
            green = np.nonzero(patch[..., 1] > 100)[1].mean()
            red = np.nonzero(patch[..., 0] > 100)[1].mean()
            sides.append(green < red)
        seen.append(tuple(sides))
    for sides in ((True, True), (True, False), (False, True), (False, False)):
        assert seen.count(sides) / 200 == pytest.approx(0.25, abs=0.1)


def joint_only(monkeypatch, **fixed):
    """Samples of pairs for which the joint draw is fixed and each crop stays as it is cut."""
    monkeypatch.setattr(JointAugmentation, "draw", classmethod(lambda cls, rng: cls(**fixed)))
    monkeypatch.setattr(
        "lightvit_bench.tracking.training.pairs.augmented_crop",
        lambda rng, patch, box: (patch, box),
    )
    data = pairs(Halves(), centre_jitter=0.5)
    return [data[number] for number in range(10)]


@pytest.mark.parametrize("grey", [True, False])
def test_both_frames_are_grey_or_neither(grey, monkeypatch):
    for sample in joint_only(monkeypatch, grey=grey):
        for name in ("template", "search"):
            assert sample[name].any()
            assert (np.ptp(sample[name], axis=2).max() == 0) == grey, name


@pytest.mark.parametrize("flip", [True, False])
def test_both_frames_are_mirrored_or_neither(flip, monkeypatch):
    for sample in joint_only(monkeypatch, flip=flip):
        for name in ("template", "search"):
            green = np.nonzero(sample[name][..., 1] > 100)[1].mean()
            red = np.nonzero(sample[name][..., 0] > 100)[1].mean()
            assert (green > red) == flip, name
        rows, columns = np.nonzero(sample["search"][..., 2] > 100)
        actual = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        expected = np.clip(corners(sample["box"], 256), 0, 256)
        np.testing.assert_allclose(actual, expected, atol=1.5)


def test_the_template_is_cut_as_when_tracking():
    sample = pairs(augment=False)[3]
    rows, columns = np.nonzero(sample["template"][..., 0] > 140)
    centre = (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2
    np.testing.assert_allclose(centre, 64, atol=1)
    area = np.ptp(columns) * np.ptp(rows)
    assert np.sqrt(area) == pytest.approx(64, abs=2)


def test_boxes_go_into_crops_as_they_come_out():
    around, box = (50.0, 40.0, 30.0, 60.0), (61.5, 38.0, 22.0, 70.0)
    inside = box_in_crop(box, around, scale=1.7, size=256)
    np.testing.assert_allclose(box_to_frame(inside, around, 256, 1.7), box, atol=1e-4)


def test_jitter_is_ostracks():
    box = (100.0, 80.0, 40.0, 90.0)
    drawn = np.array([jittered(np.random.default_rng(i), box, 3, 0.25) for i in range(4000)])
    logs = np.log(drawn[:, 2:] / box[2:])
    np.testing.assert_allclose(logs.mean(0), 0, atol=0.015)
    np.testing.assert_allclose(logs.std(0), 0.25, atol=0.01)
    assert abs(np.corrcoef(logs.T)[0, 1]) < 0.05
    moves = drawn[:, :2] + drawn[:, 2:] / 2 - [120, 125]
    moves /= np.sqrt(drawn[:, 2:].prod(1))[:, None]
    assert 1.45 < np.abs(moves).max() <= 1.5
    np.testing.assert_allclose(moves.std(0), 3 / np.sqrt(12), atol=0.03)
    assert jittered(np.random.default_rng(0), box, 0, 0) == pytest.approx(box)


def test_a_sample_is_a_function_of_its_draw():
    class Draw(int):
        seed, number = 2, 5

    data = pairs()
    first = data[Draw(0)]
    for number in (4, 11, 30):
        data[number]
    for key, value in pairs()[Draw(7)].items():
        np.testing.assert_array_equal(value, first[key])
    assert not np.array_equal(data[5]["search"], first["search"])
    assert not np.array_equal(data[5]["search"], data[6]["search"])
    assert len(data) == 50


def test_a_still_is_read_once():
    video = Video()
    data = TrackingPairs([([sequence(video, still=True)], 1)], 1)
    sample = data[0]
    assert video.read == [0] and sample["present"]


def test_unreadable_frames_are_counted_and_then_told():
    data = pairs(Video(missing=frozenset({4, 20})), unreadable=40)
    with pytest.warns(UserWarning, match="drawn again(.|\n)*00(04|20).jpg"):
        samples = [data[number] for number in range(40)]
    assert len(samples) == 40 and 1 <= data.found_unreadable <= 20
    data = pairs(Video(missing=frozenset(range(FRAMES))), unreadable=3)
    with pytest.warns(UserWarning), pytest.raises(BadDataError, match=r"\d{4}.jpg"):
        data[0]
    assert data.found_unreadable == 4


def test_boxes_outside_their_frames_are_told():
    with pytest.raises(BadDataError, match="none of 100 pairs(.|\n)*set clip"):
        pairs(Video(outside=True))[0]


def test_the_targets_centre_is_always_inside():
    """Also where the jitter is more than the region holds: drawn again."""
    data = pairs(search_size=128, search_factor=2.0)
    for number in range(40):
        sample = data[number]
        assert sample["search"].shape == (128, 128, 3)
        assert (sample["box"][:2] >= 0).all() and (sample["box"][:2] <= 1).all()


def test_workers_make_the_same_pairs():
    from torch.utils.data import DataLoader, Subset

    subset = Subset(pairs(), range(6))
    runs = []
    for workers in (0, 2):
        context = "fork" if workers else None
        loader = DataLoader(
            subset,
            batch_size=1,
            collate_fn=lambda batch: batch[0],
            num_workers=workers,
            multiprocessing_context=context,
        )
        runs.append(list(loader))
    for one, other in zip(*runs, strict=True):
        for key, value in one.items():
            np.testing.assert_array_equal(value, other[key])
