"""Which frames make a pair."""

from collections import Counter

import numpy as np
import pytest

from lightvit_bench.data.sequence import Annotation, Sequence
from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.tracking.training.pair_sampler import PairSampler, causal_frames


def sequence(name, visible, dataset="set", still=False):
    """A sequence whose frames nobody reads."""
    visible = np.asarray(visible, bool)
    count = len(visible)
    annotation = Annotation(np.full((count, 4), 9.0), visible, np.full(count, np.nan))
    return Sequence(dataset, name, range(count), lambda: annotation, still)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_search_frame_comes_after_and_within_the_gap():
    usable = np.flatnonzero(np.arange(1000) % 3 != 0)
    later = []
    for seed in range(3000):
        template, search = causal_frames(rng(seed), usable, 200)
        assert template in usable and search in usable
        later.append(search - template)
    assert min(later) == 1 and 195 < max(later) < 200
    # Uniform in 1 ... 199 but for templates of the last fifth, which have less after them.
    assert np.mean(later) == pytest.approx(90, abs=4)


def test_the_gap_grows_where_nothing_is_near():
    usable = np.array([0, 500])
    assert {causal_frames(rng(seed), usable, 200) for seed in range(20)} == {(0, 500)}
    # A near pair is found first, but a gap that has grown finds others too.
    usable = np.array([0, 50, 54, 400])
    found = Counter(causal_frames(rng(seed), usable, 10) for seed in range(200))
    assert found[(50, 54)] > 150


def test_unusable_frames_are_never_drawn():
    video = sequence("a", np.arange(60) % 2)
    sampler = PairSampler([([video], 1)])
    for seed in range(100):
        pair = sampler.draw(rng(seed))
        assert pair.template % 2 == pair.search % 2 == 1 and pair.template < pair.search


def test_sequences_too_short_do_not_count():
    good = sequence("good", [True] * 20)
    short = sequence("short", [True] * 19)
    hidden = sequence("hidden", [True] * 4 + [False] * 40)
    empty_still = sequence("nothing", [False], still=True)
    sampler = PairSampler([([short, hidden, empty_still, good], 1)])
    assert {sampler.draw(rng(seed)).sequence.name for seed in range(50)} == {"good"}
    enough = PairSampler([([sequence("b", [True] * 5 + [False] * 15)], 1)])
    assert enough.draw(rng()).sequence.name == "b"
    with pytest.raises(BadDataError, match="none of 1000 .*trained on"):
        PairSampler([([short, hidden], 1)]).draw(rng())


def test_a_still_gives_both_frames():
    sampler = PairSampler([([sequence("photo", [True], still=True)], 1)])
    pair = sampler.draw(rng())
    assert (pair.template, pair.search) == (0, 0)


def test_data_sets_are_drawn_by_ratio_and_sequences_evenly():
    sets = [
        ([sequence(str(i), [True] * 30, "few") for i in range(2)], 3),
        ([sequence(str(i), [True] * 30, "many") for i in range(20)], 1),
        ([], 0),
    ]
    sampler = PairSampler(sets)
    pairs = [sampler.draw(rng(seed)) for seed in range(4000)]
    counts = Counter(pair.sequence.dataset for pair in pairs)
    assert counts["few"] / 4000 == pytest.approx(0.75, abs=0.02)
    first = sum(pair.sequence is sets[0][0][0] for pair in pairs)
    assert first / counts["few"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("ratios", [[], [0], [-1], [float("nan")]])
def test_ratios_must_make_sense(ratios):
    videos = [sequence("a", [True] * 30)]
    with pytest.raises(ConfigError, match="ratios"):
        PairSampler([(videos, ratio) for ratio in ratios])
    with pytest.raises(ConfigError, match="no sequence"):
        PairSampler([(videos, 1), ([], 1)])
    with pytest.raises(ConfigError, match="gap"):
        PairSampler([(videos, 1)], gap=1)


def test_the_gap_grows_by_five_a_draw():
    class First:
        """Draws the first of everything, and counts."""

        draws = 0

        def integers(self, count):
            self.draws += 1
            return 0

    drawn = First()
    assert causal_frames(drawn, np.array([0, 12, 50]), 10) == (0, 12)
    assert drawn.draws == 3  # less than 10 frames on, less than 15, and which of those there are
    drawn = First()
    assert causal_frames(drawn, np.array([0, 15, 50]), 10) == (0, 15)
    assert drawn.draws == 4
