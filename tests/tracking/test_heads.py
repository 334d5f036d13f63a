"""From the tokens that are left to the maps of the whole region."""

import pytest
import torch
import torch.nn.functional as F

from lightvit_bench.tracking.heads import ConvHead, Maps, MlpHead, boxes_at, probability
from lightvit_bench.tracking.pruning import Search

GRID = (4, 4)


def search_of(index):
    return Search(16, torch.tensor(index), [])


def test_probabilities_stay_off_their_ends():
    made = probability(torch.tensor([-100.0, 0.0, 100.0], dtype=torch.bfloat16))
    assert made.dtype == torch.float32
    assert made.tolist() == pytest.approx([1e-4, 0.5, 1 - 1e-4])


def branch_by_hand(branch, grid):
    """Four conv 3x3 - BN - ReLU, and a 1x1, from the state dict alone."""
    state = branch.state_dict()
    for i in range(4):
        grid = F.conv2d(grid, state[f"{i}.0.weight"], state[f"{i}.0.bias"], padding=1)
        mean, var = state[f"{i}.1.running_mean"], state[f"{i}.1.running_var"]
        grid = (grid - mean[:, None, None]) / torch.sqrt(var[:, None, None] + 1e-5)
        grid = grid * state[f"{i}.1.weight"][:, None, None] + state[f"{i}.1.bias"][:, None, None]
        grid = grid.clamp(min=0)
    return F.conv2d(grid, state["4.weight"], state["4.bias"])


def test_the_conv_head_by_hand():
    torch.manual_seed(0)
    head = ConvHead(8, 16).eval()
    with torch.no_grad():
        for name, value in head.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                value.uniform_(0.5, 1.5)
    index = [[3, 9, 0, 15, 6], [1, 2, 3, 4, 5]]
    tokens = torch.randn(2, 5, 8)
    whole = torch.zeros(2, 8, 4, 4)
    for b in range(2):
        for k, place in enumerate(index[b]):
            whole[b, :, place // 4, place % 4] = tokens[b, k]
    with torch.no_grad():
        maps = head(tokens, search_of(index), GRID)
        branches = (head.score, head.size, head.offset)
        score, size, offset = (branch_by_hand(branch, whole) for branch in branches)
    assert torch.allclose(maps.score, score.sigmoid().clamp(1e-4, 1 - 1e-4), atol=1e-5)
    assert torch.allclose(maps.size, size.sigmoid().clamp(1e-4, 1 - 1e-4), atol=1e-5)
    assert torch.allclose(maps.offset, offset, atol=1e-5)
    assert [tuple(one.shape) for one in maps] == [(2, 1, 4, 4), (2, 2, 4, 4), (2, 2, 4, 4)]


def test_the_conv_heads_channels_halve():
    shapes = {n: tuple(p.shape) for n, p in ConvHead(192).named_parameters() if p.ndim == 4}
    for branch, out in (("score", 1), ("size", 2), ("offset", 2)):
        widths = [shapes[f"{branch}.{i}.0.weight"][:2] for i in range(4)]
        assert widths == [(256, 192), (128, 256), (64, 128), (32, 64)]
        assert shapes[f"{branch}.4.weight"] == (out, 32, 1, 1)


def test_the_mlp_head_scatters_each_token_to_its_place():
    torch.manual_seed(0)
    head = MlpHead(8).eval()
    index = [[3, 9, 0, 15, 6], [1, 2, 3, 4, 5]]
    tokens = torch.randn(2, 5, 8)
    maps = head(tokens, search_of(index), GRID)
    for b in range(2):
        for place in range(16):
            row, column = divmod(place, 4)
            values = [one[b, :, row, column] for one in maps]
            if place not in index[b]:
                assert all(not value.any() for value in values)
                continue
            token = tokens[b, index[b].index(place)]
            box = head.box(token)
            assert torch.allclose(values[0], probability(head.score(token)), atol=1e-6)
            assert torch.allclose(values[1], probability(box[:2]), atol=1e-6)
            assert torch.allclose(values[2], box[2:], atol=1e-6)


def test_the_mlp_head_sees_no_neighbours():
    torch.manual_seed(0)
    head, tokens = MlpHead(8).eval(), torch.randn(1, 16, 8)
    before = head(tokens, Search.whole(16), GRID)
    changed = tokens.clone()
    changed[0, 5] += 1
    after = head(changed, Search.whole(16), GRID)
    differs = (before.score != after.score)[0, 0]
    assert differs.nonzero().tolist() == [[1, 1]]


def test_the_box_of_a_cell():
    torch.manual_seed(0)
    maps = Maps(torch.rand(3, 1, 4, 6), torch.rand(3, 2, 4, 6), torch.randn(3, 2, 4, 6))
    cells = torch.tensor([0, 13, 23])
    made = boxes_at(maps, cells)
    for b, cell in enumerate(cells.tolist()):
        row, column = divmod(cell, 6)
        x, y = maps.offset[b, :, row, column].tolist()
        expected = [(column + x) / 6, (row + y) / 4, *maps.size[b, :, row, column].tolist()]
        assert made[b].tolist() == pytest.approx(expected, abs=1e-6)
