"""Every epoch covers the images, ranks share it, and any place is reached at once."""

from itertools import islice

import pytest
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import DataLoader

from lightvit_bench.errors import ConfigError
from lightvit_bench.openmmlab.replay import Draw
from lightvit_bench.pretrain import sampler as module
from lightvit_bench.pretrain.sampler import EpochSampler

IMAGES, BATCH = 23, 6  # 18 images an epoch


def draws(count, skip=0, **options):
    sampler = EpochSampler(range(IMAGES), **{"seed": 3, "batch": BATCH, **options})
    if skip:
        sampler.skip(skip)
    return list(islice(sampler, count))


@pytest.fixture
def as_rank(monkeypatch):
    return lambda rank, world=2: monkeypatch.setattr(module, "get_dist_info", lambda: (rank, world))


def test_an_epoch_is_whole_batches_of_distinct_images():
    stream = draws(10 * 18)
    epochs = [stream[at : at + 18] for at in range(0, 180, 18)]
    assert all(len(set(epoch)) == 18 for epoch in epochs)
    assert set(stream) == set(range(IMAGES)), "other images are left over each time"
    assert len({tuple(epoch) for epoch in epochs}) == 10
    assert len(EpochSampler(range(IMAGES), seed=3, batch=BATCH)) == 18


def test_draws_are_numbered_and_belong_to_epochs():
    stream = draws(40)
    assert all(isinstance(draw, Draw) and draw.seed == 3 for draw in stream)
    assert [draw.number for draw in stream] == list(range(40))
    epoch_of = EpochSampler(range(IMAGES), seed=3, batch=BATCH).epoch_of
    assert [epoch_of(number) for number in (0, 17, 18, 39)] == [0, 0, 1, 2]


@pytest.mark.parametrize("skip", [1, 7, 18, 25, 18 * 1000 + 5])
def test_it_goes_on_where_the_run_stopped(skip):
    rest = draws(30, skip=skip)
    assert [draw.number for draw in rest] == list(range(skip, skip + 30))
    if skip < 100:
        assert rest == draws(skip + 30)[skip:]


def test_skipping_epochs_does_not_draw_them(monkeypatch):
    orders = []
    real = EpochSampler._order
    monkeypatch.setattr(EpochSampler, "_order", lambda s, e: orders.append(e) or real(s, e))
    draws(3, skip=18 * 10**6)
    assert orders == [10**6]


def test_seed_and_shuffle_decide_the_order():
    assert draws(18) == draws(18) != draws(18, seed=4)
    assert draws(36, shuffle=False) == [*range(18), *range(18)]


def test_two_ranks_take_turns(as_rank):
    whole = draws(54)
    parts = []
    for rank in range(2):
        as_rank(rank)
        parts.append(draws(27))
        assert draws(7, skip=20) == parts[-1][20:]
        assert len(EpochSampler(range(IMAGES), seed=3, batch=BATCH)) == 9
    assert parts[0] == whole[0::2] and parts[1] == whole[1::2]
    numbers = [draw.number for part in parts for draw in part]
    assert sorted(numbers) == list(range(54))


def test_a_step_is_the_same_images_however_many_ranks(as_rank):
    """Batches of 2 on three ranks make up the batch of 6 on one."""
    whole, steps = draws(36), [set() for _ in range(6)]
    for rank in range(3):
        as_rank(rank, 3)
        for i, draw in enumerate(draws(12)):
            steps[i // 2].add(draw)
    assert steps == [set(whole[at : at + 6]) for at in range(0, 36, 6)]


def test_fewer_images_than_a_batch():
    with pytest.raises(ConfigError, match="23 images are fewer than a batch of 24") as caught:
        EpochSampler(range(IMAGES), batch=24)
    assert "train_dataloader.batch_size" in str(caught.value)
    assert len(draws(23, batch=23)) == 23
    with pytest.raises(ConfigError, match="batch of 0"):
        EpochSampler(range(IMAGES), batch=0)


def test_mmengine_builds_and_skips_it():
    """mmengine's loop skips by iterations, through the loader's own sampler."""
    from mmengine.runner.loops import _InfiniteDataloaderIterator

    kind = {"type": "EpochSampler", "batch": BATCH}
    sampler = DATA_SAMPLERS.build(kind, default_args={"dataset": range(IMAGES), "seed": 3})
    loader = DataLoader(range(IMAGES), batch_size=BATCH, sampler=sampler, collate_fn=list)
    stream = _InfiniteDataloaderIterator(loader)
    stream.skip_iter(4)
    assert [next(stream) for _ in range(3)] == [draws(42)[at : at + 6] for at in (24, 30, 36)]
