"""The one-stream network: the authors' numbers, and a slow one written from the description."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from lightvit_bench.checkpoint.fingerprint import summarise
from lightvit_bench.errors import ConfigError
from lightvit_bench.tracking.heads import boxes_at
from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker
from lightvit_bench.tracking.published import from_ostrack

SMALL = {
    "preset": "vit_test", "template_size": 32, "search_size": 64, "head_channels": 16,
    "eliminate": (),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small tensors: where cores are busy, threads would wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reference(shared):
    return json.loads((shared / "golden/reference.json").read_text())["ostrack_tiny"]


@pytest.fixture(scope="module")
def published(golden, tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "OSTrack_ep0300.pth.tar"
    torch.save(golden.checkpoints()[path.name], path)
    return from_ostrack(path).network


@pytest.fixture(scope="module")
def output(published, golden):
    given = golden.inputs()
    with torch.no_grad():
        return published(given["template"], given["search"], want_features=True)


def assert_summary(tensor, expected):
    made = summarise(tensor)
    assert list(made.at) == expected["at"]
    for name in ("mean", "std", "l2"):
        # an l2 norm of n entries sums what the entries may differ by
        allowed = 1e-4 * max(1, expected[name])
        assert abs(getattr(made, name) - expected[name]) < allowed, name
    for entry, value in zip(made.v, expected["v"], strict=True):
        assert abs(entry - value) < 1e-4


@pytest.mark.parametrize("name", ["score", "size", "offset"])
def test_the_authors_maps(output, reference, name):
    assert_summary(getattr(output.maps, name), reference[name])


def test_the_authors_box(output, reference):
    box = boxes_at(output.maps, output.maps.score.flatten(1).argmax(dim=1))[0].tolist()
    assert box == pytest.approx(reference["box"], abs=1e-4)


def test_the_tokens_that_the_authors_remove(output, reference):
    assert [one.shape[1] for one in output.removed] == [256 - 180, 180 - 126, 126 - 89]
    for made, expected in zip(output.removed, reference["removed"], strict=True):
        assert sorted(made[0].tolist()) == sorted(expected)


def test_the_authors_features(output, reference):
    assert output.features.shape == (1, 64 + 256, 192)
    assert_summary(output.features, reference["feat"])
    gone = torch.cat(output.removed, dim=1)[0]
    assert not output.features[0, 64 + gone].any()
    assert (output.features[0].abs().sum(1) == 0).sum() == 256 - 89


def test_the_authors_parameters(published, reference):
    ours = sum(parameter.numel() for parameter in published.parameters())
    assert reference["params"] == 8_078_661 == ours + 192 + 197 * 192


def slow_forward(network, template, search, keep):
    """Template (3, S, S) and search region of one pair through lists and plain matrices.

    Returns features (Lz + h*w, D) with zeros where tokens left, and what left at each stage.
    """
    state, spec = network.state_dict(), network.spec
    preset = network.backbone.preset
    heads, patch, width = preset.heads, preset.patch, preset.width

    def embed(image, positions):
        weight = state["backbone.patch_embed.proj.weight"].flatten(1)
        tokens = []
        for top in range(0, image.shape[1], patch):
            for left in range(0, image.shape[2], patch):
                pixels = image[:, top : top + patch, left : left + patch].flatten()
                tokens.append(weight @ pixels + state["backbone.patch_embed.proj.bias"])
        return torch.stack(tokens) + state[positions][0]

    def norm(x, name):
        mean, var = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
        return (x - mean) / (var + 1e-6).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    z = embed(template, "template_positions")
    tokens = torch.cat([z, embed(search, "backbone.pos_embed")])
    count = len(z)
    side = math.isqrt(count)
    middle = ((side - 1) // 2) * side + (side - 1) // 2
    places, removed = list(range(len(tokens) - count)), []
    for i in range(preset.depth):
        block = f"backbone.blocks.{i}"
        qkv = linear(norm(tokens, f"{block}.norm1"), f"{block}.attn.qkv")
        query, key, value = qkv.split(width, dim=1)
        mixed, attention = [], []
        for h in range(heads):
            part = slice(h * width // heads, (h + 1) * width // heads)
            weights = (query[:, part] @ key[:, part].T / math.sqrt(width // heads)).softmax(dim=1)
            attention.append(weights)
            mixed.append(weights @ value[:, part])
        tokens = tokens + linear(torch.cat(mixed, dim=1), f"{block}.attn.proj")
        if i in spec.eliminate:
            scores = torch.stack(attention).mean(0)[middle, count:].tolist()
            best = sorted(range(len(places)), key=lambda j: -scores[j])  # noqa: B023
            left = math.ceil(keep * len(places))
            removed.append(sorted(places[j] for j in best[left:]))
            stay = best[:left]
            places = [places[j] for j in stay]
            tokens = torch.cat([tokens[:count], tokens[[count + j for j in stay]]])
        hidden = F.gelu(linear(norm(tokens, f"{block}.norm2"), f"{block}.mlp.fc1"))
        tokens = tokens + linear(hidden, f"{block}.mlp.fc2")
    tokens = norm(tokens, "backbone.norm")
    features = torch.zeros(count + (spec.search_size // patch) ** 2, width)
    features[:count] = tokens[:count]
    for token, place in zip(tokens[count:], places, strict=True):
        features[count + place] = token
    return features, removed


def shaken(network, seed=0):
    """Weights that make attention uneven, so that ranks do not hang on a last digit."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "attn.qkv.weight" in name or "pos" in name:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(0.08 * noise if "qkv" in name else 0.5 * noise)
    return network.eval()


