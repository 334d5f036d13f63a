"""The tracker: the authors' test loop, and what people do to it."""

import copy
import math
import resource
import tracemalloc
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
import torch

from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.tracking.answers import ArrayMaps, FromMaps, Settings, box_at, with_settings
from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker
from lightvit_bench.tracking.published import from_ostrack
from lightvit_bench.tracking.torch_model import TorchModel
from lightvit_bench.tracking.tracker import Tracker

HEIGHT, WIDTH = 90, 120
AS_THE_AUTHORS = Settings(found_above=0.0, hold=False)
SMALL = NetworkSpec(
    preset="vit_test", template_size=32, search_size=64, head_channels=8, eliminate=(1,)
)


@dataclass(frozen=True)
class Region:
    template_size: int = 16
    search_size: int = 32
    template_factor: float = 2.0
    search_factor: float = 4.0


@dataclass
class Fake(FromMaps):
    """A model that answers what `answer(search, box_wh)` says: score, then the box's fractions."""

    answer: callable
    settings: Settings = field(default_factory=Settings)
    spec: Region = field(default_factory=Region)
    cells: int = 8

    def embed(self, template):
        return template

    def maps(self, embedded, search, box_wh):
        score, (cx, cy, w, h) = self.answer(search, box_wh)
        row, column = (min(max(int(c * self.cells), 0), self.cells - 1) for c in (cy, cx))
        made = ArrayMaps(
            np.full((self.cells, self.cells), min(1e-4, score), np.float32),
            np.zeros((2, self.cells, self.cells), np.float32),
            np.zeros((2, self.cells, self.cells), np.float32),
        )
        made.score[row, column] = score
        made.size[:, row, column] = w, h
        made.offset[:, row, column] = cx * self.cells - column, cy * self.cells - row
        return made


def noise(seed=0, shape=(HEIGHT, WIDTH, 3)):
    return np.random.default_rng(seed).integers(60, 140, shape, dtype=np.uint8)


def find_bright(search, box_wh):
    """The box around what is white in a region of grey noise; a low score where nothing is."""
    rows, columns = np.nonzero(search.min(axis=2) > 200)
    if len(rows) < 4:
        return 0.05, (0.5, 0.5, 3.0, 3.0)  # nonsense that must not be believed
    x1, x2 = columns.min() / 32, (columns.max() + 1) / 32
    y1, y2 = rows.min() / 32, (rows.max() + 1) / 32
    return 0.9, ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)


def white_box(x, y, seed, size=16):
    """A frame with a white square whose left upper corner is (x, y); it may be outside."""
    image = noise(seed)
    image[max(y, 0) : max(y + size, 0), max(x, 0) : max(x + size, 0)] = 255
    return image


def overlap(a, b):
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(0, w) * max(0, h)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def assert_sane(result, height=HEIGHT, width=WIDTH):
    x, y, w, h = result.box
    assert all(type(value) is float and math.isfinite(value) for value in result.box)
    assert type(result.score) is float and 0 <= result.score <= 1
    assert type(result.found) is bool
    assert x >= 0 and y >= 0 and w > 0 and h > 0
    assert x + w <= width + 1e-6 and y + h <= height + 1e-6


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small tensors: where cores are busy, threads would wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small_network():
    torch.manual_seed(0)
    return OneStreamTracker(SMALL).eval()


# ------------------------------------------------------------------ the authors' test loop


