"""The network rewritten for one frame, against the network it was made from."""

import numpy as np
import pytest
import torch
from torch import nn

from lightvit_bench.checkpoint.manifest import IMAGENET_MEAN, IMAGENET_STD
from lightvit_bench.tracking.crops import hann_window
from lightvit_bench.tracking.exporting.graph import (
    FrameConvHead,
    FrameGraph,
    FrameMlpHead,
    TemplateGraph,
)
from lightvit_bench.tracking.files import load_tracker
from lightvit_bench.tracking.heads import ConvHead, MlpHead
from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker
from lightvit_bench.tracking.pruning import Search
from lightvit_bench.tracking.torch_model import TorchModel

CLOSE = 1e-5
PRUNED = dict(eliminate=(), prune_after=1, keep=0.3, head="mlp")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small tensors: where cores are busy, threads would wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def lively(module, seed=0):
    """As trained: no norm is the identity, no bias zero, attention uneven."""
    generator = torch.Generator().manual_seed(seed)

    def normal(shape):
        return torch.randn(shape, generator=generator)

    with torch.no_grad():
        for name, value in module.named_parameters():
            if "qkv.weight" in name or value.ndim == 1 or "pos" in name:
                value.add_(0.3 * normal(value.shape))
        for one in module.modules():
            if isinstance(one, nn.BatchNorm2d):
                one.running_mean.copy_(0.3 * normal(one.running_mean.shape))
                one.running_var.copy_(0.5 + torch.rand(len(one.running_var), generator=generator))
    return module.eval()


def network(seed=0, **changes):
    small = dict(preset="vit_test", template_size=32, search_size=160, head_channels=16)
    torch.manual_seed(seed)
    return lively(OneStreamTracker(NetworkSpec(**{**small, "eliminate": (), **changes})), seed)


