"""Position tables against slow oracles."""

from __future__ import annotations

import math

import pytest
import torch

from lightvit_bench.vit.position import resample_table, sincos_table, square_grid


def slow_sincos(width, rows, columns):
    """Entry by entry: sines then cosines of the column, then of the row."""
    quarter = width // 4
    table = []
    for row in range(rows):
        for column in range(columns):
            entry = []
            for place in (column, row):
                for function in (math.sin, math.cos):
                    entry += [function(place / 10000 ** (i / quarter)) for i in range(quarter)]
            table.append(entry)
    return torch.tensor(table)[None]


@pytest.mark.parametrize("grid", [(3, 3), (2, 5), (1, 1)])
def test_sincos_table_against_the_slow_one(grid):
    assert torch.allclose(sincos_table(16, grid), slow_sincos(16, *grid), atol=1e-6)


def test_sincos_table_starts_with_zeros_for_the_cls_token():
    table = sincos_table(16, (2, 3), cls_token=True)
    assert table.shape == (1, 7, 16) and table.dtype == torch.float32
    assert not table[:, 0].any() and torch.equal(table[:, 1:], sincos_table(16, (2, 3)))


def test_sincos_table_needs_four_channels_a_frequency():
    with pytest.raises(ValueError, match="divisible by 4, not 18"):
        sincos_table(18, (2, 2))


def test_sincos_table_is_the_authors(shared, golden):
    import json

    expected = json.loads((shared / "golden/reference.json").read_text())["pos_embed"]
    table = sincos_table(192, (14, 14), cls_token=True)
    assert table.flatten()[expected["at"]].tolist() == pytest.approx(expected["v"], abs=1e-6)
    assert table.std().item() == pytest.approx(expected["std"], rel=1e-5)
    assert torch.equal(table, golden.sincos_2d(192, 14, True))


def slow_cubic(values, size):
    """Bicubic along the last axis as torch defines it: a = -0.75, edges repeated."""

    def weight(x, a=-0.75):
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    old = values.shape[-1]
    out = torch.zeros(*values.shape[:-1], size, dtype=values.dtype)
    for i in range(size):
        centre = (i + 0.5) * old / size - 0.5
        for tap in range(math.floor(centre) - 1, math.floor(centre) + 3):
            out[..., i] += weight(centre - tap) * values[..., min(max(tap, 0), old - 1)]
    return out


@pytest.mark.parametrize("new", [(3, 7), (8, 2), (4, 6)])
@pytest.mark.parametrize("cls_token", [True, False])
def test_resampling_against_the_slow_one(new, cls_token):
    table = torch.randn(1, 20 + cls_token, 8, generator=torch.Generator().manual_seed(0))
    out = resample_table(table, (4, 5), new, cls_token=cls_token)
    patches = table[:, int(cls_token) :].double().reshape(4, 5, 8).permute(2, 0, 1)
    slow = slow_cubic(slow_cubic(patches, new[1]).transpose(1, 2), new[0]).transpose(1, 2)
    expected = slow.permute(1, 2, 0).reshape(1, -1, 8).float()
    assert torch.allclose(out[:, int(cls_token) :], expected, atol=1e-5)
    if cls_token:
        assert torch.equal(out[:, 0], table[:, 0])


def test_resampling_to_the_same_grid_gives_the_table_itself():
    table = torch.randn(1, 13, 8)
    assert resample_table(table, (3, 4), (3, 4), cls_token=True) is table


def test_rows_and_columns_are_not_confused():
    """As many positions, another shape: not the same table."""
    table = torch.arange(6.0).reshape(1, 6, 1).expand(1, 6, 4)
    assert not torch.equal(resample_table(table, (2, 3), (3, 2), cls_token=False), table)


def test_square_grid():
    assert square_grid(196) == (14, 14) and square_grid(1) == (1, 1)
    with pytest.raises(ValueError, match="197 positions"):
        square_grid(197)