@pytest.mark.parametrize("keep", [None, 0.9, 1.0])
def test_elimination_against_full_attention(keep):
    torch.manual_seed(0)
    network = shaken(OneStreamTracker(NetworkSpec()))
    template, search = torch.randn(2, 3, 128, 128), torch.randn(2, 3, 256, 256)
    with torch.no_grad():
        made = network(template, search, keep=keep, want_features=True)
        for b in (0, 1) if keep is None else (1,):
            features, removed = slow_forward(network, template[b], search[b], keep or 0.7)
            assert torch.allclose(made.features[b], features, atol=2e-4)
            if keep == 1.0:
                assert made.removed == [] and all(not one for one in removed)
                continue
            assert [sorted(one[b].tolist()) for one in made.removed] == removed
    left = 256 - sum(one.shape[1] for one in made.removed)
    assert left == {None: 89, 0.9: 188, 1.0: 256}[keep]


def test_without_elimination():
    torch.manual_seed(0)
    network = OneStreamTracker(NetworkSpec(**SMALL)).eval()
    template, search = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        made = network(template, search, want_features=True)
        features, _ = slow_forward(network, template[1], search[1], 1.0)
    assert made.removed == [] and torch.allclose(made.features[1], features, atol=1e-4)
    assert made.maps.score.shape == (2, 1, 4, 4)


def test_the_template_may_be_embedded_once():
    torch.manual_seed(0)
    network = OneStreamTracker(NetworkSpec(**{**SMALL, "eliminate": (1,)})).eval()
    template, search = torch.randn(1, 3, 32, 32), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        once = network.embed_template(template)
        tokens, region = network.encode(once, search)
        maps = network.head(tokens[:, once.shape[1] :], region, network.search_grid)
        whole = network(template, search)
    assert all(torch.equal(a, b) for a, b in zip(maps, whole.maps, strict=True))


def pruned(**changes):
    spec = NetworkSpec(eliminate=(), prune_after=1, keep=0.3, head="mlp", **changes)
    torch.manual_seed(0)
    return shaken(OneStreamTracker(spec))


def test_pruning_once_keeps_77_tokens():
    network = pruned()
    template, search = torch.randn(2, 3, 128, 128), torch.randn(2, 3, 256, 256)
    with torch.no_grad():
        made = network(template, search)
        assert [tuple(one.shape) for one in made.removed] == [(2, 256 - 77)]
        assert ((made.maps.score > 0).sum(dim=(1, 2, 3)) == 77).all()
        dense = network(template, search, keep=1.0)
        assert dense.removed == [] and (dense.maps.score > 0).all()


