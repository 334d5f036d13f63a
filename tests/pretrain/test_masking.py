"""Masks follow from an order alone, and nothing of an image is lost or doubled."""

import pytest
import torch

from lightvit_bench.errors import ConfigError
from lightvit_bench.pretrain.masking import Masking, kept_units, random_order


def test_an_order_decides_what_is_seen():
    order = torch.tensor([[3, 0, 2, 1], [1, 2, 3, 0]])
    masking = Masking.of(order, 1)
    assert masking.keep.tolist() == [[3], [1]]
    assert masking.hide.tolist() == [[0, 2, 1], [2, 3, 0]]
    assert masking.hidden.tolist() == [[True, True, True, False], [True, False, True, True]]


def test_unshuffle_puts_each_token_in_its_place():
    order = torch.tensor([[3, 0, 2, 1]])
    visible = torch.tensor([[[30.0], [0.0]]])  # tokens of units 3 and 0
    whole = Masking.of(order, 2).unshuffle(visible, torch.full((1, 1, 1), -1.0))
    assert whole.flatten().tolist() == [0, -1, -1, 30]


def test_ascending_keeps_the_units_and_sorts_them():
    masking = Masking.of(torch.tensor([[3, 0, 2, 1]]), 2)
    ascending = masking.ascending()
    assert ascending.keep.tolist() == [[0, 3]] and ascending.hide.tolist() == [[1, 2]]
    assert ascending.hidden.tolist() == masking.hidden.tolist()


def test_orders_are_uniform_permutations_of_their_own():
    orders = random_order(4000, 5, generator=torch.Generator().manual_seed(0))
    assert (orders.sort(dim=1).values == torch.arange(5)).all()
    first = torch.bincount(orders[:, 0], minlength=5) / 4000
    assert ((first - 0.2).abs() < 0.03).all()  # five standard deviations
    again = random_order(4000, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(orders, again)


@pytest.mark.parametrize(
    ("units", "ratio", "kept"), [(196, 0.75, 49), (49, 0.4, 29), (49, 0.6, 19), (196, 0.9, 19)]
)
def test_kept_units_as_in_mae(units, ratio, kept):
    assert kept_units(units, ratio) == kept


@pytest.mark.parametrize(("ratio", "says"), [(1.0, "every"), (0.999, "every"), (0.0, "no token")])
def test_a_ratio_that_leaves_nothing_is_refused(ratio, says):
    with pytest.raises(ConfigError, match=says) as error:
        kept_units(196, ratio)
    assert "model.mask_ratio" in str(error.value)
