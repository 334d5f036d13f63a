"""Trackers in files: whole, checked at every load, and never running code."""

import dataclasses
import json
import math
import os
import pickle
import re

import pytest
import safetensors
import safetensors.torch
import torch

from lightvit_bench.checkpoint import Parent, read_manifest, save_encoder
from lightvit_bench.checkpoint.manifest import KEY
from lightvit_bench.errors import CheckpointError, ConfigError
from lightvit_bench.tracking import files
from lightvit_bench.tracking.answers import Settings
from lightvit_bench.tracking.files import (
    load_tracker,
    load_tracker_model,
    read_tracker_manifest,
    save_tracker,
)
from lightvit_bench.tracking.network import NetworkSpec, OneStreamTracker
from lightvit_bench.vit import VisionTransformer

SPEC = NetworkSpec(
    preset="vit_test", template_size=32, search_size=64, head_channels=16, eliminate=(1,)
)


def network_of(spec=SPEC, seed=0):
    """Random weights whose maps are not all alike, norms' statistics too."""
    torch.manual_seed(seed)
    network = OneStreamTracker(spec).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1 and "head" in name:
                parameter.mul_(2)
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.1)
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return network


@pytest.fixture
def network():
    return network_of()


@pytest.fixture
def file(network, tmp_path):
    path = tmp_path / "tracker.safetensors"
    save_tracker(path, network, recipe="test")
    return path


def maps_of(network):
    torch.manual_seed(1)
    with torch.no_grad():
        return network(torch.randn(1, 3, 32, 32), torch.randn(1, 3, 64, 64)).maps


def tensors_and_text(path):
    with safetensors.safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()[KEY]


def rewrite(path, change_tensors=None, change=None, text=None):
    """The file again, with tensors or its manifest changed."""
    tensors, told = tensors_and_text(path)
    values = json.loads(told)
    if change_tensors:
        change_tensors(tensors)
    if change:
        change(values)
    text = json.dumps(values) if text is None else text
    safetensors.torch.save_file(tensors, path, {KEY: text} if text else None)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "changes", [{}, {"eliminate": (), "prune_after": 1, "keep": 0.5, "head": "mlp"}]
)
def test_there_and_back(half, changes, tmp_path):
    network = network_of(dataclasses.replace(SPEC, **changes))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    path = tmp_path / "new" / "tracker.safetensors"
    saved = save_tracker(
        path,
        network,
        recipe="ostrack-test",
        data="pairs of noise",
        epochs=3,
        settings=Settings(found_above=0.4, hold=False),
        parents=[Parent("a.pth", "0" * 64)],
        image_mean=(0.5, 0.4, 0.3),
        image_std=(0.2, 0.3, 0.4),
        half=half,
    )
    loaded, manifest = load_tracker(path)
    assert manifest == saved == read_tracker_manifest(path)
    assert (manifest.recipe, manifest.data) == ("ostrack-test", "pairs of noise")
    assert manifest.epochs == 3
    assert manifest.spec == network.spec and manifest.heads == 4
    assert manifest.parents == (Parent("a.pth", "0" * 64),)
    assert not loaded.training
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype in (torch.float32, torch.int64)
        expected = before[name].half().float() if half else before[name]
        assert torch.equal(tensor, expected.to(tensor.dtype)), name
    for a, b in zip(maps_of(loaded), maps_of(network), strict=True):
        assert torch.allclose(a, b, atol=1e-2 if half else 0)
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())

    model = load_tracker_model(path)
    assert model.settings == Settings(found_above=0.4, hold=False) and model.spec == network.spec
    pixels = (torch.full((32, 32, 3), 51, dtype=torch.uint8)).numpy()
    expected = [(0.2 - 0.5) / 0.2, (0.2 - 0.4) / 0.3, (0.2 - 0.3) / 0.4]
    assert model._pixels(pixels)[0, :, 5, 7].tolist() == pytest.approx(expected, abs=1e-6)


def test_half_the_size(network, tmp_path):
    sizes = []
    for half in (False, True):
        path = tmp_path / f"{half}.safetensors"
        save_tracker(path, network, recipe="test", half=half)
        with open(path, "rb") as file:
            header = int.from_bytes(file.read(8), "little")
        sizes.append(path.stat().st_size - header - 8)
    counters = 8 * sum(n.endswith("num_batches_tracked") for n in network.state_dict())
    assert sizes[1] - counters == (sizes[0] - counters) / 2