def test_pruning_once_against_full_attention():
    """Attention of the first block times the prior, after its MLP."""
    network = pruned()
    template, search = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 256, 256)
    wh = torch.tensor([[0.3, 0.15]])
    with torch.no_grad():
        made = network(template, search, prior_wh=wh)
        tokens = torch.cat(
            [network.embed_template(template), network.backbone.patchify(search)], dim=1
        )
        _, logits = network.backbone.blocks[0](tokens, want_logits=True)
        row = logits.softmax(dim=-1).mean(dim=1)[0, 3 * 8 + 3, 64:].tolist()
    scores = []
    for place in range(256):
        y, x = (place // 16 + 0.5) / 16 - 0.5, (place % 16 + 0.5) / 16 - 0.5
        scores.append(row[place] * math.exp(-0.5 * ((x / 0.15) ** 2 + (y / 0.075) ** 2)))
    best = sorted(range(256), key=lambda j: -scores[j])[:77]
    kept = set(range(256)) - set(made.removed[0][0].tolist())
    assert kept == set(best)


def test_the_prior_draws_what_is_kept_to_the_middle():
    network = pruned()
    template, search = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 256, 256)

    def spread(wh):
        with torch.no_grad():
            removed = network(template, search, prior_wh=torch.tensor([wh])).removed[0][0]
        left = sorted(set(range(256)) - set(removed.tolist()))
        rows = torch.tensor([(i // 16 - 7.5, i % 16 - 7.5) for i in left])
        return rows.abs().mean(dim=0).tolist()

    wide, high, even = spread((0.9, 0.1)), spread((0.1, 0.9)), spread((100.0, 100.0))
    assert wide[0] < even[0] and wide[1] > 2 * wide[0]
    assert high[1] < even[1] and high[0] > 2 * high[1]
    with torch.no_grad():
        default = network(template, search).removed[0]
        square = network(template, search, prior_wh=torch.tensor([[0.25, 0.25]])).removed[0]
    assert torch.equal(default, square)


def test_a_smaller_region_is_the_middle_of_a_whole_one():
    """The same patches at the same places; sizes, told for whole regions, grow in proportion."""
    torch.manual_seed(0)
    network = shaken(OneStreamTracker(NetworkSpec(**SMALL)))
    table = network.backbone.pos_embed.view(4, 4, 32)
    middle = torch.stack([table[1, 1], table[1, 2], table[2, 1], table[2, 2]])
    assert torch.equal(network.search_positions((2, 2))[0], middle)
    assert torch.equal(network.search_positions((4, 4)), network.backbone.pos_embed)
    template, search = torch.randn(1, 3, 32, 32), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        maps = network(template, search).maps
        tokens, region = network.encode(network.embed_template(template), search)
        raw = network.head(tokens[:, 4:], region, (2, 2))
    assert maps.score.shape == (1, 1, 2, 2) and torch.equal(maps.score, raw.score)
    assert torch.equal(maps.size, 2 * raw.size) and torch.equal(maps.offset, raw.offset)
    for side in (48, 96):
        with pytest.raises(ConfigError, match="no middle part"):
            network(template, torch.randn(1, 3, side, side))


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    for changes in ({"eliminate": (1,)}, {"prune_after": 1, "keep": 0.5, "head": "mlp"}):
        network = OneStreamTracker(NetworkSpec(**{**SMALL, **changes})).train()
        maps = network(torch.randn(2, 3, 32, 32), torch.randn(2, 3, 64, 64)).maps
        sum(one.sum() for one in maps).backward()
        silent = [n for n, p in network.named_parameters() if p.grad is None]
        assert not silent


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"head": "con"}, "no head"),
        ({"eliminate": (1,), "prune_after": 1}, "not both"),
        ({"keep": 0.0}, "share of tokens"),
        ({"keep": math.nan}, "share of tokens"),
        ({"template_size": 0}, "pixels"),
        ({"template_size": 40}, "whole patches"),
        ({"search_size": 72}, "whole patches"),
        ({"eliminate": (3,)}, "blocks 0 to 2"),
        ({"eliminate": (-1,)}, "blocks 0 to 2"),
        ({"prune_after": 4}, "blocks 0 to 2"),
        ({"prune_after": -1}, "prune_after"),
        ({"preset": "vit_tst"}, "no encoder preset"),
    ],
)
def test_contradictions_are_refused(changes, says):
    with pytest.raises(ConfigError, match=says):
        OneStreamTracker(NetworkSpec(**{**SMALL, **changes}))


def test_a_spec_survives_json():
    spec = NetworkSpec(eliminate=[1, 2], keep=0.5)
    assert NetworkSpec(**json.loads(json.dumps(spec.to_dict()))) == spec
