"""Several targets in one stream of frames, against a tracker of its own for each."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
import torch
from tiny_export import H, W, tiny

from lightvit_bench.errors import BadDataError, CheckpointError, ConfigError
from lightvit_bench.tracking.answers import Answer, Settings
from lightvit_bench.tracking.multi import MultiTracker, batches
from lightvit_bench.tracking.runtimes.load import load_model
from lightvit_bench.tracking.runtimes.onnx_model import OnnxModel
from lightvit_bench.tracking.runtimes.openvino_model import OpenVinoModel
from lightvit_bench.tracking.tracker import Tracker

BOXES = [(60, 40, 30, 24), (5, 5, 20, 40), (120, 90, 35, 28), (90, 10, 16, 16), (20, 70, 40, 30),
         (70, 80, 25, 25), (130, 20, 20, 30)]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small tensors: where cores are busy, threads would wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def frames(count, seed=0):
    rng = np.random.default_rng(seed)
    return [cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (W, H)) for _ in range(count)]


@dataclass
class Fake:
    """A model that answers by arithmetic, and keeps what it was asked.

    batches: sizes worth computing. can: sizes it takes.
    """

    batches: tuple = (4, 2, 1)
    can: tuple = (1, 2, 4)
    settings: Settings = field(default_factory=Settings)
    fails_after: int = 10**6
    asked: list = field(default_factory=list)
    template_size, search_size = 16, 32
    template_factor, search_factor = 2.0, 4.0

    def __post_init__(self):
        self.spec = self
        self._regions = {n: np.zeros((n, 32, 32, 3), np.uint8) for n in range(1, 9)}

    @property
    def buffer(self):
        return self._regions[1][0]

    def regions(self, count):
        return self._regions[count]

    def can_batch(self, count):
        return count in self.can

    def embed(self, template):
        return template.astype(np.float32).mean(axis=(0, 1))

    def find(self, embedded, search, box_wh):
        assert np.shares_memory(search, self.buffer)
        return self._answer([embedded], search[None], [box_wh])[0]

    def find_all(self, embedded, searches, boxes_wh):
        assert searches is self._regions[len(embedded)]
        return self._answer(embedded, searches, boxes_wh)

    def _answer(self, embedded, searches, boxes_wh):
        if len(self.asked) >= self.fails_after:
            raise RuntimeError("the model failed")
        self.asked.append(len(embedded))
        made = []
        for one, search, wh in zip(embedded, searches, boxes_wh, strict=True):
            x, y = 0.5 + (search[:, :, :2].mean(axis=(0, 1)) - one[:2]) / 1000
            score = float(search[..., 2].mean() / 256)
            made.append(Answer(np.float32([x, y, 0.99 * wh[0], 1.01 * wh[1]]), score))
        return made


def alone(model, start, box, rest, settings=None):
    tracker = Tracker(model, settings)
    tracker.init(start, box)
    return [tracker.update(image) for image in rest]


def assert_same(made, expected, close=1e-3):
    for one, other in zip(made, expected, strict=True):
        assert one.box == pytest.approx(other.box, abs=close)
        assert one.score == pytest.approx(other.score, abs=1e-4)
        assert one.found == other.found


# ------------------------------------------------------------------ as a tracker of its own


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize(
    "name", ["conv.xml", "pruned.xml", "conv-any.onnx", "conv.onnx", "pruned.safetensors"]
)
def test_each_target_is_followed_as_alone(tmp_path_factory, name, count):
    model, images = load_model(tiny(tmp_path_factory, name), threads=1), frames(6)
    several = MultiTracker(model)
    numbers = [several.add(images[0], box) for box in BOXES[:count]]
    made = [several.update(image) for image in images[1:]]
    assert all(list(results) == numbers for results in made)
    for number, box in zip(numbers, BOXES, strict=False):
        expected = alone(model, images[0], box, images[1:])
        assert_same([results[number] for results in made], expected)
        assert several.boxes[number] == made[-1][number].box
    assert count == 1 or len({one.box for one in made[-1].values()}) == count


@pytest.mark.parametrize("kind", [OpenVinoModel, OnnxModel])
def test_a_batch_is_as_each_alone(tmp_path_factory, monkeypatch, kind):
    """Whatever the sizes that pay."""
    monkeypatch.setattr(kind, "batches", (4, 2, 1))
    name = "pruned.xml" if kind is OpenVinoModel else "pruned-any.onnx"
    model, images = load_model(tiny(tmp_path_factory, name), threads=1), frames(5)
    asked = []
    find_all = model.find_all
    model.find_all = lambda *given: asked.append(len(given[0])) or find_all(*given)
    several = MultiTracker(model)
    for box in BOXES:
        several.add(images[0], box)
    made = [several.update(image) for image in images[1:]]
    assert asked == [4, 2, 1] * 4  # a single `find` is a batch of one
    del model.find_all
    for number, box in enumerate(BOXES):
        expected = alone(model, images[0], box, images[1:])
        assert_same([results[number] for results in made], expected)


def test_targets_come_and_go():
    model, images = Fake(), frames(9)
    several = MultiTracker(model)
    made = {}
    born = {0: [0, 1], 2: [2], 5: [3, 4]}
    gone = {4: [1], 7: [0]}
    for i, image in enumerate(images):
        if i:
            for number, result in several.update(image).items():
                made.setdefault(number, []).append(result)
        for box in born.get(i, []):
            assert several.add(image, BOXES[box]) == box
        for number in gone.get(i, []):
            several.remove(number)
    for first, numbers in born.items():
        for number in numbers:
            last = next((i for i, several in gone.items() if number in several), 8)
            expected = alone(Fake(), images[first], BOXES[number], images[first + 1 : last + 1])
            assert_same(made[number], expected, 1e-9)
    assert list(several.boxes) == [2, 3, 4]
    # Frames 1-2: two targets; 3-4: three; 5: two; 6-7: four; 8: three.
    assert model.asked == [2, 2, 2, 1, 2, 1, 2, 4, 4, 2, 1]


def test_a_number_is_never_used_again():
    several, image = MultiTracker(Fake()), frames(1)[0]
    assert [several.add(image, box) for box in BOXES[:2]] == [0, 1]
    several.remove(1)
    several.remove(0)
    assert several.boxes == {} and several.add(image, BOXES[0]) == 2


@pytest.mark.parametrize("settings", [None, Settings(found_above=0.99), Settings(hold=False)])
def test_settings(settings):
    images = frames(4)
    several = MultiTracker(Fake(), settings)
    for box in BOXES[:3]:
        several.add(images[0], box)
    made = [several.update(image) for image in images[1:]]
    for number in range(3):
        expected = alone(Fake(), images[0], BOXES[number], images[1:], settings)
        assert_same([results[number] for results in made], expected, 1e-9)
    assert made[0][0].found == (settings is None or settings.found_above < 0.5)


# ------------------------------------------------------------------ how many at once


@pytest.mark.parametrize(
    ("sizes", "can", "targets", "expected"),
    [
        ((8, 4, 2, 1), range(1, 99), 1, [1]),
        ((8, 4, 2, 1), range(1, 99), 2, [2]),
        ((8, 4, 2, 1), range(1, 99), 7, [4, 2, 1]),
        ((8, 4, 2, 1), range(1, 99), 8, [8]),
        ((8, 4, 2, 1), range(1, 99), 21, [8, 8, 4, 1]),
        ((1,), range(1, 99), 3, [1, 1, 1]),  # it could, and it does not pay
        ((8, 4, 2, 1), [1], 3, [1, 1, 1]),  # exported for one
        ((2, 8, 4), range(1, 99), 13, [8, 4, 1]),
    ],
)
def test_how_targets_are_put_together(sizes, can, targets, expected):
    assert batches(Fake(batches=sizes, can=tuple(can)), targets) == expected


def test_a_model_that_knows_no_batch():
    class Plain:
        spec = settings = embed = find = None

    assert batches(Plain(), 3) == [1, 1, 1]


def test_a_file_for_three_targets(tmp_path_factory):
    model, images = load_model(tiny(tmp_path_factory, "conv-3.onnx"), threads=1), frames(3)
    single = load_model(tiny(tmp_path_factory, "conv.onnx"), threads=1)
    assert [batches(model, targets) for targets in (1, 3, 7)] == [[1], [3], [3, 3, 1]]
    several = MultiTracker(model)
    for box in (*BOXES[:3], BOXES[0]):
        several.add(images[0], box)
    made = [several.update(image) for image in images[1:]]
    for number in range(3):
        expected = alone(single, images[0], BOXES[number], images[1:])
        assert_same([results[number] for results in made], expected)


def test_from_file(tmp_path_factory, tmp_path):
    path = tiny(tmp_path_factory, "conv.xml")
    several = MultiTracker.from_file(
        path, threads=2, precision="fp32", settings=Settings(found_above=0.9)
    )
    assert (several.model.threads, several.model.precision) == (2, "fp32")
    image = frames(1)[0]
    several.add(image, BOXES[0])
    assert not several.update(image)[0].found
    with pytest.raises(ConfigError, match="does not read"):
        MultiTracker.from_file(path, runtime="onnxruntime")
    with pytest.raises(CheckpointError, match="not there"):
        MultiTracker.from_file(tmp_path / "no.xml")


# ------------------------------------------------------------------ errors


def state(several):
    return several.boxes, [vars(one).copy() for one in several._trackers.values()]


@pytest.fixture
def following():
    """A tracker of three targets, and the frame it has just seen."""
    several, images = MultiTracker(Fake()), frames(2)
    for box in BOXES[:3]:
        several.add(images[0], box)
    several.update(images[1])
    return several, images[1]


def test_no_target():
    several, image = MultiTracker(Fake()), frames(1)[0]
    for _ in range(2):
        with pytest.raises(BadDataError, match=r"no target yet[\s\S]*tracker\.add"):
            several.update(image)
        several.add(image, BOXES[0])
        several.update(image)
        several.remove(several._next - 1)


@pytest.mark.parametrize("number", [3, -1, None, "0", 1.5, []])
def test_an_unknown_target(following, number):
    several, _ = following
    with pytest.raises(BadDataError, match=r"no target[\s\S]*targets: 0, 1, 2"):
        several.remove(number)
    assert len(several.boxes) == 3


def test_a_target_is_removed_once(following):
    several, _ = following
    several.remove(1)
    with pytest.raises(BadDataError, match=r"no target 1[\s\S]*targets: 0, 2"):
        several.remove(1)
    several.remove(0)
    several.remove(2)
    with pytest.raises(BadDataError, match="targets: none"):
        several.remove(0)


def test_a_frame_of_another_size(following):
    several, image = following
    before = state(several)
    other = np.ascontiguousarray(image[:-1])
    with pytest.raises(BadDataError, match="160 x 119 pixels follows frames of 160 x 120"):
        several.update(other)
    with pytest.raises(BadDataError, match="160 x 119 pixels follows frames of 160 x 120"):
        several.add(other, BOXES[0])
    assert state(several) == before and several.model.asked == [2, 1]
    for number in range(3):
        several.remove(number)
    assert several.add(other, BOXES[0]) == 3  # nothing is left that it would contradict
    several.update(other)


@pytest.mark.parametrize("image", [None, "frame.jpg", np.zeros((H, W, 3)), np.zeros((H, W), "u1")])
def test_what_is_no_frame(following, image):
    several, _ = following
    before = state(several)
    for call in (several.update, lambda image: several.add(image, BOXES[0])):
        with pytest.raises(BadDataError):
            call(image)
    assert state(several) == before


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (900, 0, 5, 5), (1, 2, 3), "abcd"])
def test_a_box_that_is_none(following, box):
    several, image = following
    with pytest.raises(BadDataError, match="box"):
        several.add(image, box)
    assert len(several.boxes) == 3
    assert several.add(image, BOXES[3]) == 3


@pytest.mark.parametrize("calls", [0, 1])
def test_a_model_that_fails_changes_nothing(calls):
    """In its first call or after others of the same frame."""
    model, images = Fake(), frames(4)
    several = MultiTracker(model)
    for box in BOXES[:3]:
        several.add(images[0], box)
    several.update(images[1])
    before = state(several)
    model.fails_after = len(model.asked) + calls
    with pytest.raises(RuntimeError, match="the model failed"):
        several.update(images[2])
    assert state(several) == before
    model.fails_after = 10**6
    made = several.update(images[3])
    for number in range(3):
        expected = alone(Fake(), images[0], BOXES[number], [images[1], images[3]])
        assert_same([made[number]], expected[1:], 1e-9)


def test_a_model_that_fails_at_a_template():
    class Refuses(Fake):
        def embed(self, template):
            raise RuntimeError("the model failed")

    several, image = MultiTracker(Refuses()), frames(1)[0]
    with pytest.raises(RuntimeError):
        several.add(image, BOXES[0])
    assert several.boxes == {}
    with pytest.raises(BadDataError, match="no target yet"):
        several.update(image)


def test_what_is_no_model():
    with pytest.raises(ConfigError, match=r"needs a model[\s\S]*from_file"):
        MultiTracker("tracker.xml")