def test_a_file_of_any_name_is_read(file, tmp_path):
    other = tmp_path / "tracker.bin"
    file.rename(other)
    assert load_tracker(str(other))[1].recipe == "test"


@pytest.mark.parametrize(
    "name",
    [
        "backbone.blocks.2.mlp.fc2.weight",
        "backbone.pos_embed",
        "template_positions",
        "head.score.0.0.weight",
        "head.size.4.weight",
        "head.offset.2.1.running_mean",
    ],
)
def test_a_changed_tensor_is_noticed(file, name):
    def change(tensors):
        tensors[name] = tensors[name].flip(0 if tensors[name].shape[0] > 1 else -1) + 0.05

    rewrite(file, change)
    with pytest.raises(CheckpointError, match="does not compute what it did"):
        load_tracker(file)


def test_exchanged_blocks_are_noticed(file):
    def change(tensors):
        for name in [n for n in tensors if ".blocks.0." in n]:
            other = name.replace(".blocks.0.", ".blocks.1.")
            tensors[name], tensors[other] = tensors[other], tensors[name]

    rewrite(file, change)
    with pytest.raises(CheckpointError, match="does not compute what it did"):
        load_tracker(file)


def test_missing_and_superfluous_tensors(file):
    def change(tensors):
        tensors["head.more"] = tensors.pop("head.score.4.bias")

    rewrite(file, change)
    with pytest.raises(CheckpointError) as caught:
        load_tracker(file)
    assert "missing:    head.score.4.bias" in str(caught.value)
    assert "unexpected: head.more" in str(caught.value)


def test_another_head_count_is_noticed(tmp_path):
    """Three heads and twelve have tensors of the same shapes."""
    path = tmp_path / "tracker.safetensors"
    spec = NetworkSpec(template_size=32, search_size=64, head_channels=8)
    save_tracker(path, network_of(spec), recipe="test")
    rewrite(path, change=lambda values: values["spec"].update(preset="vit_tiny_p16_h3"))
    with pytest.raises(CheckpointError, match="has 12 heads; vit_tiny_p16_h3 has 3"):
        load_tracker(path)
    rewrite(path, change=lambda values: values.update(heads=3))
    with pytest.raises(CheckpointError, match="does not compute what it did"):
        load_tracker(path)


def test_another_size_is_noticed(file):
    rewrite(file, change=lambda values: values["spec"].update(search_size=96))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_tracker(file)


def drop_field(values):
    del values["heads"]