def literal_tracker(network, frames, box):
    """The authors' loop, spelled out: no settings, nothing held, nothing shared with ours."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)

    def sample(image, state, factor, size):
        x, y, w, h = state
        side = math.ceil(math.sqrt(w * h) * factor)
        left, top = round(x + 0.5 * w - side * 0.5), round(y + 0.5 * h - side * 0.5)
        right, bottom = left + side, top + side
        pads = [
            max(0, -top),
            max(bottom - image.shape[0] + 1, 0),
            max(0, -left),
            max(right - image.shape[1] + 1, 0),
        ]
        cut = image[top + pads[0] : bottom - pads[1], left + pads[2] : right - pads[3]]
        cut = cv2.copyMakeBorder(cut, *pads, cv2.BORDER_CONSTANT)
        patch = torch.from_numpy(cv2.resize(cut, (size, size))).permute(2, 0, 1).float()
        return ((patch / 255 - mean) / std)[None], size / side

    k = torch.arange(1, 17).float()
    axis = 0.5 * (1 - torch.cos(2 * math.pi / 17 * k))
    window = axis[:, None] * axis[None, :]
    template, _ = sample(frames[0], box, 2.0, 128)
    state, states = box, []
    for image in frames[1:]:
        search, scale = sample(image, state, 4.0, 256)
        with torch.no_grad():
            maps = network(template, search).maps
        best = int((window * maps.score[0, 0]).flatten().argmax())
        row, column = best // 16, best % 16
        x = (column + maps.offset[0, 0, row, column]) / 16
        y = (row + maps.offset[0, 1, row, column]) / 16
        w, h = maps.size[0, :, row, column]
        cx, cy, w, h = (torch.stack([x, y, w, h]) * 256 / scale).tolist()
        half = 0.5 * 256 / scale
        cx += state[0] + 0.5 * state[2] - half
        cy += state[1] + 0.5 * state[3] - half
        height, width = image.shape[:2]
        x1, y1, x2, y2 = cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h
        x1, x2 = min(max(0, x1), width - 10), min(max(10, x2), width)
        y1, y2 = min(max(0, y1), height - 10), min(max(10, y2), height)
        state = [x1, y1, max(10, x2 - x1), max(10, y2 - y1)]
        states.append((state, maps.score[0, 0, row, column].item()))
    return states


@pytest.fixture(scope="module")
def published(golden, tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "OSTrack_ep0300.pth.tar"
    torch.save(golden.checkpoints()[path.name], path)
    return from_ostrack(path).network


@pytest.mark.parametrize("smaller", [0.0, 0.9, 1.2])
def test_twenty_frames_as_the_authors_track_them(published, shared, smaller):
    """With arbitrary weights the box soon fills the frame; with smaller sizes it wanders."""
    published = copy.deepcopy(published)
    with torch.no_grad():
        published.head.size[4].bias -= smaller
    folder = shared / "data/sequences/bag"
    first = [float(v) for v in (folder / "groundtruth.txt").read_text().split()[0].split(",")]
    files = sorted((folder / "img").glob("*.jpg"))[:21]
    frames = [cv2.imread(str(path))[:, :, ::-1].copy() for path in files]
    expected = literal_tracker(published, frames, first)
    tracker = Tracker(TorchModel(published), AS_THE_AUTHORS)
    tracker.init(frames[0], first)
    for image, (box, score) in zip(frames[1:], expected, strict=True):
        result = tracker.update(image)
        assert result.box == pytest.approx(box, abs=1e-6)
        assert result.score == pytest.approx(score, abs=1e-7)
        assert result.found
    boxes = [box for box, _ in expected]
    clipped = sum(box[0] + box[2] > 480 - 1e-3 for box in boxes)
    assert clipped > 5 if smaller < 1 else clipped == 0
    if smaller:
        assert len({tuple(box) for box in boxes}) == 20


# ------------------------------------------------------------------ following, losing, finding


def test_a_target_is_followed():
    tracker = Tracker(Fake(find_bright))
    tracker.init(white_box(30, 30, 0), (30, 30, 16, 16))
    for i in range(1, 40):
        x, y = 30 + 2 * i, 30 + i // 2
        if x > WIDTH - 16:
            break
        result = tracker.update(white_box(x, y, i))
        assert_sane(result)
        assert result.found and result.score == pytest.approx(0.9)
        assert overlap(result.box, (x, y, 16, 16)) > 0.7
    assert i > 30


def test_a_target_that_leaves_and_comes_back_near():
    tracker = Tracker(Fake(find_bright))
    tracker.init(white_box(80, 40, 0), (80, 40, 16, 16))
    path = [80 + 3 * i for i in range(1, 20)] + [WIDTH + 50] * 30
    held = None
    for i, x in enumerate(path):
        result = tracker.update(white_box(x, 40, i))
        assert_sane(result)
        if x >= WIDTH:
            assert not result.found and result.score < 0.25
            assert held in (None, result.box)  # it waits where the target was seen last
            held = result.box
    assert held is not None and held[0] + held[2] > WIDTH - 10
    for i in range(1, 12):
        x = WIDTH - 3 * i - 4
        result = tracker.update(white_box(x, 44, i))
        assert_sane(result)
    assert result.found and overlap(result.box, (x, 44, 16, 16)) > 0.7


def test_without_holding_the_box_moves_on():
    answer = lambda search, wh: (0.1, (0.7, 0.5, *wh))  # noqa: E731
    held, free = Tracker(Fake(answer)), Tracker(Fake(answer), Settings(hold=False))
    for tracker in (held, free):
        tracker.init(noise(), (40, 30, 20, 20))
    for i in range(3):
        assert not (a := held.update(noise(i))).found and a.box == (40, 30, 20, 20)
        assert not (b := free.update(noise(i))).found and b.box[0] > 40
    assert tracker.box == b.box


def test_the_models_settings_hold_unless_others_are_given():
    model = Fake(lambda search, wh: (0.5, (0.5, 0.5, *wh)), Settings(found_above=0.6))
    for settings, found in ((None, False), (Settings(found_above=0.4), True)):
        tracker = Tracker(model, settings)
        tracker.init(noise(), (40, 30, 20, 20))
        assert tracker.update(noise()).found is found


def test_the_window_prefers_the_middle():
    """Of two equal scores the one near the last place wins; a higher one far away may win."""

    class Two(Fake):
        def maps(self, embedded, search, box_wh):
            made = super().maps(embedded, search, box_wh)
            made.score[0, 0] = self.far
            return made

    model = Two(lambda search, wh: (0.5, (0.55, 0.55, *wh)))
    for far, middle in ((0.5, True), (0.9, True), (1.0, True)):
        model.far = far
        tracker = Tracker(model)
        tracker.init(noise(), (50, 35, 20, 20))
        result = tracker.update(noise())
        assert (result.score == pytest.approx(0.5)) is middle  # 0.1 of the window at a corner cell


def test_the_prior_is_told_the_last_box():
    seen = []

    def answer(search, wh):
        seen.append(wh)
        return 0.9, (0.5, 0.5, 0.5 * wh[0], wh[1])

    tracker = Tracker(Fake(answer))
    tracker.init(noise(), (30, 20, 40, 22.5))
    tracker.update(noise())
    side = math.ceil(math.sqrt(40 * 22.5) * 4)
    assert seen[0] == pytest.approx((40 / side, 22.5 / side))
    tracker.update(noise())
    side = math.ceil(math.sqrt(20 * 22.5) * 4)
    assert seen[1] == pytest.approx((20 / side, 22.5 / side), rel=1e-3)


def test_the_network_is_told_the_last_box_where_it_prunes_with_it():
    torch.manual_seed(0)
    spec = NetworkSpec(
        preset="vit_test", template_size=32, search_size=128, head="mlp", eliminate=(),
        prune_after=1, keep=0.3,
    )  # fmt: skip
    network = OneStreamTracker(spec).eval()
    model, image = TorchModel(network), noise(0, (128, 128, 3))
    embedded = model.embed(image[:32, :32])
    for wh in ((0.8, 0.1), (0.1, 0.8)):
        made = model.maps(embedded, image, wh)
        with torch.no_grad():
            pixels = [model._pixels(patch) for patch in (image[:32, :32], image)]
            expected = network(*pixels, prior_wh=torch.tensor([wh])).maps.score[0, 0].numpy()
        assert np.array_equal(made.score, expected) and (made.score > 0).sum() == 20
        rows, columns = np.nonzero(made.score)
        assert (np.ptp(columns) > np.ptp(rows)) == (wh[0] > wh[1])


def test_a_box_read_from_a_cell():
    rng, two = np.random.default_rng(0), (2, 3, 5)
    maps = ArrayMaps(*(rng.random(shape, np.float32) for shape in ((3, 5), two, two)))
    made = box_at(maps, 7)
    expected = [
        (2 + maps.offset[0, 1, 2]) / 5, (1 + maps.offset[1, 1, 2]) / 3, *maps.size[:, 1, 2],
    ]  # fmt: skip
    assert made.dtype == np.float32 and np.allclose(made, expected)


# ---------------------------------------------------------------------- black and even frames


def run_on_black(tracker, count=10_000, trace=True):
    """The boxes of `count` black frames, each checked. Memory must not grow."""
    tracker.init(noise(), (40, 30, 20, 20))
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for _ in range(200):
        tracker.update(black)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB
    if trace:
        tracemalloc.start()
    try:
        boxes = set()
        for _ in range(count - 200):
            result = tracker.update(black)
            assert_sane(result)
            assert not result.found
            boxes.add(result.box)
        now, peak = tracemalloc.get_traced_memory()  # zeros where it does not run
    finally:
        tracemalloc.stop()
    # The largest region is 4 sqrt(90 * 120) = 416 pixels a side: half a megabyte.
    assert now < 2**20 and peak < 4 * 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < 32 * 1024
    return boxes


def twice(search, wh):
    return 0.9, (0.5, 0.5, 2 * wh[0], 2 * wh[1])


@pytest.mark.parametrize("settings", [Settings(), AS_THE_AUTHORS], ids=["held", "free"])
def test_ten_thousand_black_frames_and_a_box_that_wants_to_double(settings):
    boxes = run_on_black(Tracker(Fake(twice), settings))
    expected = (40, 30, 20, 20) if settings.hold else (0, 0, WIDTH, HEIGHT)
    assert boxes == {expected}


def test_ten_thousand_black_frames_and_a_network():
    torch.manual_seed(0)
    spec = NetworkSpec(
        preset="vit_test", template_size=16, search_size=32, head_channels=8, eliminate=(1,)
    )
    run_on_black(Tracker(TorchModel(OneStreamTracker(spec)), AS_THE_AUTHORS), trace=False)


def test_a_box_that_doubles_on_real_frames_stays_in_the_frame():
    tracker = Tracker(Fake(twice))
    tracker.init(noise(), (40, 30, 20, 20))
    for i in range(50):
        result = tracker.update(noise(i))
        assert_sane(result)
        assert result.found
    assert result.box == (0, 0, WIDTH, HEIGHT)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 30, 90)])
@pytest.mark.parametrize("box", [(40, 30, 20, 20), (0, 0, 20, 20), (-8, 70, 30, 30)])
def test_frames_without_texture_show_no_target(colour, box):
    """Also where the region reaches beyond the edge, and its black makes it look like something."""
    tracker = Tracker(Fake(twice))
    tracker.init(noise(), box)
    even = np.full((HEIGHT, WIDTH, 3), colour, np.uint8)
    even[::3, ::2] += 3 if max(colour) < 200 else 0  # what compression leaves
    for _ in range(20):
        result = tracker.update(even)
        assert not result.found and result.box == tuple(map(float, box))
    assert tracker.update(noise(1)).found


def test_a_region_wholly_outside_shows_no_target():
    """Of a long box that touches the frame, the middle may be far outside."""
    tracker = Tracker(Fake(twice))
    tracker.init(noise(), (-300, 40, 305, 2))
    result = tracker.update(noise(1))
    assert not result.found and result.box == (-300, 40, 305, 2)


def test_a_small_thing_on_an_even_ground_is_no_even_frame():
    image = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    image[36:44, 46:54, 1] = 120
    tracker = Tracker(Fake(lambda search, wh: (0.9, (0.5, 0.5, *wh))))
    tracker.init(image, (45, 35, 10, 10))
    assert tracker.update(image).found


def seen(search, box_wh):
    return 0.9, (0.5, 0.5, *box_wh)


def test_dark_frames_are_no_even_frames():
    """A confident network is believed on what a night camera shows."""
    dark = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    dark[::5, ::4] = 7
    tracker = Tracker(Fake(seen))
    tracker.init(noise(), (40, 30, 20, 20))
    assert tracker.update(dark).found
    assert not tracker.update(dark // 2).found  # 0 and 3


@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("at", [(0, 0), (20, 37), (69, 79), (44, 51)])
@pytest.mark.parametrize("value", [96, 104])
def test_every_pixel_of_the_region_counts(at, channel, value):
    """The region is 40 to 120 by 20 to 100, of which a frame of 90 rows has 70."""
    even = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    tracker = Tracker(Fake(seen, Settings(flat_below=4)))
    tracker.init(even, (70, 50, 20, 20))
    assert not tracker.update(even).found
    tracker.init(even, (70, 50, 20, 20))  # or it is looked for farther away
    even[19, 60] = even[50, 39] = 255  # beside it
    assert not tracker.update(even).found
    tracker.init(even, (70, 50, 20, 20))
    even[20 + at[0], 40 + at[1], channel] = value
    assert tracker.update(even).found


def test_a_tiny_dark_target_in_a_large_even_frame():
    even = np.full((720, 1280, 3), 128, np.uint8)
    even[401:403, 601:603] = 0
    tracker = Tracker(Fake(seen))
    tracker.init(even, (400, 250, 400, 300))
    assert tracker.update(even).found


def test_the_flat_test_is_a_setting():
    even = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    even[40, 50] = 109
    for below, found in ((0, True), (9, True), (10, False), (256, False)):
        tracker = Tracker(Fake(seen, Settings(flat_below=below)))
        tracker.init(even, (40, 30, 20, 20))
        assert tracker.update(even).found is found


# ------------------------------------------------------------------------------- bad numbers


def broken(part, value, everywhere):
    class Broken(Fake):
        on = True

        def maps(self, embedded, search, box_wh):
            made = super().maps(embedded, search, box_wh)
            if self.on:
                target = getattr(made, part)
                target[... if everywhere else (..., 4, 4)] = value
            return made

    return Broken(lambda search, wh: (0.9, (0.55, 0.55, *wh)))


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("part", ["score", "size", "offset"])
def test_what_is_no_number_does_not_reach_the_box(part, value, everywhere, hold):
    model = broken(part, value, everywhere)
    tracker = Tracker(model, Settings(hold=hold))
    tracker.init(noise(), (40, 30, 20, 20))
    for i in range(3):
        result = tracker.update(noise(i))
        assert_sane(result)
        assert (result.found, result.score, result.box) == (False, 0.0, (40, 30, 20, 20))
    model.on = False
    result = tracker.update(noise(9))
    assert result.found and result.box == pytest.approx((44, 34, 20, 20))


def test_sizes_of_nothing_become_the_least_box():
    tracker = Tracker(Fake(lambda search, wh: (0.9, (0.5, 0.5, 0.0, -0.5))))
    tracker.init(noise(), (40, 30, 20, 20))
    for i in range(5):
        assert_sane(tracker.update(noise(i)))
    assert tracker.box[2:] == (10, 10)


# --------------------------------------------------------------------------------- bad input


BAD_IMAGES = {
    "grey": (np.zeros((HEIGHT, WIDTH), np.uint8), "shape"),
    "one channel": (np.zeros((HEIGHT, WIDTH, 1), np.uint8), "shape"),
    "RGBA": (np.zeros((HEIGHT, WIDTH, 4), np.uint8), "alpha"),
    "float": (np.zeros((HEIGHT, WIDTH, 3), np.float32), "uint8"),
    "16 bits": (np.zeros((HEIGHT, WIDTH, 3), np.uint16), "uint8"),
    "no rows": (np.zeros((0, WIDTH, 3), np.uint8), "no pixel"),
    "no columns": (np.zeros((HEIGHT, 0, 3), np.uint8), "no pixel"),
    "channels first": (np.zeros((3, HEIGHT, WIDTH), np.uint8), "shape"),
    "list": ([[[0, 0, 0]]], "list"),
    "None": (None, "NoneType"),
    "name": ("frame.jpg", "str"),
    "tensor": (torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8), "Tensor"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images_are_refused_and_nothing_is_lost(name):
    image, says = BAD_IMAGES[name]
    fresh, tracker = Tracker(Fake(find_bright)), Tracker(Fake(find_bright))
    with pytest.raises(BadDataError, match=says):
        fresh.init(image, (40, 30, 16, 16))
    assert fresh.box is None
    tracker.init(white_box(40, 30, 0), (40, 30, 16, 16))
    for call in (lambda: tracker.update(image), lambda: tracker.init(image, (1, 1, 5, 5))):
        with pytest.raises(BadDataError, match=says):
            call()
        assert tracker.box == (40, 30, 16, 16)
    assert tracker.update(white_box(42, 30, 1)).found


BAD_BOXES = {
    "NaN": ((math.nan, 1, 5, 5), "not finite"),
    "infinite": ((1, 1, math.inf, 5), "not finite"),
    "no width": ((1, 1, 0, 5), "no size"),
    "negative": ((10, 10, 5, -5), "no size"),
    "next to nothing": ((10, 10, 1e-200, 1e-200), "cannot be cropped"),
    "left of it": ((-20, 10, 20, 20), "outside"),
    "right of it": ((WIDTH, 10, 20, 20), "outside"),
    "above it": ((10, -30, 20, 20), "outside"),
    "below it": ((10, HEIGHT, 20, 20), "outside"),
    "far too large": ((-1e6, -1e6, 2e6, 2e6), "far larger"),
    "too large for a float": ((10**400, 1, 5, 5), "four numbers"),
    "three numbers": ((1, 2, 3), "four numbers"),
    "five numbers": ((1, 2, 3, 4, 5), "four numbers"),
    "string": ("1,2,3,4", "four numbers"),
    "string of digits": ("1234", "four numbers"),
    "strings": (("1", "2", "3", "4"), "four numbers"),
    "bytes": ((b"1", b"2", b"3", b"4"), "four numbers"),
    "None": (None, "four numbers"),
    "Nones": ((None,) * 4, "four numbers"),
    "number": (5, "four numbers"),
    "corners": (((1, 2), (3, 4)), "four numbers"),
}


@pytest.mark.parametrize("name", BAD_BOXES)
def test_bad_boxes_are_refused_and_nothing_is_lost(name):
    box, says = BAD_BOXES[name]
    tracker = Tracker(Fake(find_bright))
    with pytest.raises(BadDataError, match=says):
        tracker.init(noise(), box)
    assert tracker.box is None
    tracker.init(white_box(40, 30, 0), (40, 30, 16, 16))
    with pytest.raises(BadDataError, match=says):
        tracker.init(noise(), box)
    assert tracker.box == (40, 30, 16, 16) and tracker.update(white_box(41, 30, 1)).found


@pytest.mark.parametrize(
    "box",
    [
        (-10, 40, 20, 16),
        (WIDTH - 3, HEIGHT - 3, 40, 40),
        (0, 0, WIDTH, HEIGHT),
        (-30, -30, 2 * WIDTH, 2 * HEIGHT),
        (50, 40, 0.5, 0.5),
        (10, 44.5, 100, 1),
        np.float32([40, 30, 16, 16]),
        torch.tensor([40, 30, 16, 16]),
        [40, 30, 16, 16],
    ],
    ids=str,
)
def test_unusual_boxes_are_taken(box):
    tracker = Tracker(Fake(lambda search, wh: (0.9, (0.5, 0.5, *wh))))
    tracker.init(noise(), box)
    assert tracker.box == tuple(float(v) for v in box)
    for i in range(5):
        assert_sane(tracker.update(noise(i)))


@pytest.mark.parametrize("which", ["template_factor", "search_factor"])
def test_a_box_that_would_exhaust_memory_is_refused(which):
    """A frame of 3000 x 2000: a square of up to 4 x 3000 + 1024 = 13024 pixels a side."""
    image = np.broadcast_to(np.uint8(9), (2000, 3000, 3))
    factors = {"template_factor": 0.01, "search_factor": 0.01, which: 4.0}
    model, cropped = Fake(seen, spec=Region(**factors)), []
    model.embed = cropped.append
    tracker = Tracker(model)
    with pytest.raises(BadDataError, match="(?s)far larger.* 13028 pixels .* most 13024"):
        tracker.init(image, (-100, -100, 3257, 3257))
    assert tracker.box is None and not cropped
    if which == "search_factor":  # the template's would be cut out
        tracker.init(image, (-100, -100, 3256, 3256))
        assert len(cropped) == 1


def test_a_box_as_large_as_a_frame_is_taken_with_any_factor():
    image = noise(0, (300, 300, 3))
    for factor in (2.0, 5.0, 9.0):
        tracker = Tracker(Fake(seen, spec=Region(search_factor=factor)))
        tracker.init(image, (0, 0, 300, 300))
        assert_sane(tracker.update(image), 300, 300)


def test_before_there_is_a_target():
    with pytest.raises(BadDataError, match="no target yet"):
        Tracker(Fake(find_bright)).update(noise())


def test_a_frame_of_another_size_changes_nothing(small_network):
    frames = [noise(i) for i in range(4)]
    tracker, other = (Tracker(TorchModel(small_network), AS_THE_AUTHORS) for _ in range(2))
    for one in (tracker, other):
        one.init(frames[0], (40, 30, 20, 20))
    for image in frames[1:]:
        for shape in ((HEIGHT + 1, WIDTH, 3), (WIDTH, HEIGHT, 3), (1, 1, 3)):
            with pytest.raises(BadDataError, match="pixels follows frames of 120 x 90"):
                tracker.update(np.zeros(shape, np.uint8))
        assert tracker.update(image) == other.update(image)


def test_a_model_that_fails_changes_nothing():
    class Fails(Fake):
        on = False

        def embed(self, template):
            return self.maps(template, template, (0, 0)) if self.on else template

        def maps(self, embedded, search, box_wh):
            if self.on:
                raise RuntimeError("out of memory")
            return super().maps(embedded, search, box_wh)

    model = Fails(find_bright)
    tracker = Tracker(model)
    tracker.init(white_box(40, 30, 0), (40, 30, 16, 16))
    model.on = True
    for call in (lambda: tracker.update(noise()), lambda: tracker.init(noise(), (1, 1, 9, 9))):
        with pytest.raises(RuntimeError):
            call()
    model.on = False
    assert tracker.box == (40, 30, 16, 16) and tracker.update(white_box(41, 31, 1)).found


@pytest.mark.parametrize("shape", [(1, 1), (4, 7), (9, 9), (10, 10), (3, 200)])
def test_tiny_frames(shape, small_network):
    height, width = shape
    rng = np.random.default_rng(0)
    for model in (Fake(twice), TorchModel(small_network)):
        tracker = Tracker(model, AS_THE_AUTHORS)
        tracker.init(noise(0, (height, width, 3)), (0, 0, width, height))
        for _ in range(10):
            image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            assert_sane(tracker.update(image), height, width)


def test_views_are_frames_too():
    """A mirrored view, as BGR frames turned to RGB are, without a copy."""
    tracker, other = Tracker(Fake(find_bright)), Tracker(Fake(find_bright))
    frames = [white_box(40 + i, 30, i) for i in range(5)]
    tracker.init(frames[0][..., ::-1], (40, 30, 16, 16))
    other.init(frames[0][..., ::-1].copy(), (40, 30, 16, 16))
    for image in frames[1:]:
        assert tracker.update(image[..., ::-1]) == other.update(image[..., ::-1].copy())


def test_frames_and_boxes_are_left_alone(small_network):
    tracker = Tracker(TorchModel(small_network), AS_THE_AUTHORS)
    image, box = noise(), np.array([40.0, 30.0, 20.0, 20.0])
    before = image.copy()
    tracker.init(image, box)
    box[:] = 0
    result = tracker.update(image)
    assert np.array_equal(image, before) and result.box[2] > 0
    read_only = noise(3)
    read_only.flags.writeable = False
    tracker.update(read_only)


# ----------------------------------------------------------------------------- many trackers


def test_trackers_that_share_a_model_do_not_disturb_one_another(small_network):
    model = TorchModel(small_network)
    tracks = [
        ((40, 30, 20, 20), [noise(i) for i in range(6)]),
        ((10, 60, 30, 12), [noise(100 + i, (120, 100, 3)) for i in range(6)]),
        ((80, 5, 15, 40), [noise(i) for i in range(6)]),
    ]
    alone = []
    for box, frames in tracks:
        tracker = Tracker(model, AS_THE_AUTHORS)
        tracker.init(frames[0], box)
        alone.append([tracker.update(image) for image in frames[1:]])
    trackers = [Tracker(model, AS_THE_AUTHORS) for _ in tracks]
    for tracker, (box, frames) in zip(trackers, tracks, strict=True):
        tracker.init(frames[0], box)
    together = [[] for _ in tracks]
    for i in range(1, 6):
        for j in (2, 0, 1):
            together[j].append(trackers[j].update(tracks[j][1][i]))
    assert together == alone
    assert len({result.box for results in alone for result in results}) > 10


def test_init_twice_is_a_new_tracker(small_network):
    model = TorchModel(small_network)
    used, fresh = Tracker(model, AS_THE_AUTHORS), Tracker(model, AS_THE_AUTHORS)
    used.init(noise(5, (60, 80, 3)), (5, 5, 20, 20))
    for i in range(3):
        used.update(noise(i, (60, 80, 3)))
    for tracker in (used, fresh):
        tracker.init(noise(), (40, 30, 20, 20))
    for i in range(3):
        assert used.update(noise(i)) == fresh.update(noise(i))


def test_settings():
    assert with_settings(Settings(), found_above=0.5) == Settings(found_above=0.5)
    for changes in (
        {"found_over": 0.5}, {"found_above": 1.5}, {"found_above": math.nan},
        {"found_above": "0.5"}, {"found_above": True},
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="found_"):
            with_settings(Settings(), **changes)
    for changes in ({"hold": "no"}, {"flat_below": -1}, {"flat_below": 4.5}, {"flat_below": 257}):
        with pytest.raises(ConfigError, match=next(iter(changes))):
            with_settings(Settings(), **changes)


class Bright(FromMaps):
    """A model that sees bright pixels, and nothing where there are none."""

    spec = NetworkSpec("vit_test", template_size=32, search_size=64, eliminate=())
    settings = Settings()

    def embed(self, template):
        return None

    def maps(self, embedded, search, box_wh):
        rows, columns = np.nonzero(search[:, :, 0] > 150)
        score, size, offset = (np.zeros((n, 4, 4), np.float32) for n in (1, 2, 2))
        if len(rows):
            x, y = columns.mean() + 0.5, rows.mean() + 0.5
            cell = int(y // 16), int(x // 16)
            score[0][cell] = 0.9
            offset[(slice(None), *cell)] = x / 16 - cell[1], y / 16 - cell[0]
            size[(slice(None), *cell)] = (np.ptp(columns) + 1) / 64, (np.ptp(rows) + 1) / 64
        return ArrayMaps(score[0], size, offset)


def test_a_target_that_left_in_part_is_found_where_it_comes_back():
    """Last seen as a sliver at the edge, whose own search region would not reach it again."""

    def frame(left):
        image = np.random.default_rng(0).integers(0, 60, (240, 320, 3), np.uint8)
        image[100:140, max(left, 0) : max(left + 40, 0)] = 255
        return image

    tracker = Tracker(Bright())
    tracker.init(frame(60), (60, 100, 40, 40))
    for left in range(56, -36, -4):
        assert tracker.update(frame(left)).found
    sliver = tracker.box
    assert sliver[2] < 14 and sliver[0] < 2
    for _ in range(10):
        result = tracker.update(frame(-60))
        assert not result.found and result.box == sliver  # what is told is what was seen
    assert tracker.update(frame(65)).found  # at the edge of the region, and whole in the next
    back = tracker.update(frame(65))
    assert back.box == pytest.approx((65, 100, 40, 40), abs=3)
    assert 4 * (sliver[2] * sliver[3]) ** 0.5 / 2 < 65  # half the side of its own region


def test_the_search_for_a_lost_target_has_a_limit():
    tracker = Tracker(Bright(), Settings(flat_below=0))
    even = np.zeros((240, 320, 3), np.uint8)
    tracker.init(even, (140, 100, 40, 40))
    for _ in range(200):
        assert tracker.update(even).box == (140, 100, 40, 40)
    even[100:104, 300:304] = 255  # 140 px from the middle: beyond 4 * 40 * 1.5 / 2
    assert not tracker.update(even).found
    even[100:104, 270:274] = 255
    assert tracker.update(even).found


def test_what_computes_no_crops_is_refused():
    network = OneStreamTracker(NetworkSpec("vit_test", 32, 64, eliminate=()))
    with pytest.raises(ConfigError, match="TorchModel"):
        Tracker(network)
