"""A draw is augmented as it always was, wherever it is asked for."""

import pickle
import random

import numpy as np
import pytest
import torch

from lightvit_bench.openmmlab.replay import (
    Draw,
    Replayable,
    ReplayableIterations,
    ReplayableSampler,
)


class Numbers:
    """A data set whose samples are random."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return int(index), random.random(), np.random.rand()


class Replayed(Replayable, Numbers):
    pass


def draws(count: int, skip: int = 0) -> list[Draw]:
    sampler = ReplayableSampler(Numbers(), shuffle=True, seed=3)
    if skip:
        sampler.skip(skip)
    stream = iter(sampler)
    return [next(stream) for _ in range(count)]


def test_sampler_goes_on_where_the_run_stopped():
    whole, rest = draws(25), draws(10, skip=15)
    assert rest == whole[15:]
    assert [d.number for d in rest] == list(range(15, 25))


def test_an_epoch_sees_every_sample():
    assert sorted(draws(10)) == list(range(10))


def test_ranks_share_the_stream_without_overlap(monkeypatch):
    whole = draws(20)
    for rank in range(2):
        monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda rank=rank: (rank, 2))
        mine = draws(10)
        assert mine == whole[rank::2]
        assert [d.number for d in mine] == list(range(rank, 20, 2))


def test_sample_depends_on_the_draw_alone():
    dataset = Replayed()
    first = dataset[Draw(4, seed=3, number=17)]
    random.random(), np.random.rand()
    assert dataset[Draw(4, seed=3, number=17)] == first
    assert dataset[Draw(4, seed=3, number=18)] != first
    assert dataset[Draw(4, seed=4, number=17)] != first


def test_plain_index_leaves_the_generators_alone():
    np.random.seed(0)
    expected = np.random.rand()
    np.random.seed(0)
    assert Replayed()[4][2] == expected


def test_draw_survives_the_way_to_a_worker():
    draw = pickle.loads(pickle.dumps(Draw(7, seed=3, number=99)))
    assert (draw, draw.seed, draw.number) == (7, 3, 99)


@pytest.mark.parametrize("change", [dict(seed=1), dict(rank=1), dict(iteration=6)])
def test_iterations_draw_by_seed_rank_and_number(change):
    class Runner:
        def __init__(self, seed=0, rank=0):
            self.seed, self.rank = seed, rank

    def noise(seed=0, rank=0, iteration=5):
        ReplayableIterations().before_train_iter(Runner(seed, rank), iteration)
        return torch.rand(3)

    assert torch.equal(noise(), noise())
    assert not torch.equal(noise(), noise(**change))