BROKEN = {
    "unknown field": (lambda v: v.update(colour="red"), "colour"),
    "missing field": (drop_field, "heads"),
    "unknown field of the spec": (lambda v: v["spec"].update(colour="red"), "colour"),
    "unknown preset": (lambda v: v["spec"].update(preset="vit_huge"), "vit_huge"),
    "unknown head": (lambda v: v["spec"].update(head="corner"), "corner"),
    "no share": (lambda v: v["spec"].update(keep=0), "share"),
    "text for a number": (lambda v: v["spec"].update(template_size="128"), "damaged"),
    "unknown setting": (lambda v: v["settings"].update(colour="red"), "colour"),
    "no score": (lambda v: v["settings"].update(found_above=2), "found_above"),
    "unknown part of a parent": (lambda v: v.update(parents=[{"name": "a"}]), "damaged"),
    "no list of parents": (lambda v: v.update(parents=5), "damaged"),
    "two channels": (lambda v: v.update(image_mean=[0.5, 0.5]), "damaged"),
    "no fingerprint": (lambda v: v.update(fingerprint=None), "damaged"),
    "half a fingerprint": (lambda v: v.update(fingerprint=v["fingerprint"][:2]), "fingerprint"),
    "text for a version": (lambda v: v.update(format_version="one"), "damaged"),
    "text for channels": (lambda v: v["spec"].update(head_channels="16"), "damaged"),
    "text for blocks": (lambda v: v["spec"].update(eliminate="abc"), "damaged"),
    "no such fingerprint": (lambda v: v["fingerprint"][0].update(mean="x"), "fingerprint"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_damaged_manifests_are_told(name, file):
    change, says = BROKEN[name]
    rewrite(file, change=change)
    with pytest.raises(CheckpointError, match=says) as caught:
        load_tracker(file)
    assert str(file) in str(caught.value)


ABSURD = {
    "spec": {
        "template_size": [10**9, 0, 8, -32, 32.0, True, None, [32]],
        "search_size": [10**9, 25600, 64.0, "64", math.nan],
        "head_channels": [10**9, 4, 16.0, False],
        "search_factor": [1e6, 0, -4, math.nan, math.inf, "4", True, 10**400],
        "template_factor": ["2", None, 101],
        "eliminate": [[1.0], [True], ["1"], [[1]], 1, "1", {"1": 1}],
        "keep": ["0.7", True, None],
        "prune_after": [1.0, "1", True],
        "preset": [5, ["vit_test"], None],
        "head": [5, ["conv"], None],
    },
    "settings": {
        "hold": ["no", 1, None],
        "found_above": ["0.5", True, math.nan, None],
        "flat_below": [4.0, -1, 257, "4", True, None],
    },
    "": {
        "recipe": [5, None, ["mae"]],
        "data": [5, None],
        "epochs": ["x", 1.5, -1, True],
        "heads": ["4", 4.0, None],
        "image_std": [[0, 0, 0], [0.2, 0.2, -0.2], [math.nan] * 3, ["1"] * 3, [1, 1], "abc", None],
        "image_mean": [[math.inf] * 3, [True] * 3, {"r": 1, "g": 1, "b": 1}, [10**400] * 3],
        "format_version": [0, 1.0, True, None],
        "parents": [[{"name": 5, "sha256": ""}], [5], {}],
        "spec": [None, [], "x"],
        "settings": [None, [], "x"],
    },
}


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        (part, name, value)
        for part, names in ABSURD.items()
        for name, values in names.items()
        for value in values
    ],
)
def test_absurd_values_are_told_by_file_and_field(part, name, value, file):
    rewrite(file, change=lambda v: (v[part] if part else v).update({name: value}))
    with pytest.raises(CheckpointError, match="damaged") as caught:
        read_tracker_manifest(file)
    assert str(file) in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"search_size": 4096}, "backbone.pos_embed: .1, 16, .* in the file, .1, 65536, "),
        ({"template_size": 4096}, "template_positions: .1, 4, .* in the file, .1, 65536, "),
        ({"head_channels": 4096}, "head.score.0.0.weight: .16, .* in the file, .4096, "),
        ({"preset": "vit_base_p16"}, "backbone.pos_embed"),
    ],
    ids=str,
)
def test_no_memory_is_taken_for_a_lie(changes, says, file, monkeypatch):
    """A network that the file has no tensors for is not even built."""

    def build(*args, **kwargs):
        raise AssertionError("built")

    rewrite(
        file, change=lambda v: (v["spec"].update(changes), v.update(heads=12 if "preset" in changes
        else 4)),
    )  # fmt: skip
    monkeypatch.setattr(files, "OneStreamTracker", build)
    with pytest.raises(CheckpointError, match="does not fit") as caught:
        load_tracker(file)
    assert re.search(says, str(caught.value))


def test_tensors_that_tell_the_size_must_be_there(file, monkeypatch):
    monkeypatch.setattr(files, "OneStreamTracker", None)
    rewrite(file, lambda tensors: tensors.pop("head.score.0.0.weight"))
    with pytest.raises(CheckpointError, match="missing: +head.score.0.0.weight"):
        load_tracker(file)


def test_settings_of_an_earlier_file_have_their_defaults(file):
    rewrite(file, change=lambda v: v["settings"].pop("flat_below"))
    assert load_tracker(file)[1].settings == Settings()


@pytest.mark.parametrize(
    "changes",
    [{"recipe": 5}, {"epochs": "x"}, {"image_std": (0, 0, 0)}, {"image_mean": (math.nan,) * 3}],
    ids=str,
)
def test_what_could_not_be_read_is_not_saved(changes, network, tmp_path):
    path = tmp_path / "tracker.safetensors"
    with pytest.raises(ConfigError, match=next(iter(changes))):
        save_tracker(path, network, **{"recipe": "test", **changes})
    assert not path.exists()


