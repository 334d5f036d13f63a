"""Which search tokens stay, which leave, and where each belongs."""

import math

import pytest
import torch

from lightvit_bench.tracking.pruning import (
    Search,
    attention_to_search,
    gaussian_prior,
    kept,
    middle_token,
)


def test_counts():
    counts = [256]
    for _ in range(3):
        counts.append(kept(counts[-1], 0.7))
    assert counts == [256, 180, 126, 89]
    assert kept(256, 0.3) == 77 and kept(256, 1.0) == 256 and kept(7, 1e-6) == 1


def test_the_middle_of_a_template():
    """CTR_POINT: (3, 3) of 8 x 8, (5, 5) of 12 x 12, (3, 3) of 7 x 7."""
    assert middle_token((8, 8)) == 3 * 8 + 3
    assert middle_token((12, 12)) == 5 * 12 + 5
    assert middle_token((7, 7)) == 3 * 7 + 3
    assert middle_token((1, 1)) == 0


def test_attention_is_softmaxed_over_all_tokens_and_then_averaged():
    torch.manual_seed(0)
    logits = 3 * torch.randn(2, 3, 1, 10)
    made = attention_to_search(logits, 4)
    assert made.shape == (2, 6)
    for b in range(2):
        for j in range(6):
            expected = 0.0
            for head in range(3):
                row = [math.exp(value) for value in logits[b, head, 0].tolist()]
                expected += row[4 + j] / sum(row) / 3
            assert made[b, j].item() == pytest.approx(expected, rel=1e-5)


def random_scores(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, count, generator=generator)


def test_three_stages_against_lists():
    """Tokens carry their own position, so that each can be followed."""
    template = 5
    place = torch.arange(256.0).repeat(2, 1)
    tokens = torch.cat([-torch.ones(2, template), place], dim=1)[..., None].repeat(1, 1, 3)
    search = Search.whole(256)
    left = [list(range(256)) for _ in range(2)]
    for stage, keep in enumerate((180, 126, 89)):
        scores = random_scores(len(left[0]), stage)
        tokens = search.reduce(tokens, template, scores, keep)
        for b in range(2):
            order = sorted(range(len(left[b])), key=lambda i: -scores[b, i])  # noqa: B023
            gone = [left[b][i] for i in order[keep:]]
            left[b] = [left[b][i] for i in order[:keep]]
            assert search.removed[stage][b].tolist() == gone
            assert search.index[b].tolist() == left[b]
            assert tokens[b, template:, 0].tolist() == left[b]
        assert tokens.shape == (2, template + keep, 3) and (tokens[:, :template] == -1).all()
    whole = search.restore(tokens[:, template:] + 1)
    assert whole.shape == (2, 256, 3)
    for b in range(2):
        expected = [place + 1 if place in set(left[b]) else 0 for place in range(256)]
        assert whole[b, :, 1].tolist() == expected
        everywhere = left[b] + [i for stage in search.removed for i in stage[b].tolist()]
        assert sorted(everywhere) == list(range(256))


def test_ties_stay_in_order():
    search = Search.whole(6)
    tokens = torch.arange(6.0).repeat(2, 1)[..., None]
    scores = torch.tensor([[0.5, 1.0, 0.5, 1.0, 0.5, 0.5], [1.0] * 6])
    left = search.reduce(tokens, 0, scores, 3)
    assert left[..., 0].tolist() == [[1, 3, 0], [0, 1, 2]]


def test_keeping_all_changes_nothing():
    search, tokens = Search.whole(4), torch.randn(1, 6, 2)
    assert search.reduce(tokens, 2, torch.rand(1, 4), 4) is tokens
    assert search.index is None and search.removed == []
    assert search.restore(tokens[:, 2:]).equal(tokens[:, 2:])


def test_gradients_pass_to_what_is_kept_alone():
    search = Search.whole(8)
    tokens = torch.randn(1, 10, 2, requires_grad=True)
    left = search.reduce(tokens, 2, random_scores(8, 0)[:1], 3)
    search.restore(left[:, 2:]).sum().backward()
    touched = [i for i in range(8) if tokens.grad[0, 2 + i].any()]
    assert touched == sorted(search.index[0].tolist())


def test_the_prior_by_the_formula():
    grid, wh = (4, 6), torch.tensor([[0.25, 0.5], [0.1, 0.1]])
    prior = gaussian_prior(wh, grid)
    assert prior.shape == (2, 24)
    for b in range(2):
        for row in range(4):
            for column in range(6):
                x, y = (column + 0.5) / 6 - 0.5, (row + 0.5) / 4 - 0.5
                sx, sy = wh[b] / 2  # half the box
                expected = math.exp(-0.5 * ((x / sx) ** 2 + (y / sy) ** 2))
                assert prior[b, row * 6 + column].item() == pytest.approx(expected, abs=1e-6)


def test_the_prior_is_one_on_the_middle_of_an_odd_grid_and_finite_for_no_box():
    prior = gaussian_prior(torch.tensor([[0.2, 0.2]]), (5, 5))
    assert prior.argmax() == 12 and prior[0, 12] == 1
    narrow = gaussian_prior(torch.tensor([[0.0, 1e-9]]), (5, 5))
    assert narrow.isfinite().all() and narrow[0, 12] == 1