def crops(spec, count, seed=0):
    """Templates and search regions, uint8, and boxes' widths and heights, of `count` targets."""
    rng = np.random.default_rng(seed)
    made = []
    for side in (spec.template_size, spec.search_size):
        coarse = rng.integers(0, 256, (count, side // 8, side // 8, 3), np.uint8)
        made.append(coarse.repeat(8, axis=1).repeat(8, axis=2))
    return *made, rng.uniform(0.1, 0.5, (count, 2)).astype(np.float32)


def reference(net, templates, searches, boxes_wh, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """Cell, score, size, offset of each target: the whole network, its maps, the window."""

    def pixels(images):
        values = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        return (values - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    prior = torch.from_numpy(boxes_wh) if net.spec.prune_after else None
    with torch.no_grad():
        maps = net(pixels(templates), pixels(searches), prior_wh=prior).maps
    return at_best(maps, hann_window(net.search_grid[0]))


def at_best(maps, window):
    score, size, offset = (one.flatten(2).numpy() for one in maps)
    cells = (window.reshape(1, -1) * score[:, 0]).argmax(axis=1)
    rows = np.arange(len(cells))
    return cells, score[rows, 0, cells], size[rows, :, cells], offset[rows, :, cells]


def rewritten(net, templates, searches, boxes_wh, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """The same from the two graphs."""
    frame, template = (of(net, mean, std).eval() for of in (FrameGraph, TemplateGraph))
    with torch.no_grad():
        tokens = torch.cat([template(torch.from_numpy(one)[None]) for one in templates])
        prior = [torch.from_numpy(boxes_wh)] if frame.wants_box else []
        return [one.numpy() for one in frame(tokens, torch.from_numpy(searches), *prior)]


def assert_same(made, expected, close=CLOSE):
    assert made[0].tolist() == expected[0].tolist()
    for name, one, other in zip(("score", "size", "offset"), made[1:], expected[1:], strict=True):
        assert one.shape == other.shape and one.dtype == np.float32
        assert np.abs(one - other).max() < close, name


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "changes",
    [
        dict(eliminate=(1,), keep=0.5),
        dict(eliminate=(0, 1), keep=0.7),
        dict(eliminate=(0, 2), keep=0.4),
        dict(eliminate=(1,), keep=1.0),
        dict(eliminate=(1,), keep=0.5, head="mlp"),
        dict(),
        dict(head="mlp"),
        PRUNED,
        dict(PRUNED, head="conv"),
        dict(PRUNED, prune_after=3),
        dict(PRUNED, keep=1.0),
        dict(eliminate=(0, 1), template_size=64, search_size=96),
        dict(PRUNED, template_size=48, search_size=80),
        dict(template_size=96, search_size=64, eliminate=(1,), keep=0.3),
    ],
    ids=lambda changes: ",".join(f"{k}={v}" for k, v in changes.items()) or "dense",
)
def test_equal_to_the_network(changes, count):
    net = network(**changes)
    given = crops(net.spec, count)
    expected = reference(net, *given)
    assert_same(rewritten(net, *given), expected)
    assert len(set(expected[1].tolist())) == count  # the targets do differ


def test_the_shipped_tracker():
    net, manifest = load_tracker()
    given = crops(net.spec, 2)
    norm = (manifest.image_mean, manifest.image_std)
    assert_same(rewritten(net, *given, *norm), reference(net, *given, *norm), 1e-4)


def test_whatever_an_image_is_normalised_with():
    net = network(eliminate=(1,), keep=0.5)
    given = crops(net.spec, 2)
    norm = ((0.1, 0.7, 0.333), (0.5, 0.11, 0.27))
    expected = reference(net, *given, *norm)
    assert_same(rewritten(net, *given, *norm), expected)
    assert np.abs(expected[1] - reference(net, *given)[1]).max() > 100 * CLOSE


def test_black_and_white_images():
    net = network(eliminate=(1,), keep=0.5)
    for value in (0, 255):
        given = [np.full_like(one, value) for one in crops(net.spec, 1)[:2]]
        wh = np.full((1, 2), 0.25, np.float32)
        assert_same(rewritten(net, *given, wh), reference(net, *given, wh))


def test_the_prior_is_of_each_targets_own_box():
    """Two equal pairs with other boxes keep other tokens, in one batch as alone."""
    net = network(**PRUNED)
    template, search, _ = crops(net.spec, 1)
    boxes = np.float32([[0.9, 0.05], [0.05, 0.9]])
    given = (template.repeat(2, axis=0), search.repeat(2, axis=0), boxes)
    made = rewritten(net, *given)
    assert_same(made, reference(net, *given))
    assert np.abs(made[1][0] - made[1][1]) > 100 * CLOSE


# ------------------------------------------------------------------ the heads, at every cell


def test_the_conv_head_at_every_cell():
    """Size and offset from the 9 x 9 tokens around a cell, which reach outside the grid at the
    edges, are those of the whole map."""
    grid, width = (11, 11), 32
    torch.manual_seed(0)
    head = lively(ConvHead(width, 16))
    frame = FrameConvHead(head, grid).eval()
    tokens = torch.randn(1, 121, width)
    with torch.no_grad():
        maps = head(tokens, Search.whole(121), grid)
        for cell in range(121):
            window = torch.full((1, 121), 1e-6)
            window[0, cell] = 1e6  # the best cell, whatever the scores
            frame.window.copy_(window)
            made = [one.numpy() for one in frame(tokens, None)]
            assert_same(made, at_best(maps, window.numpy()))
            assert made[0] == [cell]


@pytest.mark.parametrize(
    ("kind", "frame_kind"), [(ConvHead, FrameConvHead), (MlpHead, FrameMlpHead)]
)
def test_a_head_at_every_token_left(kind, frame_kind):
    """Of two targets that lost other tokens; what was removed is zero."""
    grid, width, left = (6, 6), 32, 14
    torch.manual_seed(0)
    head = lively(kind(width))
    frame = frame_kind(head, grid).eval()
    tokens = torch.randn(2, left, width)
    places = torch.stack([torch.randperm(36)[:left] for _ in range(2)])
    region = Search(36, places, [])
    with torch.no_grad():
        maps = head(tokens, region, grid)
        for place in range(left):
            # One window for both targets: what each has there, or its neighbour's removed cell.
            window = torch.full((1, 36), 1e-6)
            window[0, places[:, place]] = 1e6
            frame.window.copy_(window)
            made = [one.numpy() for one in frame(tokens, places)]
            assert_same(made, at_best(maps, window.numpy()))


@pytest.mark.parametrize("changes", [dict(), dict(eliminate=(1,), keep=0.5), dict(head="mlp")])
@pytest.mark.parametrize(("side", "bias"), [(64, -100.0), (64, 100.0), (80, -100.0)])
def test_where_all_scores_are_equal_the_first_of_the_middle_wins(side, bias, changes):
    """No target anywhere, or everywhere: the score is its limit in each cell, the window decides,
    and of its equal maxima the first in raster order does."""
    net = network(search_size=side, **changes)
    with torch.no_grad():
        net.head.score[-1].bias.fill_(bias)
    given = crops(net.spec, 2)
    made = rewritten(net, *given)
    assert_same(made, reference(net, *given))
    assert made[0].tolist() == [5 if side == 64 else 12] * 2  # of 4 x 4 and of 5 x 5 cells
    assert made[1] == pytest.approx([1e-4 if bias < 0 else 1 - 1e-4] * 2)


@pytest.mark.parametrize("bias", [-100.0, 100.0])
@pytest.mark.parametrize("head", ["conv", "mlp"])
def test_sizes_at_their_limits(head, bias):
    net = network(head=head)
    with torch.no_grad():
        last = net.head.size[-1] if head == "conv" else net.head.box[-1]
        last.bias[:2] = bias
    given = crops(net.spec, 1)
    made = rewritten(net, *given)
    assert_same(made, reference(net, *given))
    assert made[2][0] == pytest.approx([1e-4 if bias < 0 else 1 - 1e-4] * 2)


def test_tokens_so_small_that_the_norms_epsilon_counts():
    net = network(eliminate=(1,), keep=0.5)
    with torch.no_grad():
        for one in (
            net.backbone.patch_embed.proj.weight,
            net.backbone.patch_embed.proj.bias,
            net.backbone.pos_embed,
            net.template_positions,
        ):
            one.mul_(3e-3)
        for block in net.backbone.blocks:  # whose own additions would hide it
            for one in (*block.attn.proj.parameters(), *block.mlp.fc2.parameters()):
                one.mul_(3e-3)
    given = crops(net.spec, 2)
    assert_same(rewritten(net, *given), reference(net, *given))


# ------------------------------------------------------------------ beside the network


def test_the_network_stays_as_it_was():
    """Weights are folded in copies."""
    net = network(eliminate=(1,), keep=0.5)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    given = crops(net.spec, 1)
    made, after = rewritten(net, *given), net.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert_same(made, reference(net, *given))


def test_the_template_is_embedded_as_by_pytorch():
    net = network()
    template = crops(net.spec, 1)[0][0]
    with torch.no_grad():
        made = TemplateGraph(net, IMAGENET_MEAN, IMAGENET_STD)(torch.from_numpy(template)[None])
    expected = TorchModel(net).embed(template)
    assert made.shape == (1, 4, 32) and torch.allclose(made, expected, atol=CLOSE)