def test_where_the_packages_weights_are_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "shipped_weights", lambda: tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="weights that come with the package") as caught:
        load_tracker()
    assert "--model FILE" in str(caught.value) and "none.safetensors" in str(caught.value)
    with pytest.raises(CheckpointError, match="weights that come with the package"):
        load_tracker_model()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 100_000])
def test_nests_without_end_are_told(text, file):
    rewrite(file, text=text)
    with pytest.raises(CheckpointError, match="damaged"):
        read_tracker_manifest(file)


@pytest.mark.parametrize("text", ["{", "[]", "5", '"tracker"', "null"])
def test_manifests_of_another_form(text, file):
    rewrite(file, text=text)
    with pytest.raises(CheckpointError, match="damaged"):
        read_tracker_manifest(file)


def test_a_later_version_is_told(file):
    rewrite(file, change=lambda values: values.update(format_version=2, new_field=1))
    with pytest.raises(CheckpointError, match="version 2") as caught:
        load_tracker(file)
    assert "update lightvit_bench" in str(caught.value)


def test_files_of_other_kinds(file, tmp_path):
    encoder = tmp_path / "encoder.safetensors"
    save_encoder(encoder, VisionTransformer("vit_test"), recipe="test")
    with pytest.raises(CheckpointError, match="an encoder, not a tracker"):
        load_tracker(encoder)
    with pytest.raises(CheckpointError):
        read_manifest(file)  # nor is a tracker an encoder
    bare = tmp_path / "bare.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, bare)
    with pytest.raises(CheckpointError, match="no manifest") as caught:
        load_tracker(bare)
    assert "--from ostrack" in str(caught.value)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_tracker(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="folder"):
        load_tracker(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99])
def test_files_cut_short(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError):
        load_tracker(file)


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_nothing_is_unpickled(tmp_path):
    """Only safetensors are taken: what torch.save or pickle wrote is not even opened as such."""
    marker = tmp_path / "marker"
    for name, write in (
        ("evil.safetensors", lambda path: torch.save({"a": Touch(marker)}, path)),
        ("evil.pth", lambda path: torch.save({"a": Touch(marker)}, path)),
        ("evil.pkl", lambda path: path.write_bytes(pickle.dumps(Touch(marker)))),
    ):
        write(tmp_path / name)
        with pytest.raises(CheckpointError):
            load_tracker(tmp_path / name)
        assert not marker.exists()


def test_what_computes_nan_is_not_saved(network, tmp_path):
    path = tmp_path / "tracker.safetensors"
    path.write_bytes(b"before")
    with torch.no_grad():
        network.head.score[0][0].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        save_tracker(path, network, recipe="test")
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == [path.name]


def test_weights_beyond_half_precision_are_not_saved_in_it(network, tmp_path):
    with torch.no_grad():
        network.head.offset[0][1].running_var[0] = 1e6
    save_tracker(tmp_path / "full.safetensors", network, recipe="test")
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        with torch.no_grad():
            network.head.offset[4].weight[0] = 1e6
        save_tracker(tmp_path / "half.safetensors", network, recipe="test", half=True)
    assert not (tmp_path / "half.safetensors").exists()


def test_elimination_may_be_changed_and_nothing_else(file, network):
    changed, manifest = load_tracker(file, eliminate=())
    assert changed.spec.eliminate == () and manifest.spec.eliminate == (1,)
    with torch.no_grad():
        template, search = torch.randn(1, 3, 32, 32), torch.randn(1, 3, 64, 64)
        made = changed(template, search)
        assert made.removed == []
        dense = network(template, search, keep=1.0)
    assert torch.equal(made.maps.score, dense.maps.score)
    assert load_tracker(file, keep=0.5)[0].spec.keep == 0.5
    for change in ({"search_size": 96}, {"colour": 1}, {"head": "mlp"}):
        with pytest.raises(ConfigError, match="cannot be changed"):
            load_tracker(file, **change)
    with pytest.raises(ConfigError, match="blocks 0 to 2"):
        load_tracker(file, eliminate=(7,))


def test_saving_leaves_the_network_as_it_was(tmp_path):
    network = network_of().train()
    state = torch.get_rng_state()
    save_tracker(tmp_path / "a.safetensors", network, recipe="test", half=True)
    assert network.training and network.head.score[0][0].weight.dtype == torch.float32
    assert torch.equal(torch.get_rng_state(), state)
